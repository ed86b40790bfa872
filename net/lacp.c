/* LACP machines; called by net/team.c.  Names of timers and conditions are those of IEEE
 * 802.1AX-2014 clause 6.4.4 to 6.4.16. */
#include "net/lacp.h"

#include <string.h>

#include "net/frame.h"

#define SECOND 1000000000ull
#define FAST_PERIODIC SECOND
#define SLOW_PERIODIC (30 * SECOND)
#define SHORT_TIMEOUT (3 * SECOND)
#define LONG_TIMEOUT (90 * SECOND)
#define AGGREGATE_WAIT (2 * SECOND)

enum { SUBTYPE_LACP = 1, SUBTYPE_MARKER = 2 };
enum { ACTOR_TLV = 16, PARTNER_TLV = 36, COLLECTOR_TLV = 56, TLV_BODY = 2 };

void lacp_init(struct lacp_port *p, const struct lacp_settings *s, u16 port_number,
               void (*send)(void *owner, const u8 *frame, u32 len), void *owner)
{
    *p = (struct lacp_port){.send = send, .owner = owner};
    p->actor = (struct lacp_info){
        .system_priority = s->system_priority,
        .system = s->system,
        .key = s->key,
        .port_priority = 255,
        .port = port_number,
        .state = (u8)(LACP_AGGREGATION | LACP_DEFAULTED | (s->active ? LACP_ACTIVITY : 0) |
                      (s->fast ? LACP_TIMEOUT : 0)),
    };
    p->current_at = p->periodic_at = p->wait_at = LACP_NEVER;
}

static void set_state(struct lacp_port *p, u32 bits, bool on)
{
    p->actor.state = (u8)(on ? p->actor.state | bits : p->actor.state & ~bits);
}

/* The administrative values of a partner that says nothing: an individual link, kept in sync,
 * slow timeouts (6.4.8, recordDefault). */
static void record_default(struct lacp_port *p)
{
    struct lacp_info none = {.state = LACP_SYNC | LACP_COLLECTING | LACP_DISTRIBUTING};

    if (memcmp(&p->partner.system, &none.system, sizeof(none.system)) || p->partner.key)
        p->chosen = false;
    p->partner = none;
    set_state(p, LACP_DEFAULTED, true);
}

static void expire(struct lacp_port *p, u64 now)
{
    p->rx = LACP_RX_EXPIRED;
    p->partner.state = (u8)((p->partner.state & ~LACP_SYNC) | LACP_TIMEOUT);
    p->current_at = now + SHORT_TIMEOUT;
    set_state(p, LACP_EXPIRED, true);
}

void lacp_enable(struct lacp_port *p, bool enabled, u64 now)
{
    if (p->enabled == enabled)
        return;
    p->enabled = enabled;
    if (enabled) {
        expire(p, now);
        p->ntt = p->actor.state & LACP_ACTIVITY;
        return;
    }
    p->rx = LACP_RX_DISABLED;
    p->partner.state &= (u8)~LACP_SYNC;
    p->chosen = p->selected = false;
    p->current_at = p->periodic_at = LACP_NEVER;
}

static void get_info(struct lacp_info *i, const u8 *at)
{
    *i = (struct lacp_info){
        .system_priority = frame_be16(at),
        .system = frame_mac(at + 2),
        .key = frame_be16(at + 8),
        .port_priority = frame_be16(at + 10),
        .port = frame_be16(at + 12),
        .state = at[14],
    };
}

static void put_info(u8 *at, u8 type, const struct lacp_info *i)
{
    at[0] = type;
    at[1] = 20;
    frame_put16(at + 2, i->system_priority);
    frame_put16(at + 4, (u32)(i->system >> 32));
    frame_put32(at + 6, (u32)i->system);
    frame_put16(at + 10, i->key);
    frame_put16(at + 12, i->port_priority);
    frame_put16(at + 14, i->port);
    at[16] = i->state;
}

static bool same_link(const struct lacp_info *a, const struct lacp_info *b)
{
    return a->system_priority == b->system_priority && a->system == b->system && a->key == b->key &&
           a->port_priority == b->port_priority && a->port == b->port &&
           !((a->state ^ b->state) & LACP_AGGREGATION);
}

/* A LACPDU: updateSelected, updateNTT, recordPDU (6.4.9). */
static void record(struct lacp_port *p, const struct lacp_info *theirs,
                   const struct lacp_info *ours, u64 now)
{
    u32 shown = LACP_ACTIVITY | LACP_TIMEOUT | LACP_SYNC | LACP_AGGREGATION;
    bool matches = same_link(ours, &p->actor), in_sync;

    if (!same_link(theirs, &p->partner))
        p->chosen = false;
    if (!matches || ((ours->state ^ p->actor.state) & shown))
        p->ntt = true;
    in_sync = theirs->state & LACP_SYNC && (matches || !(theirs->state & LACP_AGGREGATION)) &&
              (theirs->state & LACP_ACTIVITY ||
               (p->actor.state & LACP_ACTIVITY && ours->state & LACP_ACTIVITY));
    p->partner = *theirs;
    if (!in_sync)
        p->partner.state &= (u8)~LACP_SYNC;
    set_state(p, LACP_DEFAULTED | LACP_EXPIRED, false);
    p->rx = LACP_RX_CURRENT;
    p->current_at = now + (p->actor.state & LACP_TIMEOUT ? SHORT_TIMEOUT : LONG_TIMEOUT);
}

/* 6.5.4: a marker is answered with the same bytes as a response. */
static void marker(struct lacp_port *p, const u8 *frame, u32 len)
{
    u8 reply[LACP_FRAME] = {0};

    if (len < 32 || frame[16] != 1) {
        p->rx_bad++;
        return;
    }
    memcpy(reply, frame, MIN(len, LACP_FRAME));
    reply[16] = 2;
    frame_put16(reply + 6, (u32)(p->actor.system >> 32));
    frame_put32(reply + 8, (u32)p->actor.system);
    p->markers++;
    p->send(p->owner, reply, LACP_FRAME);
}

void lacp_receive(struct lacp_port *p, const u8 *frame, u32 len, u64 now)
{
    struct lacp_info theirs, ours;

    if (!p->enabled)
        return;
    if (len >= 16 && frame[14] == SUBTYPE_MARKER) {
        marker(p, frame, len);
        return;
    }
    /* The version is not looked at: later ones keep these places (6.4.2.3). */
    if (len < COLLECTOR_TLV || frame[14] != SUBTYPE_LACP || frame[ACTOR_TLV] != 1 ||
        frame[ACTOR_TLV + 1] != 20 || frame[PARTNER_TLV] != 2 || frame[PARTNER_TLV + 1] != 20) {
        p->rx_bad++;
        return;
    }
    p->rx_pdus++;
    get_info(&theirs, frame + ACTOR_TLV + TLV_BODY);
    get_info(&ours, frame + PARTNER_TLV + TLV_BODY);
    record(p, &theirs, &ours, now);
}

static void run_receive(struct lacp_port *p, u64 now)
{
    if (now < p->current_at)
        return;
    if (p->rx == LACP_RX_CURRENT) {
        expire(p, now);
    } else if (p->rx == LACP_RX_EXPIRED) {
        p->rx = LACP_RX_DEFAULTED;
        p->current_at = LACP_NEVER;
        record_default(p);
        set_state(p, LACP_EXPIRED, false);
    }
}

static void run_periodic(struct lacp_port *p, u64 now)
{
    u64 interval = p->partner.state & LACP_TIMEOUT ? FAST_PERIODIC : SLOW_PERIODIC;

    if (!p->enabled || !((p->actor.state | p->partner.state) & LACP_ACTIVITY)) {
        p->periodic_at = LACP_NEVER;
        return;
    }
    if (p->periodic_at == LACP_NEVER || p->periodic_at > now + interval) {
        p->periodic_at = now + interval; /* from slow to fast: at once (6.4.10) */
    } else if (now >= p->periodic_at) {
        p->ntt = true;
        p->periodic_at = now + interval;
    }
}

static void detach(struct lacp_port *p)
{
    p->mux = LACP_MUX_DETACHED;
    p->wait_at = LACP_NEVER;
    set_state(p, LACP_SYNC | LACP_COLLECTING | LACP_DISTRIBUTING, false);
    p->ntt = true;
}

/* One step of the mux machine (6.4.15, coupled control); true when it changed its state. */
static bool step_mux(struct lacp_port *p, u64 now)
{
    bool wanted = p->selected && p->chosen;

    if (!wanted && p->mux != LACP_MUX_DETACHED) {
        detach(p);
        return true;
    }
    switch (p->mux) {
    case LACP_MUX_DETACHED:
        if (!wanted)
            return false;
        p->mux = LACP_MUX_WAITING;
        p->wait_at = now + AGGREGATE_WAIT;
        return true;
    case LACP_MUX_WAITING:
        if (now < p->wait_at)
            return false;
        p->wait_at = LACP_NEVER;
        p->mux = LACP_MUX_ATTACHED;
        set_state(p, LACP_SYNC, true);
        p->ntt = true;
        return true;
    case LACP_MUX_ATTACHED:
        if (!(p->partner.state & LACP_SYNC))
            return false;
        p->mux = LACP_MUX_DISTRIBUTING;
        set_state(p, LACP_COLLECTING | LACP_DISTRIBUTING, true);
        p->ntt = true;
        return true;
    case LACP_MUX_DISTRIBUTING:
        if (p->partner.state & LACP_SYNC)
            return false;
        p->mux = LACP_MUX_ATTACHED;
        set_state(p, LACP_COLLECTING | LACP_DISTRIBUTING, false);
        p->ntt = true;
        return true;
    }
    return false;
}

static void transmit(struct lacp_port *p, u64 now)
{
    static const u8 head[] = {0x01, 0x80, 0xc2, 0x00, 0x00, 0x02};
    u8 f[LACP_FRAME] = {0};

    if (!p->ntt || !p->enabled || (p->sent_at[0] && now - p->sent_at[0] < FAST_PERIODIC))
        return;
    /* A passive port speaks when it is spoken to. */
    if (!((p->actor.state | p->partner.state) & LACP_ACTIVITY))
        return;
    memcpy(f, head, sizeof(head));
    frame_put16(f + 6, (u32)(p->actor.system >> 32));
    frame_put32(f + 8, (u32)p->actor.system);
    f[11] = (u8)(f[11] ^ p->actor.port); /* the sender's own address, one a link */
    frame_put16(f + 12, ETH_SLOW);
    f[14] = SUBTYPE_LACP;
    f[15] = 1;
    put_info(f + ACTOR_TLV, 1, &p->actor);
    put_info(f + PARTNER_TLV, 2, &p->partner);
    f[COLLECTOR_TLV] = 3;
    f[COLLECTOR_TLV + 1] = 16;
    p->ntt = false;
    p->sent_at[0] = p->sent_at[1];
    p->sent_at[1] = p->sent_at[2];
    p->sent_at[2] = now;
    p->tx_pdus++;
    p->send(p->owner, f, sizeof(f));
}

static bool same_aggregate(const struct lacp_port *a, const struct lacp_port *b)
{
    return a == b || (!(a->actor.state & LACP_DEFAULTED) && !(b->actor.state & LACP_DEFAULTED) &&
                      a->partner.state & LACP_AGGREGATION && b->partner.state & LACP_AGGREGATION &&
                      a->partner.system == b->partner.system && a->partner.key == b->partner.key &&
                      a->partner.system_priority == b->partner.system_priority);
}

/* How good the aggregate around this port is: a partner that speaks, then more links that carry,
 * then more links. */
static u32 worth(struct lacp_port *const ports[], u32 count, const struct lacp_port *of)
{
    u32 value = of->actor.state & LACP_DEFAULTED ? 0 : 1 << 16;

    for (u32 i = 0; i < count; i++) {
        if (ports[i]->enabled && same_aggregate(ports[i], of))
            value += (lacp_carries(ports[i]) ? 1u << 8 : 0) + 1;
    }
    return value;
}

/* 6.4.14: one aggregate for the whole team; the other links stay unselected. */
static void select_ports(struct lacp_port *const ports[], u32 count)
{
    const struct lacp_port *best = NULL;
    u32 best_worth = 0;

    for (u32 i = 0; i < count; i++) {
        const struct lacp_port *p = ports[i];
        bool known = p->rx == LACP_RX_CURRENT || p->rx == LACP_RX_DEFAULTED ||
                     (p->rx == LACP_RX_EXPIRED && p->selected);
        u32 w = known && p->enabled ? worth(ports, count, p) : 0;

        if (w > best_worth) {
            best = p;
            best_worth = w;
        }
    }
    for (u32 i = 0; i < count; i++) {
        struct lacp_port *p = ports[i];
        bool in = best && p->enabled && same_aggregate(p, best);

        if (in && !p->chosen && p->mux == LACP_MUX_DETACHED)
            p->chosen = true;
        p->selected = in;
    }
}

bool lacp_run(struct lacp_port *const ports[], u32 count, u64 now)
{
    bool changed = false;

    for (u32 i = 0; i < count; i++)
        run_receive(ports[i], now);
    select_ports(ports, count);
    for (u32 i = 0; i < count; i++) {
        bool carried = lacp_carries(ports[i]);

        for (u32 step = 0; step < 6 && step_mux(ports[i], now); step++)
            select_ports(ports, count);
        changed |= carried != lacp_carries(ports[i]);
        run_periodic(ports[i], now);
        transmit(ports[i], now);
    }
    return changed;
}

u64 lacp_next(const struct lacp_port *p)
{
    u64 next = MIN(p->current_at, MIN(p->periodic_at, p->wait_at));

    if (p->ntt && p->enabled && (p->actor.state | p->partner.state) & LACP_ACTIVITY)
        next = MIN(next, p->sent_at[0] + FAST_PERIODIC);
    return next;
}
