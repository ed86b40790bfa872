/* IGMP and MLD snooping; called by the switch for multicast frames when it is on. */
#include "net/igmp_snoop.h"

#include <string.h>

#include "net/vlan.h"

enum { IP_IGMP = 2, IP_ICMPV6 = 58 };
enum { /* RFC 3376 section 4, RFC 3810 section 5 */
       IGMP_QUERY = 0x11,
       IGMP_REPORT1 = 0x12,
       IGMP_REPORT2 = 0x16,
       IGMP_LEAVE = 0x17,
       IGMP_REPORT3 = 0x22,
       MLD_QUERY = 130,
       MLD_REPORT1 = 131,
       MLD_DONE = 132,
       MLD_REPORT2 = 143,
};
enum { TO_INCLUDE = 3, IS_INCLUDE = 1, BLOCK_OLD = 6 };

#define MAX_RECORDS 64u
#define WAYS 8u
#define ROUTERS 1ull /* in place of an address: the ports behind which someone asks */

static u64 group_key(const struct net_frame *f, u64 mac)
{
    return mac | (u64)VLAN_VID(f->vlan_tci) << 48;
}

static u64 mac_of_ip4(const u8 *ip)
{
    return 0x01005e000000ull | (frame_be32(ip) & 0x7fffff);
}

static u64 mac_of_ip6(const u8 *ip)
{
    return 0x333300000000ull | frame_be32(ip + 12);
}

/* RFC 4541 sections 2.1.2 and 3: these groups are never filtered. */
static bool always_flooded(u64 mac)
{
    return (mac >> 24 == 0x01005e && !(mac & 0x7fff00)) || mac == 0x333300000001ull ||
           (mac >> 24 == 0x3333ff) || (mac >> 24 != 0x01005e && mac >> 32 != 0x3333);
}

/* The group, else a free place for it, else NULL. */
static struct snoop_group *find(const struct snoop *s, u64 key)
{
    u32 bucket = (u32)((key * 0x9e3779b97f4a7c15ull) >> 59); /* of SNOOP_GROUPS / WAYS = 32 */
    struct snoop_group *g = (struct snoop_group *)&s->groups[bucket * WAYS], *empty = NULL;

    for (u32 i = 0; i < WAYS; i++) {
        if (g[i].key == key)
            return &g[i];
        if (!g[i].key && !empty)
            empty = &g[i];
    }
    return empty;
}

static void join(struct snoop *s, u64 key, u32 port)
{
    struct snoop_group *g = find(s, key);

    if (!g) {
        s->full++;
        return;
    }
    g->key = key;
    portset_add(&g->now, port);
}

static void leave(const struct snoop *s, u64 key, u32 port)
{
    struct snoop_group *g = find(s, key);

    if (g && g->key) {
        portset_remove(&g->now, port);
        portset_remove(&g->before, port);
    }
}

static void change(struct snoop *s, u64 key, u32 port, bool leaves, bool single)
{
    if (always_flooded(key & BITS(47, 0)))
        return;
    if (!leaves)
        join(s, key, port);
    else if (single)
        leave(s, key, port);
}

/* Group records of IGMPv3 (RFC 3376 section 4.2.12) and MLDv2 (RFC 3810 section 5.2.12): `address`
 * bytes an address, `at` after the number of records. */
static void records(struct snoop *s, const struct net_frame *f, u32 port, bool single, const u8 *at,
                    u32 len, u32 count, u32 address)
{
    for (u32 i = 0; i < count && i < MAX_RECORDS; i++) {
        if (len < 4 + address)
            return;
        u32 sources = frame_be16(at + 2), size = 4 + address + sources * address + at[1] * 4u;
        u64 mac = address == 4 ? mac_of_ip4(at + 4) : mac_of_ip6(at + 4);
        bool none = (at[0] == TO_INCLUDE || at[0] == IS_INCLUDE) && !sources;

        if (at[0] != BLOCK_OLD)
            change(s, group_key(f, mac), port, none, single);
        if (len < size)
            return;
        at += size;
        len -= size;
    }
}

static enum snoop_kind igmp(struct snoop *s, const struct net_frame *f, const struct frame_ip *ip,
                            u32 port, bool single)
{
    const u8 *m = f->data + ip->offset;

    if (ip->len < 8)
        return SNOOP_DATA;
    switch (m[0]) {
    case IGMP_QUERY:
        join(s, group_key(f, ROUTERS), port);
        return SNOOP_QUERY;
    case IGMP_REPORT1:
    case IGMP_REPORT2:
    case IGMP_LEAVE:
        change(s, group_key(f, mac_of_ip4(m + 4)), port, m[0] == IGMP_LEAVE, single);
        return SNOOP_REPORT;
    case IGMP_REPORT3:
        records(s, f, port, single, m + 8, ip->len - 8, frame_be16(m + 6), 4);
        return SNOOP_REPORT;
    default:
        return SNOOP_DATA;
    }
}

static enum snoop_kind mld(struct snoop *s, const struct net_frame *f, const struct frame_ip *ip,
                           u32 port, bool single)
{
    const u8 *m = f->data + ip->offset;

    if (ip->len < 8)
        return SNOOP_DATA;
    switch (m[0]) {
    case MLD_QUERY:
        join(s, group_key(f, ROUTERS), port);
        return SNOOP_QUERY;
    case MLD_REPORT1:
    case MLD_DONE:
        if (ip->len < 24)
            return SNOOP_DATA;
        change(s, group_key(f, mac_of_ip6(m + 8)), port, m[0] == MLD_DONE, single);
        return SNOOP_REPORT;
    case MLD_REPORT2:
        records(s, f, port, single, m + 8, ip->len - 8, frame_be16(m + 6), 16);
        return SNOOP_REPORT;
    default:
        return SNOOP_DATA;
    }
}

enum snoop_kind snoop_input(struct snoop *s, const struct net_frame *f, u32 port, bool single)
{
    struct frame_ip ip;

    if (!frame_ip(f, &ip))
        return SNOOP_DATA;
    if (ip.version == 4)
        return ip.protocol == IP_IGMP ? igmp(s, f, &ip, port, single) : SNOOP_DATA;
    return ip.protocol == IP_ICMPV6 ? mld(s, f, &ip, port, single) : SNOOP_DATA;
}

static void members(const struct snoop *s, u64 key, struct portset *out)
{
    const struct snoop_group *g = find(s, key);

    if (g && g->key) {
        portset_or(out, &g->now);
        portset_or(out, &g->before);
    }
}

void snoop_routers(const struct snoop *s, const struct net_frame *f, struct portset *out)
{
    memset(out, 0, sizeof(*out));
    members(s, group_key(f, ROUTERS), out);
}

bool snoop_lookup(const struct snoop *s, const struct net_frame *f, struct portset *out)
{
    u64 mac = frame_dst(f);

    snoop_routers(s, f, out);
    /* Without anyone who asks, hosts do not report: nothing is known. */
    if (always_flooded(mac) || portset_empty(out) || s->full)
        return false;
    members(s, group_key(f, mac), out);
    return true;
}

void snoop_forget_port(struct snoop *s, u32 port)
{
    for (u32 i = 0; i < SNOOP_GROUPS; i++) {
        portset_remove(&s->groups[i].now, port);
        portset_remove(&s->groups[i].before, port);
    }
}

void snoop_tick(struct snoop *s, u64 now)
{
    if (!s->turn_at)
        s->turn_at = now + SNOOP_TURN_NS;
    if (now < s->turn_at)
        return;
    s->turn_at = now + SNOOP_TURN_NS;
    s->full = 0;
    for (u32 i = 0; i < SNOOP_GROUPS; i++) {
        struct snoop_group *g = &s->groups[i];

        g->before = g->now;
        memset(&g->now, 0, sizeof(g->now));
        if (portset_empty(&g->before))
            g->key = 0;
    }
}
