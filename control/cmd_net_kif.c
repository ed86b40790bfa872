/* Commands about kernel interfaces and IP; run in the shell's fiber. */
#include "control/cmd_net_kif.h"

#include <stdio.h>
#include <string.h>

#include <lwip/dhcp.h>

#include "control/address.h"
#include "control/cmd_net.h"
#include "control/rt/clock.h"
#include "control/rt/fiber.h"
#include "net/kif.h"
#include "net/mac_address.h"
#include "net/net.h"
#include "net/ping.h"

typedef unsigned long long ull;

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

/* Who gave the interface its i-th IPv6 address: "link" is itself. */
static const char *origin6(const struct kif *k, u32 i)
{
    return !i                                                                 ? "link"
           : ip6_addr_zoneless_eq(netif_ip6_addr(&k->netif, i), &k->address6) ? "static"
                                                                              : "router";
}

static void kif_row(struct out *out, const struct kif *k, const char *address, const char *gateway,
                    const char *mode)
{
    char mac[MAC_ADDRESS_TEXT];

    out_cell(out, "%s", k->name);
    out_cell(out, "%s", k->port->sw->name);
    out_cell(out, "%s", address);
    out_cell(out, "%s", gateway);
    out_cell(out, "%s", mode);
    mac_address_format(k->port->mac, mac);
    out_cell(out, "%s", mac);
}

/* A row an address. */
static void kif_rows(struct out *out, const struct kif *k)
{
    char text[ADDRESS_TEXT], gateway[ADDRESS_TEXT];

    kif_address_text(k, text, sizeof(text));
    kif_row(out, k, text, ip4addr_ntoa(netif_ip4_gw(&k->netif)), modes[k->mode]);
    for (u32 i = 0; i < LWIP_IPV6_NUM_ADDRESSES; i++) {
        const char *origin = origin6(k, i);

        if (!ip6_addr_isvalid(netif_ip6_addr_state(&k->netif, i)))
            continue;
        address_text6(netif_ip6_addr(&k->netif, i), text);
        strcat(text, "/64");
        address_text6(&k->gateway6, gateway);
        kif_row(out, k, text, origin[0] == 's' && !ip6_addr_isany_val(k->gateway6) ? gateway : "-",
                origin);
    }
}

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
    for (const struct kif *k = kif_first(); k; k = k->next)
        kif_rows(out, k);
    return HV_OK;
}

/* What a line asks for: all of it is looked at before anything is changed. */
struct wanted {
    bool vlan, dhcp, address, none6;
    u16 vlan_number;
    ip_addr_t ip, gateway; /* one family */
    u32 bits;
};

static enum hv_status want_address(const char *ip, const char *gw, struct out *out,
                                   struct wanted *w)
{
    bool six = ip && strchr(ip, ':');

    w->dhcp = ip && !strcmp(ip, "dhcp");
    w->none6 = ip && !strcmp(ip, "::");
    w->address = ip && !w->dhcp && !w->none6;
    if (w->address && !address_parse_network(ip, &w->ip, &w->bits))
        return cmd_net_bad(out, "ip", ip, "an address with its prefix length, or dhcp",
                           "ip=10.134.188.5/27");
    if (w->address && six &&
        (w->bits != 64 || ip6_addr_islinklocal(ip_2_ip6(&w->ip)) ||
         ip6_addr_ismulticast(ip_2_ip6(&w->ip)) || ip6_addr_isany(ip_2_ip6(&w->ip))))
        return cmd_net_bad(out, "ip", ip, "an IPv6 address of one station in a network of 64 bits",
                           "ip=2001:db8::5/64");
    if (gw && (!w->address || !address_parse(gw, &w->gateway) || IP_IS_V6(&w->gateway) != six))
        return cmd_net_bad(out, "gw", gw,
                           "an address that goes with ip=", "ip=10.0.0.5/24 gw=10.0.0.1");
    return HV_OK;
}

static enum hv_status want(const struct schema_args *args, struct out *out, struct wanted *w)
{
    const char *vlan = args_text(args, "vlan");
    u64 number = args_number(args, "vlan", 0);

    *w = (struct wanted){.vlan = vlan, .vlan_number = (u16)number};
    if (number > VLAN_MAX)
        return cmd_net_bad(out, "vlan", vlan, "0 to 4094", "vlan=10");
    return want_address(args_text(args, "ip"), args_text(args, "gw"), out, w);
}

static enum hv_status make_so(struct kif *k, const struct wanted *w, struct out *out)
{
    static const ip6_addr_t none;
    struct vlan_port v;
    enum hv_status status = HV_OK;

    if (w->vlan) {
        vlan_access(&v, w->vlan_number);
        switch_port_set_vlan(k->port->sw, k->port->index, &v);
    }
    if (w->dhcp)
        kif_set_dhcp(k);
    else if (w->none6)
        status = kif_set_static6(k, &none, &none);
    else if (w->address && IP_IS_V6(&w->ip))
        status = kif_set_static6(k, ip_2_ip6(&w->ip), ip_2_ip6(&w->gateway));
    else if (w->address)
        kif_set_static(k, *ip_2_ip4(&w->ip),
                       (ip4_addr_t){lwip_htonl(w->bits ? ~0u << (32 - w->bits) : 0)},
                       *ip_2_ip4(&w->gateway));
    net_wake();
    if (status != HV_OK)
        return out_error(out, status, "E_FULL", "net kif show",
                         "routers have given it as many IPv6 addresses as it can have");
    return HV_OK;
}

static enum hv_status kif_new(const struct schema_args *args, struct out *out)
{
    const char *name = args_text(args, "name"), *text = args_text(args, "mac");
    struct net_switch *sw = cmd_net_switch(args, "switch", out);
    u64 mac = 0;
    struct kif *k;
    struct wanted w;
    enum hv_status status;

    if (!sw)
        return HV_ENOENT;
    status = want(args, out, &w);
    if (status != HV_OK)
        return status;
    if (text && (!mac_address_parse(text, &mac) || frame_mac_is_group(mac) || !mac))
        return cmd_net_bad(out, "mac", text, "the address of one station", "mac=06:42:48:01:02:03");
    status = kif_add(name ? name : "", sw, mac, &k);
    switch (status) {
    case HV_OK:
        return make_so(k, &w, out);
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
    struct wanted w;
    enum hv_status status = k ? want(args, out, &w) : HV_ENOENT;

    return status == HV_OK ? make_so(k, &w, out) : status;
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

static void show_ipv6(struct out *out, const struct kif *k)
{
    char gateway[ADDRESS_TEXT];

    for (u32 i = 0; i < LWIP_IPV6_NUM_ADDRESSES; i++) {
        u8 state = netif_ip6_addr_state(&k->netif, i);
        char text[ADDRESS_TEXT];

        if (ip6_addr_isinvalid(state))
            continue;
        address_text6(netif_ip6_addr(&k->netif, i), text);
        out_field(out, "ipv6", "%s %s%s", text, origin6(k, i),
                  ip6_addr_isduplicated(state)   ? ", another station has it"
                  : ip6_addr_istentative(state)  ? ", not yet: is it another station's?"
                  : ip6_addr_isdeprecated(state) ? ", deprecated"
                                                 : "");
    }
    if (!ip6_addr_isany_val(k->gateway6))
        out_field(out, "ipv6 gateway", "%s", address_text6(&k->gateway6, gateway));
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
    show_ipv6(out, k);
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

/* ---- what survives ---------------------------------------------------------------------------
 */
static void save_ipv6(struct schema_text *t, const struct kif *k)
{
    ip_addr_t address, gateway;
    char text[ADDRESS_TEXT], by[ADDRESS_TEXT];

    if (ip6_addr_isany_val(k->address6))
        return;
    ip_addr_copy_from_ip6(address, k->address6);
    ip_addr_copy_from_ip6(gateway, k->gateway6);
    schema_put(t, "net kif set %s ip=%s/64%s%s", k->name, address_text(&address, text),
               ip_addr_isany(&gateway) ? "" : " gw=",
               ip_addr_isany(&gateway) ? "" : address_text(&gateway, by));
}

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
        save_ipv6(t, k);
    }
}
SCHEMA_SAVES(save_kifs, SAVES_KIF);

static const struct schema_arg kif_args[] = {
    {"action", PLACE_OBJECT, ARG_ENUM, "list|add|set|dhcp|show|remove", .help = "what to do"},
    {"name", PLACE_OPTIONAL, ARG_WORD, .help = "name of the interface, as k0"},
    {"switch", PLACE_KEY, ARG_WORD, .help = "the switch it is a port of"},
    {"ip", PLACE_KEY, ARG_WORD,
     .help = "address and prefix length (an IPv6 one stands beside it; ip=:: takes that "
             "away), or dhcp"},
    {"gw", PLACE_KEY, ARG_WORD, .help = "default gateway, with ip="},
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
static const struct schema_command commands[] = {
    {"net", "kif", "kernel interfaces: the host's own addresses",
     "net kif add k0 switch=vsw0 ip=10.134.188.5/27 gw=10.134.188.1", ROLE_ADMIN, kif_args, NULL,
     run_kif},
    {"net", "ping", "ask a host for an echo", "net ping 10.0.0.1 count=10 interval=100ms",
     ROLE_OPERATE, ping_args, NULL, run_ping},
};
SCHEMA_COMMANDS(commands);
