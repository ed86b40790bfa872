/* Start-up of the control partition: a table of steps, then the event loop. */
#include "control/main.h"

#include <stdio.h>
#include <string.h>

#include "control/banner.h"
#include "control/cmd_crash.h"
#include "control/cmd_host.h"
#include "control/cmd_vm.h"
#include "control/config.h"
#include "control/console.h"
#include "control/rt/clock.h"
#include "control/rt/log.h"
#include "control/rt/loop.h"
#include "control/rt/sys.h"
#include "control/saved.h"
#include "control/shell.h"
#include "control/snapshot_watch.h"
#include "control/users.h"
#include "drivers/pci.h"
#include "kernel/abi/crash.h"
#include "net/net.h"
#include "storage/physical.h"
#include "vmm/features.h"
#include "vmm/mitigations.h"

typedef unsigned long long ull;

#define CONFIG_FILE "bulkhead.conf"

static struct log_cursor notices; /* what the console has shown of the log */

static void start_console(void)
{
    sys_wait(0, 0); /* from its first call on, the kernel leaves the UART to us */
    if (console_init() != HV_OK)
        log_warn("no console: no 16550 answers at port 0x%llx", (ull)sys_host_info()->uart_port);
}

static void start_banner(void)
{
    const struct host_info *h = sys_host_info();
    struct mem_stat m = {0};
    char hvm[256], line[768], brand[52];

    sys_mem_stat(&m);
    features_cpu_brand(brand);
    cmd_host_hvm_text(h, hvm, sizeof(hvm));
    snprintf(line, sizeof(line),
             "\nBulkhead %s\n"
             "  CPU     %s, %u of them, TSC %llu MHz\n"
             "  Memory  %llu MiB, %llu MiB free\n"
             "  Guests  %s\n"
             "  Boot    UEFI, %s; outer hypervisor: %s\n"
             "Type help for help.\n",
             BULKHEAD_VERSION, brand, h->cpu_count, (ull)(h->tsc_hz / 1000000),
             (ull)(m.total / MIB), (ull)(m.free / MIB), hvm, h->firmware, cmd_host_outer());
    console_print(line);
}

/* The kernel printed the report before it built this instance. */
static void start_restart_report(void)
{
    u32 restarts = sys_host_info()->restart_count;
    char line[160];

    if (!restarts)
        return;
    log_warn("control partition started again, for the %u. time", restarts);
    snprintf(line, sizeof(line),
             "The control partition crashed and was started again (restart %u). The report is in "
             "`host log level=error`.\n",
             restarts);
    console_print(line);
}

static void on_vm(void *owner, const struct vm_config *c)
{
    (void)owner;
    cmd_vm_define(c);
}

static void on_config_error(void *owner, const char *line)
{
    (void)owner;
    log_info("%s", line);
    console_print(line);
    console_print("\n");
}

static struct config_host host_config;

static void start_polling(void)
{
    char line[512];

    if (!cmd_host_poll(host_config.poll_cpu, line, sizeof(line)))
        on_config_error(NULL, line);
}

static void start_config(void)
{
    const struct host_info *h = sys_host_info();
    const struct config_sink sink = {.vm = on_vm, .error = on_config_error};

    for (u32 i = 0; i < h->module_count && i < BOOT_MODULES; i++) {
        const struct host_module *m = &h->modules[i];

        if (!strncmp(m->name, CONFIG_FILE, sizeof(m->name))) {
            config_read(CONFIG_FILE, (const char *)m->vaddr, m->len, &sink, &host_config);
            sys_crash(CRASH_RESET_AFTER, host_config.panic_reset);
            start_polling();
            return;
        }
    }
    on_config_error(NULL, "E_CONFIG: " CONFIG_FILE " is not on the boot medium. "
                          "Try: put one into \\bulkhead");
}

static void start_second_console(void)
{
    console_second(host_config.serial == CONFIG_SERIAL_SHELL);
}

static void start_mitigations(void)
{
    mitigations_apply(host_config.mitigations);
}

/* A lock-out outlives this instance with the rest of what is kept. */
static void start_users(void)
{
    users_on_lock = saved_touch;
}

/* New records of level NOTICE or worse, as they come. */
static void on_log(void)
{
    char text[256];

    while (sys_log_read(&notices, text, sizeof(text)) > 0) {
        if (notices.level <= LOG_NOTICE)
            console_notice("[%s] %s", log_level_name(notices.level), text);
    }
}

static void start_notices(void)
{
    char text[256];

    while (sys_log_read(&notices, text, sizeof(text)) > 0)
        ; /* what was there before is in `host log` */
    loop_on_log(on_log);
}

static void start_shell(void)
{
    cmd_host_ready_tsc = clock_tsc();
    shell_start(console_terminal(), "console");
}

static const struct {
    const char *name;
    void (*fn)(void);
} steps[] = {
    {"clock", clock_init},      /* everything tells the time by it */
    {"console", start_console}, /* from here on there is someone to talk to */
    {"banner", start_banner},
    {"restart", start_restart_report},  /* why the screen went away */
    {"crash record", crash_boot_event}, /* why the machine was */
    {"network", net_init},              /* switches and lwIP, before anything is plugged in */
    {"inventory", cmd_vm_init},         /* what the configuration is put into */
    {"addresses", banner_start},        /* told when there are some */
    {"config", start_config},           /* VMs and what is wrong with their description */
    {"mitigations", start_mitigations}, /* before any VM */
    {"second console", start_second_console},
    {"disks", physical_start}, /* each physical disk that is found becomes one */
    {"devices", pci_start},    /* in a fiber: nobody waits for them here */
    {"vms", cmd_vm_ready},     /* VMs that were there before */
    {"users", start_users},
    {"saved", saved_start},              /* what was kept, first boot's network, autostart */
    {"snapshots", snapshot_watch_start}, /* how old they are */
    {"notices", start_notices},          /* after the steps that speak for themselves */
    {"shell", start_shell},
};

int main(void)
{
    for (u32 i = 0; i < ARRAY_LEN(steps); i++) {
        log_debug("start: %s", steps[i].name);
        steps[i].fn();
    }
    loop_run();
}
