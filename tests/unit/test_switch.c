/* links: tests/unit/switch_lab.c net/frame.c net/mac_table.c net/vlan.c net/policy.c net/shape.c net/delay.c net/igmp_snoop.c net/lacp.c net/team.c net/discovery.c net/lldp.c net/cdp.c net/switch.c net/switch_slow.c net/switch_port.c net/switch_clock.c net/switches.c net/mac_address.c net/pcapng.c net/offload.c net/checksum.c */
/* What the switch does beyond forwarding: policies, shaping, snooping, teams, mirrors.  One file:
 * each case is short, and all stand on the same few ports and frames. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdio.h>
#include <string.h>

#include <cmocka.h>

#include "net/mac_address.h"
#include "net/offload.h"
#include "net/pcapng.h"
#include "tests/unit/switch_lab.h"

/* As if of VMs that are stopped: the first three that are tried. */
static u64 tried[8], tries;

static bool known(u64 mac)
{
    tried[tries % ARRAY_LEN(tried)] = mac;
    return tries++ < 3;
}

static void addresses(void **state)
{
    char text[MAC_ADDRESS_TEXT];
    u64 mac;

    (void)state;
    assert_true(mac_address_parse("06:42:48:0a:FF:01", &mac));
    assert_true(mac == 0x0642480aff01ull);
    mac_address_format(mac, text);
    assert_string_equal(text, "06:42:48:0a:ff:01");
    assert_true(mac_address_parse("00-11-22-33-44-55", &mac));
    assert_false(mac_address_parse("06:42:48:0a:ff", &mac));
    assert_false(mac_address_parse("06:42:48:0a:ff:01:", &mac));
    assert_false(mac_address_parse("06:42:48:0a:ff:0g", &mac));
    assert_false(mac_address_parse("", &mac));
    switch_lab_start();
    for (u32 i = 0; i < 100; i++) {
        mac = switches_new_mac();
        assert_true(mac >> 24 == 0x064248 && !switches_mac_used(mac));
    }
    switches_know_macs(known);
    mac = switches_new_mac();
    switches_know_macs(NULL);
    assert_int_equal(tries, 4);
    for (u32 i = 0; i < 4; i++)
        assert_int_equal(mac == tried[i], i == 3);
    switches_init(0);
}

static void vlan_lists(void **state)
{
    struct vlan_port v = {.mode = VLAN_TRUNK};
    char text[64];
    static const char *const bad[] = {"",      "0",  "4095", "10,",   ",10",
                                      "20-10", "1-", "a",    "10 20", "99999999999"};

    (void)state;
    assert_true(vlan_parse_list(&v, "10,20-29,4094"));
    vlan_format_list(&v, text, sizeof(text));
    assert_string_equal(text, "10,20-29,4094");
    assert_true(vlan_member(&v, 10) && vlan_member(&v, 25) && !vlan_member(&v, 30));
    for (u32 i = 0; i < ARRAY_LEN(bad); i++)
        assert_false(vlan_parse_list(&v, bad[i]));
    assert_true(vlan_parse_list(&v, "all"));
    vlan_format_list(&v, text, sizeof(text));
    assert_string_equal(text, "all");
    vlan_parse_list(&v, "1,3,5,7,9") ? (void)0 : fail();
    vlan_format_list(&v, text, 6);
    assert_string_equal(text, "1,3,5");
}

static void names_and_uplinks(void **state)
{
    struct net_switch *sw = switch_lab_start(), *other;
    struct switch_port_config c = {
        .name = "a:0", .type = PORT_VM, .ops = &switch_lab_ops, .mac = GUEST(100)};

    (void)state;
    assert_int_equal(switches_add("vsw0", 0, &other), HV_EEXIST);
    assert_int_equal(switches_add("bad name", 0, &other), HV_EINVAL);
    assert_int_equal(switches_add("a-name-that-is-too-long", 0, &other), HV_EINVAL);
    assert_int_equal(switches_add("vsw1", 9000, &other), HV_OK);
    assert_true(switches_add_uplink(sw, "nic0", &switch_lab_ops, &switch_lab_logs[0], 0) >= 0);
    assert_int_equal(switches_add_uplink(other, "nic0", &switch_lab_ops, &switch_lab_logs[0], 0),
                     HV_EBUSY);
    assert_ptr_equal(switches_uplink_owner("nic0"), sw);
    assert_int_equal(switches_remove(sw), HV_OK);
    assert_true(switches_add_uplink(other, "nic0", &switch_lab_ops, &switch_lab_logs[0], 0) >= 0);
    assert_true(switch_port_add(other, &c) >= 0);
    assert_int_equal(switches_remove(other), HV_EBUSY);
    strcpy(c.name, "b:0");
    assert_int_equal(switch_port_add(other, &c), HV_EEXIST); /* the address */
    c.mac = 0x010000000001ull;
    assert_int_equal(switch_port_add(other, &c), HV_EINVAL);
    switches_init(0);
}

static void many_switches_do_not_hear_each_other(void **state)
{
    struct net_switch *sw[16];
    struct switch_lab_log log[32] = {0};

    (void)state;
    switches_init(3);
    switch_lab_now = SECOND;
    for (u32 i = 0; i < 16; i++) {
        char name[SWITCH_NAME];
        struct switch_port_config c = {.type = PORT_VM, .ops = &switch_lab_ops};

        snprintf(name, sizeof(name), "s%u", i);
        assert_int_equal(switches_add(name, 0, &sw[i]), HV_OK);
        for (u32 k = 0; k < 2; k++) {
            snprintf(c.name, sizeof(c.name), "%u:%u", i, k);
            c.mac = GUEST(k);
            c.owner = &log[i * 2 + k];
            assert_int_equal(switch_port_add(sw[i], &c), k);
        }
    }
    for (u32 i = 0; i < 16; i++) {
        switch_lab_send_len(sw[i], 0, FRAME_BROADCAST, GUEST(0), 60);
        for (u32 k = 0; k < 32; k++)
            assert_int_equal(log[k].count, k % 2 && k / 2 <= i);
    }
    switches_init(0);
}

static void storms_are_limited(void **state)
{
    struct net_switch *sw = switch_lab_start();
    struct policy p;

    (void)state;
    u32 a = switch_lab_add(sw, PORT_VM, "a:0"), b = switch_lab_add(sw, PORT_VM, "b:0");
    policy_inherit(&p);
    p.storm[STORM_BROADCAST] = 100;
    switch_set_policy(sw, sw->ports[a], &p);
    for (u32 i = 0; i < 2000; i++) { /* 1,000 a second for two seconds */
        switch_lab_send_len(sw, a, FRAME_BROADCAST, GUEST(a), 60);
        switch_lab_now += MS;
    }
    assert_in_range(switch_lab_logs[b].count, 200, 215);
    assert_int_equal(switch_lab_events[SWITCH_STORM], 1);
    u64 before = switch_lab_logs[b].count;
    for (u32 i = 0; i < 50; i++)
        switch_lab_send_len(sw, a, GUEST(b), GUEST(a), 60);
    assert_int_equal(switch_lab_logs[b].count, before + 50);
    switches_init(0);
}

static void servers_are_guarded(void **state)
{
    static const u8 dhcp[] = {8,  0, 0x45, 0, 0,   40,  0,   0,   0, 0,  64, 17, 0, 0,
                              10, 0, 0,    1, 255, 255, 255, 255, 0, 67, 0,  68, 0, 20};
    static const u8 tagged[] = {0x81, 0, 0,  0, 8, 0, 0x45, 0,   0,   40,  0, 0,  0, 0,  64, 17,
                                0,    0, 10, 0, 0, 1, 255,  255, 255, 255, 0, 67, 0, 68, 0,  20};
    /* A router advertisement behind a destination-options header. */
    u8 ra[14 + 40 + 8 + 16] = {0x86, 0xdd, 0x60, 0, 0, 0, 0, 24, 60, 255};
    struct net_switch *sw = switch_lab_start();
    struct policy p;

    (void)state;
    u32 a = switch_lab_add(sw, PORT_VM, "a:0"), b = switch_lab_add(sw, PORT_VM, "b:0");
    ra[2 + 40] = 58;
    ra[2 + 40 + 8] = 134;
    switch_lab_send(sw, a, FRAME_BROADCAST, GUEST(a), dhcp, sizeof(dhcp));
    switch_lab_send(sw, a, 0x333300000001ull, GUEST(a), ra, sizeof(ra));
    assert_int_equal(switch_lab_logs[b].count, 2);
    policy_inherit(&p);
    p.choice[POLICY_DHCP_SERVER] = p.choice[POLICY_ROUTER] = POLICY_REJECT;
    switch_set_policy(sw, sw->ports[a], &p);
    switch_lab_send(sw, a, FRAME_BROADCAST, GUEST(a), dhcp, sizeof(dhcp));
    switch_lab_send(sw, a, FRAME_BROADCAST, GUEST(a), tagged, sizeof(tagged));
    switch_lab_send(sw, a, 0x333300000001ull, GUEST(a), ra, sizeof(ra));
    assert_int_equal(switch_lab_logs[b].count, 2);
    assert_int_equal(switch_lab_drops(sw, a, DROP_DHCP), 2);
    assert_int_equal(switch_lab_drops(sw, a, DROP_ROUTER), 1);
    switches_init(0);
}

static void forged_frames_are_dropped_and_told_once(void **state)
{
    struct net_switch *sw = switch_lab_start();

    (void)state;
    u32 a = switch_lab_add(sw, PORT_VM, "a:0"), b = switch_lab_add(sw, PORT_VM, "b:0");
    for (u32 i = 0; i < 3; i++)
        switch_lab_send_len(sw, a, GUEST(b), OUTSIDE, 60);
    assert_int_equal(switch_lab_logs[b].count, 0);
    assert_int_equal(switch_lab_drops(sw, a, DROP_FORGED), 3);
    assert_int_equal(switch_lab_events[SWITCH_FORGED], 1);
    switch_port_guest_mac(sw, a, OUTSIDE); /* ip link set addr: receives nothing, sends nothing */
    switch_lab_send_len(sw, b, GUEST(a), GUEST(b), 60);
    switch_lab_send_len(sw, b, FRAME_BROADCAST, GUEST(b), 60);
    assert_int_equal(switch_lab_logs[a].count, 0);
    assert_int_equal(switch_lab_drops(sw, a, DROP_MAC_CHANGE), 2);
    switch_port_guest_mac(sw, a, GUEST(a));
    switch_lab_send_len(sw, b, GUEST(a), GUEST(b), 60);
    assert_int_equal(switch_lab_logs[a].count, 1);
    switches_init(0);
}

/* Frames of 1,000 bytes at four times the rate for 20 s: what comes out is within 5 %. */
static void shaping_holds_the_rate(void **state)
{
    for (u32 dir = 0; dir < 2; dir++) {
        struct net_switch *sw = switch_lab_start();
        u64 first_second = 0;

        (void)state;
        u32 a = switch_lab_add(sw, PORT_VM, "a:0"), b = switch_lab_add(sw, PORT_VM, "b:0");
        assert_int_equal(switch_port_shape(sw, dir ? a : b, dir, 10000000, 20000000, 262144),
                         HV_OK);
        u64 start = switch_lab_now;
        while (switch_lab_now < start + 20 * SECOND) {
            switch_lab_send_len(sw, a, GUEST(b), GUEST(a), 1000);
            switch_lab_now += 200000; /* 40 Mbit/s */
            switch_poll(sw, switch_lab_now);
            if (switch_lab_now <= start + SECOND / 10)
                first_second = switch_lab_logs[b].bytes;
        }
        /* 10 Mbit/s for 20 s are 25 MB, and the burst on top. */
        assert_in_range(switch_lab_logs[b].bytes, 23750000, 26250000 + 262144);
        /* The burst goes at the peak rate: 0.1 s of 20 Mbit/s. */
        assert_in_range(first_second, 237500, 262500);
        assert_true(switch_lab_drops(sw, dir ? a : b, DROP_SHAPED) > 0);
        assert_int_equal(switch_port_shape(sw, dir ? a : b, dir, 0, 0, 0), HV_OK);
        switch_lab_now += SECOND;
        switch_poll(sw, switch_lab_now);
        u64 count = switch_lab_logs[b].count;
        switch_lab_send_len(sw, a, GUEST(b), GUEST(a), 1000);
        assert_int_equal(switch_lab_logs[b].count, count + 1);
        switches_init(0);
    }
}

/* A TCP segment of 60,000 bytes that is still to be cut. */
static void send_long(struct net_switch *sw, u32 port, u64 dst, u64 src)
{
    static u8 f[14 + 40 + 60000] = {[12] = 8, [14] = 0x45, [22] = 64, [23] = 6, [46] = 0x50};
    struct net_frame frame = {.data = f,
                              .len = sizeof(f),
                              .flags = FRAME_CSUM_NEEDED,
                              .gso_type = FRAME_GSO_TCP4,
                              .gso_size = 1446,
                              .csum_start = 34,
                              .csum_offset = 16};

    for (u32 i = 0; i < 6; i++) {
        f[i] = (u8)(dst >> (40 - 8 * i));
        f[6 + i] = (u8)(src >> (40 - 8 * i));
    }
    frame_put16(f + 16, sizeof(f) - 14);
    assert_true(offload_check(&frame));
    switch_input(sw, port, &frame, 1, switch_lab_now);
}

/* They go through a slow port frame by frame: as many as the rate allows, and no more. */
static void long_segments_are_shaped(void **state)
{
    (void)state;
    for (u32 dir = 0; dir < 2; dir++) {
        struct net_switch *sw = switch_lab_start();
        u32 a = switch_lab_add(sw, PORT_VM, "a:0"), b = switch_lab_add(sw, PORT_VM, "b:0");
        u64 start = switch_lab_now;

        assert_int_equal(switch_port_shape(sw, dir ? a : b, dir, 4000000, 0, 16384), HV_OK);
        while (switch_lab_now < start + 20 * SECOND) {
            if ((switch_lab_now - start) % (SECOND / 10) == 0) /* 4.8 Mbit/s */
                send_long(sw, a, GUEST(b), GUEST(a));
            switch_lab_now += SECOND / 1000;
            switch_poll(sw, switch_lab_now);
        }
        /* 4 Mbit/s for 20 s are 10 MB, and the burst on top. */
        assert_in_range(switch_lab_logs[b].bytes, 9500000, 10500000 + 16384);
        assert_true(switch_lab_logs[b].count > switch_lab_logs[b].bytes / 1500);
        assert_true(switch_lab_drops(sw, dir ? a : b, DROP_SHAPED) > 0);
        switches_init(0);
    }
}

static void links_are_emulated(void **state)
{
    struct net_switch *sw = switch_lab_start();
    u32 sent = 10000;

    (void)state;
    u32 a = switch_lab_add(sw, PORT_VM, "a:0"), b = switch_lab_add(sw, PORT_VM, "b:0");
    assert_int_equal(switch_port_emulate(sw, b, 50 * MS, 0), HV_OK);
    switch_lab_send_len(sw, a, GUEST(b), GUEST(a), 60);
    assert_int_equal(switch_lab_logs[b].count, 0);
    assert_true(switch_poll(sw, switch_lab_now) <= switch_lab_now + 50 * MS);
    switch_lab_now += 50 * MS - 1;
    switch_poll(sw, switch_lab_now);
    assert_int_equal(switch_lab_logs[b].count, 0);
    switch_lab_now += 1;
    switch_poll(sw, switch_lab_now);
    assert_int_equal(switch_lab_logs[b].count, 1);
    switch_lab_send_len(sw, b, GUEST(a), GUEST(b), 60); /* and back */
    assert_int_equal(switch_lab_logs[a].count, 0);
    switch_lab_now += 50 * MS;
    switch_poll(sw, switch_lab_now);
    assert_int_equal(switch_lab_logs[a].count, 1);
    assert_int_equal(switch_port_emulate(sw, b, 0, 10000), HV_OK);
    for (u32 i = 0; i < sent; i++)
        switch_lab_send_len(sw, a, GUEST(b), GUEST(a), 60);
    assert_in_range(switch_lab_drops(sw, b, DROP_LOST), 60, 140); /* 1 % of 10,000 */
    assert_int_equal(switch_port_emulate(sw, b, 11 * SECOND, 0), HV_EINVAL);
    switches_init(0);
}

static void mtu_and_jumbo(void **state)
{
    static const u8 tag[] = {0x81, 0, 0xa0, 10, 8, 0};
    struct net_switch *sw = switch_lab_start();
    u8 rest[1600] = {0};
    struct vlan_port v;

    (void)state;
    u32 a = switch_lab_add(sw, PORT_VM, "a:0"), b = switch_lab_add(sw, PORT_VM, "b:0");
    vlan_trunk_all(&v, 0);
    switch_port_set_vlan(sw, a, &v);
    switch_port_set_vlan(sw, b, &v);
    memcpy(rest, tag, sizeof(tag));
    switch_lab_send(sw, a, GUEST(b), GUEST(a), rest, 1518 - 12); /* 1,522 on a wire with its FCS */
    assert_int_equal(switch_lab_logs[b].count, 1);
    assert_int_equal(switch_lab_logs[b].len, 1518);
    assert_memory_equal(switch_lab_logs[b].last + 12, tag, 6); /* priority 5 kept */
    switch_lab_send(sw, a, GUEST(b), GUEST(a), rest, 1519 - 12);
    assert_int_equal(switch_lab_drops(sw, a, DROP_OVERSIZE), 1);
    sw->mtu = 9000;
    u8 jumbo[9014] = {0};
    struct net_frame f = {.data = jumbo, .len = sizeof(jumbo)};
    memcpy(jumbo, switch_lab_logs[b].last, 12);
    jumbo[12] = 8;
    switch_input(sw, a, &f, 1, switch_lab_now);
    assert_int_equal(sw->ports[b]->counters.out_bytes, 1518 + 9014);
    switches_init(0);
}

static void isolation_and_promiscuity(void **state)
{
    struct net_switch *sw = switch_lab_start();
    struct policy p;

    (void)state;
    u32 a = switch_lab_add(sw, PORT_VM, "a:0"), b = switch_lab_add(sw, PORT_VM, "b:0"),
        c = switch_lab_add(sw, PORT_VM, "c:0"), up = switch_lab_add(sw, PORT_UPLINK, "nic0");
    switch_port_isolate(sw, a, true);
    switch_port_isolate(sw, b, true);
    switch_lab_send_len(sw, a, GUEST(b), GUEST(a), 60);
    switch_lab_send_len(sw, a, FRAME_BROADCAST, GUEST(a), 60);
    assert_int_equal(switch_lab_logs[b].count, 0);
    assert_int_equal(switch_lab_logs[c].count, 1);
    assert_int_equal(switch_lab_logs[up].count, 1);
    policy_inherit(&p);
    p.choice[POLICY_PROMISCUOUS] = POLICY_ACCEPT;
    switch_set_policy(sw, sw->ports[c], &p);
    switch_lab_send_len(sw, up, GUEST(a), OUTSIDE, 60);
    assert_int_equal(switch_lab_logs[a].count, 1);
    assert_int_equal(switch_lab_logs[c].count, 2);
    switches_init(0);
}

static const u8 report[] = {8, 0,   0x46, 0, 0, 32,   0, 0, 0, 0,    1, 2, 0, 0,   10, 0, 0,
                            1, 239, 1,    2, 3, 0x94, 4, 0, 0, 0x16, 0, 0, 0, 239, 1,  2, 3};
static const u8 query[] = {8, 0,   0x46, 0, 0, 32,   0, 0, 0, 0,    1,   2, 0, 0, 10, 0, 0,
                           1, 224, 0,    0, 1, 0x94, 4, 0, 0, 0x11, 100, 0, 0, 0, 0,  0, 0};

static void multicast_is_snooped(void **state)
{
    struct net_switch *sw = switch_lab_start();
    u8 leave[sizeof(report)];

    (void)state;
    u32 a = switch_lab_add(sw, PORT_VM, "a:0"), b = switch_lab_add(sw, PORT_VM, "b:0"),
        c = switch_lab_add(sw, PORT_VM, "c:0"), up = switch_lab_add(sw, PORT_UPLINK, "nic0");
    switch_lab_send_len(sw, c, 0x01005e010203ull, GUEST(c), 60); /* nobody asks: to all */
    assert_int_equal(
        switch_lab_logs[a].count + switch_lab_logs[b].count + switch_lab_logs[up].count, 3);
    switch_lab_send(sw, up, 0x01005e000001ull, OUTSIDE, query, sizeof(query));
    assert_int_equal(switch_lab_logs[a].count, 2);
    switch_lab_send(sw, a, 0x01005e010203ull, GUEST(a), report, sizeof(report));
    assert_int_equal(switch_lab_logs[b].count, 2); /* the query, but not a's report */
    assert_int_equal(switch_lab_logs[up].count, 2);
    switch_lab_send_len(sw, c, 0x01005e010203ull, GUEST(c), 60);
    assert_int_equal(switch_lab_logs[a].count, 3);
    assert_int_equal(switch_lab_logs[b].count, 2);
    assert_int_equal(switch_lab_logs[up].count, 3);              /* the router */
    switch_lab_send_len(sw, c, 0x01005e0000fbull, GUEST(c), 60); /* 224.0.0.x is never filtered */
    assert_int_equal(switch_lab_logs[b].count, 3);
    memcpy(leave, report, sizeof(leave));
    leave[26] = 0x17;
    switch_lab_send(sw, a, 0x01005e000002ull, GUEST(a), leave, sizeof(leave));
    switch_lab_send_len(sw, c, 0x01005e010203ull, GUEST(c), 60);
    assert_int_equal(switch_lab_logs[a].count, 4); /* the one to 224.0.0.251, not this */
    switch_lab_send(sw, a, 0x01005e010203ull, GUEST(a), report, sizeof(report));
    for (u32 i = 0; i < 2; i++) { /* forgotten when not repeated */
        switch_poll(sw, switch_lab_now);
        switch_lab_now += SNOOP_TURN_NS;
        switch_poll(sw, switch_lab_now);
        switch_lab_send(sw, up, 0x01005e000001ull, OUTSIDE, query, sizeof(query));
    }
    u64 count = switch_lab_logs[a].count;
    switch_lab_send_len(sw, c, 0x01005e010203ull, GUEST(c), 60);
    assert_int_equal(switch_lab_logs[a].count, count);
    switches_init(0);
}

static u32 carrier(struct net_switch *sw)
{
    return sw->team.used_count == 1 ? sw->team.links[sw->team.used[0]].port : 99;
}

static void fail_over_announces_addresses(void **state)
{
    struct net_switch *sw = switch_lab_start();

    (void)state;
    u32 a = switch_lab_add(sw, PORT_VM, "a:0"), n0 = switch_lab_add(sw, PORT_UPLINK, "nic0"),
        n1 = switch_lab_add(sw, PORT_UPLINK, "nic1");
    struct vlan_port v;
    vlan_access(&v, 10);
    switch_port_set_vlan(sw, a, &v);
    switch_set_team(sw, TEAM_ACTIVE_STANDBY, false, true, false);
    assert_int_equal(carrier(sw), n0);
    switch_lab_send_len(sw, n1, FRAME_BROADCAST, OUTSIDE,
                        60); /* the standby link is not listened to */
    assert_int_equal(switch_lab_logs[a].count, 0);
    assert_int_equal(switch_lab_drops(sw, n1, DROP_STANDBY), 1);
    memset(switch_lab_logs, 0, sizeof(switch_lab_logs));
    switch_link(sw, n0, false, 0, switch_lab_now);
    assert_int_equal(carrier(sw), n1);
    assert_int_equal(switch_lab_logs[n0].count, 0);
    assert_int_equal(switch_lab_logs[n1].count, 1); /* at once: a's address, in its VLAN */
    assert_true(frame_mac(switch_lab_logs[n1].last) == FRAME_BROADCAST);
    assert_true(frame_mac(switch_lab_logs[n1].last + 6) == GUEST(a));
    assert_int_equal(frame_be16(switch_lab_logs[n1].last + 14), 10);
    assert_int_equal(frame_be16(switch_lab_logs[n1].last + 16), ETH_RARP);
    for (u32 i = 0; i < 4; i++) {
        switch_lab_now += SECOND / 2;
        switch_poll(sw, switch_lab_now);
    }
    assert_int_equal(switch_lab_logs[n1].count, 3);
    switch_link(sw, n0, true, 0, switch_lab_now); /* no fail-back */
    assert_int_equal(carrier(sw), n1);
    switch_link(sw, n1, false, 0, switch_lab_now);
    assert_int_equal(carrier(sw), n0);
    switch_set_team(sw, TEAM_ACTIVE_STANDBY, true, true, false);
    switch_link(sw, n1, true, 0, switch_lab_now);
    switch_link(sw, n0, false, 0, switch_lab_now);
    assert_int_equal(carrier(sw), n1);
    switch_link(sw, n0, true, 0, switch_lab_now);
    assert_int_equal(carrier(sw), n0);
    assert_true(switch_lab_events[SWITCH_FAILOVER] >= 6);
    switches_init(0);
}

static void teams_spread_and_never_duplicate(void **state)
{
    static const enum team_policy policies[] = {TEAM_SRCPORT, TEAM_SRCMAC, TEAM_IPHASH};

    (void)state;
    for (u32 k = 0; k < ARRAY_LEN(policies); k++) {
        struct net_switch *sw = switch_lab_start();
        u32 guests[6], n[2];

        n[0] = switch_lab_add(sw, PORT_UPLINK, "nic0");
        n[1] = switch_lab_add(sw, PORT_UPLINK, "nic1");
        for (u32 i = 0; i < 6; i++) {
            char name[8];
            snprintf(name, sizeof(name), "g:%u", i);
            guests[i] = switch_lab_add(sw, PORT_VM, name);
        }
        switch_set_team(sw, policies[k], true, true, false);
        memset(switch_lab_logs, 0, sizeof(switch_lab_logs));
        for (u32 i = 0; i < 6; i++) {
            u8 ip[64] = {8, 0, 0x45};
            ip[2 + 19] = (u8)i; /* the last byte of the destination */
            switch_lab_send(sw, guests[i], OUTSIDE, GUEST(guests[i]), ip, sizeof(ip));
        }
        assert_int_equal(switch_lab_logs[n[0]].count + switch_lab_logs[n[1]].count, 6);
        assert_true(switch_lab_logs[n[0]].count && switch_lab_logs[n[1]].count);
        /* A broadcast that the network outside hands to both links: each guest has it once, or
         * (iphash) the network outside hands it to one. */
        for (u32 i = 0; i < (policies[k] == TEAM_IPHASH ? 1u : 2u); i++)
            switch_lab_send_len(sw, n[i], FRAME_BROADCAST, OUTSIDE, 60);
        for (u32 i = 0; i < 6; i++)
            assert_int_equal(switch_lab_logs[guests[i]].count, 1);
        /* Our own broadcast comes back on the other link. */
        memset(switch_lab_logs, 0, sizeof(switch_lab_logs));
        switch_lab_send_len(sw, guests[0], FRAME_BROADCAST, GUEST(guests[0]), 60);
        assert_int_equal(switch_lab_logs[guests[1]].count, 1);
        for (u32 i = 0; i < 2; i++)
            switch_lab_send_len(sw, n[i], FRAME_BROADCAST, GUEST(guests[0]), 60);
        assert_int_equal(switch_lab_logs[guests[1]].count, 1);
        assert_int_equal(switch_lab_drops(sw, n[0], DROP_REFLECTED) +
                             switch_lab_drops(sw, n[1], DROP_REFLECTED),
                         2);
        switches_init(0);
    }
}

static void mirrors_copy_both_ways(void **state)
{
    struct net_switch *sw = switch_lab_start();
    struct vlan_port v;

    (void)state;
    u32 a = switch_lab_add(sw, PORT_VM, "a:0"), b = switch_lab_add(sw, PORT_VM, "b:0"),
        m = switch_lab_add(sw, PORT_MIRROR, "m:0");
    vlan_access(&v, 10);
    switch_port_set_vlan(sw, a, &v);
    switch_port_set_vlan(sw, b, &v);
    assert_int_equal(switch_port_mirror(sw, a, (u16)b, true, true), HV_EINVAL);
    assert_int_equal(switch_port_mirror(sw, a, (u16)m, true, true), HV_OK);
    switch_lab_send_len(sw, a, GUEST(b), GUEST(a), 60);
    switch_lab_send_len(sw, b, GUEST(a), GUEST(b), 60);
    switch_lab_send_len(sw, b, OUTSIDE, GUEST(b), 60);
    assert_int_equal(switch_lab_logs[m].count, 2);
    assert_int_equal(frame_be16(switch_lab_logs[m].last + 14), 10); /* shows the VLAN */
    switch_lab_send_len(sw, m, GUEST(a), OUTSIDE, 60);
    assert_int_equal(switch_lab_logs[a].count, 1);
    switch_port_remove(sw, m);
    switch_lab_send_len(sw, a, GUEST(b), GUEST(a), 60);
    switches_init(0);
}

static void a_full_table_floods(void **state)
{
    struct switch_config c = {.name = "small", .mac_entries = 64, .seed = 5};
    struct net_switch *sw = switch_create(&c);

    (void)state;
    memset(switch_lab_logs, 0, sizeof(switch_lab_logs));
    memset(switch_lab_events, 0, sizeof(switch_lab_events));
    switch_lab_now = SECOND;
    sw->event = switch_lab_event;
    u32 a = switch_lab_add(sw, PORT_VM, "a:0"), up = switch_lab_add(sw, PORT_UPLINK, "nic0");
    for (u32 i = 0; i < 5000; i++)
        switch_lab_send_len(sw, up, GUEST(a), OUTSIDE + i, 60);
    assert_int_equal(switch_lab_logs[a].count, 5000);
    assert_true(sw->macs.used <= 64 && sw->macs.full > 4900);
    assert_int_equal(switch_lab_events[SWITCH_MAC_FULL], 1);
    for (u32 i = 0; i < 5000; i++)
        switch_lab_send_len(sw, a, OUTSIDE + i, GUEST(a), 60);
    assert_int_equal(switch_lab_logs[up].count, 5000);
    switch_lab_now += 2 * SWITCH_AGE_NS;
    switch_poll(sw, switch_lab_now);
    assert_int_equal(sw->macs.used, 1); /* a's own */
    assert_int_equal(switch_mac_add(sw, OUTSIDE, 0, up), HV_OK);
    assert_int_equal(switch_mac_add(sw, OUTSIDE, 0, up), HV_EEXIST);
    switch_lab_now += 2 * SWITCH_AGE_NS;
    switch_poll(sw, switch_lab_now);
    assert_int_equal(sw->macs.used, 2);
    switch_destroy(sw);
}

static u8 file[65536];
static u32 file_len;

static void record(void *owner, const struct switch_port *p, bool out, const struct net_frame *f,
                   u16 tag, u64 at)
{
    (void)owner;
    file_len +=
        pcapng_packet(file + file_len, (u32)sizeof(file) - file_len, p->index, f, tag, out, at, 96);
}

/* Block lengths at both ends agree, and the blocks fill the file. */
static void captures_are_well_formed(void **state)
{
    struct net_switch *sw = switch_lab_start();
    u32 at = 0, blocks = 0;

    (void)state;
    u32 a = switch_lab_add(sw, PORT_VM, "a:0"), b = switch_lab_add(sw, PORT_VM, "b:0");
    file_len = pcapng_header(file, sizeof(file));
    file_len += pcapng_interface(file + file_len, sizeof(file), "a:0", 96);
    file_len += pcapng_interface(file + file_len, sizeof(file), "b:0", 96);
    sw->tap = (struct switch_tap){.in = true, .out = true, .frame = record};
    portset_add(&sw->tap.ports, a);
    for (u32 len = 60; len < 140; len++) {
        switch_lab_send_len(sw, a, GUEST(b), GUEST(a), len);
        switch_lab_send_len(sw, b, GUEST(a), GUEST(b), len);
    }
    while (at < file_len) {
        u32 len, again;
        memcpy(&len, file + at + 4, 4);
        assert_true(len % 4 == 0 && at + len <= file_len);
        memcpy(&again, file + at + len - 4, 4);
        assert_int_equal(len, again);
        at += len;
        blocks++;
    }
    assert_int_equal(blocks, 3 + 160);
    assert_int_equal(pcapng_header(file, 20), 0);
    switches_init(0);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(addresses),
        cmocka_unit_test(vlan_lists),
        cmocka_unit_test(names_and_uplinks),
        cmocka_unit_test(many_switches_do_not_hear_each_other),
        cmocka_unit_test(storms_are_limited),
        cmocka_unit_test(servers_are_guarded),
        cmocka_unit_test(forged_frames_are_dropped_and_told_once),
        cmocka_unit_test(shaping_holds_the_rate),
        cmocka_unit_test(long_segments_are_shaped),
        cmocka_unit_test(links_are_emulated),
        cmocka_unit_test(mtu_and_jumbo),
        cmocka_unit_test(isolation_and_promiscuity),
        cmocka_unit_test(multicast_is_snooped),
        cmocka_unit_test(fail_over_announces_addresses),
        cmocka_unit_test(teams_spread_and_never_duplicate),
        cmocka_unit_test(mirrors_copy_both_ways),
        cmocka_unit_test(a_full_table_floods),
        cmocka_unit_test(captures_are_well_formed),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
