/* Which ports want which multicast groups, learned from IGMP and MLD (RFC 4541).
 *
 * Pure, no allocation.  A membership is forgotten when it was not confirmed for one to two
 * turns of SNOOP_TURN_NS; reports set a bit in the current turn's set. */
#pragma once

#include "net/frame.h"
#include "net/portset.h"

#define SNOOP_GROUPS 256u
#define SNOOP_TURN_NS 260000000000ull /* RFC 3376 section 8.4: group membership interval */

struct snoop_group {
    u64 key; /* VLAN << 48 | group address, 0: free; in buckets of eight */
    struct portset now, before;
};

struct snoop {
    struct snoop_group groups[SNOOP_GROUPS];
    u64 turn_at;
    u64 full; /* groups that found no place this turn: all are flooded */
};

enum snoop_kind {
    SNOOP_DATA,   /* no message of IGMP or MLD */
    SNOOP_QUERY,  /* to all ports */
    SNOOP_REPORT, /* to routers only, so that hosts do not suppress their own */
};

/* Reads a group-addressed frame from `port`.  `single`: nobody else is behind that port, so a
 * leave takes effect at once. */
enum snoop_kind snoop_input(struct snoop *s, const struct net_frame *f, u32 port, bool single);

/* The ports that want this group: false = nobody knows, flood.  The set is members and routers. */
bool snoop_lookup(const struct snoop *s, const struct net_frame *f, struct portset *out);
void snoop_routers(const struct snoop *s, const struct net_frame *f, struct portset *out);

void snoop_forget_port(struct snoop *s, u32 port);
void snoop_tick(struct snoop *s, u64 now);
