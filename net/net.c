/* Drives switches, kernel interfaces and lwIP; called at start and by the event loop. */
#include "net/net.h"

#include "control/rt/clock.h"
#include "control/rt/log.h"
#include "control/rt/loop.h"
#include "control/rt/random.h"
#include "net/kif.h"
#include "net/stack.h"
#include "net/switches.h"

static struct loop_timer timer;
static bool woken;
static bool moved; /* to another uplink: what kernel interfaces announce is due */

/* What an administrator should know without asking. */
static void on_event(void *owner, enum switch_event e, const struct switch_port *p)
{
    const struct net_switch *sw = owner;
    const char *name = p ? p->name : "?";

    switch (e) {
    case SWITCH_LINK_UP:
    case SWITCH_LINK_DOWN:
        log_notice("%s: link of %s is %s", sw->name, name, e == SWITCH_LINK_UP ? "up" : "down");
        break;
    case SWITCH_FAILOVER:
        log_notice("%s: uplink %s %s", sw->name, name,
                   team_accepts(&sw->team, p->index) ? "carries frames" : "carries no frames");
        moved = true;
        net_wake(); /* not from here: the switch is about to announce by itself */
        break;
    case SWITCH_FORGED:
        log_notice("%s: %s sends from an address that is not its own; such frames are dropped",
                   sw->name, name);
        break;
    case SWITCH_STORM:
        log_notice("%s: %s is over its storm limit", sw->name, name);
        break;
    case SWITCH_MAC_FULL:
        log_notice("%s: no room for more addresses; frames to unknown ones go everywhere",
                   sw->name);
        break;
    case SWITCH_NEIGHBOUR:
        log_info("%s: a neighbour came or went at %s", sw->name, name);
        break;
    }
}

static void pump(void *owner)
{
    u64 now = clock_ns(), next;
    bool more;

    (void)owner;
    woken = false;
    next = switches_poll(now);
    next = next > now ? next - now : 0;
    if (moved)
        kif_announce();
    moved = false;
    more = kif_run();
    /* lwIP's own timers are a tenth of a second apart, so they run only when it is used. */
    if (kif_first())
        next = MIN(next, stack_poll());
    if (more)
        net_wake();
    else if (!woken && next < ~0ull / 2)
        loop_timer_set(&timer, clock_after(next));
}

void net_wake(void)
{
    if (woken)
        return;
    woken = true;
    loop_timer_set(&timer, clock_tsc());
}

void net_init(void)
{
    timer.fn = pump;
    kif_wake = net_wake;
    switches_init(random_u64());
    switches_tell(on_event);
    stack_init();
}
