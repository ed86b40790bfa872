/* The exits a guest makes most, served in as few instructions as C allows; all else and all that is
 * unusual about these goes on to vmx_exit().  Called by vmx_enter.S on the vCPU's own core, with
 * the guest's values still in R12..R15: nothing here may forward those. */
#include "kernel/vmx_fast.h"

#include "kernel/exit.h"
#include "kernel/exit_decode.h"
#include "kernel/message.h"
#include "kernel/vmx_event.h"
#include "kernel/vmx_state.h"
#include "kernel/x86.h"

#define likely(x) __builtin_expect(!!(x), 1)

/* Fields that every VMCS has, of a VMCS that is current: the access cannot fail. */
static inline u64 known(u32 field)
{
    u64 value;
    asm volatile("vmread %1, %0" : "=r"(value) : "r"((u64)field) : "cc");
    return value;
}

static inline void set_known(u32 field, u64 value)
{
    asm volatile("vmwrite %1, %0" : : "r"((u64)field), "r"(value) : "cc");
}

/* As vmx_advance(). */
static inline u32 advance(void)
{
    u64 blocked = known(VMCS_GUEST_INTERRUPTIBILITY);

    set_known(VMCS_GUEST_RIP, known(VMCS_GUEST_RIP) + known(VMCS_EXIT_INSN_LEN));
    if (!likely(!(blocked & BLOCKED_BY_STI_MOVSS)))
        set_known(VMCS_GUEST_INTERRUPTIBILITY, blocked & ~(u64)BLOCKED_BY_STI_MOVSS);
    return known(VMCS_GUEST_RFLAGS) & RFLAGS_TF; /* VMX_GO or VMX_TRAP */
}

static __attribute__((noinline)) u32 special_cpuid(struct vcpu *v, const struct cpuid_row *row)
{
    exit_cpuid_special(v, row);
    return advance();
}

/* These return enum vmx_todo.  Apart, so that each saves the registers that it needs itself. */
#define APART static __attribute__((noinline)) u32

APART fast_cpuid(struct vcpu *v)
{
    struct vcpu_page *p = v->page;
    const struct cpuid_row *row = exit_cpuid_row(v->vm, (u32)p->regs[REG_RAX]);

    p->stats.exits[CLASS_CPUID]++;
    if (!likely(!row->flags))
        return special_cpuid(v, row);
    p->regs[REG_RAX] = row->eax;
    p->regs[REG_RBX] = row->ebx;
    p->regs[REG_RCX] = row->ecx;
    p->regs[REG_RDX] = row->edx;
    return advance();
}

APART fast_vmcall(struct vcpu *v)
{
    struct vcpu_page *p = v->page;

    if (!likely(!(known(VMCS_GUEST_SS_ACCESS) & ACCESS_DPL)))
        return VMX_FULL;
    p->stats.exits[CLASS_HYPERCALL]++;
    p->regs[REG_RAX] = exit_hypercall_value(p->regs[REG_RAX]);
    return advance();
}

/* An MSR exit that does not just go on. */
static __attribute__((noinline)) u32 special_msr(enum exit_action a)
{
    if (a == EXIT_GP) {
        vmx_fault(VECTOR_GP);
        return VMX_GO;
    }
    vmx_advance();
    return a == EXIT_ADVANCE_EVENTS ? VMX_EVENTS : VMX_LEAVE;
}

APART fast_rdmsr(struct vcpu *v)
{
    v->page->stats.exits[CLASS_RDMSR]++;
    enum exit_action a = exit_rdmsr(v);
    return likely(a == EXIT_ADVANCE) ? advance() : special_msr(a);
}

APART fast_wrmsr(struct vcpu *v)
{
    v->page->stats.exits[CLASS_WRMSR]++;
    enum exit_action a = exit_wrmsr(v);
    return likely(a == EXIT_ADVANCE) ? advance() : special_msr(a);
}

/* Of the registers only RAX matters, and it is in the page. */
APART fast_io(struct vcpu *v)
{
    u64 q = known(VMCS_EXIT_QUALIFICATION);

    if (!likely(!(q & IOQ_STRING)))
        return VMX_FULL;
    v->page->stats.exits[CLASS_IO]++;
    v->page->rip = known(VMCS_GUEST_RIP);
    enum exit_action a = message_io(v, exit_decode_io(q, 0, false), (u32)known(VMCS_EXIT_INSN_LEN));
    return a == EXIT_ADVANCE ? advance() : VMX_LEAVE;
}

/* By comparisons, fewest for the way to ring 3: no indirect branch, which would have to be guarded.
 */
u32 vmx_fast(struct vcpu *v)
{
    u64 reason = known(VMCS_EXIT_REASON);

    /* The vectoring field is valid when its bit 31 is set. */
    if (!likely((i32)known(VMCS_VECTORING_INFO) >= 0))
        return VMX_FULL;
    if (reason == REASON_IO)
        return fast_io(v);
    if (reason > REASON_IO) {
        if (reason == REASON_RDMSR)
            return fast_rdmsr(v);
        return reason == REASON_WRMSR ? fast_wrmsr(v) : VMX_FULL;
    }
    if (reason == REASON_CPUID)
        return fast_cpuid(v);
    return reason == REASON_VMCALL ? fast_vmcall(v) : VMX_FULL;
}
