/* A ring of bytes that forgets the oldest; called by the UART and the VM log.  Pure. */
#include "vmm/text_ring.h"

void text_ring_init(struct text_ring *r, u32 size)
{
    r->written = 0;
    r->size = size;
}

void text_ring_put(struct text_ring *r, const void *bytes, u32 len)
{
    const u8 *b = bytes;
    for (u32 i = 0; i < len; i++)
        text_ring_putc(r, b[i]);
}

u64 text_ring_oldest(const struct text_ring *r)
{
    return r->written > r->size ? r->written - r->size : 0;
}

u32 text_ring_read(const struct text_ring *r, u64 *pos, void *buf, u32 len)
{
    u8 *out = buf;
    u32 n = 0;
    *pos = MIN(MAX(*pos, text_ring_oldest(r)), r->written);
    while (n < len && *pos < r->written)
        out[n++] = r->data[(*pos)++ % r->size];
    return n;
}
