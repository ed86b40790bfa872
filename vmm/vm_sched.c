/* Which CPUs a VM may use and how much of them; on the event loop's thread. */
#include "vmm/vm_sched.h"

#include "control/rt/clock.h"
#include "control/rt/sys.h"
#include "vmm/inventory.h"

static u64 dedicated; /* CPUs for VMs that name them in cpu.pin */

void vm_sched_apply(struct vm *vm)
{
    if (!vm->state)
        return;
    vm_state_set_config(vm->state, &vm->config);
    for (u32 i = 0; i < vm->config.cpu_count; i++)
        (void)sys_vcpu_sched(vm->slot, i, vm->config.cpu_weight,
                             vm->config.cpu_pin ? vm->config.cpu_pin : ~dedicated);
}

u64 vm_sched_dedicated(void)
{
    return dedicated;
}

bool vm_sched_dedicate(u32 cpu, bool on, struct vm_error *e)
{
    u32 count = sys_host_info()->cpu_count;
    u64 wanted = on ? dedicated | BIT(cpu & 63) : dedicated & ~BIT(cpu & 63);
    if (cpu >= count)
        return vm_error(e, HV_ENOENT, "E_NOENT", "host cpu", "there is no CPU %u", cpu);
    if (!(~wanted & BITS(count - 1, 0)))
        return vm_error(e, HV_EBUSY, "E_STATE", "leave one shared",
                        "CPU %u is the last that VMs without cpu.pin may use", cpu);
    dedicated = wanted;
    for (u32 slot = 0; slot < VM_SLOTS; slot++) {
        struct vm *vm = inventory_by_slot(slot);
        if (vm)
            vm_sched_apply(vm);
    }
    return true;
}

u64 vm_sched_ran(const struct vm *vm, u32 vcpu)
{
    const struct vcpu_stats *s = &vm_vcpu(vm, vcpu)->stats;
    u64 since = s->running_since, now = clock_tsc();
    return s->run_ticks + (since && since < now ? now - since : 0);
}

u64 vm_sched_ran_all(const struct vm *vm)
{
    u64 ticks = 0;
    for (u32 i = 0; vm->state && i < vm->config.cpu_count; i++)
        ticks += vm_sched_ran(vm, i);
    return ticks;
}

static void look(void *owner)
{
    struct vm *vm = owner;
    bool was = vm->cap.held;
    u64 now = clock_tsc(), period = sys_host_info()->tsc_hz / VM_CAP_PERIODS_PER_SECOND;

    if (!vm->state || !vm->config.cpu_cap) {
        if (vm->state && was && vm->phase == PHASE_RUNNING)
            (void)sys_vm_run(vm->slot);
        vm->cap.held = false;
        return;
    }
    u64 next = vm_cap_step(&vm->cap, now, vm_sched_ran_all(vm), period, vm->config.cpu_cap,
                           vm->config.cpu_count);
    if (vm->phase == PHASE_RUNNING && vm->cap.held != was)
        (void)(vm->cap.held ? sys_vm_pause(vm->slot) : sys_vm_run(vm->slot));
    loop_timer_set(&vm->cap_timer, next);
}

void vm_sched_watch(struct vm *vm)
{
    vm->cap_timer.fn = look;
    vm->cap_timer.owner = vm;
    if (!vm->cap_timer.armed && vm->state) { /* what it used before does not count */
        vm->cap.start = clock_tsc();
        vm->cap.base = vm_sched_ran_all(vm);
    }
    loop_timer_cancel(&vm->cap_timer);
    look(vm);
}
