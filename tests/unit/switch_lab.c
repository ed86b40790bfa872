/* A virtual switch for tests; called by test_switch.c and its neighbours. */
#include "tests/unit/switch_lab.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <string.h>

#include <cmocka.h>

struct switch_lab_log switch_lab_logs[16];
u64 switch_lab_now;
u32 switch_lab_events[16];

static void take(void *owner, const struct switch_item *items, u32 count)
{
    struct switch_lab_log *l = owner;

    for (u32 i = 0; i < count; i++) {
        l->count++;
        l->len = frame_copy(items[i].frame, items[i].tag, l->last, sizeof(l->last));
        l->bytes += l->len;
    }
}
const struct switch_port_ops switch_lab_ops = {.deliver = take};

void switch_lab_event(void *owner, enum switch_event e, const struct switch_port *p)
{
    (void)owner;
    (void)p;
    switch_lab_events[e]++;
}

struct net_switch *switch_lab_start(void)
{
    struct net_switch *sw;

    memset(switch_lab_logs, 0, sizeof(switch_lab_logs));
    memset(switch_lab_events, 0, sizeof(switch_lab_events));
    switch_lab_now = SECOND;
    switches_init(7);
    assert_int_equal(switches_add("vsw0", 0, &sw), HV_OK);
    sw->event = switch_lab_event;
    return sw;
}

u32 switch_lab_add(struct net_switch *sw, enum switch_port_type type, const char *name)
{
    struct switch_port_config c = {.type = type, .ops = &switch_lab_ops};
    u32 n = sw->port_count;

    snprintf(c.name, sizeof(c.name), "%s", name);
    c.owner = &switch_lab_logs[n];
    c.mac = type == PORT_VM || type == PORT_KIF ? GUEST(n) : 0;
    assert_int_equal(switch_port_add(sw, &c), n);
    if (type == PORT_UPLINK)
        switch_link(sw, n, true, SECOND, switch_lab_now);
    memset(switch_lab_logs, 0, sizeof(switch_lab_logs));
    return n;
}

void switch_lab_send(struct net_switch *sw, u32 port, u64 dst, u64 src, const void *rest, u32 len)
{
    u8 f[2000] = {0};
    struct net_frame frame = {.data = f, .len = MAX(12 + len, 60u)};

    for (u32 i = 0; i < 6; i++) {
        f[i] = (u8)(dst >> (40 - 8 * i));
        f[6 + i] = (u8)(src >> (40 - 8 * i));
    }
    memcpy(f + 12, rest, len);
    switch_input(sw, port, &frame, 1, switch_lab_now);
}

void switch_lab_send_len(struct net_switch *sw, u32 port, u64 dst, u64 src, u32 len)
{
    u8 rest[2000] = {8, 0, 0x45};

    switch_lab_send(sw, port, dst, src, rest, len - 12);
}

u64 switch_lab_drops(struct net_switch *sw, u32 port, enum switch_drop why)
{
    return sw->ports[port]->counters.drop[why];
}
