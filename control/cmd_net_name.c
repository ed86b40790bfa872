/* Commands about names and time from the network; run in a shell's fiber. */
#include "control/cmd_net_name.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <lwip/apps/sntp.h>
#include <lwip/dns.h>

#include "control/address.h"
#include "control/cmd_net.h"
#include "control/rt/clock.h"
#include "control/rt/fiber.h"
#include "net/net.h"
#include "net/servers.h"
#include "net/stack.h"

typedef unsigned long long ull;

#define RESOLVE_NS (10 * CLOCK_SECOND)

static char dns_by_hand[180], ntp_by_hand[64]; /* as they were typed */

/* On the heap: an answer that comes after the time-out finds no fiber's stack. */
struct resolve {
    struct event done;
    ip_addr_t address;
    bool found, abandoned;
};

static void on_found(const char *name, const ip_addr_t *address, void *owner)
{
    struct resolve *r = owner;

    (void)name;
    if (r->abandoned) {
        free(r);
        return;
    }
    r->found = address != NULL;
    if (address)
        r->address = *address;
    event_signal(&r->done);
}

bool cmd_net_resolve(const char *text, struct out *out, ip_addr_t *to)
{
    if (address_parse(text, to))
        return true;
    struct resolve *r = strchr(text, '%') ? NULL : calloc(1, sizeof(*r));
    err_t e = r ? dns_gethostbyname(text, to, on_found, r) : ERR_MEM;
    bool found = e == ERR_OK;

    net_wake();
    if (e == ERR_INPROGRESS && fiber_wait_cancellable(&r->done, clock_after(RESOLVE_NS)) == HV_OK) {
        found = r->found;
        *to = r->address;
    } else if (e == ERR_INPROGRESS) {
        r->abandoned = true;
        r = NULL;
    }
    free(r);
    if (!found)
        out_error(out, HV_ENOENT, "E_RESOLVE", "net dns show, or an address",
                  "no address for '%s' was found", text);
    return found;
}

/* ---- net dns, net ntp ------------------------------------------------------------------------ */
static const char *offered_at(void)
{
    return servers_offered_at() ? servers_offered_at()->name : "";
}

static enum hv_status dns_show(const struct schema_args *args, struct out *out)
{
    bool by_hand = servers_dns_by_hand();
    char text[ADDRESS_TEXT];
    const ip_addr_t *a;

    (void)args;
    for (u32 i = 0; i < DNS_MAX_SERVERS; i++) {
        if (!ip_addr_isany(dns_getserver((u8)i)))
            out_field(out, "server", "%s", address_text(dns_getserver((u8)i), text));
    }
    out_field(out, "from", "%s%s",
              by_hand                   ? "set by hand"
              : !servers_offered_dns(0) ? "nowhere"
                                        : "DHCP at ",
              by_hand ? "" : offered_at());
    for (u32 i = 0; by_hand && (a = servers_offered_dns(i)); i++)
        out_field(out, "not used", "%s, DHCP at %s", address_text(a, text), offered_at());
    out_field(out, "host name", "%s", stack_host_name());
    out_end_object(out);
    return HV_OK;
}

static enum hv_status dns_set(const struct schema_args *args, struct out *out)
{
    const char *list = args_text(args, "name");
    ip_addr_t servers[DNS_MAX_SERVERS];
    bool dhcp = list && !strcmp(list, "dhcp");
    u32 count = 0;

    for (const char *p = dhcp ? "" : list; p && *p; p += *p == ',') {
        char one[ADDRESS_TEXT];
        size_t n = strcspn(p, ",");

        snprintf(one, sizeof(one), "%.*s", (int)MIN(n, sizeof(one) - 1), p);
        if (count == DNS_MAX_SERVERS || n >= sizeof(one) || !address_parse(one, &servers[count++]))
            return cmd_net_bad(out, "servers", list, "up to three addresses, or dhcp",
                               "net dns set 10.0.0.1,10.0.0.2");
        p += n;
    }
    if (!count && !dhcp)
        return cmd_net_bad(out, "servers", "", "a list of addresses, or dhcp",
                           "net dns set 10.0.0.1");
    servers_set_dns(servers, count);
    snprintf(dns_by_hand, sizeof(dns_by_hand), "%s", dhcp ? "" : list);
    return HV_OK;
}

static enum hv_status dns_lookup(const struct schema_args *args, struct out *out)
{
    const char *name = args_text(args, "name");
    ip_addr_t to;

    if (!name)
        return cmd_net_bad(out, "name", "", "a name", "net dns lookup deb.debian.org");
    if (!cmd_net_resolve(name, out, &to))
        return HV_ENOENT;
    out_printf(out, "%s has the address %s\n", name, ipaddr_ntoa(&to));
    return HV_OK;
}

static enum hv_status run_dns(const struct schema_args *args, struct out *out)
{
    static const struct cmd_net_action actions[] = {
        {"show", dns_show}, {"set", dns_set}, {"lookup", dns_lookup}};

    return cmd_net_act(actions, ARRAY_LEN(actions), args, out);
}

static enum hv_status ntp_show(const struct schema_args *args, struct out *out)
{
    static const char *const from[] = {[SERVERS_NTP_DHCP] = "DHCP at ",
                                       [SERVERS_NTP_HAND] = "set by hand",
                                       [SERVERS_NTP_OFF] = "off"};
    enum servers_ntp how = servers_ntp();
    bool offered = how == SERVERS_NTP_DHCP && servers_offered_ntp(0);
    char text[ADDRESS_TEXT];
    const ip_addr_t *a;

    (void)args;
    out_field(out, "state", "%s", sntp_enabled() ? "on" : "off");
    for (u32 i = 0; sntp_enabled() && i < SNTP_MAX_SERVERS; i++) {
        if (sntp_getservername((u8)i))
            out_field(out, "server", "%s", sntp_getservername((u8)i));
        else if (!ip_addr_isany(sntp_getserver((u8)i)))
            out_field(out, "server", "%s%s", address_text(sntp_getserver((u8)i), text),
                      sntp_getreachability((u8)i) ? ", answers" : "");
    }
    out_field(out, "from", "%s%s",
              how == SERVERS_NTP_DHCP && !offered ? "nowhere: DHCP has named none" : from[how],
              offered ? offered_at() : "");
    for (u32 i = 0; how != SERVERS_NTP_DHCP && (a = servers_offered_ntp(i)); i++)
        out_field(out, "not used", "%s, DHCP at %s", address_text(a, text), offered_at());
    if (stack_time())
        out_field(out, "time", "%llu s since 1970", (ull)stack_time());
    out_field(out, "clock", "%s",
              stack_time()   ? "by NTP"
              : clock_unix() ? "by the firmware"
                             : "not set");
    out_end_object(out);
    return HV_OK;
}

static enum hv_status ntp_set(const struct schema_args *args, struct out *out)
{
    const char *server = args_text(args, "server");
    enum servers_ntp how = SERVERS_NTP_HAND;
    ip_addr_t address;

    if (!server || !server[0] || strlen(server) >= sizeof(ntp_by_hand))
        return cmd_net_bad(out, "server", server ? server : "", "an address, a name, dhcp, or off",
                           "net ntp set 10.0.0.1");
    if (!strcmp(server, "off"))
        how = SERVERS_NTP_OFF;
    if (!strcmp(server, "dhcp"))
        how = SERVERS_NTP_DHCP;
    strcpy(ntp_by_hand, how == SERVERS_NTP_DHCP ? "" : server);
    servers_set_ntp(how, address_parse(server, &address) ? &address : NULL, server);
    net_wake();
    return HV_OK;
}

static enum hv_status run_ntp(const struct schema_args *args, struct out *out)
{
    static const struct cmd_net_action actions[] = {{"show", ntp_show}, {"set", ntp_set}};

    return cmd_net_act(actions, ARRAY_LEN(actions), args, out);
}

/* ---- what survives ---------------------------------------------------------------------------
 */
static void save_names(struct schema_text *t)
{
    if (dns_by_hand[0])
        schema_put(t, "net dns set %s", dns_by_hand);
    if (ntp_by_hand[0])
        schema_put(t, "net ntp set %s", ntp_by_hand);
}
SCHEMA_SAVES(save_names, SAVES_ROUTE);

static const struct schema_arg dns_args[] = {
    {"action", PLACE_OBJECT, ARG_ENUM, "show|set|lookup", .help = "what to do"},
    {"name", PLACE_OPTIONAL, ARG_WORD,
     .help = "set: servers, or dhcp for those that it names; lookup: a name"},
    {0},
};
static const struct schema_arg ntp_args[] = {
    {"action", PLACE_OBJECT, ARG_ENUM, "show|set", .help = "what to do"},
    {"server", PLACE_OPTIONAL, ARG_WORD,
     .help = "address or name; dhcp: what it names, as at first; off: none"},
    {0},
};

static const struct schema_command commands[] = {
    {"net", "dns", "name servers, and looking up a name", "net dns lookup deb.debian.org",
     ROLE_OPERATE, dns_args, NULL, run_dns},
    {"net", "ntp", "time from the network", "net ntp set 10.0.0.1", ROLE_ADMIN, ntp_args, NULL,
     run_ntp},
};
SCHEMA_COMMANDS(commands);
