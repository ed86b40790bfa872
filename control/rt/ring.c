/* A byte ring.  Pure: called by whoever owns the ring, on one thread. */
#include "control/rt/ring.h"

#include <string.h>

void ring_init(struct ring *r, void *bytes, u32 size)
{
    *r = (struct ring){.bytes = bytes, .size = size};
}

u32 ring_used(const struct ring *r)
{
    return r->head - r->tail;
}

u32 ring_room(const struct ring *r)
{
    return r->size - ring_used(r);
}

static void copy_in(struct ring *r, const u8 *src, u32 len)
{
    u32 at = r->head & (r->size - 1), first = MIN(len, r->size - at);

    memcpy(r->bytes + at, src, first);
    memcpy(r->bytes, src + first, len - first);
    r->head += len;
}

static void copy_out(const struct ring *r, u32 from, u8 *dst, u32 len)
{
    u32 at = from & (r->size - 1), first = MIN(len, r->size - at);

    memcpy(dst, r->bytes + at, first);
    memcpy(dst + first, r->bytes, len - first);
}

u32 ring_put(struct ring *r, const void *src, u32 len)
{
    u32 n = MIN(len, ring_room(r));

    if (n)
        copy_in(r, src, n);
    return n;
}

u32 ring_get(struct ring *r, void *dst, u32 len)
{
    u32 n = MIN(len, ring_used(r));

    if (n)
        copy_out(r, r->tail, dst, n);
    r->tail += n;
    return n;
}

bool ring_put_byte(struct ring *r, u8 byte)
{
    if (!ring_room(r))
        return false;
    r->bytes[r->head++ & (r->size - 1)] = byte;
    return true;
}

int ring_get_byte(struct ring *r)
{
    if (!ring_used(r))
        return -1;
    return r->bytes[r->tail++ & (r->size - 1)];
}

u32 ring_peek_newest(const struct ring *r, void *dst, u32 len)
{
    u32 n = MIN(len, ring_used(r));

    if (n)
        copy_out(r, r->head - n, dst, n);
    return n;
}

void ring_push(struct ring *r, const void *src, u32 len)
{
    const u8 *from = src;

    if (len > r->size) {
        from += len - r->size;
        len = r->size;
    }
    if (!len)
        return;
    if (ring_room(r) < len)
        r->tail += len - ring_room(r);
    copy_in(r, from, len);
}
