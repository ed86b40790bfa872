/* System calls that act on VMs and vCPUs: decode and check arguments here, act in vm.c, vcpu.c and
 * the vendor backend.  Run on the control partition's core. */
#include "kernel/sys_vm.h"

#include "kernel/control.h"
#include "kernel/exit.h"
#include "kernel/mem.h"
#include "kernel/string.h"
#include "kernel/vcpu.h"
#include "kernel/vlapic.h"
#include "kernel/vm.h"

/* The policy is too large for the stack; system calls of the one control thread never overlap. */
static struct vm_policy policy_copy;

i64 sys_vm_create(const u64 args[6])
{
    struct vm_create req;
    u32 slot;
    enum hv_status st = user_read(&req, args[0], sizeof(req));

    if (st == HV_OK)
        st = user_read(&policy_copy, (u64)req.policy, sizeof(policy_copy));
    if (st == HV_OK)
        st = vm_create(&req, &policy_copy, &slot);
    return st == HV_OK ? (i64)slot : st;
}

/* The body of a call on the VM, or the vCPU, that its first arguments name. */
#define ON(call, kind, name, get)                                                                  \
    static i64 call##_of(struct kind *name, const u64 args[6]);                                    \
    i64 call(const u64 args[6])                                                                    \
    {                                                                                              \
        struct kind *name;                                                                         \
        enum hv_status st = get;                                                                   \
        return st == HV_OK ? call##_of(name, args) : st;                                           \
    }                                                                                              \
    static i64 call##_of(struct kind *name, const u64 args[6] UNUSED)
#define ON_VM(call) ON(call, vm, vm, vm_get(args[0], &vm))
#define ON_VCPU(call) ON(call, vcpu, v, vcpu_find(args[0], args[1], &v))

ON_VM(sys_vm_destroy)
{
    if (vm->run_state != VM_PAUSED)
        return HV_EBUSY;
    vm_destroy(vm);
    return HV_OK;
}

ON_VM(sys_vm_mem)
{
    if (args[3] == VM_MEM_TAKE)
        return args[2] == PAGE_SIZE ? vm_take_page(vm, args[1]) : HV_EINVAL;
    if (args[3] & ~VM_MEM_READONLY)
        return HV_EINVAL;
    return vm_add_ram(vm, args[1], args[2], (u32)args[3]);
}

ON_VM(sys_vm_written)
{
    static u64 written[VM_WRITTEN_MAX / PAGE_SIZE / 64];

    if (args[2] > VM_WRITTEN_MAX)
        return HV_EINVAL;
    memset(written, 0, sizeof(written));
    enum hv_status st = vm_written(vm, args[1], args[2], written);
    return st == HV_OK ? user_write(args[3], written, VM_WRITTEN_BYTES(args[2])) : st;
}

ON_VM(sys_vm_run)
{
    vm_run(vm);
    return HV_OK;
}

ON_VM(sys_vm_pause)
{
    vm_pause(vm);
    return HV_OK;
}

ON_VM(sys_vm_msi)
{
    return vlapic_msi(vm, args[1], args[2]);
}

ON_VM(sys_vm_info)
{
    struct vm_info info = {
        .slot = vm->slot,
        .run_state = vm->run_state,
        .vcpu_count = vm->vcpu_count,
        .ram_bytes = vm->ram_bytes,
        .ept_bytes = vm->npt.table_bytes,
        .overhead_bytes = vm->quota.used - vm->ram_bytes - vm->npt.table_bytes,
        .state_size = vm->state_size,
    };

    memcpy(info.name, vm->name, VM_NAME_LEN);
    return user_write(args[1], &info, sizeof(info));
}

ON_VM(sys_vm_doorbells)
{
    if (args[1] >= DOORBELL_GROUPS || args[2] >> DOORBELL_GROUP)
        return HV_EINVAL;
    vm->doorbells[args[1]] = (u16)args[2];
    return HV_OK;
}

ON_VM(sys_vcpu_create)
{
    return args[1] < VM_VCPUS ? vcpu_create(vm, (u32)args[1]) : HV_EINVAL;
}

ON_VCPU(sys_vcpu_reset)
{
    enum hv_status st = v->blocked & BLOCK_PAUSED ? vcpu_pull(v) : HV_EBUSY;

    if (st != HV_OK)
        return st;
    exit_reset(v, false);
    spin_lock(&v->lock);
    v->blocked = BLOCK_PAUSED | (v->index ? BLOCK_SIPI : 0);
    v->requests = 0;
    v->extint_line = false;
    v->page->state = EXIT_FREE;
    v->page->msi_count = 0;
    spin_unlock(&v->lock);
    return HV_OK;
}

ON_VCPU(sys_vcpu_get)
{
    enum hv_status st = vcpu_pull(v);

    if (st == HV_OK)
        exit_get_state(v, &v->page->full);
    return st;
}

/* Like the policy: one copy, so that the page cannot change between check and use. */
static struct vcpu_state state_copy;

ON_VCPU(sys_vcpu_set)
{
    enum hv_status st = vcpu_pull(v);

    if (st != HV_OK)
        return st;
    memcpy(&state_copy, &v->page->full, sizeof(state_copy));
    return exit_set_state(v, &state_copy);
}

ON_VCPU(sys_vcpu_lint)
{
    vlapic_lint0(v, args[2] != 0);
    return HV_OK;
}

ON_VCPU(sys_vcpu_nmi)
{
    vcpu_request(v, REQUEST_NMI);
    return HV_OK;
}

/* Returns the value read, or a status. */
ON_VCPU(sys_vcpu_apic)
{
    u32 value = (u32)args[4];
    enum hv_status st = vcpu_pull(v);

    if (st == HV_OK)
        st = vlapic_access(v, (u32)args[2], args[3] != 0, &value);
    return st == HV_OK ? (i64)value : st;
}

ON_VCPU(sys_vcpu_sched)
{
    u64 usable = 0;

    for (u32 i = 0; i < cpu_count; i++)
        usable |= cpus[i]->hvm_enabled ? BIT(i) : 0;
    if (args[2] > 10000 || (args[3] && !(args[3] & usable)))
        return HV_EINVAL;
    if (args[2])
        v->weight = (u32)args[2];
    if (args[3]) {
        v->cpu_mask = args[3];
        /* Where it runs or waits now may be forbidden: make its core choose again. */
        vcpu_request(v, REQUEST_EVENT);
    }
    return HV_OK;
}
