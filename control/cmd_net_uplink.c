/* Commands about uplinks, and what is heard on a port; run in the shell's fiber. */
#include "control/cmd_net_uplink.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "control/cmd_net.h"
#include "control/rt/clock.h"
#include "control/rt/fiber.h"
#include "net/mac_address.h"
#include "net/net.h"
#include "net/stack.h"
#include "net/uplink.h"

typedef unsigned long long ull;

/* ---- net uplink ------------------------------------------------------------------------------ */
static enum hv_status uplink_list(const struct schema_args *args, struct out *out)
{
    static const char *const columns[] = {"NIC", "SWITCH", "LINK", "MBIT/S", "STATE", "KIND"};
    static const u8 widths[] = {8, 8, 4, 6, 9, 0};
    struct net_switch *sw;

    (void)args;
    out_table(out, columns, widths, ARRAY_LEN(columns));
    for (u32 i = 0; (sw = switches_at(i)); i++) {
        for (u32 k = 0; k < sw->team.count; k++) {
            const struct team_link *l = &sw->team.links[k];
            const struct switch_port *p = sw->ports[l->port];

            out_cell(out, "%s", p->name);
            out_cell(out, "%s", sw->name);
            out_cell(out, "%s", p->up ? "up" : "down");
            out_cell(out, "%llu", (ull)(p->speed / 1000000));
            out_cell(out, "%s", l->used ? "carries" : p->up ? "standby" : "down");
            out_cell(out, "%s", uplink_nic(p)->kind);
        }
    }
    return HV_OK;
}

static enum hv_status uplink_new(const struct schema_args *args, struct out *out)
{
    struct net_switch *sw = cmd_net_switch(args, "switch", out), *other;
    const char *nic = args_text(args, "nic");

    if (!sw)
        return HV_ENOENT;
    other = nic ? switches_uplink_owner(nic) : NULL;
    if (other)
        return out_error(out, HV_EBUSY, "E_UPLINK_IN_USE", "net uplink remove, or another card",
                         "%s is an uplink of %s", nic, other->name);
    switch (uplink_add(sw, nic ? nic : "")) {
    case HV_OK:
        return HV_OK;
    case HV_ENOENT:
        return out_error(out, HV_ENOENT, "E_NO_NIC", "host nic", "no card is named '%s'",
                         nic ? nic : "");
    case HV_EBUSY:
        return out_error(out, HV_EBUSY, "E_UPLINK_IN_USE", "another card", "%s is in use", nic);
    case HV_E2BIG:
        return out_error(out, HV_E2BIG, "E_FULL", "net uplink remove", "%u uplinks are the most",
                         TEAM_LINKS);
    case HV_EEXIST:
        return out_error(out, HV_EEXIST, "E_EXISTS", "net port list", "there is a port '%s'", nic);
    default:
        return out_error(out, HV_ENOMEM, "E_MEMORY", "host mem", "no memory for the buffers");
    }
}

static enum hv_status uplink_delete(const struct schema_args *args, struct out *out)
{
    const char *nic = args_text(args, "switch"); /* the first word: net uplink remove nic0 */

    if (uplink_remove(nic ? nic : "") != HV_OK)
        return out_error(out, HV_ENOENT, "E_NO_NIC", "net uplink list", "'%s' is no uplink",
                         nic ? nic : "");
    return HV_OK;
}

static enum hv_status run_uplink(const struct schema_args *args, struct out *out)
{
    static const struct cmd_net_action actions[] = {
        {"list", uplink_list}, {"add", uplink_new}, {"remove", uplink_delete}};

    return cmd_net_act(actions, ARRAY_LEN(actions), args, out);
}

/* ---- net team -------------------------------------------------------------------------------- */
static void show_lacp(struct out *out, const struct lacp_port *l)
{
    static const char *const rx[] = {"disabled", "expired", "defaulted", "current"};
    static const char *const mux[] = {"detached", "waiting", "attached", "distributing"};
    char mac[MAC_ADDRESS_TEXT];

    mac_address_format(l->partner.system, mac);
    out_field(out, "  lacp", "%s, %s; partner %s key %u port %u; %llu in, %llu out", rx[l->rx & 3],
              mux[l->mux & 3], mac, l->partner.key, l->partner.port, (ull)l->rx_pdus,
              (ull)l->tx_pdus);
}

static enum hv_status team_show(const struct schema_args *args, struct out *out)
{
    const struct net_switch *sw = cmd_net_switch(args, "switch", out);
    const struct team *t = sw ? &sw->team : NULL;

    if (!sw)
        return HV_ENOENT;
    out_field(out, "policy", "%s", team_policy_names[t->policy]);
    out_field(out, "failback", "%s", t->failback ? "yes" : "no");
    if (t->policy == TEAM_LACP)
        out_field(out, "lacp", "%s, %s timers", t->lacp.active ? "active" : "passive",
                  t->lacp.fast ? "fast" : "slow");
    out_field(out, "failovers", "%llu", (ull)t->failovers);
    for (u32 i = 0; i < t->count; i++) {
        const struct team_link *l = &t->links[i];

        out_field(out, sw->ports[l->port]->name, "link %s, %s%s", l->up ? "up" : "down",
                  l->used ? "carries" : "does not carry", l->failed ? ", failed before" : "");
        if (t->policy == TEAM_LACP)
            show_lacp(out, &l->lacp);
    }
    out_end_object(out);
    return HV_OK;
}

static enum hv_status team_set(const struct schema_args *args, struct out *out)
{
    struct net_switch *sw = cmd_net_switch(args, "switch", out);
    const char *policy = args_text(args, "policy"), *failback = args_text(args, "failback"),
               *mode = args_text(args, "lacp"), *timers = args_text(args, "timers");
    u32 p = sw ? sw->team.policy : 0;

    if (!sw)
        return HV_ENOENT;
    for (u32 i = 0; policy && i < TEAM_POLICIES; i++) {
        if (!strcmp(policy, team_policy_names[i]))
            p = i;
    }
    switch_set_team(sw, (enum team_policy)p,
                    failback ? !strcmp(failback, "yes") : sw->team.failback,
                    mode ? !strcmp(mode, "active") : sw->team.lacp.active,
                    timers ? !strcmp(timers, "fast") : sw->team.lacp.fast);
    net_wake();
    return HV_OK;
}

static enum hv_status run_team(const struct schema_args *args, struct out *out)
{
    static const struct cmd_net_action actions[] = {{"show", team_show}, {"set", team_set}};

    return cmd_net_act(actions, ARRAY_LEN(actions), args, out);
}

/* ---- net lldp, net cdp, net neighbors -------------------------------------------------------- */
static enum hv_status set_discovery(const struct schema_args *args, struct out *out,
                                    enum discovery_protocol p)
{
    static const char *const modes[] = {"off", "listen", "advertise", "both"};
    struct net_switch *sw = cmd_net_switch(args, "switch", out);
    struct discovery_info *self = sw ? &sw->discovery.self : NULL;
    const char *mode = args_text(args, "mode");

    if (!sw)
        return HV_ENOENT;
    for (u8 i = 0; i < ARRAY_LEN(modes); i++) {
        if (!strcmp(mode, modes[i]))
            sw->discovery.mode[p] = i;
    }
    snprintf(self->device, sizeof(self->device), "%s", stack_host_name());
    snprintf(self->platform, sizeof(self->platform), "Bulkhead virtual switch %s", sw->name);
    snprintf(self->version, sizeof(self->version), "Bulkhead");
    sw->discovery.next[p] = 0;
    net_wake();
    return HV_OK;
}

static enum hv_status run_lldp(const struct schema_args *args, struct out *out)
{
    return set_discovery(args, out, DISCOVERY_LLDP);
}

static enum hv_status run_cdp(const struct schema_args *args, struct out *out)
{
    return set_discovery(args, out, DISCOVERY_CDP);
}

static enum hv_status run_neighbors(const struct schema_args *args, struct out *out)
{
    static const char *const columns[] = {"UPLINK", "BY",   "DEVICE",  "PORT",
                                          "VLAN",   "LEFT", "ADDRESS", "PLATFORM"};
    static const u8 widths[] = {8, 4, 20, 16, 4, 5, 15, 0};
    struct net_switch *sw;
    u64 now = clock_ns();

    (void)args;
    out_table(out, columns, widths, ARRAY_LEN(columns));
    for (u32 i = 0; (sw = switches_at(i)); i++) {
        for (u32 k = 0; k < DISCOVERY_NEIGHBOURS; k++) {
            const struct discovery_neighbour *n = &sw->discovery.neighbours[k];

            if (!n->used || n->until <= now)
                continue;
            out_cell(out, "%s", sw->ports[n->port]->name);
            out_cell(out, "%s", n->protocol == DISCOVERY_LLDP ? "lldp" : "cdp");
            out_cell(out, "%s", n->info.device);
            out_cell(out, "%s", n->info.port);
            out_cell(out, "%u", n->info.native_vlan);
            out_cell(out, "%llu s", (ull)((n->until - now) / CLOCK_SECOND));
            out_cell(out, "%u.%u.%u.%u", n->info.address[0], n->info.address[1], n->info.address[2],
                     n->info.address[3]);
            out_cell(out, "%s", n->info.platform);
        }
    }
    return HV_OK;
}

static const struct schema_arg uplink_args[] = {
    {"action", PLACE_OBJECT, ARG_ENUM, "list|add|remove", .help = "what to do"},
    {"switch", PLACE_OPTIONAL, ARG_WORD, .help = "name of the switch; for remove, of the card"},
    {"nic", PLACE_OPTIONAL, ARG_WORD, .help = "name of the card, as nic0"},
    {0},
};
static const struct schema_arg team_args[] = {
    {"action", PLACE_OBJECT, ARG_ENUM, "show|set", .help = "what to do"},
    {"switch", PLACE_OPTIONAL, ARG_WORD, .help = "name of the switch"},
    {"policy", PLACE_KEY, ARG_ENUM, "active-standby|srcport|srcmac|iphash|lacp",
     .help = "which uplink takes a frame"},
    {"failback", PLACE_KEY, ARG_ENUM, "yes|no", .help = "an uplink that works again is used again"},
    {"lacp", PLACE_KEY, ARG_ENUM, "active|passive", .help = "who speaks first"},
    {"timers", PLACE_KEY, ARG_ENUM, "fast|slow",
     .help = "a silent partner is noticed in 3 or 90 s"},
    {0},
};
static const struct schema_arg discovery_args[] = {
    {"switch", PLACE_OBJECT, ARG_WORD, .help = "name of the switch"},
    {"mode", PLACE_OBJECT, ARG_ENUM, "off|listen|advertise|both", .help = "hear, tell, or both"},
    {0},
};
static const struct schema_command commands[] = {
    {"net", "uplink", "network cards of switches", "net uplink add vsw0 nic0", ROLE_ADMIN,
     uplink_args, NULL, run_uplink},
    {"net", "team", "how several uplinks work together",
     "net team set vsw0 policy=lacp timers=fast", ROLE_ADMIN, team_args, NULL, run_team},
    {"net", "lldp", "neighbours by LLDP", "net lldp vsw0 both", ROLE_OPERATE, discovery_args, NULL,
     run_lldp},
    {"net", "cdp", "neighbours by Cisco Discovery Protocol", "net cdp vsw0 listen", ROLE_OPERATE,
     discovery_args, NULL, run_cdp},
    {"net", "neighbors", "what LLDP and CDP heard", NULL, ROLE_VIEW, NULL, NULL, run_neighbors},
};
SCHEMA_COMMANDS(commands);
