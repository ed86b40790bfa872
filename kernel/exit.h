/* Exits that mean the same on every vendor: CPUID, MSRs, control registers, HLT, hypercalls.
 *
 * Handlers run on the vCPU's own core in the exit path, take and return values in v->page->regs and
 * say what the backend does next; they neither lock nor allocate. */
#ifndef BULKHEAD_KERNEL_EXIT_H
#define BULKHEAD_KERNEL_EXIT_H

#include "kernel/hvm.h"

enum exit_action {
    EXIT_ADVANCE,         /* skip the instruction, resume */
    EXIT_RESUME,          /* resume where it stands */
    EXIT_ADVANCE_EVENTS,  /* skip, then look for events to inject */
    EXIT_EVENTS,          /* look for events to inject */
    EXIT_ADVANCE_RESCHED, /* skip, then give up the CPU (blocked) */
    EXIT_RESCHED,         /* give up the CPU: blocked or preempted */
    EXIT_GP,              /* inject #GP(0) */
    EXIT_UD,              /* inject #UD */
};

enum exit_action exit_cpuid(struct vcpu *v);
enum exit_action exit_rdmsr(struct vcpu *v);
enum exit_action exit_wrmsr(struct vcpu *v);
enum exit_action exit_xsetbv(struct vcpu *v);
enum exit_action exit_hypercall(struct vcpu *v);
enum exit_action exit_hlt(struct vcpu *v);

/* Reset values of v->msrs (SDM 3A table 10-1; init: what survives INIT is kept). */
void exit_reset(struct vcpu *v, bool init);

/* For vm_create, on the kernel's own copy: HV_EINVAL when rows are unsorted, overlap, name an MSR
 * that the kernel virtualises, or more than VM_STORED_MSRS are stored.  Also clears CPUID bits of
 * instructions that the backend cannot let a guest use, and fills vm->cpuid_index. */
MUST_CHECK enum hv_status exit_policy(struct vm *vm);

#endif
