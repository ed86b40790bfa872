/* Life cycle of VMs; called by shell commands (fibers) and exit handlers, on the event loop's
 * thread. */
#include "vmm/vm.h"

#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "control/rt/clock.h"
#include "control/rt/fiber.h"
#include "control/rt/log.h"
#include "control/rt/sys.h"
#include "net/switches.h"
#include "vmm/exits.h"
#include "vmm/features.h"
#include "vmm/firmware.h"
#include "vmm/inventory.h"
#include "vmm/virtio_dev_balloon.h"
#include "vmm/virtio_dev_pci.h"
#include "vmm/vm_boot.h"
#include "vmm/vm_devices.h"
#include "vmm/vm_disk.h"
#include "vmm/vm_home.h"
#include "vmm/vm_nic.h"
#include "vmm/vm_nvram.h"
#include "vmm/vm_reserve.h"
#include "vmm/vm_sched.h"

u64 vm_first_run_tsc;

#define MEM_STEP (64 * MIB) /* most that one SYS_VM_MEM takes */

bool vm_error(struct vm_error *e, enum hv_status status, const char *code, const char *hint,
              const char *fmt, ...)
{
    va_list ap;
    e->status = status;
    e->code = code;
    snprintf(e->hint, sizeof(e->hint), "%s", hint);
    va_start(ap, fmt);
    vsnprintf(e->text, sizeof(e->text), fmt, ap);
    va_end(ap);
    return false;
}

const char *vm_phase_name(const struct vm *vm)
{
    static const char *const names[] = {"stopped", "starting", "running", "paused", "stopping"};
    return names[vm->phase];
}

static bool wrong_phase(const struct vm *vm, const char *hint, struct vm_error *e)
{
    return vm_error(e, HV_EBUSY, "E_STATE", hint, "VM %s is %s", vm->config.name,
                    vm_phase_name(vm));
}

static void init_state(struct vm *vm)
{
    struct vm_state *s = vm->state;
    memset(s, 0, sizeof(*s));
    s->version = VM_STATE_VERSION;
    s->size = sizeof(*s);
    s->device_count = vm_devices_count(&vm->config);
    s->has_disks = vm_state_has_disks(&vm->config);
    vm_state_set_config(s, &vm->config);
    vm_devices_place(s, &vm->config);
    s->started_at = platform_now();
    for (u32 i = 0; i < VM_TIMER_COUNT; i++)
        s->deadline[i] = PLATFORM_NEVER;
    text_ring_init(&s->log, VM_LOG_BYTES);
    text_ring_init(&s->scrollback, VM_SCROLLBACK_BYTES);
    vm->firmware = vm_state_firmware(s);
}

/* The VM has this slot: pointers into its window. */
static void attach(struct vm *vm, u32 slot)
{
    u8 *window = sys_vm_window(slot);
    vm->slot = slot;
    vm->state = (struct vm_state *)(window + VM_WINDOW_STATE);
    vm->vcpu_pages = window + VM_WINDOW_VCPUS;
    guest_mem_layout(&vm->mem, window + VM_WINDOW_RAM, vm->config.mem);
    vm->firmware = NULL;
    memset(vm->reserved_cpu, VM_RESERVE_NONE, sizeof(vm->reserved_cpu));
    inventory_set_slot(slot, vm);
}

/* Gives everything back; the rings stay readable.  In a fiber if it has disks. */
static void detach(struct vm *vm)
{
    vm->phase = PHASE_STOPPING;
    (void)sys_vm_pause(vm->slot);
    vm_disk_close_all(vm); /* waits for what is in flight: it points into the VM's memory */
    for (u32 i = 0; i < VM_TIMER_COUNT; i++)
        loop_timer_cancel(&vm->timers[i].timer);
    loop_timer_cancel(&vm->cap_timer);
    loop_timer_cancel(&vm->nvram_timer);
    char *nvram = vm_nvram_text(vm);
    vm->cap.held = false;
    memcpy(vm->last_log, vm->state->log_space, sizeof(vm->last_log));
    memcpy(vm->last_scrollback, vm->state->scrollback_space, sizeof(vm->last_scrollback));
    vm_devices_detach(vm);
    inventory_set_slot(vm->slot, NULL);
    vm->served = 0;
    vm->state->magic = 0;
    vm->state = NULL;
    vm->firmware = NULL;
    vm->hold = false;
    vm->power = POWER_NONE;
    vm->power_why = NULL;
    i64 r = sys_vm_destroy(vm->slot);
    if (r != HV_OK)
        log_error("vm: slot %u of VM %s is not destroyed: %lld", vm->slot, vm->config.name,
                  (long long)r);
    if (fiber_self()) { /* always, if it has disks */
        (void)vm_nvram_save(vm, nvram);
        vm_home_keep_log(vm);
        vm_home_unlock(vm);
    } else {
        free(nvram);
    }
    vm->phase = PHASE_STOPPED;
    if (vm->console_news)
        vm->console_news(vm);
}

static bool no_memory(const struct vm *vm, struct vm_error *e)
{
    struct mem_stat m = {0};
    (void)sys_mem_stat(&m);
    return vm_error(e, HV_ENOMEM, "E_NOMEM", "vm set mem= to less, or stop another VM",
                    "VM %s wants %llu MiB, %llu MiB are free", vm->config.name,
                    (unsigned long long)(vm->config.mem / MIB),
                    (unsigned long long)(m.free_2m * 2));
}

static bool create(struct vm *vm, struct vm_error *e)
{
    static struct vm_policy policy;
    u32 flash;
    if (!firmware_size(vm, &flash, e))
        return false;
    struct vm_create c = {
        .ram_limit = vm->config.mem + flash,
        .state_size = vm_state_size(vm_devices_count(&vm->config), vm_state_has_disks(&vm->config)),
        .policy = &policy};
    snprintf(c.name, sizeof(c.name), "%s", vm->config.name);
    vm_boot_policy(&vm->config, &policy);
    i64 slot = sys_vm_create(&c);
    if (slot == HV_ENOMEM)
        return no_memory(vm, e);
    if (slot < 0)
        return vm_error(e, (enum hv_status)slot, "E_INTERNAL", "host log",
                        "the kernel refuses the VM (%lld)", (long long)slot);
    attach(vm, (u32)slot);
    init_state(vm);
    return vm_devices_attach(vm, e);
}

static bool give_memory(struct vm *vm, struct vm_error *e)
{
    for (u32 i = 0; i < vm->mem.count; i++) {
        struct guest_range r = vm->mem.range[i];
        for (u64 at = 0; at < r.len; at += MEM_STEP) {
            u64 len = MIN(MEM_STEP, r.len - at);
            i64 st = sys_vm_mem(vm->slot, GPA(r.gpa + at), len, 0);
            if (st != HV_OK)
                return no_memory(vm, e);
            if (fiber_self())
                fiber_yield(); /* zeroing takes a while: let others run */
        }
    }
    return true;
}

static bool give_vcpus(struct vm *vm, struct vm_error *e)
{
    for (u32 i = 0; i < vm->config.cpu_count; i++) {
        i64 st = sys_vcpu_create(vm->slot, i);
        if (st == HV_ENOMEM)
            return no_memory(vm, e);
        if (st != HV_OK)
            return vm_error(e, (enum hv_status)st, "E_INTERNAL", "host log",
                            "the kernel refuses vCPU %u (%lld)", i, (long long)st);
    }
    return true;
}

/* However it was held until now. */
static i64 let_run(struct vm *vm)
{
    i64 st = sys_vm_run(vm->slot);
    vm->cap.held = false;
    vm_sched_watch(vm);
    return st;
}

/* Bochs with several CPUs takes a guest's exception twice when a physical interrupt follows at
 * once, unless the exception exits first. */
static bool exceptions_must_exit(void)
{
    return vm_boot_on_bochs() && sys_host_info()->cpu_count > 1;
}

static void apply_exceptions(struct vm *vm)
{
    u32 wanted = vm->config.trace_exceptions || exceptions_must_exit() ? ~0u : 0;
    for (u32 i = 0; i < vm->config.cpu_count; i++) {
        struct vcpu_state *full = &vm_vcpu(vm, i)->full;
        if (sys_vcpu_get(vm->slot, i) != HV_OK || full->exceptions == wanted)
            continue;
        full->exceptions = wanted;
        (void)sys_vcpu_set(vm->slot, i);
    }
}

void vm_apply(struct vm *vm, bool exceptions)
{
    vm_sched_apply(vm);
    if (!vm->state)
        return;
    vm_disk_apply(vm);
    virtio_dev_balloon_apply(vm);
    vm_sched_watch(vm);
    if (!exceptions)
        return;
    (void)sys_vm_pause(vm->slot);
    apply_exceptions(vm);
    if (vm->phase == PHASE_RUNNING)
        (void)let_run(vm);
}

static bool can_start(struct vm *vm, struct vm_error *e)
{
    const struct host_info *hi = sys_host_info();
    if (vm->phase != PHASE_STOPPED)
        return wrong_phase(vm, "vm list", e);
    if (!features_hvm_name(hi)[0]) {
        char reason[FEATURES_REASON];
        const char *hint = features_why_not(hi, reason, sizeof(reason));
        return vm_error(e, HV_ENOHVM, "E_NO_VTX", hint, "%s", reason);
    }
    if (vm->config.cpu_count > 2 * hi->cpu_count || vm->config.cpu_count > VM_VCPUS)
        return vm_error(e, HV_EINVAL, "E_CONFIG", "vm set cpu= to at most twice the host's",
                        "%u vCPUs on %u CPUs", vm->config.cpu_count, hi->cpu_count);
    return vm_sched_admit(vm, &vm->config, e);
}

bool vm_start(struct vm *vm, struct vm_error *e)
{
    if (vm->config.is_template)
        return vm_error(e, HV_EINVAL, "E_TEMPLATE", "vm clone, or vm convert to=vm",
                        "VM %s is a template", vm->config.name);
    if (!can_start(vm, e))
        return false;
    vm->phase = PHASE_STARTING; /* its home's lock may have to be waited for */
    bool ok = vm_home_lock(vm, e);
    bool locked = ok;
    ok = ok && create(vm, e);
    if (!vm->state) {
        if (locked)
            vm_home_unlock(vm);
        vm->phase = PHASE_STOPPED;
        return false;
    }
    vm->phase = PHASE_STARTING;
    vm->stop_reason[0] = 0;
    ok = ok && vm_disk_open_all(vm, e) && give_memory(vm, e) && firmware_load(vm, e);
    if (ok)
        vm_nvram_load(vm);
    ok = ok && give_vcpus(vm, e) && vm_boot(vm, e);
    if (ok) {
        vm_sched_apply(vm);
        apply_exceptions(vm);
        platform_log(vm, "started: %u vCPUs, %llu MiB, %s", vm->config.cpu_count,
                     (unsigned long long)(vm->config.mem / MIB),
                     vm->firmware ? vm->config.firmware : vm->config.kernel);
        vm->phase = PHASE_RUNNING;
        vm->served = vm->config.cpu_count;
        vm->starts++;
        vm->state->magic = VM_STATE_MAGIC;
        if (!vm_first_run_tsc)
            vm_first_run_tsc = clock_tsc();
        ok = let_run(vm) == HV_OK ||
             vm_error(e, HV_EIO, "E_INTERNAL", "host log", "the kernel does not run the VM");
    }
    if (!ok)
        detach(vm);
    else
        log_info("VM %s: started", vm->config.name);
    return ok;
}

bool vm_stop(struct vm *vm, struct vm_error *e)
{
    if (vm->phase != PHASE_RUNNING && vm->phase != PHASE_PAUSED)
        return wrong_phase(vm, "vm list", e);
    platform_log(vm, "stopped%s%s", vm->stop_reason[0] ? ": " : "", vm->stop_reason);
    log_info("VM %s: stopped", vm->config.name);
    detach(vm);
    return true;
}

bool vm_shutdown(struct vm *vm, struct vm_error *e)
{
    if (vm->phase != PHASE_RUNNING)
        return wrong_phase(vm, vm->phase == PHASE_PAUSED ? "vm resume first" : "vm list", e);
    platform_log(vm, "power button pressed");
    acpi_pm_power_button(vm);
    return true;
}

static bool restart(struct vm *vm, struct vm_error *e)
{
    vm->phase = PHASE_STOPPING;
    (void)sys_vm_pause(vm->slot);
    vm_disk_drain(vm);
    vm->state->magic = 0;
    for (u32 i = 0; i < vm->config.cpu_count; i++) {
        if (sys_vcpu_reset(vm->slot, i) != HV_OK)
            return vm_error(e, HV_EIO, "E_INTERNAL", "host log", "vCPU %u cannot be reset", i);
    }
    if (!vm_boot(vm, e))
        return false;
    vm->state->resets++;
    vm->state->paused = 0;
    vm->state->magic = VM_STATE_MAGIC;
    vm->phase = PHASE_RUNNING;
    vm->stop_reason[0] = 0;
    vm_disk_release(vm);
    if (let_run(vm) != HV_OK)
        return vm_error(e, HV_EIO, "E_INTERNAL", "host log", "the kernel does not run the VM");
    return true;
}

bool vm_reset(struct vm *vm, struct vm_error *e)
{
    if (vm->phase != PHASE_RUNNING && vm->phase != PHASE_PAUSED)
        return wrong_phase(vm, "vm start", e);
    platform_log(vm, "reset%s%s", vm->power_why ? ": " : "", vm->power_why ? vm->power_why : "");
    log_info("VM %s: reset", vm->config.name);
    if (restart(vm, e))
        return true;
    snprintf(vm->stop_reason, sizeof(vm->stop_reason), "reset failed: %.80s", e->text);
    platform_log(vm, "%s", vm->stop_reason);
    detach(vm);
    return false;
}

bool vm_pause(struct vm *vm, struct vm_error *e)
{
    if (vm->phase != PHASE_RUNNING)
        return wrong_phase(vm, "vm list", e);
    vm->state->paused = 1;
    (void)sys_vm_pause(vm->slot);
    vm->phase = PHASE_PAUSED;
    platform_log(vm, "paused");
    return true;
}

void vm_pause_for(struct vm *vm, const char *fmt, ...)
{
    va_list ap;
    struct vm_error e;
    va_start(ap, fmt);
    vsnprintf(vm->stop_reason, sizeof(vm->stop_reason), fmt, ap);
    va_end(ap);
    log_notice("VM %s is paused: %s. Try: vm resume %s, when that is mended", vm->config.name,
               vm->stop_reason, vm->config.name);
    platform_log(vm, "%s", vm->stop_reason);
    if (vm->phase == PHASE_RUNNING && !vm_pause(vm, &e))
        platform_log(vm, "%s", e.text);
}

bool vm_resume(struct vm *vm, struct vm_error *e)
{
    if (vm->phase != PHASE_PAUSED)
        return wrong_phase(vm, "vm list", e);
    vm->state->paused = 0;
    vm->phase = PHASE_RUNNING;
    vm->stop_reason[0] = 0;
    platform_log(vm, "resumed");
    vm_disk_resume(vm); /* which may pause it again */
    if (vm->phase == PHASE_RUNNING)
        (void)let_run(vm);
    return true;
}

bool vm_dump(struct vm *vm, struct vm_error *e)
{
    if (vm->phase != PHASE_RUNNING && vm->phase != PHASE_PAUSED)
        return wrong_phase(vm, "vm log has what a stopped one left", e);
    (void)sys_vm_pause(vm->slot);
    for (u32 i = 0; i < vm->config.cpu_count; i++)
        exits_dump(vm, i);
    if (vm->phase == PHASE_RUNNING)
        (void)let_run(vm);
    return true;
}

void vm_fail(struct vm *vm, const char *fmt, ...)
{
    va_list ap;
    va_start(ap, fmt);
    vsnprintf(vm->stop_reason, sizeof(vm->stop_reason), fmt, ap);
    va_end(ap);
    platform_log(vm, "FAILED: %s", vm->stop_reason);
    exits_dump(vm, vm->serving);
    log_notice("VM %s failed: %s. Try: vm log %s", vm->config.name, vm->stop_reason,
               vm->config.name);
    platform_power(vm, POWER_OFF, NULL);
}

/* The second half of vm_power, out of the exit handler. */
static void power_fiber(void *arg)
{
    struct vm *vm = arg;
    struct vm_error e;
    enum platform_power what = vm->power;
    bool ok = true;
    if (!vm->state)
        return;
    vm->power = POWER_NONE;
    vm->phase = PHASE_RUNNING;
    if (what == POWER_RESET)
        ok = vm_reset(vm, &e);
    else if (what == POWER_OFF)
        ok = vm_stop(vm, &e);
    if (!ok)
        log_notice("VM %s: %s", vm->config.name, e.text);
    vm->power_why = NULL;
}

/* It may have to wait for disks; without memory for a fiber it is tried again. */
static void spawn_power(void *owner)
{
    struct vm *vm = owner;
    if (fiber_spawn("vm power", power_fiber, vm))
        return;
    vm->power_timer.fn = spawn_power;
    vm->power_timer.owner = vm;
    loop_timer_set(&vm->power_timer, clock_after(10 * CLOCK_MS));
}

void vm_power(struct vm *vm)
{
    if (vm->phase == PHASE_STOPPING)
        return;
    if (vm->power == POWER_OFF && vm->power_why)
        snprintf(vm->stop_reason, sizeof(vm->stop_reason), "%s", vm->power_why);
    vm->phase = PHASE_STOPPING;
    (void)sys_vm_pause(vm->slot);
    spawn_power(vm);
}

const struct text_ring *vm_log(const struct vm *vm)
{
    return vm->state ? &vm->state->log : (const struct text_ring *)vm->last_log;
}

const struct text_ring *vm_scrollback(const struct vm *vm)
{
    return vm->state ? &vm->state->scrollback : (const struct text_ring *)vm->last_scrollback;
}

void vm_init(void)
{
    exits_init();
    loop_on_exit(exits_serve);
    loop_on_doorbell(virtio_dev_pci_doorbell);
    switches_watch(vm_nic_found);
    switches_know_macs(vm_nic_mac_known);
}

/* *c: the configuration in it. */
static bool state_usable(struct vm_state *s, const struct vm_info *info, struct vm_config *c)
{
    if (info->state_size < sizeof(*s) || s->magic != VM_STATE_MAGIC ||
        s->version != VM_STATE_VERSION || s->size != sizeof(*s) ||
        info->state_size != vm_state_size(s->device_count, s->has_disks))
        return false;
    vm_state_config(s, c);
    return info->vcpu_count == c->cpu_count && vm_devices_fit(s, c);
}

static void reattach(const struct vm_info *info)
{
    struct vm_error e;
    struct vm_state *s = (void *)((u8 *)sys_vm_window(info->slot) + VM_WINDOW_STATE);
    struct vm_config c;
    struct vm *vm = NULL;
    if (state_usable(s, info, &c)) {
        vm = inventory_find(c.name);
        if (!vm && !inventory_define(&c, &vm, &e))
            vm = NULL;
    }
    if (!vm || vm->state) {
        log_notice("VM %s was not completely started or stopped: removed", info->name);
        (void)sys_vm_pause(info->slot);
        (void)sys_vm_destroy(info->slot);
        return;
    }
    vm->config = c;
    attach(vm, info->slot);
    firmware_attach(vm);
    if (!vm_devices_attach(vm, &e)) {
        log_error("VM %s: %s", info->name, e.text);
        detach(vm);
        return;
    }
    vm_sched_restore(s);
    vm->served = c.cpu_count;
    vm->phase = s->paused ? PHASE_PAUSED : PHASE_RUNNING;
    vm->state->held = 0; /* the kernel shows those exits again */
    for (u32 i = 0; i < VM_TIMER_COUNT; i++)
        platform_timer(vm, (enum vm_timer)i, vm->state->deadline[i]);
    platform_log(vm, "the control partition was restarted");
    vm_devices_resume(vm);
    vm_sched_apply(vm);
    (void)(s->paused ? sys_vm_pause(vm->slot) : let_run(vm));
}

void vm_reattach_all(void)
{
    struct vm_info info;
    for (u32 slot = 0; slot < VM_SLOTS; slot++) {
        if (sys_vm_info(slot, &info) == HV_OK)
            reattach(&info);
    }
    vm_disk_restart();
}
