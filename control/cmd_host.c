/* Commands about the machine; each runs in the shell's fiber. */
#include "control/cmd_host.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "control/console.h"
#include "control/main.h"
#include "control/rt/clock.h"
#include "control/rt/fiber.h"
#include "control/rt/log.h"
#include "control/rt/sys.h"
#include "control/schema.h"
#include "control/shell.h"
#include "net/kif.h"
#include "vmm/features.h"
#include "vmm/inventory.h"
#include "vmm/mitigations.h"
#include "vmm/vm.h"
#include "vmm/vm_sched.h"

typedef unsigned long long ull;

u64 cmd_host_ready_tsc;

const char *cmd_host_outer(void)
{
    static char signature[16];
    static const struct {
        const char *signature, *name;
    } known[] = {
        {"KVMKVMKVM", "KVM"},           {"TCGTCGTCGTCG", "QEMU (TCG)"}, {"VMwareVMware", "VMware"},
        {"Microsoft Hv", "Hyper-V"},    {"XenVMMXenVMM", "Xen"},        {"bhyve bhyve ", "bhyve"},
        {"VBoxVBoxVBox", "VirtualBox"}, {"BulkheadHV", "Bulkhead"},
    };

    features_outer_signature(signature);
    if (!signature[0])
        return "none that says so";
    for (u32 i = 0; i < ARRAY_LEN(known); i++) {
        if (!strncmp(signature, known[i].signature, 12))
            return known[i].name;
    }
    return signature;
}

void cmd_host_hvm_text(const struct host_info *h, char *buf, u32 len)
{
    char outer[16];
    u32 with = 0, online = 0;

    for (u32 i = 0; i < h->cpu_count && i < CPU_MAX; i++) {
        online += h->cpus[i].online;
        with += h->cpus[i].online && h->cpus[i].hvm;
    }
    if (with) {
        features_outer_signature(outer);
        snprintf(buf, len, "%s on %u of %u CPUs%s%s", features_hvm_name(h), with, online,
                 outer[0] ? ", nested in " : "", outer[0] ? cmd_host_outer() : "");
    } else {
        char reason[FEATURES_REASON];
        const char *hint = features_why_not(h, reason, sizeof(reason));
        snprintf(buf, len, "none: %s. Try: %s", reason, hint);
    }
}

static u32 online_cpus(const struct host_info *h)
{
    u32 n = 0;

    for (u32 i = 0; i < h->cpu_count && i < CPU_MAX; i++)
        n += h->cpus[i].online;
    return n;
}

static void put_load(struct out *out, const struct host_info *h)
{
    u64 busy = 0, all = 0;

    for (u32 i = 0; i < h->cpu_count; i++) {
        struct cpu_stat s;

        if (sys_cpu_stat(i, &s) < 0 || !s.online)
            continue;
        busy += s.control + s.guest + s.kernel;
        all += s.control + s.guest + s.kernel + s.idle;
    }
    out_field(out, "load", "%llu %% since boot", (ull)(all ? busy * 100 / all : 0));
}

static const char *uptime(char *buf, u32 len)
{
    u64 ms = clock_ns() / CLOCK_MS, s = ms / 1000;

    snprintf(buf, len, "%llud %02llu:%02llu:%02llu.%03llu", (ull)(s / 86400), (ull)(s / 3600 % 24),
             (ull)(s / 60 % 60), (ull)(s % 60), (ull)(ms % 1000));
    return buf;
}

static void put_features(struct out *out, const struct host_info *h)
{
    static const char *const columns[] = {"FEATURE", "STATE", "NOTE"};
    static const u8 widths[] = {36, 8, 0};
    static const char *const states[] = {
        [FEATURE_ABSENT] = "absent",
        [FEATURE_UNUSED] = "unused",
        [FEATURE_ACTIVE] = "active",
        [FEATURE_MISSING] = "MISSING",
    };

    struct feature_line line;

    out_printf(out, "\n");
    out_table(out, columns, widths, 3);
    u32 features = 0;
    for (u32 i = 0;; i++) {
        if (features_line(h, i, &line))
            features = i + 1;
        else if (!mitigations_line(h, mitigations_used(), i - features, &line))
            break;
        out_cell(out, "%s", line.name);
        out_cell(out, "%s", states[line.state]);
        out_cell(out, "%s", line.note);
    }
}

/* The first kernel interface is the one to reach the host at. */
static void put_management(struct out *out)
{
    const struct kif *k = kif_first();
    char text[32];

    if (!k)
        return;
    kif_address_text(k, text, sizeof(text));
    out_field(out, "management", "%s on %s", text, k->name);
}

static enum hv_status run_info(const struct schema_args *args, struct out *out)
{
    const struct host_info *h = sys_host_info();
    struct mem_stat m = {0};
    char text[256], brand[52];

    (void)args;
    sys_mem_stat(&m);
    features_cpu_brand(brand);
    cmd_host_hvm_text(h, text, sizeof(text));
    out_field(out, "version", "Bulkhead %s", BULKHEAD_VERSION);
    out_field(out, "virtualisation", "%s", text);
    out_field(out, "uptime", "%s", uptime(text, sizeof(text)));
    if (clock_unix_ns())
        clock_text(clock_unix_ns(), text);
    out_field(out, "time", "%s", clock_unix_ns() ? text : "unknown. Try: net ntp set ADDRESS");
    out_field(out, "ready after", "%llu ticks, %llu ms from kernel entry",
              (ull)(cmd_host_ready_tsc - h->boot_tsc),
              (ull)(clock_ticks_to_ns(cmd_host_ready_tsc - h->boot_tsc) / CLOCK_MS));
    if (vm_first_run_tsc)
        out_field(out, "first guest after", "%llu ticks", (ull)(vm_first_run_tsc - h->boot_tsc));
    out_field(out, "cpu", "%s", brand);
    out_field(out, "cpus", "%u online of %u", online_cpus(h), h->cpu_count);
    out_field(out, "tsc", "%llu.%03llu MHz from %s", (ull)(h->tsc_hz / 1000000),
              (ull)(h->tsc_hz / 1000 % 1000), h->tsc_source);
    out_field(out, "memory", "%llu MiB, %llu free, %llu in guests", (ull)(m.total / MIB),
              (ull)(m.free / MIB), (ull)(m.guests_used / MIB));
    out_field(out, "hypervisor memory", "%llu KiB kernel, %llu KiB control partition",
              (ull)(m.kernel / KIB), (ull)(m.control_used / KIB));
    out_field(out, "boot mode", "UEFI, %s", h->firmware);
    out_field(out, "loader", "%s", h->loader);
    out_field(out, "acpi", "%s", h->rsdp ? "yes" : "none");
    out_field(out, "framebuffer", h->framebuffer.paddr ? "%ux%u" : "none", h->framebuffer.width,
              h->framebuffer.height);
    out_field(out, "outer hypervisor", "%s", cmd_host_outer());
    if (h->uart_port)
        out_field(out, "console", "port 0x%llx, %s", (ull)h->uart_port,
                  h->uart_gsi == ~0u ? "polled" : "interrupts");
    if (console_second_name())
        out_field(out, h->uart_port ? "second console" : "console", "%s, behind PCI",
                  console_second_name());
    put_management(out);
    out_field(out, "control restarts", "%u", h->restart_count);
    put_load(out, h);
    out_end_object(out);
    put_features(out, h);
    return HV_OK;
}

static void percent(struct out *out, u64 part, u64 all)
{
    u64 tenths = all ? part * 1000 / all : 0;

    out_cell(out, "%llu.%llu", (ull)(tenths / 10), (ull)(tenths % 10));
}

static const char *const cpu_modes[] = {
    [VM_SCHED_SHARED] = "shared",
    [VM_SCHED_DEDICATED] = "dedicated",
    [VM_SCHED_POLLING] = "polling",
};
static u32 configured_poll; /* the CPU that bulkhead.conf names; 0: none */

static enum vm_sched_mode cpu_mode(u32 cpu)
{
    return vm_sched_polling() == cpu         ? VM_SCHED_POLLING
           : vm_sched_dedicated() & BIT(cpu) ? VM_SCHED_DEDICATED
                                             : VM_SCHED_SHARED;
}

bool cmd_host_poll(u32 cpu, char *line, u32 len)
{
    struct vm_error e;

    configured_poll = cpu;
    if (!cpu || vm_sched_mode(cpu, VM_SCHED_POLLING, &e))
        return true;
    snprintf(line, len, "%s: bulkhead.conf: poll-cpu: %s. Try: %s", e.code, e.text, e.hint);
    return false;
}

/* host cpu N mode=... */
static enum hv_status set_cpu_mode(const struct schema_args *args, struct out *out)
{
    struct vm_error e;
    const char *wanted = args_text(args, "mode");
    u32 mode = 0;

    if (!args_text(args, "cpu"))
        return out_error(out, HV_EINVAL, "E_USAGE", "host cpu 1 mode=dedicated",
                         "mode= needs the number of a CPU");
    while (mode < VM_SCHED_POLLING && strcmp(wanted, cpu_modes[mode]) != 0)
        mode++;
    if (vm_sched_mode((u32)MIN(args_number(args, "cpu", 0), (u64)CPU_MAX), (enum vm_sched_mode)mode,
                      &e))
        return HV_OK;
    return out_error(out, e.status, e.code, e.hint, "%s", e.text);
}

static enum hv_status run_cpu(const struct schema_args *args, struct out *out)
{
    static const char *const columns[] = {"CPU",    "APIC",    "GUESTS",   "IDLE%",     "CONTROL%",
                                          "GUEST%", "KERNEL%", "RUNNABLE", "RESERVED%", "MODE"};
    static const u8 widths[] = {3, 4, 5, 6, 8, 6, 7, 8, 9, 0};
    const struct host_info *h = sys_host_info();
    struct cpu_stat *before;
    u64 seconds = args_number(args, "seconds", 0);

    if (args_text(args, "mode"))
        return set_cpu_mode(args, out);
    before = calloc(CPU_MAX, sizeof(*before));
    if (!before)
        return out_error(out, HV_ENOMEM, "E_MEMORY", "host mem", "no memory");
    if (seconds) {
        for (u32 i = 0; i < h->cpu_count; i++)
            sys_cpu_stat(i, &before[i]);
        for (u64 i = 0; i < MIN(seconds, 3600ull) * 10 && !out_cancelled(out); i++)
            fiber_sleep_until(clock_after(CLOCK_SECOND / 10));
    }
    out_table(out, columns, widths, ARRAY_LEN(columns));
    for (u32 i = 0; i < h->cpu_count; i++) {
        struct cpu_stat s = {0};

        sys_cpu_stat(i, &s);
        u64 idle = s.idle - before[i].idle, control = s.control - before[i].control,
            guest = s.guest - before[i].guest, kernel = s.kernel - before[i].kernel;
        u64 all = idle + control + guest + kernel;

        out_cell(out, "%u", i);
        out_cell(out, "%u", h->cpus[i].apic_id);
        out_cell(out, "%s", !s.online ? "off" : features_cpu_state(h, i));
        percent(out, idle, all);
        percent(out, control, all);
        percent(out, guest, all);
        percent(out, kernel, all);
        out_cell(out, "%u", s.runnable);
        out_cell(out, "%u", vm_sched_reserved(i));
        out_cell(out, "%s", cpu_modes[cpu_mode(i)]);
    }
    free(before);
    return HV_OK;
}

static void save_cpu_modes(struct schema_text *t)
{
    for (u32 i = 0; i < sys_host_info()->cpu_count; i++) {
        enum vm_sched_mode mode = cpu_mode(i);

        if (mode != VM_SCHED_SHARED || (configured_poll && i == configured_poll))
            schema_put(t, "host cpu %u mode=%s", i, cpu_modes[mode]);
    }
}
SCHEMA_SAVES(save_cpu_modes, SAVES_HOST);

static u32 level_of(const char *name)
{
    u32 level = 0;

    while (level < LOG_DEBUG && strcmp(log_level_name(level), name))
        level++;
    return level;
}

static enum hv_status run_log(const struct schema_args *args, struct out *out)
{
    u32 level = level_of(args_text(args, "level"));
    u64 count = args_number(args, "count", 0), matching = 0;
    struct log_cursor c = {0};
    char text[256];

    while (count && sys_log_read(&c, text, sizeof(text)) > 0)
        matching += c.level <= level;
    u64 skip = count && matching > count ? matching - count : 0;
    memset(&c, 0, sizeof(c));
    while (sys_log_read(&c, text, sizeof(text)) > 0 && !out_cancelled(out)) {
        if (c.level > level || (skip && skip--))
            continue;
        u64 us = clock_ticks_to_ns(c.tsc - sys_host_info()->boot_tsc) / 1000;
        out_printf(out, "[%5llu.%06llu] cpu%u %-6s %s\n", (ull)(us / 1000000), (ull)(us % 1000000),
                   c.cpu, log_level_name(c.level), text);
    }
    if (c.lost)
        out_printf(out, "(%llu older records were overwritten)\n", (ull)c.lost);
    return HV_OK;
}

static bool vms_on(void)
{
    for (const struct vm *vm = inventory_first(); vm; vm = vm->next) {
        if (vm->phase != PHASE_STOPPED)
            return true;
    }
    return false;
}

static enum hv_status leave(const struct schema_args *args, struct out *out, u32 how,
                            const char *question)
{
    if (vms_on() && !args_flag(args, "yes") && !shell_confirm(question))
        return HV_OK;
    console_print(how ? "Power off.\n" : "Reboot.\n");
    console_flush();
    i64 status = sys_host_reset(how);
    return out_error(out, (enum hv_status)status, "E_POWER", "the machine's own button",
                     "the firmware offers no way to do that");
}

static enum hv_status run_reboot(const struct schema_args *args, struct out *out)
{
    return leave(args, out, 0, "VMs are running. Reboot the machine all the same?");
}

static enum hv_status run_poweroff(const struct schema_args *args, struct out *out)
{
    return leave(args, out, 1, "VMs are running. Turn the machine off all the same?");
}

static const struct schema_arg log_args[] = {
    {"level", PLACE_KEY, ARG_ENUM, "error|warn|notice|info|debug", "info",
     "least important level to show"},
    {"count", PLACE_KEY, ARG_NUMBER, .help = "only the newest so many"},
    {0},
};
static const struct schema_arg cpu_args[] = {
    {"cpu", PLACE_OPTIONAL, ARG_NUMBER, .help = "the CPU whose mode is set"},
    {"mode", PLACE_KEY, ARG_ENUM, .values = "shared|dedicated|polling",
     .help = "dedicated: only for VMs that name it in cpu.pin; polling: for the host's own "
             "devices and switches, which look at the guests' queues all the time"},
    {"seconds", PLACE_KEY, ARG_NUMBER, .help = "measure that long instead of since boot"},
    {0},
};
static const struct schema_arg yes_args[] = {
    {"yes", PLACE_FLAG, ARG_WORD, .help = "do not ask when VMs are running"},
    {0},
};

static const struct schema_command commands[] = {
    {"host", "info", "versions, uptime, CPUs, memory, virtualisation, how it was booted", NULL,
     ROLE_VIEW, NULL, NULL, run_info},
    {"host", "log", "the log of kernel and control partition",
     "host log level=notice count=20 | grep vm", ROLE_VIEW, log_args, NULL, run_log},
    {"host", "cpu", "what the CPUs spend their time on, and what each is for",
     "host cpu 1 mode=dedicated", ROLE_VIEW, cpu_args, NULL, run_cpu},
    {"host", "reboot", "reset the machine", NULL, ROLE_ADMIN, yes_args, NULL, run_reboot},
    {"host", "poweroff", "turn the machine off", NULL, ROLE_ADMIN, yes_args, NULL, run_poweroff},
};
SCHEMA_COMMANDS(commands);
