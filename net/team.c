/* Teams of uplinks; called by the switch. */
#include "net/team.h"

#include <string.h>

const char *const team_policy_names[TEAM_POLICIES] = {
    [TEAM_ACTIVE_STANDBY] = "active-standby",
    [TEAM_SRCPORT] = "srcport",
    [TEAM_SRCMAC] = "srcmac",
    [TEAM_IPHASH] = "iphash",
    [TEAM_LACP] = "lacp",
};

struct team_link *team_find(struct team *t, u16 port)
{
    for (u32 i = 0; i < t->count; i++) {
        if (t->links[i].port == port)
            return &t->links[i];
    }
    return NULL;
}

bool team_add(struct team *t, u16 port, u32 at)
{
    if (t->count == TEAM_LINKS)
        return false;
    at = MIN(at, t->count);
    memmove(&t->links[at + 1], &t->links[at], (t->count - at) * sizeof(t->links[0]));
    t->links[at] = (struct team_link){.port = port};
    t->count++;
    return true;
}

void team_remove(struct team *t, u16 port)
{
    struct team_link *l = team_find(t, port);

    if (!l)
        return;
    memmove(l, l + 1, (size_t)(&t->links[t->count] - (l + 1)) * sizeof(*l));
    t->count--;
}

static bool works(const struct team *t, const struct team_link *l)
{
    return l->up && (t->policy != TEAM_LACP || lacp_carries(&l->lacp));
}

/* Links that failed once stay out without fail-back, unless nothing else is left. */
static u32 choose(struct team *t, bool use[TEAM_LINKS], bool with_failed)
{
    u32 n = 0;
    bool one = t->policy == TEAM_ACTIVE_STANDBY;

    /* Without fail-back the link that carries now goes before those with preference. */
    for (u32 i = 0; one && !t->failback && i < t->count; i++) {
        if (t->links[i].used && works(t, &t->links[i])) {
            use[i] = true;
            return 1;
        }
    }
    for (u32 i = 0; i < t->count && !(one && n); i++) {
        use[i] = works(t, &t->links[i]) && (with_failed || !t->links[i].failed);
        n += use[i];
    }
    return n;
}

bool team_update(struct team *t)
{
    bool use[TEAM_LINKS] = {0}, changed = false;

    for (u32 i = 0; i < t->count; i++) {
        struct team_link *l = &t->links[i];

        if (t->failback || t->policy == TEAM_LACP)
            l->failed = false;
        else if (l->used && !works(t, l))
            l->failed = true;
    }
    if (!choose(t, use, false))
        choose(t, use, true);
    t->used_count = 0;
    for (u32 i = 0; i < t->count; i++) {
        struct team_link *l = &t->links[i];

        if (l->used && !use[i])
            t->failovers++;
        changed |= l->used != use[i];
        l->used = use[i];
        if (use[i]) {
            l->failed = false;
            t->used[t->used_count++] = (u16)i;
        }
    }
    return changed;
}

void team_set_policy(struct team *t, enum team_policy policy, bool failback)
{
    t->policy = policy;
    t->failback = failback;
    for (u32 i = 0; i < t->count; i++)
        t->links[i].failed = t->links[i].used = false;
}

u32 team_hash_mac(u64 mac)
{
    return (u32)((mac * 0x9e3779b97f4a7c15ull) >> 40);
}

static u32 hash_ip(const struct net_frame *f)
{
    const u8 *h = f->data + f->network;
    u64 mixed = 0;

    if (f->type == ETH_IPV4 && f->len >= f->network + 20u)
        return team_hash_mac(frame_be32(h + 12) ^ frame_be32(h + 16));
    if (f->type == ETH_IPV6 && f->len >= f->network + 40u) {
        for (u32 i = 0; i < 32; i += 4)
            mixed ^= frame_be32(h + 8 + i);
        return team_hash_mac(mixed);
    }
    return team_hash_mac(frame_src(f) ^ frame_dst(f));
}

u32 team_hash(const struct team *t, const struct net_frame *f, u32 in)
{
    switch (t->policy) {
    case TEAM_ACTIVE_STANDBY:
        return 0;
    case TEAM_SRCPORT:
        return in;
    case TEAM_SRCMAC:
        return team_hash_mac(frame_src(f));
    default:
        return hash_ip(f);
    }
}

u16 team_pick(const struct team *t, u32 hash)
{
    if (!t->used_count)
        return TEAM_NONE;
    if (t->used_count == 1)
        return t->links[t->used[0]].port;
    /* A frame moves only when the link that all working would give it does not carry. */
    const struct team_link *l = &t->links[hash % t->count];
    return l->used ? l->port : t->links[t->used[hash % t->used_count]].port;
}

bool team_accepts(const struct team *t, u16 port)
{
    for (u32 i = 0; i < t->used_count; i++) {
        if (t->links[t->used[i]].port == port)
            return true;
    }
    return false;
}
