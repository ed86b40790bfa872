/* links: net/frame.c net/mac_table.c net/vlan.c net/policy.c net/shape.c net/delay.c net/igmp_snoop.c net/lacp.c net/team.c net/discovery.c net/lldp.c net/cdp.c net/switch.c net/switch_slow.c net/switch_port.c net/switch_clock.c net/offload.c net/checksum.c */
/* The switch against a model of it: random topologies, random frames, the same frames must come
 * out at the same ports in the same order.  The model is slow and plain: lists that are searched,
 * one rule after the other; it is one file so that it can be read through against IEEE 802.1Q. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdio.h>
#include <string.h>

#include <cmocka.h>

#include "net/switch.h"

#define PORTS 14
#define STATIONS 4096
#define FRAMES 4096
#define BYTES 1700
#define SECONDS 1000000000ull

struct bytes {
    u32 len;
    u8 at[BYTES];
};
struct log {
    u32 count;
    struct bytes frame[FRAMES];
};

static struct log got[PORTS], expected[PORTS];
static u64 seed;

static u32 pick(u32 below)
{
    return (u32)(shape_random(&seed) >> 33) % below;
}

/* ---- the model ----------------------------------------------------------------------------- */
struct model_port {
    bool used, up, trunk, isolated, promiscuous, mac_changes, forged, mirror_in, mirror_out;
    enum switch_port_type type;
    u16 vlan; /* access or native */
    bool allowed[4096];
    u64 mac, mac_now;
    int mirror_to;
};
struct model_station {
    u64 mac;
    u32 vlan, port;
    u64 seen;
};

static struct model_port ports[PORTS];
static struct model_station stations[STATIONS];
static u32 station_count;
static bool carries[PORTS];
static const u64 age = SWITCH_AGE_NS;

static bool is_guest(u32 p)
{
    return ports[p].type == PORT_VM || ports[p].type == PORT_KIF;
}

static u64 address_of(u32 p)
{
    return ports[p].mac_changes ? ports[p].mac_now : ports[p].mac;
}

static bool in_vlan(u32 p, u32 vlan)
{
    return ports[p].vlan == vlan || (ports[p].trunk && ports[p].allowed[vlan]);
}

/* The guest's port with that address in that VLAN. */
static int owner_of(u64 mac, u32 vlan)
{
    for (u32 p = 0; p < PORTS; p++) {
        if (ports[p].used && is_guest(p) && address_of(p) == mac &&
            (ports[p].trunk || ports[p].vlan == vlan))
            return (int)p;
    }
    return -1;
}

/* Ages are counted in steps of 67 ms. */
static u64 step(u64 ns)
{
    return ns >> 26;
}

static struct model_station *station(u64 mac, u32 vlan, u64 now)
{
    for (u32 i = 0; i < station_count; i++) {
        struct model_station *s = &stations[i];
        if (s->mac == mac && s->vlan == vlan && step(now) - step(s->seen) <= step(age))
            return s;
    }
    return NULL;
}

static void forget(u32 port)
{
    u32 kept = 0;

    for (u32 i = 0; i < station_count; i++) {
        if (stations[i].port != port)
            stations[kept++] = stations[i];
    }
    station_count = kept;
}

static void forget_station(u64 mac, u32 vlan)
{
    for (u32 i = 0; i < station_count; i++) {
        if (stations[i].mac == mac && stations[i].vlan == vlan)
            stations[i--] = stations[--station_count];
    }
}

/* A port was changed: what was learned there is void, and so is what was learned elsewhere about
 * the address that it now has for its own. */
static void restart_port(u32 p)
{
    forget(p);
    if (is_guest(p) && !ports[p].trunk)
        forget_station(address_of(p), ports[p].vlan);
}

static void put_out(u32 p, const u8 *f, u32 len, int tag, u32 strip)
{
    struct log *l = &expected[p];
    struct bytes *b = &l->frame[l->count++];
    u32 at = 12;

    assert_true(l->count < FRAMES);
    memcpy(b->at, f, 12);
    if (tag >= 0) {
        b->at[12] = 0x81;
        b->at[13] = 0;
        b->at[14] = (u8)(tag >> 8);
        b->at[15] = (u8)tag;
        at = 16;
    }
    memcpy(b->at + at, f + 12 + strip, len - 12 - strip);
    b->len = at + len - 12 - strip;
}

struct reading {
    bool good, tagged, inner;
    u32 tci, type_at;
};

static bool tag_type(const u8 *at)
{
    u32 t = at[0] * 256u + at[1];
    return t == 0x8100 || t == 0x88a8 || t == 0x9100;
}

static struct reading read_tags(const u8 *f, u32 len)
{
    struct reading r = {.good = len >= 14, .type_at = 12};

    if (!r.good)
        return r;
    if (f[12] == 0x81 && f[13] == 0) {
        if (len < 18)
            return (struct reading){0};
        r.tagged = true;
        r.tci = f[14] * 256u + f[15];
        r.type_at = 16;
    }
    r.inner = tag_type(f + r.type_at);
    for (int i = 0; i < 2 && tag_type(f + r.type_at) && r.type_at + 6 <= len; i++)
        r.type_at += 4;
    return r;
}

static bool team_pinning(const struct net_switch *sw)
{
    return sw->team.count > 1 &&
           (sw->team.policy == TEAM_SRCPORT || sw->team.policy == TEAM_SRCMAC);
}

/* Which uplink a guest's station is behind, as seen from outside. */
static u32 pin(const struct net_switch *sw, u32 p, u64 mac)
{
    return team_pick(&sw->team, sw->team.policy == TEAM_SRCPORT ? p : team_hash_mac(mac));
}

static void model_egress(u32 p, const u8 *f, u32 len, const struct reading *r, u32 vlan, u32 tci)
{
    const struct model_port *o = &ports[p];
    u32 strip = r->tagged ? 4 : 0;

    if (o->type == PORT_MIRROR) {
        put_out(p, f, len, tci ? (int)tci : -1, strip);
        return;
    }
    if (!o->trunk) {
        if (r->inner || (is_guest(p) && o->mac_now != address_of(p)))
            return;
        put_out(p, f, len, -1, strip);
        return;
    }
    if (is_guest(p) && o->mac_now != address_of(p))
        return;
    if (vlan != o->vlan)
        put_out(p, f, len, (int)tci, strip);
    else if ((r->tagged && r->inner) || (vlan == 0 && tci & 0xf000))
        put_out(p, f, len, (int)tci, strip);
    else
        put_out(p, f, len, -1, strip);
}

static void model_mirrors(u32 in, const bool out[PORTS], const u8 *f, u32 len,
                          const struct reading *r, u32 vlan, u32 tci)
{
    bool to[PORTS] = {0};

    if (ports[in].mirror_in && ports[in].mirror_to >= 0)
        to[ports[in].mirror_to] = true;
    for (u32 p = 0; p < PORTS; p++) {
        if (out[p] && ports[p].mirror_out && ports[p].mirror_to >= 0)
            to[ports[p].mirror_to] = true;
    }
    for (u32 p = 0; p < PORTS; p++) {
        if (to[p] && ports[p].up)
            model_egress(p, f, len, r, vlan, tci);
    }
}

/* Takes note of the source.  False: the frame is to be dropped. */
static bool model_learn(const struct net_switch *sw, u32 in, u64 src, u64 dst, u32 vlan, u64 now)
{
    bool uplink = ports[in].type == PORT_UPLINK;
    struct model_station *s = station(src, vlan, now);
    int owner = owner_of(src, vlan);

    if (!uplink && !ports[in].forged && !ports[in].trunk)
        return true;
    for (u32 p = 0; p < PORTS; p++) {
        if (p != in && ports[p].used && is_guest(p) && ports[p].trunk && address_of(p) == src)
            return false;
    }
    if (uplink && dst >> 40 & 1 && sw->team.count > 1 && s && ports[s->port].type != PORT_UPLINK &&
        owner < 0 && step(now) - step(s->seen) <= step(2 * SECONDS))
        return false;
    if (owner >= 0 && (u32)owner != in && !ports[owner].trunk)
        return false;
    if (owner >= 0 && !ports[owner].trunk)
        return true;
    if (!s) {
        forget_station(src, vlan);
        s = &stations[station_count++];
        assert_true(station_count < STATIONS);
    }
    *s = (struct model_station){src, vlan, in, now};
    return true;
}

static void model_uplink(const struct net_switch *sw, u32 in, const struct net_frame *f, u32 vlan,
                         bool out[PORTS])
{
    u32 p;

    if (ports[in].type == PORT_UPLINK)
        return;
    p = team_pick(&sw->team, team_hash(&sw->team, f, in));
    if (p == TEAM_NONE)
        return;
    assert_true(carries[p] && ports[p].up);
    if (in_vlan(p, vlan))
        out[p] = true;
}

static void model_frame(const struct net_switch *sw, u32 in, const struct bytes *b, u64 now)
{
    const u8 *f = b->at;
    struct reading r = read_tags(f, b->len);
    struct model_port *i = &ports[in];
    bool out[PORTS] = {0}, uplink = i->type == PORT_UPLINK, pins = uplink && team_pinning(sw);
    u32 vlan, tci;
    int target = -1;

    if (!i->up || !r.good || b->len - (r.type_at + 2) > sw->mtu)
        return;
    u64 dst = frame_mac(f), src = frame_mac(f + 6);
    struct net_frame parsed = {.data = f, .len = b->len};
    assert_true(frame_parse(&parsed));
    if (!src || src >> 40 & 1)
        return;
    if ((dst >= 0x0180c2000000 && dst <= 0x0180c200000f) || dst == 0x01000ccccccc ||
        dst == 0x01000ccccccd)
        return;
    vlan = r.tci & 0xfff;
    if (!i->trunk && (vlan || r.inner))
        return;
    if (!vlan) {
        if (i->vlan == VLAN_NONE)
            return;
        vlan = i->vlan;
    } else if (vlan == 4095 || !in_vlan(in, vlan)) {
        return;
    }
    tci = (r.tci & 0xf000) | vlan;
    if (uplink && !carries[in])
        return;
    if (!uplink && src != address_of(in) && !i->forged)
        return;
    if (!model_learn(sw, in, src, dst, vlan, now))
        return;
    if (!(dst >> 40 & 1)) {
        struct model_station *s = station(dst, vlan, now);
        int owner = owner_of(dst, vlan);

        if (s && !(owner >= 0 && !ports[owner].trunk))
            target = (int)s->port;
        else if (owner >= 0 && in_vlan((u32)owner, vlan))
            target = owner;
    }
    if (target >= 0 && ports[target].type == PORT_UPLINK) {
        model_uplink(sw, in, &parsed, vlan, out);
    } else if (target >= 0) {
        if (pins && pin(sw, (u32)target, dst) != in)
            return;
        out[target] = ports[target].up && in_vlan((u32)target, vlan);
    } else {
        model_uplink(sw, in, &parsed, vlan, out);
    }
    for (u32 p = 0; p < PORTS; p++) {
        const struct model_port *o = &ports[p];

        if (!o->used || !is_guest(p) || !o->up || !in_vlan(p, vlan))
            continue;
        if (target >= 0 ? !o->promiscuous : !(dst >> 40 & 1) && !o->promiscuous && !o->forged)
            continue;
        if (target < 0 && pins && pin(sw, p, o->mac_now) != in)
            continue;
        out[p] = true;
    }
    out[in] = false;
    for (u32 p = 0; p < PORTS; p++) {
        if (i->isolated && ports[p].isolated)
            out[p] = false;
    }
    for (u32 p = 0; p < PORTS; p++) {
        if (out[p])
            model_egress(p, f, b->len, &r, vlan, tci);
    }
    model_mirrors(in, out, f, b->len, &r, vlan, tci);
}

/* ---- the same on both sides ---------------------------------------------------------------- */
static void take(void *owner, const struct switch_item *items, u32 count)
{
    struct log *l = owner;

    assert_true(count >= 1 && count <= SWITCH_BATCH);
    for (u32 i = 0; i < count; i++) {
        struct bytes *b = &l->frame[l->count++];
        assert_true(l->count < FRAMES);
        b->len = frame_copy(items[i].frame, items[i].tag, b->at, BYTES);
        assert_int_equal(b->len, frame_out_len(items[i].frame, items[i].tag));
    }
}

static const struct switch_port_ops ops = {.deliver = take};
static const u32 vlans[] = {0, 10, 20, 30, 40};

static void set_vlan(struct net_switch *sw, u32 p)
{
    struct vlan_port v;
    struct model_port *m = &ports[p];

    memset(m->allowed, 0, sizeof(m->allowed));
    m->trunk = m->type == PORT_UPLINK ? pick(8) != 0 : pick(4) == 0;
    m->vlan = (u16)vlans[pick(ARRAY_LEN(vlans))];
    if (!m->trunk) {
        vlan_access(&v, m->vlan);
    } else {
        if (pick(5) == 0)
            m->vlan = VLAN_NONE;
        if (pick(2)) {
            vlan_trunk_all(&v, m->vlan);
            for (u32 i = 1; i <= 4094; i++)
                m->allowed[i] = true;
        } else {
            v = (struct vlan_port){.mode = VLAN_TRUNK, .vlan = m->vlan};
            assert_true(vlan_parse_list(&v, "10,20-30"));
            for (u32 i = 20; i <= 30; i++)
                m->allowed[i] = true;
            m->allowed[10] = true;
        }
    }
    switch_port_set_vlan(sw, p, &v);
    restart_port(p);
}

static void set_policy(struct net_switch *sw, u32 p)
{
    struct policy pol;
    struct model_port *m = &ports[p];

    policy_inherit(&pol);
    m->promiscuous = pick(5) == 0;
    m->mac_changes = pick(3) == 0;
    m->forged = pick(4) == 0;
    pol.choice[POLICY_PROMISCUOUS] = m->promiscuous ? POLICY_ACCEPT : POLICY_INHERIT;
    pol.choice[POLICY_MAC_CHANGES] = m->mac_changes ? POLICY_ACCEPT : POLICY_REJECT;
    pol.choice[POLICY_FORGED] = m->forged ? POLICY_ACCEPT : POLICY_INHERIT;
    switch_set_policy(sw, sw->ports[p], &pol);
    if (!is_guest(p))
        m->promiscuous = m->mac_changes = m->forged = false;
    restart_port(p);
}

static void update_carries(const struct net_switch *sw)
{
    bool one = sw->team.policy == TEAM_ACTIVE_STANDBY, done = false;

    for (u32 k = 0; k < sw->team.count; k++) {
        u32 p = sw->team.links[k].port;
        carries[p] = ports[p].up && !(one && done);
        done |= carries[p];
    }
}

static void add_port(struct net_switch *sw, u32 p)
{
    static const enum switch_port_type types[] = {PORT_VM,  PORT_VM,     PORT_VM,    PORT_VM,
                                                  PORT_KIF, PORT_UPLINK, PORT_MIRROR};
    struct switch_port_config c = {.ops = &ops, .owner = &got[p]};
    struct model_port *m = &ports[p];

    c.type = types[pick(ARRAY_LEN(types))];
    if (c.type == PORT_UPLINK && sw->team.count >= 4)
        c.type = PORT_VM;
    snprintf(c.name, sizeof(c.name), "p%u", p);
    if (c.type == PORT_VM || c.type == PORT_KIF)
        c.mac = 0x064248000100ull + p;
    assert_int_equal(switch_port_add(sw, &c), p);
    *m = (struct model_port){
        .used = true, .up = true, .type = c.type, .mac = c.mac, .mac_now = c.mac, .mirror_to = -1};
    set_policy(sw, p);
    set_vlan(sw, p);
    if (c.type == PORT_UPLINK)
        switch_link(sw, p, true, 0, sw->now);
    update_carries(sw);
}

static void mirror(struct net_switch *sw, u32 p)
{
    u32 to = pick(PORTS);
    bool in = pick(2), out = pick(2);
    bool fine = ports[to].type == PORT_MIRROR && ports[p].type != PORT_MIRROR;

    assert_int_equal(switch_port_mirror(sw, p, (u16)to, in, out), fine ? HV_OK : HV_EINVAL);
    if (fine) {
        ports[p].mirror_to = (int)to;
        ports[p].mirror_in = in;
        ports[p].mirror_out = out;
    }
}

static void guest_mac(struct net_switch *sw, u32 p)
{
    if (!is_guest(p))
        return;
    ports[p].mac_now = pick(2) ? ports[p].mac : 0x064248000200ull + p;
    switch_port_guest_mac(sw, p, ports[p].mac_now);
    restart_port(p);
}

static void change(struct net_switch *sw, u64 *now)
{
    u32 p = pick(PORTS);

    switch (pick(9)) {
    case 0:
        set_vlan(sw, p);
        break;
    case 1:
        set_policy(sw, p);
        break;
    case 2:
        ports[p].up = !ports[p].up;
        switch_link(sw, p, ports[p].up, 0, *now);
        break;
    case 3:
        ports[p].isolated = !ports[p].isolated;
        switch_port_isolate(sw, p, ports[p].isolated);
        break;
    case 4:
        guest_mac(sw, p);
        break;
    case 5:
        switch_set_team(sw, (enum team_policy)pick(TEAM_LACP), true, true, false);
        break;
    case 6:
        mirror(sw, p);
        break;
    case 7:
        *now += (u64)pick(120) * SECONDS;
        break;
    case 8:
        forget(p);
        for (u32 i = 0; i < PORTS; i++) {
            if (ports[i].mirror_to == (int)p)
                ports[i].mirror_to = -1;
        }
        switch_port_remove(sw, p);
        memset(&ports[p], 0, sizeof(ports[p]));
        carries[p] = false;
        update_carries(sw);
        add_port(sw, p);
        break;
    }
    update_carries(sw);
}

static u64 some_address(bool source)
{
    u32 kind = pick(16);

    if (kind < 6)
        return ports[pick(PORTS)].mac;
    if (kind < 8)
        return ports[pick(PORTS)].mac_now;
    if (kind < 13)
        return 0x001122330000ull + pick(12);
    if (source)
        return kind == 13 ? 0 : kind == 14 ? 0x0100deadbeefull : 0x00aabbcc0000ull + pick(200);
    return kind == 13   ? 0x0180c2000000ull + pick(32)
           : kind == 14 ? 0x01005e010203ull
                        : FRAME_BROADCAST;
}

static void some_frame(struct bytes *b, u32 in)
{
    u32 at = 12, tags = pick(8);
    u64 dst = some_address(false), src = pick(3) ? ports[in].mac_now : some_address(true);

    memset(b->at, 0, 64);
    for (u32 i = 0; i < 6; i++) {
        b->at[i] = (u8)(dst >> (40 - 8 * i));
        b->at[6 + i] = (u8)(src >> (40 - 8 * i));
    }
    for (u32 i = 0; i < (tags < 4 ? 0 : tags < 7 ? 1 : 1 + pick(3)); i++) {
        u32 type = pick(10) ? 0x8100 : pick(2) ? 0x88a8 : 0x9100;
        b->at[at] = (u8)(type >> 8);
        b->at[at + 1] = (u8)type;
        u32 tci = pick(4) ? vlans[pick(ARRAY_LEN(vlans))] | pick(16) << 12 : pick(65536);
        b->at[at + 2] = (u8)(tci >> 8);
        b->at[at + 3] = (u8)tci;
        at += 4;
    }
    b->at[at++] = 8;
    b->at[at++] = pick(2) ? 0 : 6;
    for (u32 i = at; i < at + 46; i++)
        b->at[i] = (u8)pick(256);
    b->len = at + 46;
    if (!pick(20))
        b->len = pick(b->len);
    else if (!pick(20))
        b->len = at + 1495 + pick(12);
}

static void show(const char *what, const struct log *l)
{
    for (u32 i = 0; i < l->count; i++) {
        print_error("  %s %4u:", what, l->frame[i].len);
        for (u32 k = 0; k < 30; k++)
            print_error("%s%02x", k == 6 || k == 12 ? " " : "", l->frame[i].at[k]);
        print_error("\n");
    }
}

static void explain(u32 round, u32 p, u32 in)
{
    print_error("round %u, in at %u, out at %u\n", round, in, p);
    for (u32 i = 0; i < PORTS; i++)
        print_error("  port %u: %s up %d trunk %d vlan %u isolated %d promiscuous %d macchange %d "
                    "forged %d carries %d mac %llx now %llx\n",
                    i, switch_type_names[ports[i].type], ports[i].up, ports[i].trunk, ports[i].vlan,
                    ports[i].isolated, ports[i].promiscuous, ports[i].mac_changes, ports[i].forged,
                    carries[i], (unsigned long long)ports[i].mac,
                    (unsigned long long)ports[i].mac_now);
    show("got", &got[p]);
    show("expected", &expected[p]);
}

static void compare(u32 round, u32 in)
{
    for (u32 p = 0; p < PORTS; p++) {
        if (got[p].count != expected[p].count)
            explain(round, p, in);
        assert_int_equal(got[p].count, expected[p].count);
        for (u32 i = 0; i < got[p].count; i++) {
            assert_int_equal(got[p].frame[i].len, expected[p].frame[i].len);
            assert_memory_equal(got[p].frame[i].at, expected[p].frame[i].at, got[p].frame[i].len);
        }
        got[p].count = expected[p].count = 0;
    }
}

/* A link that changes makes the switch announce its guests: those frames are not forwarded ones. */
static void forget_announcements(void)
{
    for (u32 p = 0; p < PORTS; p++)
        got[p].count = 0;
}

static u64 run(u64 with, u32 rounds)
{
    struct switch_config c = {.name = "vsw0", .mac_entries = 65536, .seed = with};
    struct net_switch *sw = switch_create(&c);
    static struct bytes frames[40];
    struct net_frame batch[40];
    u64 now = SECONDS, delivered = 0;

    seed = with;
    sw->snooping = false;
    sw->now = now;
    memset(ports, 0, sizeof(ports));
    memset(carries, 0, sizeof(carries));
    station_count = 0;
    for (u32 p = 0; p < PORTS; p++)
        add_port(sw, p);
    for (u32 r = 0; r < rounds; r++) {
        u32 in = pick(PORTS), count = 1 + pick(40);

        if (!pick(6))
            change(sw, &now);
        forget_announcements();
        now += pick(100000);
        for (u32 i = 0; i < count; i++) {
            some_frame(&frames[i], in);
            batch[i] = (struct net_frame){.data = frames[i].at, .len = frames[i].len};
        }
        /* The model asks the team which link a hash means, so it goes first. */
        for (u32 i = 0; i < count; i++)
            model_frame(sw, in, &frames[i], now);
        for (u32 p = 0; p < PORTS; p++)
            delivered += expected[p].count;
        switch_input(sw, in, batch, count, now);
        compare(r, in);
    }
    switch_destroy(sw);
    return delivered;
}

static void random_topologies(void **state)
{
    u64 delivered = 0;

    (void)state;
    for (u64 s = 1; s <= 200; s++)
        delivered += run(s, 200);
    print_message("%llu frames delivered as the model says\n", (unsigned long long)delivered);
    assert_true(delivered > 100000);
}

int main(void)
{
    const struct CMUnitTest tests[] = {cmocka_unit_test(random_topologies)};

    return cmocka_run_group_tests(tests, NULL, NULL);
}
