/* Commands about ports of switches; run in the shell's fiber. */
#include "control/cmd_net_port.h"

#include <stdio.h>
#include <string.h>

#include "control/cmd_net.h"
#include "control/port_settings.h"
#include "control/rt/clock.h"
#include "net/mac_address.h"
#include "net/net.h"

typedef unsigned long long ull;

static void vlan_text(const struct vlan_port *v, char *buf, u32 len)
{
    char list[64];

    if (v->mode == VLAN_ACCESS) {
        snprintf(buf, len, "%u", v->vlan);
        return;
    }
    vlan_format_list(v, list, sizeof(list));
    if (v->vlan == VLAN_NONE)
        snprintf(buf, len, "%s native none", list);
    else
        snprintf(buf, len, "%s native %u", list, v->vlan);
}

static void port_row(struct out *out, const struct switch_port *p)
{
    char text[96];

    out_cell(out, "%s", p->name);
    out_cell(out, "%s", p->sw->name);
    out_cell(out, "%s", switch_type_names[p->type]);
    out_cell(out, "%s", p->up ? "up" : "down");
    if (p->mac)
        mac_address_format(p->mac_now, text);
    out_cell(out, "%s", p->mac ? text : "-");
    out_cell(out, "%s", p->vlan.mode == VLAN_TRUNK ? "trunk" : "access");
    vlan_text(&p->vlan, text, sizeof(text));
    out_cell(out, "%s", text);
    out_cell(out, "%llu", (ull)p->counters.in_frames);
    out_cell(out, "%llu", (ull)p->counters.out_frames);
}

static enum hv_status port_list(const struct schema_args *args, struct out *out)
{
    static const char *const columns[] = {"PORT", "SWITCH", "TYPE", "LINK", "ADDRESS",
                                          "MODE", "VLAN",   "IN",   "OUT"};
    static const u8 widths[] = {10, 8, 6, 4, 17, 6, 12, 8, 0};
    const char *only = args_text(args, "port");
    struct net_switch *sw;

    out_table(out, columns, widths, ARRAY_LEN(columns));
    for (u32 i = 0; (sw = switches_at(i)); i++) {
        for (u32 k = 0; k < PORTSET_PORTS; k++) {
            if (sw->ports[k] && (!only || !strcmp(only, sw->name)))
                port_row(out, sw->ports[k]);
        }
    }
    return HV_OK;
}

static void show_shape(struct out *out, const char *name, const struct shape *s)
{
    if (s->average)
        out_field(out, name, "average %llu bit/s, peak %llu, burst %llu bytes", (ull)s->average,
                  (ull)s->peak, (ull)s->burst);
}

static enum hv_status port_show(const struct schema_args *args, struct out *out)
{
    const struct switch_port *p = cmd_net_port(args, "port", out);
    static const char *const choices[] = {"inherit", "reject", "accept"};
    const struct switch_counters *c = p ? &p->counters : NULL;
    char text[96];

    if (!p)
        return HV_ENOENT;
    out_field(out, "name", "%s", p->name);
    out_field(out, "switch", "%s", p->sw->name);
    out_field(out, "type", "%s", switch_type_names[p->type]);
    out_field(out, "link", "%s", p->up ? "up" : "down");
    if (p->mac) {
        mac_address_format(p->mac, text);
        out_field(out, "address", "%s", text);
        mac_address_format(p->mac_now, text);
        out_field(out, "address of the guest", "%s%s", text,
                  p->blocked ? ", refused by policy" : "");
    }
    vlan_text(&p->vlan, text, sizeof(text));
    out_field(out, "vlan", "%s %s", p->vlan.mode == VLAN_TRUNK ? "trunk" : "access", text);
    for (u32 i = 0; i < POLICY_ITEMS; i++)
        out_field(out, policy_names[i], "%s%s", choices[p->effective.choice[i]],
                  p->policy.choice[i] == POLICY_INHERIT ? " (by the switch)" : "");
    out_field(out, "isolated", "%s", p->isolated ? "yes" : "no");
    show_shape(out, "shaped in", &p->shape_in);
    show_shape(out, "shaped out", &p->shape_out);
    if (p->emulation.delay || p->emulation.loss_ppm)
        out_field(out, "link emulation", "delay %llu us each way, loss %u in a million",
                  (ull)(p->emulation.delay / CLOCK_US), p->emulation.loss_ppm);
    if (p->mirror_to != SWITCH_NO_PORT)
        out_field(out, "mirrored to", "%s", p->sw->ports[p->mirror_to]->name);
    out_field(out, "in", "%llu frames, %llu bytes, %llu broadcast, %llu multicast",
              (ull)c->in_frames, (ull)c->in_bytes, (ull)c->in_broadcast, (ull)c->in_multicast);
    out_field(out, "out", "%llu frames, %llu bytes, %llu broadcast, %llu multicast",
              (ull)c->out_frames, (ull)c->out_bytes, (ull)c->out_broadcast, (ull)c->out_multicast);
    for (u32 i = 1; i < DROP_REASONS; i++) {
        if (c->drop[i])
            out_field(out, "dropped", "%llu %s", (ull)c->drop[i], switch_drop_names[i]);
    }
    out_end_object(out);
    return HV_OK;
}

static bool vlan_number(const char *text, bool none, u16 *vlan)
{
    u64 value;

    if (none && !strcmp(text, "none")) {
        *vlan = VLAN_NONE;
        return true;
    }
    if (!conf_parse_number(conf_span_of(text), &value) || value > VLAN_MAX)
        return false;
    *vlan = (u16)value;
    return true;
}

/* mode=, vlan=, vlans=, native= into *v.  False: an error was printed. */
static bool vlan_arguments(const struct schema_args *args, struct out *out, struct vlan_port *v)
{
    const char *mode = args_text(args, "mode"), *vlan = args_text(args, "vlan"),
               *vlans = args_text(args, "vlans"), *native = args_text(args, "native");

    if (mode && !strcmp(mode, "trunk") && v->mode != VLAN_TRUNK)
        vlan_trunk_all(v, 0);
    else if (mode && !strcmp(mode, "access") && v->mode != VLAN_ACCESS)
        vlan_access(v, 0);
    if (vlan && (v->mode != VLAN_ACCESS || !vlan_number(vlan, false, &v->vlan))) {
        cmd_net_bad(out, "vlan", vlan, v->mode == VLAN_ACCESS ? "0 to 4094" : "for access ports",
                    "mode=access vlan=10, or mode=trunk vlans=10,20 native=1");
        return false;
    }
    if ((vlans || native) && v->mode != VLAN_TRUNK) {
        cmd_net_bad(out, "vlans", vlans ? vlans : native, "for access ports",
                    "mode=trunk vlans=10,20");
        return false;
    }
    if (vlans && !vlan_parse_list(v, vlans)) {
        cmd_net_bad(out, "vlans", vlans, "a list of 1 to 4094", "vlans=10,20-29, or vlans=all");
        return false;
    }
    if (native && !vlan_number(native, true, &v->vlan)) {
        cmd_net_bad(out, "native", native, "0 to 4094 or none", "native=1");
        return false;
    }
    return true;
}

static enum hv_status set_port(const struct schema_args *args, struct out *out)
{
    struct switch_port *p = cmd_net_port(args, "port", out);
    const char *isolate = args_text(args, "isolate"), *link = args_text(args, "link");
    struct vlan_port v;

    if (!p)
        return HV_ENOENT;
    v = p->vlan;
    if (!vlan_arguments(args, out, &v))
        return HV_EINVAL;
    if (link && p->type == PORT_UPLINK)
        return out_error(out, HV_EINVAL, "E_VALUE", "net uplink remove",
                         "the link of an uplink is the cable's");
    if (memcmp(&v, &p->vlan, sizeof(v)))
        switch_port_set_vlan(p->sw, p->index, &v);
    if (isolate)
        switch_port_isolate(p->sw, p->index, !strcmp(isolate, "on"));
    if (link)
        switch_link(p->sw, p->index, !strcmp(link, "up"), 0, clock_ns());
    return HV_OK;
}

static enum hv_status port_set(const struct schema_args *args, struct out *out)
{
    return port_settings_run(args, out, "port", set_port);
}

static enum hv_status run_port(const struct schema_args *args, struct out *out)
{
    static const struct cmd_net_action actions[] = {
        {"list", port_list}, {"show", port_show}, {"set", port_set}};

    return cmd_net_act(actions, ARRAY_LEN(actions), args, out);
}

/* ---- net policy ------------------------------------------------------------------------------ */
static bool policy_arguments(const struct schema_args *args, struct out *out, struct policy *p)
{
    static const char *const storms[STORM_CLASSES] = {"broadcast", "multicast", "unknown"};

    for (u32 i = 0; i < POLICY_ITEMS; i++) {
        const char *text = args_text(args, policy_names[i]);
        if (text)
            p->choice[i] = (u8)(!strcmp(text, "accept")   ? POLICY_ACCEPT
                                : !strcmp(text, "reject") ? POLICY_REJECT
                                                          : POLICY_INHERIT);
    }
    for (u32 i = 0; i < STORM_CLASSES; i++) {
        u64 rate = args_number(args, storms[i], p->storm[i]);
        if (rate > ~0u) {
            out_error(out, HV_EINVAL, "E_VALUE", "broadcast=1000", "%s: too many", storms[i]);
            return false;
        }
        p->storm[i] = (u32)rate;
    }
    return true;
}

static enum hv_status set_policy(const struct schema_args *args, struct out *out)
{
    const char *name = args_text(args, "object");
    struct switch_port *port = cmd_net_port_named(name);
    struct net_switch *sw = port ? port->sw : switches_named(name);
    struct policy p;

    if (!sw)
        return out_error(out, HV_ENOENT, "E_NO_PORT", "net port list, or net switch list",
                         "no switch or port is named '%s'", name);
    p = port ? port->policy : sw->policy;
    if (!policy_arguments(args, out, &p))
        return HV_EINVAL;
    for (u32 i = 0; !port && i < POLICY_ITEMS; i++) {
        if (p.choice[i] == POLICY_INHERIT)
            return out_error(out, HV_EINVAL, "E_VALUE", "reject or accept",
                             "a switch has nothing to inherit from");
    }
    switch_set_policy(sw, port, &p);
    return HV_OK;
}

/* ---- net shape, net link, net mirror --------------------------------------------------------- */
static enum hv_status no_queue(struct out *out)
{
    return out_error(out, HV_ENOMEM, "E_MEMORY", "host mem", "no memory for the queue");
}

static enum hv_status set_shape(const struct schema_args *args, struct out *out)
{
    struct switch_port *p = cmd_net_port(args, "port", out);
    const char *avg = args_text(args, "avg"), *peak = args_text(args, "peak"),
               *burst = args_text(args, "burst"), *dir = args_text(args, "dir");
    u64 average = 0, most = 0, bytes = 0;

    if (!p)
        return HV_ENOENT;
    if (!avg || (strcmp(avg, "off") && (!cmd_net_rate(avg, &average) || average < 8000)))
        return cmd_net_bad(out, "avg", avg ? avg : "", "a rate of at least 8kbit, or off",
                           "avg=10mbit peak=20mbit burst=256k dir=both");
    if (peak && (!cmd_net_rate(peak, &most) || most < average))
        return cmd_net_bad(out, "peak", peak, "a rate above the average", "peak=20mbit");
    if (burst && !cmd_net_rate(burst, &bytes))
        return cmd_net_bad(out, "burst", burst, "a number of bytes", "burst=256k");
    bytes = MAX(bytes, 2ull * p->sw->mtu); /* less would hold back single frames */
    if (strcmp(dir, "out") && switch_port_shape(p->sw, p->index, true, average, most, bytes))
        return no_queue(out);
    if (strcmp(dir, "in") && switch_port_shape(p->sw, p->index, false, average, most, bytes))
        return no_queue(out);
    net_wake();
    return HV_OK;
}

static enum hv_status set_link(const struct schema_args *args, struct out *out)
{
    struct switch_port *p = cmd_net_port(args, "port", out);
    const char *delay = args_text(args, "delay"), *loss = args_text(args, "loss");
    u64 ns;
    u32 ppm;

    if (!p)
        return HV_ENOENT;
    ns = p->emulation.delay;
    ppm = p->emulation.loss_ppm;
    if (delay && (!cmd_net_time(delay, &ns) || ns > 10 * CLOCK_SECOND))
        return cmd_net_bad(out, "delay", delay, "a time of at most 10s", "delay=50ms");
    if (loss && !cmd_net_percent(loss, &ppm))
        return cmd_net_bad(out, "loss", loss, "0% to 100%", "loss=1%");
    if (switch_port_emulate(p->sw, p->index, ns, ppm))
        return no_queue(out);
    net_wake();
    return HV_OK;
}

static enum hv_status set_mirror(const struct schema_args *args, struct out *out)
{
    struct switch_port *p = cmd_net_port(args, "port", out), *to;
    const char *dir = args_text(args, "dir");

    if (!p)
        return HV_ENOENT;
    if (!strcmp(args_text(args, "to"), "none"))
        return switch_port_mirror(p->sw, p->index, SWITCH_NO_PORT, false, false);
    to = cmd_net_port(args, "to", out);
    if (!to)
        return HV_ENOENT;
    if (to->sw != p->sw || switch_port_mirror(p->sw, p->index, to->index, strcmp(dir, "out") != 0,
                                              strcmp(dir, "in") != 0))
        return out_error(out, HV_EINVAL, "E_MIRROR", "a port of type mirror on the same switch",
                         "%s cannot take the frames of %s", to->name, p->name);
    return HV_OK;
}

/* ---- all of them, also at a port that its VM has not at the moment ----------------------------
 */
static enum hv_status run_policy(const struct schema_args *args, struct out *out)
{
    return port_settings_run(args, out, "object", set_policy);
}

static enum hv_status run_shape(const struct schema_args *args, struct out *out)
{
    return port_settings_run(args, out, "port", set_shape);
}

static enum hv_status run_link(const struct schema_args *args, struct out *out)
{
    return port_settings_run(args, out, "port", set_link);
}

static enum hv_status run_mirror(const struct schema_args *args, struct out *out)
{
    return port_settings_run(args, out, "port", set_mirror);
}

#define CHOICE "reject|accept|inherit"
#define PORT_ARG                                                                                   \
    {                                                                                              \
        "port", PLACE_OBJECT, ARG_WORD, .help = "name of the port"                                 \
    }
#define DIR_ARG(text)                                                                              \
    {                                                                                              \
        "dir", PLACE_KEY, ARG_ENUM, "in|out|both", "both", text                                    \
    }

static const struct schema_arg port_args[] = {
    {"action", PLACE_OBJECT, ARG_ENUM, "list|show|set", .help = "what to do"},
    {"port", PLACE_OPTIONAL, ARG_WORD, .help = "name of the port; for list, of a switch"},
    {"mode", PLACE_KEY, ARG_ENUM, "access|trunk", .help = "one VLAN, or tagged frames of several"},
    {"vlan", PLACE_KEY, ARG_WORD, .help = "VLAN of an access port; 0: none"},
    {"vlans", PLACE_KEY, ARG_WORD, .help = "VLANs of a trunk, as 10,20-29 or all"},
    {"native", PLACE_KEY, ARG_WORD, .help = "VLAN of a trunk's untagged frames, or none"},
    {"isolate", PLACE_KEY, ARG_ENUM, "on|off", .help = "isolated ports do not see each other"},
    {"link", PLACE_KEY, ARG_ENUM, "up|down", .help = "plug or unplug a guest's cable"},
    {0},
};
static const struct schema_arg policy_args[] = {
    {"object", PLACE_OBJECT, ARG_WORD, .help = "name of a switch or port"},
    {"promisc", PLACE_KEY, ARG_ENUM, CHOICE, .help = "it sees all frames of its VLANs"},
    {"macchange", PLACE_KEY, ARG_ENUM, CHOICE, .help = "the guest may change its address"},
    {"forged", PLACE_KEY, ARG_ENUM, CHOICE, .help = "it may send from other addresses"},
    {"dhcpserver", PLACE_KEY, ARG_ENUM, CHOICE, .help = "it may answer DHCP"},
    {"router", PLACE_KEY, ARG_ENUM, CHOICE, .help = "it may advertise itself as IPv6 router"},
    {"broadcast", PLACE_KEY, ARG_NUMBER, .help = "most broadcasts a second; 0: no limit"},
    {"multicast", PLACE_KEY, ARG_NUMBER, .help = "most multicasts a second"},
    {"unknown", PLACE_KEY, ARG_NUMBER, .help = "most frames to unknown addresses a second"},
    {0},
};
static const struct schema_arg shape_args[] = {
    PORT_ARG,
    {"avg", PLACE_KEY, ARG_WORD, .help = "rate, as 10mbit; off ends shaping"},
    {"peak", PLACE_KEY, ARG_WORD, .help = "rate while the burst lasts"},
    {"burst", PLACE_KEY, ARG_WORD, .help = "bytes that may exceed the average, as 256k"},
    DIR_ARG("in: what the port sends"),
    {0},
};
static const struct schema_arg link_args[] = {
    PORT_ARG,
    {"delay", PLACE_KEY, ARG_WORD, .help = "each way, as 50ms; 0 ends it"},
    {"loss", PLACE_KEY, ARG_WORD, .help = "share of frames lost, as 1%"},
    {0},
};
static const struct schema_arg mirror_args[] = {
    PORT_ARG,
    {"to", PLACE_KEY, ARG_WORD, NULL, "none", "port of type mirror; none ends it"},
    DIR_ARG("in: what the port sends"),
    {0},
};

static const struct schema_command commands[] = {
    {"net", "port", "ports of switches: VLANs, isolation, counters",
     "net port set web:0 mode=trunk vlans=10,20 native=1", ROLE_OPERATE, port_args, NULL, run_port},
    {"net", "policy", "what a switch or port allows: promiscuous, MAC changes, forged, storms",
     "net policy web:0 promisc=accept broadcast=1000", ROLE_OPERATE, policy_args, NULL, run_policy},
    {"net", "shape", "limit the rate of a port",
     "net shape web:0 avg=10mbit peak=20mbit burst=256k", ROLE_OPERATE, shape_args, NULL,
     run_shape},
    {"net", "link", "emulate a slow or lossy cable", "net link web:0 delay=50ms loss=1%",
     ROLE_OPERATE, link_args, NULL, run_link},
    {"net", "mirror", "copy a port's frames to another", "net mirror web:0 to=probe:0",
     ROLE_OPERATE, mirror_args, NULL, run_mirror},
};
SCHEMA_COMMANDS(commands);
