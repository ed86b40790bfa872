/* Holding, summing and joining of what lwIP sends; called by net/kif.c. */
#include "net/kif_send.h"

#include <stdlib.h>
#include <string.h>

#include "control/rt/dma.h"
#include "net/frame_buffer.h"
#include "net/offload.h"

#define ICMP 1u
#define TCP 6u
#define TCP_HEADER 20u
#define TCP_ACK 0x10u
#define TCP_PSH 0x08u
#define UDP 17u
#define UDP_HEADER 8u
#define JOINED_MOST 60000u /* a total length of IPv4 has 16 bits */
#define WORTH_JOINING 512u /* payload of the first */
#define SEGMENTS 64u       /* of a joined frame */
#define HOLDERS_MOST 8u    /* of a pbuf, whose count has 8 bits */
#define HELD_MOST 512u     /* frames in lwIP's memory */

/* ---- frames in lwIP's memory -------------------------------------------------------------------
 */
struct held {
    struct frame_buffer head; /* the first pbuf's bytes */
    struct frame_part rest[FRAME_REST];
    struct pbuf *pbufs[SEGMENTS];
    u32 count;
};

static struct frame_buffer *free_held;
static u32 held_made;

/* All cards are done with the frame. */
static void let_go(struct frame_buffer *b)
{
    struct held *h = (struct held *)b;

    for (u32 i = 0; i < h->count; i++)
        pbuf_free(h->pbufs[i]);
    h->count = 0;
    b->next = free_held;
    free_held = b;
}

static struct held *new_held(const struct pbuf *p)
{
    struct held *h = (struct held *)free_held;

    if (h) {
        free_held = h->head.next;
    } else {
        h = held_made < HELD_MOST ? malloc(sizeof(*h)) : NULL;
        if (!h)
            return NULL;
        held_made++;
    }
    h->head =
        (struct frame_buffer){.bytes = p->payload, .size = p->len, .users = 1, .release = let_go};
    h->count = 0;
    return h;
}

/* The bytes of `p` from `skip` on become the end of the frame.  False: there are too many parts, or
 * one that cards do not reach. */
static bool hold(struct held *h, struct net_frame *f, struct pbuf *p, u32 skip)
{
    u32 n = f->rest_count, before = n ? h->rest[n - 1].len : 0;
    bool fits = h->count < SEGMENTS && p->ref < HOLDERS_MOST;

    for (const struct pbuf *q = p; q && fits; q = q->next) {
        u32 at = MIN(skip, (u32)q->len), len = q->len - at;
        const u8 *bytes = (const u8 *)q->payload + at;

        skip -= at;
        if (!len)
            continue;
        if (n && h->rest[n - 1].at + h->rest[n - 1].len == bytes)
            h->rest[n - 1].len += len;
        else if (n < FRAME_REST)
            h->rest[n++] = (struct frame_part){bytes, len};
        else
            fits = false;
        fits = fits && dma_reaches(bytes, len);
    }
    if (!fits) {
        if (f->rest_count)
            h->rest[f->rest_count - 1].len = before;
        return false;
    }
    f->rest_count = (u16)n;
    pbuf_ref(p);
    h->pbufs[h->count++] = p;
    return true;
}

/* Has the first pbuf all headers, as switches want a frame in pieces?  Those that lwIP chains are
 * TCP, UDP and what it has cut itself. */
static bool headers_are_together(const struct pbuf *p)
{
    const u8 *f = p->payload, *ip = f + FRAME_HEADER;
    u32 len, protocol;

    if (p->len == p->tot_len)
        return true;
    if (p->len < FRAME_HEADER + 20u)
        return false;
    switch (frame_be16(f + 12)) {
    case ETH_IPV4:
        len = (ip[0] & 15u) * 4;
        protocol = ip[9];
        break;
    case ETH_IPV6:
        len = 40;
        protocol = ip[6];
        break;
    default:
        return false;
    }
    len += FRAME_HEADER + (protocol == TCP ? TCP_HEADER : protocol == UDP ? UDP_HEADER : 0);
    return p->len >= len && (protocol == TCP || protocol == UDP || protocol == ICMP);
}

/* False: it has to be copied. */
static bool take_held(struct net_frame *f, struct pbuf *p)
{
    bool can = dma_reaches(p->payload, p->len) && headers_are_together(p);
    struct held *h = can ? new_held(p) : NULL;

    if (!h)
        return false;
    *f = (struct net_frame){.data = p->payload,
                            .len = p->tot_len,
                            .front = p->len,
                            .rest = h->rest,
                            .buffer = &h->head};
    if (hold(h, f, p, p->len))
        return true;
    frame_buffer_drop(&h->head);
    return false;
}

static bool take_copy(struct net_frame *f, const struct pbuf *p)
{
    struct frame_buffer *b = frame_buffer_get(p->tot_len);

    if (!b)
        return false;
    pbuf_copy_partial(p, b->bytes, p->tot_len, 0);
    *f = (struct net_frame){.data = b->bytes, .len = p->tot_len, .buffer = b};
    return true;
}

/* ---- segments that follow each other -----------------------------------------------------------
 */
bool kif_send_same_headers(const u8 *a, const u8 *b, u32 network, u32 tcp)
{
    bool four = a[network] >> 4 == 4;
    u32 addresses = network + (four ? 12 : 8);

    return !memcmp(a, b, network + (four ? 2 : 4)) &&
           !memcmp(a + network + 6, b + network + 6, four ? 4 : 2) &&
           !memcmp(a + addresses, b + addresses, tcp - addresses + 4) &&
           !memcmp(a + tcp + 8, b + tcp + 8, 5) && !memcmp(a + tcp + 14, b + tcp + 14, 2) &&
           ((a[tcp + 13] ^ b[tcp + 13]) & ~TCP_PSH) == 0;
}

/* What of its payload a frame that is one plain segment has, 0: it is none.  `f` is parsed; len is
 * that of the whole frame. */
static u32 plain_segment(const struct net_frame *f, const struct frame_ip *ip)
{
    const u8 *tcp = f->data + ip->offset;

    if (ip->protocol != TCP || ip->len <= TCP_HEADER || tcp[12] >> 4 != TCP_HEADER / 4 ||
        (tcp[13] & ~TCP_PSH) != TCP_ACK)
        return 0;
    return ip->len - TCP_HEADER;
}

static bool may_cut(const struct switch_port *port, u32 version)
{
    return port->sw->can & (version == 4 ? SWITCH_CAN_CUT4 : SWITCH_CAN_CUT6);
}

/* The payload of `p` behind that of the last frame, if it continues it. */
static bool join(struct kif_sender *s, struct pbuf *p)
{
    struct net_frame *last = &s->frames[s->count - 1];
    u32 header = last->header_len, tcp = header - TCP_HEADER;
    const u8 *from = p->payload;

    if (!s->segment || p->len < header || p->tot_len == header)
        return false;
    u32 payload = p->tot_len - header, all = last->len + payload;
    if (payload > s->segment || all > JOINED_MOST ||
        frame_be32(from + tcp + 4) != s->next_sequence ||
        !kif_send_same_headers(last->data, from, last->network, tcp) ||
        !hold((struct held *)last->buffer, last, p, header))
        return false;
    last->buffer->bytes[tcp + 13] |= from[tcp + 13]; /* PSH; it may stay in lwIP's segment */
    last->len = all;
    last->gso_type = from[last->network] >> 4 == 4 ? FRAME_GSO_TCP4 : FRAME_GSO_TCP6;
    last->gso_size = s->segment;
    s->next_sequence += payload;
    if (payload < s->segment)
        s->segment = 0; /* only the last may be short */
    return true;
}

/* May later segments join the newest frame, which is held? */
static void open_last(struct kif_sender *s, const struct switch_port *port)
{
    struct net_frame *f = &s->frames[s->count - 1];
    struct frame_ip ip;

    if (!frame_ip(f, &ip) || !may_cut(port, ip.version))
        return;
    u32 payload = plain_segment(f, &ip);
    if (payload < WORTH_JOINING)
        return; /* of what is no segment there may be nothing behind IP's header in one piece */
    s->segment = (u16)payload;
    f->header_len = (u16)(ip.offset + TCP_HEADER);
    s->next_sequence = frame_be32(f->data + ip.offset + 4) + s->segment;
}

/* ---- the batch ---------------------------------------------------------------------------------
 */
bool kif_send(struct kif_sender *s, const struct switch_port *port, struct pbuf *p)
{
    if (s->count && join(s, p))
        return true;
    if (s->count == SWITCH_BATCH)
        kif_send_flush(s, port);
    struct net_frame *f = &s->frames[s->count];
    bool is_held = take_held(f, p);
    s->segment = 0;
    if (!is_held && !take_copy(f, p))
        return false;
    s->count++;
    if (frame_parse(f) && is_held)
        open_last(s, port);
    return true;
}

void kif_send_drop(struct kif_sender *s)
{
    for (u32 i = 0; i < s->count; i++)
        frame_buffer_drop(s->frames[i].buffer);
    s->count = s->segment = 0;
}

void kif_send_flush(struct kif_sender *s, const struct switch_port *port)
{
    bool can_sum = port->sw->can & SWITCH_CAN_SUM;
    struct net_frame batch[SWITCH_BATCH];
    u32 n = 0;

    for (u32 i = 0; i < s->count; i++) {
        batch[n] = s->frames[i];
        if (offload_leave_sum(&batch[n], s->frames[i].buffer->bytes, can_sum))
            n++;
    }
    if (n)
        switch_input(port->sw, port->index, batch, n, port->sw->now);
    kif_send_drop(s);
}
