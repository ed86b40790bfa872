/* Exits that mean the same on every vendor: CPUID, MSRs, control registers, HLT, hypercalls.
 *
 * Handlers run on the vCPU's own core in the exit path, take and return values in v->page->regs and
 * say what the backend does next; they neither lock nor allocate. */
#pragma once

#include "kernel/abi/hypercall.h"
#include "kernel/hvm.h"
#include "kernel/policy.h"

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

struct exit_io { /* the head of vcpu_page.io */
    u16 port;
    u8 size; /* bytes: 1, 2, 4 */
    bool in, string, rep;
    u8 addr_size; /* string: bytes, 0 unknown */
    u8 pad;
};

/* The row for a leaf; the first of several.  Leaves 0.., 4000_0000.., 8000_0000.. and 4000_0100..
 * have 64 each (policy.c checks that). */
extern const struct cpuid_row exit_cpuid_none;
static inline const struct cpuid_row *exit_cpuid_row(const struct vm *vm, u32 leaf)
{
    u32 group = leaf & 0x3fffffc0 ? POLICY_FAR : leaf >> 30;
    if (group == POLICY_FAR && !policy_is_far(leaf))
        return &exit_cpuid_none;
    u32 first = vm->cpuid_index[group][leaf & 63];
    return first ? &vm->policy->cpuid[first - 1] : &exit_cpuid_none;
}
enum exit_action exit_cpuid(struct vcpu *v);
/* For rows with flags, which need more than their four words. */
void exit_cpuid_special(struct vcpu *v, const struct cpuid_row *row);
enum exit_action exit_rdmsr(struct vcpu *v);
enum exit_action exit_wrmsr(struct vcpu *v);
bool exit_xcr0_valid(const struct vcpu *v, u64 value);
enum exit_action exit_xsetbv(struct vcpu *v);
/* RAX after a hypercall at CPL 0. */
static inline u64 exit_hypercall_value(u64 number)
{
    return number == HYPERCALL_VERSION ? HYPERCALL_ABI : (u64)HYPERCALL_ENOSYS;
}
#define EXIT_WITH_ERROR 0x00227d00u /* exceptions 8, 10..14, 17, 21: SDM 3A table 6-1 */
/* One that exited and goes on to the guest; address: of a #PF. */
void exit_note_exception(struct vcpu *v, u64 rip, u64 address, u32 vector, u32 error);
enum exit_action exit_hlt(struct vcpu *v);
/* The backend has checked CPL 0. */
static inline enum exit_action exit_hypercall(struct vcpu *v)
{
    u64 *rax = &v->page->regs[REG_RAX];
    *rax = exit_hypercall_value(*rax);
    return EXIT_ADVANCE;
}
enum exit_action exit_apic_result(struct vcpu *v, u32 effect); /* VLAPIC_* of an instruction */

/* vCPU not running, on its home core or unloaded: all of its registers.  HV_EINVAL: the CPU itself
 * would refuse them; a mistake that only an entry finds stops the guest. */
void exit_get_state(struct vcpu *v, struct vcpu_state *out);
MUST_CHECK enum hv_status exit_set_state(struct vcpu *v, const struct vcpu_state *in);
/* SDM 3A table 10-1; an INIT keeps PAT, CD and NW, XCR0 and the FPU, MTRRs and the TSC. */
void exit_reset(struct vcpu *v, bool init);
void exit_startup(struct vcpu *v, u32 sipi_vector);
