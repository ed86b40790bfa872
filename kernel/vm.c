/* VMs: their slots, memory and life.  Called on the control partition's core only, so creation and
 * destruction need no lock against each other. */
#include "kernel/vm.h"

#include "kernel/control.h"
#include "kernel/exit_msr.h"
#include "kernel/hvm.h"
#include "kernel/irq.h"
#include "kernel/log.h"
#include "kernel/policy.h"
#include "kernel/sched.h"
#include "kernel/string.h"
#include "kernel/vcpu.h"

struct vm *vms[VM_SLOTS];

/* Frames beside RAM that a VM may take: EPT and window tables for 4 KiB leaves in the worst case
 * (two 8-byte entries a page), and per vCPU and VM constants. */
#define OVERHEAD_LIMIT(ram, state) ((ram) / 128 + (state) + 4 * MIB)

enum hv_status vm_get(u64 slot, struct vm **out)
{
    if (slot >= VM_SLOTS || !vms[slot])
        return HV_ENOENT;
    *out = vms[slot];
    return HV_OK;
}

static void publish_window(struct vm *vm)
{
    unsigned index = vm->slot + 1;
    pgtab_set_top_entry(&control.space, index, pgtab_top_entry(&vm->window, index));
}

static u64 window_va(const struct vm *vm, u64 offset)
{
    return VM_WINDOW(vm->slot) + offset;
}

/* What vm_create and vm_destroy share: everything but RAM and vCPUs. */
static void release_frame(struct vm *vm)
{
    struct quota q = vm->quota;

    mem_page_free(&q, vm->policy);
    mem_page_free(&q, vm);
}

static enum hv_status build(struct vm *vm, const struct vm_policy *policy)
{
    enum hv_status st;

    vm->policy = mem_page(&vm->quota);
    if (!vm->policy)
        return HV_ENOMEM;
    memcpy(vm->policy, policy, sizeof(*policy));
    st = policy_check(vm->policy, vm->cpuid_index);
    if (st != HV_OK)
        return st;
    exit_msr_policy_init(vm);
    vm->tsc_base = tsc_read();
    st = pgtab_init(&vm->window, &pgtab_host, &vm->quota, true, control.space.use_1g);
    if (st != HV_OK)
        return st;
    st = pgtab_alloc(&vm->window, window_va(vm, VM_WINDOW_STATE), vm->state_size,
                     PG_R | PG_W | PG_USER, PAGE_SIZE);
    if (st == HV_OK)
        st = hvm->vm_init(vm);
    if (st == HV_OK)
        return HV_OK;
    pgtab_free(&vm->window, window_va(vm, VM_WINDOW_STATE), vm->state_size);
    pgtab_fini(&vm->window);
    return st;
}

enum hv_status vm_create(const struct vm_create *args, const struct vm_policy *policy, u32 *slot)
{
    struct quota start = {.limit = ~0ull};
    struct vm *vm;
    u32 s = 0;

    if (!hvm)
        return HV_ENOHVM;
    if (args->state_size > VM_STATE_MAX || args->state_size % PAGE_SIZE ||
        args->ram_limit > VM_RAM_GPA_END || args->name[VM_NAME_LEN - 1])
        return HV_EINVAL;
    while (s < VM_SLOTS && vms[s])
        s++;
    if (s == VM_SLOTS)
        return HV_ENOMEM;
    vm = mem_page(&start);
    if (!vm)
        return HV_ENOMEM;
    vm->slot = s;
    vm->vendor = (u8 *)vm + VENDOR_OFFSET;
    vm->quota = start;
    memcpy(vm->name, args->name, VM_NAME_LEN);
    vm->quota.limit = args->ram_limit + OVERHEAD_LIMIT(args->ram_limit, args->state_size);
    vm->ram_limit = args->ram_limit;
    vm->state_size = args->state_size;
    vm->run_state = VM_PAUSED;
    enum hv_status st = build(vm, policy);
    if (st != HV_OK) {
        release_frame(vm);
        return st;
    }
    vms[s] = vm;
    publish_window(vm);
    *slot = s;
    log_info("VM %s: created in slot %u", vm->name, s);
    return HV_OK;
}

static void flush_all(void *arg)
{
    hvm->flush(arg);
}

static void flush_everywhere(struct vm *vm)
{
    flush_all(vm);
    cpu_call_others(flush_all, vm);
}

void vm_destroy(struct vm *vm)
{
    u32 slot = vm->slot;

    assert(vm->run_state == VM_PAUSED);
    for (u32 i = 0; i < VM_VCPUS; i++)
        if (vm->vcpus[i])
            vcpu_destroy(vm->vcpus[i]);
    vms[slot] = NULL;
    pgtab_set_top_entry(&control.space, slot + 1, 0);
    control_space_changed();
    flush_everywhere(vm);
    /* The window keeps the leaves that vm_add_ram() made; the dirty log splits the others. */
    pgtab_free(&vm->window, window_va(vm, VM_WINDOW_RAM), VM_RAM_GPA_END);
    pgtab_free(&vm->window, window_va(vm, VM_WINDOW_STATE), vm->state_size);
    hvm->vm_fini(vm);
    pgtab_fini(&vm->window);
    log_info("VM %s: destroyed, slot %u is free", vm->name, slot);
    release_frame(vm);
}

/* The guest sees what the window has at [gpa, gpa+len); all or nothing. */
static enum hv_status map_ram(struct vm *vm, u64 gpa, u64 len, u32 attr)
{
    u64 done = 0, pa, size;
    u32 ours;
    enum hv_status st = HV_OK;

    for (; done < len && st == HV_OK; done += st == HV_OK ? size : 0)
        if (pgtab_lookup(&vm->window, window_va(vm, VM_WINDOW_RAM + gpa + done), &pa, &ours, &size))
            st = pgtab_map(&vm->npt, gpa + done, pa, size, attr);
    if (st != HV_OK && done && pgtab_unmap(&vm->npt, gpa, done) != HV_OK)
        panic("vm: tables of %s cannot be unmapped", vm->name); /* whole leaves need no memory */
    return st;
}

enum hv_status vm_add_ram(struct vm *vm, u64 gpa, u64 len, u32 flags)
{
    u64 va = window_va(vm, VM_WINDOW_RAM + gpa);
    enum hv_status st;

    if ((gpa | len) % PAGE_SIZE || !len || gpa >= VM_RAM_GPA_END || len > VM_RAM_GPA_END - gpa ||
        (len > 64 * MIB && len != PAGE_1G))
        return HV_EINVAL;
    if (len > vm->ram_limit - vm->ram_bytes)
        return HV_E2BIG;
    st = pgtab_alloc(&vm->window, va, len, PG_R | PG_W | PG_USER,
                     vm->npt.use_1g && vm->window.use_1g ? PAGE_1G : PAGE_2M);
    if (st != HV_OK)
        return st;
    st = map_ram(vm, gpa, len, PG_R | PG_X | (flags & VM_MEM_READONLY ? 0 : PG_W));
    if (st != HV_OK) {
        flush_everywhere(vm);
        pgtab_free(&vm->window, va, len);
        return st;
    }
    vm->ram_bytes += len;
    publish_window(vm);
    return HV_OK;
}

enum hv_status vm_take_page(struct vm *vm, u64 gpa)
{
    u64 va = window_va(vm, VM_WINDOW_RAM + gpa), pa, size;
    u32 ours, guests;
    enum hv_status st;

    if (gpa % PAGE_SIZE || gpa >= VM_RAM_GPA_END)
        return HV_EINVAL;
    if (!pgtab_lookup(&vm->npt, gpa, &pa, &guests, &size) ||
        !pgtab_lookup(&vm->window, va, &pa, &ours, &size))
        return HV_ENOENT;
    if (size > PAGE_2M)
        return HV_EINVAL;
    st = pgtab_unmap(&vm->npt, gpa, PAGE_SIZE);
    if (st != HV_OK)
        return st;
    flush_everywhere(vm);
    st = pgtab_free(&vm->window, va, PAGE_SIZE);
    if (st == HV_OK)
        vm->ram_bytes -= PAGE_SIZE;
    else if (pgtab_map(&vm->npt, gpa, pa, PAGE_SIZE, guests) != HV_OK)
        panic("vm: a page of %s is lost", vm->name); /* its table is there */
    control_space_changed();
    return st;
}

enum hv_status vm_written(struct vm *vm, u64 gpa, u64 len, u64 *written)
{
    enum hv_status st = pgtab_take_written(&vm->npt, gpa, len, written);

    if (st == HV_OK)
        flush_everywhere(vm);
    return st;
}

void vm_pause(struct vm *vm)
{
    sched_end_handoff();
    vm->run_state = VM_PAUSED;
    for (u32 i = 0; i < VM_VCPUS; i++) {
        struct vcpu *v = vm->vcpus[i];
        if (!v)
            continue;
        spin_lock(&v->lock);
        v->blocked |= BLOCK_PAUSED;
        spin_unlock(&v->lock);
        if (v->in_runq)
            sched_dequeue(v);
    }
    for (u32 i = 0; i < VM_VCPUS; i++) {
        struct vcpu *v = vm->vcpus[i];
        if (!v || !v->on_cpu)
            continue;
        vcpu_request(v, REQUEST_EVENT);
        while (__atomic_load_n(&v->on_cpu, __ATOMIC_ACQUIRE))
            __builtin_ia32_pause();
    }
}

void vm_run(struct vm *vm)
{
    vm->run_state = VM_RUNNING;
    for (u32 i = 0; i < VM_VCPUS; i++)
        if (vm->vcpus[i])
            vcpu_unblock(vm->vcpus[i], BLOCK_PAUSED);
}
