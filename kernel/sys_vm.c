/* System calls that act on VMs and vCPUs: decode and check arguments here, act in vm.c, vcpu.c and
 * the vendor backend.  Run on the control partition's core. */
#include "kernel/sys_vm.h"

#include "kernel/control.h"
#include "kernel/hvm.h"
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

i64 sys_vm_destroy(const u64 args[6])
{
    struct vm *vm;
    enum hv_status st = vm_get(args[0], &vm);

    if (st == HV_OK && vm->run_state != VM_PAUSED)
        st = HV_EBUSY;
    if (st == HV_OK)
        vm_destroy(vm);
    return st;
}

i64 sys_vm_mem(const u64 args[6])
{
    struct vm *vm;
    enum hv_status st = vm_get(args[0], &vm);

    if (st == HV_OK && (args[3] & ~VM_MEM_READONLY))
        st = HV_EINVAL;
    return st == HV_OK ? vm_add_ram(vm, args[1], args[2], (u32)args[3]) : st;
}

i64 sys_vm_run(const u64 args[6])
{
    struct vm *vm;
    enum hv_status st = vm_get(args[0], &vm);

    if (st == HV_OK)
        vm_run(vm);
    return st;
}

i64 sys_vm_pause(const u64 args[6])
{
    struct vm *vm;
    enum hv_status st = vm_get(args[0], &vm);

    if (st == HV_OK)
        vm_pause(vm);
    return st;
}

i64 sys_vm_msi(const u64 args[6])
{
    struct vm *vm;
    enum hv_status st = vm_get(args[0], &vm);

    return st == HV_OK ? vlapic_msi(vm, args[1], args[2]) : st;
}

i64 sys_vm_info(const u64 args[6])
{
    struct vm *vm;
    struct vm_info info = {0};
    enum hv_status st = vm_get(args[0], &vm);

    if (st != HV_OK)
        return st;
    memcpy(info.name, vm->name, VM_NAME_LEN);
    info.slot = vm->slot;
    info.run_state = vm->run_state;
    info.vcpu_count = vm->vcpu_count;
    info.ram_bytes = vm->ram_bytes;
    info.ept_bytes = vm->npt.table_bytes;
    info.overhead_bytes = vm->quota.used - vm->ram_bytes - vm->npt.table_bytes;
    info.state_size = vm->state_size;
    return user_write(args[1], &info, sizeof(info));
}

i64 sys_vcpu_create(const u64 args[6])
{
    struct vm *vm;
    enum hv_status st = vm_get(args[0], &vm);

    if (st == HV_OK && args[1] >= VM_VCPUS)
        st = HV_EINVAL;
    return st == HV_OK ? vcpu_create(vm, (u32)args[1]) : st;
}

i64 sys_vcpu_reset(const u64 args[6])
{
    struct vcpu *v;
    enum hv_status st = vcpu_find(args[0], args[1], &v);

    if (st == HV_OK && !(v->blocked & BLOCK_PAUSED))
        st = HV_EBUSY;
    if (st == HV_OK)
        st = vcpu_pull(v);
    if (st != HV_OK)
        return st;
    hvm->vcpu_reset(v, false);
    spin_lock(&v->lock);
    v->blocked = BLOCK_PAUSED | (v->index ? BLOCK_SIPI : 0);
    v->requests = 0;
    v->extint_line = false;
    v->page->state = EXIT_FREE;
    spin_unlock(&v->lock);
    return HV_OK;
}

i64 sys_vcpu_get(const u64 args[6])
{
    struct vcpu *v;
    enum hv_status st = vcpu_find(args[0], args[1], &v);

    if (st == HV_OK)
        st = vcpu_pull(v);
    if (st == HV_OK)
        hvm->get_state(v, &v->page->full);
    return st;
}

/* Like the policy: one copy, so that the page cannot change between check and use. */
static struct vcpu_state state_copy;

i64 sys_vcpu_set(const u64 args[6])
{
    struct vcpu *v;
    enum hv_status st = vcpu_find(args[0], args[1], &v);

    if (st == HV_OK)
        st = vcpu_pull(v);
    if (st != HV_OK)
        return st;
    memcpy(&state_copy, &v->page->full, sizeof(state_copy));
    return hvm->set_state(v, &state_copy);
}

i64 sys_vcpu_lint(const u64 args[6])
{
    struct vcpu *v;
    enum hv_status st = vcpu_find(args[0], args[1], &v);

    if (st != HV_OK)
        return st;
    vlapic_lint0(v, args[2] != 0);
    return HV_OK;
}

i64 sys_vcpu_nmi(const u64 args[6])
{
    struct vcpu *v;
    enum hv_status st = vcpu_find(args[0], args[1], &v);

    if (st == HV_OK)
        vcpu_request(v, REQUEST_NMI);
    return st;
}

/* Returns the value read, or a status. */
i64 sys_vcpu_apic(const u64 args[6])
{
    struct vcpu *v;
    u32 value = (u32)args[4];
    enum hv_status st = vcpu_find(args[0], args[1], &v);

    if (st == HV_OK && !(v->blocked & BLOCK_EXIT))
        st = HV_EBUSY;
    if (st == HV_OK)
        st = vcpu_pull(v);
    if (st == HV_OK)
        st = vlapic_access(v, (u32)args[2], args[3] != 0, &value);
    return st == HV_OK ? (i64)value : st;
}

i64 sys_vcpu_sched(const u64 args[6])
{
    struct vcpu *v;
    u64 online = cpu_count < 64 ? BIT(cpu_count) - 1 : ~0ull;
    enum hv_status st = vcpu_find(args[0], args[1], &v);

    if (st != HV_OK)
        return st;
    if (args[2] > 10000 || (args[3] && !(args[3] & online)))
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
