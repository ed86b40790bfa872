/* links: net/frame.c net/mac_table.c net/vlan.c net/policy.c net/shape.c net/delay.c net/igmp_snoop.c net/lacp.c net/team.c net/discovery.c net/lldp.c net/cdp.c net/switch.c net/switch_slow.c net/switch_port.c net/switch_clock.c net/offload.c net/checksum.c */
/* LACP between two switches joined by several cables: what aggregates, how fast it fails over, who
 * speaks first, and what a partner that is not ours may say. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdio.h>
#include <string.h>

#include <cmocka.h>

#include "net/switch.h"

#define SECOND 1000000000ull
#define MS 1000000ull
#define CABLES 4
#define QUEUE 64

struct end { /* one plug of a cable */
    struct net_switch *sw;
    u32 port, frames;
    struct end *other;
    bool cut, silent;
    struct {
        u32 len;
        u8 at[200];
    } queue[QUEUE];
    u32 queued;
};
static struct end ends[2][CABLES];
static struct net_switch *sides[2];
static u64 now;

static void take(void *owner, const struct switch_item *items, u32 count)
{
    struct end *e = owner;

    for (u32 i = 0; i < count; i++) {
        e->frames++;
        if (e->silent || e->other->queued == QUEUE ||
            frame_out_len(items[i].frame, items[i].tag) > 200)
            continue;
        struct end *o = e->other;
        o->queue[o->queued].len =
            frame_copy(items[i].frame, items[i].tag, o->queue[o->queued].at, 200);
        o->queued++;
    }
}
static const struct switch_port_ops ops = {.deliver = take};

static void build(u32 cables)
{
    memset(ends, 0, sizeof(ends));
    now = SECOND;
    for (u32 s = 0; s < 2; s++) {
        struct switch_config c = {.mac = 0x064248aaaa00ull + s, .seed = s};
        sides[s] = switch_create(&c);
        for (u32 i = 0; i < cables; i++) {
            struct switch_port_config p = {.type = PORT_UPLINK, .ops = &ops};
            snprintf(p.name, sizeof(p.name), "nic%u", i);
            p.owner = &ends[s][i];
            int port = switch_port_add(sides[s], &p);
            assert_true(port >= 0);
            ends[s][i] = (struct end){.sw = sides[s], .port = (u32)port, .other = &ends[!s][i]};
            switch_link(sides[s], (u32)port, true, SECOND, now);
        }
    }
}

static void done(void)
{
    switch_destroy(sides[0]);
    switch_destroy(sides[1]);
}

static void run(u64 ns)
{
    u64 until = now + ns;

    while (now < until) {
        now += 10 * MS;
        for (u32 s = 0; s < 2; s++) {
            switch_poll(sides[s], now);
            for (u32 i = 0; i < CABLES; i++) {
                struct end *e = &ends[s][i];
                for (u32 k = 0; k < e->queued; k++) {
                    struct net_frame f = {.data = e->queue[k].at, .len = e->queue[k].len};
                    switch_input(sides[s], e->port, &f, 1, now);
                }
                e->queued = 0;
            }
        }
    }
}

static void lacp(u32 side, bool active, bool fast)
{
    switch_set_team(sides[side], TEAM_LACP, true, active, fast);
}

static void both_sides_aggregate(void **state)
{
    static const struct {
        bool active[2], fast[2];
    } cases[] = {{{true, true}, {true, true}},
                 {{true, false}, {false, false}},
                 {{false, true}, {true, false}}};

    (void)state;
    for (u32 c = 0; c < ARRAY_LEN(cases); c++) {
        build(3);
        for (u32 s = 0; s < 2; s++)
            lacp(s, cases[c].active[s], cases[c].fast[s]);
        run(6 * SECOND);
        for (u32 s = 0; s < 2; s++) {
            assert_int_equal(sides[s]->team.used_count, 3);
            for (u32 i = 0; i < 3; i++) {
                const struct lacp_port *p = &sides[s]->team.links[i].lacp;
                assert_int_equal(p->rx, LACP_RX_CURRENT);
                assert_true(p->partner.system == sides[!s]->mac);
                assert_true(p->partner.state & LACP_DISTRIBUTING);
            }
        }
        run(200 * SECOND); /* and stays so */
        assert_int_equal(sides[0]->team.used_count, 3);
        assert_int_equal(sides[0]->team.failovers, 0);
        done();
    }
}

static void two_passive_sides_are_silent(void **state)
{
    (void)state;
    build(2);
    lacp(0, false, true);
    lacp(1, false, true);
    run(60 * SECOND);
    for (u32 s = 0; s < 2; s++) {
        for (u32 i = 0; i < 2; i++)
            assert_int_equal(sides[s]->team.links[i].lacp.tx_pdus, 0);
        assert_int_equal(sides[s]->team.used_count, 1); /* an individual link */
    }
    done();
}

static void a_side_without_lacp_gets_one_link(void **state)
{
    (void)state;
    build(2);
    lacp(0, true, true);
    run(10 * SECOND);
    assert_int_equal(sides[0]->team.used_count, 1);
    lacp(1, true, true); /* it learns LACP: both */
    run(10 * SECOND);
    assert_int_equal(sides[0]->team.used_count, 2);
    done();
}

static void a_cut_cable_leaves_at_once(void **state)
{
    (void)state;
    build(3);
    lacp(0, true, true);
    lacp(1, true, true);
    run(6 * SECOND);
    switch_link(sides[0], ends[0][1].port, false, 0, now);
    assert_int_equal(sides[0]->team.used_count, 2); /* no time passes */
    assert_false(team_accepts(&sides[0]->team, (u16)ends[0][1].port));
    switch_link(sides[1], ends[1][1].port, false, 0, now);
    run(5 * SECOND);
    switch_link(sides[0], ends[0][1].port, true, 0, now);
    switch_link(sides[1], ends[1][1].port, true, 0, now);
    run(6 * SECOND);
    assert_int_equal(sides[0]->team.used_count, 3);
    done();
}

/* The link stays up, but nothing comes: three seconds with the fast timers. */
static void a_silent_partner_is_dropped(void **state)
{
    (void)state;
    build(2);
    lacp(0, true, true);
    lacp(1, true, true);
    run(6 * SECOND);
    ends[1][0].silent = true;
    run(2 * SECOND);
    assert_int_equal(sides[0]->team.used_count, 2);
    run(2 * SECOND);
    assert_int_equal(sides[0]->team.used_count, 1);
    assert_false(team_accepts(&sides[0]->team, (u16)ends[0][0].port));
    run(4 * SECOND); /* the other side is told that we are out of sync */
    assert_int_equal(sides[1]->team.used_count, 1);
    done();
}

static void slow_timers_send_every_half_minute(void **state)
{
    (void)state;
    build(2);
    lacp(0, true, false);
    lacp(1, true, false);
    run(10 * SECOND);
    u64 before = sides[0]->team.links[0].lacp.tx_pdus;
    run(300 * SECOND);
    assert_in_range(sides[0]->team.links[0].lacp.tx_pdus - before, 9, 11);
    lacp(1, true, true); /* one side asks for fast */
    run(10 * SECOND);
    before = sides[0]->team.links[0].lacp.tx_pdus;
    run(30 * SECOND);
    assert_in_range(sides[0]->team.links[0].lacp.tx_pdus - before, 29, 31);
    done();
}

static void cables_to_another_switch_stay_out(void **state)
{
    (void)state;
    build(3);
    lacp(0, true, true);
    lacp(1, true, true);
    sides[1]->team.links[2].lacp.actor.system ^= 0x55; /* as if it led elsewhere */
    run(10 * SECOND);
    assert_int_equal(sides[0]->team.used_count, 2);
    assert_false(team_accepts(&sides[0]->team, (u16)ends[0][2].port));
    done();
}

static void no_more_than_three_in_a_second(void **state)
{
    u8 pdu[LACP_FRAME] = {0x01, 0x80, 0xc2, 0, 0, 2, 2, 2, 2, 2, 2, 2, 0x88, 0x09, 1, 1, 1, 20};

    (void)state;
    build(1);
    lacp(0, true, true);
    run(5 * SECOND);
    u64 before = sides[0]->team.links[0].lacp.tx_pdus;
    pdu[36] = 2;
    pdu[37] = 20;
    for (u32 i = 0; i < 200; i++) { /* each says something wrong about us, for two seconds */
        struct net_frame f = {.data = pdu, .len = sizeof(pdu)};
        pdu[30] = (u8)i;
        switch_input(sides[0], ends[0][0].port, &f, 1, now);
        run(10 * MS);
    }
    assert_in_range(sides[0]->team.links[0].lacp.tx_pdus - before, 5, 8);
    done();
}

static void markers_are_answered_and_nonsense_counted(void **state)
{
    u8 marker[LACP_FRAME] = {0x01, 0x80, 0xc2, 0, 0, 2, 2, 2, 2, 2, 2, 2, 0x88, 0x09, 2, 1, 1, 16};
    struct net_frame f = {.data = marker, .len = sizeof(marker)};

    (void)state;
    build(1);
    lacp(0, true, true);
    run(5 * SECOND);
    marker[20] = 0x77;
    ends[1][0].queued = 0;
    switch_input(sides[0], ends[0][0].port, &f, 1, now);
    assert_int_equal(ends[1][0].queued, 1);
    assert_int_equal(ends[1][0].queue[0].at[16], 2);
    assert_int_equal(ends[1][0].queue[0].at[20], 0x77);
    struct lacp_port *p = &sides[0]->team.links[0].lacp;
    for (u32 len = 14; len < 56; len++) {
        u8 bad[60] = {0x01, 0x80, 0xc2, 0, 0, 2, 2, 2, 2, 2, 2, 2, 0x88, 0x09, 1, 1, 1, 20};
        f = (struct net_frame){.data = bad, .len = len};
        switch_input(sides[0], ends[0][0].port, &f, 1, now);
    }
    assert_int_equal(p->rx_bad, 42);
    done();
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(both_sides_aggregate),
        cmocka_unit_test(two_passive_sides_are_silent),
        cmocka_unit_test(a_side_without_lacp_gets_one_link),
        cmocka_unit_test(a_cut_cable_leaves_at_once),
        cmocka_unit_test(a_silent_partner_is_dropped),
        cmocka_unit_test(slow_timers_send_every_half_minute),
        cmocka_unit_test(cables_to_another_switch_stay_out),
        cmocka_unit_test(no_more_than_three_in_a_second),
        cmocka_unit_test(markers_are_answered_and_nonsense_counted),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
