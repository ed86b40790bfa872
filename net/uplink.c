/* The way between cards and switches; called by the shell, by the switch and by drivers/nic.c. */
#include "net/uplink.h"

#include <stdlib.h>
#include <string.h>

#include "control/rt/clock.h"
#include "control/rt/dma.h"
#include "control/rt/log.h"
#include "net/frame_buffer.h"
#include "net/net.h"
#include "net/offload.h"
#include "net/switches.h"
#include "net/uplink_pieces.h"

#define BUFFERS 256u  /* frames that are copied */
#define HOLDERS 1600u /* of frames in their makers' buffers, of which there are fewer */
#define LENT 128u     /* received frames held above: cards have some 256 */

struct buffer {
    struct nic_frame frame; /* ->owner is the uplink */
    struct buffer *next;
    u8 *bytes;                 /* NULL: the frame's bytes are its maker's */
    struct frame_buffer *held; /* has the frame's bytes, or those behind its headers */
};

/* A received frame that the stack above holds. */
struct lent {
    struct frame_buffer buffer;
    struct nic_frame *frame;
    struct uplink *uplink;
    struct lent *next;
};

struct uplink {
    struct nic *nic;
    struct switch_port *port;
    struct nic_user user;
    struct buffer buffers[BUFFERS], *free;
    struct buffer holders[HOLDERS], *free_holders;
    struct buffer *waiting, **waiting_end; /* frames that the card has no room for */
    struct lent lent[LENT], *free_lent;
    u32 size, in_flight; /* frames at the card, and those lent */
    bool closing;        /* freed when the last of them is back */
    struct uplink *next;
};

static struct uplink *uplinks;

/* ---- to the card -------------------------------------------------------------------------------
 */
static void destroy(struct uplink *u)
{
    for (u32 i = 0; i < BUFFERS; i++)
        dma_free(u->buffers[i].bytes, u->size);
    free(u);
}

static void one_less(struct uplink *u)
{
    if (!--u->in_flight && u->closing)
        destroy(u);
}

static void take_back(struct nic_frame *f)
{
    struct buffer *b = (struct buffer *)f;
    struct uplink *u = f->owner;

    struct buffer **list = b->bytes ? &u->free : &u->free_holders;

    if (b->held)
        frame_buffer_drop(b->held);
    b->held = NULL;
    b->next = *list;
    *list = b;
    one_less(u);
}

/* Frames on their way to the card. */
struct batch {
    struct uplink *u;
    struct nic_frame *frames[SWITCH_BATCH];
    u32 count;
};

/* What the card has no room for waits, in order; buffers bound how much. */
static void flush(struct batch *b)
{
    struct uplink *u = b->u;
    u32 taken = b->count && !u->waiting ? nic_send(u->nic, b->frames, b->count) : 0;

    for (u32 i = taken; i < b->count; i++) {
        struct buffer *buffer = (struct buffer *)b->frames[i];

        buffer->next = NULL;
        *u->waiting_end = buffer;
        u->waiting_end = &buffer->next;
    }
    b->count = 0;
}

static struct buffer *take_waiting(struct uplink *u)
{
    struct buffer *b = u->waiting;

    u->waiting = b->next;
    if (!u->waiting)
        u->waiting_end = &u->waiting;
    return b;
}

/* The card has room again. */
static void on_room(void *owner)
{
    struct nic_frame *frames[NIC_BATCH];
    struct uplink *u = owner;
    u32 count, taken;

    do {
        count = 0;
        for (struct buffer *b = u->waiting; b && count < NIC_BATCH; b = b->next)
            frames[count++] = &b->frame;
        for (u32 i = 0; i < count; i++)
            (void)take_waiting(u);
        taken = count ? nic_send(u->nic, frames, count) : 0;
        for (u32 i = count; i > taken; i--) {
            struct buffer *b = (struct buffer *)frames[i - 1];

            b->next = u->waiting;
            if (!u->waiting)
                u->waiting_end = &b->next;
            u->waiting = b;
        }
    } while (count && taken == count);
}

/* Does the card what is left to do for this frame? */
static bool card_can(const struct nic *n, const struct net_frame *f)
{
    u32 needs = f->flags & FRAME_CSUM_NEEDED ? NIC_CAN_CSUM : 0;

    if (f->gso_type)
        needs |= NIC_CAN_CSUM | (f->gso_type == FRAME_GSO_TCP4 ? NIC_CAN_TSO4 : NIC_CAN_TSO6);
    return (n->capabilities & needs) == needs &&
           (!f->gso_type || (f->flags & FRAME_CSUM_NEEDED && f->len + FRAME_TAG <= NIC_FRAME_MOST));
}

static void describe(const struct net_frame *f, u32 moved, struct nic_frame *out)
{
    if (f->gso_type) {
        out->flags = f->gso_type == FRAME_GSO_TCP4 ? NIC_GSO_TCP4 : NIC_GSO_TCP6;
        out->gso_size = f->gso_size;
        out->header_len = (u16)(f->header_len + moved);
    }
    if (f->flags & FRAME_CSUM_NEEDED) {
        out->flags |= NIC_CSUM_NEEDED;
        out->csum_start = (u16)(f->csum_start + moved);
        out->csum_offset = f->csum_offset;
    }
}

/* A buffer, in the batch; `len` bytes are in it when the caller has filled it. */
static struct buffer *next_buffer(struct batch *b)
{
    struct buffer *buffer;

    if (b->count == SWITCH_BATCH || !b->u->free)
        flush(b);
    buffer = b->u->free;
    if (!buffer) {
        b->u->nic->stats.tx_dropped++;
        return NULL;
    }
    buffer->frame.data = buffer->bytes;
    buffer->frame.flags = 0;
    buffer->frame.more = NULL;
    return buffer;
}

static void add(struct batch *b, struct buffer *buffer, u32 len)
{
    if (buffer->bytes)
        b->u->free = buffer->next;
    else
        b->u->free_holders = buffer->next;
    b->u->in_flight++;
    buffer->frame.len = len;
    b->frames[b->count++] = &buffer->frame;
}

static void keep(struct nic_frame *f)
{
    (void)f; /* the switch has the bytes back when deliver() returns */
}

/* A segment that the card cuts is longer than a buffer: nic_send() copies it, since it is not in
 * memory that a card reaches. */
static void send_long(struct batch *b, const struct switch_item *item)
{
    const struct net_frame *f = item->frame;
    struct nic_frame piece[3] = {0}, *first = piece;
    struct frame_part part[FRAME_PARTS];
    u8 tag_bytes[FRAME_TAG];
    u32 n = frame_parts(f, item->tag, tag_bytes, part);

    for (u32 i = 0; i < n; i++) {
        piece[i].data = (u8 *)(uintptr_t)part[i].at;
        piece[i].len = part[i].len;
        piece[i].more = i + 1 < n ? &piece[i + 1] : NULL;
        piece[i].release = keep;
    }
    describe(f, frame_out_len(f, item->tag) - f->len, first);
    flush(b);
    if (b->u->waiting || !nic_send(b->u->nic, &first, 1))
        b->u->nic->stats.tx_dropped++;
}

static void send_cut(struct batch *b, const struct switch_item *item)
{
    struct offload o;
    struct buffer *buffer;
    u32 len;

    offload_start(&o, item->frame, item->tag);
    while ((buffer = next_buffer(b)) && (len = offload_next(&o, buffer->bytes, b->u->size)))
        add(b, buffer, len);
}

static void send_plain(struct batch *b, const struct switch_item *item)
{
    struct buffer *buffer = next_buffer(b);
    u32 len = buffer ? frame_copy(item->frame, item->tag, buffer->bytes, b->u->size) : 0;

    if (!len) {
        if (buffer) /* longer than those */
            b->u->nic->stats.tx_dropped++;
        return;
    }
    describe(item->frame, len - item->frame->len, &buffer->frame);
    add(b, buffer, len);
}

/* A holder, in the batch, of a frame in its maker's memory. */
static struct buffer *next_holder(struct batch *b, const struct net_frame *f)
{
    struct buffer *buffer;

    if (b->count == SWITCH_BATCH || !b->u->free_holders)
        flush(b);
    buffer = b->u->free_holders;
    if (!buffer) {
        b->u->nic->stats.tx_dropped++;
        return NULL;
    }
    buffer->frame.flags = 0;
    buffer->frame.more = NULL;
    buffer->frame.data = (u8 *)(uintptr_t)f->data;
    return buffer;
}

static bool has_that_tag(const struct switch_item *item)
{
    const struct net_frame *f = item->frame;

    return item->tag == FRAME_UNTAGGED ? !f->tagged : f->tagged && item->tag == f->tci;
}

/* The card reads what the frame's maker wrote, all of it, or all behind an Ethernet header that is
 * made anew since it has another tag.  False: there is no piece left for that. */
static bool send_held(struct batch *b, const struct switch_item *item)
{
    const struct net_frame *f = item->frame;
    bool as_it_is = has_that_tag(item);
    struct net_frame header = {.data = f->data, .len = 12u + f->tagged, .tagged = f->tagged};
    u32 len = as_it_is ? frame_front(f) : header.len;
    struct nic_frame *chain;

    if (!uplink_pieces(f, len, &chain))
        return false;
    struct buffer *buffer = as_it_is ? next_holder(b, f) : next_buffer(b);
    if (!buffer) {
        nic_release(chain);
        return true;
    }
    if (!as_it_is)
        len = frame_copy(&header, item->tag, buffer->bytes, b->u->size);
    buffer->frame.more = chain;
    frame_buffer_hold(f->buffer);
    buffer->held = f->buffer;
    describe(f, frame_out_len(f, item->tag) - f->len, &buffer->frame);
    add(b, buffer, len);
    return true;
}

static void send_one(struct batch *b, const struct switch_item *item)
{
    const struct net_frame *f = item->frame;
    bool reached = dma_reaches(f->data, frame_front(f));

    if (!card_can(b->u->nic, f))
        send_cut(b, item);
    else if (reached && f->buffer && send_held(b, item))
        return;
    else if (!f->gso_type)
        send_plain(b, item);
    else if (reached || f->rest_count)
        send_cut(b, item);
    else
        send_long(b, item);
}

static void deliver(void *owner, const struct switch_item *items, u32 count)
{
    struct batch b = {.u = owner};

    for (u32 i = 0; i < count; i++) {
        send_one(&b, &items[i]);
    }
    flush(&b);
}

static const struct switch_port_ops ops = {.deliver = deliver};

/* ---- from the card -----------------------------------------------------------------------------
 */
static void to_net_frame(const struct nic_frame *from, struct net_frame *f)
{
    *f = (struct net_frame){.data = from->data, .len = from->len};
    if (from->flags & NIC_CSUM_GOOD)
        f->flags |= FRAME_CSUM_VALID;
    if (from->flags & (NIC_GSO_TCP4 | NIC_GSO_TCP6)) {
        f->gso_type = from->flags & NIC_GSO_TCP4 ? FRAME_GSO_TCP4 : FRAME_GSO_TCP6;
        f->gso_size = from->gso_size;
    }
    if (from->flags & NIC_CSUM_NEEDED) {
        f->flags |= FRAME_CSUM_NEEDED;
        f->csum_start = from->csum_start;
        f->csum_offset = from->csum_offset;
    }
}

/* A frame in pieces is put together first. */
static bool gather(const struct nic_frame *from, struct net_frame *f)
{
    static u8 whole[FRAME_MAX];
    u32 len = 0;

    for (const struct nic_frame *p = from; p; p = p->more) {
        if (p->len > sizeof(whole) - len)
            return false;
        memcpy(whole + len, p->data, p->len);
        len += p->len;
    }
    f->data = whole;
    f->len = len;
    return true;
}

static void take_lent(struct frame_buffer *b)
{
    struct lent *l = (struct lent *)b;
    struct uplink *u = l->uplink;

    l->next = u->free_lent;
    u->free_lent = l;
    nic_release(l->frame);
    one_less(u);
}

/* The frame can be held after receive(), which is its first holder. */
static void lend(struct uplink *u, struct nic_frame *frame, struct net_frame *f)
{
    struct lent *l = u->free_lent;

    if (!l || frame->more)
        return;
    u->free_lent = l->next;
    u->in_flight++;
    l->frame = frame;
    l->buffer.users = 1;
    f->buffer = &l->buffer;
}

static void give_back(struct nic_frame *frame, struct frame_buffer *b)
{
    if (b)
        frame_buffer_drop(b);
    else
        nic_release(frame);
}

static void receive(void *owner, struct nic_frame *const *frames, u32 count)
{
    struct frame_buffer *lent[NIC_BATCH] = {NULL};
    struct net_frame batch[NIC_BATCH];
    struct uplink *u = owner;
    u64 now = clock_ns();
    u32 n = 0;

    for (u32 i = 0; i < count; i++) {
        struct net_frame *f = &batch[n];

        to_net_frame(frames[i], f);
        if ((frames[i]->more && !gather(frames[i], f)) || !offload_check(f)) {
            switch_refuse(u->port->sw, u->port->index, DROP_OFFLOAD);
            continue;
        }
        lend(u, frames[i], f);
        lent[i] = f->buffer;
        if (++n == NIC_BATCH || frames[i]->more) { /* there is one place to put pieces together */
            switch_input(u->port->sw, u->port->index, batch, n, now);
            n = 0;
        }
    }
    switch_input(u->port->sw, u->port->index, batch, n, now);
    for (u32 i = 0; i < count; i++)
        give_back(frames[i], lent[i]);
    net_wake();
}

static void on_link(void *owner)
{
    struct uplink *u = owner;

    switch_link(u->port->sw, u->port->index, u->nic->link_up && !u->nic->gone,
                u->nic->link_mbps * 1000000ull, clock_ns());
    on_room(u); /* without a link what waits is dropped */
    net_wake();
}

/* ---- set-up ------------------------------------------------------------------------------------
 */
static struct uplink *create(struct nic *n)
{
    struct uplink *u = calloc(1, sizeof(*u));

    if (!u)
        return NULL;
    u->nic = n;
    u->size = n->mtu + 64 <= 2048 ? 2048 : 16384;
    u->user = (struct nic_user){.receive = receive, .room = on_room, .link = on_link, .owner = u};
    u->waiting_end = &u->waiting;
    for (u32 i = 0; i < BUFFERS; i++) {
        struct buffer *b = &u->buffers[i];

        b->bytes = dma_alloc(u->size);
        if (!b->bytes) {
            destroy(u);
            return NULL;
        }
        b->frame.release = take_back;
        b->frame.owner = u;
        b->next = u->free;
        u->free = b;
    }
    for (u32 i = 0; i < HOLDERS; i++) {
        u->holders[i].frame = (struct nic_frame){.release = take_back, .owner = u};
        u->holders[i].next = u->free_holders;
        u->free_holders = &u->holders[i];
    }
    for (u32 i = 0; i < LENT; i++) {
        u->lent[i].buffer.release = take_lent;
        u->lent[i].uplink = u;
        u->lent[i].next = u->free_lent;
        u->free_lent = &u->lent[i];
    }
    return u;
}

static u8 what_it_can(const struct nic *n)
{
    return (u8)((n->capabilities & NIC_CAN_CSUM ? SWITCH_CAN_SUM : 0) |
                (n->capabilities & NIC_CAN_TSO4 ? SWITCH_CAN_CUT4 : 0) |
                (n->capabilities & NIC_CAN_TSO6 ? SWITCH_CAN_CUT6 : 0));
}

enum hv_status uplink_add(struct net_switch *sw, const char *nic)
{
    static const struct nic_filter all = {.promiscuous = true, .all_multicast = true};
    struct nic *n = nic_find(nic);
    struct uplink *u;
    int port;

    if (!n)
        return HV_ENOENT;
    if (n->user)
        return HV_EBUSY;
    if (n->mtu < sw->mtu && (sw->mtu > n->mtu_most || nic_set_mtu(n, sw->mtu) != HV_OK))
        log_warn("%s carries frames of %u bytes, %s has up to %u: longer ones are dropped there",
                 n->name, n->mtu, sw->name, sw->mtu);
    u = create(n);
    if (!u)
        return HV_ENOMEM;
    port = switches_add_uplink(sw, nic, &ops, u, what_it_can(n));
    if (port < 0) {
        destroy(u);
        return (enum hv_status)port;
    }
    u->port = sw->ports[port];
    u->next = uplinks;
    uplinks = u;
    if (nic_open(n, &u->user) != HV_OK)
        return uplink_remove(nic) == HV_OK ? HV_EBUSY : HV_EIO;
    nic_set_filter(n, &all);
    on_link(u);
    return HV_OK;
}

enum hv_status uplink_remove(const char *nic)
{
    for (struct uplink **at = &uplinks; *at; at = &(*at)->next) {
        struct uplink *u = *at;

        if (strcmp(u->nic->name, nic))
            continue;
        *at = u->next;
        if (u->nic->user == &u->user)
            nic_close(u->nic);
        switch_port_remove(u->port->sw, u->port->index);
        while (u->waiting)
            nic_release(&take_waiting(u)->frame);
        u->closing = true;
        if (!u->in_flight)
            destroy(u);
        return HV_OK;
    }
    return HV_ENOENT;
}

struct nic *uplink_nic(const struct switch_port *p)
{
    return p->type == PORT_UPLINK ? ((const struct uplink *)p->owner)->nic : NULL;
}
