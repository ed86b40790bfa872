/* links: tests/unit/switch_lab.c net/frame.c net/mac_table.c net/vlan.c net/policy.c net/shape.c net/delay.c net/igmp_snoop.c net/lacp.c net/team.c net/discovery.c net/lldp.c net/cdp.c net/switch.c net/switch_slow.c net/switch_port.c net/switch_clock.c net/switches.c net/mac_address.c net/offload.c net/checksum.c */
/* What a switch says for all its ports and a port for itself, what VLANs do with tags, and that all
 * of it is counted. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <string.h>

#include <cmocka.h>

#include "tests/unit/switch_lab.h"

static struct net_switch *sw;
static u32 a, b, c, up;

static int set_up(void **state)
{
    (void)state;
    sw = switch_lab_start();
    a = switch_lab_add(sw, PORT_VM, "a:0");
    b = switch_lab_add(sw, PORT_VM, "b:0");
    c = switch_lab_add(sw, PORT_KIF, "k0");
    up = switch_lab_add(sw, PORT_UPLINK, "nic0");
    return 0;
}

static int tear_down(void **state)
{
    (void)state;
    switches_init(0);
    return 0;
}

/* port NULL: of the switch, all else as it is usually. */
static void choose(struct switch_port *port, enum policy_item item, enum policy_choice choice)
{
    struct policy p;

    if (port)
        policy_inherit(&p);
    else
        policy_default(&p);
    p.choice[item] = (u8)choice;
    switch_set_policy(sw, port, &p);
}

static u64 got(u32 port)
{
    u64 n = switch_lab_logs[port].count;

    switch_lab_logs[port].count = 0;
    return n;
}

static bool forges(u32 port)
{
    got(c);
    switch_lab_send_len(sw, port, GUEST(c), OUTSIDE + port, 60);
    return got(c);
}

static bool listens_in(u32 port)
{
    got(port);
    switch_lab_send_len(sw, up, GUEST(c), OUTSIDE, 60);
    return got(port);
}

static bool hears_as(u32 port, u64 mac)
{
    bool heard;

    got(port);
    switch_port_guest_mac(sw, port, mac);
    switch_lab_send_len(sw, up, mac, OUTSIDE, 60);
    heard = got(port);
    switch_port_guest_mac(sw, port, GUEST(port));
    return heard;
}

static bool serves_dhcp(u32 port)
{
    static const u8 offer[] = {8,  0, 0x45, 0, 0,   40,  0,   0,   0, 0,  64, 17, 0, 0,
                               10, 0, 0,    1, 255, 255, 255, 255, 0, 67, 0,  68, 0, 20};

    got(c);
    switch_lab_send(sw, port, FRAME_BROADCAST, GUEST(port), offer, sizeof(offer));
    return got(c);
}

static bool routes(u32 port)
{
    static const u8 advertisement[60] = {0x86, 0xdd, 0x60, 0, 0, 0, 0, 16, 58, 255, [42] = 134, 0};

    got(c);
    switch_lab_send(sw, port, 0x333300000001ull, GUEST(port), advertisement, 60);
    return got(c);
}

static bool takes_address(u32 port)
{
    return hears_as(port, 0x064248990000ull + port);
}

/* Each of the five, by default, of the switch, and of one port against the switch. */
static void a_port_goes_before_its_switch(void **state)
{
    static const struct {
        enum policy_item item;
        bool usual, (*may)(u32 port);
    } rows[] = {
        {POLICY_PROMISCUOUS, false, listens_in}, {POLICY_MAC_CHANGES, false, takes_address},
        {POLICY_FORGED, false, forges},          {POLICY_DHCP_SERVER, true, serves_dhcp},
        {POLICY_ROUTER, true, routes},
    };

    (void)state;
    for (u32 i = 0; i < ARRAY_LEN(rows); i++) {
        enum policy_item item = rows[i].item;

        assert_int_equal(rows[i].may(a), rows[i].usual);
        for (u32 yes = 0; yes < 2; yes++) {
            enum policy_choice one = yes ? POLICY_ACCEPT : POLICY_REJECT,
                               other = yes ? POLICY_REJECT : POLICY_ACCEPT;
            choose(NULL, item, one);
            choose(sw->ports[b], item, other);
            assert_int_equal(rows[i].may(a), yes);
            assert_int_equal(rows[i].may(b), !yes);
            choose(sw->ports[b], item, POLICY_INHERIT);
            assert_int_equal(rows[i].may(b), yes);
        }
        choose(NULL, item, rows[i].usual ? POLICY_ACCEPT : POLICY_REJECT);
    }
}

/* Frames a second that get through when a port sends 1,000, for two seconds. */
static u64 rate(u32 port, u64 dst)
{
    got(c);
    got(up);
    for (u32 i = 0; i < 2000; i++) {
        switch_lab_send_len(sw, port, dst, GUEST(port), 60);
        switch_lab_now += MS;
    }
    return got(up) / 2;
}

static void storms_of_each_class_by_switch_and_port(void **state)
{
    static const u64 dst[STORM_CLASSES] = {FRAME_BROADCAST, 0x01005e010203ull, 0x001199887766ull};
    struct policy p;

    (void)state;
    for (u32 class = 0; class < STORM_CLASSES; class ++) {
        policy_default(&p);
        p.storm[class] = 100;
        switch_set_policy(sw, NULL, &p);
        policy_inherit(&p);
        switch_set_policy(sw, sw->ports[b], &p);
        assert_in_range(rate(a, dst[class]), 100, 108);
        p.storm[class] = 300;
        switch_set_policy(sw, sw->ports[b], &p);
        assert_in_range(rate(b, dst[class]), 300, 316);
        assert_in_range(rate(a, dst[class]), 100, 108);
        p.storm[class] = 0; /* none for this port */
        switch_set_policy(sw, sw->ports[b], &p);
        assert_int_equal(rate(b, dst[class]), 1000);
        for (u32 k = 0; k < STORM_CLASSES; k++) {
            if (k != class)
                assert_int_equal(rate(a, dst[k]), 1000);
        }
        assert_true(switch_lab_drops(sw, a, DROP_STORM) > 0);
    }
}

/* Its own address set at another port by its administrator. */
static void an_address_belongs_to_one_port(void **state)
{
    (void)state;
    choose(NULL, POLICY_MAC_CHANGES, POLICY_ACCEPT);
    assert_false(hears_as(b, GUEST(a))); /* it is a's */
    got(a);
    switch_lab_send_len(sw, up, GUEST(a), OUTSIDE, 60);
    assert_int_equal(got(a), 1);
    choose(NULL, POLICY_FORGED, POLICY_ACCEPT);
    switch_lab_send_len(sw, b, GUEST(c), GUEST(a), 60); /* nor is it learned there */
    switch_lab_send_len(sw, up, GUEST(a), OUTSIDE, 60);
    assert_int_equal(got(a), 1);
    assert_true(switch_lab_drops(sw, b, DROP_FORGED) > 0);
}

static void trunk(u32 port, const char *list, u16 native)
{
    struct vlan_port v = {.mode = VLAN_TRUNK, .vlan = native};

    assert_true(vlan_parse_list(&v, list));
    switch_port_set_vlan(sw, port, &v);
}

static void access(u32 port, u16 vlan)
{
    struct vlan_port v;

    vlan_access(&v, vlan);
    switch_port_set_vlan(sw, port, &v);
}

/* 802.1ad's outer tag and 802.1Q's, and a third one within. */
static void double_tags_pass_on_trunks_alone(void **state)
{
    static const u8 outer[] = {0x81, 0, 0x60, 10, 0x88, 0xa8, 0, 77, 8, 0, 0x45};
    static const u8 inner[] = {0x81, 0, 0x60, 10, 0x81, 0, 0, 77, 0x81, 0, 0, 5, 8, 0, 0x45};
    static const u8 stacked[] = {0x88, 0xa8, 0, 77, 8, 0, 0x45};

    (void)state;
    trunk(a, "10,20", VLAN_NONE);
    trunk(b, "10", VLAN_NONE);
    access(c, 10);
    switch_lab_send(sw, a, FRAME_BROADCAST, GUEST(a), outer, sizeof(outer));
    assert_int_equal(got(b), 1);
    assert_memory_equal(switch_lab_logs[b].last + 12, outer, sizeof(outer)); /* both, priority 3 */
    assert_int_equal(got(c), 0); /* an access port would show it as VLAN 77 */
    assert_int_equal(switch_lab_drops(sw, c, DROP_VLAN), 1);
    switch_lab_send(sw, a, GUEST(b), GUEST(a), inner, sizeof(inner));
    assert_int_equal(got(b), 1);
    assert_memory_equal(switch_lab_logs[b].last + 12, inner, sizeof(inner));
    switch_lab_send(sw, c, FRAME_BROADCAST, GUEST(c), stacked, sizeof(stacked));
    assert_int_equal(got(b), 0);
    assert_int_equal(switch_lab_drops(sw, c, DROP_VLAN), 2);
}

static void lists_natives_and_priorities(void **state)
{
    static const u8 in20[] = {0x81, 0, 0xe0, 20, 8, 0, 0x45}, in30[] = {0x81, 0, 0, 30, 8, 0, 0x45};
    static const u8 priority[] = {0x81, 0, 0xa0, 0, 8, 0, 0x45}; /* of VLAN 0: a priority alone */

    (void)state;
    trunk(a, "10,20-29", 5);
    trunk(b, "20,30", 5);
    access(c, 20);
    switch_lab_send(sw, a, FRAME_BROADCAST, GUEST(a), in20, sizeof(in20));
    assert_int_equal(got(b), 1);
    assert_memory_equal(switch_lab_logs[b].last + 12, in20, sizeof(in20));
    assert_int_equal(got(c), 1);
    assert_memory_equal(switch_lab_logs[c].last + 12, in20 + 4, 3);        /* the tag is off */
    switch_lab_send(sw, a, FRAME_BROADCAST, GUEST(a), in30, sizeof(in30)); /* not on a's list */
    assert_int_equal(got(b), 0);
    assert_int_equal(switch_lab_drops(sw, a, DROP_VLAN), 1);
    switch_lab_send_len(sw, a, FRAME_BROADCAST, GUEST(a), 60); /* untagged: 5 on both */
    assert_int_equal(got(b), 1);
    assert_int_equal(frame_be16(switch_lab_logs[b].last + 12), ETH_IPV4);
    assert_int_equal(got(c), 0);
    switch_lab_send(sw, c, FRAME_BROADCAST, GUEST(c), priority, sizeof(priority));
    assert_int_equal(got(b), 1);
    assert_int_equal(frame_be16(switch_lab_logs[b].last + 14), 5 << 13 | 20); /* kept */
    trunk(a, "20", VLAN_NONE);
    switch_lab_send_len(sw, a, FRAME_BROADCAST, GUEST(a), 60); /* untagged is nothing */
    assert_int_equal(got(b) + got(c), 0);
    assert_int_equal(switch_lab_drops(sw, a, DROP_VLAN), 2);
}

static void all_is_counted_by_port_and_switch(void **state)
{
    const struct switch_counters *p = &sw->ports[a]->counters;
    struct switch_counters first, before, after; /* at first its uplink has announced addresses */

    (void)state;
    switch_total(sw, &first);
    switch_lab_send_len(sw, a, GUEST(b), GUEST(a), 100);
    switch_lab_send_len(sw, a, FRAME_BROADCAST, GUEST(a), 200);
    switch_lab_send_len(sw, a, 0x01005e010203ull, GUEST(a), 300);
    switch_lab_send_len(sw, b, GUEST(a), GUEST(b), 400);
    switch_lab_send_len(sw, a, GUEST(b), OUTSIDE, 500); /* forged */
    assert_int_equal(p->in_frames, 4);
    assert_int_equal(p->in_bytes, 1100);
    assert_int_equal(p->in_broadcast, 1);
    assert_int_equal(p->in_multicast, 1);
    assert_int_equal(p->out_frames, 1);
    assert_int_equal(p->out_bytes, 400);
    assert_int_equal(p->drop[DROP_FORGED], 1);
    assert_int_equal(sw->ports[b]->counters.out_frames, 3);
    assert_int_equal(sw->ports[up]->counters.out_broadcast, first.out_broadcast + 1);
    switch_total(sw, &before);
    assert_int_equal(before.in_frames, 5);
    assert_int_equal(before.in_bytes, 1500);
    assert_int_equal(before.out_frames,
                     first.out_frames + 8); /* 1 + 1, and two that go to three ports */
    assert_int_equal(before.drop[DROP_FORGED], 1);
    switch_port_remove(sw, a); /* the switch remembers */
    switch_total(sw, &after);
    assert_memory_equal(&before, &after, sizeof(after));
}

#define CASE(fn) cmocka_unit_test_setup_teardown(fn, set_up, tear_down)

int main(void)
{
    const struct CMUnitTest tests[] = {
        CASE(a_port_goes_before_its_switch),  CASE(storms_of_each_class_by_switch_and_port),
        CASE(an_address_belongs_to_one_port), CASE(double_tags_pass_on_trunks_alone),
        CASE(lists_natives_and_priorities),   CASE(all_is_counted_by_port_and_switch),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
