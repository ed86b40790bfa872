/* links: net/frame.c net/mac_table.c net/vlan.c net/policy.c net/shape.c net/delay.c net/igmp_snoop.c net/lacp.c net/team.c net/discovery.c net/lldp.c net/cdp.c net/switch.c net/switch_slow.c net/switch_port.c net/switch_clock.c net/switches.c net/mac_address.c net/checksum.c net/frame_buffer.c net/offload.c net/uplink.c net/uplink_pieces.c drivers/nic.c tests/unit/net_lab.c */
/* Frames in pieces on their way to a card: which memory it is given, who holds it for how long,
 * tags, cards that are full, that go away, that cannot cut. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "control/rt/dma.h"
#include "drivers/nic.h"
#include "net/frame_buffer.h"
#include "net/net.h"
#include "net/offload.h"
#include "net/switches.h"
#include "net/uplink.h"
#include "tests/unit/net_lab.h"

#define FRONT 54u
#define REST 1000u

void net_wake(void)
{
}

/* ---- a card that keeps what it is given until it is told ------------------------------------- */
static struct nic_frame *at_card[64];
static u32 at_card_count, card_room;

static u32 card_send(struct nic *n, struct nic_frame *const *frames, u32 count)
{
    u32 taken = 0;

    (void)n;
    while (taken < count && at_card_count < card_room)
        at_card[at_card_count++] = frames[taken++];
    return taken;
}

static void card_filter(struct nic *n, const struct nic_filter *f)
{
    (void)n, (void)f;
}

static const struct nic_ops card_ops = {.send = card_send, .set_filter = card_filter};
static struct nic card = {.kind = "test", .ops = &card_ops, .mtu = 1500, .mtu_most = 1500};

static void card_reads_all(void)
{
    u32 n = at_card_count;

    at_card_count = 0;
    for (u32 i = 0; i < n; i++)
        nic_release(at_card[i]);
}

/* ---- a frame in its maker's memory ----------------------------------------------------------- */
static struct net_switch *sw;
static struct switch_port *ours;
static struct frame_buffer head;
static struct frame_part rest[FRAME_REST];
static u8 *payload;
static u32 released;

static void quiet(void *owner, const struct switch_item *items, u32 count)
{
    (void)owner, (void)items, (void)count;
}
static const struct switch_port_ops ops = {.deliver = quiet};

static void let_go(struct frame_buffer *b)
{
    (void)b;
    released++;
}

static int start(void **unused)
{
    struct switch_port_config c = {.name = "k0", .type = PORT_KIF, .mac = 0x064248000001ull};
    static bool once;

    (void)unused;
    c.ops = &ops;
    card.capabilities = NIC_CAN_CSUM | NIC_CAN_TSO4;
    card.link_up = true;
    if (!once) {
        nic_register(&card);
        head.bytes = dma_alloc(128);
        payload = dma_alloc(64 * KIB);
        switches_init(5);
    }
    once = true;
    assert_true(head.bytes && payload);
    assert_int_equal(switches_add("vsw0", 0, &sw), HV_OK);
    assert_int_equal(uplink_add(sw, "nic0"), HV_OK);
    ours = sw->ports[switch_port_add(sw, &c)];
    at_card_count = released = 0;
    card_room = 64;
    return 0;
}

static int stop(void **unused)
{
    (void)unused;
    switch_port_remove(sw, ours->index);
    if (card.user)
        assert_int_equal(uplink_remove("nic0"), HV_OK);
    card_reads_all();
    assert_int_equal(switches_remove(sw), HV_OK);
    card.gone = false;
    return 0;
}

/* One with `pieces` of REST bytes, apart from each other, to be cut if there is more than one. */
static void send(u32 pieces)
{
    struct net_frame f = {.data = head.bytes,
                          .len = FRONT + pieces * REST,
                          .front = FRONT,
                          .rest_count = (u16)pieces,
                          .rest = rest,
                          .buffer = &head};
    u8 *ip = head.bytes + FRAME_HEADER;

    memset(head.bytes, 0, FRONT);
    memcpy(head.bytes, "\x02\0\0\0\0\1\x06\x42\x48\0\0\1\x08\0", FRAME_HEADER);
    memcpy(ip, "\x45\0\0\0\0\0\0\0\x40\x06\0\0\x0a\0\0\1\x0a\0\0\2", 20);
    frame_put16(ip + 2, f.len - FRAME_HEADER);
    ip[20 + 12] = 0x50;
    ip[20 + 13] = 0x10;
    for (u32 i = 0; i < pieces; i++) {
        rest[i] = (struct frame_part){payload + i * (REST + 1), REST};
        memset(payload + i * (REST + 1), (int)(i + 1), REST);
    }
    f.gso_type = pieces > 1 ? FRAME_GSO_TCP4 : 0;
    f.gso_size = pieces > 1 ? REST : 0;
    head = (struct frame_buffer){.bytes = head.bytes, .size = 128, .users = 1, .release = let_go};
    assert_true(offload_leave_sum(&f, head.bytes, true));
    switch_input(sw, ours->index, &f, 1, 1);
    frame_buffer_drop(&head);
}

static void a_card_reads_the_makers_memory(void **unused)
{
    (void)unused;
    for (u32 n = 1; n <= FRAME_REST; n += FRAME_REST - 1) {
        released = 0;
        send(n);
        assert_int_equal(at_card_count, 1);
        const struct nic_frame *f = at_card[0];
        assert_ptr_equal(f->data, head.bytes);
        assert_int_equal(f->len, FRONT);
        assert_int_equal(f->flags, NIC_CSUM_NEEDED | (n > 1 ? NIC_GSO_TCP4 : 0));
        assert_int_equal(f->csum_start, 34);
        for (u32 i = 0; i < n; i++) {
            f = f->more;
            assert_non_null(f);
            assert_ptr_equal(f->data, rest[i].at);
            assert_int_equal(f->len, REST);
        }
        assert_null(f->more);
        assert_int_equal(released, 0);
        card_reads_all();
        assert_int_equal(released, 1);
    }
}

/* The port is in a VLAN: the Ethernet header is made anew, all behind it is the maker's. */
static void a_tag_is_put_in(void **unused)
{
    struct vlan_port v;

    (void)unused;
    vlan_access(&v, 5);
    switch_port_set_vlan(sw, ours->index, &v);
    for (u32 n = 0; n <= FRAME_REST; n += FRAME_REST) {
        released = 0;
        send(n);
        assert_int_equal(at_card_count, 1);
        const struct nic_frame *f = at_card[0];
        assert_int_equal(f->len, 12 + FRAME_TAG);
        assert_memory_equal(f->data + 12, "\x81\0\0\5", 4);
        assert_int_equal(f->csum_start, 38);
        assert_int_equal(f->header_len, n ? FRONT + FRAME_TAG : 0);
        assert_int_equal(nic_frame_len(f), FRONT + FRAME_TAG + n * REST);
        assert_ptr_equal(f->more->data, head.bytes + 12);
        assert_int_equal(f->more->len, FRONT - 12);
        f = f->more->more;
        for (u32 i = 0; i < n; i++, f = f->more)
            assert_ptr_equal(f->data, rest[i].at);
        assert_null(f);
        assert_int_equal(released, 0);
        card_reads_all();
        assert_int_equal(released, 1);
    }
}

/* What the card has no room for waits, held; it goes when there is room, or with the uplink. */
static void a_full_card_holds_frames_up(void **unused)
{
    (void)unused;
    card_room = 0;
    send(2);
    assert_int_equal(at_card_count, 0);
    assert_int_equal(released, 0);
    card_room = 64;
    nic_room(&card);
    assert_int_equal(at_card_count, 1);
    assert_ptr_equal(at_card[0]->more->more->data, rest[1].at);
    card_reads_all();
    assert_int_equal(released, 1);
    card_room = 0;
    send(2);
    assert_int_equal(released, 1);
    assert_int_equal(uplink_remove("nic0"), HV_OK);
    assert_int_equal(released, 2);
}

/* The uplink goes first, the card gives its frames back after that. */
static void a_card_that_was_taken_away_gives_back(void **unused)
{
    (void)unused;
    send(FRAME_REST);
    assert_int_equal(uplink_remove("nic0"), HV_OK);
    assert_int_equal(released, 0);
    card_reads_all();
    assert_int_equal(released, 1);
}

static void a_card_that_is_gone_takes_nothing(void **unused)
{
    (void)unused;
    card.gone = true;
    send(2);
    assert_int_equal(at_card_count, 0);
    assert_int_equal(released, 1);
}

/* A card that sums nothing came to the switch meanwhile. */
static void a_card_that_cannot_is_given_copies(void **unused)
{
    (void)unused;
    card.capabilities = 0;
    send(3);
    assert_int_equal(released, 1);
    assert_int_equal(at_card_count, 3);
    for (u32 i = 0; i < 3; i++) {
        assert_null(at_card[i]->more);
        assert_int_equal(at_card[i]->len, FRONT + REST);
        assert_int_equal(at_card[i]->flags, 0);
        assert_memory_equal(at_card[i]->data + FRONT, rest[i].at, REST);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup_teardown(a_card_reads_the_makers_memory, start, stop),
        cmocka_unit_test_setup_teardown(a_tag_is_put_in, start, stop),
        cmocka_unit_test_setup_teardown(a_full_card_holds_frames_up, start, stop),
        cmocka_unit_test_setup_teardown(a_card_that_was_taken_away_gives_back, start, stop),
        cmocka_unit_test_setup_teardown(a_card_that_is_gone_takes_nothing, start, stop),
        cmocka_unit_test_setup_teardown(a_card_that_cannot_is_given_copies, start, stop),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
