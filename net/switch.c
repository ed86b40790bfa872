/* The forwarding path of the virtual switch; called by the owners of ports. */
#include "net/switch.h"

#include <string.h>

#include "net/switch_inner.h"

const char *const switch_type_names[PORT_TYPES] = {
    [PORT_VM] = "vm", [PORT_KIF] = "kif", [PORT_UPLINK] = "uplink", [PORT_MIRROR] = "mirror"};

const char *const switch_drop_names[DROP_REASONS] = {
    [DROP_NONE] = "none",           [DROP_RUNT] = "runt",
    [DROP_OVERSIZE] = "oversize",   [DROP_SOURCE] = "bad-source",
    [DROP_RESERVED] = "reserved",   [DROP_VLAN] = "vlan",
    [DROP_FORGED] = "forged",       [DROP_MAC_CHANGE] = "mac-change",
    [DROP_STORM] = "storm",         [DROP_DHCP] = "dhcp-guard",
    [DROP_ROUTER] = "router-guard", [DROP_STANDBY] = "standby",
    [DROP_REFLECTED] = "reflected", [DROP_SHAPED] = "shaped",
    [DROP_LOST] = "lost",           [DROP_DOWN] = "link-down",
    [DROP_NOWHERE] = "nowhere",     [DROP_OFFLOAD] = "bad-offload",
    [DROP_NO_BUFFER] = "no-buffer",
};

/* A station that moved from a guest's port to the outside within this time and is heard in a group
 * frame did not move: that is the guest's own frame, which the network outside sent back. */
#define REFLECTION_TICKS MAC_TABLE_TICK(2000000000ull)

void switch_tell(struct net_switch *sw, enum switch_event e, const struct switch_port *p)
{
    if (sw->event)
        sw->event(sw->event_owner, e, p);
}

void switch_drop_one(struct net_switch *sw, struct switch_port *p, enum switch_drop why)
{
    bool first = !p->counters.drop[why]++;

    if (first && why == DROP_FORGED)
        switch_tell(sw, SWITCH_FORGED, p);
    else if (first && why == DROP_STORM)
        switch_tell(sw, SWITCH_STORM, p);
}

void switch_refuse(struct net_switch *sw, u32 port, enum switch_drop why)
{
    switch_drop_one(sw, sw->ports[port], why);
}

/* 01-80-C2-00-00-00 to 0F, and 01-00-0C-CC-CC-CC and CD (CDP, PVST+). */
static bool is_reserved(u64 dst)
{
    return (dst & ~0xfull) == 0x0180c2000000ull || (dst & ~1ull) == 0x01000cccccccull;
}

/* Before VLAN and address: is it a frame at all, and one to be forwarded? */
static enum switch_drop check_frame(struct net_switch *sw, struct switch_port *in,
                                    struct net_frame *f, u64 now)
{
    u32 longest = f->gso_type ? (u32)f->header_len + f->gso_size : f->len;
    u64 src;

    if (!portset_has(&sw->up, in->index))
        return DROP_DOWN;
    if (!frame_parse(f))
        return DROP_RUNT;
    if (longest - f->network > sw->mtu || f->len > FRAME_MAX)
        return longest < f->network ? DROP_RUNT : DROP_OVERSIZE;
    src = frame_src(f);
    if (frame_mac_is_group(src) || !src)
        return DROP_SOURCE;
    if (frame_mac_is_group(frame_dst(f)) && is_reserved(frame_dst(f))) {
        if (in->type == PORT_UPLINK)
            switch_control_frame(sw, in, f, now);
        return DROP_RESERVED;
    }
    return DROP_NONE;
}

/* What a guest or kernel interface may not send. */
static enum switch_drop check_guest(const struct switch_port *in, const struct net_frame *f)
{
    bool own = frame_src(f) == in->source || policy_accepts(&in->effective, POLICY_FORGED);

    if (!own || in->type == PORT_MIRROR) /* which only listens */
        return DROP_FORGED;
    if (!policy_accepts(&in->effective, POLICY_DHCP_SERVER) && policy_from_dhcp_server(f))
        return DROP_DHCP;
    if (!policy_accepts(&in->effective, POLICY_ROUTER) && policy_from_router(f))
        return DROP_ROUTER;
    return DROP_NONE;
}

static enum switch_drop learn(struct net_switch *sw, struct switch_port *in,
                              const struct net_frame *f, u32 tick)
{
    u64 src = frame_src(f), key = mac_table_key(src, VLAN_VID(f->vlan_tci));
    bool uplink = in->type == PORT_UPLINK;
    const struct mac_entry *e;
    u64 full = sw->macs.full;

    if (sw->any_trunk_guest) {
        e = mac_table_find(&sw->macs, mac_table_key(src, MAC_TABLE_ANY_VLAN), tick);
        if (e && e->port != in->index)
            return uplink ? DROP_REFLECTED : DROP_FORGED;
    }
    if (uplink && frame_mac_is_group(frame_dst(f)) && sw->team.count > 1) {
        e = mac_table_find(&sw->macs, key, tick);
        if (e && e->kind == MAC_LEARNED && sw->ports[e->port]->type != PORT_UPLINK &&
            tick - e->seen <= REFLECTION_TICKS)
            return DROP_REFLECTED;
    }
    e = mac_table_learn(&sw->macs, key, in->index, tick, in->mac_limit);
    if (e && e->kind != MAC_LEARNED && e->port != in->index &&
        !(uplink && sw->ports[e->port]->type == PORT_UPLINK))
        return uplink ? DROP_REFLECTED : DROP_FORGED;
    if (sw->macs.full != full && !sw->told_full) {
        sw->told_full = true;
        switch_tell(sw, SWITCH_MAC_FULL, in);
    }
    return DROP_NONE;
}

static const struct mac_entry *lookup(const struct net_switch *sw, const struct net_frame *f,
                                      u32 tick)
{
    u64 dst = frame_dst(f);
    u32 vlan = VLAN_VID(f->vlan_tci);
    const struct mac_entry *e = mac_table_find(&sw->macs, mac_table_key(dst, vlan), tick);

    if (!e && __builtin_expect(sw->any_trunk_guest, 0)) {
        e = mac_table_find(&sw->macs, mac_table_key(dst, MAC_TABLE_ANY_VLAN), tick);
        if (e && !vlan_member(&sw->ports[e->port]->vlan, vlan))
            e = NULL;
    }
    return e;
}

/* The uplink at which a guest's port, or the station `mac` behind it, is reached. */
static u16 pinned(const struct net_switch *sw, const struct switch_port *p, u64 mac)
{
    return team_pick(&sw->team, sw->team.policy == TEAM_SRCPORT ? p->index : team_hash_mac(mac));
}

static void add_uplink(const struct net_switch *sw, const struct switch_port *in,
                       const struct net_frame *f, struct portset *out)
{
    u16 port;

    if (in->type == PORT_UPLINK)
        return; /* never from one uplink to another: no loop can be made through us */
    port = team_pick(&sw->team, team_hash(&sw->team, f, in->index));
    if (port != TEAM_NONE && portset_has(&sw->up, port) &&
        vlan_member(&sw->ports[port]->vlan, VLAN_VID(f->vlan_tci)))
        portset_add(out, port);
}

/* Which ports are asked when nobody or everybody is meant. */
enum audience { ALL, UNKNOWN, PROMISCUOUS };

static void flood(const struct net_switch *sw, const struct switch_port *in,
                  const struct net_frame *f, enum audience to, struct portset *out)
{
    u32 vlan = VLAN_VID(f->vlan_tci);
    bool pins = in->type == PORT_UPLINK && team_pins(&sw->team) && to != PROMISCUOUS;
    const struct portset *from = to == PROMISCUOUS ? &sw->promiscuous : &sw->up;

    portset_each(i, from)
    {
        const struct switch_port *p = sw->ports[i];

        if (p->type == PORT_UPLINK || p->type == PORT_MIRROR || !vlan_member(&p->vlan, vlan))
            continue;
        if (to == UNKNOWN && !p->takes_unknown)
            continue;
        if (pins && pinned(sw, p, p->mac_now) != in->index)
            continue;
        portset_add(out, i);
    }
    if (to != PROMISCUOUS)
        add_uplink(sw, in, f, out);
}

static void keep_only(struct portset *s, const struct portset *which)
{
    for (u32 i = 0; i < PORTSET_WORDS; i++)
        s->word[i] &= which->word[i];
}

static void route_group(struct net_switch *sw, struct switch_port *in, const struct net_frame *f,
                        struct portset *out)
{
    struct portset wanted;
    enum snoop_kind kind = SNOOP_DATA;
    bool limit = false;

    flood(sw, in, f, ALL, out);
    if (!sw->snooping || frame_dst(f) == FRAME_BROADCAST)
        return;
    kind = snoop_input(&sw->snoop, f, in->index, in->type != PORT_UPLINK && !in->takes_unknown);
    if (kind == SNOOP_DATA) {
        limit = snoop_lookup(&sw->snoop, f, &wanted);
    } else if (kind == SNOOP_REPORT) {
        snoop_routers(&sw->snoop, f, &wanted);
        limit = true;
    }
    if (!limit)
        return;
    /* What is wanted behind one uplink goes out at the one that the team chose; and routers may
     * be outside without having asked yet. */
    bool outside = kind == SNOOP_REPORT;
    portset_each(i, &sw->uplinks) outside |= portset_has(&wanted, i);
    if (outside)
        portset_or(&wanted, &sw->uplinks);
    portset_or(&wanted, &sw->promiscuous);
    keep_only(out, &wanted);
}

static enum switch_drop route_single(struct net_switch *sw, struct switch_port *in,
                                     const struct net_frame *f, u64 now, struct portset *out)
{
    const struct mac_entry *e = lookup(sw, f, MAC_TABLE_TICK(now));

    if (__builtin_expect(!e, 0)) {
        if (!storm_admit(&in->storm[STORM_UNKNOWN], now))
            return DROP_STORM;
        sw->flooded++;
        flood(sw, in, f, UNKNOWN, out);
        return DROP_NONE;
    }
    const struct switch_port *to = sw->ports[e->port];
    if (to->type == PORT_UPLINK) {
        add_uplink(sw, in, f, out);
    } else {
        if (in->type == PORT_UPLINK && team_pins(&sw->team) &&
            pinned(sw, to, frame_dst(f)) != in->index)
            return DROP_STANDBY;
        if (portset_has(&sw->up, to->index) && vlan_member(&to->vlan, VLAN_VID(f->vlan_tci)))
            portset_add(out, to->index);
    }
    if (!portset_empty(&sw->promiscuous))
        flood(sw, in, f, PROMISCUOUS, out);
    return DROP_NONE;
}

enum switch_drop switch_route(struct net_switch *sw, struct switch_port *in, struct net_frame *f,
                              u64 now, struct portset *out)
{
    enum switch_drop why = check_frame(sw, in, f, now);
    bool group;

    memset(out, 0, sizeof(*out));
    if (why)
        return why;
    if (!vlan_ingress(&in->vlan, f))
        return DROP_VLAN;
    if (in->type == PORT_UPLINK) {
        if (!team_accepts(&sw->team, in->index))
            return DROP_STANDBY;
    } else if ((why = check_guest(in, f))) {
        return why;
    }
    group = frame_mac_is_group(frame_dst(f));
    if (group &&
        !storm_admit(
            &in->storm[frame_dst(f) == FRAME_BROADCAST ? STORM_BROADCAST : STORM_MULTICAST], now))
        return DROP_STORM;
    if (in->learns && (why = learn(sw, in, f, MAC_TABLE_TICK(now))))
        return why;
    if (group)
        route_group(sw, in, f, out);
    else if ((why = route_single(sw, in, f, now, out)))
        return why;
    portset_remove(out, in->index);
    if (in->isolated) {
        for (u32 i = 0; i < PORTSET_WORDS; i++)
            out->word[i] &= ~sw->isolated.word[i];
    }
    return portset_empty(out) ? DROP_NOWHERE : DROP_NONE;
}

static void count_in(struct switch_counters *c, const struct net_frame *f)
{
    c->in_frames++;
    c->in_bytes += f->len;
    if (__builtin_expect(!frame_mac_is_group(frame_dst(f)), 1))
        return;
    if (frame_dst(f) == FRAME_BROADCAST)
        c->in_broadcast++;
    else
        c->in_multicast++;
}

static void count_out(struct switch_counters *c, const struct net_frame *f, u16 tag)
{
    c->out_frames++;
    c->out_bytes += frame_out_len(f, tag);
    if (__builtin_expect(!frame_mac_is_group(frame_dst(f)), 1))
        return;
    if (frame_dst(f) == FRAME_BROADCAST)
        c->out_broadcast++;
    else
        c->out_multicast++;
}

static inline void tap(struct net_switch *sw, const struct switch_port *p, bool out,
                       const struct net_frame *f, u16 tag)
{
    if (__builtin_expect(out ? sw->tap.out : sw->tap.in, 0) &&
        portset_has(&sw->tap.ports, p->index))
        sw->tap.frame(sw->tap.owner, p, out, f, tag, sw->now);
}

/* Whether and how port `p` sends the frame; counts it. */
static bool egress(struct net_switch *sw, struct switch_port *p, const struct net_frame *f,
                   u16 *tag)
{
    if (__builtin_expect(p->type == PORT_MIRROR, 0)) {
        *tag = f->vlan_tci ? f->vlan_tci : FRAME_UNTAGGED; /* shows the VLAN it was in */
    } else if (!vlan_egress(&p->vlan, f, tag)) {
        switch_drop_one(sw, p, DROP_VLAN);
        return false;
    } else if (__builtin_expect(p->blocked, 0)) {
        switch_drop_one(sw, p, DROP_MAC_CHANGE);
        return false;
    }
    if (__builtin_expect(p->slow_out, 0) && !switch_slow_pass(sw, p, f, *tag, true))
        return false;
    count_out(&p->counters, f, *tag);
    tap(sw, p, true, f, *tag);
    return true;
}

static void send_one(struct switch_port *p, const struct net_frame *f, u16 tag)
{
    struct switch_item item = {f, tag};

    p->ops->deliver(p->owner, &item, 1);
}

void switch_go_out(struct net_switch *sw, struct switch_port *p, const struct net_frame *f, u16 tag)
{
    count_out(&p->counters, f, tag);
    tap(sw, p, true, f, tag);
    send_one(p, f, tag);
}

void switch_send(struct net_switch *sw, struct switch_port *p, const u8 *data, u32 len, u16 vlan)
{
    struct net_frame f = {.data = data, .len = len};
    u16 tag;

    if (!p->up || !frame_parse(&f))
        return;
    f.vlan_tci = vlan;
    if (!vlan_egress(&p->vlan, &f, &tag))
        return;
    switch_go_out(sw, p, &f, tag);
}

static void add_mirrors(const struct net_switch *sw, const struct switch_port *in,
                        struct portset *out)
{
    struct portset mirrors = {0};

    if (in->mirror_in && in->mirror_to != SWITCH_NO_PORT)
        portset_add(&mirrors, in->mirror_to);
    portset_each(i, out)
    {
        const struct switch_port *p = sw->ports[i];
        if (p->mirror_out && p->mirror_to != SWITCH_NO_PORT)
            portset_add(&mirrors, p->mirror_to);
    }
    keep_only(&mirrors, &sw->up);
    portset_or(out, &mirrors);
}

/* Hands each port its frames of the batch together. */
static void deliver(struct net_switch *sw, const struct net_frame *frames,
                    const struct portset *out, u32 count, const struct portset *any)
{
    struct switch_item items[SWITCH_BATCH];

    portset_each(port, any)
    {
        struct switch_port *p = sw->ports[port];
        u32 n = 0;

        for (u32 i = 0; i < count; i++) {
            if (!portset_has(&out[i], port))
                continue;
            items[n].frame = &frames[i];
            n += egress(sw, p, &frames[i], &items[n].tag);
        }
        if (n)
            p->ops->deliver(p->owner, items, n);
    }
}

/* Frames of one flow come one behind the other.  After a frame for one known station, which was not
 * sent to an uplink, the next with the same header goes where that one went: nothing but its length
 * and what a policy looks for in its contents can matter. */
static bool may_lead(const struct net_switch *sw, const struct net_frame *f,
                     const struct portset *out, u64 flooded)
{
    return !portset_meet(out, &sw->uplinks) && sw->flooded == flooded &&
           f->network == FRAME_HEADER && !f->inner_tag && !frame_mac_is_group(frame_dst(f));
}

static bool follows(const struct net_switch *sw, const struct switch_port *in,
                    const struct net_frame *first, struct net_frame *f)
{
    if (f->len < FRAME_HEADER || f->len - FRAME_HEADER > sw->mtu || f->gso_type ||
        memcmp(f->data, first->data, FRAME_HEADER) != 0)
        return false;
    f->type = first->type;
    f->network = first->network;
    f->tci = 0;
    f->tagged = f->inner_tag = 0;
    f->vlan_tci = first->vlan_tci;
    return in->type == PORT_UPLINK || !check_guest(in, f);
}

void switch_forward(struct net_switch *sw, struct switch_port *in, struct net_frame *frames,
                    u32 count, u64 now)
{
    struct portset out[SWITCH_BATCH], any = {0};
    bool leads = false;

    for (u32 i = 0; i < count; i++) {
        if (leads && follows(sw, in, &frames[i - 1], &frames[i])) {
            out[i] = out[i - 1];
            continue; /* whose ports are in `any` */
        }
        u64 flooded = sw->flooded;
        enum switch_drop why = switch_route(sw, in, &frames[i], now, &out[i]);

        leads = !why && may_lead(sw, &frames[i], &out[i], flooded);
        if (why) {
            memset(&out[i], 0, sizeof(out[i]));
            switch_drop_one(sw, in, why);
        }
        if (__builtin_expect(sw->any_mirror, 0) && (!why || why == DROP_NOWHERE))
            add_mirrors(sw, in, &out[i]);
        portset_or(&any, &out[i]);
    }
    deliver(sw, frames, out, count, &any);
}

void switch_input(struct net_switch *sw, u32 port, struct net_frame *frames, u32 count, u64 now)
{
    struct switch_port *in = sw->ports[port];

    sw->now = MAX(sw->now, now);
    for (u32 i = 0; i < count; i++) {
        if (frames[i].len >= FRAME_HEADER) {
            count_in(&in->counters, &frames[i]);
            if (__builtin_expect(sw->tap.in, 0) && frame_parse(&frames[i]))
                tap(sw, in, false, &frames[i], frames[i].tagged ? frames[i].tci : FRAME_UNTAGGED);
        }
    }
    if (__builtin_expect(in->slow_in, 0)) {
        for (u32 i = 0; i < count; i++) {
            if (switch_slow_pass(sw, in, &frames[i], FRAME_UNTAGGED, false))
                switch_forward(sw, in, &frames[i], 1, sw->now);
        }
        return;
    }
    for (u32 i = 0; i < count; i += SWITCH_BATCH)
        switch_forward(sw, in, frames + i, MIN(count - i, SWITCH_BATCH), sw->now);
}

void switch_release(struct net_switch *sw, struct switch_port *p, u64 now)
{
    struct net_frame f;
    u16 tag;

    while (delay_peek(&p->delay_in, now, &f, &tag)) {
        switch_forward(sw, p, &f, 1, now);
        delay_drop(&p->delay_in);
    }
    while (delay_peek(&p->delay_out, now, &f, &tag)) {
        if (p->up)
            switch_go_out(sw, p, &f, tag);
        delay_drop(&p->delay_out);
    }
}
