/* `net switch`, `net mac`, and what the other `net` commands share; runs in the shell's fiber. */
#include "control/cmd_net.h"

#include <stdio.h>
#include <string.h>

#include "control/port_settings.h"
#include "control/rt/clock.h"
#include "net/kif.h"
#include "net/mac_address.h"
#include "net/net.h"
#include "net/uplink.h"

typedef unsigned long long ull;

enum hv_status cmd_net_act(const struct cmd_net_action *actions, u32 count,
                           const struct schema_args *args, struct out *out)
{
    const char *name = args_text(args, "action");

    for (u32 i = 0; i < count; i++) {
        if (!strcmp(actions[i].name, name))
            return actions[i].run(args, out);
    }
    return HV_EINVAL; /* the schema has an enumeration */
}

static struct net_switch *stand_in;

void cmd_net_stand_in(struct net_switch *sw)
{
    stand_in = sw;
}

static enum hv_status needs(struct out *out, const char *what, const char *hint)
{
    return out_error(out, HV_EINVAL, "E_SYNTAX", hint, "%s is missing", what);
}

struct net_switch *cmd_net_switch(const struct schema_args *args, const char *name, struct out *out)
{
    const char *text = args_text(args, name);
    bool beside = text && stand_in && !strcmp(stand_in->name, text);
    struct net_switch *sw = beside ? stand_in : text ? switches_named(text) : NULL;

    if (!text)
        needs(out, "the name of a switch", "net switch list");
    else if (!sw)
        out_error(out, HV_ENOENT, "E_NO_SWITCH", "net switch list", "no switch is named '%s'",
                  text);
    return sw;
}

struct switch_port *cmd_net_port_named(const char *name)
{
    struct switch_port *p = stand_in ? switch_port_named(stand_in, name) : NULL;

    return p ? p : switches_port(name);
}

struct switch_port *cmd_net_port(const struct schema_args *args, const char *name, struct out *out)
{
    const char *text = args_text(args, name);
    struct switch_port *p = text ? cmd_net_port_named(text) : NULL;

    if (!text)
        needs(out, "the name of a port", "net port list");
    else if (!p)
        out_error(out, HV_ENOENT, "E_NO_PORT", "net port list", "no port is named '%s'", text);
    return p;
}

enum hv_status cmd_net_bad(struct out *out, const char *name, const char *value, const char *what,
                           const char *example)
{
    return out_error(out, HV_EINVAL, "E_VALUE", example, "%s: '%s' is not %s", name, value, what);
}

/* Digits, perhaps a point and up to three more; *value in thousandths.  The rest of the text. */
static const char *decimal(const char *at, u64 *value)
{
    const char *from = at;
    u64 unit = 1000;

    *value = 0;
    for (; *at >= '0' && *at <= '9' && at - from < 12; at++)
        *value = *value * 10 + (u64)(*at - '0');
    if (at == from)
        return NULL;
    *value *= 1000;
    if (*at == '.') {
        for (at++; *at >= '0' && *at <= '9' && unit > 1; at++)
            *value += (u64)(*at - '0') * (unit /= 10);
    }
    return at;
}

struct unit {
    const char *name;
    u64 factor;
};

static bool with_unit(const char *text, const struct unit *units, u32 count, u64 *value)
{
    u64 thousandths;
    const char *rest = decimal(text, &thousandths);

    for (u32 i = 0; rest && i < count; i++) {
        if (!strcmp(rest, units[i].name))
            return !__builtin_mul_overflow(thousandths, units[i].factor, value) &&
                   (*value /= 1000, true);
    }
    return false;
}

bool cmd_net_rate(const char *text, u64 *value)
{
    static const struct unit units[] = {
        {"", 1},           {"k", 1000},          {"K", 1000},       {"m", 1000000},
        {"M", 1000000},    {"g", 1000000000},    {"G", 1000000000}, {"kbit", 1000},
        {"mbit", 1000000}, {"gbit", 1000000000},
    };

    return with_unit(text, units, ARRAY_LEN(units), value);
}

bool cmd_net_time(const char *text, u64 *ns)
{
    static const struct unit units[] = {
        {"ms", CLOCK_MS}, {"us", CLOCK_US}, {"s", CLOCK_SECOND}, {"0", 0}};

    return with_unit(text, units, ARRAY_LEN(units), ns) || (!strcmp(text, "0") && (*ns = 0, true));
}

bool cmd_net_percent(const char *text, u32 *ppm)
{
    static const struct unit units[] = {{"%", 10000}, {"", 10000}};
    u64 value;

    if (!with_unit(text, units, ARRAY_LEN(units), &value) || value > 1000000)
        return false;
    *ppm = (u32)value;
    return true;
}

/* ---- net switch ------------------------------------------------------------------------------ */
static enum hv_status switch_list(const struct schema_args *args, struct out *out)
{
    static const char *const columns[] = {"SWITCH", "PORTS", "UPLINKS", "MTU",
                                          "MACS",   "TEAM",  "IN",      "OUT"};
    static const u8 widths[] = {10, 5, 7, 5, 6, 14, 10, 0};
    struct net_switch *sw;

    (void)args;
    if (!switches_at(0)) {
        out_printf(out, "There is no virtual switch. `net switch add vsw0` makes one.\n");
        return HV_OK;
    }
    out_table(out, columns, widths, ARRAY_LEN(columns));
    for (u32 i = 0; (sw = switches_at(i)); i++) {
        struct switch_counters c;

        switch_total(sw, &c);
        out_cell(out, "%s", sw->name);
        out_cell(out, "%u", sw->port_count);
        out_cell(out, "%u", sw->team.count);
        out_cell(out, "%u", sw->mtu);
        out_cell(out, "%u", sw->macs.used);
        out_cell(out, "%s", team_policy_names[sw->team.policy]);
        out_cell(out, "%llu", (ull)c.in_frames);
        out_cell(out, "%llu", (ull)c.out_frames);
    }
    return HV_OK;
}

static bool good_mtu(const struct schema_args *args, struct out *out, u32 *mtu)
{
    u64 value = args_number(args, "mtu", *mtu);

    if (value < 68 || value > SWITCH_MTU_MAX) {
        out_error(out, HV_EINVAL, "E_VALUE", "mtu=1500", "mtu must be 68 to %u", SWITCH_MTU_MAX);
        return false;
    }
    *mtu = (u32)value;
    return true;
}

static enum hv_status switch_add(const struct schema_args *args, struct out *out)
{
    const char *name = args_text(args, "name");
    struct net_switch *sw;
    u32 mtu = SWITCH_MTU;

    if (!name)
        return needs(out, "a name", "net switch add vsw0");
    if (!good_mtu(args, out, &mtu))
        return HV_EINVAL;
    switch (switches_add(name, mtu, &sw)) {
    case HV_OK:
        net_wake();
        return HV_OK;
    case HV_EEXIST:
        return out_error(out, HV_EEXIST, "E_EXISTS", "another name", "there is a switch '%s'",
                         name);
    case HV_EINVAL:
        return out_error(out, HV_EINVAL, "E_NAME", "vsw0",
                         "a name has 1 to 15 letters, digits, - and _");
    case HV_E2BIG:
        return out_error(out, HV_E2BIG, "E_FULL", "net switch delete", "%u switches are the most",
                         SWITCHES_MAX);
    default:
        return out_error(out, HV_ENOMEM, "E_MEMORY", "host mem", "no memory for a switch");
    }
}

/* An uplink's buffers and card were made for frames of the MTU that it had. */
static bool fits_uplinks(struct net_switch *sw, u32 mtu, struct out *out)
{
    for (u32 i = 0; i < sw->team.count; i++) {
        const struct nic *n = uplink_nic(sw->ports[sw->team.links[i].port]);

        if (n && mtu > n->mtu) {
            out_error(out, HV_EBUSY, "E_UPLINK_IN_USE",
                      "net uplink remove, net switch set, net uplink add",
                      "%s was set up for an MTU of %u", n->name, n->mtu);
            return false;
        }
    }
    return true;
}

static enum hv_status switch_set(const struct schema_args *args, struct out *out)
{
    struct net_switch *sw = cmd_net_switch(args, "name", out);
    const char *snooping = args_text(args, "snooping"), *age = args_text(args, "age");
    u32 mtu = sw ? sw->mtu : 0;
    u64 ns = 0;

    if (!sw)
        return HV_ENOENT;
    if (age && (!cmd_net_time(age, &ns) || ns < CLOCK_SECOND))
        return cmd_net_bad(out, "age", age, "a time of at least 1 s", "age=300s");
    if (!good_mtu(args, out, &mtu) || (mtu > sw->mtu && !fits_uplinks(sw, mtu, out)))
        return HV_EINVAL;
    sw->mtu = mtu;
    kif_mtu_changed(sw);
    if (snooping)
        sw->snooping = !strcmp(snooping, "on");
    if (age)
        mac_table_set_age(&sw->macs, ns);
    return HV_OK;
}

static enum hv_status switch_show(const struct schema_args *args, struct out *out)
{
    struct net_switch *sw = cmd_net_switch(args, "name", out);
    struct switch_counters c;
    char mac[MAC_ADDRESS_TEXT];

    if (!sw)
        return HV_ENOENT;
    switch_total(sw, &c);
    mac_address_format(sw->mac, mac);
    out_field(out, "name", "%s", sw->name);
    out_field(out, "address", "%s", mac);
    out_field(out, "mtu", "%u", sw->mtu);
    out_field(out, "ports", "%u, of these %u uplinks", sw->port_count, sw->team.count);
    out_field(out, "addresses", "%u of %u, %llu learned, %llu moved, %llu aged, %llu without room",
              sw->macs.used, mac_table_size(&sw->macs), (ull)sw->macs.learned, (ull)sw->macs.moved,
              (ull)sw->macs.aged, (ull)sw->macs.full);
    out_field(out, "age", "%llu s", ((ull)sw->macs.age << 26) / CLOCK_SECOND);
    out_field(out, "snooping", "%s", sw->snooping ? "on" : "off");
    out_field(out, "in", "%llu frames, %llu bytes", (ull)c.in_frames, (ull)c.in_bytes);
    out_field(out, "out", "%llu frames, %llu bytes", (ull)c.out_frames, (ull)c.out_bytes);
    out_field(out, "flooded", "%llu", (ull)sw->flooded);
    for (u32 i = 1; i < DROP_REASONS; i++) {
        if (c.drop[i])
            out_field(out, "dropped", "%llu %s", (ull)c.drop[i], switch_drop_names[i]);
    }
    out_end_object(out);
    return HV_OK;
}

static enum hv_status switch_delete(const struct schema_args *args, struct out *out)
{
    struct net_switch *sw = cmd_net_switch(args, "name", out);

    if (!sw)
        return HV_ENOENT;
    if (switches_remove(sw) == HV_EBUSY)
        return out_error(out, HV_EBUSY, "E_BUSY", "net port list",
                         "guests or kernel interfaces are on %s", sw->name);
    return HV_OK;
}

static enum hv_status run_switch(const struct schema_args *args, struct out *out)
{
    static const struct cmd_net_action actions[] = {{"list", switch_list},
                                                    {"add", switch_add},
                                                    {"set", switch_set},
                                                    {"show", switch_show},
                                                    {"delete", switch_delete}};

    return cmd_net_act(actions, ARRAY_LEN(actions), args, out);
}

/* ---- net mac --------------------------------------------------------------------------------- */
static enum hv_status mac_list(const struct schema_args *args, struct out *out)
{
    static const char *const columns[] = {"ADDRESS", "VLAN", "PORT", "KIND", "AGE"};
    static const char *const kinds[] = {"", "learned", "static", "own"};
    static const u8 widths[] = {17, 4, 12, 7, 0};
    struct net_switch *sw = cmd_net_switch(args, "switch", out);
    u32 tick = MAC_TABLE_TICK(clock_ns());

    if (!sw)
        return HV_ENOENT;
    out_table(out, columns, widths, ARRAY_LEN(columns));
    for (u32 i = 0; i < mac_table_size(&sw->macs) && !out_cancelled(out); i++) {
        const struct mac_entry *e = mac_table_at(&sw->macs, i, tick);
        char mac[MAC_ADDRESS_TEXT];
        u32 vlan = e ? e->key >> 48 & 0xfff : 0;

        if (!e)
            continue;
        mac_address_format(e->key & BITS(47, 0), mac);
        out_cell(out, "%s", mac);
        if (vlan == MAC_TABLE_ANY_VLAN)
            out_cell(out, "all");
        else
            out_cell(out, "%u", vlan);
        out_cell(out, "%s", sw->ports[e->port]->name);
        out_cell(out, "%s", kinds[e->kind & 3]);
        if (e->kind == MAC_LEARNED)
            out_cell(out, "%llu s", ((ull)(tick - e->seen) << 26) / CLOCK_SECOND);
        else
            out_cell(out, "-");
    }
    return HV_OK;
}

static bool mac_argument(const struct schema_args *args, struct out *out, u64 *mac, u32 *vlan)
{
    const char *text = args_text(args, "mac");

    *vlan = (u32)args_number(args, "vlan", 0);
    if (!text || !mac_address_parse(text, mac) || frame_mac_is_group(*mac) || !*mac) {
        cmd_net_bad(out, "mac", text ? text : "", "the address of one station",
                    "mac=06:42:48:01:02:03");
        return false;
    }
    if (*vlan > VLAN_MAX) {
        out_error(out, HV_EINVAL, "E_VALUE", "vlan=10", "vlan must be 0 to %u", VLAN_MAX);
        return false;
    }
    return true;
}

static enum hv_status add_mac(const struct schema_args *args, struct out *out)
{
    struct net_switch *sw = cmd_net_switch(args, "switch", out);
    struct switch_port *p = sw ? cmd_net_port(args, "port", out) : NULL;
    u64 mac;
    u32 vlan;

    if (!p || !mac_argument(args, out, &mac, &vlan))
        return HV_EINVAL;
    if (p->sw != sw)
        return out_error(out, HV_EINVAL, "E_NO_PORT", "net port list", "%s is not on %s", p->name,
                         sw->name);
    enum hv_status status = switch_mac_add(sw, mac, vlan, p->index);
    if (status)
        return out_error(out, status, status == HV_EEXIST ? "E_EXISTS" : "E_FULL", "net mac list",
                         status == HV_EEXIST ? "that address is fixed already"
                                             : "no room for that address");
    return HV_OK;
}

static enum hv_status mac_add(const struct schema_args *args, struct out *out)
{
    return port_settings_run(args, out, "port", add_mac);
}

static enum hv_status mac_remove(const struct schema_args *args, struct out *out)
{
    struct net_switch *sw = cmd_net_switch(args, "switch", out);
    const struct mac_entry *e;
    u64 mac;
    u32 vlan;

    if (!sw || !mac_argument(args, out, &mac, &vlan))
        return HV_EINVAL;
    bool kept = port_settings_forget_mac(sw->name, mac, vlan);
    e = mac_table_find(&sw->macs, mac_table_key(mac, vlan), MAC_TABLE_TICK(clock_ns()));
    if (!e && kept)
        return HV_OK;
    if (!e || e->kind == MAC_OWN)
        return out_error(out, HV_ENOENT, "E_NO_MAC", "net mac list",
                         e ? "a port's own address stays" : "no such address in that VLAN");
    mac_table_remove(&sw->macs, e->key);
    return HV_OK;
}

static enum hv_status run_mac(const struct schema_args *args, struct out *out)
{
    static const struct cmd_net_action actions[] = {
        {"list", mac_list}, {"add", mac_add}, {"remove", mac_remove}};

    return cmd_net_act(actions, ARRAY_LEN(actions), args, out);
}

static const struct schema_arg switch_args[] = {
    {"action", PLACE_OBJECT, ARG_ENUM, "list|add|set|show|delete", .help = "what to do"},
    {"name", PLACE_OPTIONAL, ARG_WORD, .help = "name of the switch"},
    {"mtu", PLACE_KEY, ARG_NUMBER, .help = "longest payload of a frame; 9000 for jumbo frames"},
    {"snooping", PLACE_KEY, ARG_ENUM, "on|off", .help = "IGMP and MLD snooping"},
    {"age", PLACE_KEY, ARG_WORD, .help = "how long a learned address stays, as 300s"},
    {0},
};
static const struct schema_arg mac_args[] = {
    {"action", PLACE_OBJECT, ARG_ENUM, "list|add|remove", .help = "what to do"},
    {"switch", PLACE_OPTIONAL, ARG_WORD, .help = "name of the switch"},
    {"mac", PLACE_KEY, ARG_WORD, .help = "address"},
    {"vlan", PLACE_KEY, ARG_NUMBER, .help = "its VLAN"},
    {"port", PLACE_KEY, ARG_WORD, .help = "the port it stays at"},
    {0},
};

static const struct schema_command commands[] = {
    {"net", "switch", "virtual switches", "net switch add vsw0 mtu=9000", ROLE_OPERATE, switch_args,
     NULL, run_switch},
    {"net", "mac", "addresses of a switch: learned, static, ports' own",
     "net mac add vsw0 mac=00:11:22:33:44:55 port=nic0", ROLE_OPERATE, mac_args, NULL, run_mac},
};
SCHEMA_COMMANDS(commands);
