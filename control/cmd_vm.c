/* Commands about VMs; each runs in the shell's fiber.  One file: what a VM's life needs, each a few
 * lines around a call of vmm/; disks, homes and consoles of VMs have files of their own. */
#include "control/cmd_vm.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "control/cmd_vm_console.h"
#include "control/console.h"
#include "control/port_settings.h"
#include "control/rt/clock.h"
#include "control/rt/fiber.h"
#include "control/rt/log.h"
#include "control/rt/sys.h"
#include "control/saved.h"
#include "control/schema.h"
#include "control/shell.h"
#include "control/shell_parse.h"
#include "kernel/abi/exit_class.h"
#include "vmm/inventory.h"
#include "vmm/virtio_dev_balloon.h"
#include "vmm/virtio_dev_net.h"
#include "vmm/vm_home.h"
#include "vmm/vm_plug.h"
#include "vmm/vm_sched.h"

typedef unsigned long long ull;

static enum hv_status say(struct out *out, const struct vm_error *e)
{
    return out_error(out, e->status, e->code, e->hint, "%s", e->text);
}

/* The VM that the first argument names; NULL: told. */
static struct vm *the_vm(const struct schema_args *args, struct out *out)
{
    const char *name = args_text(args, "vm");
    struct vm *vm = inventory_find(name);
    if (!vm)
        out_error(out, HV_ENOENT, "E_NOENT", "vm list", "there is no VM %s", name);
    return vm;
}

/* Commands that only call a function of the life cycle. */
static enum hv_status act(const struct schema_args *args, struct out *out,
                          bool (*fn)(struct vm *, struct vm_error *))
{
    struct vm_error e;
    struct vm *vm = the_vm(args, out);
    if (!vm)
        return HV_ENOENT;
    return fn(vm, &e) ? HV_OK : say(out, &e);
}

static bool lacks_address(const struct vm_config *c)
{
    for (u32 i = 0; i < VM_NICS; i++) {
        if (c->nic[i].to_switch[0] && !c->nic[i].mac)
            return true;
    }
    return false;
}

/* An address that a NIC gets at its first start stays: a home's NAME.conf has to have it too. */
static bool start(struct vm *vm, struct vm_error *e)
{
    struct vm_error why;
    bool lacked = lacks_address(&vm->config), ok = vm_start(vm, e);
    if (lacked && !lacks_address(&vm->config) && !vm_home_save(vm, &why))
        log_warn("the addresses of a VM's NICs are not kept in its home: %s", why.text);
    return ok;
}

static enum hv_status run_start(const struct schema_args *args, struct out *out)
{
    return act(args, out, start);
}

static enum hv_status run_stop(const struct schema_args *args, struct out *out)
{
    return act(args, out, vm_stop);
}

static enum hv_status run_reset(const struct schema_args *args, struct out *out)
{
    return act(args, out, vm_reset);
}

static enum hv_status run_pause(const struct schema_args *args, struct out *out)
{
    return act(args, out, vm_pause);
}

static enum hv_status run_resume(const struct schema_args *args, struct out *out)
{
    return act(args, out, vm_resume);
}

static enum hv_status run_dump(const struct schema_args *args, struct out *out)
{
    return act(args, out, vm_dump);
}

static enum hv_status run_shutdown(const struct schema_args *args, struct out *out)
{
    u64 seconds = args_number(args, "timeout", 0);
    enum hv_status st = act(args, out, vm_shutdown);
    struct vm *vm = inventory_find(args_text(args, "vm"));
    if (st != HV_OK || !seconds)
        return st;
    u64 deadline = clock_after(seconds * CLOCK_SECOND);
    while (vm->phase != PHASE_STOPPED && clock_tsc() < deadline && !out_cancelled(out))
        fiber_sleep_until(clock_after(50 * CLOCK_MS));
    if (vm->phase == PHASE_STOPPED)
        return HV_OK;
    return out_error(out, HV_ETIMEDOUT, "E_TIMEOUT", "vm stop, which is a power cut",
                     "VM %s has not shut down in %llu s", vm->config.name, (ull)seconds);
}

static const char *duration(u64 ns, char *buf, u32 len)
{
    u64 s = ns / CLOCK_SECOND;
    snprintf(buf, len, "%llud %02llu:%02llu:%02llu", (ull)(s / 86400), (ull)(s / 3600 % 24),
             (ull)(s / 60 % 60), (ull)(s % 60));
    return buf;
}

static enum hv_status run_list(const struct schema_args *args, struct out *out)
{
    static const char *const columns[] = {"NUMBER", "NAME",   "STATE",    "CPUS",
                                          "MEMORY", "UPTIME", "CPU-TIME", "WHY"};
    static const u8 widths[] = {6, 16, 8, 4, 8, 12, 12, 0};
    char text[32];
    (void)args;
    out_table(out, columns, widths, ARRAY_LEN(columns));
    for (const struct vm *vm = inventory_first(); vm; vm = vm->next) {
        u64 ms = clock_ticks_to_ns(vm_sched_ran_all(vm)) / CLOCK_MS;
        out_cell(out, "%u", vm->config.number);
        out_cell(out, "%s", vm->config.name);
        out_cell(out, "%s", vm_phase_name(vm));
        out_cell(out, "%u", vm->config.cpu_count);
        conf_format_size(vm->config.mem, text, sizeof(text));
        out_cell(out, "%s", text);
        out_cell(out, "%s",
                 vm->state ? duration(clock_ns() - vm->state->started_at, text, sizeof(text))
                           : "-");
        if (vm->state)
            out_cell(out, "%llu.%03llu s", (ull)(ms / 1000), (ull)(ms % 1000));
        else
            out_cell(out, "-");
        out_cell(out, "%s", vm->stop_reason);
    }
    return HV_OK;
}

/* What it has again at its next start. */
static void show_let_go(struct vm *vm, struct out *out)
{
    u32 gone = vm_plug_let_go(vm);
    for (u32 i = 0; i < VM_NICS + VM_DISKS; i++)
        if (gone & BIT(i))
            out_field(out, "let go by the guest", i < VM_NICS ? "nic%u" : "disk%u",
                      i < VM_NICS ? i : i - VM_NICS);
}

/* A setting of a device that the VM does not have. */
static bool is_absent(const struct vm_config *c, const struct conf_key *k)
{
    u32 n;
    if (!conf_key_numbered(k, &n))
        return false;
    return k->key[0] == 'd' ? !vm_config_has_disk(c, n) : !c->nic[n].to_switch[0];
}

static enum hv_status run_show(const struct schema_args *args, struct out *out)
{
    struct vm *vm = the_vm(args, out);
    struct vm_info info;
    char name[48], value[VM_CONFIG_CMDLINE];
    if (!vm)
        return HV_ENOENT;
    out_field(out, "name", "%s", vm->config.name);
    out_field(out, "state", "%s", vm_phase_name(vm));
    if (vm->stop_reason[0])
        out_field(out, vm->phase == PHASE_PAUSED ? "paused by" : "stopped by", "%s",
                  vm->stop_reason);
    for (u32 i = 0; i < vm_config_schema.count; i++) {
        const struct conf_key *k = &vm_config_schema.keys[i];
        if (is_absent(&vm->config, k))
            continue;
        snprintf(name, sizeof(name), "%s%s%s", k->key, k->sub ? "." : "", k->sub ? k->sub : "");
        conf_show(k, &vm->config, value, sizeof(value));
        out_field(out, name, "%s", value);
    }
    show_let_go(vm, out);
    if (vm->state && sys_vm_info(vm->slot, &info) == HV_OK) {
        out_field(out, "uptime", "%s",
                  duration(clock_ns() - vm->state->started_at, value, sizeof(value)));
        out_field(out, "resets", "%u", vm->state->resets);
        out_field(out, "slot", "%u", vm->slot);
        out_field(out, "memory given", "%llu KiB", (ull)(info.ram_bytes / KIB));
        out_field(out, "memory of its page tables", "%llu KiB", (ull)(info.ept_bytes / KIB));
        out_field(out, "memory besides", "%llu KiB", (ull)(info.overhead_bytes / KIB));
    }
    out_end_object(out);
    return HV_OK;
}

enum hv_status cmd_vm_settings(const struct schema_args *args, struct vm_config *c, struct out *out)
{
    struct conf_error err;
    for (u32 i = 0; i < args->count; i++) {
        const char *name = args->item[i].name;
        if (schema_arg(args->command, name))
            continue;
        if (!conf_set_text(&vm_config_schema, c, name, args->item[i].value, &err))
            return out_error(out, HV_EINVAL, "E_CONFIG", err.hint, "%s: %s", err.key, err.text);
    }
    return HV_OK;
}

static enum hv_status run_create(const struct schema_args *args, struct out *out)
{
    struct vm_config c;
    struct vm_error e;
    struct vm *vm;
    vm_config_default(&c);
    int n = snprintf(c.name, sizeof(c.name), "%s", args_text(args, "name"));
    if (n >= (int)sizeof(c.name))
        return out_error(out, HV_EINVAL, "E_CONFIG", "at most 31 characters",
                         "the name is too long");
    enum hv_status st = cmd_vm_settings(args, &c, out);
    if (st != HV_OK)
        return st;
    if (c.home[0] && inventory_find(c.name))
        return out_error(out, HV_EEXIST, "E_EXIST", "vm list", "there is already a VM %s", c.name);
    if (!inventory_define(&c, &vm, &e))
        return say(out, &e);
    if (c.home[0] && !vm_home_make(&vm->config, &e)) {
        struct vm_error ignored;
        return inventory_delete(vm, &ignored) ? say(out, &e) : HV_EBUSY;
    }
    out_printf(out, "VM %s has number %u.\n", vm->config.name, vm->config.number);
    return HV_OK;
}

/* What of *c the command asked for and got is kept, also when it failed halfway.  No wait before
 * the lookup: it may be gone. */
static bool keep_settings(struct vm *vm, bool moves_in, const u16 vlans[VM_NICS],
                          struct vm_error *e)
{
    u64 id = vm->id;
    for (u32 i = 0; i < VM_NICS; i++) {
        if (vlans[i] != vm->config.nic[i].vlan)
            port_settings_vlan(vm->config.name, i);
    }
    if (moves_in ? vm_home_make(&vm->config, e) : vm_home_save(vm, e))
        return true;
    vm = inventory_by_id(id);
    if (moves_in && vm)
        vm->config.home[0] = 0;
    return false;
}

/* The change and what it takes to keep it.  vm may be gone afterwards. */
static bool set_and_keep(struct vm *vm, const struct vm_config *c, struct vm_error *e)
{
    struct vm_error why;
    u64 id = vm->id;
    u32 edits = vm->edits;
    u16 vlans[VM_NICS];
    bool moves_in = c->home[0] && !vm->config.home[0];
    for (u32 i = 0; i < VM_NICS; i++)
        vlans[i] = vm->config.nic[i].vlan;
    bool ok = inventory_change(vm, c, e);
    vm = inventory_by_id(id); /* it may have waited for the guest */
    bool kept = !vm || vm->edits == edits || keep_settings(vm, moves_in, vlans, ok ? e : &why);
    if (!ok && !kept)
        log_warn("the settings of VM %s are not kept: %s", c->name, why.text);
    if (!ok && vm)
        saved_touch(); /* what came before the error; else the end of a command does it */
    return ok && kept;
}

static enum hv_status run_set(const struct schema_args *args, struct out *out)
{
    struct vm_error e;
    struct vm *vm = the_vm(args, out);
    if (!vm)
        return HV_ENOENT;
    struct vm_config c = vm->config;
    enum hv_status st = cmd_vm_settings(args, &c, out);
    if (st != HV_OK)
        return st;
    if (vm->config.home[0] && strcmp(vm->config.home, c.home) != 0)
        return out_error(out, HV_EINVAL, "E_HOME", "store mv, and vm register",
                         "VM %s has a home already", vm->config.name);
    if (!vm_home_accepts(&c, &e))
        return say(out, &e);
    /* Snapshots and disks that come and go would each write NAME.conf over the other's. */
    bool disks = vm->phase != PHASE_STOPPED && vm_plug_asked(vm, &c) >> VM_NICS;
    if (disks && vm->storing)
        return out_error(out, HV_EBUSY, "E_BUSY", "task list", "a task works on the disks of VM %s",
                         vm->config.name);
    u64 id = vm->id;
    vm->storing |= disks;
    bool ok = set_and_keep(vm, &c, &e);
    vm = inventory_by_id(id);
    if (disks && vm)
        vm->storing = false;
    return ok ? HV_OK : say(out, &e);
}

static enum hv_status run_delete(const struct schema_args *args, struct out *out)
{
    struct vm_error e;
    char question[80];
    struct vm *vm = the_vm(args, out);
    if (!vm)
        return HV_ENOENT;
    snprintf(question, sizeof(question), "Delete VM %s%s?", vm->config.name,
             vm->config.home[0] ? " and its disks" : "");
    if (!args_flag(args, "yes") && !shell_confirm(question))
        return HV_OK;
    /* The answer took its time: it may be gone by now. */
    vm = the_vm(args, out);
    if (!vm)
        return HV_ENOENT;
    if (vm->phase == PHASE_STOPPED && vm->config.home[0] && !vm_home_delete(vm, &e))
        return say(out, &e);
    if (!inventory_delete(vm, &e))
        return say(out, &e);
    port_settings_prune();
    return HV_OK;
}

/* What a ring holds, line by line; control bytes, which a guest chooses, do not reach the terminal.
 */
static void print_ring(struct out *out, const struct text_ring *ring)
{
    char line[400];
    u32 len = 0;
    u64 pos = 0;
    u8 byte;
    if (text_ring_oldest(ring))
        out_printf(out, "(older lines were overwritten)\n");
    while (text_ring_read(ring, &pos, &byte, 1) && !out_cancelled(out)) {
        if (byte == '\r')
            continue;
        if (byte != '\n' && len < sizeof(line) - 1) {
            line[len++] = byte < 0x20 || byte >= 0x7f ? '.' : (char)byte;
            continue;
        }
        line[len] = 0;
        out_printf(out, "%s\n", line);
        len = 0;
    }
    line[len] = 0;
    if (len)
        out_printf(out, "%s\n", line);
}

static enum hv_status run_log(const struct schema_args *args, struct out *out)
{
    struct vm *vm = the_vm(args, out);
    if (!vm)
        return HV_ENOENT;
    print_ring(out, vm_log(vm));
    return HV_OK;
}

static enum hv_status run_console(const struct schema_args *args, struct out *out)
{
    struct vm *vm = the_vm(args, out);
    if (!vm)
        return HV_ENOENT;
    u32 port = (u32)MIN(args_number(args, "port", 0), (u64)VM_CONSOLE_PORTS);
    if (!args_flag(args, "dump"))
        return cmd_vm_console(vm, port, out);
    const struct text_ring *said = cmd_vm_console_said(vm, port);
    if (!said)
        return out_error(out, HV_ENOENT, "E_NOENT", "vm set console=virtio console.ports=2",
                         "VM %s has no console port %u now", vm->config.name, port);
    print_ring(out, said);
    return HV_OK;
}

static void stats_vcpus(const struct vm *vm, struct out *out)
{
    static const char *const columns[] = {"VCPU",  "CPU-TIME",  "WAITED",  "ENTRIES",
                                          "EXITS", "FORWARDED", "INJECTED"};
    static const u8 widths[] = {4, 14, 14, 12, 12, 12, 0};
    out_table(out, columns, widths, ARRAY_LEN(columns));
    for (u32 i = 0; i < vm->config.cpu_count; i++) {
        const struct vcpu_stats *s = &vm_vcpu(vm, i)->stats;
        u64 exits = 0, run = clock_ticks_to_ns(vm_sched_ran(vm, i)) / CLOCK_US,
            waited = clock_ticks_to_ns(s->steal_ticks) / CLOCK_US;
        for (u32 c = 0; c < CLASS_COUNT; c++)
            exits += s->exits[c];
        out_cell(out, "%u", i);
        out_cell(out, "%llu.%03llu ms", (ull)(run / 1000), (ull)(run % 1000));
        out_cell(out, "%llu.%03llu ms", (ull)(waited / 1000), (ull)(waited % 1000));
        out_cell(out, "%llu", (ull)s->entries);
        out_cell(out, "%llu", (ull)exits);
        out_cell(out, "%llu", (ull)s->forwarded);
        out_cell(out, "%llu", (ull)s->injected);
    }
}

static void stats_exits(const struct vm *vm, struct out *out)
{
#define CLASS_NAME(id, name) name,
    static const char *const names[] = {EXIT_CLASSES(CLASS_NAME)};
#undef CLASS_NAME
    static const char *const columns[] = {"EXIT", "COUNT", "SHARE"};
    static const u8 widths[] = {20, 14, 0};
    u64 count[CLASS_COUNT] = {0}, all = 0;
    for (u32 i = 0; i < vm->config.cpu_count; i++) {
        for (u32 c = 0; c < CLASS_COUNT; c++) {
            count[c] += vm_vcpu(vm, i)->stats.exits[c];
            all += vm_vcpu(vm, i)->stats.exits[c];
        }
    }
    out_printf(out, "\n");
    out_table(out, columns, widths, ARRAY_LEN(columns));
    for (u32 c = 0; c < CLASS_COUNT; c++) {
        if (!count[c])
            continue;
        u64 share = count[c] * 1000 / all;
        out_cell(out, "%s", names[c]);
        out_cell(out, "%llu", (ull)count[c]);
        out_cell(out, "%llu.%llu %%", (ull)(share / 10), (ull)(share % 10));
    }
}

/* SDM 3A table 6-1. */
static const char *const exception_names[32] = {
    "#DE", "#DB", NULL,  "#BP", "#OF", "#BR", "#UD", "#NM", "#DF", NULL,  "#TS",
    "#NP", "#SS", "#GP", "#PF", NULL,  "#MF", "#AC", "#MC", "#XM", "#VE", "#CP",
};

static const char *exception_name(u32 vector)
{
    return vector < 32 && exception_names[vector] ? exception_names[vector] : "?";
}

/* What trace.exceptions has noted: how many of each, and each vCPU's last ones. */
static void stats_exceptions(const struct vm *vm, struct out *out)
{
    static const char *const columns[] = {"VCPU", "NUMBER", "EXCEPTION", "ERROR", "RIP", "ADDRESS"};
    static const u8 widths[] = {4, 10, 9, 8, 18, 0};
    char counts[200];
    for (u32 i = 0; i < vm->config.cpu_count; i++) {
        const struct vcpu_stats *s = &vm_vcpu(vm, i)->stats;
        u32 used = 0;
        counts[0] = 0;
        for (u32 k = 0; k < 32; k++)
            if (s->by_vector[k] && used < sizeof(counts) - 20)
                used += (u32)snprintf(counts + used, sizeof(counts) - used, " %s %u",
                                      exception_name(k), s->by_vector[k]);
        out_printf(out, "%svCPU %u:%s\n", i ? "" : "\n", i, counts[0] ? counts : " none noted");
    }
    out_table(out, columns, widths, ARRAY_LEN(columns));
    for (u32 i = 0; i < vm->config.cpu_count; i++) {
        const struct vcpu_stats *s = &vm_vcpu(vm, i)->stats;
        u64 end = s->exceptions;
        for (u64 n = end - MIN(end, VCPU_EXCEPTIONS); n < end; n++) {
            const struct vcpu_exception *x = &s->exception[n % VCPU_EXCEPTIONS];
            out_cell(out, "%u", i);
            out_cell(out, "%llu", (ull)n);
            out_cell(out, "%s", exception_name(x->vector));
            out_cell(out, "%x", x->error);
            out_cell(out, "%016llx", (ull)x->rip);
            out_cell(out, "%llx", (ull)x->address);
        }
    }
}

static enum hv_status run_stats(const struct schema_args *args, struct out *out)
{
    struct vm *vm = the_vm(args, out);
    if (!vm)
        return HV_ENOENT;
    if (!vm->state)
        return out_error(out, HV_EBUSY, "E_STATE", "vm start", "VM %s is %s", vm->config.name,
                         vm_phase_name(vm));
    stats_vcpus(vm, out);
    const struct uart16550 *u = &vm->state->uart;
    out_printf(out, "\n");
    out_field(out, "console", "%llu bytes out, %llu in, %llu waits", (ull)u->bytes_out,
              (ull)u->bytes_in, (ull)u->throttled);
    out_field(out, "unclaimed", "%u ports, %u pages", vm->state->unclaimed_ports,
              vm->state->unclaimed_pages);
    if (vm->config.balloon)
        out_field(out, "balloon", "%llu KiB taken of %llu wanted, memory %llu KiB",
                  (ull)virtio_dev_balloon_taken(vm) / KIB, (ull)vm->config.mem_balloon / KIB,
                  (ull)(vm->config.mem - virtio_dev_balloon_taken(vm)) / KIB);
    out_end_object(out);
    if (args_flag(args, "exits"))
        stats_exits(vm, out);
    if (args_flag(args, "exceptions"))
        stats_exceptions(vm, out);
    return HV_OK;
}

void cmd_vm_init(void)
{
    schema_vm_name = inventory_name;
    virtio_dev_net_watch(port_settings_joined);
    vm_init();
}

/* ---- what survives: the difference from bulkhead.conf ---------------------------------------- */
struct described {
    struct vm_config config;
    struct described *next;
};
static struct described *described; /* what bulkhead.conf says, in its order */

static const struct vm_config *description_of(const char *name)
{
    for (const struct described *d = described; d; d = d->next) {
        if (!strcmp(d->config.name, name))
            return &d->config;
    }
    return NULL;
}

/* Keys that differ from what the VM would be otherwise, a few a line. */
static void save_keys(struct schema_text *t, const struct vm_config *c,
                      const struct vm_config *base)
{
    char line[SHELL_LINE_MAX] = "", a[VM_CONFIG_CMDLINE], b[2 * VM_CONFIG_CMDLINE], word[48];
    u32 n = 0, keys = 0;
    bool made = base != NULL;
    struct vm_config usual;

    vm_config_default(&usual);
    for (u32 i = 0; i <= vm_config_schema.count; i++) {
        const struct conf_key *k = &vm_config_schema.keys[i];
        bool last = i == vm_config_schema.count;
        if (!last) {
            conf_show(k, c, a, sizeof(a));
            conf_show(k, base ? base : &usual, b, sizeof(b));
            if (!strcmp(a, b) || (base && !base->number && !strcmp(k->key, "number")))
                continue;
            snprintf(word, sizeof(word), " %s%s%s=", k->key, k->sub ? "." : "",
                     k->sub ? k->sub : "");
        }
        if (last || keys == SCHEMA_ARGS - 2 || n + strlen(word) + strlen(a) > sizeof(line) - 80) {
            if (n || !made)
                schema_put(t, "vm %s %s%s", made ? "set" : "create", c->name, line);
            made = true;
            n = keys = 0;
        }
        if (last)
            break;
        n += (u32)snprintf(line + n, sizeof(line) - n, "%s", word);
        n += (u32)snprintf(line + n, sizeof(line) - n, "%s", schema_quote(a, b, sizeof(b)));
        keys++;
    }
}

static void save_vms(struct schema_text *t)
{
    for (const struct described *d = described; d; d = d->next) {
        if (!inventory_find(d->config.name))
            schema_put(t, "vm delete %s --yes", d->config.name);
    }
    for (const struct vm *vm = inventory_first(); vm; vm = vm->next) {
        if (vm->config.home[0] && !description_of(vm->config.name)) /* NAME.conf has the rest */
            schema_put(t, "vm register %s", vm->config.home);
        else
            save_keys(t, &vm->config, description_of(vm->config.name));
    }
}
SCHEMA_SAVES(save_vms, SAVES_VM);

void cmd_vm_define(const struct vm_config *c)
{
    struct vm_error e;
    struct vm *vm;
    if (inventory_define(c, &vm, &e)) {
        struct described *d = malloc(sizeof(*d)), **at = &described;
        if (!d)
            return;
        *d = (struct described){.config = *c};
        while (*at)
            at = &(*at)->next;
        *at = d;
        return;
    }
    char line[OUT_LINE_MAX];
    snprintf(line, sizeof(line), "%s: [vm %s] %s. Try: %s\n", e.code, c->name, e.text, e.hint);
    log_notice("%s", line);
    console_print(line);
}

static void autostart(void *arg)
{
    struct vm_error e;
    u32 started = 0;
    (void)arg;
    for (struct vm *vm = inventory_first(); vm; vm = vm->next) {
        bool seen = vm->autostarted;

        vm->autostarted = true;
        if (seen || !vm->config.autostart || vm->phase != PHASE_STOPPED)
            continue;
        if (start(vm, &e))
            started++;
        else
            log_notice("%s: VM %s: %s. Try: %s", e.code, vm->config.name, e.text, e.hint);
    }
    saved_touch(); /* addresses that were generated; no command's end does it */
    if (started)
        log_info("autostart is done, VMs started: %u", started);
}

void cmd_vm_ready(void)
{
    vm_reattach_all();
}

void cmd_vm_autostart(void)
{
    /* After a crash of this partition what is stopped was stopped by someone. */
    if (!sys_host_info()->restart_count && !fiber_spawn("autostart", autostart, NULL))
        log_error("no memory for autostart");
}

#define VM_ARG                                                                                     \
    {                                                                                              \
        "vm", PLACE_OBJECT, ARG_VM, .help = "name or number"                                       \
    }

static const struct schema_arg vm_args[] = {VM_ARG, {0}};
static const struct schema_arg create_args[] = {
    {"name", PLACE_OBJECT, ARG_WORD, .help = "letters, digits, - _ . ; a letter first"},
    {0},
};
static const struct schema_arg delete_args[] = {
    VM_ARG,
    {"yes", PLACE_FLAG, ARG_WORD, .help = "do not ask"},
    {0},
};
static const struct schema_arg shutdown_args[] = {
    VM_ARG,
    {"timeout", PLACE_KEY, ARG_NUMBER, .help = "wait that many seconds for it to be off"},
    {0},
};
static const struct schema_arg console_args[] = {
    VM_ARG,
    {"dump", PLACE_FLAG, ARG_WORD, .help = "print what it has said so far, also of a stopped one"},
    {"port", PLACE_KEY, ARG_NUMBER, NULL, "0", "another port of a virtio console, 1 to 3"},
    {0},
};
static const struct schema_arg stats_args[] = {
    VM_ARG,
    {"exits", PLACE_FLAG, ARG_WORD, .help = "exits by class as well"},
    {"exceptions", PLACE_FLAG, ARG_WORD, .help = "exceptions it took, if trace.exceptions is on"},
    {0},
};

static const struct schema_command commands[] = {
    {"vm", "list", "all VMs and what they do", NULL, ROLE_VIEW, NULL, NULL, run_list},
    {"vm", "create", "define a VM",
     "vm create web cpu=2 mem=256M kernel=guests/demo/vmlinuz cmdline=console=ttyS0", ROLE_ADMIN,
     create_args, &vm_config_schema, run_create},
    {"vm", "start", "give it memory and CPUs and boot it", NULL, ROLE_OPERATE, vm_args, NULL,
     run_start},
    {"vm", "stop", "cut its power", NULL, ROLE_OPERATE, vm_args, NULL, run_stop},
    {"vm", "shutdown", "press its power button, so that it shuts down cleanly",
     "vm shutdown demo timeout=30", ROLE_OPERATE, shutdown_args, NULL, run_shutdown},
    {"vm", "reset", "reset it and boot it again", NULL, ROLE_OPERATE, vm_args, NULL, run_reset},
    {"vm", "pause", "stop its CPUs, keeping everything", NULL, ROLE_OPERATE, vm_args, NULL,
     run_pause},
    {"vm", "resume", "let a paused one run", NULL, ROLE_OPERATE, vm_args, NULL, run_resume},
    {"vm", "console", "its serial console; leave with Ctrl-] .", NULL, ROLE_OPERATE, console_args,
     NULL, run_console},
    {"vm", "show", "its settings and state", NULL, ROLE_VIEW, vm_args, NULL, run_show},
    {"vm", "set",
     "change settings; cpu.weight, .pin, .cap and .reserve, mem.balloon, trace.exceptions, "
     "diskN.iops, .bw and "
     ".error, nicN.switch and .vlan at once, also whole NICs and disk1 to disk7; the rest while "
     "stopped",
     "vm set demo cpu.weight=200", ROLE_ADMIN, vm_args, &vm_config_schema, run_set},
    {"vm", "stats", "CPU time and exits of its vCPUs", "vm stats demo --exits", ROLE_VIEW,
     stats_args, NULL, run_stats},
    {"vm", "delete", "forget a stopped VM and destroy the directory and disks of its home", NULL,
     ROLE_ADMIN, delete_args, NULL, run_delete},
    {"vm", "dump", "write the registers of its vCPUs into its log", NULL, ROLE_OPERATE, vm_args,
     NULL, run_dump},
    {"vm", "log", "what happened to it: starts, stops, unclaimed devices, crashes", NULL, ROLE_VIEW,
     vm_args, NULL, run_log},
};
SCHEMA_COMMANDS(commands);
