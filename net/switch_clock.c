/* What time, links and neighbours do to a switch; called by the event loop and by NIC drivers. */
#include <string.h>

#include "net/cdp.h"
#include "net/lldp.h"
#include "net/switch.h"

#define SECOND 1000000000ull
#define ANNOUNCEMENTS 3u /* a switch outside may miss one */
#define ANNOUNCE_NS (SECOND / 2)
#define SWEEP_NS SECOND
#define SWEEP_BUCKETS 64u

/* A RARP request for its own address: what hypervisors send so that the switches outside learn
 * where a station now is, without a word about IP (RFC 903). */
static void announce(struct net_switch *sw, u64 mac, u16 vlan, struct switch_port *guest)
{
    u8 f[60] = {0};
    struct net_frame frame = {.data = f, .len = sizeof(f)};
    u16 port;

    memset(f, 0xff, 6);
    frame_put16(f + 6, (u32)(mac >> 32));
    frame_put32(f + 8, (u32)mac);
    frame_put16(f + 12, ETH_RARP);
    frame_put16(f + 14, 1); /* Ethernet */
    frame_put16(f + 16, ETH_IPV4);
    f[18] = 6;
    f[19] = 4;
    frame_put16(f + 20, 3); /* request reverse */
    memcpy(f + 22, f + 6, 6);
    memcpy(f + 32, f + 6, 6);
    if (!frame_parse(&frame))
        return;
    port = team_pick(&sw->team, team_hash(&sw->team, &frame, guest->index));
    if (port != TEAM_NONE && vlan_member(&sw->ports[port]->vlan, vlan))
        switch_send(sw, sw->ports[port], f, sizeof(f), vlan);
}

static void announce_all(struct net_switch *sw)
{
    u32 tick = MAC_TABLE_TICK(sw->now);

    for (u32 i = 0; i < mac_table_size(&sw->macs); i++) {
        const struct mac_entry *e = mac_table_at(&sw->macs, i, tick);
        struct switch_port *p = e ? sw->ports[e->port] : NULL;
        u32 vlan = e ? e->key >> 48 & 0xfff : 0;

        if (!p || !p->up || p->type == PORT_UPLINK)
            continue;
        if (vlan == MAC_TABLE_ANY_VLAN)
            vlan = p->vlan.vlan == VLAN_NONE ? 0 : p->vlan.vlan;
        announce(sw, e->key & BITS(47, 0), (u16)vlan, p);
    }
}

void switch_team_changed(struct net_switch *sw, u64 now)
{
    bool before[TEAM_LINKS];

    for (u32 i = 0; i < sw->team.count; i++)
        before[i] = sw->team.links[i].used;
    if (!team_update(&sw->team))
        return;
    for (u32 i = 0; i < sw->team.count; i++) {
        if (before[i] != sw->team.links[i].used)
            switch_tell(sw, SWITCH_FAILOVER, sw->ports[sw->team.links[i].port]);
    }
    if (sw->team.used_count) {
        announce_all(sw);
        sw->announce_left = ANNOUNCEMENTS - 1;
        sw->announce_at = now + ANNOUNCE_NS;
    }
}

void switch_announce(struct net_switch *sw)
{
    sw->announce_left = ANNOUNCEMENTS;
    sw->announce_at = sw->now;
}

void switch_link(struct net_switch *sw, u32 port, bool up, u64 speed, u64 now)
{
    struct switch_port *p = sw->ports[port];
    struct team_link *l = team_find(&sw->team, (u16)port);

    sw->now = MAX(sw->now, now);
    p->speed = speed;
    if (p->up == up)
        return;
    p->up = up;
    if (up) {
        portset_add(&sw->up, port);
        if (p->type != PORT_UPLINK && policy_accepts(&p->effective, POLICY_PROMISCUOUS) &&
            p->type != PORT_MIRROR)
            portset_add(&sw->promiscuous, port);
    } else {
        portset_remove(&sw->up, port);
        portset_remove(&sw->promiscuous, port);
    }
    switch_tell(sw, up ? SWITCH_LINK_UP : SWITCH_LINK_DOWN, p);
    if (p->ops->link)
        p->ops->link(p->owner);
    if (!l)
        return;
    l->up = up;
    lacp_enable(&l->lacp, up && sw->team.policy == TEAM_LACP, now);
    if (!up)
        discovery_forget_port(&sw->discovery, (u16)port);
    sw->discovery.next[DISCOVERY_LLDP] = sw->discovery.next[DISCOVERY_CDP] = now;
    switch_team_changed(sw, now);
}

void switch_control_frame(struct net_switch *sw, struct switch_port *in, const struct net_frame *f,
                          u64 now)
{
    u64 dst = frame_dst(f);
    struct team_link *l = team_find(&sw->team, in->index);
    bool told = false;

    if (f->tagged)
        return;
    if (f->type == ETH_SLOW && l)
        lacp_receive(&l->lacp, f->data, f->len, now);
    else if (f->type == ETH_LLDP && (dst & ~0xfull) == (LLDP_ADDRESS & ~0xfull))
        told = discovery_receive(&sw->discovery, DISCOVERY_LLDP, in->index, f->data, f->len, now);
    else if (dst == CDP_ADDRESS && f->type <= SWITCH_MTU)
        told = discovery_receive(&sw->discovery, DISCOVERY_CDP, in->index, f->data, f->len, now);
    if (told)
        switch_tell(sw, SWITCH_NEIGHBOUR, in);
}

static u64 poll_lacp(struct net_switch *sw, u64 now)
{
    struct lacp_port *ports[TEAM_LINKS];
    u64 next = LACP_NEVER;

    if (sw->team.policy != TEAM_LACP)
        return next;
    for (u32 i = 0; i < sw->team.count; i++)
        ports[i] = &sw->team.links[i].lacp;
    if (lacp_run(ports, sw->team.count, now))
        switch_team_changed(sw, now);
    for (u32 i = 0; i < sw->team.count; i++)
        next = MIN(next, lacp_next(ports[i]));
    return next;
}

static u64 poll_discovery(struct net_switch *sw, u64 now)
{
    u8 frame[DISCOVERY_FRAME];
    u64 next = LACP_NEVER;

    if (discovery_expire(&sw->discovery, now))
        switch_tell(sw, SWITCH_NEIGHBOUR, NULL);
    for (u32 k = 0; k < DISCOVERY_PROTOCOLS; k++) {
        if (discovery_due(&sw->discovery, k, now)) {
            portset_each(i, &sw->uplinks)
            {
                struct switch_port *p = sw->ports[i];
                u16 native = p->vlan.vlan == VLAN_NONE ? 0 : p->vlan.vlan;
                u32 len = discovery_frame(&sw->discovery, k, p->name, sw->mac, native, sw->mtu,
                                          false, frame);
                switch_send(sw, p, frame, len, native);
            }
        }
        if (sw->discovery.mode[k] & DISCOVERY_ADVERTISE)
            next = MIN(next, sw->discovery.next[k]);
    }
    return next;
}

static u64 poll_delayed(struct net_switch *sw, u64 now)
{
    u64 next = LACP_NEVER;

    portset_each(i, &sw->slow)
    {
        struct switch_port *p = sw->ports[i];

        switch_release(sw, p, now);
        next = MIN(next, MIN(delay_next(&p->delay_in), delay_next(&p->delay_out)));
        if (!p->slow_in && !p->slow_out && !p->delay_in.count && !p->delay_out.count)
            portset_remove(&sw->slow, i);
    }
    return next;
}

u64 switch_poll(struct net_switch *sw, u64 now)
{
    u64 next;

    sw->now = now = MAX(sw->now, now);
    next = MIN(poll_lacp(sw, now), poll_discovery(sw, now));
    if (sw->announce_left) {
        if (now >= sw->announce_at) {
            announce_all(sw);
            sw->announce_left--;
            sw->announce_at = now + ANNOUNCE_NS;
        }
        next = MIN(next, sw->announce_at);
    }
    if (now >= sw->sweep_at) {
        mac_table_sweep(&sw->macs, &sw->sweep, MIN(SWEEP_BUCKETS, sw->macs.buckets),
                        MAC_TABLE_TICK(now));
        snoop_tick(&sw->snoop, now);
        sw->sweep_at = now + SWEEP_NS;
    }
    /* Last: a guest answers what is released here, and that may be delayed again. */
    return MIN(MIN(next, sw->sweep_at), poll_delayed(sw, now));
}
