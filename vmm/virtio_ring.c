/* Split and packed virtqueues, device side; called by virtio_dev.c for the devices, on the event
 * loop.
 */
#include "vmm/virtio_ring.h"

#include <string.h>

struct descriptor { /* 2.7.5; packed: 2.8.13, where `id` and `flags` are the last two */
    u64 addr;
    u32 len;
    u16 flags; /* packed: buffer id */
    u16 next;  /* packed: flags */
};

#define DESC_NEXT BIT(0)
#define DESC_WRITE BIT(1)
#define DESC_INDIRECT BIT(2)
#define DESC_AVAIL BIT(7)
#define DESC_USED BIT(15)

#define AVAIL_NO_INTERRUPT BIT(0)
#define USED_NO_NOTIFY BIT(0)

enum event_flags { EVENT_ENABLE, EVENT_DISABLE, EVENT_DESC }; /* 2.8.14 */

#define AVAIL_RING 4 /* offsets in the areas of a split queue */
#define USED_RING 4
#define USED_ENTRY 8

/* All ring fields of 16 bits go through these two; NULL can't be: virtio_ring_valid() has seen the
 * areas, and a guest's RAM does not move. */
static u16 *field(const struct virtio_ring *r, u64 area, u64 offset)
{
    return guest_ptr(r->mem, GPA(area + offset), sizeof(u16));
}

static u16 load(const struct virtio_ring *r, u64 area, u64 offset)
{
    const u16 *p = field(r, area, offset);
    return p ? __atomic_load_n(p, __ATOMIC_ACQUIRE) : 0;
}

static void store(const struct virtio_ring *r, u64 area, u64 offset, u16 value)
{
    u16 *p = field(r, area, offset);
    if (p)
        __atomic_store_n(p, value, __ATOMIC_RELEASE);
}

static u64 used_event_offset(const struct virtio_queue *q)
{
    return AVAIL_RING + 2ull * q->size;
}

static u64 avail_event_offset(const struct virtio_queue *q)
{
    return USED_RING + (u64)USED_ENTRY * q->size;
}

void virtio_ring_start(struct virtio_queue *q)
{
    q->next_avail = q->next_used = q->unsignalled = 0;
    q->avail_wrap = q->used_wrap = 1;
}

bool virtio_ring_valid(const struct virtio_ring *r)
{
    const struct virtio_queue *q = r->q;
    u64 driver_len = r->packed ? 4 : used_event_offset(q) + 2;
    u64 device_len = r->packed ? 4 : avail_event_offset(q) + 2;
    u64 driver_align = r->packed ? 4 : 2;
    if (!q->size || q->size > VIRTIO_QUEUE_MAX || (!r->packed && (q->size & (q->size - 1))))
        return false;
    if (q->desc % 16 || q->driver % driver_align || q->device % 4)
        return false;
    return guest_ptr(r->mem, GPA(q->desc), 16ull * q->size) &&
           guest_ptr(r->mem, GPA(q->driver), driver_len) &&
           guest_ptr(r->mem, GPA(q->device), device_len);
}

/* ---- from descriptors to a chain --------------------------------------------------------------
 */

static bool add(const struct virtio_ring *r, struct virtio_chain *c, u64 addr, u32 len, bool write)
{
    u32 n = c->readable + c->writable;
    u32 *total = write ? &c->writable_len : &c->readable_len;
    if (!len)
        return true;
    if (n == VIRTIO_CHAIN_MAX || (!write && c->writable) || len > ~*total)
        return false;
    u8 *at = guest_ptr(r->mem, GPA(addr), len);
    if (!at)
        return false;
    c->segment[n] = (struct virtio_segment){at, len};
    *total += len;
    if (write)
        c->writable++;
    else
        c->readable++;
    return true;
}

/* An indirect table (2.7.5.3): split tables are chained by `next`, packed ones are in order and
 * know only WRITE. */
static bool add_indirect(const struct virtio_ring *r, struct virtio_chain *c, u64 table, u32 bytes)
{
    u32 count = bytes / sizeof(struct descriptor), at = 0;
    if (!r->indirect || !count || bytes % sizeof(struct descriptor) || count > VIRTIO_CHAIN_MAX)
        return false;
    for (u32 n = 0; n < count; n++) {
        struct descriptor d;
        if (!guest_read(r->mem, GPA(table + at * sizeof(d)), &d, sizeof(d)))
            return false;
        u16 flags = r->packed ? d.next : d.flags;
        if ((flags & DESC_INDIRECT) || !add(r, c, d.addr, d.len, flags & DESC_WRITE))
            return false;
        if (r->packed) {
            at++;
            continue;
        }
        if (!(flags & DESC_NEXT))
            return true;
        at = d.next;
        if (at >= count)
            return false;
    }
    return r->packed; /* a split table that has more links than entries is a loop */
}

static bool take_split(const struct virtio_ring *r, struct virtio_chain *c)
{
    struct virtio_queue *q = r->q;
    u16 at = load(r, q->driver, AVAIL_RING + 2ull * (q->next_avail & (q->size - 1)));
    c->id = at;
    c->slots = 1;
    for (u32 n = 0; n < q->size; n++) {
        struct descriptor d;
        if (at >= q->size || !guest_read(r->mem, GPA(q->desc + 16ull * at), &d, sizeof(d)))
            return false;
        if (d.flags & DESC_INDIRECT)
            return !(d.flags & DESC_NEXT) && add_indirect(r, c, d.addr, d.len);
        if (!add(r, c, d.addr, d.len, d.flags & DESC_WRITE))
            return false;
        if (!(d.flags & DESC_NEXT))
            return true;
        at = d.next;
    }
    return false; /* a loop */
}

static bool packed_available(const struct virtio_ring *r)
{
    u16 flags = load(r, r->q->desc, 16ull * r->q->next_avail + 14);
    return !!(flags & DESC_AVAIL) == r->q->avail_wrap && !!(flags & DESC_USED) != r->q->avail_wrap;
}

static bool take_packed(const struct virtio_ring *r, struct virtio_chain *c)
{
    struct virtio_queue *q = r->q;
    u32 at = q->next_avail;
    for (c->slots = 1; c->slots <= q->size; c->slots++) {
        struct descriptor d;
        if (!guest_read(r->mem, GPA(q->desc + 16ull * at), &d, sizeof(d)))
            return false;
        u16 flags = d.next;
        c->id = d.flags;
        if (flags & DESC_INDIRECT)
            return !(flags & DESC_NEXT) && c->slots == 1 && add_indirect(r, c, d.addr, d.len);
        if (!add(r, c, d.addr, d.len, flags & DESC_WRITE))
            return false;
        if (!(flags & DESC_NEXT))
            return true;
        at = at + 1 == q->size ? 0 : at + 1;
    }
    return false;
}

static void advance(struct virtio_queue *q, u16 *index, u8 *wrap, u32 slots)
{
    *index = (u16)(*index + slots);
    if (*index >= q->size) {
        *index = (u16)(*index - q->size);
        *wrap ^= 1;
    }
}

enum ring_result virtio_ring_take(const struct virtio_ring *r, struct virtio_chain *c)
{
    struct virtio_queue *q = r->q;
    c->readable = c->writable = c->readable_len = c->writable_len = 0;
    if (r->packed) {
        if (!packed_available(r))
            return RING_EMPTY;
        if (!take_packed(r, c))
            return RING_BROKEN;
        advance(q, &q->next_avail, &q->avail_wrap, c->slots);
        return RING_CHAIN;
    }
    u16 waiting = (u16)(load(r, q->driver, 2) - q->next_avail);
    if (!waiting)
        return RING_EMPTY;
    if (waiting > q->size || !take_split(r, c))
        return RING_BROKEN;
    q->next_avail++;
    return RING_CHAIN;
}

void virtio_ring_untake(const struct virtio_ring *r, const struct virtio_chain *c)
{
    struct virtio_queue *q = r->q;
    if (!r->packed) {
        q->next_avail--;
        return;
    }
    if (q->next_avail < c->slots) {
        q->next_avail = (u16)(q->next_avail + q->size);
        q->avail_wrap ^= 1;
    }
    q->next_avail = (u16)(q->next_avail - c->slots);
}

/* ---- giving back ------------------------------------------------------------------------------
 */

bool virtio_ring_put(const struct virtio_ring *r, const struct virtio_chain *c, u32 written)
{
    return virtio_ring_put_id(r, c->id, c->slots, written);
}

bool virtio_ring_put_id(const struct virtio_ring *r, u16 id, u16 slots, u32 written)
{
    struct virtio_queue *q = r->q;
    if (r->packed) {
        u16 flags = (u16)((q->used_wrap ? DESC_AVAIL | DESC_USED : 0) | (written ? DESC_WRITE : 0));
        u64 at = 16ull * q->next_used;
        if (!guest_write(r->mem, GPA(q->desc + at + 8), &written, sizeof(written)) ||
            !guest_write(r->mem, GPA(q->desc + at + 12), &id, sizeof(id)))
            return false;
        store(r, q->desc, at + 14, flags);
        advance(q, &q->next_used, &q->used_wrap, slots);
        q->unsignalled = (u16)(q->unsignalled + slots);
        return true;
    }
    u32 entry[2] = {id, written};
    u64 at = USED_RING + (u64)USED_ENTRY * (q->next_used & (q->size - 1));
    if (!guest_write(r->mem, GPA(q->device + at), entry, sizeof(entry)))
        return false;
    q->next_used++;
    q->unsignalled++;
    store(r, q->device, 2, q->next_used);
    return true;
}

/* Split: the avail ring still has the heads from next_used on, since it has room for all that is in
 * flight.  Packed: used descriptors were written only as far as next_used, so those of the rest are
 * whole. */
void virtio_ring_rewind(struct virtio_queue *q)
{
    q->next_avail = q->next_used;
    q->avail_wrap = q->used_wrap;
}

/* Has the position `event` been passed by the last `count` entries before `now`?  2.7.7.2 */
static bool passed(u16 event, u16 now, u16 count)
{
    return (u16)(now - event - 1) < count;
}

static bool packed_wants(const struct virtio_ring *r, u16 count)
{
    const struct virtio_queue *q = r->q;
    u16 where = load(r, q->driver, 0), flags = load(r, q->driver, 2) & 3;
    if (flags != EVENT_DESC || !r->event_idx)
        return flags != EVENT_DISABLE;
    u16 event = where & 0x7fff;
    if (where >> 15 != q->used_wrap)
        event = (u16)(event - q->size);
    return passed(event, q->next_used, count);
}

bool virtio_ring_wants_interrupt(const struct virtio_ring *r)
{
    struct virtio_queue *q = r->q;
    u16 count = q->unsignalled;
    if (!count)
        return false;
    q->unsignalled = 0;
    __atomic_thread_fence(__ATOMIC_SEQ_CST); /* used entries before the look at what is wanted */
    if (r->packed)
        return packed_wants(r, count);
    if (r->event_idx)
        return passed(load(r, q->driver, used_event_offset(q)), q->next_used, count);
    return !(load(r, q->driver, 0) & AVAIL_NO_INTERRUPT);
}

void virtio_ring_want_doorbell(const struct virtio_ring *r, bool want)
{
    struct virtio_queue *q = r->q;
    if (r->packed) {
        if (want && r->event_idx)
            store(r, q->device, 0, (u16)(q->next_avail | (q->avail_wrap ? BIT(15) : 0)));
        store(r, q->device, 2, want ? (r->event_idx ? EVENT_DESC : EVENT_ENABLE) : EVENT_DISABLE);
    } else if (r->event_idx) {
        /* No way to say "none"; an index just behind is as good as that for 65,535 entries. */
        store(r, q->device, avail_event_offset(q), (u16)(want ? q->next_avail : q->next_avail - 1));
    } else {
        store(r, q->device, 0, want ? 0 : USED_NO_NOTIFY);
    }
    __atomic_thread_fence(__ATOMIC_SEQ_CST);
}

/* ---- contents ---------------------------------------------------------------------------------
 */

static u32 copy(const struct virtio_segment *s, u32 count, u32 offset, u8 *bytes, u32 len, bool in)
{
    u32 done = 0;
    for (u32 i = 0; i < count && done < len; i++) {
        if (offset >= s[i].len) {
            offset -= s[i].len;
            continue;
        }
        u32 n = MIN(s[i].len - offset, len - done);
        if (in)
            memcpy(bytes + done, s[i].at + offset, n);
        else
            memcpy(s[i].at + offset, bytes + done, n);
        done += n;
        offset = 0;
    }
    return done;
}

u32 virtio_chain_read(const struct virtio_chain *c, u32 offset, void *dst, u32 len)
{
    return copy(c->segment, c->readable, offset, dst, len, true);
}

u32 virtio_chain_write(const struct virtio_chain *c, u32 offset, const void *src, u32 len)
{
    return copy(c->segment + c->readable, c->writable, offset, (u8 *)(uintptr_t)src, len, false);
}
