/* Joining of what an interface receives; called by net/kif.c and, at each segment, by lwIP. */
#include "net/kif_join.h"

#include <string.h>

#include <lwip/tcp.h>

#include "net/checksum.h"
#include "net/frame.h"
#include "net/kif_send.h"

#define TCP 6u
#define TCP_HEADER 20u
#define TCP_FLAGS 13u
#define TCP_ACK 0x10u
#define TCP_PSH 0x08u
#define TCP_SYN 0x02u
#define OPTION_END 0u
#define OPTION_NONE 1u
#define OPTION_LENGTH 2u /* the most that a segment may have */
#define IP4_HEADER 20u
#define IP6_HEADER 40u
#define FRAME_LONGEST 0xffffu /* a pbuf's length has 16 bits */

/* Where TCP begins in a frame for this station that is one segment with data, has no options and no
 * flags but ACK and PSH; 0: it is none. */
static u32 plain_segment(const struct pbuf *p)
{
    const u8 *f = p->payload, *ip = f + FRAME_HEADER;
    u32 tcp = FRAME_HEADER + IP4_HEADER, end;

    if (p->next || p->len <= tcp + TCP_HEADER || frame_mac_is_group(frame_mac(f)))
        return 0;
    if (frame_be16(f + 12) == ETH_IPV4) {
        if (ip[0] != 0x45 || ip[9] != TCP || frame_be16(ip + 6) & 0x3fff)
            return 0;
        end = FRAME_HEADER + frame_be16(ip + 2);
    } else {
        tcp = FRAME_HEADER + IP6_HEADER;
        if (frame_be16(f + 12) != ETH_IPV6 || p->len <= tcp + TCP_HEADER || ip[0] >> 4 != 6 ||
            ip[6] != TCP)
            return 0;
        end = tcp + frame_be16(ip + 4);
    }
    return end == p->len && f[tcp + 12] == TCP_HEADER / 4 << 4 &&
                   (f[tcp + TCP_FLAGS] & ~TCP_PSH) == TCP_ACK
               ? tcp
               : 0;
}

static bool header_is_whole(const u8 *f, u32 tcp)
{
    return tcp != FRAME_HEADER + IP4_HEADER ||
           checksum_sum(f + FRAME_HEADER, (int)IP4_HEADER) == 0xffff;
}

/* RFC 9293 section 3.1.  The addresses are right before the segment. */
static bool segment_is_whole(const struct pbuf *p, u32 tcp)
{
    u32 addresses = tcp == FRAME_HEADER + IP4_HEADER ? 8 : 32, len = p->len - tcp;
    u8 rest[4] = {0, TCP};

    frame_put16(rest + 2, len);
    u32 sum = checksum_sum((const u8 *)p->payload + tcp - addresses, (int)(addresses + len)) +
              (u32)checksum_sum(rest, sizeof(rest));
    return (sum & 0xffff) + (sum >> 16) == 0xffff;
}

static bool continues(const struct kif_join *j, const struct pbuf *p, u32 tcp)
{
    const u8 *f = p->payload;

    return j->count < KIF_JOIN_MOST && tcp == j->tcp && frame_be32(f + tcp + 4) == j->next &&
           j->bytes + p->len - tcp - TCP_HEADER <= FRAME_LONGEST &&
           kif_send_same_headers(j->pieces[0]->payload, f, FRAME_HEADER, tcp);
}

bool kif_join_add(struct kif_join *j, struct pbuf *p, bool summed)
{
    u32 tcp = plain_segment(p), header = tcp + TCP_HEADER;
    const u8 *f = p->payload;

    if (!tcp || (j->count && !continues(j, p, tcp)) || !header_is_whole(f, tcp) ||
        (!summed && !segment_is_whole(p, tcp)))
        return false;
    if (j->count)
        ((u8 *)j->pieces[0]->payload)[tcp + TCP_FLAGS] |= f[tcp + TCP_FLAGS];
    j->bytes = j->count ? j->bytes + p->len - header : p->len;
    j->next = frame_be32(f + tcp + 4) + p->len - header;
    j->tcp = (u16)tcp;
    j->pieces[j->count++] = p;
    return true;
}

/* The IP header says how long the packet is. */
static void set_length(u8 *f, u32 tcp, u32 bytes)
{
    u8 *ip = f + FRAME_HEADER;

    if (tcp != FRAME_HEADER + IP4_HEADER) {
        frame_put16(ip + 4, bytes - tcp);
        return;
    }
    frame_put16(ip + 2, bytes - FRAME_HEADER);
    frame_put16(ip + 10, 0);
    u16 sum = (u16)~checksum_sum(ip, (int)IP4_HEADER);
    memcpy(ip + 10, &sum, sizeof(sum));
}

struct pbuf *kif_join_end(struct kif_join *j)
{
    struct pbuf *first = j->count ? j->pieces[0] : NULL, *rest = NULL;

    for (u32 i = j->count; i > 1; i--) {
        struct pbuf *p = j->pieces[i - 1];

        pbuf_remove_header(p, j->tcp + TCP_HEADER);
        p->next = rest;
        p->tot_len = (u16)(p->len + (rest ? rest->tot_len : 0));
        rest = p;
    }
    if (rest) {
        first->next = rest;
        first->tot_len = (u16)j->bytes;
        set_length(first->payload, j->tcp, j->bytes);
    }
    j->count = 0;
    return first;
}

static u8 *option(u8 *header, u32 first, u8 *rest, u32 i)
{
    return i < first ? &header[TCP_HEADER + i] : &rest[i - first];
}

/* RFC 9293 section 3.7.1: only a SYN says how long segments may be.  lwIP 2.2.1 takes it from any,
 * and stops at an assertion when less fits than it has made room for: from others it is removed.
 * The first `first` bytes of options are behind the header, those after them at `rest`. */
void kif_join_check_options(struct tcp_hdr *hdr, unsigned len, unsigned first, unsigned char *rest)
{
    u8 *header = (u8 *)hdr;
    u32 step;

    if (header[TCP_FLAGS] & TCP_SYN)
        return;
    for (u32 i = 0; i + 1 < len; i += step) {
        u8 kind = *option(header, first, rest, i);

        step = kind == OPTION_NONE ? 1 : *option(header, first, rest, i + 1);
        if (kind == OPTION_END || !step)
            return;
        for (u32 at = i; kind == OPTION_LENGTH && at < MIN(i + step, len); at++)
            *option(header, first, rest, at) = OPTION_NONE;
    }
}

/* RFC 5681 section 4.2: two full segments are acknowledged at once.  lwIP counts as one what came
 * joined, or uncut from a guest. */
err_t kif_join_on_segment(struct tcp_pcb *pcb, const struct pbuf *p)
{
    if (pcb->state >= ESTABLISHED && (p->next || p->tot_len >= 2 * pcb->mss))
        tcp_set_flags(pcb, TF_ACK_DELAY); /* with which the next one is answered */
    return ERR_OK;
}
