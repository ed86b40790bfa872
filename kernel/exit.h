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
enum exit_action exit_hypercall(struct vcpu *v);               /* the backend has checked CPL 0 */
enum exit_action exit_apic_result(struct vcpu *v, u32 effect); /* VLAPIC_* of an instruction */

/* Reset values of v->msrs and XCR0 (SDM 3A table 10-1); an INIT keeps MTRRs and the TSC. */
void exit_reset(struct vcpu *v, bool init);
/* vm_init: gives MSR_STORED rows of the kernel's copy their place and clears CPUID bits of what
 * hvm->cpuid_mask() refuses. */
void exit_policy_init(struct vm *vm);

#endif
