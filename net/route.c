/* Static routes; called by the shell and by lwIP. */
#include "net/route.h"

static struct route routes[ROUTE_MAX];
static u32 count;

const struct route *route_at(u32 i)
{
    return i < count ? &routes[i] : NULL;
}

static bool is(const struct route *r, ip4_addr_t network, ip4_addr_t mask)
{
    return r->network.addr == network.addr && r->mask.addr == mask.addr;
}

static struct netif *reaches(const ip4_addr_t *to)
{
    struct netif *n;

    NETIF_FOREACH(n)
    {
        if (netif_is_up(n) && netif_is_link_up(n) && netif_ip4_addr(n)->addr &&
            ip4_addr_net_eq(to, netif_ip4_addr(n), netif_ip4_netmask(n)))
            return n;
    }
    return NULL;
}

enum hv_status route_add(ip4_addr_t network, ip4_addr_t mask, ip4_addr_t gateway)
{
    struct netif *n = reaches(&gateway);

    network.addr &= mask.addr;
    if (!n)
        return HV_ENOENT;
    for (u32 i = 0; i < count; i++) {
        if (is(&routes[i], network, mask))
            return HV_EEXIST;
    }
    if (count == ROUTE_MAX)
        return HV_E2BIG;
    routes[count++] = (struct route){network, mask, gateway, n};
    return HV_OK;
}

static void drop(u32 i)
{
    for (count--; i < count; i++)
        routes[i] = routes[i + 1];
}

enum hv_status route_remove(ip4_addr_t network, ip4_addr_t mask)
{
    network.addr &= mask.addr;
    for (u32 i = 0; i < count; i++) {
        if (is(&routes[i], network, mask)) {
            drop(i);
            return HV_OK;
        }
    }
    return HV_ENOENT;
}

void route_forget(struct netif *n)
{
    for (u32 i = count; i-- > 0;) {
        if (routes[i].netif == n)
            drop(i);
    }
}

/* The most specific static route. */
static const struct route *match(const ip4_addr_t *to)
{
    const struct route *best = NULL;

    for (u32 i = 0; i < count; i++) {
        const struct route *r = &routes[i];

        if ((to->addr & r->mask.addr) == r->network.addr &&
            (!best || lwip_ntohl(r->mask.addr) > lwip_ntohl(best->mask.addr)))
            best = r;
    }
    return best;
}

struct netif *route_find(const ip4_addr_t *from, const ip4_addr_t *to)
{
    struct netif *n;
    const struct route *r;

    if (from && from->addr && !ip4_addr_ismulticast(to)) {
        NETIF_FOREACH(n)
        {
            if (netif_is_up(n) && netif_ip4_addr(n)->addr == from->addr)
                return n;
        }
    }
    if (reaches(to))
        return NULL; /* lwIP finds it itself */
    r = match(to);
    return r ? r->netif : NULL;
}

const ip4_addr_t *route_gateway(struct netif *n, const ip4_addr_t *to)
{
    const struct route *r = match(to);

    return r && r->netif == n ? &r->gateway : NULL;
}
