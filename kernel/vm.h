/* A VM as the kernel sees it: an address space, a policy and vCPUs in one of VM_SLOTS slots. */
#pragma once

#include "kernel/abi/doorbell.h"
#include "kernel/abi/layout.h"
#include "kernel/abi/syscall.h"
#include "kernel/abi/vm_policy.h"
#include "kernel/pgtab.h"

struct vcpu;

struct vm {
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
    u64 tsc_base;                   /* host TSC that is the guest's zero */
    struct vm_policy *policy;       /* a copy, checked */
    u8 cpuid_index[5][64];          /* groups of policy.h: 1 + first row, 0 none */
    u64 msr_filter[4];              /* by a hash (exit_msr.c); clear: certainly in no row */
    u16 doorbells[DOORBELL_GROUPS]; /* that the kernel answers */
    void *vendor;                   /* MSR bitmap page and the like */
};

extern struct vm *vms[VM_SLOTS];

/* The only slot-to-pointer door.  HV_ENOENT. */
MUST_CHECK enum hv_status vm_get(u64 slot, struct vm **out);
/* Creates an empty, paused VM from checked arguments; its slot in *slot.  HV_ENOHVM, HV_ENOMEM. */
MUST_CHECK enum hv_status vm_create(const struct vm_create *args, const struct vm_policy *policy,
                                    u32 *slot);
/* vm must be paused.  Frees every frame it owned. */
void vm_destroy(struct vm *vm);
/* Zeroed RAM at [gpa, gpa+len), in the guest and in the control partition's window; all or nothing.
 * HV_EEXIST: some is there. */
MUST_CHECK enum hv_status vm_add_ram(struct vm *vm, u64 gpa, u64 len, u32 flags);
/* The page at `gpa` is the host's again; vm_add_ram() gives another, zeroed.  HV_ENOENT: there is
 * none.  HV_EINVAL: it is part of 1 GiB.  HV_ENOMEM: nothing changed. */
MUST_CHECK enum hv_status vm_take_page(struct vm *vm, u64 gpa);
/* pgtab_take_written() of its memory; a write after the return is seen by the next call. */
MUST_CHECK enum hv_status vm_written(struct vm *vm, u64 gpa, u64 len, u64 *written);
/* On return no vCPU of it executes.  Control partition's core only. */
void vm_pause(struct vm *vm);
void vm_run(struct vm *vm);
