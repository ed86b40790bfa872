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

/* All ring fields of 16 bits go through these two. */
static u16 load(const u8 *area, u32 offset)
{
    return __atomic_load_n((const u16 *)(area + offset), __ATOMIC_ACQUIRE);
}

static void store(u8 *area, u32 offset, u16 value)
{
    __atomic_store_n((u16 *)(area + offset), value, __ATOMIC_RELEASE);
}

/* The one look at a descriptor; an indirect table may be aligned to nothing. */
static inline struct descriptor fetch(const u8 *at)
{
    typedef u64 __attribute__((aligned(1))) word;
    u64 addr = *(const volatile word *)at, rest = *(const volatile word *)(at + 8);
    return (struct descriptor){addr, (u32)rest, (u16)(rest >> 32), (u16)(rest >> 48)};
}

static u32 used_event_offset(u32 size)
{
    return AVAIL_RING + 2 * size;
}

static u32 avail_event_offset(u32 size)
{
    return USED_RING + USED_ENTRY * size;
}

void virtio_ring_start(struct virtio_queue *q)
{
    q->next_avail = q->next_used = q->resume = q->unsignalled = 0;
    q->avail_wrap = q->used_wrap = q->resume_wrap = 1;
}

bool virtio_ring_open(struct virtio_ring *r)
{
    const struct virtio_queue *q = r->q;
    u32 driver_len = r->packed ? 4 : used_event_offset(q->size) + 2;
    u32 device_len = r->packed ? 4 : avail_event_offset(q->size) + 2;
    u32 driver_align = r->packed ? 4 : 2;
    r->desc = NULL;
    r->size = q->size;
    if (!q->size || q->size > VIRTIO_QUEUE_MAX || (!r->packed && (q->size & (q->size - 1))))
        return false;
    if (q->desc % 16 || q->driver % driver_align || q->device % 4)
        return false;
    if (r->packed && (q->next_avail >= q->size || q->next_used >= q->size || q->resume >= q->size))
        return false;
    u8 *desc = guest_ptr(r->mem, GPA(q->desc), 16ull * q->size);
    r->driver = guest_ptr(r->mem, GPA(q->driver), driver_len);
    r->device = guest_ptr(r->mem, GPA(q->device), device_len);
    if (!desc || !r->driver || !r->device)
        return false;
    r->desc = desc;
    return true;
}

static bool meets(u64 area, u64 len, u64 gpa)
{
    return area < gpa + PAGE_SIZE && gpa < area + len;
}

bool virtio_ring_uses(const struct virtio_ring *r, u64 gpa)
{
    return r->desc && (meets(r->q->desc, 16ull * r->size, gpa) ||
                       meets(r->q->driver, used_event_offset(r->size) + 2, gpa) ||
                       meets(r->q->device, avail_event_offset(r->size) + 2, gpa));
}

/* ---- from descriptors to a chain --------------------------------------------------------------
 */

static inline bool add(const struct virtio_ring *r, struct virtio_chain *c, u64 addr, u32 len,
                       bool write)
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
static bool add_indirect(const struct virtio_ring *r, struct virtio_chain *c,
                         const struct descriptor *table)
{
    u32 count = table->len / sizeof(struct descriptor), at = 0;
    if (!r->indirect || !count || table->len % sizeof(struct descriptor) ||
        count > VIRTIO_CHAIN_MAX)
        return false;
    const u8 *entries = guest_ptr(r->mem, GPA(table->addr), table->len);
    if (!entries)
        return false;
    for (u32 n = 0; n < count; n++) {
        struct descriptor d = fetch(entries + at * sizeof(d));
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

/* The most frequent chain, one buffer.  False: it is not one, or is wrong; nothing was done. */
static inline bool take_one(const struct virtio_ring *r, struct virtio_chain *c,
                            const struct descriptor *d, u16 flags)
{
    bool write = flags & DESC_WRITE;
    if (flags & (DESC_NEXT | DESC_INDIRECT))
        return false;
    u8 *at = guest_ptr(r->mem, GPA(d->addr), d->len);
    if (!at)
        return false;
    c->slots = 1;
    c->writable = write;
    c->readable = !write;
    c->writable_len = write ? d->len : 0;
    c->readable_len = write ? 0 : d->len;
    c->segment[0] = (struct virtio_segment){at, d->len};
    return true;
}

static void start_chain(struct virtio_chain *c)
{
    c->readable = c->writable = c->readable_len = c->writable_len = 0;
}

/* The chain that begins with descriptor c->id. */
static __attribute__((noinline)) bool take_split(const struct virtio_ring *r,
                                                 struct virtio_chain *c)
{
    u32 size = r->size;
    u16 at = c->id;
    start_chain(c);
    c->slots = 1;
    for (u32 n = 0; n < size; n++) {
        if (at >= size)
            return false;
        struct descriptor d = fetch(r->desc + 16u * at);
        if (d.flags & DESC_INDIRECT)
            return !(d.flags & DESC_NEXT) && add_indirect(r, c, &d);
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
    u16 flags = load(r->desc, 16u * r->q->next_avail + 14);
    return !!(flags & DESC_AVAIL) == r->q->avail_wrap && !!(flags & DESC_USED) != r->q->avail_wrap;
}

static __attribute__((noinline)) bool take_packed(const struct virtio_ring *r,
                                                  struct virtio_chain *c)
{
    u32 at = r->q->next_avail;
    start_chain(c);
    for (c->slots = 1; c->slots <= r->size; c->slots++) {
        struct descriptor d = fetch(r->desc + 16u * at);
        u16 flags = d.next;
        c->id = d.flags;
        if (flags & DESC_INDIRECT)
            return !(flags & DESC_NEXT) && c->slots == 1 && add_indirect(r, c, &d);
        if (!add(r, c, d.addr, d.len, flags & DESC_WRITE))
            return false;
        if (!(flags & DESC_NEXT))
            return true;
        at = at + 1 == r->size ? 0 : at + 1;
    }
    return false;
}

static void advance(const struct virtio_ring *r, u16 *index, u8 *wrap, u32 slots)
{
    *index = (u16)(*index + slots);
    if (*index >= r->size) {
        *index = (u16)(*index - r->size);
        *wrap ^= 1;
    }
}

static enum ring_result next_packed(const struct virtio_ring *r, struct virtio_chain *c)
{
    struct virtio_queue *q = r->q;
    if (!packed_available(r))
        return RING_EMPTY;
    struct descriptor d = fetch(r->desc + 16u * q->next_avail);
    c->id = d.flags;
    if (!take_one(r, c, &d, d.next) && !take_packed(r, c))
        return RING_BROKEN;
    advance(r, &q->next_avail, &q->avail_wrap, c->slots);
    return RING_CHAIN;
}

bool virtio_ring_news(struct virtio_ring *r)
{
    if (r->packed)
        return packed_available(r);
    u16 before = r->seen;
    r->seen = load(r->driver, 2);
    return r->seen != before;
}

enum ring_result virtio_ring_take(const struct virtio_ring *r, struct virtio_chain *c)
{
    struct virtio_queue *q = r->q;
    if (r->packed)
        return next_packed(r, c);
    u32 size = r->size;
    u16 waiting = (u16)(load(r->driver, 2) - q->next_avail);
    if (!waiting)
        return RING_EMPTY;
    if (waiting > size)
        return RING_BROKEN;
    u16 at = load(r->driver, AVAIL_RING + 2 * (q->next_avail & (size - 1)));
    if (at >= size)
        return RING_BROKEN;
    struct descriptor d = fetch(r->desc + 16u * at);
    c->id = at;
    if (!take_one(r, c, &d, d.flags) && !take_split(r, c))
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
        q->next_avail = (u16)(q->next_avail + r->size);
        q->avail_wrap ^= 1;
    }
    q->next_avail = (u16)(q->next_avail - c->slots);
}

/* ---- giving back ------------------------------------------------------------------------------
 */

void virtio_ring_put(const struct virtio_ring *r, const struct virtio_chain *c, u32 written)
{
    virtio_ring_put_id(r, c->id, c->slots, written);
}

/* All of a packed used descriptor but its flags, which are returned. */
static u16 fill_packed(const struct virtio_ring *r, u16 id, u32 written)
{
    u8 *at = r->desc + 16u * r->q->next_used;
    memcpy(at + 8, &written, sizeof(written));
    memcpy(at + 12, &id, sizeof(id));
    return (u16)((r->q->used_wrap ? DESC_AVAIL | DESC_USED : 0) | (written ? DESC_WRITE : 0));
}

static void fill_split(const struct virtio_ring *r, u16 id, u32 written)
{
    u64 entry = id | (u64)written << 32;
    memcpy(r->device + USED_RING + USED_ENTRY * (r->q->next_used & (r->size - 1u)), &entry,
           sizeof(entry));
    r->q->next_used++;
    r->q->unsignalled++;
}

void virtio_ring_put_id(const struct virtio_ring *r, u16 id, u16 slots, u32 written)
{
    struct virtio_queue *q = r->q;
    if (r->packed) {
        u16 flags = fill_packed(r, id, written);
        store(r->desc + 16u * q->next_used, 14, flags);
        advance(r, &q->next_used, &q->used_wrap, slots);
        q->unsignalled = (u16)(q->unsignalled + slots);
        return;
    }
    fill_split(r, id, written);
    store(r->device, 2, q->next_used);
}

/* The driver sees none before the first one's flags (packed) or the index (split). */
void virtio_ring_put_all(const struct virtio_ring *r, const struct virtio_chain *c,
                         const u32 *written, u32 count)
{
    struct virtio_queue *q = r->q;
    u16 first = q->next_used, first_flags = 0;
    for (u32 i = 0; i < count; i++) {
        if (!r->packed) {
            fill_split(r, c[i].id, written[i]);
            continue;
        }
        u16 flags = fill_packed(r, c[i].id, written[i]);
        if (i)
            store(r->desc + 16u * q->next_used, 14, flags);
        else
            first_flags = flags;
        advance(r, &q->next_used, &q->used_wrap, c[i].slots);
        q->unsignalled = (u16)(q->unsignalled + c[i].slots);
    }
    if (!r->packed)
        store(r->device, 2, q->next_used);
    else if (count)
        store(r->desc + 16u * first, 14, first_flags);
}

/* ---- what is in flight ------------------------------------------------------------------------
 */

void virtio_ring_pass(const struct virtio_ring *r, u16 slots)
{
    struct virtio_queue *q = r->q;
    if (r->packed)
        advance(r, &q->resume, &q->resume_wrap, slots);
    else
        q->resume++;
}

/* Split: descriptors are the device's until their chain is put, so its head is enough.  Packed: the
 * used descriptors of those that overtake it are written over its own. */
bool virtio_ring_keep(const struct virtio_ring *r, u16 id, u16 slots, struct virtio_kept *k)
{
    if (r->packed) {
        if (slots != 1)
            return false;
        struct descriptor d = fetch(r->desc + 16u * r->q->resume);
        k->addr = d.addr;
        k->len = d.len;
        k->flags = d.next;
    }
    k->id = id;
    k->used = 1;
    virtio_ring_pass(r, slots);
    return true;
}

enum ring_result virtio_ring_take_kept(const struct virtio_ring *r, const struct virtio_kept *k,
                                       struct virtio_chain *c)
{
    struct descriptor d = {k->addr, k->len, k->id, k->flags};
    c->id = k->id;
    if (!r->packed) {
        if (k->id >= r->size)
            return RING_BROKEN;
        d = fetch(r->desc + 16u * k->id);
        return take_one(r, c, &d, d.flags) || take_split(r, c) ? RING_CHAIN : RING_BROKEN;
    }
    if (take_one(r, c, &d, d.next))
        return RING_CHAIN;
    start_chain(c);
    c->slots = 1;
    return (d.next & (DESC_INDIRECT | DESC_NEXT)) == DESC_INDIRECT && add_indirect(r, c, &d)
               ? RING_CHAIN
               : RING_BROKEN;
}

/* Split: the avail ring has the heads from `resume` on, since it has room for all that is in
 * flight.  Packed: used descriptors were written before `resume` only, since each of them belongs
 * to a chain that was passed or kept. */
void virtio_ring_rewind(struct virtio_queue *q)
{
    q->next_avail = q->resume;
    q->avail_wrap = q->resume_wrap;
}

/* Has the position `event` been passed by the last `count` entries before `now`?  2.7.7.2 */
static bool passed(u16 event, u16 now, u16 count)
{
    return (u16)(now - event - 1) < count;
}

static bool packed_wants(const struct virtio_ring *r, u16 count)
{
    const struct virtio_queue *q = r->q;
    u16 where = load(r->driver, 0), flags = load(r->driver, 2) & 3;
    if (flags != EVENT_DESC || !r->event_idx)
        return flags != EVENT_DISABLE;
    u16 event = where & 0x7fff;
    if (where >> 15 != q->used_wrap)
        event = (u16)(event - r->size);
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
        return passed(load(r->driver, used_event_offset(r->size)), q->next_used, count);
    return !(load(r->driver, 0) & AVAIL_NO_INTERRUPT);
}

void virtio_ring_want_doorbell(const struct virtio_ring *r, bool want)
{
    const struct virtio_queue *q = r->q;
    if (r->packed) {
        if (want && r->event_idx)
            store(r->device, 0, (u16)(q->next_avail | (q->avail_wrap ? BIT(15) : 0)));
        store(r->device, 2, want ? (r->event_idx ? EVENT_DESC : EVENT_ENABLE) : EVENT_DISABLE);
    } else if (r->event_idx) {
        /* No way to say "none"; an index as far away as can be is as good as that for 32,000
         * entries, also for a driver that looks at it when its entries were taken already. */
        store(r->device, avail_event_offset(r->size),
              (u16)(want ? q->next_avail : q->next_avail + 0x8000));
    } else {
        store(r->device, 0, want ? 0 : USED_NO_NOTIFY);
    }
    __atomic_thread_fence(__ATOMIC_SEQ_CST);
}

/* ---- contents ---------------------------------------------------------------------------------
 */

u32 virtio_chain_read(const struct virtio_chain *c, u32 offset, void *dst, u32 len)
{
    const struct virtio_segment *s = c->segment, *end = s + c->readable;
    u32 done = 0;
    for (; s < end && done < len; s++) {
        if (offset >= s->len) {
            offset -= s->len;
            continue;
        }
        u32 n = MIN(s->len - offset, len - done);
        memcpy((u8 *)dst + done, s->at + offset, n);
        done += n;
        offset = 0;
    }
    return done;
}

u32 virtio_chain_write(const struct virtio_chain *c, u32 offset, const void *src, u32 len)
{
    const struct virtio_segment *s = c->segment + c->readable, *end = s + c->writable;
    u32 done = 0;
    for (; s < end && done < len; s++) {
        if (offset >= s->len) {
            offset -= s->len;
            continue;
        }
        u32 n = MIN(s->len - offset, len - done);
        memcpy(s->at + offset, (const u8 *)src + done, n);
        done += n;
        offset = 0;
    }
    return done;
}
