/* Delay lines of shaped ports and emulated links; called by the switch. */
#include "net/delay.h"

#include <string.h>

struct record {
    u64 at;
    u32 room; /* bytes it takes here, itself included */
    u32 skip; /* 1: nothing but padding up to the end of the memory */
    u16 tag;
    struct net_frame frame; /* data is an offset in disguise: the bytes follow */
};

void delay_init(struct delay_line *d, void *bytes, u32 size)
{
    *d = (struct delay_line){.bytes = bytes, .size = size};
}

static u32 room_of(u32 len)
{
    return ROUND_UP((u32)sizeof(struct record) + len, 8u);
}

static u32 to_end(const struct delay_line *d)
{
    return d->size - (d->head & (d->size - 1));
}

/* Bytes that a record of `room` costs, with padding when it does not fit before the end. */
static u32 needed(const struct delay_line *d, u32 room)
{
    return room <= to_end(d) ? room : to_end(d) + room;
}

bool delay_room(const struct delay_line *d, u32 len)
{
    return d->bytes && needed(d, room_of(len)) <= d->size - (d->head - d->tail);
}

static struct record *at_offset(const struct delay_line *d, u32 offset)
{
    return (struct record *)(d->bytes + (offset & (d->size - 1)));
}

/* What stands at the tail; padding is stepped over. */
static struct record *oldest(const struct delay_line *d, u32 *tail)
{
    *tail = d->tail;
    if (!d->count)
        return NULL;
    if (d->size - (d->tail & (d->size - 1)) < sizeof(struct record) || at_offset(d, *tail)->skip)
        *tail = ROUND_UP(*tail + 1, d->size);
    return at_offset(d, *tail);
}

bool delay_put(struct delay_line *d, const struct net_frame *f, u16 tag, u64 at)
{
    u32 room = room_of(f->len);

    if (!delay_room(d, f->len))
        return false;
    if (room > to_end(d)) {
        if (to_end(d) >= sizeof(struct record))
            at_offset(d, d->head)->skip = 1;
        d->head += to_end(d);
    }
    struct record *r = at_offset(d, d->head);
    d->last = d->count ? MAX(d->last, at) : at;
    *r = (struct record){.at = d->last, .room = room, .tag = tag, .frame = *f};
    frame_read(f, 0, r + 1, f->len);
    d->head += room;
    d->count++;
    return true;
}

bool delay_peek(const struct delay_line *d, u64 now, struct net_frame *f, u16 *tag)
{
    u32 tail;
    const struct record *r = oldest(d, &tail);

    if (!r || r->at > now)
        return false;
    *f = r->frame;
    f->data = (const u8 *)(r + 1);
    f->rest_count = 0;
    f->buffer = NULL; /* these bytes are the line's */
    *tag = r->tag;
    return true;
}

void delay_drop(struct delay_line *d)
{
    u32 tail;
    const struct record *r = oldest(d, &tail);

    if (r) {
        d->tail = tail + r->room;
        d->count--;
    }
}

u64 delay_next(const struct delay_line *d)
{
    u32 tail;
    const struct record *r = oldest(d, &tail);

    return r ? r->at : ~0ull;
}
