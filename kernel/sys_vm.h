/* The system calls that act on VMs: rows of the system-call table, on the control partition's core.
 */
#pragma once

#include "kernel/abi/types.h"

/* args: rdi, rsi, rdx, r10, r8, r9.  The result goes to rax. */
i64 sys_vm_create(const u64 args[6]);
i64 sys_vm_destroy(const u64 args[6]);
i64 sys_vm_mem(const u64 args[6]);
i64 sys_vm_written(const u64 args[6]);
i64 sys_vm_run(const u64 args[6]);
i64 sys_vm_pause(const u64 args[6]);
i64 sys_vm_msi(const u64 args[6]);
i64 sys_vm_info(const u64 args[6]);
i64 sys_vm_doorbells(const u64 args[6]);
i64 sys_vcpu_create(const u64 args[6]);
i64 sys_vcpu_reset(const u64 args[6]);
i64 sys_vcpu_get(const u64 args[6]);
i64 sys_vcpu_set(const u64 args[6]);
i64 sys_vcpu_lint(const u64 args[6]);
i64 sys_vcpu_nmi(const u64 args[6]);
i64 sys_vcpu_apic(const u64 args[6]);
i64 sys_vcpu_sched(const u64 args[6]);
