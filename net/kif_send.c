/* Copying, summing and joining of what lwIP sends; called by net/kif.c. */
#include "net/kif_send.h"

#include <string.h>

#include "net/frame_buffer.h"
#include "net/offload.h"

#define TCP 6u
#define TCP_HEADER 20u
#define TCP_ACK 0x10u
#define TCP_PSH 0x08u
#define JOINED_MOST 60000u /* a total length of IPv4 has 16 bits */
#define WORTH_JOINING 512u

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

/* The same frame with room for more. */
static bool grow(struct net_frame *f, u32 size)
{
    struct frame_buffer *larger = frame_buffer_get(size);

    if (!larger)
        return false;
    memcpy(larger->bytes, f->data, f->len);
    frame_buffer_drop(f->buffer);
    f->buffer = larger;
    f->data = larger->bytes;
    return true;
}

/* The payload of `p` behind that of the last frame, if it continues it. */
static bool join(struct kif_sender *s, const struct pbuf *p)
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
        (all > last->buffer->size && !grow(last, FRAME_BUFFER_LARGE)))
        return false;
    last->buffer->bytes[tcp + 13] |= from[tcp + 13];
    pbuf_copy_partial(p, last->buffer->bytes + last->len, (u16)payload, (u16)header);
    last->len = all;
    last->gso_type = from[last->network] >> 4 == 4 ? FRAME_GSO_TCP4 : FRAME_GSO_TCP6;
    last->gso_size = s->segment;
    s->next_sequence += payload;
    if (payload < s->segment)
        s->segment = 0; /* only the last may be short */
    return true;
}

/* May later segments join the newest frame? */
static void open_last(struct kif_sender *s, const struct switch_port *port)
{
    struct net_frame *f = &s->frames[s->count - 1];
    struct frame_ip ip;

    s->segment = 0;
    if (!frame_ip(f, &ip) || !may_cut(port, ip.version))
        return;
    u32 payload = plain_segment(f, &ip);
    s->segment = payload >= WORTH_JOINING ? (u16)payload : 0;
    f->header_len = (u16)(ip.offset + TCP_HEADER);
    s->next_sequence = frame_be32(f->data + ip.offset + 4) + s->segment;
}

/* ---- the batch ---------------------------------------------------------------------------------
 */
bool kif_send(struct kif_sender *s, const struct switch_port *port, const struct pbuf *p)
{
    struct frame_buffer *b;

    if (s->count && join(s, p))
        return true;
    if (s->count == SWITCH_BATCH)
        kif_send_flush(s, port);
    b = frame_buffer_get(p->tot_len);
    if (!b)
        return false;
    pbuf_copy_partial(p, b->bytes, p->tot_len, 0);
    struct net_frame *f = &s->frames[s->count++];
    *f = (struct net_frame){.data = b->bytes, .len = p->tot_len, .buffer = b};
    s->segment = 0;
    if (frame_parse(f))
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
