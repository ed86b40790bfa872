/* Frames of the peer that test_nic_fuzz_* has: one table of the sound ones, one of what is done to
 * them.  RFCs are named where a frame is not plain from its name.  One file: what is done to a
 * frame knows how it was built. */
#include "tests/unit/nic_fuzz_frames.h"

#include <stdlib.h>
#include <string.h>

#include "net/checksum.h"
#include "net/frame.h"
#include "net/shape.h"
#include "tests/unit/nic_fuzz.h"

#define AT_IP 14u
#define AT4 34u /* behind an IPv4 header */
#define AT6 54u /* behind an IPv6 header */
#define NOISE 65536u

enum { ICMP = 1, IGMP = 2, TCP = 6, UDP = 17, ICMP6 = 58 };

struct frames_heard frames_heard = {.port = 20000};

static const u8 peer_mac[6] = {2, 0, 0, 0, 0, 1}, peer4[4] = {10, 0, 0, 1},
                host4[4] = {10, 0, 0, 2};
static const u8 all_nodes[16] = {0xff, 2, [15] = 1};
static const u8 trap_bytes[] = "nobody may answer";
static u8 host_mac[6], host6[16], noise[NOISE];

/* What the host has asked last. */
static struct {
    u8 xid[4], dns_port[2], dns[40], tcp[20];
    u32 dns_len;
} asked;

u64 frames_random(u64 below)
{
    static u64 state;
    const char *other = state ? NULL : getenv("FUZZ_SEED");

    if (!state)
        state = other ? strtoull(other, NULL, 0) : 20260;
    return shape_random(&state) % below;
}

void frames_for(u64 mac)
{
    for (u32 i = 0; i < 6; i++)
        host_mac[i] = (u8)(mac >> (40 - 8 * i));
    for (u32 i = 0; i < NOISE; i++)
        noise[i] = (u8)frames_random(256);
}

void frames_address(const u32 address[4])
{
    memcpy(host6, address, sizeof(host6));
}

static const u8 *some_noise(u32 len)
{
    return noise + frames_random(NOISE - len);
}

/* ---- building ---------------------------------------------------------------------------------
 */
static u32 ethernet(u8 *f, u16 type)
{
    memcpy(f, host_mac, 6);
    memcpy(f + 6, peer_mac, 6);
    frame_put16(f + 12, type);
    return AT_IP;
}

/* Of what begins at `from`, with what the pseudo header adds. */
static void put_sum(u8 *f, u32 from, u32 end, u32 at, u32 pseudo)
{
    memset(f + at, 0, 2);
    u32 sum = pseudo + checksum_sum(f + from, (int)(end - from));
    sum = (sum & 0xffff) + (sum >> 16);
    u16 out = (u16) ~((sum & 0xffff) + (sum >> 16));
    memcpy(f + at, &out, sizeof(out));
}

static u32 pseudo_of(const u8 *addresses, u32 len, u8 protocol, u32 payload)
{
    u8 rest[4] = {0, protocol};

    frame_put16(rest + 2, payload);
    return checksum_sum(addresses, (int)len) + (u32)checksum_sum(rest, sizeof(rest));
}

/* The sum of a payload of that protocol, if it has one. */
static void sum_payload(u8 *f, u32 from, u32 end, u8 protocol, u32 pseudo)
{
    static const u8 places[256] = {[ICMP] = 2, [IGMP] = 2, [TCP] = 16, [UDP] = 6, [ICMP6] = 2};
    u32 place = places[protocol];

    if (place && from + place + 2 <= end)
        put_sum(f, from, end, from + place, protocol == ICMP || protocol == IGMP ? 0 : pseudo);
}

/* Every sum as the frame's own lengths have it, as far as there are bytes. */
static void fix_sums(u8 *f, u32 len)
{
    u32 at = frame_be16(f + 12) == ETH_VLAN ? AT_IP + FRAME_TAG : AT_IP;
    u8 *ip = f + at;

    if (len >= at + 20 && frame_be16(ip - 2) == ETH_IPV4) {
        u32 header = MAX(4u * (ip[0] & 15), 20u), end = MIN(at + frame_be16(ip + 2), len);
        if (at + header > end)
            return;
        put_sum(f, at, at + header, at + 10, 0);
        sum_payload(f, at + header, end, ip[9], pseudo_of(ip + 12, 8, ip[9], end - at - header));
    } else if (len >= at + 40 && frame_be16(ip - 2) == ETH_IPV6) {
        u32 end = MIN(at + 40 + frame_be16(ip + 4), len);
        sum_payload(f, at + 40, end, ip[6], pseudo_of(ip + 8, 32, ip[6], end - at - 40));
    }
}

/* The headers around a payload that is there already. */
static u32 finish4(u8 *f, u8 protocol, u32 payload)
{
    u8 *ip = f + ethernet(f, ETH_IPV4);

    memset(ip, 0, 20);
    ip[0] = 0x45;
    frame_put16(ip + 2, 20 + payload);
    ip[8] = 64;
    ip[9] = protocol;
    memcpy(ip + 12, peer4, 4);
    memcpy(ip + 16, host4, 4);
    fix_sums(f, AT4 + payload);
    return AT4 + payload;
}

static u32 finish6(u8 *f, u8 next, u32 payload, const u8 to[16])
{
    u8 *ip = f + ethernet(f, ETH_IPV6);

    memset(ip, 0, 40);
    ip[0] = 0x60;
    frame_put16(ip + 4, payload);
    ip[6] = next;
    ip[7] = 255;
    ip[8] = 0xfe; /* fe80::TOKEN:0, since lwIP keeps what it was told of a neighbour first */
    ip[9] = 0x80;
    frame_put32(ip + 18, frames_heard.token);
    memcpy(ip + 24, to, 16);
    fix_sums(f, AT6 + payload);
    return AT6 + payload;
}

static u32 finish_udp(u8 *f, u16 from, u16 to, u32 payload)
{
    frame_put16(f + AT4, from);
    frame_put16(f + AT4 + 2, to);
    frame_put16(f + AT4 + 4, 8 + payload);
    return finish4(f, UDP, 8 + payload);
}

/* ---- sound frames ------------------------------------------------------------------------------
 */
static u32 arp(u8 *f, u16 operation)
{
    static const u8 start[] = {0, 1, 8, 0, 6, 4};
    u8 *a = f + ethernet(f, ETH_ARP);

    memset(a, 0, 46);
    memcpy(a, start, sizeof(start));
    frame_put16(a + 6, operation);
    memcpy(a + 8, peer_mac, 6);
    memcpy(a + 14, peer4, 4);
    memcpy(a + 24, host4, 4);
    return 60;
}

u32 frames_arp_request(u8 *f)
{
    return arp(f, 1);
}

static u32 arp_reply(u8 *f)
{
    return arp(f, 2);
}

u32 frames_echo(u8 *f, u16 id, u16 number)
{
    u8 *p = f + AT4;

    memset(p, 0, 64);
    p[0] = 8;
    frame_put16(p + 4, id);
    frame_put16(p + 6, number);
    memcpy(p + 8, trap_bytes, sizeof(trap_bytes));
    return finish4(f, ICMP, 64);
}

static u32 icmp(u8 *f)
{
    static const u8 types[] = {0, 3, 4, 5, 8, 11, 12, 13, 17};
    u32 payload = 8 + (u32)frames_random(100);

    memcpy(f + AT4, some_noise(payload), payload);
    f[AT4] = types[frames_random(sizeof(types))];
    f[AT4 + 1] &= 7;
    return finish4(f, ICMP, payload);
}

static u32 igmp(u8 *f)
{
    static const u8 types[] = {0x11, 0x12, 0x16, 0x17, 0x22};
    u32 payload = 8 + (u32)frames_random(32);

    memcpy(f + AT4, some_noise(payload), payload);
    f[AT4] = types[frames_random(sizeof(types))];
    f[AT4 + 4] = 0xe0;
    return finish4(f, IGMP, payload);
}

static u32 dhcp(u8 *f) /* RFC 2131; offers, acknowledgements, refusals */
{
    static const u8 kinds[] = {2, 5, 6},
                    options[] = {54, 4,   10,  0,   0,  1, 51, 4,  0, 0, 0,  60, 1,
                                 4,  255, 255, 255, 0,  3, 4,  10, 0, 0, 1,  6,  4,
                                 10, 0,   0,   53,  42, 4, 10, 0,  0, 1, 255};
    u8 *p = f + AT4 + 8;

    memset(p, 0, 300);
    p[0] = 2;
    p[1] = 1;
    p[2] = 6;
    memcpy(p + 4, asked.xid, 4);
    memcpy(p + 16, host4, 4);
    memcpy(p + 20, peer4, 4);
    memcpy(p + 28, host_mac, 6);
    frame_put32(p + 236, 0x63825363);
    p[240] = 53;
    p[241] = 1;
    p[242] = kinds[frames_random(sizeof(kinds))];
    memcpy(p + 243, options, sizeof(options));
    return finish_udp(f, 67, 68, 300);
}

static u32 dns(u8 *f) /* RFC 1035: the question, and an address */
{
    static const u8 answer[] = {0xc0, 12, 0, 1, 0, 1, 0, 0, 0, 60, 0, 4, 10, 0, 0, 1};
    u8 *p = f + AT4 + 8;

    memcpy(p, asked.dns, asked.dns_len);
    memset(p + asked.dns_len, 0, 20);
    frame_put16(p + 2, 0x8180);
    frame_put16(p + 6, 1);
    memcpy(p + MAX(asked.dns_len, 12u), answer, sizeof(answer));
    return finish_udp(f, 53, frame_be16(asked.dns_port),
                      MAX(asked.dns_len, 12u) + (u32)sizeof(answer));
}

static u32 udp(u8 *f)
{
    static const u16 ports[] = {68, 53, 123, 546, 5353, 9};
    u32 payload = (u32)frames_random(600);

    memcpy(f + AT4 + 8, some_noise(payload), payload);
    return finish_udp(f, ports[frames_random(6)], ports[frames_random(6)], payload);
}

static u32 tcp_segment(u8 *f, u16 from, u16 to, u8 flags, u32 sequence, u32 ack, u32 payload)
{
    u8 *p = f + AT4;

    memset(p, 0, 20);
    frame_put16(p, from);
    frame_put16(p + 2, to);
    frame_put32(p + 4, sequence);
    frame_put32(p + 8, ack);
    p[12] = 0x50;
    p[13] = flags;
    frame_put16(p + 14, 8192);
    memcpy(p + 20, some_noise(payload), payload);
    return finish4(f, TCP, 20 + payload);
}

u32 frames_tcp(u8 *f, u8 flags, u32 sequence, u32 ack, u32 payload)
{
    return tcp_segment(f, frames_heard.port, 80, flags, sequence, ack, payload);
}

static u32 tcp_new_one(u8 *f) /* with every option that there is, sound or not */
{
    static const u8 options[] = {2, 4, 5, 0xb4, 4, 2, 8, 10, 0, 0, 0, 1, 0, 0, 0, 0, 1, 3, 3, 7};

    u32 len = tcp_segment(f, (u16)(1024 + frames_random(4)), 80, FRAMES_SYN,
                          (u32)frames_random(8) << 28, 0, sizeof(options));
    memcpy(f + AT4 + 20, options, sizeof(options));
    f[AT4 + 12] = (u8)((5 + sizeof(options) / 4) << 4);
    fix_sums(f, len);
    return len;
}

/* What may follow the segment that the host sent last. */
static u32 tcp_answer(u8 *f)
{
    static const u8 kinds[] = {FRAMES_ACK,
                               FRAMES_ACK,
                               FRAMES_ACK | FRAMES_PSH,
                               FRAMES_ACK | 1,
                               FRAMES_ACK | FRAMES_SYN,
                               FRAMES_RST | FRAMES_ACK};
    const u8 *t = asked.tcp;
    u32 sequence = frame_be32(t + 8), ack = frame_be32(t + 4) + (t[13] & 3 ? 1 : 0);

    if (frames_random(4) == 0)
        sequence += (u32)frames_random(4000) - 2000;
    if (frames_random(4) == 0)
        ack += (u32)frames_random(3000);
    return tcp_segment(f, frame_be16(t + 2), frame_be16(t), kinds[frames_random(6)], sequence, ack,
                       (u32)frames_random(1460));
}

static u32 fragment(u8 *f)
{
    u32 payload = 8 * (1 + (u32)frames_random(180)), number = (u32)frames_random(8);

    memcpy(f + AT4, some_noise(payload), payload);
    u32 len = finish4(f, UDP, payload);
    frame_put16(f + AT_IP + 4, number);
    frame_put16(f + AT_IP + 6, (u32)(frames_random(2) << 13 | frames_random(600)));
    put_sum(f, AT_IP, AT4, AT_IP + 10, 0);
    return len;
}

u32 frames_echo6(u8 *f, u16 id, u16 number)
{
    u8 *p = f + AT6;

    memset(p, 0, 40);
    p[0] = 128;
    frame_put16(p + 4, id);
    frame_put16(p + 6, number);
    return finish6(f, ICMP6, 40, host6);
}

u32 frames_solicitation(u8 *f) /* RFC 4861 4.3, with the peer's own address */
{
    u8 *p = f + AT6;

    memset(p, 0, 32);
    p[0] = 135;
    memcpy(p + 8, host6, 16);
    p[24] = p[25] = 1;
    memcpy(p + 26, peer_mac, 6);
    return finish6(f, ICMP6, 32, host6);
}

/* RFC 4861 4.2 to 4.5, RFC 2710 and the rest, with options that nearly make sense. */
static u32 icmp6(u8 *f)
{
    static const u8 types[] = {1, 2, 3, 4, 128, 129, 130, 131, 133, 134, 135, 136, 137},
                    options[] = {1, 2, 3, 5, 25, 31, 14};
    u32 payload = 24 + 8 * (u32)frames_random(20);
    u8 *p = f + AT6;

    memcpy(p, some_noise(payload), payload);
    p[0] = types[frames_random(sizeof(types))];
    p[1] = 0;
    if (p[0] == 135 || p[0] == 136)
        memcpy(p + 8, host6, 16);
    for (u32 at = p[0] == 134 ? 16 : 24; at + 8 <= payload; at += 8u * MAX(p[at + 1], 1u)) {
        p[at] = options[frames_random(sizeof(options))];
        p[at + 1] = (u8)(p[at] == 3 ? 4 : frames_random(3));
    }
    return finish6(f, ICMP6, payload, frames_random(2) ? all_nodes : host6);
}

static u32 headers6(u8 *f) /* RFC 8200 4: extension headers and fragments */
{
    static const u8 kinds[] = {0, 43, 44, 60, 59, 6, 17, 58};
    u32 payload = 40 + (u32)frames_random(400);
    u8 *p = f + AT6;

    memcpy(p, some_noise(payload), payload);
    for (u32 at = 0; at < 32; at += 8) {
        p[at] = kinds[frames_random(sizeof(kinds))];
        p[at + 1] = (u8)frames_random(2);
    }
    return finish6(f, kinds[frames_random(4)], payload, host6);
}

/* LLDP, CDP and LACP, which the switch itself reads. */
static u32 slow(u8 *f)
{
    static const struct {
        u8 to[6];
        u16 type;
        u8 start[8];
    } kinds[] = {
        {{1, 0x80, 0xc2, 0, 0, 14}, 0x88cc, {2, 7, 4, 2, 0, 0, 0, 1}},
        {{1, 0, 12, 0xcc, 0xcc, 0xcc}, 0x0080, {0xaa, 0xaa, 3, 0, 0, 12, 0x20, 0}},
        {{1, 0x80, 0xc2, 0, 0, 2}, 0x8809, {1, 1, 1, 20, 0xff, 0xff, 2, 0}},
    };
    u32 kind = (u32)frames_random(3), payload = 50 + (u32)frames_random(100);

    ethernet(f, kinds[kind].type);
    memcpy(f, kinds[kind].to, 6);
    memcpy(f + AT_IP, some_noise(payload), payload);
    memcpy(f + AT_IP, kinds[kind].start, sizeof(kinds[kind].start));
    return AT_IP + payload;
}

static u32 echo(u8 *f)
{
    return frames_echo(f, 7, 7);
}

static u32 echo6(u8 *f)
{
    return frames_echo6(f, 7, 7);
}

static u32 (*const sound[])(u8 *f) = {
    frames_arp_request,
    arp_reply,
    icmp,
    igmp,
    dhcp,
    dns,
    udp,
    tcp_new_one,
    tcp_answer,
    tcp_answer,
    echo,
    tcp_answer,
    fragment,
    headers6,
    slow,
    frames_solicitation,
    echo6,
    icmp6,
    icmp6,
};

/* ---- broken frames ----------------------------------------------------------------------------
 */
static u32 as_it_is(u8 *f, u32 len)
{
    (void)f;
    return len;
}

static u32 cut_short(u8 *f, u32 len)
{
    (void)f;
    return 1 + (u32)frames_random(len);
}

static u32 longer(u8 *f, u32 len)
{
    u32 more = (u32)frames_random(frames_random(16) ? 1600 : NIC_FUZZ_LONGEST - 2048);

    memcpy(f + len, some_noise(more), more);
    return len + more;
}

static u32 flipped(u8 *f, u32 len)
{
    for (u64 n = 1 + frames_random(8); n; n--)
        f[frames_random(len)] = (u8)frames_random(256);
    if (len >= AT_IP + FRAME_TAG && frames_random(2))
        fix_sums(f, len);
    return len;
}

/* Lengths, offsets and counts are small or the largest that there are. */
static u32 odd_numbers(u8 *f, u32 len)
{
    static const u8 odd[] = {0, 1, 4, 5, 7, 8, 0x40, 0x7f, 0x80, 0xff};

    for (u64 n = 1 + frames_random(3); n; n--)
        f[MIN(12 + (u32)frames_random(80), len - 1)] = odd[frames_random(sizeof(odd))];
    if (len >= AT_IP + FRAME_TAG)
        fix_sums(f, len);
    return len;
}

static u32 bad_sums(u8 *f, u32 len)
{
    static const u8 places[] = {24, AT4 + 2, AT4 + 6, AT4 + 16, AT6 + 2, AT6 + 6};
    u32 at = MIN((u32)places[frames_random(sizeof(places))], len - 1);

    f[at] = (u8)(f[at] + 1 + frames_random(255));
    return len;
}

static u32 random_from(u8 *f, u32 len)
{
    static const u8 places[] = {0, 6, 12, AT_IP, AT4, AT6};
    u32 at = MIN((u32)places[frames_random(sizeof(places))], len), n = (u32)frames_random(1600);

    memcpy(f + at, some_noise(n), n);
    return MAX(at + n, 1u);
}

static u32 tagged(u8 *f, u32 len)
{
    static const u16 types[] = {ETH_VLAN, ETH_VLAN, ETH_SVLAN, ETH_QINQ};

    for (u64 n = 1 + frames_random(3); n; n--) {
        memmove(f + 12 + FRAME_TAG, f + 12, len - 12);
        frame_put16(f + 12, types[frames_random(4)]);
        frame_put16(f + 14, (u32)frames_random(3));
        len += FRAME_TAG;
    }
    return len;
}

static u32 to_all(u8 *f, u32 len)
{
    static const u8 groups[][6] = {
        {255, 255, 255, 255, 255, 255}, {1, 0, 0x5e, 0, 0, 1}, {0x33, 0x33, 0, 0, 0, 1}};

    memcpy(f, groups[frames_random(3)], 6);
    memcpy(f + 6, some_noise(6), frames_random(2) ? 6 : 0);
    return len;
}

static u32 (*const done[])(u8 *f, u32 len) = {
    as_it_is,    cut_short, longer,   flipped,     flipped, odd_numbers,
    odd_numbers, bad_sums,  bad_sums, random_from, tagged,  to_all,
};

u32 frames_next(u8 *to)
{
    u32 len = sound[frames_random(ARRAY_LEN(sound))](to);

    return done[frames_random(ARRAY_LEN(done))](to, len);
}

/* ---- what the host sends -----------------------------------------------------------------------
 */
static void hear_udp(const u8 *f, u32 len)
{
    if (frame_be16(f + AT4 + 2) == 67 && len >= AT4 + 8 + 240)
        memcpy(asked.xid, f + AT4 + 12, 4);
    if (frame_be16(f + AT4 + 2) != 53 || len < AT4 + 20)
        return;
    memcpy(asked.dns_port, f + AT4, 2);
    asked.dns_len = MIN(len - AT4 - 8, (u32)sizeof(asked.dns));
    memcpy(asked.dns, f + AT4 + 8, asked.dns_len);
}

static void hear_tcp(const u8 *f, u32 len)
{
    const u8 *t = f + AT4;

    if (len < AT4 + 20)
        return;
    memcpy(asked.tcp, t, sizeof(asked.tcp));
    if (frame_be16(t) != 80 || frame_be16(t + 2) != frames_heard.port)
        return;
    frames_heard.tcp_flags = t[13];
    frames_heard.tcp_sequence = frame_be32(t + 4);
    frames_heard.tcp_data += frame_be16(f + AT_IP + 2) - 20u - (t[12] >> 2);
}

static void hear_icmp(const u8 *f, u32 len)
{
    const u8 *p = f + AT4;

    if (len < AT4 + 64 || p[0] || memcmp(f, peer_mac, 6))
        return;
    frames_heard.echoes +=
        frame_be16(p + 4) == 0xbeef && frame_be16(p + 6) == (u16)frames_heard.token;
    frames_heard.traps +=
        frame_be16(p + 4) == FRAMES_TRAP && !memcmp(p + 8, trap_bytes, sizeof(trap_bytes));
}

static void hear_icmp6(const u8 *f, u32 len)
{
    const u8 *p = f + AT6;

    if (len < AT6 + 24 || memcmp(f, peer_mac, 6))
        return;
    frames_heard.advertised += p[0] == 136 && !memcmp(p + 8, host6, 16);
    frames_heard.echoes6 +=
        p[0] == 129 && frame_be16(p + 4) == 0xbeef && frame_be16(p + 6) == (u16)frames_heard.token;
}

void frames_hear(const u8 *f, u32 len)
{
    u16 type = frame_be16(f + 12);

    if (type == ETH_ARP && len >= 42)
        frames_heard.arps += f[21] == 2 && !memcmp(f, peer_mac, 6) &&
                             !memcmp(f + 22, host_mac, 6) && !memcmp(f + 28, host4, 4);
    else if (type == ETH_IPV4 && len >= AT4 + 8 && f[AT_IP + 9] == UDP)
        hear_udp(f, len);
    else if (type == ETH_IPV4 && f[AT_IP + 9] == TCP)
        hear_tcp(f, len);
    else if (type == ETH_IPV4 && f[AT_IP + 9] == ICMP)
        hear_icmp(f, len);
    else if (type == ETH_IPV6 && len >= AT6 && f[AT_IP + 6] == ICMP6)
        hear_icmp6(f, len);
}
