/* Static routes; called by the shell and by lwIP. */
#include "net/route.h"

#include <lwip/nd6.h>
#include <lwip/priv/nd6_priv.h>

#include "net/kif.h"

static struct route routes[ROUTE_MAX];
static u32 count;

const struct route *route_at(u32 i)
{
    return i < count ? &routes[i] : NULL;
}

/* ---- which interface's network ----------------------------------------------------------------
 */
static bool works(struct netif *n)
{
    return netif_is_up(n) && netif_is_link_up(n);
}

static struct netif *reaches4(const ip4_addr_t *to)
{
    struct netif *n;

    NETIF_FOREACH(n)
    {
        if (works(n) && netif_ip4_addr(n)->addr &&
            ip4_addr_net_eq(to, netif_ip4_addr(n), netif_ip4_netmask(n)))
            return n;
    }
    return NULL;
}

/* The network of an address that was set by hand has 64 bits (lwIP's nd6.c). */
static bool has_network6(struct netif *n, const ip6_addr_t *to)
{
    for (i8 i = 0; i < LWIP_IPV6_NUM_ADDRESSES; i++) {
        if (ip6_addr_isvalid(netif_ip6_addr_state(n, i)) &&
            (netif_ip6_addr_isstatic(n, i) ? ip6_addr_net_zoneless_eq(to, netif_ip6_addr(n, i))
                                           : ip6_addr_zoneless_eq(to, netif_ip6_addr(n, i))))
            return true;
    }
    for (u32 i = 0; i < LWIP_ND6_NUM_PREFIXES; i++) { /* what routers have said */
        if (prefix_list[i].netif == n && prefix_list[i].invalidation_timer &&
            ip6_addr_net_zoneless_eq(to, &prefix_list[i].prefix))
            return true;
    }
    return false;
}

static struct netif *reaches6(const ip6_addr_t *to)
{
    struct netif *n;

    NETIF_FOREACH(n)
    {
        if (works(n) &&
            (ip6_addr_islinklocal(to) ? ip6_addr_test_zone(to, n) : has_network6(n, to)))
            return n;
    }
    return NULL;
}

struct netif *route_reaches(const ip_addr_t *gateway)
{
    struct netif *n = IP_IS_V6(gateway) ? reaches6(ip_2_ip6(gateway)) : reaches4(ip_2_ip4(gateway));

    return n && n->state ? n : NULL; /* lwIP's loopback is nobody's */
}

/* ---- the table --------------------------------------------------------------------------------
 */
static u32 words(const ip_addr_t *a)
{
    return IP_IS_V6(a) ? 4 : 1;
}

static u32 mask_of(u32 bits, u32 word)
{
    u32 n = bits > 32 * word ? MIN(bits - 32 * word, 32u) : 0;

    return n ? lwip_htonl(~0u << (32 - n)) : 0;
}

/* An IPv4 address is the first word of the union. */
static bool is_in(const struct route *r, const u32 *to)
{
    for (u32 i = 0; i < words(&r->network); i++) {
        if ((to[i] & mask_of(r->bits, i)) != ip_2_ip6(&r->network)->addr[i])
            return false;
    }
    return true;
}

static struct route make(const ip_addr_t *network, u32 bits)
{
    struct route r = {.network = *network, .bits = bits};

    for (u32 i = 0; i < words(network); i++)
        ip_2_ip6(&r.network)->addr[i] &= mask_of(bits, i);
    return r;
}

static u32 find(const ip_addr_t *network, u32 bits)
{
    struct route r = make(network, bits);
    u32 i = 0;

    while (i < count && (routes[i].bits != bits || !ip_addr_eq(&routes[i].network, &r.network)))
        i++;
    return i;
}

void route_changed(void)
{
    nd6_clear_destination_cache();
}

enum hv_status route_add(const ip_addr_t *network, u32 bits, const ip_addr_t *gateway)
{
    if (find(network, bits) < count)
        return HV_EEXIST;
    if (count == ROUTE_MAX)
        return HV_E2BIG;
    routes[count] = make(network, bits);
    routes[count++].gateway = *gateway;
    route_changed();
    return HV_OK;
}

static void drop(u32 i)
{
    for (count--; i < count; i++)
        routes[i] = routes[i + 1];
    route_changed();
}

enum hv_status route_remove(const ip_addr_t *network, u32 bits)
{
    u32 i = find(network, bits);

    if (i == count)
        return HV_ENOENT;
    drop(i);
    return HV_OK;
}

void route_forget(struct netif *n)
{
    for (u32 i = count; i-- > 0;) {
        const ip_addr_t *g = &routes[i].gateway;

        if (IP_IS_V6(g) && ip6_addr_has_zone(ip_2_ip6(g)) && ip6_addr_test_zone(ip_2_ip6(g), n))
            drop(i);
    }
}

/* The most specific one that is in force. */
static const struct route *match(bool six, const u32 *to)
{
    const struct route *best = NULL;

    for (u32 i = 0; i < count; i++) {
        const struct route *r = &routes[i];

        if ((bool)IP_IS_V6(&r->network) == six && is_in(r, to) && (!best || r->bits > best->bits) &&
            route_reaches(&r->gateway))
            best = r;
    }
    return best;
}

/* ---- what lwIP asks ---------------------------------------------------------------------------
 */
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
    if (reaches4(to))
        return NULL; /* lwIP finds it itself */
    r = match(false, &to->addr);
    return r ? route_reaches(&r->gateway) : NULL;
}

const ip4_addr_t *route_gateway(struct netif *n, const ip4_addr_t *to)
{
    const struct route *r = match(false, &to->addr);

    return r && route_reaches(&r->gateway) == n ? ip_2_ip4(&r->gateway) : NULL;
}

static struct kif *has_gateway6(struct netif *n)
{
    for (struct kif *k = kif_first(); k; k = k->next) {
        if ((!n || &k->netif == n) && !ip6_addr_isany_val(k->gateway6) && works(&k->netif))
            return k;
    }
    return NULL;
}

struct netif *route6_find(const ip6_addr_t *from, const ip6_addr_t *to)
{
    struct netif *n = reaches6(to);
    const struct route *r;
    struct kif *k;

    if (n || ip6_addr_isany(to) || ip6_addr_isloopback(to))
        return n;
    NETIF_FOREACH(n)
    {
        if (works(n) && !ip6_addr_isany(from) && netif_get_ip6_addr_match(n, from) >= 0)
            return n;
    }
    r = match(true, to->addr);
    if (r)
        return route_reaches(&r->gateway);
    k = has_gateway6(NULL);
    return k ? &k->netif : NULL; /* NULL: one that routers have said, or none */
}

const ip6_addr_t *route6_gateway(struct netif *n, const ip6_addr_t *to)
{
    const struct route *r = match(true, to->addr);
    const struct kif *k;

    if (r && route_reaches(&r->gateway) == n)
        return ip_2_ip6(&r->gateway);
    k = has_gateway6(n);
    return k ? &k->gateway6 : NULL;
}
