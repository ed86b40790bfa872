/* The network of a first boot; called at start, then by drivers/nic.c for each card. */
#include "net/first_boot.h"

#include "control/rt/clock.h"
#include "control/rt/log.h"
#include "control/rt/loop.h"
#include "net/kif.h"
#include "net/net.h"
#include "net/switches.h"
#include "net/uplink.h"

#define PATIENCE (2 * CLOCK_SECOND) /* a card needs so long to find its link */

static struct loop_timer timer;
static bool off;
static void (*made)(void);

/* The same at each start, so that DHCP gives the same address: 06:42:48 and the end of the card's.
 */
static u64 address_beside(const struct nic *n)
{
    u64 mac = 0x064248000000ull | (u64)n->mac[3] << 16 | (u64)n->mac[4] << 8 | n->mac[5];

    return switches_mac_used(mac) ? 0 : mac;
}

static void set_up(const struct nic *n)
{
    struct net_switch *sw;
    struct kif *k;

    if (switches_add("vsw0", n->mtu, &sw) != HV_OK || uplink_add(sw, n->name) != HV_OK ||
        kif_add("k0", sw, address_beside(n), &k) != HV_OK) {
        log_error("the network could not be set up on %s", n->name);
        return;
    }
    kif_set_dhcp(k);
    log_info("k0 on vsw0, uplink %s: asking for an address", n->name);
    net_wake();
    if (made)
        made();
}

static void choose(void *owner)
{
    const struct nic *n = nic_first();

    (void)owner;
    while (n && !n->link_up && n->next)
        n = n->next;
    if (n && !n->link_up)
        n = nic_first();
    if (n && !switches_at(0) && !n->user && !off)
        set_up(n);
}

static void on_card(struct nic *n)
{
    if (switches_at(0) || timer.armed || off)
        return;
    timer.fn = choose;
    loop_timer_set(&timer, n->link_up ? clock_tsc() : clock_after(PATIENCE));
}

void first_boot_undo(void)
{
    struct kif *k = kif_named("k0");
    struct net_switch *sw = k ? k->port->sw : NULL;

    if (!sw)
        return;
    kif_remove(k);
    while (sw->team.count && uplink_remove(sw->ports[sw->team.links[0].port]->name) == HV_OK)
        ;
    (void)switches_remove(sw); /* VMs may have ports there: it stays then */
}

void first_boot_init(void (*when_made)(void))
{
    made = when_made;
    nic_watch(on_card);
}

bool first_boot_enabled(void)
{
    return !off;
}

void first_boot_enable(bool on)
{
    off = !on;
}
