/* Which port a station is behind: a table of (VLAN, address) of one switch.
 *
 * Pure, no allocation.  Buckets of eight entries, chosen by a keyed hash so that nobody outside
 * can aim at one.  A full bucket gives up its oldest aged entry, else the address isn't learned:
 * its frames are flooded as unknown, and `full` counts. */
#pragma once

#include "net/portset.h"

#define MAC_TABLE_WAYS 8u
#define MAC_TABLE_ANY_VLAN 0xfffu /* of entries for all VLANs of a trunk port; never on a wire */
/* Times are counted in steps of 2^26 ns, 67 ms: 32 bits last nine years. */
#define MAC_TABLE_TICK(ns) ((u32)((ns) >> 26))

enum mac_kind { MAC_FREE, MAC_LEARNED, MAC_STATIC, MAC_OWN }; /* OWN: a port's own address */

struct mac_entry {
    u64 key;  /* mac_table_key(); 0: free */
    u32 seen; /* tick of its last frame */
    u16 port;
    u8 kind, spare;
};

struct mac_table {
    struct mac_entry *entries;
    u32 buckets; /* a power of two */
    u32 age;     /* ticks after which a learned entry is gone */
    u64 seed;
    u32 used;
    u32 by_port[PORTSET_PORTS];     /* learned entries */
    u64 learned, moved, aged, full; /* counters since the beginning */
};

/* Bits 47..0 the address, 59..48 the VLAN, 63 set. */
static inline u64 mac_table_key(u64 mac, u32 vlan)
{
    return mac | (u64)vlan << 48 | BIT(63);
}

/* `entries`: zeroed memory for buckets * MAC_TABLE_WAYS of them. */
void mac_table_init(struct mac_table *t, struct mac_entry *entries, u32 buckets, u64 seed,
                    u64 age_ns);
void mac_table_set_age(struct mac_table *t, u64 age_ns);

/* The entry, NULL when there is none or it has aged. */
struct mac_entry *mac_table_find(const struct mac_table *t, u64 key, u32 tick);

/* Notes that a frame from `key` came in at `port`, which may have `limit` learned entries.  Static
 * and own entries are left alone: the result is then the entry with its own port.  NULL: not
 * stored, since the bucket is full or the port has used up its limit. */
struct mac_entry *mac_table_learn(struct mac_table *t, u64 key, u16 port, u32 tick, u32 limit);

/* Sets a static or own entry, over a learned one.  False: full, or there is one of that kind. */
MUST_CHECK bool mac_table_set(struct mac_table *t, u64 key, u16 port, enum mac_kind kind);
bool mac_table_remove(struct mac_table *t, u64 key); /* any kind; false: there is none */
/* Drops a port's entries of these kinds; bits are BIT(MAC_LEARNED)... */
void mac_table_flush_port(struct mac_table *t, u16 port, u32 kinds);

/* Frees entries that have aged, `count` buckets from a cursor that it moves on; for the clock. */
void mac_table_sweep(struct mac_table *t, u32 *cursor, u32 count, u32 tick);
/* The entry number `i` of the table (0 .. buckets * WAYS - 1), NULL when free or aged. */
const struct mac_entry *mac_table_at(const struct mac_table *t, u32 i, u32 tick);
u32 mac_table_size(const struct mac_table *t);
