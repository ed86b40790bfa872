/* links: net/frame.c net/mac_table.c net/vlan.c net/policy.c net/shape.c net/delay.c net/igmp_snoop.c net/lacp.c net/team.c net/discovery.c net/lldp.c net/cdp.c net/switch.c net/switch_slow.c net/switch_port.c net/switch_clock.c net/switches.c net/mac_address.c net/checksum.c net/stack.c net/isn.c net/kif.c net/kif_join.c net/kif_send.c net/frame_buffer.c net/route.c net/servers.c net/ping.c net/offload.c tests/unit/net_lab.c */
/* What an interface sends: lwIP's memory that is held and let go of, TCP's sums, segments that
 * become one long frame and come out of it again byte for byte, and frames that must not be joined.
 * One file: every case is judged by the one wire behind the switch. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "control/rt/dma.h"
#include "net/checksum.h"
#include "net/delay.h"
#include "net/frame_buffer.h"
#include "net/kif_send.h"
#include "net/offload.h"
#include "net/stack.h"
#include "net/switches.h"
#include "tests/unit/net_lab.h"

#define OUR_MAC 0x064248000001ull
#define PEER_MAC 0x020000000001ull
#define SEGMENT 1000u

/* ---- the peer's port: frames as they are on a wire ------------------------------------------- */
static u8 wire[128][2048], sent[128][2048];
static u32 wire_len[128], wire_count, long_frames, unsummed, sent_len[128], sent_count;
static struct net_switch *sw;
static struct switch_port *ours;
static struct kif_sender sender;
static struct frame_buffer *kept[600]; /* as a card keeps them */
static u32 kept_count, seen_count;
static const u8 *seen[600]; /* where frames begin */
static bool keeps;
static u8 *payloads; /* of segments, behind each other or `apart` */
static u32 payload_at, apart;

static void hear(void *owner, const struct switch_item *items, u32 count)
{
    (void)owner;
    for (u32 i = 0; i < count; i++) {
        struct offload o;
        u32 len;

        long_frames += items[i].frame->gso_type != 0;
        unsummed += (items[i].frame->flags & FRAME_CSUM_NEEDED) != 0;
        seen[seen_count++] = items[i].frame->data;
        assert_true(seen_count < ARRAY_LEN(seen));
        assert_non_null(items[i].frame->buffer);
        if (keeps) {
            frame_buffer_hold(kept[kept_count++] = items[i].frame->buffer);
            continue;
        }
        offload_start(&o, items[i].frame, items[i].tag);
        while ((len = offload_next(&o, wire[wire_count], sizeof(wire[0]))))
            wire_len[wire_count++] = len;
    }
}
static const struct switch_port_ops ops = {.deliver = hear};

static void quiet(void *owner, const struct switch_item *items, u32 count)
{
    (void)owner, (void)items, (void)count;
}
static const struct switch_port_ops no_ops = {.deliver = quiet};

static int start(void **unused)
{
    struct switch_port_config c = {.name = "peer", .type = PORT_VM, .mac = PEER_MAC, .ops = &ops};
    static bool once;

    (void)unused;
    if (!once)
        stack_init();
    once = true;
    switches_init(5);
    assert_int_equal(switches_add("vsw0", 0, &sw), HV_OK);
    assert_true(switch_port_add(sw, &c) >= 0);
    c = (struct switch_port_config){.name = "k0", .type = PORT_KIF, .mac = OUR_MAC, .ops = &no_ops};
    ours = sw->ports[switch_port_add(sw, &c)];
    wire_count = sent_count = long_frames = unsummed = 0;
    payloads = payloads ? payloads : dma_alloc(MIB);
    assert_non_null(payloads);
    payload_at = apart = kept_count = seen_count = 0;
    keeps = false;
    memset(&sender, 0, sizeof(sender));
    return 0;
}

static int stop(void **unused)
{
    (void)unused;
    for (u32 i = 0; i < PORTSET_PORTS; i++)
        if (sw->ports[i])
            switch_port_remove(sw, i);
    assert_int_equal(switches_remove(sw), HV_OK);
    return 0;
}

/* ---- segments as lwIP makes them, without TCP's sum ------------------------------------------ */
struct segment {
    u32 version, sequence, len;
    u16 port, id;
    u8 flags, ttl;
};

static u32 build(u8 *f, const struct segment *s)
{
    u32 header = s->version == 4 ? 20 : 40, tcp = 14 + header;
    u8 *ip = f + 14;

    memset(f, 0, tcp + 20);
    memcpy(f, "\x02\0\0\0\0\1\x06\x42\x48\0\0\1", 12);
    frame_put16(f + 12, s->version == 4 ? ETH_IPV4 : ETH_IPV6);
    if (s->version == 4) {
        memcpy(ip, "\x45\0\0\0\0\0\0\0\0\x06\0\0\x0a\0\0\1\x0a\0\0\2", 20);
        frame_put16(ip + 2, 40 + s->len);
        frame_put16(ip + 4, s->id);
        ip[8] = s->ttl;
        u16 sum = (u16)~checksum_sum(ip, 20);
        memcpy(ip + 10, &sum, 2);
    } else {
        ip[0] = 0x60;
        frame_put16(ip + 4, 20 + s->len);
        ip[6] = 6;
        ip[7] = s->ttl;
        ip[8 + 15] = 1;
        ip[24 + 15] = 2;
    }
    frame_put16(f + tcp, s->port);
    frame_put32(f + tcp + 4, s->sequence);
    frame_put32(f + tcp + 8, 77);
    f[tcp + 12] = 0x50;
    f[tcp + 13] = s->flags;
    frame_put16(f + tcp + 14, 0x2000);
    for (u32 i = 0; i < s->len; i++)
        f[tcp + 20 + i] = (u8)((s->sequence + i) * 7);
    return tcp + 20 + s->len;
}

static void put_sum(u8 *f, u32 len)
{
    struct net_frame frame = {.data = f, .len = len};
    struct frame_ip ip;
    u8 pseudo[40] = {0};

    assert_true(frame_parse(&frame) && frame_ip(&frame, &ip));
    memcpy(pseudo, f + 14 + (ip.version == 4 ? 12 : 8), ip.version == 4 ? 8 : 32);
    frame_put32(pseudo + 32, ip.len);
    frame_put32(pseudo + 36, 6);
    u16 sums[2] = {checksum_sum(pseudo, 40), checksum_sum(f + ip.offset, (int)ip.len)};
    u16 sum = (u16)~checksum_sum(sums, 4);
    memcpy(f + ip.offset + 16, &sum, 2);
}

/* Headers in one piece and the payload in another, as lwIP sends what it has not copied. */
static void send(struct segment s)
{
    u8 *f = sent[sent_count];
    u32 len = build(f, &s), header = len - s.len;
    struct pbuf *head = pbuf_alloc(PBUF_RAW, (u16)header, PBUF_RAM), *rest = NULL;

    memcpy(head->payload, f, header);
    if (s.len) {
        rest = pbuf_alloc(PBUF_RAW, (u16)s.len, PBUF_ROM);
        rest->payload = memcpy(payloads + payload_at, f + header, s.len);
        payload_at += s.len + apart;
        pbuf_cat(head, rest);
    }
    assert_true(kif_send(&sender, ours, head));
    pbuf_free(head);
    put_sum(f, len);
    sent_len[sent_count++] = len;
}

static void arrived(void)
{
    assert_int_equal(wire_count, sent_count);
    for (u32 i = 0; i < sent_count; i++) {
        assert_int_equal(wire_len[i], sent_len[i]);
        assert_memory_equal(wire[i], sent[i], sent_len[i]);
    }
}

static void run_of(u32 version, u32 count, u32 last)
{
    struct segment s = {version, 0xfffffff0u, SEGMENT, 4711, 9, 0x10, 64};

    for (u32 i = 0; i < count; i++, s.id++, s.sequence += SEGMENT) {
        s.len = i + 1 < count ? SEGMENT : last;
        s.flags = i + 1 < count ? 0x10 : 0x18;
        send(s);
    }
    kif_send_flush(&sender, ours);
    arrived();
}

static void sums_are_made_here(void **unused)
{
    (void)unused;
    sw->can = 0;
    run_of(4, 40, 17); /* more than a batch */
    run_of(6, 3, SEGMENT);
    assert_int_equal(long_frames + unsummed, 0);
}

static void sums_are_left_to_the_card(void **unused)
{
    (void)unused;
    sw->can = SWITCH_CAN_SUM;
    run_of(4, 5, 1);
    run_of(6, 5, 999);
    assert_int_equal(long_frames, 0);
    assert_int_equal(unsummed, 10);
}

/* A datagram's sum, too; never zero, which says that there is none. */
static void datagrams_are_summed(void **unused)
{
    struct segment s = {4, 0, 100, 4711, 9, 0, 64};
    u16 sum;

    (void)unused;
    for (u32 i = 0; i < 4; i++) {
        u32 at = (s.version = i & 1 ? 6 : 4) == 4 ? 34 : 54;
        u8 *f = sent[0], *got = wire[0];
        u32 len = build(f, &s) - 12, protocol = at == 34 ? 23 : 20;
        struct pbuf *p = pbuf_alloc(PBUF_RAW, (u16)len, PBUF_RAM);
        u8 pseudo[40] = {0};

        sw->can = i < 2 ? 0 : SWITCH_CAN_SUM;
        f[protocol] = 17;
        frame_put16(f + (at == 34 ? 16 : 18), len - (at == 34 ? 14 : at));
        frame_put16(f + at + 4, len - at);
        memset(f + at + 6, 0, 2);
        memcpy(p->payload, f, len);
        wire_count = unsummed = 0;
        assert_true(kif_send(&sender, ours, p));
        kif_send_flush(&sender, ours);
        pbuf_free(p);
        assert_int_equal(wire_count, 1);
        assert_int_equal(unsummed, i / 2);
        memcpy(pseudo, f + 14 + (at == 34 ? 12 : 8), at == 34 ? 8 : 32);
        frame_put32(pseudo + 32, len - at);
        frame_put32(pseudo + 36, 17);
        u16 sums[2] = {checksum_sum(pseudo, 40), checksum_sum(got + at, (int)(len - at))};
        assert_int_equal(checksum_sum(sums, 4), 0xffff);
        memcpy(&sum, got + at + 6, 2);
        assert_int_not_equal(sum, 0);
    }
}

static void segments_become_one(void **unused)
{
    (void)unused;
    sw->can = SWITCH_CAN_SUM | SWITCH_CAN_CUT4;
    run_of(4, 50, 17);
    assert_int_equal(long_frames, 1);
    run_of(6, 2, 17); /* the card does not cut these */
    assert_int_equal(long_frames, 1);
    sw->can |= SWITCH_CAN_CUT6;
    run_of(6, 50, SEGMENT);
    assert_int_equal(long_frames, 2);
}

static void as_long_as_ip_allows(void **unused)
{
    (void)unused;
    sw->can = 0xff;
    run_of(4, 100, SEGMENT);
    assert_int_equal(long_frames, 2);
}

static void as_many_pieces_as_cards_take(void **unused)
{
    (void)unused;
    sw->can = 0xff;
    apart = 1;
    run_of(4, 100, SEGMENT);
    assert_int_equal(long_frames, (100 + FRAME_REST - 1) / FRAME_REST);
}

static void what_differs_is_not_joined(void **unused)
{
    const struct segment plain = {4, 1000, SEGMENT, 4711, 9, 0x10, 64};
    struct segment next = plain;

    (void)unused;
    sw->can = 0xff;
    next.sequence += SEGMENT;
    next.id++;
    struct segment others[] = {next, next, next, next, next, next, plain, next};
    others[0].port++;
    others[1].ttl--;
    others[2].flags |= 1; /* FIN */
    others[3].sequence++; /* a gap */
    others[4].version = 6;
    others[5].len = 0; /* an acknowledgement */
    others[7].len = SEGMENT + 1;
    for (u32 i = 0; i < ARRAY_LEN(others); i++) {
        send(plain);
        send(others[i]);
        kif_send_flush(&sender, ours);
    }
    arrived();
    assert_int_equal(long_frames, 0);
    send((struct segment){4, 1, 3, 4711, 9, 0x10, 64}); /* not worth it */
    send((struct segment){4, 4, 3, 4711, 10, 0x10, 64});
    kif_send_flush(&sender, ours);
    arrived();
    assert_int_equal(long_frames, 0);
}

static void a_short_one_is_the_last(void **unused)
{
    struct segment s = {4, 1000, SEGMENT, 4711, 9, 0x10, 64};

    (void)unused;
    sw->can = 0xff;
    send(s);
    s.sequence += SEGMENT, s.id++, s.len = 600;
    send(s);
    s.sequence += 600, s.id++, s.len = SEGMENT;
    send(s);
    s.sequence += SEGMENT, s.id++;
    send(s);
    kif_send_flush(&sender, ours);
    arrived();
    assert_int_equal(long_frames, 2);
}

static void buffers_run_out(void **unused)
{
    static struct frame_buffer *taken[2000];
    static u8 elsewhere[10]; /* where no card reaches */
    struct pbuf *p = pbuf_alloc(PBUF_RAW, 100, PBUF_RAM),
                *rest = pbuf_alloc(PBUF_RAW, sizeof(elsewhere), PBUF_ROM);
    u32 n = 0;

    (void)unused;
    memset(p->payload, 0, 100);
    while ((taken[n] = frame_buffer_get(100)))
        n++;
    assert_true(n > 256 && n < 1100);        /* fewer than an uplink has places for */
    assert_true(kif_send(&sender, ours, p)); /* it needs none */
    kif_send_drop(&sender);
    rest->payload = elsewhere;
    pbuf_cat(p, rest);
    assert_false(kif_send(&sender, ours, p));
    while (n)
        frame_buffer_drop(taken[--n]);
    assert_true(kif_send(&sender, ours, p));
    assert_int_equal(p->ref, 1);
    kif_send_drop(&sender);
    pbuf_free(p);
    assert_null(frame_buffer_get(FRAME_BUFFER_LARGE + 1));
}

/* ---- whose memory it is -----------------------------------------------------------------------
 */
static struct pbuf *segment_in_one(u32 sequence)
{
    struct segment s = {4, sequence, SEGMENT, 4711, 9, 0x10, 64};
    u32 len = build(sent[0], &s);
    struct pbuf *p = pbuf_alloc(PBUF_RAW, (u16)len, PBUF_RAM);

    memcpy(p->payload, sent[0], len);
    return p;
}

static void a_segment_is_held_until_the_card_is_done(void **unused)
{
    struct pbuf *p = segment_in_one(1), *next = segment_in_one(1 + SEGMENT);

    (void)unused;
    assert_true(dma_reaches(p->payload, p->len)); /* that is what lwIP's memory is */
    sw->can = 0xff;
    keeps = true;
    assert_true(kif_send(&sender, ours, p));
    assert_true(kif_send(&sender, ours, next));
    assert_int_equal(p->ref, 2); /* TCP leaves it alone: tcp_output_segment_busy() */
    assert_int_equal(next->ref, 2);
    kif_send_flush(&sender, ours);
    assert_int_equal(kept_count, 1); /* they became one frame */
    assert_ptr_equal(seen[0], p->payload);
    assert_int_equal(p->ref, 2);
    pbuf_free(next); /* TCP has its acknowledgement; the card has not read it yet */
    assert_int_equal(next->ref, 1);
    frame_buffer_hold(kept[0]); /* another card */
    frame_buffer_drop(kept[0]);
    assert_int_equal(p->ref, 2);
    frame_buffer_drop(kept[0]);
    assert_int_equal(p->ref, 1);
    pbuf_free(p);
}

static void what_is_dropped_is_let_go(void **unused)
{
    struct pbuf *p = segment_in_one(1);

    (void)unused;
    sw->can = 0xff;
    assert_true(kif_send(&sender, ours, p));
    assert_int_equal(p->ref, 2);
    kif_send_drop(&sender);
    assert_int_equal(p->ref, 1);
    pbuf_free(p);
}

/* Without a copy: headers and payload of any length, in pieces of any length. */
static void frames_that_are_summed_here_are_held(void **unused)
{
    struct pbuf *p = segment_in_one(1), *q, *tail;
    u32 len = p->tot_len;

    (void)unused;
    sw->can = 0;
    put_sum(sent[0], len);
    for (u32 cut = 54; cut < len; cut += 61) {
        wire_count = seen_count = 0;
        q = pbuf_alloc(PBUF_RAW, (u16)cut, PBUF_RAM);
        tail = pbuf_alloc(PBUF_RAW, (u16)(len - cut), PBUF_RAM);
        pbuf_cat(q, tail);
        assert_int_equal(pbuf_copy(q, p), ERR_OK);
        assert_true(kif_send(&sender, ours, q));
        assert_int_equal(q->ref, 2);
        kif_send_flush(&sender, ours);
        assert_int_equal(q->ref, 1);
        assert_ptr_equal(seen[0], q->payload);
        assert_int_equal(wire_len[0], len);
        assert_memory_equal(wire[0], sent[0], len);
        pbuf_free(q);
    }
    assert_int_equal(unsummed, 0);
    pbuf_free(p);
}

static struct pbuf *in_two(const u8 *bytes, u32 len, u32 cut)
{
    struct pbuf *p = pbuf_alloc(PBUF_RAW, (u16)cut, PBUF_RAM);

    pbuf_cat(p, pbuf_alloc(PBUF_RAW, (u16)(len - cut), PBUF_RAM));
    assert_int_equal(pbuf_take(p, bytes, (u16)len), ERR_OK);
    return p;
}

/* Headers in two pieces are for nobody to look at; what has no more than IP's is not asked for. */
static void headers_that_are_apart_are_put_together(void **unused)
{
    static const struct {
        u8 version, protocol;
        u32 cut;
        bool held;
    } cases[] = {{4, 6, 53, false},  {4, 6, 54, true},   {4, 17, 41, false}, {4, 17, 42, true},
                 {4, 1, 33, false},  {4, 1, 34, true},   {4, 2, 40, false},  {6, 6, 73, false},
                 {6, 6, 74, true},   {6, 17, 61, false}, {6, 17, 62, true},  {6, 58, 70, false},
                 {6, 44, 70, false}, {5, 6, 80, false}};

    (void)unused;
    sw->can = 0;
    for (u32 i = 0; i < ARRAY_LEN(cases); i++) {
        struct segment s = {cases[i].version == 6 ? 6 : 4, 1, SEGMENT, 4711, 9, 0x10, 64};
        u32 len = build(sent[0], &s);

        if (cases[i].version == 5)
            frame_put16(sent[0] + 12, 0x88b5);
        sent[0][cases[i].version == 6 ? 20 : 23] = cases[i].protocol;
        struct pbuf *p = in_two(sent[0], len, cases[i].cut);
        wire_count = seen_count = 0;
        assert_true(kif_send(&sender, ours, p));
        assert_int_equal(p->ref, cases[i].held ? 2 : 1);
        kif_send_flush(&sender, ours);
        assert_int_equal(seen[0] == p->payload, cases[i].held);
        assert_int_equal(wire_len[0], len);
        if (cases[i].protocol != 6)
            assert_memory_equal(wire[0], sent[0], len);
        pbuf_free(p);
    }
}

/* The last card that sums goes while a frame is on its way. */
static void sums_of_pieces_are_made(void **unused)
{
    (void)unused;
    sw->can = SWITCH_CAN_SUM;
    send((struct segment){4, 1, SEGMENT, 4711, 9, 0x10, 64});
    sw->can = 0;
    kif_send_flush(&sender, ours);
    arrived();
    assert_int_equal(unsummed, 0);
}

static void what_cards_do_not_reach_is_copied(void **unused)
{
    static u8 elsewhere[SEGMENT];
    struct pbuf *whole = segment_in_one(1), *p = pbuf_alloc(PBUF_RAW, 54, PBUF_RAM),
                *rest = pbuf_alloc(PBUF_RAW, SEGMENT, PBUF_ROM);

    (void)unused;
    memcpy(p->payload, whole->payload, 54);
    memcpy(elsewhere, (u8 *)whole->payload + 54, SEGMENT);
    rest->payload = elsewhere;
    pbuf_cat(p, rest);
    sw->can = 0xff;
    assert_true(kif_send(&sender, ours, whole));
    assert_true(kif_send(&sender, ours, p));
    assert_int_equal(whole->ref, 2);
    assert_int_equal(p->ref, 1);
    kif_send_flush(&sender, ours);
    assert_ptr_equal(seen[0], whole->payload);
    assert_ptr_not_equal(seen[1], p->payload);
    assert_int_equal(wire_count, 2);
    assert_memory_equal(wire[0], wire[1], wire_len[0]);
    pbuf_free(p);
    pbuf_free(whole);
}

static void a_card_that_keeps_all_is_given_copies(void **unused)
{
    struct pbuf *p[550];
    u32 held = 0, in_place = 0;

    (void)unused;
    sw->can = SWITCH_CAN_SUM;
    keeps = true;
    for (u32 i = 0; i < ARRAY_LEN(p); i++)
        assert_true(kif_send(&sender, ours, p[i] = segment_in_one(1)));
    kif_send_flush(&sender, ours);
    assert_int_equal(kept_count, ARRAY_LEN(p));
    for (u32 i = 0; i < ARRAY_LEN(p); i++) {
        held += p[i]->ref == 2;
        in_place += seen[i] == p[i]->payload;
    }
    assert_int_equal(held, in_place);
    assert_true(held > 100 && held < ARRAY_LEN(p));
    while (kept_count)
        frame_buffer_drop(kept[--kept_count]);
    for (u32 i = 0; i < ARRAY_LEN(p); i++) {
        assert_int_equal(p[i]->ref, 1);
        pbuf_free(p[i]);
    }
}

/* Readers of a frame in pieces find what those of a whole one do. */
static void pieces_read_as_a_whole(void **unused)
{
    static u8 bytes[1054], a[1100], b[1100];
    struct segment s = {4, 1, SEGMENT, 4711, 9, 0x10, 64};
    u32 len = build(bytes, &s);
    struct frame_part rest[] = {{bytes + 54, 1}, {bytes + 55, 500}, {bytes + 555, 499}};
    struct net_frame whole = {.data = bytes, .len = len}, f = whole, got;
    const u16 tags[] = {FRAME_UNTAGGED, 7};
    static _Alignas(16) u8 memory[64 * KIB];
    struct delay_line line;
    u16 tag;

    (void)unused;
    assert_true(frame_parse(&whole));
    f = whole;
    f.front = 54, f.rest = rest, f.rest_count = 3;
    for (u32 i = 0; i < 2; i++) {
        assert_int_equal(frame_copy(&f, tags[i], a, sizeof(a)),
                         frame_copy(&whole, tags[i], b, sizeof(b)));
        assert_memory_equal(a, b, frame_out_len(&f, tags[i]));
    }
    for (u32 from = 0; from < len; from += 13)
        for (u32 n = 0; n <= len - from; n += 17) {
            memset(a, 0, sizeof(a));
            frame_read(&f, from, a, n);
            assert_memory_equal(a, bytes + from, n);
        }
    frame_read(&f, 0, a, len);
    assert_memory_equal(a, bytes, len);
    delay_init(&line, memory, sizeof(memory));
    assert_true(delay_put(&line, &f, 7, 1));
    assert_true(delay_peek(&line, 1, &got, &tag));
    assert_int_equal(got.rest_count, 0);
    assert_memory_equal(got.data, bytes, len);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup_teardown(sums_are_made_here, start, stop),
        cmocka_unit_test_setup_teardown(sums_are_left_to_the_card, start, stop),
        cmocka_unit_test_setup_teardown(datagrams_are_summed, start, stop),
        cmocka_unit_test_setup_teardown(segments_become_one, start, stop),
        cmocka_unit_test_setup_teardown(as_long_as_ip_allows, start, stop),
        cmocka_unit_test_setup_teardown(as_many_pieces_as_cards_take, start, stop),
        cmocka_unit_test_setup_teardown(what_differs_is_not_joined, start, stop),
        cmocka_unit_test_setup_teardown(a_short_one_is_the_last, start, stop),
        cmocka_unit_test_setup_teardown(buffers_run_out, start, stop),
        cmocka_unit_test_setup_teardown(a_segment_is_held_until_the_card_is_done, start, stop),
        cmocka_unit_test_setup_teardown(what_is_dropped_is_let_go, start, stop),
        cmocka_unit_test_setup_teardown(frames_that_are_summed_here_are_held, start, stop),
        cmocka_unit_test_setup_teardown(headers_that_are_apart_are_put_together, start, stop),
        cmocka_unit_test_setup_teardown(sums_of_pieces_are_made, start, stop),
        cmocka_unit_test_setup_teardown(what_cards_do_not_reach_is_copied, start, stop),
        cmocka_unit_test_setup_teardown(a_card_that_keeps_all_is_given_copies, start, stop),
        cmocka_unit_test_setup_teardown(pieces_read_as_a_whole, start, stop),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
