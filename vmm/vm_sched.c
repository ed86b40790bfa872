/* Which CPUs a VM may use and how much of them; on the event loop's thread. */
#include "vmm/vm_sched.h"

#include <stdlib.h>

#include "control/rt/clock.h"
#include "control/rt/log.h"
#include "control/rt/sys.h"
#include "vmm/inventory.h"
#include "vmm/virtio_poll.h"
#include "vmm/vm_reserve.h"

static u64 dedicated;             /* CPUs for VMs that name them in cpu.pin */
static u32 polling = LOOP_NO_CPU; /* the CPU on which the control partition polls */

/* CPUs that vCPUs may use; where none can run guests, those that could if they were told to. */
static u64 for_guests(u32 polls)
{
    const struct host_info *h = sys_host_info();
    u64 able = 0;

    for (u32 i = 0; i < h->cpu_count; i++)
        able |= h->cpus[i].hvm ? BIT(i) : 0;
    if (!able)
        able = BITS(h->cpu_count - 1, 0);
    return able & ~(polls == LOOP_NO_CPU ? 0 : BIT(polls));
}

/* CPUs as they are, or as they are wanted. */
struct cpus {
    u64 guests, shared; /* that any VM may use; that VMs without a pin may use */
};

static struct cpus cpus_now(void)
{
    return (struct cpus){for_guests(polling), for_guests(polling) & ~dedicated};
}

/* Every vCPU that the kernel has, `vm` as `config` says (it may not have started).
 * NULL: no memory, or no vCPU; to be freed. */
static struct vm_reserve *list_all(const struct vm *vm, const struct vm_config *config,
                                   struct cpus cpus, u32 *count)
{
    u32 n = 0;
    for (const struct vm *at = inventory_first(); at; at = at->next)
        n += at->state || at == vm ? VM_VCPUS : 0; /* room for what either config says */
    struct vm_reserve *list = malloc(n * sizeof(*list) + 1);
    *count = 0;
    for (const struct vm *at = inventory_first(); list && at; at = at->next) {
        const struct vm_config *c = config && at == vm ? config : &at->config;
        for (u32 i = 0; (at == vm || at->state) && i < c->cpu_count; i++)
            list[(*count)++] = (struct vm_reserve){
                .mask = c->cpu_pin ? c->cpu_pin & cpus.guests : cpus.shared,
                .percent = (c->cpu_reserve + c->cpu_count - 1) / c->cpu_count,
                .weight = c->cpu_weight,
                .cpu = at->state ? at->reserved_cpu[i] : (u8)VM_RESERVE_NONE,
            };
    }
    return list;
}

static bool place(const struct vm *vm, const struct vm_config *config, struct cpus cpus)
{
    u32 count;
    struct vm_reserve *list = list_all(vm, config, cpus, &count);
    bool fits = list && vm_reserve_place(list, count, sys_host_info()->cpu_count);
    free(list);
    return fits;
}

bool vm_sched_admit(const struct vm *vm, const struct vm_config *c, struct vm_error *e)
{
    if (c->cpu_pin && !(c->cpu_pin & for_guests(LOOP_NO_CPU)))
        return vm_error(e, HV_ENOENT, "E_NOENT", "host cpu",
                        "no CPU of VM %s's cpu.pin can run guests", c->name);
    if (c->cpu_pin && !(c->cpu_pin & for_guests(polling)))
        return vm_error(e, HV_EBUSY, "E_STATE", "another cpu.pin, or host cpu N mode=shared",
                        "cpu.pin of VM %s names only CPU %u, on which the control partition polls",
                        c->name, polling);
    if (place(vm, c, cpus_now()))
        return true;
    return vm_error(e, HV_EBUSY, "E_FULL",
                    "host cpu, then a smaller cpu.reserve or another cpu.pin",
                    "no CPU that VM %s may use has %u %% left to reserve for each of its vCPUs",
                    c->name, (c->cpu_reserve + c->cpu_count - 1) / c->cpu_count);
}

/* A reservation of one changes the weights of others, so then all are told; vm NULL: all. */
static void tell(const struct vm *only)
{
    static bool reserved; /* the last time there were reservations */
    u32 count, at = 0;
    bool had = reserved;
    struct vm_reserve *list = list_all(NULL, NULL, cpus_now(), &count);
    if (!list || !vm_reserve_place(list, count, sys_host_info()->cpu_count)) {
        /* After a restart of the control partition another order may not fit, or there is no
         * memory: the kernel goes on with what it was told. */
        log_warn("reservations of CPU time stay as the kernel has them");
        free(list);
        return;
    }
    vm_reserve_weigh(list, count);
    reserved = false;
    for (u32 i = 0; i < count; i++)
        reserved |= list[i].percent != 0;
    for (struct vm *vm = inventory_first(); vm; vm = vm->next) {
        for (u32 i = 0; vm->state && i < vm->config.cpu_count; i++, at++) {
            const struct vm_reserve *r = &list[at];
            vm->reserved_cpu[i] = r->cpu;
            if (!only || vm == only || had || reserved)
                (void)sys_vcpu_sched(vm->slot, i, r->given, r->percent ? BIT(r->cpu) : r->mask);
        }
        if (vm->state) {
            vm->state->dedicated = dedicated;
            vm->state->polling = (u8)(polling + 1);
        }
    }
    free(list);
}

void vm_sched_apply(struct vm *vm)
{
    if (!vm->state)
        return;
    vm_state_set_config(vm->state, &vm->config);
    tell(vm);
}

u32 vm_sched_reserved(u32 cpu)
{
    u32 sum = 0;
    for (const struct vm *vm = inventory_first(); vm; vm = vm->next) {
        const struct vm_config *c = &vm->config;
        for (u32 i = 0; vm->state && c->cpu_reserve && i < c->cpu_count; i++)
            if (vm->reserved_cpu[i] == cpu)
                sum += (c->cpu_reserve + c->cpu_count - 1) / c->cpu_count;
    }
    return sum;
}

u64 vm_sched_dedicated(void)
{
    return dedicated;
}

u32 vm_sched_polling(void)
{
    return polling;
}

static void poll_on(u32 cpu)
{
    polling = cpu;
    tell(NULL); /* vCPUs first */
    virtio_poll_set(cpu);
}

void vm_sched_restore(const struct vm_state *s)
{
    dedicated |= s->dedicated;
    if (s->polling && polling != s->polling - 1u && s->polling <= sys_host_info()->cpu_count)
        poll_on(s->polling - 1u);
}

/* The VM whose cpu.pin names no other CPU; NULL: none that the kernel has. */
static const struct vm *only_there(u64 guests)
{
    const struct vm *vm = inventory_first();
    while (vm && !(vm->state && vm->config.cpu_pin && !(vm->config.cpu_pin & guests)))
        vm = vm->next;
    return vm;
}

bool vm_sched_mode(u32 cpu, enum vm_sched_mode mode, struct vm_error *e)
{
    u32 count = sys_host_info()->cpu_count;
    u64 bit = BIT(cpu & 63),
        marked = mode == VM_SCHED_DEDICATED ? dedicated | bit : dedicated & ~bit;
    u32 polls = mode == VM_SCHED_POLLING ? cpu : polling == cpu ? LOOP_NO_CPU : polling;
    if (cpu >= count)
        return vm_error(e, HV_ENOENT, "E_NOENT", "host cpu", "there is no CPU %u", cpu);
    struct cpus cpus = {for_guests(polls), for_guests(polls) & ~marked};
    if (!cpus.shared)
        return vm_error(e, HV_EBUSY, "E_STATE", "leave one shared",
                        "CPU %u is the last that VMs without cpu.pin may use", cpu);
    const struct vm *vm = only_there(cpus.guests);
    if (vm)
        return vm_error(e, HV_EBUSY, "E_STATE", "another cpu.pin for it first",
                        "cpu.pin of VM %s names only CPU %u", vm->config.name, cpu);
    if (!place(NULL, NULL, cpus))
        return vm_error(e, HV_EBUSY, "E_FULL", "host cpu, then smaller cpu.reserve of VMs",
                        "the other CPUs have no room for the reservations on CPU %u", cpu);
    dedicated = marked;
    if (polls == polling)
        tell(NULL);
    else
        poll_on(polls);
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
