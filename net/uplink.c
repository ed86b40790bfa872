/* The way between cards and switches; called by the shell, by the switch and by drivers/nic.c. */
#include "net/uplink.h"

#include <stdlib.h>
#include <string.h>

#include "control/rt/clock.h"
#include "control/rt/dma.h"
#include "net/checksum.h"
#include "net/net.h"
#include "net/switches.h"

#define BUFFERS 256u

struct buffer {
    struct nic_frame frame; /* ->owner is the uplink */
    struct buffer *next;
    u8 *bytes;
};

struct uplink {
    struct nic *nic;
    struct switch_port *port;
    struct nic_user user;
    struct buffer buffers[BUFFERS], *free;
    u32 size, in_flight;
    bool closing; /* freed when the card has given back the last buffer */
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

static void take_back(struct nic_frame *f)
{
    struct buffer *b = (struct buffer *)f;
    struct uplink *u = f->owner;

    b->next = u->free;
    u->free = b;
    if (!--u->in_flight && u->closing)
        destroy(u);
}

static void finish_checksum(const struct net_frame *f, u8 *bytes, u32 len, u32 moved)
{
    u32 start = f->csum_start + moved, at = start + f->csum_offset;
    u16 sum;

    if (start > len || at + 2 > len)
        return;
    sum = (u16)~checksum_sum(bytes + start, (int)(len - start));
    memcpy(bytes + at, &sum, sizeof(sum));
}

/* Offloads go to the card when it has them; sums are made here when it has not. */
static void describe(const struct uplink *u, const struct net_frame *f, struct buffer *b)
{
    u32 moved = b->frame.len - f->len;

    b->frame.flags = 0;
    if (f->gso_type == FRAME_GSO_TCP4 || f->gso_type == FRAME_GSO_TCP6) {
        b->frame.flags = f->gso_type == FRAME_GSO_TCP4 ? NIC_GSO_TCP4 : NIC_GSO_TCP6;
        b->frame.gso_size = f->gso_size;
        b->frame.header_len = (u16)(f->header_len + moved);
    }
    if (!(f->flags & FRAME_CSUM_NEEDED))
        return;
    if (u->nic->capabilities & NIC_CAN_CSUM) {
        b->frame.flags |= NIC_CSUM_NEEDED;
        b->frame.csum_start = (u16)(f->csum_start + moved);
        b->frame.csum_offset = f->csum_offset;
    } else {
        finish_checksum(f, b->bytes, b->frame.len, moved);
    }
}

static bool fill(struct uplink *u, const struct switch_item *item, struct nic_frame **out)
{
    struct buffer *b = u->free;
    u32 len = b ? frame_copy(item->frame, item->tag, b->bytes, u->size) : 0;

    if (!len)
        return false;
    u->free = b->next;
    u->in_flight++;
    b->frame.data = b->bytes;
    b->frame.len = len;
    b->frame.more = NULL;
    describe(u, item->frame, b);
    *out = &b->frame;
    return true;
}

static void deliver(void *owner, const struct switch_item *items, u32 count)
{
    struct nic_frame *frames[SWITCH_BATCH];
    struct uplink *u = owner;
    u32 n = 0, taken;

    for (u32 i = 0; i < count; i++) {
        if (fill(u, &items[i], &frames[n]))
            n++;
        else
            u->nic->stats.tx_dropped++;
    }
    taken = n ? nic_send(u->nic, frames, n) : 0;
    for (u32 i = taken; i < n; i++) { /* the card's queue is full: this is where packets are lost */
        u->nic->stats.tx_dropped++;
        take_back(frames[i]);
    }
}

static const struct switch_port_ops ops = {deliver};

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
static void receive_pieces(struct uplink *u, const struct nic_frame *from, u64 now)
{
    static u8 whole[FRAME_MAX];
    struct net_frame f;
    u32 len = 0;

    to_net_frame(from, &f);
    for (const struct nic_frame *p = from; p; p = p->more) {
        if (p->len > sizeof(whole) - len)
            return;
        memcpy(whole + len, p->data, p->len);
        len += p->len;
    }
    f.data = whole;
    f.len = len;
    switch_input(u->port->sw, u->port->index, &f, 1, now);
}

static void receive(void *owner, struct nic_frame *const *frames, u32 count)
{
    struct net_frame batch[NIC_BATCH];
    struct uplink *u = owner;
    u64 now = clock_ns();
    u32 n = 0;

    for (u32 i = 0; i < count; i++) {
        if (!frames[i]->more && n < NIC_BATCH) {
            to_net_frame(frames[i], &batch[n++]);
            continue;
        }
        switch_input(u->port->sw, u->port->index, batch, n, now); /* keep the order */
        n = 0;
        receive_pieces(u, frames[i], now);
    }
    switch_input(u->port->sw, u->port->index, batch, n, now);
    for (u32 i = 0; i < count; i++)
        nic_release(frames[i]);
    net_wake();
}

static void on_link(void *owner)
{
    const struct uplink *u = owner;

    switch_link(u->port->sw, u->port->index, u->nic->link_up && !u->nic->gone,
                u->nic->link_mbps * 1000000ull, clock_ns());
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
    u->user = (struct nic_user){.receive = receive, .link = on_link, .owner = u};
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
    return u;
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
    if (n->mtu != sw->mtu && sw->mtu <= n->mtu_most && nic_set_mtu(n, sw->mtu) != HV_OK)
        return HV_EIO;
    u = create(n);
    if (!u)
        return HV_ENOMEM;
    port = switches_add_uplink(sw, nic, &ops, u);
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
