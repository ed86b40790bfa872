/* Settings of VMs' ports, kept while there is no port; called by the network commands in the
 * shell's fiber, and by vmm/virtio_dev_net.c when a NIC gets a port. */
#include "control/port_settings.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "control/cmd_net.h"
#include "control/rt/log.h"
#include "control/shell_parse.h"
#include "net/mac_address.h"
#include "vmm/inventory.h"

#define STAND_IN_MAC 0x020000000001ull

struct setting { /* a command and what it set; a later one of its kind adds to it */
    const struct schema_command *command;
    char port[SWITCH_PORT_NAME];
    char kind[64]; /* what else tells it from others: direction of shaping, fixed address */
    u32 count;
    struct {
        const char *name; /* the schema's */
        char *value;
    } item[SCHEMA_ARGS];
    struct setting *next;
};

static struct setting *settings; /* in order of their first command */
static bool again;               /* they are being set again */

/* ---- NICs -------------------------------------------------------------------------------------
 */
/* The NIC "VM:N" of a VM's configuration; NULL: there is none. */
static const struct vm_nic *nic_named(const char *port)
{
    const char *colon = strrchr(port, ':');
    char name[VM_CONFIG_NAME];
    u64 n;

    if (!colon || (u64)(colon - port) >= sizeof(name) ||
        !conf_parse_number(conf_span_of(colon + 1), &n) || n >= VM_NICS)
        return NULL;
    snprintf(name, sizeof(name), "%.*s", (int)(colon - port), port);
    const struct vm *vm = inventory_find(name);
    const struct vm_nic *nic = vm ? &vm->config.nic[n] : NULL;
    return nic && nic->to_switch[0] && !strcmp(vm->config.name, name) ? nic : NULL;
}

/* ---- the list ---------------------------------------------------------------------------------
 */
static void drop(struct setting *s)
{
    struct setting **at = &settings;

    while (*at && *at != s)
        at = &(*at)->next;
    if (*at)
        *at = s->next;
    for (u32 i = 0; i < s->count; i++)
        free(s->item[i].value);
    free(s);
}

static struct setting *find(const struct schema_command *c, const char *port, const char *kind)
{
    struct setting *s = settings;

    while (s && (s->command != c || strcmp(s->port, port) || strcmp(s->kind, kind)))
        s = s->next;
    return s;
}

static struct setting *find_or_make(const struct schema_command *c, const char *port,
                                    const char *kind)
{
    struct setting *s = find(c, port, kind), **end = &settings;

    if (s || !(s = calloc(1, sizeof(*s))))
        return s;
    s->command = c;
    snprintf(s->port, sizeof(s->port), "%s", port);
    snprintf(s->kind, sizeof(s->kind), "%s", kind);
    while (*end)
        end = &(*end)->next;
    *end = s;
    return s;
}

static void unset(struct setting *s, const char *name)
{
    for (u32 i = 0; i < s->count; i++) {
        if (strcmp(s->item[i].name, name))
            continue;
        free(s->item[i].value);
        memmove(&s->item[i], &s->item[i + 1], (s->count - i - 1) * sizeof(s->item[0]));
        s->count--;
        return;
    }
}

static bool set(struct setting *s, const char *name, const char *value)
{
    char *copy = malloc(strlen(value) + 1);

    unset(s, name);
    if (!copy || s->count == SCHEMA_ARGS) {
        free(copy);
        return false;
    }
    strcpy(copy, value);
    s->item[s->count].name = name;
    s->item[s->count++].value = copy;
    return true;
}

static bool has_keys(const struct setting *s)
{
    for (u32 i = 0; i < s->count; i++) {
        if (schema_arg(s->command, s->item[i].name)->place == PLACE_KEY)
            return true;
    }
    return false;
}

/* What a port has anyway. */
static bool is_usual(const char *name, const char *value)
{
    static const char *const usual[] = {"inherit", "off", "up", "0", "0%"};

    if (!strcmp(name, "vlan") || !strcmp(name, "native"))
        return false;
    for (u32 i = 0; i < ARRAY_LEN(usual); i++) {
        if (!strcmp(value, usual[i]))
            return true;
    }
    return false;
}

static void unset_vlans(struct setting *s)
{
    static const char *const names[] = {"mode", "vlan", "vlans", "native"};

    for (u32 i = 0; i < ARRAY_LEN(names); i++)
        unset(s, names[i]);
}

/* ---- remembering ------------------------------------------------------------------------------
 */
/* Values of the command into what was set by its kind before.  `dir`: instead of that argument. */
static void add(const struct schema_args *args, const char *port, const char *kind, const char *dir)
{
    struct setting *s = find_or_make(args->command, port, kind);
    bool fine = s != NULL;

    if (s && schema_arg(args->command, "mode") && args_text(args, "mode"))
        unset_vlans(s);
    for (u32 i = 0; s && i < args->count; i++) {
        const char *value = args->item[i].value;
        const struct schema_arg *a = schema_arg(args->command, args->item[i].name);

        if (a->place == PLACE_KEY && is_usual(a->name, value))
            unset(s, a->name);
        else
            fine &= set(s, a->name, value);
    }
    if (s && dir)
        fine &= set(s, schema_arg(args->command, "dir")->name, dir);
    if (!fine)
        log_warn("no memory to keep what was set at %s", port);
    if (s && !has_keys(s))
        drop(s);
}

/* Instead of what was set by its kind before; `off`: nothing. */
static void replace(const struct schema_args *args, const char *port, const char *kind,
                    const char *dir, bool off)
{
    struct setting *s = find(args->command, port, kind);

    if (s)
        drop(s);
    if (!off)
        add(args, port, kind, dir);
}

static void mac_kind(char *kind, u32 len, const char *sw, u64 mac, u32 vlan)
{
    snprintf(kind, len, "%s %llx %u", sw, (unsigned long long)mac, vlan);
}

static void remember(const struct schema_args *args, const char *port)
{
    static const char *const directions[] = {"in", "out"};
    const char *verb = args->command->verb, *dir = args_text(args, "dir");
    char kind[64];
    u64 mac;

    if (!strcmp(verb, "shape")) {
        for (u32 i = 0; i < ARRAY_LEN(directions); i++) {
            if (!strcmp(dir, "both") || !strcmp(dir, directions[i]))
                replace(args, port, directions[i], directions[i],
                        !strcmp(args_text(args, "avg"), "off"));
        }
    } else if (!strcmp(verb, "mirror")) {
        replace(args, port, "", NULL, !strcmp(args_text(args, "to"), "none"));
    } else if (!strcmp(verb, "mac")) {
        if (!mac_address_parse(args_text(args, "mac"), &mac))
            return;
        mac_kind(kind, sizeof(kind), args_text(args, "switch"), mac,
                 (u32)args_number(args, "vlan", 0));
        replace(args, port, kind, NULL, false);
    } else {
        add(args, port, "", NULL);
    }
}

/* ---- while there is no port -------------------------------------------------------------------
 */
static int add_port(struct net_switch *sw, const char *name, enum switch_port_type type)
{
    static const struct switch_port_ops nobody;
    struct switch_port_config c = {
        .type = type, .ops = &nobody, .mac = type == PORT_VM ? STAND_IN_MAC : 0};

    snprintf(c.name, sizeof(c.name), "%s", name);
    return switch_port_add(sw, &c);
}

/* Runs the command at a port of a switch that exists for that alone. */
static enum hv_status run_beside(const struct schema_args *args, struct out *out, const char *port,
                                 const struct vm_nic *nic,
                                 enum hv_status (*run)(const struct schema_args *, struct out *))
{
    const struct net_switch *its = switches_named(nic->to_switch);
    struct switch_config c = {.mtu = its ? its->mtu : 0, .mac_entries = 64};
    const char *to = schema_arg(args->command, "to") ? args_text(args, "to") : NULL;
    enum hv_status status = HV_ENOMEM;

    snprintf(c.name, sizeof(c.name), "%s", nic->to_switch);
    struct net_switch *sw = switch_create(&c);
    const struct vm_nic *other = to ? nic_named(to) : NULL;
    bool near = other && other->mirror && !strcmp(other->to_switch, nic->to_switch);
    bool fine = sw && add_port(sw, port, nic->mirror ? PORT_MIRROR : PORT_VM) >= 0 &&
                (!near || add_port(sw, to, PORT_MIRROR) != HV_ENOMEM);
    if (fine) {
        cmd_net_stand_in(sw);
        status = run(args, out);
        cmd_net_stand_in(NULL);
    } else {
        out_error(out, status, "E_MEMORY", "host mem", "no memory");
    }
    if (sw)
        switch_destroy(sw);
    return status;
}

static bool waits_for_its_mirror(const struct schema_args *args)
{
    const char *to = schema_arg(args->command, "to") ? args_text(args, "to") : NULL;

    return to && nic_named(to) && !switches_port(to);
}

enum hv_status port_settings_run(const struct schema_args *args, struct out *out, const char *key,
                                 enum hv_status (*run)(const struct schema_args *, struct out *))
{
    const char *port = args_text(args, key);
    const struct vm_nic *nic = port ? nic_named(port) : NULL;

    if (!nic || again)
        return run(args, out);
    bool there = switches_port(port) && !waits_for_its_mirror(args);
    enum hv_status status = there ? run(args, out) : run_beside(args, out, port, nic, run);
    if (status == HV_OK)
        remember(args, port);
    return status;
}

bool port_settings_forget_mac(const char *sw, u64 mac, u32 vlan)
{
    char kind[64];
    struct setting *s = settings;

    mac_kind(kind, sizeof(kind), sw, mac, vlan);
    while (s && (strcmp(s->command->verb, "mac") || strcmp(s->kind, kind)))
        s = s->next;
    if (s)
        drop(s);
    return s != NULL;
}

void port_settings_vlan(const char *vm, u32 nic)
{
    char port[SWITCH_PORT_NAME];
    struct setting *s = settings;

    snprintf(port, sizeof(port), "%s:%u", vm, nic);
    while (s && (strcmp(s->command->verb, "port") || strcmp(s->port, port)))
        s = s->next;
    if (!s)
        return;
    unset_vlans(s);
    if (!has_keys(s))
        drop(s);
}

/* ---- setting again ----------------------------------------------------------------------------
 */
static void line_of(const struct setting *s, char *line, u32 len)
{
    char word[SCHEMA_VALUE * 2];
    u32 n = (u32)snprintf(line, len, "%s %s", s->command->noun, s->command->verb);

    for (u32 pass = 0; pass < 2; pass++) { /* positional ones in the schema's order, then keys */
        for (const struct schema_arg *a = s->command->args; a->name; a++) {
            for (u32 i = 0; i < s->count; i++) {
                bool is_key = a->place == PLACE_KEY;

                if (s->item[i].name == a->name && is_key == (pass == 1) && n < len)
                    n += (u32)snprintf(line + n, len - n, " %s%s%s", is_key ? a->name : "",
                                       is_key ? "=" : "",
                                       schema_quote(s->item[i].value, word, sizeof(word)));
            }
        }
    }
}

static void sink_error(void *owner, const char *text, u32 len)
{
    const struct setting *s = owner;

    log_warn("what was set at %s: %.*s", s->port, (int)MIN(len, 160u), text);
}

static void set_again(struct setting *s)
{
    struct schema_args args = {.command = s->command, .count = s->count};
    struct out_sink sink = {.line = sink_error, .owner = s};
    struct out *out = malloc(sizeof(*out));

    if (!out)
        return;
    for (u32 i = 0; i < s->count; i++) {
        args.item[i].name = s->item[i].name;
        args.item[i].value = s->item[i].value;
    }
    out_open(out, &sink, NULL, 0);
    again = true;
    s->command->run(&args, out);
    again = false;
    out_close(out);
    free(out);
}

/* Its own, and mirrors that send their frames there. */
static bool is_about(const struct setting *s, const char *port)
{
    for (u32 i = 0; i < s->count; i++) {
        if (!strcmp(s->item[i].name, "to") && !strcmp(s->item[i].value, port))
            return switches_port(s->port) != NULL;
    }
    return !strcmp(s->port, port);
}

/* The other side of a mirror may come later: then it is set again. */
static bool lacks_its_mirror(const struct setting *s)
{
    for (u32 i = 0; i < s->count; i++) {
        if (!strcmp(s->item[i].name, "to"))
            return switches_port(s->item[i].value) == NULL;
    }
    return false;
}

void port_settings_joined(const char *port)
{
    for (struct setting *s = settings; s; s = s->next) {
        if (is_about(s, port) && !lacks_its_mirror(s))
            set_again(s);
    }
}

/* ---- what survives ----------------------------------------------------------------------------
 */
/* Its NIC is configured, and the one that it is mirrored to. */
static bool holds(const struct setting *s)
{
    for (u32 i = 0; i < s->count; i++) {
        const struct vm_nic *to = nic_named(s->item[i].value);

        if (!strcmp(s->item[i].name, "to") && (!to || !to->mirror))
            return false;
    }
    return nic_named(s->port);
}

void port_settings_prune(void)
{
    for (struct setting *s = settings, *next; s; s = next) {
        next = s->next;
        if (!holds(s))
            drop(s);
    }
}

static void save_settings(struct schema_text *t)
{
    char line[SHELL_LINE_MAX];

    port_settings_prune();
    for (const struct setting *s = settings; s; s = s->next) {
        line_of(s, line, sizeof(line));
        schema_put(t, "%s", line);
    }
}
SCHEMA_SAVES(save_settings, SAVES_VM_PORT);
