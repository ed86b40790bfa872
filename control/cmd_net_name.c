/* Commands about names and time from the network; run in a shell's fiber. */
#include "control/cmd_net_name.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <lwip/apps/sntp.h>
#include <lwip/dns.h>

#include "control/cmd_net.h"
#include "control/rt/clock.h"
#include "control/rt/fiber.h"
#include "net/kif.h"
#include "net/net.h"
#include "net/stack.h"

typedef unsigned long long ull;

#define RESOLVE_NS (10 * CLOCK_SECOND)

static char dns_by_hand[160], ntp_by_hand[64]; /* lwIP keeps a pointer to the second */

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

/* fe80::1%k0: an address that is good on one link alone, and the interface there.  Without one it
 * is the first interface's. */
static bool on_a_link(const char *text, ip_addr_t *to)
{
    u32 n = (u32)strcspn(text, "%");
    const struct kif *k = text[n] ? kif_named(text + n + 1) : kif_first();
    char address[48];

    snprintf(address, sizeof(address), "%.*s", (int)MIN(n, (u32)sizeof(address) - 1), text);
    if (!k || !ipaddr_aton(address, to) || !IP_IS_V6(to) || !ip6_addr_islinklocal(ip_2_ip6(to)))
        return false;
    ip6_addr_assign_zone(ip_2_ip6(to), IP6_UNICAST, &k->netif);
    return true;
}

bool cmd_net_resolve(const char *text, struct out *out, ip_addr_t *to)
{
    if (on_a_link(text, to))
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
static enum hv_status dns_show(const struct schema_args *args, struct out *out)
{
    (void)args;
    for (u32 i = 0; i < DNS_MAX_SERVERS; i++) {
        if (!ip_addr_isany(dns_getserver((u8)i)))
            out_field(out, "server", "%s", ipaddr_ntoa(dns_getserver((u8)i)));
    }
    out_field(out, "host name", "%s", stack_host_name());
    out_end_object(out);
    return HV_OK;
}

static enum hv_status dns_set(const struct schema_args *args, struct out *out)
{
    const char *list = args_text(args, "name");
    ip_addr_t servers[DNS_MAX_SERVERS];
    u32 count = 0;

    for (const char *p = list; p && *p; p += *p == ',') {
        char one[48];
        size_t n = strcspn(p, ",");

        snprintf(one, sizeof(one), "%.*s", (int)MIN(n, sizeof(one) - 1), p);
        if (count == DNS_MAX_SERVERS || n >= sizeof(one) || !ipaddr_aton(one, &servers[count++]))
            return cmd_net_bad(out, "servers", list, "up to three addresses",
                               "net dns set 10.0.0.1,10.0.0.2");
        p += n;
    }
    if (!count)
        return cmd_net_bad(out, "servers", "", "a list of addresses", "net dns set 10.0.0.1");
    for (u32 i = 0; i < DNS_MAX_SERVERS; i++)
        dns_setserver((u8)i, i < count ? &servers[i] : IP_ADDR_ANY);
    snprintf(dns_by_hand, sizeof(dns_by_hand), "%s", list);
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
    (void)args;
    out_field(out, "state", "%s", sntp_enabled() ? "on" : "off");
    for (u32 i = 0; i < SNTP_MAX_SERVERS; i++) {
        if (sntp_getservername((u8)i))
            out_field(out, "server", "%s", sntp_getservername((u8)i));
        else if (!ip_addr_isany(sntp_getserver((u8)i)))
            out_field(out, "server", "%s%s", ipaddr_ntoa(sntp_getserver((u8)i)),
                      sntp_getreachability((u8)i) ? ", answers" : "");
    }
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
    ip_addr_t address;

    if (!server || strlen(server) >= sizeof(ntp_by_hand))
        return cmd_net_bad(out, "server", server ? server : "", "an address, a name, or off",
                           "net ntp set 10.0.0.1");
    sntp_stop();
    ntp_by_hand[0] = 0;
    if (!strcmp(server, "off"))
        return HV_OK;
    strcpy(ntp_by_hand, server);
    if (ipaddr_aton(server, &address))
        sntp_setserver(0, &address);
    else
        sntp_setservername(0, ntp_by_hand);
    sntp_setoperatingmode(SNTP_OPMODE_POLL);
    sntp_init();
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
    {"name", PLACE_OPTIONAL, ARG_WORD, .help = "servers to use, or a name to look up"},
    {0},
};
static const struct schema_arg ntp_args[] = {
    {"action", PLACE_OBJECT, ARG_ENUM, "show|set", .help = "what to do"},
    {"server", PLACE_OPTIONAL, ARG_WORD, .help = "address or name; off ends it"},
    {0},
};

static const struct schema_command commands[] = {
    {"net", "dns", "name servers, and looking up a name", "net dns lookup deb.debian.org",
     ROLE_OPERATE, dns_args, NULL, run_dns},
    {"net", "ntp", "time from the network", "net ntp set 10.0.0.1", ROLE_ADMIN, ntp_args, NULL,
     run_ntp},
};
SCHEMA_COMMANDS(commands);
