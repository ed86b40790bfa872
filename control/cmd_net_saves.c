/* Switches, uplinks and ports as commands that make them again; called by control/saved.c. */
#include "control/cmd_net_saves.h"

#include <stdio.h>
#include <string.h>

#include "control/rt/clock.h"
#include "control/schema.h"
#include "net/first_boot.h"
#include "net/mac_address.h"
#include "net/switches.h"
#include "net/uplink.h"

typedef unsigned long long ull;

/* ---- policies ---------------------------------------------------------------------------------
 */
static void save_policy(struct schema_text *t, const char *name, const struct policy *p,
                        const struct policy *usual)
{
    static const char *const choices[] = {"inherit", "reject", "accept"};
    static const char *const storms[STORM_CLASSES] = {"broadcast", "multicast", "unknown"};
    char line[300];
    u32 n = 0;

    for (u32 i = 0; i < POLICY_ITEMS; i++) {
        if (p->choice[i] != usual->choice[i])
            n += (u32)snprintf(line + n, sizeof(line) - n, " %s=%s", policy_names[i],
                               choices[p->choice[i]]);
    }
    for (u32 i = 0; i < STORM_CLASSES; i++) {
        if (p->storm[i] != usual->storm[i])
            n += (u32)snprintf(line + n, sizeof(line) - n, " %s=%u", storms[i], p->storm[i]);
    }
    if (n)
        schema_put(t, "net policy %s%s", name, line);
}

/* ---- switches ---------------------------------------------------------------------------------
 */
static void save_switch(struct schema_text *t, const struct net_switch *sw)
{
    struct policy usual;
    u64 age = ((ull)sw->macs.age << 26) / CLOCK_SECOND;

    schema_put(t, "net switch add %s mtu=%u", sw->name, sw->mtu);
    if (!sw->snooping)
        schema_put(t, "net switch set %s snooping=off", sw->name);
    if (sw->macs.age != SWITCH_AGE_NS >> 26)
        schema_put(t, "net switch set %s age=%llus", sw->name, (ull)MAX(age + 1, 1ull));
    policy_default(&usual);
    save_policy(t, sw->name, &sw->policy, &usual);
}

static void save_switches(struct schema_text *t)
{
    struct net_switch *sw;

    for (u32 i = 0; (sw = switches_at(i)); i++)
        save_switch(t, sw);
}
SCHEMA_SAVES(save_switches, SAVES_SWITCH);

static void save_team(struct schema_text *t, const struct net_switch *sw)
{
    const struct team *team = &sw->team;

    if (team->policy == TEAM_ACTIVE_STANDBY && team->failback && !team->lacp.active &&
        !team->lacp.fast)
        return;
    schema_put(t, "net team set %s policy=%s failback=%s lacp=%s timers=%s", sw->name,
               team_policy_names[team->policy], team->failback ? "yes" : "no",
               team->lacp.active ? "active" : "passive", team->lacp.fast ? "fast" : "slow");
}

/* Before any of them is used: names are given in the order in which cards are found, which is
 * another one when one was added. */
static void save_card(struct schema_text *t, const struct switch_port *p)
{
    const u8 *m = uplink_nic(p)->mac;

    schema_put(t, "net card %s mac=%02x:%02x:%02x:%02x:%02x:%02x", p->name, m[0], m[1], m[2], m[3],
               m[4], m[5]);
}

static void save_uplinks(struct schema_text *t)
{
    static const char *const modes[] = {"off", "listen", "advertise", "both"};
    static const char *const protocols[] = {"lldp", "cdp"};
    struct net_switch *sw;

    for (u32 i = 0; (sw = switches_at(i)); i++) {
        for (u32 k = 0; k < sw->team.count; k++)
            save_card(t, sw->ports[sw->team.links[k].port]);
    }
    for (u32 i = 0; (sw = switches_at(i)); i++) {
        for (u32 k = 0; k < sw->team.count; k++)
            schema_put(t, "net uplink add %s %s", sw->name,
                       sw->ports[sw->team.links[k].port]->name);
        save_team(t, sw);
        for (u32 k = 0; k < DISCOVERY_PROTOCOLS; k++) {
            if (sw->discovery.mode[k])
                schema_put(t, "net %s %s %s", protocols[k], sw->name,
                           modes[sw->discovery.mode[k] & 3]);
        }
    }
}
SCHEMA_SAVES(save_uplinks, SAVES_UPLINK);

/* ---- ports ------------------------------------------------------------------------------------
 */
static void save_vlan(struct schema_text *t, const struct switch_port *p)
{
    struct vlan_port usual;
    char list[600], native[16] = "none";

    if (p->type == PORT_UPLINK)
        vlan_trunk_all(&usual, 0);
    else
        vlan_access(&usual, 0);
    if (!memcmp(&usual, &p->vlan, sizeof(usual)))
        return;
    if (p->vlan.mode == VLAN_ACCESS) {
        schema_put(t, "net port set %s mode=access vlan=%u", p->name, p->vlan.vlan);
        return;
    }
    vlan_format_list(&p->vlan, list, sizeof(list));
    if (p->vlan.vlan != VLAN_NONE)
        snprintf(native, sizeof(native), "%u", p->vlan.vlan);
    schema_put(t, "net port set %s mode=trunk vlans=%s native=%s", p->name, list, native);
}

static void save_shape(struct schema_text *t, const struct switch_port *p, const struct shape *s,
                       const char *direction)
{
    if (s->average && s->peak)
        schema_put(t, "net shape %s avg=%llu peak=%llu burst=%llu dir=%s", p->name, (ull)s->average,
                   (ull)s->peak, (ull)s->burst, direction);
    else if (s->average)
        schema_put(t, "net shape %s avg=%llu burst=%llu dir=%s", p->name, (ull)s->average,
                   (ull)s->burst, direction);
}

static void save_port(struct schema_text *t, const struct switch_port *p)
{
    struct policy usual;

    save_vlan(t, p);
    if (p->isolated)
        schema_put(t, "net port set %s isolate=on", p->name);
    if (!p->up && p->type == PORT_KIF)
        schema_put(t, "net port set %s link=down", p->name);
    policy_inherit(&usual);
    save_policy(t, p->name, &p->policy, &usual);
    save_shape(t, p, &p->shape_in, "in");
    save_shape(t, p, &p->shape_out, "out");
    if (p->emulation.delay || p->emulation.loss_ppm)
        schema_put(t, "net link %s delay=%lluus loss=%u.%03u%%", p->name,
                   (ull)(p->emulation.delay / CLOCK_US), p->emulation.loss_ppm / 10000,
                   p->emulation.loss_ppm % 10000 / 10);
    if (p->mirror_to != SWITCH_NO_PORT)
        schema_put(t, "net mirror %s to=%s dir=%s", p->name, p->sw->ports[p->mirror_to]->name,
                   !p->mirror_out  ? "in"
                   : !p->mirror_in ? "out"
                                   : "both");
}

/* Ports of VMs come and go with them: control/port_settings.c. */
static void save_macs(struct schema_text *t, const struct net_switch *sw)
{
    for (u32 i = 0; i < mac_table_size(&sw->macs); i++) {
        const struct mac_entry *e = mac_table_at(&sw->macs, i, MAC_TABLE_TICK(clock_ns()));
        char mac[MAC_ADDRESS_TEXT];

        if (!e || e->kind != MAC_STATIC || sw->ports[e->port]->type == PORT_VM)
            continue;
        mac_address_format(e->key & BITS(47, 0), mac);
        schema_put(t, "net mac add %s mac=%s vlan=%u port=%s", sw->name, mac,
                   (u32)(e->key >> 48 & 0xfff), sw->ports[e->port]->name);
    }
}

static void save_ports(struct schema_text *t)
{
    struct net_switch *sw;

    for (u32 i = 0; (sw = switches_at(i)); i++) {
        for (u32 k = 0; k < PORTSET_PORTS; k++) {
            if (sw->ports[k] && sw->ports[k]->type != PORT_VM)
                save_port(t, sw->ports[k]);
        }
        save_macs(t, sw);
    }
}
SCHEMA_SAVES(save_ports, SAVES_PORT);

/* ---- net auto ---------------------------------------------------------------------------------
 */
static enum hv_status run_auto(const struct schema_args *args, struct out *out)
{
    const char *mode = args_text(args, "mode");

    if (mode)
        first_boot_enable(!strcmp(mode, "on"));
    else
        out_printf(out, "%s\n", first_boot_enabled() ? "on" : "off");
    return HV_OK;
}

/* ---- net card ---------------------------------------------------------------------------------
 */
static bool has_address(const struct nic *n, u64 mac)
{
    u64 its = 0;

    for (u32 i = 0; i < NIC_MAC_LEN; i++)
        its = its << 8 | n->mac[i];
    return its == mac && !n->gone;
}

/* Of several with one address that which has the name already. */
static struct nic *card_with(u64 mac, const char *name)
{
    struct nic *n = nic_find(name);

    if (n && has_address(n, mac))
        return n;
    for (n = nic_first(); n && !has_address(n, mac);)
        n = n->next;
    return n;
}

static enum hv_status run_card(const struct schema_args *args, struct out *out)
{
    const char *name = args_text(args, "name"), *text = args_text(args, "mac");
    u64 mac;

    if (!text || !mac_address_parse(text, &mac))
        return out_error(out, HV_EINVAL, "E_INVALID", "mac=52:54:00:00:00:01",
                         "'%s' is no address of a card", text ? text : "");
    struct nic *n = card_with(mac, name);
    if (!n)
        return out_error(out, HV_ENOENT, "E_NO_NIC", "host nic",
                         nic_find(name) ? "no card has the address %s; %s is another one now"
                                        : "no card has the address %s; there is no %s",
                         text, name);
    switch (nic_rename(n, name)) {
    case HV_OK:
        return HV_OK;
    case HV_EBUSY:
        return out_error(out, HV_EBUSY, "E_UPLINK_IN_USE", "net uplink remove",
                         "%s or %s is in use", n->name, name);
    default:
        return out_error(out, HV_EINVAL, "E_INVALID", "nic0, nic1, ...", "'%s' is no card's name",
                         name);
    }
}

static const struct schema_arg card_args[] = {
    {"name", PLACE_OBJECT, ARG_WORD, .help = "the name it gets; who had it gets the card's"},
    {"mac", PLACE_KEY, ARG_WORD, .help = "address of the card"},
    {0},
};
static const struct schema_arg auto_args[] = {
    {"mode", PLACE_OPTIONAL, ARG_ENUM, "on|off",
     .help = "on: without a switch, the first card with link gets one, and DHCP"},
    {0},
};

static const struct schema_command commands[] = {
    {"net", "auto", "whether a network is set up by itself when there is none", "net auto off",
     ROLE_VIEW, auto_args, NULL, run_auto},
    {"net", "card", "the name of a card, which it has after hardware was added, too",
     "net card nic0 mac=52:54:00:00:00:01", ROLE_ADMIN, card_args, NULL, run_card},
};
SCHEMA_COMMANDS(commands);
