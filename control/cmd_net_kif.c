/* Commands about kernel interfaces and IP; run in the shell's fiber. */
#include "control/cmd_net_kif.h"

#include <stdio.h>
#include <string.h>

#include <lwip/dhcp.h>

#include "control/cmd_net.h"
#include "control/rt/clock.h"
#include "control/rt/fiber.h"
#include "net/kif.h"
#include "net/mac_address.h"
#include "net/net.h"
#include "net/ping.h"
#include "net/route.h"

typedef unsigned long long ull;

/* ---- values ---------------------------------------------------------------------------------- */
static bool parse_ip4(const char *text, ip4_addr_t *ip)
{
    u32 dots = 0;

    for (const char *p = text; *p; p++)
        dots += *p == '.';
    return dots == 3 && ip4addr_aton(text, ip);
}

/* "10.0.0.5/24" */
static bool parse_network(const char *text, ip4_addr_t *ip, ip4_addr_t *mask)
{
    const char *slash = strchr(text, '/');
    char address[20];
    u64 bits;

    if (!slash || slash - text >= (long)sizeof(address) ||
        !conf_parse_number(conf_span_of(slash + 1), &bits) || bits > 32)
        return false;
    snprintf(address, sizeof(address), "%.*s", (int)(slash - text), text);
    mask->addr = lwip_htonl(bits ? ~0u << (32 - bits) : 0);
    return parse_ip4(address, ip);
}

static struct kif *kif_argument(const struct schema_args *args, struct out *out)
{
    const char *name = args_text(args, "name");
    struct kif *k = name ? kif_named(name) : NULL;

    if (!k)
        out_error(out, HV_ENOENT, "E_NO_KIF", "net kif list", "no kernel interface is named '%s'",
                  name ? name : "");
    return k;
}

/* ---- net kif --------------------------------------------------------------------------------- */
static const char *const modes[] = {"none", "static", "dhcp"};

static enum hv_status kif_list(const struct schema_args *args, struct out *out)
{
    static const char *const columns[] = {"KIF", "SWITCH", "ADDRESS", "GATEWAY", "MODE", "MAC"};
    static const u8 widths[] = {6, 8, 18, 15, 6, 0};

    (void)args;
    if (!kif_first()) {
        out_printf(out, "There is no kernel interface. `net kif add k0 switch=vsw0` makes one.\n");
        return HV_OK;
    }
    out_table(out, columns, widths, ARRAY_LEN(columns));
    for (const struct kif *k = kif_first(); k; k = k->next) {
        char text[32];

        out_cell(out, "%s", k->name);
        out_cell(out, "%s", k->port->sw->name);
        kif_address_text(k, text, sizeof(text));
        out_cell(out, "%s", text);
        out_cell(out, "%s", ip4addr_ntoa(netif_ip4_gw(&k->netif)));
        out_cell(out, "%s", modes[k->mode]);
        mac_address_format(k->port->mac, text);
        out_cell(out, "%s", text);
    }
    return HV_OK;
}

static enum hv_status set_address(const struct schema_args *args, struct out *out, struct kif *k)
{
    const char *ip = args_text(args, "ip"), *gw = args_text(args, "gw"),
               *vlan = args_text(args, "vlan");
    ip4_addr_t address, mask, gateway = {0};
    struct vlan_port v;

    if (vlan) {
        u64 number = args_number(args, "vlan", 0);
        if (number > VLAN_MAX)
            return cmd_net_bad(out, "vlan", vlan, "0 to 4094", "vlan=10");
        vlan_access(&v, (u16)number);
        switch_port_set_vlan(k->port->sw, k->port->index, &v);
    }
    if (gw && (!ip || !parse_ip4(gw, &gateway)))
        return cmd_net_bad(out, "gw", gw,
                           "an address that goes with ip=", "ip=10.0.0.5/24 gw=10.0.0.1");
    if (ip && !strcmp(ip, "dhcp")) {
        kif_set_dhcp(k);
    } else if (ip) {
        if (!parse_network(ip, &address, &mask))
            return cmd_net_bad(out, "ip", ip, "an address with its prefix length, or dhcp",
                               "ip=10.134.188.5/27");
        kif_set_static(k, address, mask, gateway);
    }
    net_wake();
    return HV_OK;
}

static enum hv_status kif_new(const struct schema_args *args, struct out *out)
{
    const char *name = args_text(args, "name"), *text = args_text(args, "mac");
    struct net_switch *sw = cmd_net_switch(args, "switch", out);
    u64 mac = 0;
    struct kif *k;
    enum hv_status status;

    if (!sw)
        return HV_ENOENT;
    if (text && (!mac_address_parse(text, &mac) || frame_mac_is_group(mac) || !mac))
        return cmd_net_bad(out, "mac", text, "the address of one station", "mac=06:42:48:01:02:03");
    status = kif_add(name ? name : "", sw, mac, &k);
    switch (status) {
    case HV_OK:
        return set_address(args, out, k);
    case HV_EEXIST:
        return out_error(out, status, "E_EXISTS", "another name", "that name or address is taken");
    case HV_EINVAL:
        return out_error(out, status, "E_NAME", "net kif add k0 switch=vsw0",
                         "a name has 1 to %u characters", KIF_NAME - 1);
    case HV_E2BIG:
        return out_error(out, status, "E_FULL", "net kif remove", "%u interfaces are the most",
                         KIF_MAX);
    default:
        return out_error(out, status, "E_MEMORY", "host mem", "no memory for an interface");
    }
}

static enum hv_status kif_set(const struct schema_args *args, struct out *out)
{
    struct kif *k = kif_argument(args, out);

    return k ? set_address(args, out, k) : HV_ENOENT;
}

static enum hv_status kif_dhcp(const struct schema_args *args, struct out *out)
{
    struct kif *k = kif_argument(args, out);

    if (!k)
        return HV_ENOENT;
    kif_set_dhcp(k);
    net_wake();
    return HV_OK;
}

static void show_lease(struct out *out, const struct kif *k)
{
    struct dhcp *d = netif_dhcp_data(&k->netif);

    if (k->mode != KIF_DHCP || !d)
        return;
    out_field(out, "dhcp", "%s", dhcp_supplied_address(&k->netif) ? "bound" : "asking");
    if (dhcp_supplied_address(&k->netif)) {
        out_field(out, "server", "%s", ipaddr_ntoa(&d->server_ip_addr));
        out_field(out, "lease", "%llu s, renewed in %u s", (ull)d->offered_t0_lease,
                  d->t1_renew_time * 60u);
    }
}

static enum hv_status kif_show(const struct schema_args *args, struct out *out)
{
    struct kif *k = kif_argument(args, out);
    char text[32];

    if (!k)
        return HV_ENOENT;
    out_field(out, "name", "%s", k->name);
    out_field(out, "switch", "%s, VLAN %u", k->port->sw->name, k->port->vlan.vlan);
    mac_address_format(k->port->mac, text);
    out_field(out, "mac", "%s", text);
    out_field(out, "mtu", "%u", k->netif.mtu);
    kif_address_text(k, text, sizeof(text));
    out_field(out, "address", "%s", text);
    out_field(out, "gateway", "%s", ip4addr_ntoa(netif_ip4_gw(&k->netif)));
    show_lease(out, k);
    for (u32 i = 0; i < LWIP_IPV6_NUM_ADDRESSES; i++) {
        if (ip6_addr_isvalid(netif_ip6_addr_state(&k->netif, i)))
            out_field(out, "ipv6", "%s%s", ip6addr_ntoa(netif_ip6_addr(&k->netif, i)),
                      ip6_addr_ispreferred(netif_ip6_addr_state(&k->netif, i)) ? ""
                                                                               : ", deprecated");
    }
    out_field(out, "sent", "%llu frames, %llu bytes", (ull)k->port->counters.in_frames,
              (ull)k->port->counters.in_bytes);
    out_field(out, "received", "%llu frames, %llu bytes, %llu dropped, %llu joined",
              (ull)k->port->counters.out_frames, (ull)k->port->counters.out_bytes, (ull)k->dropped,
              (ull)k->joined);
    out_end_object(out);
    return HV_OK;
}

static enum hv_status kif_delete(const struct schema_args *args, struct out *out)
{
    struct kif *k = kif_argument(args, out);

    if (!k)
        return HV_ENOENT;
    kif_remove(k);
    return HV_OK;
}

static enum hv_status run_kif(const struct schema_args *args, struct out *out)
{
    static const struct cmd_net_action actions[] = {{"list", kif_list}, {"add", kif_new},
                                                    {"set", kif_set},   {"dhcp", kif_dhcp},
                                                    {"show", kif_show}, {"remove", kif_delete}};

    return cmd_net_act(actions, ARRAY_LEN(actions), args, out);
}

/* ---- net ping -------------------------------------------------------------------------------- */
static void on_answer(void *owner)
{
    event_signal(owner);
}

struct ping_sums {
    u32 sent, got;
    u64 least, most, sum;
};

static void ping_once(struct ping *p, struct event *answer, u32 size, u64 interval,
                      struct ping_sums *s, struct out *out)
{
    u64 next = clock_after(interval);
    enum hv_status status;

    event_clear(answer);
    s->sent++;
    status = ping_send(p, size);
    net_wake();
    if (status != HV_OK) {
        out_printf(out, "request %u: %s\n", s->sent,
                   status == HV_EIO ? "no way there" : "no memory");
    } else if (fiber_wait_cancellable(answer, clock_after(MAX(interval, CLOCK_SECOND))) == HV_OK) {
        s->got++;
        s->least = MIN(s->least, p->round_trip);
        s->most = MAX(s->most, p->round_trip);
        s->sum += p->round_trip;
        out_printf(out, "%u bytes from %s: seq=%u ttl=%u time=%llu.%03llu ms\n", size + 8,
                   ipaddr_ntoa(&p->to), p->sequence, p->ttl, (ull)(p->round_trip / CLOCK_MS),
                   (ull)(p->round_trip / CLOCK_US % 1000));
    } else {
        out_printf(out, "request %u: no answer\n", s->sent);
    }
    if (clock_tsc() < next && !out_cancelled(out))
        fiber_wait_cancellable(&(struct event){0}, next);
}

static enum hv_status run_ping(const struct schema_args *args, struct out *out)
{
    u64 count = args_number(args, "count", 4), size = args_number(args, "size", 56), interval;
    struct ping_sums s = {.least = ~0ull};
    struct event answer = {0};
    struct ping p;
    ip_addr_t to;

    if (!cmd_net_time(args_text(args, "interval"), &interval))
        return cmd_net_bad(out, "interval", args_text(args, "interval"), "a time", "interval=1s");
    if (size > PING_PAYLOAD_MAX || !count || count > 1000000)
        return out_error(out, HV_EINVAL, "E_VALUE", "count=4 size=56",
                         "size is at most %u, count 1 to 1000000", PING_PAYLOAD_MAX);
    if (!cmd_net_resolve(args_text(args, "host"), out, &to))
        return HV_ENOENT;
    if (ping_open(&p, &to, on_answer, &answer))
        return out_error(out, HV_ENOMEM, "E_MEMORY", "host mem", "no memory");
    while (s.sent < count && !out_cancelled(out))
        ping_once(&p, &answer, (u32)size, s.sent + 1 < count ? interval : 0, &s, out);
    ping_close(&p);
    out_printf(out, "%u sent, %u answered, %u lost\n", s.sent, s.got, s.sent - s.got);
    if (s.got)
        out_printf(out, "least/mean/most %llu.%03llu/%llu.%03llu/%llu.%03llu ms\n",
                   (ull)(s.least / CLOCK_MS), (ull)(s.least / CLOCK_US % 1000),
                   (ull)(s.sum / s.got / CLOCK_MS), (ull)(s.sum / s.got / CLOCK_US % 1000),
                   (ull)(s.most / CLOCK_MS), (ull)(s.most / CLOCK_US % 1000));
    return s.got ? HV_OK : HV_ETIMEDOUT;
}

/* ---- net route ------------------------------------------------------------------------------- */
static void route_row(struct out *out, ip4_addr_t network, ip4_addr_t mask, const ip4_addr_t *via,
                      const struct netif *n, const char *kind)
{
    network.addr &= mask.addr;
    out_cell(out, "%s/%d", ip4addr_ntoa(&network), __builtin_popcount(mask.addr));
    out_cell(out, "%s", via ? ip4addr_ntoa(via) : "-");
    out_cell(out, "%s", ((const struct kif *)n->state)->name);
    out_cell(out, "%s", kind);
}

static enum hv_status route_list(const struct schema_args *args, struct out *out)
{
    static const char *const columns[] = {"NETWORK", "VIA", "KIF", "KIND"};
    static const u8 widths[] = {18, 15, 6, 0};
    const struct route *r;

    (void)args;
    out_table(out, columns, widths, ARRAY_LEN(columns));
    for (const struct kif *k = kif_first(); k; k = k->next) {
        if (!ip4_addr_isany(netif_ip4_addr(&k->netif)))
            route_row(out, *netif_ip4_addr(&k->netif), *netif_ip4_netmask(&k->netif), NULL,
                      &k->netif, "interface");
    }
    for (u32 i = 0; (r = route_at(i)); i++)
        route_row(out, r->network, r->mask, &r->gateway, r->netif, "static");
    if (netif_default && !ip4_addr_isany(netif_ip4_gw(netif_default)))
        route_row(out, (ip4_addr_t){0}, (ip4_addr_t){0}, netif_ip4_gw(netif_default), netif_default,
                  "default");
    return HV_OK;
}

static enum hv_status route_new(const struct schema_args *args, struct out *out)
{
    const char *network = args_text(args, "network"), *via = args_text(args, "via");
    ip4_addr_t ip, mask, gateway;

    if (!network || !parse_network(network, &ip, &mask))
        return cmd_net_bad(out, "network", network ? network : "", "a network with its prefix",
                           "net route add 10.1.0.0/16 via=10.0.0.1");
    if (!via || !parse_ip4(via, &gateway))
        return cmd_net_bad(out, "via", via ? via : "", "an address", "via=10.0.0.1");
    switch (route_add(ip, mask, gateway)) {
    case HV_OK:
        return HV_OK;
    case HV_ENOENT:
        return out_error(out, HV_ENOENT, "E_GATEWAY", "net kif list",
                         "no interface's network has %s in it", via);
    case HV_EEXIST:
        return out_error(out, HV_EEXIST, "E_EXISTS", "net route remove", "there is such a route");
    default:
        return out_error(out, HV_E2BIG, "E_FULL", "net route remove", "%u routes are the most",
                         ROUTE_MAX);
    }
}

static enum hv_status route_delete(const struct schema_args *args, struct out *out)
{
    const char *network = args_text(args, "network");
    ip4_addr_t ip, mask;

    if (!network || !parse_network(network, &ip, &mask))
        return cmd_net_bad(out, "network", network ? network : "", "a network with its prefix",
                           "net route remove 10.1.0.0/16");
    if (route_remove(ip, mask))
        return out_error(out, HV_ENOENT, "E_NO_ROUTE", "net route list", "there is no such route");
    return HV_OK;
}

static enum hv_status run_route(const struct schema_args *args, struct out *out)
{
    static const struct cmd_net_action actions[] = {
        {"list", route_list}, {"add", route_new}, {"remove", route_delete}};

    return cmd_net_act(actions, ARRAY_LEN(actions), args, out);
}

/* ---- what survives ---------------------------------------------------------------------------
 */
static void save_kifs(struct schema_text *t)
{
    for (const struct kif *k = kif_first(); k; k = k->next) {
        char text[32], gateway[32] = "", mac[MAC_ADDRESS_TEXT];

        kif_address_text(k, text, sizeof(text));
        if (k->mode == KIF_STATIC && !ip4_addr_isany(netif_ip4_gw(&k->netif)))
            snprintf(gateway, sizeof(gateway), " gw=%s", ip4addr_ntoa(netif_ip4_gw(&k->netif)));
        mac_address_format(k->port->mac, mac);
        schema_put(t, "net kif add %s switch=%s mac=%s%s%s%s", k->name, k->port->sw->name, mac,
                   k->mode == KIF_NONE ? "" : " ip=",
                   k->mode == KIF_NONE   ? ""
                   : k->mode == KIF_DHCP ? "dhcp"
                                         : text,
                   gateway);
    }
}
SCHEMA_SAVES(save_kifs, SAVES_KIF);

static void save_routes(struct schema_text *t)
{
    const struct route *r;

    for (u32 i = 0; (r = route_at(i)); i++) {
        char network[20];

        snprintf(network, sizeof(network), "%s", ip4addr_ntoa(&r->network));
        schema_put(t, "net route add %s/%d via=%s", network, __builtin_popcount(r->mask.addr),
                   ip4addr_ntoa(&r->gateway));
    }
}
SCHEMA_SAVES(save_routes, SAVES_ROUTE);

static const struct schema_arg kif_args[] = {
    {"action", PLACE_OBJECT, ARG_ENUM, "list|add|set|dhcp|show|remove", .help = "what to do"},
    {"name", PLACE_OPTIONAL, ARG_WORD, .help = "name of the interface, as k0"},
    {"switch", PLACE_KEY, ARG_WORD, .help = "the switch it is a port of"},
    {"ip", PLACE_KEY, ARG_WORD, .help = "address and prefix length, or dhcp"},
    {"gw", PLACE_KEY, ARG_WORD, .help = "default gateway"},
    {"vlan", PLACE_KEY, ARG_NUMBER, .help = "VLAN it is in; 0: none"},
    {"mac", PLACE_KEY, ARG_WORD, .help = "add: its address; a new one without it"},
    {0},
};
static const struct schema_arg ping_args[] = {
    {"host", PLACE_OBJECT, ARG_WORD, .help = "address or name"},
    {"count", PLACE_KEY, ARG_NUMBER, NULL, "4", "requests"},
    {"size", PLACE_KEY, ARG_NUMBER, NULL, "56", "bytes of payload"},
    {"interval", PLACE_KEY, ARG_WORD, NULL, "1s", "time between requests"},
    {0},
};
static const struct schema_arg route_args[] = {
    {"action", PLACE_OBJECT, ARG_ENUM, "list|add|remove", .help = "what to do"},
    {"network", PLACE_OPTIONAL, ARG_WORD, .help = "as 10.1.0.0/16"},
    {"via", PLACE_KEY, ARG_WORD, .help = "gateway"},
    {0},
};
static const struct schema_command commands[] = {
    {"net", "kif", "kernel interfaces: the host's own addresses",
     "net kif add k0 switch=vsw0 ip=10.134.188.5/27 gw=10.134.188.1", ROLE_ADMIN, kif_args, NULL,
     run_kif},
    {"net", "ping", "ask a host for an echo", "net ping 10.0.0.1 count=10 interval=100ms",
     ROLE_OPERATE, ping_args, NULL, run_ping},
    {"net", "route", "static routes", "net route add 10.1.0.0/16 via=10.0.0.1", ROLE_ADMIN,
     route_args, NULL, run_route},
};
SCHEMA_COMMANDS(commands);
