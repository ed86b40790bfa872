/* links: net/frame.c net/mac_table.c net/vlan.c net/policy.c net/shape.c net/delay.c net/igmp_snoop.c net/lacp.c net/team.c net/discovery.c net/lldp.c net/cdp.c net/switch.c net/switch_slow.c net/switch_port.c net/switch_clock.c net/switches.c net/mac_address.c net/checksum.c net/stack.c net/isn.c net/kif.c net/kif_join.c net/kif_send.c net/frame_buffer.c net/route.c net/servers.c net/ping.c net/offload.c tests/unit/net_lab.c */
/* A kernel interface with lwIP on it, through the switch, against a small peer written here: DHCP,
 * ARP, echo both ways, duplicates, fragments that never end. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include <lwip/apps/sntp.h>
#include <lwip/dhcp.h>
#include <lwip/dns.h>

#include "control/rt/random.h"
#include "net/checksum.h"
#include "net/kif.h"
#include "net/ping.h"
#include "net/route.h"
#include "net/servers.h"
#include "net/stack.h"
#include "net/switches.h"
#include "tests/unit/net_lab.h"

#define SECOND 1000000000ull
#define MS 1000000ull
#define PEER_MAC 0x020000000001ull

/* ---- the peer: 10.0.0.1, a DHCP server and a host ------------------------------------------- */
static const u8 peer_ip[4] = {10, 0, 0, 1}, given[4] = {10, 0, 0, 77};
static struct {
    u32 discovers, requests, arps, echoes, replies, others;
    u8 frame[2048];
    u32 len;
    u32 ntp;       /* questions for the time */
    u8 sought[16]; /* the neighbour that was asked for last */
} peer;
static struct net_switch *sw;
static u32 peer_port;

struct reply {
    u8 at[2048];
    u32 len;
};
static struct reply replies[64];
static u32 reply_count;

static void put_mac(u8 *to, u64 mac)
{
    for (u32 i = 0; i < 6; i++)
        to[i] = (u8)(mac >> (40 - 8 * i));
}

static void queue(const u8 *bytes, u32 len)
{
    assert_true(reply_count < ARRAY_LEN(replies) && len <= sizeof(replies[0].at));
    memcpy(replies[reply_count].at, bytes, len);
    replies[reply_count++].len = MAX(len, 60u);
}

static void finish_ip(u8 *f, u32 payload, u8 protocol, const u8 from[4], const u8 to[4])
{
    u16 sum;

    f[12] = 8;
    f[14] = 0x45;
    frame_put16(f + 16, 20 + payload);
    f[22] = 64;
    f[23] = protocol;
    memcpy(f + 26, from, 4);
    memcpy(f + 30, to, 4);
    memset(f + 24, 0, 2);
    sum = (u16)~checksum_sum(f + 14, 20);
    memcpy(f + 24, &sum, 2);
}

static void answer_arp(const u8 *f)
{
    u8 r[60] = {0};

    peer.arps++;
    if (f[21] != 1 || memcmp(f + 38, peer_ip, 4))
        return;
    memcpy(r, f + 6, 6);
    put_mac(r + 6, PEER_MAC);
    memcpy(r + 12, f + 12, 8);
    r[21] = 2;
    put_mac(r + 22, PEER_MAC);
    memcpy(r + 28, peer_ip, 4);
    memcpy(r + 32, f + 22, 10);
    queue(r, sizeof(r));
}

static void answer_dhcp(const u8 *f)
{
    static const u8 options[] = {54, 4,   10,  0,   0,  1, 51, 4,  0, 0, 14, 16, 1,
                                 4,  255, 255, 255, 0,  3, 4,  10, 0, 0, 1,  6,  4,
                                 10, 0,   0,   53,  42, 4, 10, 0,  0, 1, 255};
    u8 r[342 + 14] = {0};
    bool discover = f[284] == 1; /* option 53 comes first */

    if (discover)
        peer.discovers++;
    else
        peer.requests++;
    memset(r, 0xff, 6);
    put_mac(r + 6, PEER_MAC);
    frame_put16(r + 34, 67);
    frame_put16(r + 36, 68);
    frame_put16(r + 38, 308);
    memcpy(r + 42, f + 42, 44); /* xid, flags, addresses, hardware address */
    r[42] = 2;
    memcpy(r + 58, given, 4);
    memcpy(r + 62, peer_ip, 4);
    frame_put32(r + 278, 0x63825363);
    r[282] = 53;
    r[283] = 1;
    r[284] = discover ? 2 : 5;
    memcpy(r + 285, options, sizeof(options));
    finish_ip(r, 308, 17, peer_ip, (const u8 *)"\xff\xff\xff\xff");
    queue(r, 14 + 20 + 308);
}

static void answer_echo(const u8 *f, u32 len)
{
    u8 r[2048];
    u16 sum;

    memcpy(r, f, len);
    memcpy(r, f + 6, 6);
    put_mac(r + 6, PEER_MAC);
    finish_ip(r, len - 34, 1, f + 30, f + 26);
    r[34] = 0;
    r[36] = r[37] = 0;
    sum = (u16)~checksum_sum(r + 34, (int)(len - 34));
    memcpy(r + 36, &sum, 2);
    queue(r, len);
}

static void hear(void *owner, const struct switch_item *items, u32 count)
{
    (void)owner;
    for (u32 i = 0; i < count; i++) {
        u8 *f = peer.frame;

        peer.len = frame_copy(items[i].frame, items[i].tag, f, sizeof(peer.frame));
        if (frame_be16(f + 12) == ETH_ARP)
            answer_arp(f);
        else if (frame_be16(f + 12) == ETH_IPV4 && f[23] == 17 && frame_be16(f + 36) == 67)
            answer_dhcp(f);
        else if (frame_be16(f + 12) == ETH_IPV4 && f[23] == 1 && f[34] == 8)
            peer.echoes++, answer_echo(f, MIN(peer.len, 34u + frame_be16(f + 16) - 20));
        else if (frame_be16(f + 12) == ETH_IPV4 && f[23] == 1 && f[34] == 0)
            peer.replies++;
        else if (frame_be16(f + 12) == ETH_IPV4 && f[23] == 17 && frame_be16(f + 36) == 123)
            peer.ntp++;
        else if (frame_be16(f + 12) == ETH_IPV6 && f[20] == 58 && f[54] == 135)
            memcpy(peer.sought, f + 62, 16);
        else
            peer.others++;
    }
}
static const struct switch_port_ops ops = {.deliver = hear};

static void run(u64 ns)
{
    for (u64 until = net_lab_now + ns; net_lab_now < until; net_lab_now += 10 * MS) {
        switches_poll(net_lab_now);
        while (kif_run())
            ;
        stack_poll();
        for (u32 i = 0; i < reply_count; i++) {
            struct net_frame f = {.data = replies[i].at, .len = replies[i].len};
            switch_input(sw, peer_port, &f, 1, net_lab_now);
        }
        reply_count = 0;
    }
}

static struct kif *start(void)
{
    struct switch_port_config c = {.name = "peer", .type = PORT_VM, .mac = PEER_MAC, .ops = &ops};
    static bool once;
    struct kif *k;

    if (!once)
        stack_init();
    once = true;
    memset(&peer, 0, sizeof(peer));
    reply_count = 0;
    switches_init(5);
    assert_int_equal(switches_add("vsw0", 0, &sw), HV_OK);
    peer_port = (u32)switch_port_add(sw, &c);
    assert_int_equal(kif_add("k0", sw, 0, &k), HV_OK);
    return k;
}

static void end(struct kif *k)
{
    kif_remove(k);
    switches_init(0);
}

static void dhcp_gives_an_address(void **state)
{
    struct kif *k = start();
    char text[32];

    (void)state;
    kif_set_dhcp(k);
    run(10 * SECOND);
    assert_int_equal(peer.discovers, 1);
    assert_int_equal(peer.requests, 1);
    kif_address_text(k, text, sizeof(text));
    assert_string_equal(text, "10.0.0.77/24");
    assert_memory_equal(&netif_ip4_gw(&k->netif)->addr, peer_ip, 4);
    assert_int_equal(ip_2_ip4(dns_getserver(0))->addr, PP_HTONL(0x0a000035));
    u32 before = peer.requests;
    run(1900 * SECOND); /* half the lease of an hour: it is renewed */
    assert_true(peer.requests > before);
    end(k);
}

static u32 name_server(void)
{
    return lwip_ntohl(ip_2_ip4(dns_getserver(0))->addr);
}

static u32 time_server(void)
{
    return sntp_enabled() ? lwip_ntohl(ip_2_ip4(sntp_getserver(0))->addr) : 0;
}

/* Whatever DHCP says and when: what was set by hand is used until it is taken back. */
static void servers_by_hand_win(void **state)
{
    const ip_addr_t mine = IPADDR4_INIT_BYTES(10, 0, 0, 99),
                    same = IPADDR4_INIT_BYTES(10, 0, 0, 53);
    const ip4_addr_t address = {PP_HTONL(0x0a000002)}, mask = {PP_HTONL(0xffffff00)}, none = {0};
    struct kif *k = start();

    (void)state;
    assert_int_equal(name_server(), 0); /* that of a lease before is forgotten */
    assert_int_equal(time_server(), 0);
    servers_set_dns(&mine, 1);
    servers_set_ntp(SERVERS_NTP_HAND, &mine, "10.0.0.99");
    kif_set_dhcp(k);
    run(10 * SECOND);
    assert_int_equal(name_server(), 0x0a000063);
    assert_int_equal(time_server(), 0x0a000063);
    assert_int_equal(ip_2_ip4(servers_offered_dns(0))->addr, PP_HTONL(0x0a000035));
    assert_int_equal(ip_2_ip4(servers_offered_ntp(0))->addr, PP_HTONL(0x0a000001));
    assert_true(servers_offered_at() == k && !servers_offered_dns(1));
    u32 before = peer.requests;
    run(1900 * SECOND);
    assert_true(peer.requests > before); /* the lease was renewed */
    assert_int_equal(name_server(), 0x0a000063);
    assert_int_equal(time_server(), 0x0a000063);
    servers_set_dns(&mine, 0);
    servers_set_ntp(SERVERS_NTP_DHCP, NULL, NULL);
    assert_int_equal(name_server(), 0x0a000035);
    assert_int_equal(time_server(), 0x0a000001);
    servers_set_dns(&same, 1);
    servers_set_ntp(SERVERS_NTP_OFF, NULL, NULL);
    kif_set_dhcp(k);
    run(10 * SECOND);
    assert_int_equal(time_server(), 0);
    servers_set_dns(&same, 0); /* also when both named the same one */
    assert_int_equal(name_server(), 0x0a000035);
    servers_set_ntp(SERVERS_NTP_DHCP, NULL, NULL);
    assert_int_equal(time_server(), 0x0a000001);
    peer.ntp = 0;
    kif_set_dhcp(k);
    run(10 * SECOND);
    assert_int_equal(time_server(), 0x0a000001);
    assert_true(peer.ntp); /* as soon as there is an address to ask from */
    kif_set_static(k, address, mask, none);
    assert_int_equal(name_server(), 0);
    assert_int_equal(time_server(), 0);
    end(k);
}

/* ---- routes -----------------------------------------------------------------------------------
 */
static const ip_addr_t wide = IPADDR4_INIT_BYTES(10, 1, 0, 0),
                       narrow = IPADDR4_INIT_BYTES(10, 1, 2, 0),
                       near = IPADDR4_INIT_BYTES(10, 0, 0, 9),
                       away = IPADDR4_INIT_BYTES(10, 77, 0, 9);

/* The gateway by which a packet to 10.1.2.3 leaves; 0: none that was set. */
static u32 way(struct kif *k)
{
    ip4_addr_t to = {PP_HTONL(0x0a010203)};
    const ip4_addr_t *by =
        route_find(NULL, &to) == &k->netif ? route_gateway(&k->netif, &to) : NULL;

    return by ? lwip_ntohl(by->addr) : 0;
}

static void routes_wait_for_their_gateways(void **state)
{
    const ip4_addr_t other = {PP_HTONL(0x0a4d0002)}, mask = {PP_HTONL(0xffffff00)}, none = {0};
    struct kif *k = start();

    (void)state;
    assert_int_equal(route_add(&wide, 16, &near), HV_OK);
    assert_int_equal(route_add(&narrow, 24, &away), HV_OK);
    assert_int_equal(route_add(&narrow, 24, &near), HV_EEXIST);
    assert_null(route_reaches(&near));
    assert_int_equal(way(k), 0);
    kif_set_dhcp(k);
    run(10 * SECOND);
    assert_ptr_equal(route_reaches(&near), &k->netif);
    assert_int_equal(way(k), 0x0a000009); /* the narrower one waits: it hides nothing */
    kif_set_static(k, other, mask, none);
    assert_int_equal(way(k), 0x0a4d0009);
    assert_int_equal(route_remove(&narrow, 24), HV_OK);
    assert_int_equal(way(k), 0);
    kif_set_dhcp(k);
    run(10 * SECOND);
    assert_int_equal(way(k), 0x0a000009);
    end(k);
    assert_non_null(route_at(0)); /* it waits for another interface */
    assert_int_equal(route_remove(&wide, 16), HV_OK);
    assert_int_equal(route_remove(&wide, 16), HV_ENOENT);
    assert_null(route_at(0));
}

static ip_addr_t six(const char *text)
{
    ip_addr_t a;

    assert_true(ipaddr_aton(text, &a) && IP_IS_V6(&a));
    return a;
}

/* Which neighbour is asked for when a packet goes there. */
static void seeks(const char *to, const char *neighbour)
{
    ip_addr_t a = six(to), b = six(neighbour);
    struct ping p;

    memset(peer.sought, 0, 16);
    assert_int_equal(ping_open(&p, &a, NULL, NULL), HV_OK);
    ping_send(&p, 8);
    run(100 * MS);
    ping_close(&p);
    assert_memory_equal(peer.sought, ip_2_ip6(&b)->addr, 16);
}

static void ipv6_by_hand(void **state)
{
    struct kif *k = start();
    ip_addr_t address = six("2001:db8::5"), gateway = six("2001:db8::1"), any = six("::"),
              network = six("2001:db8:7::"), by = six("2001:db8::7");

    (void)state;
    run(3 * SECOND);
    assert_int_equal(route_add(&network, 48, &by), HV_OK);
    assert_null(route_reaches(&by));
    assert_int_equal(kif_set_static6(k, ip_2_ip6(&address), ip_2_ip6(&gateway)), HV_OK);
    run(3 * SECOND); /* nobody else has it */
    assert_true(netif_get_ip6_addr_match(&k->netif, ip_2_ip6(&address)) > 0);
    assert_ptr_equal(route_reaches(&by), &k->netif);
    seeks("2001:db8::44", "2001:db8::44");
    seeks("2001:db9::1", "2001:db8::1");
    seeks("2001:db8:7:1::1", "2001:db8::7");
    assert_int_equal(route_remove(&network, 48), HV_OK);
    run(60 * SECOND);
    seeks("2001:db8:7:1::1", "2001:db8::1");
    address = six("2001:db8:5::5");
    gateway = six("fe80::9");
    assert_int_equal(kif_set_static6(k, ip_2_ip6(&address), ip_2_ip6(&gateway)), HV_OK);
    run(3 * SECOND);
    seeks("2001:db9::2", "fe80::9");
    assert_null(route_reaches(&by));
    assert_int_equal(kif_set_static6(k, ip_2_ip6(&any), ip_2_ip6(&any)), HV_OK);
    assert_true(netif_get_ip6_addr_match(&k->netif, ip_2_ip6(&address)) < 0);
    seeks("2001:db9::3", "::"); /* there is no way */
    end(k);
}

static u32 answers;
static void on_answer(void *owner)
{
    (void)owner;
    answers++;
}

static struct kif *with_address(void)
{
    struct kif *k = start();
    ip4_addr_t address = {PP_HTONL(0x0a000002)}, mask = {PP_HTONL(0xffffff00)},
               gateway = {PP_HTONL(0x0a000001)};

    kif_set_static(k, address, mask, gateway);
    run(SECOND);
    return k;
}

static void echo_both_ways(void **state)
{
    static const u8 k0[4] = {10, 0, 0, 2};
    struct kif *k = with_address();
    ip_addr_t to = IPADDR4_INIT(PP_HTONL(0x0a000001)), far = IPADDR4_INIT(PP_HTONL(0x08080808));
    struct ping p;
    u8 f[98] = {0};
    u16 sum;

    (void)state;
    answers = 0;
    assert_int_equal(ping_open(&p, &to, on_answer, NULL), HV_OK);
    for (u32 i = 0; i < 200; i++) {
        assert_int_equal(ping_send(&p, i * 7), HV_OK);
        run(50 * MS);
        assert_int_equal(answers, i + 1);
        assert_true(p.round_trip >= 10 * MS && p.ttl == 64);
    }
    ping_close(&p);
    assert_int_equal(ping_open(&p, &far, on_answer, NULL), HV_OK); /* by the gateway */
    assert_int_equal(ping_send(&p, 56), HV_OK);
    run(100 * MS);
    assert_int_equal(answers, 201);
    ping_close(&p);
    put_mac(f, k->port->mac);
    put_mac(f + 6, PEER_MAC);
    f[34] = 8;
    finish_ip(f, 64, 1, peer_ip, k0);
    sum = (u16)~checksum_sum(f + 34, 64);
    memcpy(f + 36, &sum, 2);
    queue(f, sizeof(f));
    run(100 * MS);
    assert_int_equal(peer.replies, 1);
    f[40] ^= 1; /* and with a wrong sum there is none */
    queue(f, sizeof(f));
    run(100 * MS);
    assert_int_equal(peer.replies, 1);
    end(k);
}

/* A guest's driver leaves the sum to us. */
static void sums_left_open_are_made(void **state)
{
    static const u8 k0[4] = {10, 0, 0, 2};
    struct kif *k = with_address();
    u8 f[98] = {0};
    struct net_frame frame = {.data = f,
                              .len = sizeof(f),
                              .flags = FRAME_CSUM_NEEDED,
                              .csum_start = 34,
                              .csum_offset = 2};

    (void)state;
    put_mac(f, k->port->mac);
    put_mac(f + 6, PEER_MAC);
    f[34] = 8;
    finish_ip(f, 64, 1, peer_ip, k0);
    switch_input(sw, peer_port, &frame, 1, net_lab_now);
    run(100 * MS);
    assert_int_equal(peer.replies, 1);
    frame.csum_start = 97; /* beyond the end: ignored */
    switch_input(sw, peer_port, &frame, 1, net_lab_now);
    frame.csum_start = 0xffff;
    switch_input(sw, peer_port, &frame, 1, net_lab_now);
    run(100 * MS);
    end(k);
}

/* As many frames as the queue has room for are taken by one call; only what is beyond is lost. */
static void a_burst_is_taken_whole(void **state)
{
    struct kif *k = with_address();
    u8 f[60] = {0};
    struct net_frame frame = {.data = f, .len = sizeof(f)};

    (void)state;
    put_mac(f, k->port->mac);
    put_mac(f + 6, PEER_MAC);
    frame_put16(f + 12, 0x88b5); /* nobody's */
    for (u32 round = 0; round < 3; round++) {
        for (u32 i = 0; i < KIF_QUEUE; i++)
            switch_input(sw, peer_port, &frame, 1, net_lab_now);
        assert_int_equal(k->dropped, round);
        switch_input(sw, peer_port, &frame, 1, net_lab_now);
        assert_int_equal(k->dropped, round + 1);
        assert_false(kif_run());
        assert_int_equal(k->head, k->tail);
    }
    end(k);
}

/* Random frames, most of them addressed to us: lwIP lives, and a ping is answered afterwards. */
static void survives_random_frames(void **state)
{
    struct kif *k = with_address();
    ip_addr_t to = IPADDR4_INIT(PP_HTONL(0x0a000001));
    static const u16 types[] = {0x0800, 0x0806, 0x86dd, 0x8100};
    struct ping p;
    u8 f[1514];

    (void)state;
    for (u32 i = 0; i < 30000; i++) {
        struct net_frame frame = {.data = f, .len = 14 + (u32)(random_u64() % 1500)};

        for (u32 b = 0; b < frame.len; b += 8) {
            u64 r = random_u64();
            memcpy(f + b, &r, MIN(8u, sizeof(f) - b));
        }
        put_mac(f, i % 3 ? k->port->mac : FRAME_BROADCAST);
        put_mac(f + 6, PEER_MAC);
        frame_put16(f + 12, types[i % 4]);
        f[14] = i % 8 == 2 ? 0x60 : 0x45;
        if (i % 2 && frame.len > 34) {
            frame_put16(f + 16, frame.len - 14);
            f[20] = f[21] = 0;
            f[23] = (u8[]){1, 2, 6, 17}[i / 2 % 4];
            finish_ip(f, frame.len - 34, f[23], f + 26, (const u8[]){10, 0, 0, 2});
        }
        switch_input(sw, peer_port, &frame, 1, net_lab_now);
        if (i % 16 == 0) {
            reply_count = 0;
            run(10 * MS);
        }
        reply_count = 0;
    }
    run(70 * SECOND); /* fragments and half-open connections go */
    answers = 0;
    assert_int_equal(ping_open(&p, &to, on_answer, NULL), HV_OK);
    assert_int_equal(ping_send(&p, 56), HV_OK);
    run(2 * SECOND);
    assert_int_equal(answers, 1);
    ping_close(&p);
    end(k);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(dhcp_gives_an_address),
        cmocka_unit_test(servers_by_hand_win),
        cmocka_unit_test(routes_wait_for_their_gateways),
        cmocka_unit_test(ipv6_by_hand),
        cmocka_unit_test(echo_both_ways),
        cmocka_unit_test(sums_left_open_are_made),
        cmocka_unit_test(a_burst_is_taken_whole),
        cmocka_unit_test(survives_random_frames),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
