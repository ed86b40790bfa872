/* Static routes; run in the shell's fiber. */
#include "control/cmd_net_route.h"

#include "control/address.h"
#include "control/cmd_net.h"
#include "net/kif.h"
#include "net/route.h"

static void route_row(struct out *out, const ip_addr_t *network, u32 bits, const ip_addr_t *via,
                      const struct netif *n, const char *kind)
{
    char text[ADDRESS_TEXT];

    out_cell(out, "%s/%u", address_text(network, text), bits);
    out_cell(out, "%s", via ? address_text(via, text) : "-");
    out_cell(out, "%s", n ? ((const struct kif *)n->state)->name : "-");
    out_cell(out, "%s", kind);
    out_cell(out, "%s", n ? "active" : "waits: no interface's network has its gateway");
}

static void own_networks(struct out *out, const struct kif *k)
{
    u32 mask = ip4_addr_get_u32(netif_ip4_netmask(&k->netif));
    ip_addr_t network;

    if (!ip4_addr_isany(netif_ip4_addr(&k->netif))) {
        ip_addr_set_ip4_u32_val(network, ip4_addr_get_u32(netif_ip4_addr(&k->netif)) & mask);
        route_row(out, &network, (u32)__builtin_popcount(mask), NULL, &k->netif, "interface");
    }
    if (!ip6_addr_isany_val(k->address6)) {
        ip_addr_copy_from_ip6(network, k->address6);
        ip_2_ip6(&network)->addr[2] = ip_2_ip6(&network)->addr[3] = 0;
        route_row(out, &network, 64, NULL, &k->netif, "interface");
    }
}

static void default_ways(struct out *out)
{
    static const ip_addr_t four = IPADDR4_INIT(0), six = IPADDR6_INIT(0, 0, 0, 0);
    ip_addr_t via;

    if (netif_default && !ip4_addr_isany(netif_ip4_gw(netif_default))) {
        ip_addr_copy_from_ip4(via, *netif_ip4_gw(netif_default));
        route_row(out, &four, 0, &via, netif_default, "default");
    }
    for (const struct kif *k = kif_first(); k; k = k->next) {
        ip_addr_copy_from_ip6(via, k->gateway6);
        if (!ip_addr_isany(&via)) {
            route_row(out, &six, 0, &via, &k->netif, "default");
            break; /* the first is the one that counts */
        }
    }
}

static enum hv_status route_list(const struct schema_args *args, struct out *out)
{
    static const char *const columns[] = {"NETWORK", "VIA", "KIF", "KIND", "STATE"};
    static const u8 widths[] = {18, 15, 6, 9, 0};
    const struct route *r;

    (void)args;
    out_table(out, columns, widths, ARRAY_LEN(columns));
    for (const struct kif *k = kif_first(); k; k = k->next)
        own_networks(out, k);
    for (u32 i = 0; (r = route_at(i)); i++)
        route_row(out, &r->network, r->bits, &r->gateway, route_reaches(&r->gateway), "static");
    default_ways(out);
    return HV_OK;
}

/* May an interface get a network yet in which the gateway is? */
static bool may_come(const ip_addr_t *gateway)
{
    for (const struct kif *k = kif_first(); k; k = k->next) {
        bool has = !ip4_addr_isany(netif_ip4_addr(&k->netif)) || k->mode != KIF_DHCP;

        if (IP_IS_V6(gateway)) {
            has = false;
            for (u32 i = 1; i < LWIP_IPV6_NUM_ADDRESSES; i++)
                has |= ip6_addr_isvalid(netif_ip6_addr_state(&k->netif, i)) != 0;
        }
        if (!has)
            return true;
    }
    return false;
}

static enum hv_status route_new(const struct schema_args *args, struct out *out)
{
    const char *network = args_text(args, "network"), *via = args_text(args, "via");
    ip_addr_t ip, gateway;
    enum hv_status status;
    bool waits;
    u32 bits;

    if (!network || !address_parse_network(network, &ip, &bits) ||
        (IP_IS_V6(&ip) && ip6_addr_islinklocal(ip_2_ip6(&ip))))
        return cmd_net_bad(out, "network", network ? network : "", "a network with its prefix",
                           "net route add 10.1.0.0/16 via=10.0.0.1");
    if (!via || !address_parse(via, &gateway) || IP_IS_V6(&gateway) != IP_IS_V6(&ip))
        return cmd_net_bad(out, "via", via ? via : "", "an address of the network's family",
                           IP_IS_V6(&ip) ? "via=2001:db8::1" : "via=10.0.0.1");
    waits = !route_reaches(&gateway);
    if (waits && !args_flag(args, "wait") && !may_come(&gateway))
        return out_error(out, HV_ENOENT, "E_GATEWAY", "net kif list, or --wait until one has",
                         "no interface's network has %s in it", via);
    status = route_add(&ip, bits, &gateway);
    if (status == HV_EEXIST)
        return out_error(out, status, "E_EXISTS", "net route remove", "there is such a route");
    if (status != HV_OK)
        return out_error(out, status, "E_FULL", "net route remove", "%u routes are the most",
                         ROUTE_MAX);
    if (waits)
        out_printf(out, "It waits: no interface's network has %s in it yet.\n", via);
    return HV_OK;
}

static enum hv_status route_delete(const struct schema_args *args, struct out *out)
{
    const char *network = args_text(args, "network");
    ip_addr_t ip;
    u32 bits;

    if (!network || !address_parse_network(network, &ip, &bits))
        return cmd_net_bad(out, "network", network ? network : "", "a network with its prefix",
                           "net route remove 10.1.0.0/16");
    if (route_remove(&ip, bits))
        return out_error(out, HV_ENOENT, "E_NO_ROUTE", "net route list", "there is no such route");
    return HV_OK;
}

static enum hv_status run_route(const struct schema_args *args, struct out *out)
{
    static const struct cmd_net_action actions[] = {
        {"list", route_list}, {"add", route_new}, {"remove", route_delete}};

    return cmd_net_act(actions, ARRAY_LEN(actions), args, out);
}

/* At the next start addresses may come after this line. */
static void save_routes(struct schema_text *t)
{
    const struct route *r;

    for (u32 i = 0; (r = route_at(i)); i++) {
        char network[ADDRESS_TEXT], via[ADDRESS_TEXT];

        schema_put(t, "net route add %s/%u via=%s --wait", address_text(&r->network, network),
                   r->bits, address_text(&r->gateway, via));
    }
}
SCHEMA_SAVES(save_routes, SAVES_ROUTE);

static const struct schema_arg route_args[] = {
    {"action", PLACE_OBJECT, ARG_ENUM, "list|add|remove", .help = "what to do"},
    {"network", PLACE_OPTIONAL, ARG_WORD, .help = "as 10.1.0.0/16 or 2001:db8::/32"},
    {"via", PLACE_KEY, ARG_WORD, .help = "gateway"},
    {"wait", PLACE_FLAG, ARG_WORD, .help = "also when no interface's network has the gateway yet"},
    {0},
};
static const struct schema_command commands[] = {
    {"net", "route", "static routes, in force while an interface's network has their gateway",
     "net route add 10.1.0.0/16 via=10.0.0.1", ROLE_ADMIN, route_args, NULL, run_route},
};
SCHEMA_COMMANDS(commands);
