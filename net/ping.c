/* Echo requests; called by `net ping`. */
#include "net/ping.h"

#include <lwip/icmp.h>
#include <lwip/inet_chksum.h>
#include <lwip/prot/icmp6.h>
#include <lwip/raw.h>

#include "control/rt/clock.h"
#include "control/rt/random.h"

static u8_t on_packet(void *arg, struct raw_pcb *raw, struct pbuf *p, const ip_addr_t *from)
{
    struct ping *ping = arg;
    struct icmp_echo_hdr h;
    u16 header = (u16)ip_current_header_tot_len();
    u8 wanted = IP_IS_V6(&ping->to) ? ICMP6_TYPE_EREP : ICMP_ER;

    (void)raw;
    if (!ip_addr_eq(from, &ping->to) || pbuf_copy_partial(p, &h, sizeof(h), header) != sizeof(h) ||
        h.type != wanted || lwip_ntohs(h.id) != ping->id)
        return 0;
    if (lwip_ntohs(h.seqno) == ping->sequence && !ping->round_trip) {
        ping->round_trip = MAX(clock_ns() - ping->sent_at, 1);
        ping->ttl =
            IP_IS_V6(&ping->to) ? IP6H_HOPLIM(ip6_current_header()) : IPH_TTL(ip4_current_header());
        ping->answered(ping->owner);
    }
    pbuf_free(p);
    return 1;
}

enum hv_status ping_open(struct ping *p, const ip_addr_t *to, void (*answered)(void *owner),
                         void *owner)
{
    struct raw_pcb *raw =
        raw_new_ip_type(IP_GET_TYPE(to), IP_IS_V6(to) ? IP6_NEXTH_ICMP6 : IP_PROTO_ICMP);

    if (!raw)
        return HV_ENOMEM;
    *p = (struct ping){
        .to = *to, .id = (u16)random_u64(), .answered = answered, .owner = owner, .raw = raw};
    raw_recv(raw, on_packet, p);
    if (IP_IS_V6(to)) {
        raw->chksum_reqd = 1;
        raw->chksum_offset = 2;
    }
    return HV_OK;
}

enum hv_status ping_send(struct ping *p, u32 payload)
{
    u16 len = (u16)(sizeof(struct icmp_echo_hdr) + MIN(payload, PING_PAYLOAD_MAX));
    struct pbuf *b = pbuf_alloc(PBUF_IP, len, PBUF_RAM);
    struct icmp_echo_hdr *h;
    err_t e;

    if (!b)
        return HV_ENOMEM;
    h = b->payload;
    for (u32 i = sizeof(*h); i < len; i++)
        ((u8 *)b->payload)[i] = (u8)i;
    ICMPH_TYPE_SET(h, IP_IS_V6(&p->to) ? ICMP6_TYPE_EREQ : ICMP_ECHO);
    ICMPH_CODE_SET(h, 0);
    h->chksum = 0;
    h->id = lwip_htons(p->id);
    h->seqno = lwip_htons(++p->sequence);
    if (!IP_IS_V6(&p->to))
        h->chksum = inet_chksum(h, len);
    p->round_trip = 0;
    p->sent_at = clock_ns();
    e = raw_sendto(p->raw, b, &p->to);
    pbuf_free(b);
    return e == ERR_OK ? HV_OK : e == ERR_MEM ? HV_ENOMEM : HV_EIO;
}

void ping_close(struct ping *p)
{
    if (p->raw)
        raw_remove(p->raw);
    p->raw = NULL;
}
