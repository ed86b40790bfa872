/* The uplinks of one switch as a team: which of them carry frames, and which takes a given one.
 *
 * Pure.  The order of the links is the order of preference.  LACP's machines are in net/lacp.c. */
#pragma once

#include "net/frame.h"
#include "net/lacp.h"

#define TEAM_LINKS 8u
#define TEAM_NONE 0xffffu

enum team_policy {
    TEAM_ACTIVE_STANDBY, /* the first link that works */
    TEAM_SRCPORT,        /* by the switch port that a frame comes from */
    TEAM_SRCMAC,         /* by source address */
    TEAM_IPHASH,         /* by both IP addresses; the other side has a static aggregate */
    TEAM_LACP,           /* likewise, negotiated */
    TEAM_POLICIES,
};
extern const char *const team_policy_names[TEAM_POLICIES];

struct team_link {
    u16 port;
    bool up;
    bool failed; /* was in use when it went down: without fail-back it waits for its turn */
    bool used;   /* carries frames */
    struct lacp_port lacp;
};

struct team {
    enum team_policy policy;
    bool failback;
    u32 count, used_count;
    struct team_link links[TEAM_LINKS];
    u16 used[TEAM_LINKS]; /* indices into links, in order of preference */
    u64 failovers;
    struct lacp_settings lacp;
};

/* `at`: where in the order, TEAM_LINKS or more for the end.  False: full. */
MUST_CHECK bool team_add(struct team *t, u16 port, u32 at);
void team_remove(struct team *t, u16 port);
struct team_link *team_find(struct team *t, u16 port);

/* Recomputes which links are used after a change; true when that changed. */
bool team_update(struct team *t);
void team_set_policy(struct team *t, enum team_policy policy, bool failback);

/* A number that decides among the used links, by policy; `in`: the port the frame comes from. */
u32 team_hash(const struct team *t, const struct net_frame *f, u32 in);
u32 team_hash_mac(u64 mac);
/* The port that takes a frame with this hash; TEAM_NONE: no link works. */
u16 team_pick(const struct team *t, u32 hash);

/* Whether frames may come in at that link, and whether the team's other end may hand one frame to
 * several links (then the switch takes it only where its receiver is pinned). */
bool team_accepts(const struct team *t, u16 port);
static inline bool team_pins(const struct team *t)
{
    return t->count > 1 && (t->policy == TEAM_SRCPORT || t->policy == TEAM_SRCMAC);
}
