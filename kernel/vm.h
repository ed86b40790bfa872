/* A VM as the kernel sees it: an address space, a policy and vCPUs in one of VM_SLOTS slots. */
#ifndef BULKHEAD_KERNEL_VM_H
#define BULKHEAD_KERNEL_VM_H

#include "kernel/abi/layout.h"
#include "kernel/abi/status.h"
#include "kernel/abi/syscall.h"
#include "kernel/abi/vm_policy.h"
#include "kernel/pgtab.h"
#include "kernel/spinlock.h"

struct vcpu;

struct vm {
    struct spinlock lock;
    char name[VM_NAME_LEN];
    u32 slot;
    u32 run_state; /* enum vm_run_state */
    u32 vcpu_count;
    struct vcpu *vcpus[VM_VCPUS];
    struct quota quota;  /* RAM, tables and overhead */
    struct pgtab npt;    /* guest-physical to host-physical: EPT or NPT */
    struct pgtab window; /* host-format: the control partition's view (one PML4 entry) */
    u64 ram_bytes, ram_limit;
    u64 state_size;
    struct vm_policy *policy; /* a copy, checked */
    u8 cpuid_index[3][64];    /* leaf 0.., 4000_0000.., 8000_0000..: 1 + first row, 0 none */
    void *vendor;             /* MSR bitmap page and the like */
    u64 unknown_msr_count;
};

extern struct vm *vms[VM_SLOTS];

MUST_CHECK enum hv_status vm_get(u64 slot, struct vm **out); /* the only slot-to-pointer door */

#endif
