/* What the administrator sets at a switch and its ports; called by the shell's commands. */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "net/switch.h"

#define MAC_LIMIT 1024u /* learned addresses a guest's port may have */
#define QUEUE_MIN (64 * KIB)
#define QUEUE_MAX (4 * MIB)
#define SECOND 1000000000ull

struct net_switch *switch_create(const struct switch_config *c)
{
    struct net_switch *sw = calloc(1, sizeof(*sw));
    u32 entries = MAX(c->mac_entries ? c->mac_entries : 4096, 64u), buckets = 1;
    struct mac_entry *table;

    while (buckets * MAC_TABLE_WAYS < entries)
        buckets *= 2;
    table = sw ? calloc((size_t)buckets * MAC_TABLE_WAYS, sizeof(*table)) : NULL;
    if (!table) {
        free(sw);
        return NULL;
    }
    snprintf(sw->name, sizeof(sw->name), "%s", c->name);
    sw->mtu = c->mtu ? c->mtu : SWITCH_MTU;
    sw->can = 0xff;
    sw->mac = c->mac;
    sw->random = c->seed;
    sw->snooping = true;
    mac_table_init(&sw->macs, table, buckets, shape_random(&sw->random),
                   c->age_ns ? c->age_ns : SWITCH_AGE_NS);
    policy_default(&sw->policy);
    sw->team.failback = true;
    sw->team.lacp = (struct lacp_settings){
        .system = c->mac, .system_priority = 0xffff, .key = 1, .active = true};
    sw->discovery.self.mac = c->mac;
    return sw;
}

void switch_destroy(struct net_switch *sw)
{
    for (u32 i = 0; i < PORTSET_PORTS; i++) {
        if (sw->ports[i])
            switch_port_remove(sw, i);
    }
    free(sw->macs.entries);
    free(sw);
}

struct switch_port *switch_port_named(struct net_switch *sw, const char *name)
{
    for (u32 i = 0; i < PORTSET_PORTS; i++) {
        if (sw->ports[i] && !strcmp(sw->ports[i]->name, name))
            return sw->ports[i];
    }
    return NULL;
}

static bool is_guest(const struct switch_port *p)
{
    return p->type == PORT_VM || p->type == PORT_KIF;
}

static bool mac_taken(const struct net_switch *sw, u64 mac, const struct switch_port *except)
{
    for (u32 i = 0; i < PORTSET_PORTS; i++) {
        const struct switch_port *p = sw->ports[i];
        if (p && p != except && is_guest(p) && (p->mac == mac || p->source == mac))
            return true;
    }
    return false;
}

static u64 own_key(const struct switch_port *p)
{
    return mac_table_key(p->source, p->vlan.mode == VLAN_TRUNK ? MAC_TABLE_ANY_VLAN : p->vlan.vlan);
}

static void forget_own(struct net_switch *sw, struct switch_port *p)
{
    mac_table_flush_port(&sw->macs, p->index, BIT(MAC_OWN) | BIT(MAC_LEARNED));
}

/* What follows from type, VLAN mode, policies and addresses. */
static void settle(struct net_switch *sw, struct switch_port *p)
{
    bool guest = is_guest(p), forged, promiscuous;

    policy_effective(&sw->policy, &p->policy, &p->effective);
    for (u32 i = 0; i < STORM_CLASSES; i++)
        p->storm[i].rate = p->effective.storm[i];
    forged = policy_accepts(&p->effective, POLICY_FORGED);
    promiscuous = guest && policy_accepts(&p->effective, POLICY_PROMISCUOUS);
    p->blocked = false;
    if (guest) {
        bool free_to =
            policy_accepts(&p->effective, POLICY_MAC_CHANGES) && !mac_taken(sw, p->mac_now, p);
        p->source = free_to ? p->mac_now : p->mac;
        p->blocked = p->mac_now != p->source;
        /* A full bucket of other stations' fixed entries: then it is found by flooding. */
        if (!mac_table_set(&sw->macs, own_key(p), p->index, MAC_OWN))
            sw->macs.full++;
    }
    p->learns = p->type == PORT_UPLINK || (guest && (forged || p->vlan.mode == VLAN_TRUNK));
    p->takes_unknown = guest && (forged || promiscuous);
    p->mac_limit = p->type == PORT_UPLINK ? ~0u : MAC_LIMIT;
    portset_remove(&sw->promiscuous, p->index);
    if (promiscuous && p->up)
        portset_add(&sw->promiscuous, p->index);
    portset_remove(&sw->up, p->index);
    if (p->up)
        portset_add(&sw->up, p->index);
    p->slow_in = p->shape_in.average || p->emulation.delay || p->emulation.loss_ppm;
    p->slow_out = p->shape_out.average || p->emulation.delay || p->emulation.loss_ppm;
    if (p->slow_in || p->slow_out)
        portset_add(&sw->slow, p->index);
}

static void settle_switch(struct net_switch *sw)
{
    sw->any_trunk_guest = sw->any_mirror = false;
    for (u32 i = 0; i < PORTSET_PORTS; i++) {
        const struct switch_port *p = sw->ports[i];
        if (!p)
            continue;
        sw->any_trunk_guest |= is_guest(p) && p->vlan.mode == VLAN_TRUNK;
        sw->any_mirror |= p->mirror_to != SWITCH_NO_PORT;
    }
}

static void resettle(struct net_switch *sw, struct switch_port *p)
{
    forget_own(sw, p);
    settle(sw, p);
    settle_switch(sw);
}

static int refuse_port(struct net_switch *sw, const struct switch_port_config *c, u32 *index)
{
    bool guest = c->type == PORT_VM || c->type == PORT_KIF;
    u32 i = 0;

    if (guest && (!c->mac || frame_mac_is_group(c->mac) || c->mac >> 48))
        return HV_EINVAL;
    if (switch_port_named(sw, c->name) || (guest && mac_taken(sw, c->mac, NULL)))
        return HV_EEXIST;
    while (i < PORTSET_PORTS && sw->ports[i])
        i++;
    *index = i;
    return i == PORTSET_PORTS || (c->type == PORT_UPLINK && sw->team.count == TEAM_LINKS) ? HV_E2BIG
                                                                                          : HV_OK;
}

static void lacp_out(void *owner, const u8 *frame, u32 len)
{
    struct switch_port *p = owner;

    switch_send(p->sw, p, frame, len, p->vlan.vlan == VLAN_NONE ? 0 : p->vlan.vlan);
}

static void start_lacp(struct net_switch *sw, struct team_link *l)
{
    lacp_init(&l->lacp, &sw->team.lacp, (u16)(l->port + 1), lacp_out, sw->ports[l->port]);
    lacp_enable(&l->lacp, l->up && sw->team.policy == TEAM_LACP, sw->now);
}

static void find_can(struct net_switch *sw)
{
    sw->can = 0xff;
    portset_each(i, &sw->uplinks) sw->can &= sw->ports[i]->can;
}

int switch_port_add(struct net_switch *sw, const struct switch_port_config *c)
{
    u32 index;
    int status = refuse_port(sw, c, &index);
    struct switch_port *p = status ? NULL : calloc(1, sizeof(*p));

    if (!p)
        return status ? status : HV_ENOMEM;
    *p = (struct switch_port){.sw = sw,
                              .index = (u16)index,
                              .type = (u8)c->type,
                              .up = c->type != PORT_UPLINK,
                              .mac = c->mac,
                              .mac_now = c->mac,
                              .ops = c->ops,
                              .owner = c->owner,
                              .can = c->can,
                              .mirror_to = SWITCH_NO_PORT};
    snprintf(p->name, sizeof(p->name), "%s", c->name);
    policy_inherit(&p->policy);
    if (c->type == PORT_UPLINK)
        vlan_trunk_all(&p->vlan, 0);
    sw->ports[index] = p;
    sw->port_count++;
    settle(sw, p);
    settle_switch(sw);
    if (c->type == PORT_UPLINK) {
        portset_add(&sw->uplinks, index);
        find_can(sw);
        if (team_add(&sw->team, (u16)index, TEAM_LINKS)) /* refuse_port() saw that there is room */
            start_lacp(sw, team_find(&sw->team, (u16)index));
    }
    return (int)index;
}

static void add_counters(struct switch_counters *to, const struct switch_counters *c)
{
    const u64 *from = (const u64 *)c;

    for (u32 i = 0; i < sizeof(*c) / sizeof(u64); i++)
        ((u64 *)to)[i] += from[i];
}

void switch_port_remove(struct net_switch *sw, u32 port)
{
    struct switch_port *p = sw->ports[port];

    mac_table_flush_port(&sw->macs, (u16)port, ~0u);
    snoop_forget_port(&sw->snoop, port);
    discovery_forget_port(&sw->discovery, (u16)port);
    portset_remove(&sw->up, port);
    portset_remove(&sw->uplinks, port);
    find_can(sw);
    portset_remove(&sw->promiscuous, port);
    portset_remove(&sw->isolated, port);
    portset_remove(&sw->slow, port);
    portset_remove(&sw->tap.ports, port);
    for (u32 i = 0; i < PORTSET_PORTS; i++) {
        if (sw->ports[i] && sw->ports[i]->mirror_to == port)
            sw->ports[i]->mirror_to = SWITCH_NO_PORT;
    }
    add_counters(&sw->gone, &p->counters);
    sw->ports[port] = NULL;
    sw->port_count--;
    if (p->type == PORT_UPLINK) {
        team_remove(&sw->team, (u16)port);
        switch_team_changed(sw, sw->now);
    }
    free(p->delay_in.bytes);
    free(p->delay_out.bytes);
    free(p);
    settle_switch(sw);
}

void switch_port_set_vlan(struct net_switch *sw, u32 port, const struct vlan_port *v)
{
    struct switch_port *p = sw->ports[port];

    forget_own(sw, p);
    p->vlan = *v;
    settle(sw, p);
    settle_switch(sw);
}

void switch_set_policy(struct net_switch *sw, struct switch_port *port, const struct policy *p)
{
    if (port)
        port->policy = *p;
    else
        sw->policy = *p;
    for (u32 i = 0; i < PORTSET_PORTS; i++) {
        if (sw->ports[i] && (!port || port == sw->ports[i]))
            resettle(sw, sw->ports[i]);
    }
}

void switch_port_guest_mac(struct net_switch *sw, u32 port, u64 mac)
{
    struct switch_port *p = sw->ports[port];

    p->mac_now = frame_mac_is_group(mac) || !mac ? p->mac : mac & BITS(47, 0);
    resettle(sw, p);
}

void switch_port_isolate(struct net_switch *sw, u32 port, bool on)
{
    sw->ports[port]->isolated = on;
    portset_remove(&sw->isolated, port);
    if (on)
        portset_add(&sw->isolated, port);
}

/* A queue for `rate` bits a second over `ns`; kept when it is large enough already. */
static enum hv_status need_queue(struct delay_line *d, u64 rate, u64 ns)
{
    u64 bytes = MIN(rate / 8, 16 * GIB) * (ns / 1000) / 1000000;
    u32 size = QUEUE_MIN;
    void *memory;

    while (size < bytes && size < QUEUE_MAX)
        size *= 2;
    if (d->bytes && (d->size >= size || d->count))
        return HV_OK;
    memory = malloc(size);
    if (!memory)
        return HV_ENOMEM;
    free(d->bytes);
    delay_init(d, memory, size);
    return HV_OK;
}

enum hv_status switch_port_shape(struct net_switch *sw, u32 port, bool in, u64 average, u64 peak,
                                 u64 burst)
{
    struct switch_port *p = sw->ports[port];
    struct delay_line *d = in ? &p->delay_in : &p->delay_out;

    if (average && need_queue(d, peak ? peak : MAX(average, 1000000000ull), SHAPE_QUEUE_NS))
        return HV_ENOMEM;
    shape_set(in ? &p->shape_in : &p->shape_out, average, peak, burst);
    settle(sw, p);
    return HV_OK;
}

enum hv_status switch_port_emulate(struct net_switch *sw, u32 port, u64 delay_ns, u32 loss_ppm)
{
    struct switch_port *p = sw->ports[port];
    u64 rate = 1000000000ull;

    if (delay_ns > 10 * SECOND || loss_ppm > 1000000)
        return HV_EINVAL;
    if (delay_ns &&
        (need_queue(&p->delay_in, rate, delay_ns) || need_queue(&p->delay_out, rate, delay_ns)))
        return HV_ENOMEM;
    p->emulation = (struct link_emulation){delay_ns, loss_ppm};
    settle(sw, p);
    return HV_OK;
}

enum hv_status switch_port_mirror(struct net_switch *sw, u32 port, u16 to, bool in, bool out)
{
    struct switch_port *p = sw->ports[port];

    if (to != SWITCH_NO_PORT && (to >= PORTSET_PORTS || !sw->ports[to] ||
                                 sw->ports[to]->type != PORT_MIRROR || p->type == PORT_MIRROR))
        return HV_EINVAL;
    p->mirror_to = to;
    p->mirror_in = in;
    p->mirror_out = out;
    settle_switch(sw);
    return HV_OK;
}

void switch_set_team(struct net_switch *sw, enum team_policy policy, bool failback,
                     bool lacp_active, bool lacp_fast)
{
    team_set_policy(&sw->team, policy, failback);
    sw->team.lacp.active = lacp_active;
    sw->team.lacp.fast = lacp_fast;
    for (u32 i = 0; i < sw->team.count; i++)
        start_lacp(sw, &sw->team.links[i]);
    switch_team_changed(sw, sw->now);
}

enum hv_status switch_mac_add(struct net_switch *sw, u64 mac, u32 vlan, u32 port)
{
    const struct mac_entry *e = mac_table_find(&sw->macs, mac_table_key(mac, vlan), 0);

    if (e && e->kind != MAC_LEARNED)
        return HV_EEXIST;
    return mac_table_set(&sw->macs, mac_table_key(mac, vlan), (u16)port, MAC_STATIC) ? HV_OK
                                                                                     : HV_E2BIG;
}

void switch_total(const struct net_switch *sw, struct switch_counters *out)
{
    *out = sw->gone;
    for (u32 i = 0; i < PORTSET_PORTS; i++) {
        if (sw->ports[i])
            add_counters(out, &sw->ports[i]->counters);
    }
}
