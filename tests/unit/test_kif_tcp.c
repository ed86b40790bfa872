/* links: net/frame.c net/mac_table.c net/vlan.c net/policy.c net/shape.c net/delay.c net/igmp_snoop.c net/lacp.c net/team.c net/discovery.c net/lldp.c net/cdp.c net/switch.c net/switch_slow.c net/switch_port.c net/switch_clock.c net/switches.c net/mac_address.c net/checksum.c net/stack.c net/isn.c net/kif.c net/kif_join.c net/kif_send.c net/frame_buffer.c net/route.c net/servers.c net/ping.c net/offload.c tests/unit/net_lab.c */
/* TCP of an interface and a peer written here.  Received: the peer sends a known stream in bursts,
 * in order or not, whole or not; all bytes come, in order, and few acknowledgements go back.  Sent:
 * the wire holds segments as cards do, while they are due again, while the connection ends.  One
 * file: both directions have the same peer. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include <lwip/tcp.h>

#include "control/rt/dma.h"
#include "control/rt/random.h"
#include "net/checksum.h"
#include "net/frame_buffer.h"
#include "net/isn.h"
#include "net/kif.h"
#include "net/kif_join.h"
#include "net/stack.h"
#include "net/switches.h"
#include "tests/unit/net_lab.h"

#define MS 1000000ull
#define PEER_MAC 0x020000000001ull
#define PORT 80u
#define FIRST 0xfffff000u /* the sequence wraps early */
#define ETH 14u
#define SYN 2u
#define RST 4u
#define PSH 8u
#define ACK 16u

static struct net_switch *sw;
static struct kif *k;
static u32 peer_port, network; /* length of the IP header */
static struct {
    u32 acks, next, told; /* acknowledgements heard, what they ask for, their own sequence */
    bool open, reset;
} peer;
static u8 addresses4[8] = {10, 0, 0, 1, 10, 0, 0, 2}, addresses6[32];
static u64 got;
static u32 largest; /* piece that lwIP gave */
static bool wrong;
static struct tcp_pcb *accepted;

static u8 byte_at(u64 at)
{
    return (u8)(at * 131 + at / 251);
}

static void put_mac(u8 *to, u64 mac)
{
    for (u32 i = 0; i < 6; i++)
        to[i] = (u8)(mac >> (40 - 8 * i));
}

/* ---- frames that the wire holds, as a card does until it has read them ----------------------- */
#define HELD_MOST 64u

static bool holds;
static u32 payloads, held_count; /* frames with payload that were heard; those that are held */
static struct {
    struct frame_buffer *buffer;
    struct net_frame frame;
    struct frame_part rest[FRAME_REST];
} held[HELD_MOST];

static void hold(const struct net_frame *f)
{
    payloads++;
    if (!holds)
        return;
    assert_in_range(held_count, 0, HELD_MOST - 1);
    assert_non_null(f->buffer); /* its bytes are lwIP's */
    assert_true(f->rest_count);
    frame_buffer_hold(f->buffer);
    held[held_count].buffer = f->buffer;
    held[held_count].frame = *f;
    memcpy(held[held_count].rest, f->rest, f->rest_count * sizeof(*f->rest));
    held[held_count].frame.rest = held[held_count].rest;
    held_count++;
}

/* The card reads them now: they are as they were sent. */
static void let_go_of_all(void)
{
    for (u32 i = 0; i < held_count; i++) {
        u8 f[64 * 1024];
        u32 len = frame_copy(&held[i].frame, FRAME_UNTAGGED, f, sizeof(f)), tcp = ETH + network;
        u32 at = frame_be32(f + tcp + 4) - peer.told;

        assert_in_range(len, tcp + 21, sizeof(f));
        for (u32 n = tcp + 20; n < len; n++)
            assert_int_equal(f[n], byte_at(at++));
        frame_buffer_drop(held[i].buffer);
    }
    held_count = 0;
}

static void hear(void *owner, const struct switch_item *items, u32 count)
{
    (void)owner;
    for (u32 i = 0; i < count; i++) {
        static u8 f[64 * 1024];
        u32 tcp = ETH + network;

        if (frame_copy(items[i].frame, items[i].tag, f, sizeof(f)) < tcp + 20 ||
            f[network == 20 ? 23 : 20] != 6)
            continue;
        if (items[i].frame->len > tcp + 60)
            hold(items[i].frame);
        peer.acks++;
        peer.reset |= f[tcp + 13] & RST;
        peer.next = frame_be32(f + tcp + 8);
        if (f[tcp + 13] & SYN) {
            peer.told = frame_be32(f + tcp + 4) + 1;
            peer.open = true;
        }
    }
}
static const struct switch_port_ops ops = {.deliver = hear};

/* ---- what the peer sends ----------------------------------------------------------------------
 */
static void sum_segment(u8 *f, u32 len)
{
    u32 tcp = ETH + network, n = network == 20 ? 8 : 32, sum;
    u8 pseudo[36] = {0};
    u16 word;

    memset(f + tcp + 16, 0, 2);
    memcpy(pseudo, n == 8 ? addresses4 : addresses6, n);
    pseudo[n + 1] = 6;
    frame_put16(pseudo + n + 2, 20 + len);
    sum = checksum_sum(pseudo, (int)n + 4) + (u32)checksum_sum(f + tcp, (int)(20 + len));
    word = (u16) ~((sum & 0xffff) + (sum >> 16));
    memcpy(f + tcp + 16, &word, 2);
}

static u32 make(u8 *f, u32 sequence, u8 flags, u32 len)
{
    u32 tcp = ETH + network;
    u8 *ip = f + ETH;
    u16 word;

    memset(f, 0, tcp + 20);
    put_mac(f, k->port->mac);
    put_mac(f + 6, PEER_MAC);
    if (network == 20) {
        frame_put16(f + 12, ETH_IPV4);
        ip[0] = 0x45;
        frame_put16(ip + 2, 40 + len);
        frame_put16(ip + 4, (u32)random_u64());
        ip[8] = 64;
        ip[9] = 6;
        memcpy(ip + 12, addresses4, 8);
        word = (u16)~checksum_sum(ip, 20);
        memcpy(ip + 10, &word, 2);
    } else {
        frame_put16(f + 12, ETH_IPV6);
        ip[0] = 0x60;
        frame_put16(ip + 4, 20 + len);
        ip[6] = 6;
        ip[7] = 64;
        memcpy(ip + 8, addresses6, 32);
    }
    frame_put16(f + tcp, 4000);
    frame_put16(f + tcp + 2, PORT);
    frame_put32(f + tcp + 4, sequence);
    frame_put32(f + tcp + 8, flags & ACK ? peer.told : 0);
    f[tcp + 12] = 0x50;
    f[tcp + 13] = flags;
    frame_put16(f + tcp + 14, 8192);
    for (u32 i = 0; i < len; i++)
        f[tcp + 20 + i] = byte_at((u64)(sequence - FIRST - 1) + i);
    sum_segment(f, len);
    return tcp + 20 + len;
}

static void put_in(const u8 *f, u32 len)
{
    u8 *exact = malloc(len); /* what is read beyond it is found */
    struct net_frame frame = {.data = exact, .len = len};

    assert_non_null(exact);
    memcpy(exact, f, len);
    switch_input(sw, peer_port, &frame, 1, net_lab_now);
    free(exact);
}

static void segment(u32 sequence, u8 flags, u32 len)
{
    u8 f[2048];

    put_in(f, make(f, sequence, flags, len));
}

/* ---- the application ---------------------------------------------------------------------------
 */
static err_t on_received(void *owner, struct tcp_pcb *pcb, struct pbuf *b, err_t e)
{
    (void)owner, (void)e;
    if (!b)
        return tcp_close(pcb);
    largest = MAX(largest, (u32)b->tot_len);
    for (const struct pbuf *p = b; p; p = p->next)
        for (u32 i = 0; i < p->len; i++)
            wrong |= ((const u8 *)p->payload)[i] != byte_at(got++);
    tcp_recved(pcb, b->tot_len);
    pbuf_free(b);
    return ERR_OK;
}

static void on_end(void *owner, err_t e)
{
    (void)owner, (void)e;
    accepted = NULL;
}

static err_t on_accept(void *owner, struct tcp_pcb *pcb, err_t e)
{
    (void)owner;
    if (pcb) {
        tcp_recv(pcb, on_received);
        tcp_err(pcb, on_end);
    }
    accepted = pcb;
    return e;
}

static void serve(void)
{
    while (kif_run())
        ;
}

static void pass(u64 ns)
{
    for (u64 until = net_lab_now + ns; net_lab_now < until; net_lab_now += 10 * MS) {
        switches_poll(net_lab_now);
        serve();
        stack_poll();
    }
}

/* The peer's address is known, since it speaks first: ARP is fed by what is received. */
static void start(u32 version)
{
    struct switch_port_config c = {.name = "peer", .type = PORT_VM, .mac = PEER_MAC, .ops = &ops};
    ip4_addr_t address = {PP_HTONL(0x0a000002)}, mask = {PP_HTONL(0xffffff00)}, none = {0};
    static bool once;
    u8 arp[60] = {0};

    if (!once)
        stack_init();
    once = true;
    memset(&peer, 0, sizeof(peer));
    got = 0;
    largest = 0;
    wrong = false;
    network = version == 4 ? 20 : 40;
    switches_init(5);
    assert_int_equal(switches_add("vsw0", 0, &sw), HV_OK);
    sw->policy.choice[POLICY_ROUTER] = POLICY_ACCEPT;
    peer_port = (u32)switch_port_add(sw, &c);
    assert_int_equal(kif_add("k0", sw, 0, &k), HV_OK);
    kif_set_static(k, address, mask, none);
    pass(3000 * MS);
    memset(arp, 0xff, 6);
    put_mac(arp + 6, PEER_MAC);
    memcpy(arp + 12, "\x08\x06\0\1\x08\0\6\4\0\1", 10);
    put_mac(arp + 22, PEER_MAC);
    memcpy(arp + 28, addresses4, 4);
    memcpy(arp + 38, addresses4 + 4, 4);
    put_in(arp, sizeof(arp));
    serve();
}

/* fe80::1 to the interface's own; the neighbour is told of by an advertisement that was not asked.
 */
static void know_neighbour(void)
{
    u8 f[86] = {0}, pseudo[4] = {0, 58, 0, 32};
    u16 word;

    memset(addresses6, 0, sizeof(addresses6));
    memcpy(addresses6, "\xfe\x80", 2);
    addresses6[15] = 1;
    memcpy(addresses6 + 16, netif_ip6_addr(&k->netif, 0), 16);
    put_mac(f, k->port->mac);
    put_mac(f + 6, PEER_MAC);
    frame_put16(f + 12, ETH_IPV6);
    f[14] = 0x60;
    f[19] = 32;
    f[20] = 58;
    f[21] = 255;
    memcpy(f + 22, addresses6, 32);
    f[54] = 135; /* a solicitation: its sender's address is taken from it */
    memcpy(f + 62, addresses6 + 16, 16);
    f[78] = f[79] = 1;
    put_mac(f + 80, PEER_MAC);
    u32 sum = checksum_sum(f + 22, 64) + (u32)checksum_sum(pseudo, 4);
    word = (u16) ~((sum & 0xffff) + (sum >> 16));
    memcpy(f + 56, &word, 2);
    put_in(f, sizeof(f));
    serve();
}

static struct tcp_pcb *connect(u32 version)
{
    struct tcp_pcb *pcb;

    start(version);
    pcb = tcp_new_ip_type(IPADDR_TYPE_ANY);
    if (version == 6)
        know_neighbour();
    assert_int_equal(tcp_bind(pcb, IP_ANY_TYPE, PORT), ERR_OK);
    pcb = tcp_listen(pcb);
    tcp_accept(pcb, on_accept);
    segment(FIRST, SYN, 0);
    serve();
    assert_true(peer.open);
    segment(FIRST + 1, ACK, 0);
    serve();
    peer.acks = 0;
    peer.next = FIRST + 1;
    return pcb;
}

static void finish(struct tcp_pcb *listening)
{
    segment(peer.next, RST, 0);
    serve();
    tcp_close(listening);
    kif_remove(k);
    switches_init(0);
}

/* ---- tests ------------------------------------------------------------------------------------
 */
static void burst(u32 count, u32 len)
{
    for (u32 i = 0; i < count; i++)
        segment(peer.next + i * len, ACK | (i % 7 == 6 ? PSH : 0), len);
    serve();
}

/* No time passes: a burst is answered at once, and not each second segment. */
static void bursts_are_joined_and_answered(u32 version)
{
    struct tcp_pcb *l = connect(version);
    u64 sent = 0;

    for (u32 count = 2; count <= 100; count++) {
        peer.acks = 0;
        u64 joined = k->joined;
        burst(count, 1000);
        sent += count * 1000;
        assert_int_equal(got, sent);
        if (count % KIF_JOIN_MOST == 1) /* the last one is alone: it may wait */
            pass(300 * MS);
        assert_int_equal(peer.next, (u32)(FIRST + 1 + sent));
        assert_in_range(peer.acks, 1, (count + KIF_JOIN_MOST - 1) / KIF_JOIN_MOST);
        assert_int_equal(k->joined - joined, count - (count + KIF_JOIN_MOST - 1) / KIF_JOIN_MOST);
    }
    assert_in_range(largest, KIF_JOIN_MOST * 1000, 0xffff);
    largest = 0;
    burst(100, 1440); /* the length of a packet is the limit */
    assert_int_equal(got, sent + 144000);
    assert_in_range(largest, 60000, 0xffff);
    assert_false(wrong);
    finish(l);
}

static void joined_in_ipv4(void **state)
{
    (void)state;
    bursts_are_joined_and_answered(4);
}

static void joined_in_ipv6(void **state)
{
    (void)state;
    bursts_are_joined_and_answered(6);
}

/* One segment waits for the next, or for the timer, as ever. */
static void single_segments_wait(void **state)
{
    struct tcp_pcb *l = connect(4);

    (void)state;
    burst(1, 1000);
    assert_int_equal(peer.acks, 0);
    pass(300 * MS);
    assert_int_equal(peer.acks, 1);
    burst(1, 1000);
    assert_int_equal(peer.acks, 1);
    segment(peer.next + 1000, ACK, 1000);
    serve();
    assert_int_equal(peer.acks, 2);
    assert_int_equal(k->joined, 0);
    assert_false(wrong);
    finish(l);
}

/* Between two segments that could be joined: one of another kind. */
static void put_other(u32 which, u32 sequence, u32 len)
{
    u8 f[2048];
    u32 size = make(f, sequence, ACK, len), tcp = ETH + network;

    switch (which) {
    case 0:
        f[tcp + 20 + len / 2] ^= 1; /* TCP's sum is wrong */
        break;
    case 1:
        f[ETH + (network == 20 ? 10 : 4)] ^= 1; /* that of IPv4, or the length in IPv6 */
        break;
    case 2:
        size -= 1; /* cut short */
        break;
    case 3:
        f[tcp + 2] ^= 0x40; /* another port */
        break;
    case 4:
        f[tcp + 12] = 0xf0; /* a header longer than the segment, perhaps */
        break;
    case 5:
        f[ETH] ^= 0x10;
        break;
    default:
        f[12] ^= 1; /* no IP */
        break;
    }
    put_in(f, size);
}

/* Whatever is in between, twice, missing or late: the stream comes whole. */
static void survives(u32 version)
{
    struct tcp_pcb *l = connect(version);
    u64 want = 3000000;

    for (u32 round = 0; got < want; round++) {
        u32 at = peer.next, edge = at;

        assert_in_range(round, 0, 20000);
        for (u32 i = random_u64() % 40 + 1; i; i--) {
            u32 len = (u32)(random_u64() % 1440) + 1, kind = random_u64() % 64;
            if (kind < 7)
                put_other(kind, at, len);
            else if (kind == 7)
                segment(edge - (u32)(random_u64() % 3000 % (edge - FIRST)), ACK, len); /* again */
            else if (kind == 8)
                at += len; /* lost */
            segment(at, ACK | (kind & 16 ? PSH : 0), len);
            at += len;
        }
        serve();
        pass(10 * MS);
        if (random_u64() % 8 == 0)
            pass(300 * MS);
    }
    assert_false(wrong);
    assert_true(k->joined > 100);
    finish(l);
}

static void survives_anything_between(void **state)
{
    (void)state;
    survives(4);
    survives(6);
}

/* ---- what is sent, and held -------------------------------------------------------------------
 */
#define STREAM (3 * 536u) /* whole segments, as many as go out at first */

/* A connection with STREAM bytes of it on a wire that holds them.  They are the application's, in
 * memory that cards reach, or copied by lwIP. */
static struct tcp_pcb *send_held(u8 flags, u8 *bytes)
{
    struct tcp_pcb *l = connect(4);

    for (u32 i = 0; i < STREAM; i++)
        bytes[i] = byte_at(i);
    holds = true;
    payloads = 0;
    assert_non_null(accepted);
    assert_int_equal(tcp_write(accepted, bytes, STREAM, flags), ERR_OK);
    assert_int_equal(tcp_output(accepted), ERR_OK);
    serve();
    assert_true(held_count);
    assert_int_equal(payloads, held_count);
    return l;
}

/* The peer is silent.  A segment that a card still has is not sent again; then it is, and the
 * stream goes on. */
static void sent_again_when_let_go(void **state)
{
    u8 *bytes = dma_alloc(STREAM);
    struct tcp_pcb *l = send_held(0, bytes);
    u32 first = payloads;

    (void)state;
    pass(4000 * MS);
    assert_int_equal(payloads, first);
    let_go_of_all();
    pass(8000 * MS);
    assert_in_range(payloads, first + 1, first + 8);
    assert_true(held_count);
    let_go_of_all();
    holds = false;
    u32 told = peer.told, next = peer.next;
    peer.told += STREAM; /* the peer has all of it */
    segment(next, ACK, 0);
    serve();
    payloads = 0;
    pass(8000 * MS);
    assert_int_equal(payloads, 0);
    assert_non_null(accepted);
    assert_int_equal(accepted->snd_queuelen, 0);
    peer.told = told + STREAM;
    dma_free(bytes, STREAM);
    finish(l);
}

/* The connection ends, by us or by the peer, while a card has its segments: the card reads what was
 * sent, and gives back memory that nobody else has. */
static void ends_while_held(void **state)
{
    (void)state;
    for (u32 by_peer = 0; by_peer < 2; by_peer++) {
        u8 *bytes = dma_alloc(STREAM);
        struct tcp_pcb *l = send_held(TCP_WRITE_FLAG_COPY, bytes);

        memset(bytes, 0, STREAM);
        peer.reset = false;
        if (by_peer) {
            segment(peer.next, RST, 0);
            serve();
        } else {
            tcp_abort(accepted);
            serve();
            assert_true(peer.reset);
        }
        assert_null(accepted);
        pass(3000 * MS);
        holds = false;
        let_go_of_all();
        dma_free(bytes, STREAM);
        tcp_close(l);
        kif_remove(k);
        switches_init(0);
    }
}

/* What goes over the wire is what the secret and the clock say, for each family. */
static void initial_numbers_are_those_of_the_secret(void **state)
{
    const ip_addr_t any = {0};
    u32 drawn, none = isn_next(&any, 1, &any, 1) - (u32)(net_lab_now / ISN_TICK);

    (void)state;
    for (u32 round = 0; round < 4; round++) {
        struct tcp_pcb *listening = connect(round % 2 ? 6 : 4);
        ip_addr_t local = {0}, remote = {0};

        if (round % 2) {
            memcpy(ip_2_ip6(&remote)->addr, addresses6, 16);
            memcpy(ip_2_ip6(&local)->addr, addresses6 + 16, 16);
            IP_SET_TYPE_VAL(local, IPADDR_TYPE_V6);
            IP_SET_TYPE_VAL(remote, IPADDR_TYPE_V6);
        } else {
            memcpy(ip_2_ip4(&remote), addresses4, 4);
            memcpy(ip_2_ip4(&local), addresses4 + 4, 4);
        }
        u32 now = isn_next(&local, PORT, &remote, 4000);
        assert_in_range(now - (peer.told - 1), 0, 1000 * MS / ISN_TICK);
        finish(listening);
    }
    drawn = isn_next(&any, 1, &any, 1) - (u32)(net_lab_now / ISN_TICK);
    assert_int_not_equal(drawn, none); /* the stack's start has drawn a secret */
}

/* An open connection's peer says that segments are to be shorter, while some bytes wait that lwIP
 * has made more room for: it may not. */
static void only_a_syn_says_how_long(void **state)
{
    static const u8 options[] = {1, 1, 2, 4, 0, 64, 1, 0};
    struct tcp_pcb *l = connect(4);
    u8 f[2048], bytes[100] = {0};
    u16 mss = accepted->mss;

    (void)state;
    assert_int_equal(tcp_write(accepted, bytes, sizeof(bytes), TCP_WRITE_FLAG_COPY), ERR_OK);
    u32 len = make(f, peer.next, ACK, sizeof(options));
    memcpy(f + ETH + network + 20, options, sizeof(options));
    f[ETH + network + 12] = 0x70;
    sum_segment(f, sizeof(options));
    put_in(f, len);
    serve();
    assert_int_equal(accepted->mss, mss);
    assert_int_equal(tcp_write(accepted, bytes, sizeof(bytes), TCP_WRITE_FLAG_COPY), ERR_OK);
    tcp_abort(accepted);
    tcp_close(l);
    kif_remove(k);
    switches_init(0);
}

int main(void)
{
    const struct CMUnitTest tests[] = {cmocka_unit_test(initial_numbers_are_those_of_the_secret),
                                       cmocka_unit_test(joined_in_ipv4),
                                       cmocka_unit_test(joined_in_ipv6),
                                       cmocka_unit_test(single_segments_wait),
                                       cmocka_unit_test(survives_anything_between),
                                       cmocka_unit_test(sent_again_when_let_go),
                                       cmocka_unit_test(ends_while_held),
                                       cmocka_unit_test(only_a_syn_says_how_long)};

    return cmocka_run_group_tests(tests, NULL, NULL);
}
