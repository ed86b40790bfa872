/* links: tests/unit/switch_lab.c net/frame.c net/mac_table.c net/vlan.c net/policy.c net/shape.c net/delay.c net/igmp_snoop.c net/lacp.c net/team.c net/discovery.c net/lldp.c net/cdp.c net/switch.c net/switch_slow.c net/switch_port.c net/switch_clock.c net/switches.c net/mac_address.c net/offload.c net/checksum.c */
/* Multicast on the switch: all versions of IGMP and MLD, each VLAN for itself, more groups than
 * there is room for.  A router is at the uplink; b is who must not get what only a wants. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <string.h>

#include <cmocka.h>

#include "tests/unit/switch_lab.h"

#define GROUP4 0x01005e010203ull /* 239.1.2.3 */
#define GROUP6 0x333300010003ull /* ff05::1:3 */
#define HEADER4 24u              /* IPv4 with the router alert option */
#define HEADER6 48u              /* IPv6 with the same, in a hop-by-hop header */

static struct net_switch *sw;
static u32 a, b, c, up;

static int set_up(void **state)
{
    (void)state;
    sw = switch_lab_start();
    a = switch_lab_add(sw, PORT_VM, "a:0");
    b = switch_lab_add(sw, PORT_VM, "b:0");
    c = switch_lab_add(sw, PORT_VM, "c:0");
    up = switch_lab_add(sw, PORT_UPLINK, "nic0");
    return 0;
}

static int tear_down(void **state)
{
    (void)state;
    switches_init(0);
    return 0;
}

static void igmp(u32 port, u64 dst, u64 src, const u8 *message, u32 len)
{
    u8 f[2 + HEADER4 + 64] = {8, 0, 0x46, 0, 0, (u8)(HEADER4 + len), [10] = 1, 2};

    f[2 + 20] = 0x94;
    f[2 + 21] = 4;
    memcpy(f + 2 + HEADER4, message, len);
    switch_lab_send(sw, port, dst, src, f, 2 + HEADER4 + len);
}

static void mld(u32 port, u64 dst, u64 src, const u8 *message, u32 len)
{
    u8 f[2 + HEADER6 + 128] = {0x86, 0xdd, 0x60, 0, 0, 0, 0, (u8)(8 + len), 0, 1};

    f[2 + 40] = 58;
    f[2 + 42] = 5;
    f[2 + 43] = 2;
    memcpy(f + 2 + HEADER6, message, len);
    switch_lab_send(sw, port, dst, src, f, 2 + HEADER6 + len);
}

/* Who of a, b and c gets a frame for this group from outside, as bits. */
static u32 who(u64 group)
{
    u64 before[3] = {switch_lab_logs[a].count, switch_lab_logs[b].count, switch_lab_logs[c].count};
    u32 bits = 0;

    switch_lab_send_len(sw, up, group, OUTSIDE, 60);
    for (u32 i = 0; i < 3; i++)
        bits |= (u32)(switch_lab_logs[i].count - before[i]) << i;
    return bits;
}

static const u8 query4[8] = {0x11, 100}, query6[24] = {130};

static void ask(void)
{
    igmp(up, 0x01005e000001ull, OUTSIDE, query4, sizeof(query4));
    mld(up, 0x333300000001ull, OUTSIDE, query6, sizeof(query6));
}

/* A report or leave of IGMPv1 or v2, or of MLDv1; those of groups to all routers. */
static void old(u8 type4, u8 type6)
{
    u8 four[8] = {type4, 0, 0, 0, 239, 1, 2, 3};
    u8 six[24] = {type6, [8] = 0xff, 5, [20] = 0, 1, 0, 3};

    igmp(a, type4 == 0x17 ? 0x01005e000002ull : GROUP4, GUEST(a), four, sizeof(four));
    mld(a, type6 == 132 ? 0x333300000002ull : GROUP6, GUEST(a), six, sizeof(six));
}

/* A report of IGMPv3 and one of MLDv2, with a record of another group before ours. */
static void new (u8 record)
{
    u8 four[8 + 12 + 8] = {0x22, [7] = 2, 4, 0,      0, 1, 239, 9,   9, 9, 10,
                           0,    0,       9, record, 0, 0, 0,   239, 1, 2, 3};
    u8 six[8 + 36 + 20] = {143, [7] = 2, 4, 0, 0, 1, 0xff, 5};

    six[8 + 36] = record;
    six[8 + 36 + 4] = 0xff;
    six[8 + 36 + 5] = 5;
    six[8 + 36 + 17] = 1;
    six[8 + 36 + 19] = 3;
    igmp(a, 0x01005e000016ull, GUEST(a), four, sizeof(four));
    mld(a, 0x333300000016ull, GUEST(a), six, sizeof(six));
}

static void without_a_querier_all_get_it(void **state)
{
    (void)state;
    old(0x16, 131);
    assert_int_equal(who(GROUP4), 7);
    assert_int_equal(who(GROUP6), 7);
}

static void the_old_versions(void **state)
{
    static const u8 reports[] = {0x12, 0x16};

    (void)state;
    ask();
    assert_int_equal(who(GROUP4), 0); /* nobody wants it */
    assert_int_equal(who(GROUP6), 0);
    for (u32 i = 0; i < 2; i++) {
        u64 seen = switch_lab_logs[b].count, outside = switch_lab_logs[up].count;

        old(reports[i], 131);
        assert_int_equal(switch_lab_logs[b].count, seen); /* routers only */
        assert_int_equal(switch_lab_logs[up].count, outside + 2);
        assert_int_equal(who(GROUP4), 1);
        assert_int_equal(who(GROUP6), 1);
        old(0x17, 132);
        assert_int_equal(who(GROUP4), 0);
        assert_int_equal(who(GROUP6), 0);
    }
}

static void the_new_versions(void **state)
{
    enum { IS_EXCLUDE = 2, TO_INCLUDE = 3, TO_EXCLUDE = 4, BLOCK_OLD = 6 };

    (void)state;
    ask();
    new (TO_EXCLUDE); /* of no source: all */
    assert_int_equal(who(GROUP4), 1);
    assert_int_equal(who(GROUP6), 1);
    assert_int_equal(who(0x01005e090909ull), 1); /* the other record's */
    new (BLOCK_OLD);
    assert_int_equal(who(GROUP4), 1);
    new (TO_INCLUDE); /* of no source: none */
    assert_int_equal(who(GROUP4), 0);
    assert_int_equal(who(GROUP6), 0);
    new (IS_EXCLUDE); /* the answer to a query */
    assert_int_equal(who(GROUP4), 1);
    assert_int_equal(who(GROUP6), 1);
}

static void some_groups_are_for_all(void **state)
{
    (void)state;
    ask();
    assert_int_equal(who(0x01005e0000fbull), 7); /* 224.0.0.251 */
    assert_int_equal(who(0x333300000001ull), 7); /* ff02::1 */
    assert_int_equal(who(0x3333ff000007ull), 7); /* a neighbour is looked for */
    assert_int_equal(who(0x0180c2000021ull), 7); /* no IP at all */
}

static void each_vlan_for_itself(void **state)
{
    struct vlan_port v;

    (void)state;
    vlan_access(&v, 10);
    switch_port_set_vlan(sw, b, &v);
    ask();
    old(0x16, 131);
    assert_int_equal(who(GROUP4), 1);
    /* The same group in VLAN 10, where nobody has asked: all, of whom there is b. */
    static const u8 tagged[] = {0x81, 0, 0, 10, 8, 0, 0x45};
    u64 seen[2] = {switch_lab_logs[a].count, switch_lab_logs[b].count};
    switch_lab_send(sw, up, GROUP4, OUTSIDE, tagged, sizeof(tagged));
    assert_int_equal(switch_lab_logs[a].count, seen[0]);
    assert_int_equal(switch_lab_logs[b].count, seen[1] + 1);
}

static void more_groups_than_there_is_room_for(void **state)
{
    u8 report[8] = {0x16, 0, 0, 0, 239};

    (void)state;
    ask();
    for (u32 i = 0; i < 2 * SNOOP_GROUPS; i++) {
        report[6] = (u8)(i >> 8);
        report[7] = (u8)i;
        igmp(a, 0x01005e000000ull | i, GUEST(a), report, sizeof(report));
    }
    assert_true(sw->snoop.full > 0);
    assert_int_equal(who(GROUP4), 7); /* rather to all than to too few */
    for (u32 i = 0; i < 3; i++) {     /* what nobody repeats goes, and there is room again */
        switch_lab_now += SNOOP_TURN_NS;
        switch_poll(sw, switch_lab_now);
    }
    ask();
    assert_int_equal(who(GROUP4), 0);
}

static void cut_anywhere_it_is_no_report(void **state)
{
    (void)state;
    ask();
    for (u32 len = 1; len < 24; len++) {
        u8 six[24] = {131, [8] = 0xff, 5, [20] = 0, 1, 0, 3};
        u8 four[8] = {0x16, 0, 0, 0, 239, 1, 2, 3};

        mld(a, GROUP6, GUEST(a), six, len);
        if (len < 8)
            igmp(a, GROUP4, GUEST(a), four, len);
        assert_int_equal(who(GROUP6) | who(GROUP4), 0);
    }
}

static void switched_off_all_get_it(void **state)
{
    (void)state;
    ask();
    sw->snooping = false;
    assert_int_equal(who(GROUP4), 7);
    assert_int_equal(who(GROUP6), 7);
}

#define CASE(fn) cmocka_unit_test_setup_teardown(fn, set_up, tear_down)

int main(void)
{
    const struct CMUnitTest tests[] = {
        CASE(without_a_querier_all_get_it),
        CASE(the_old_versions),
        CASE(the_new_versions),
        CASE(some_groups_are_for_all),
        CASE(each_vlan_for_itself),
        CASE(more_groups_than_there_is_room_for),
        CASE(cut_anywhere_it_is_no_report),
        CASE(switched_off_all_get_it),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
