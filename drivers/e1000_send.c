/* Frames as descriptors: plain ones, ones that the card sums, ones that it cuts.  SDM 3.3 and 3.5
 * for 8254x and 82574, 82576 datasheet 7.2 for 82576 and later.  Called by e1000.c and by nic.c. */
#include "drivers/e1000_send.h"

#include <string.h>

#include "control/rt/clock.h"
#include "control/rt/dma.h"

/* Of len_type in data descriptors.  SDM 3.3.3: without DATA_OLD what they had first. */
#define DATA_OLD (BIT(20) | BIT(29))
#define CUT_OLD BIT(26)
#define DATA_ADVANCED E1000_SEND_ADVANCED
#define CUT_ADVANCED BIT(31)
/* Of options, in both. */
#define IP_SUM BIT(8)
#define TCP_SUM BIT(9)
#define PAYLOAD_AT 14 /* ADVANCED: bits 31:14 have the length of what is summed or cut */

struct context_old { /* SDM 3.3.6: what the card does with the data descriptors that follow */
    u8 ip_start, ip_sum;
    u16 ip_end;
    u8 sum_start, sum_at;
    u16 sum_end;  /* 0: to the end of the packet */
    u32 len_type; /* bits 19:0: payload of a packet to be cut; 23:20: 0; 31:24: command */
    u8 status, header_len;
    u16 segment;
};
#define OLD_TCP BIT(24) /* else UDP */
#define OLD_IP4 BIT(25)
#define OLD_CUT BIT(26)
#define OLD_EXTENDED BIT(29)

struct context_advanced { /* 82576 datasheet 7.2.2.2 */
    u32 lengths;          /* bits 8:0: of IP's header, 15:9: of Ethernet's */
    u32 reserved;
    u32 type;
    u32 segment; /* bits 15:8: length of TCP's header, 31:16: of a segment's payload */
};
#define ADVANCED_CONTEXT (BIT(21) | BIT(29))
#define ADVANCED_IP4 BIT(10)
#define ADVANCED_TCP BIT(11) /* else UDP */

#define SUM_OF_TCP 16u /* where it lies in TCP's header, and in UDP's */
#define SUM_OF_UDP 6u

static void put_context(struct e1000 *c, const void *context)
{
    memcpy(&c->tx[c->tx_next], context, sizeof(c->tx[0]));
    c->tx_next = (c->tx_next + 1) % RING;
}

static u32 put_piece(struct e1000 *c, const u8 *at, u32 len_type, u32 options)
{
    u32 i = c->tx_next;

    c->tx[i] = (struct e1000_tx){
        .address = dma_address(at), .len_type = len_type | (u32)TX_FCS, .options = options};
    c->tx_next = (i + 1) % RING;
    return i;
}

/* The bytes of a frame from `skip` on; the last descriptor's number. */
static u32 put_data(struct e1000 *c, const struct nic_frame *f, u32 skip, u32 type, u32 options)
{
    u32 last = c->tx_next;

    for (const struct nic_frame *p = f; p; p = p->more) {
        u32 at = MIN(skip, p->len);
        skip -= at;
        for (u32 len; at < p->len; at += len) {
            len = MIN(p->len - at, PIECE_MOST);
            last = put_piece(c, p->data + at, len | type, options);
        }
    }
    return last;
}

/* The first bytes of a frame, fewer if it has not as many. */
static void copy_start(u8 *to, const struct nic_frame *f, u32 left)
{
    for (; left && f; f = f->more) {
        u32 len = MIN(left, f->len);
        memcpy(to, f->data, len);
        to += len;
        left -= len;
    }
}

/* Where IP begins: after one VLAN tag at most. */
static u32 ip_offset(const u8 *headers)
{
    return headers[12] == 0x81 && headers[13] == 0x00 ? 18 : 14;
}

/* SDM 3.5.6, 82576 datasheet 7.2.4: lengths are zero in the headers that the card repeats, and the
 * pseudo header's sum is without the length; so it has headers of its own. */
static u8 *headers_to_repeat(struct e1000 *c, const struct nic_frame *f)
{
    u8 *headers = c->headers + c->tx_next * HEADERS;
    u32 sum, tcp = f->csum_start, at = tcp + f->csum_offset;

    copy_start(headers, f, f->header_len);
    u8 *ip = headers + ip_offset(headers);
    if (f->flags & NIC_GSO_TCP4) {
        memset(ip + 2, 0, 2);
        memset(ip + 10, 0, 2);
    } else {
        memset(ip + 4, 0, 2);
    }
    sum = (u32)headers[at] << 8 | headers[at + 1];
    sum += 0xffff - (nic_frame_len(f) - tcp) % 0xffff; /* less the length: RFC 1071 */
    sum = (sum & 0xffff) + (sum >> 16);
    sum = (sum & 0xffff) + (sum >> 16);
    headers[at] = (u8)(sum >> 8);
    headers[at + 1] = (u8)sum;
    return headers;
}

static bool headers_fit(const struct nic_frame *f)
{
    return !(f->flags & NIC_GSO_ECN) && f->header_len < HEADERS &&
           f->csum_start >= (f->flags & NIC_GSO_TCP4 ? 34 : 54) && f->csum_offset == SUM_OF_TCP &&
           f->csum_start + 20u <= f->header_len;
}

/* ---- 8254x, 82574 ------------------------------------------------------------------------------
 */
/* Offsets have 8 bits in a context; no headers that are whole are longer. */
bool e1000_send_old_can(const struct nic_frame *f)
{
    if (!(f->flags & NIC_CSUM_NEEDED))
        return true;
    if (f->csum_start + f->csum_offset > 0xff)
        return false;
    return !(f->flags & (NIC_GSO_TCP4 | NIC_GSO_TCP6)) || headers_fit(f);
}

/* The sum field has the pseudo header's sum already, as virtio has it. */
static u32 put_summed(struct e1000 *c, const struct nic_frame *f)
{
    u64 what = OLD_EXTENDED | (f->csum_offset == SUM_OF_TCP ? OLD_TCP : 0);

    put_context(c, &(struct context_old){.sum_start = (u8)f->csum_start,
                                         .sum_at = (u8)(f->csum_start + f->csum_offset),
                                         .len_type = (u32)what});
    return put_data(c, f, 0, (u32)DATA_OLD, (u32)TCP_SUM);
}

static u32 put_cut(struct e1000 *c, const struct nic_frame *f)
{
    u8 *headers = headers_to_repeat(c, f);
    u32 payload = nic_frame_len(f) - f->header_len, ip = ip_offset(headers), tcp = f->csum_start;
    u32 type = (u32)(DATA_OLD | CUT_OLD), options = (u32)(IP_SUM | TCP_SUM);
    struct context_old context = {
        .ip_start = (u8)ip,
        .ip_sum = (u8)(ip + 10),
        .ip_end = (u16)(tcp - 1),
        .sum_start = (u8)tcp,
        .sum_at = (u8)(tcp + f->csum_offset),
        .len_type = payload | (u32)(OLD_EXTENDED | OLD_CUT | OLD_TCP | OLD_IP4),
        .header_len = (u8)f->header_len,
        .segment = f->gso_size,
    };

    put_context(c, &context);
    put_piece(c, headers, f->header_len | type, options);
    return put_data(c, f, f->header_len, type, options);
}

u32 e1000_send_old(struct e1000 *c, const struct nic_frame *f)
{
    if (f->flags & NIC_GSO_TCP4)
        return put_cut(c, f);
    return f->flags & NIC_CSUM_NEEDED ? put_summed(c, f) : put_data(c, f, 0, 0, 0);
}

/* ---- 82576, I210, I211, I350 -------------------------------------------------------------------
 */
bool e1000_send_advanced_can(const struct nic_frame *f)
{
    u32 sum = f->csum_offset;

    if (!(f->flags & NIC_CSUM_NEEDED))
        return true;
    if (f->flags & (NIC_GSO_TCP4 | NIC_GSO_TCP6))
        return headers_fit(f);
    return (sum == SUM_OF_TCP || sum == SUM_OF_UDP) && f->csum_start >= 34 && f->csum_start < 0x1ff;
}

static void put_advanced_context(struct e1000 *c, const struct nic_frame *f, const u8 *start)
{
    u32 ip = ip_offset(start);
    struct context_advanced context = {.lengths = (f->csum_start - ip) | ip << 9,
                                       .type = (u32)ADVANCED_CONTEXT};

    context.type |= start[ip] >> 4 == 4 ? (u32)ADVANCED_IP4 : 0;
    context.type |= f->csum_offset == SUM_OF_TCP ? (u32)ADVANCED_TCP : 0;
    if (f->gso_size)
        context.segment = (u32)f->gso_size << 16 | (u32)(f->header_len - f->csum_start) << 8;
    put_context(c, &context);
}

u32 e1000_send_advanced(struct e1000 *c, const struct nic_frame *f)
{
    u32 len = nic_frame_len(f), type = (u32)DATA_ADVANCED, options = (u32)TCP_SUM;
    u8 start[20];

    if (!(f->flags & NIC_CSUM_NEEDED))
        return put_data(c, f, 0, type, len << PAYLOAD_AT);
    if (!(f->flags & (NIC_GSO_TCP4 | NIC_GSO_TCP6))) {
        copy_start(start, f, sizeof(start));
        put_advanced_context(c, f, start);
        return put_data(c, f, 0, type, options | len << PAYLOAD_AT);
    }
    u8 *headers = headers_to_repeat(c, f);
    put_advanced_context(c, f, headers);
    type |= (u32)CUT_ADVANCED;
    options |= (f->flags & NIC_GSO_TCP4 ? (u32)IP_SUM : 0) | (len - f->header_len) << PAYLOAD_AT;
    put_piece(c, headers, f->header_len | type, options);
    return put_data(c, f, f->header_len, type, options);
}

/* ---- all ---------------------------------------------------------------------------------------
 */
void e1000_send_reclaim(struct e1000 *c)
{
    while (c->tx_oldest != c->tx_next) {
        u32 last = c->tx_oldest;
        while (!c->sending[last] && last != c->tx_next)
            last = (last + 1) % RING;
        if (last == c->tx_next || !(c->tx[last].options & TX_DONE))
            return;
        struct nic_frame *f = c->sending[last];
        c->sending[last] = NULL;
        c->tx_oldest = (last + 1) % RING;
        c->last_sent = clock_tsc();
        nic_release(f);
    }
}

static void send_one(struct e1000 *c, struct nic_frame *f)
{
    u32 len = nic_frame_len(f), last;

    if (!f->more && !f->flags && len <= PIECE_MOST) { /* the usual one */
        last = put_piece(c, f->data, len | c->family->plain,
                         c->family->queues ? len << PAYLOAD_AT : 0);
    } else if (c->family->can_put(f)) {
        last = c->family->put(c, f);
    } else {
        c->nic.stats.tx_errors++;
        nic_release(f);
        return;
    }
    c->nic.stats.tx_frames++;
    c->nic.stats.tx_bytes += len;
    c->tx[last].len_type |= (u32)(TX_END | TX_REPORT);
    c->sending[last] = f;
}

u32 e1000_send(struct nic *n, struct nic_frame *const *frames, u32 count)
{
    struct e1000 *c = n->driver;
    u32 sent = 0;

    if (c->resetting)
        return 0;
    e1000_send_reclaim(c);
    if (c->tx_oldest == c->tx_next)
        c->last_sent = clock_tsc();
    while (sent < count && e1000_send_room(c) >= TX_NEEDS)
        send_one(c, frames[sent++]);
    if (sent) {
        mmio_barrier();
        e1000_put(c, REG_TDT, c->tx_next);
    }
    return sent;
}
