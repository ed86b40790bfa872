/* From VM exit to VM entry: dispatch by a table of reasons, and the way back in.  Own core, IF=0,
 * on an empty stack. */
#include "kernel/vmx_exit.h"

#include "kernel/exit.h"
#include "kernel/exit_decode.h"
#include "kernel/fpu.h"
#include "kernel/irq.h"
#include "kernel/log.h"
#include "kernel/message.h"
#include "kernel/sched.h"
#include "kernel/timer.h"
#include "kernel/vlapic.h"
#include "kernel/vmx_event.h"
#include "kernel/vmx_fast.h"
#include "kernel/vmx_state.h"
#include "kernel/vmx_vcpu.h"
#include "kernel/x86.h"

#define DR7_GD BIT(13)
#define ACCESS_UNUSABLE BIT(16)

/* IRET had unblocked NMIs before it faulted: it will do so again (SDM 3C 28.2.3). */
static void block_nmi_again(void)
{
    if (!(vmcs_read32(VMCS_VECTORING_INFO) & INTR_VALID))
        vmcs_write32(VMCS_GUEST_INTERRUPTIBILITY,
                     vmcs_read32(VMCS_GUEST_INTERRUPTIBILITY) | (u32)BLOCKED_BY_NMI);
}

/* The exit recorded #DB's cause but changed no debug register: SDM 3C 28.2.1. */
static void debug_exception(struct vcpu *v)
{
    u64 dr6, qualification = vmcs_read(VMCS_EXIT_QUALIFICATION);

    vmx_own_debug(v);
    asm volatile("mov %%db6, %0" : "=r"(dr6));
    dr6 = (dr6 & ~0xfull) | (qualification & 0x600f);
    asm volatile("mov %0, %%db6" : : "r"(dr6));
    vmcs_write(VMCS_GUEST_DR7, vmcs_read(VMCS_GUEST_DR7) & ~DR7_GD);
    /* VM entry wants the trap of TF pending after STI and MOV SS, and this exit cleared it
     * (SDM 3C 27.3.1.5); the injection that follows does away with it. */
    if ((vmcs_read32(VMCS_GUEST_INTERRUPTIBILITY) & BLOCKED_BY_STI_MOVSS) &&
        (vmcs_read(VMCS_GUEST_RFLAGS) & RFLAGS_TF))
        vmx_trap_step();
}

static enum exit_action on_triple_fault(struct vcpu *v)
{
    return message_stop(v, EXIT_TRIPLE_FAULT, FAILURE_TRIPLE_FAULT, 0);
}

static enum exit_action on_exception(struct vcpu *v)
{
    u32 info = vmcs_read32(VMCS_EXIT_INTR_INFO);
    u32 vector = (u32)FIELD_GET(INTR_VECTOR, info);

    if (FIELD_GET(INTR_TYPE, info) == INTR_NMI) { /* the host's */
        v->page->stats.exits[CLASS_NMI]++;
        this_cpu()->quiet = 0; /* it is not the kernel that was interrupted */
        asm volatile("int $2" : : : "memory");
        return EXIT_RESUME;
    }
    if ((info & INTR_NMI_UNBLOCK) && vector != VECTOR_DF)
        block_nmi_again();
    if (vector == VECTOR_MC) {
        asm volatile("int $18" : : : "memory");
        return EXIT_RESUME;
    }
    if (vector == VECTOR_DB)
        debug_exception(v);
    else if (vector != VECTOR_AC && !(v->exceptions & BIT(vector)))
        return message_stop(v, EXIT_UNHANDLED, FAILURE_EXCEPTION, vector);
    return vmx_reflect(v, info) ? EXIT_RESUME : on_triple_fault(v);
}

static enum exit_action on_external_interrupt(struct vcpu *v)
{
    (void)v;
    irq_dispatch((u32)FIELD_GET(INTR_VECTOR, vmcs_read32(VMCS_EXIT_INTR_INFO)));
    return EXIT_RESUME;
}

static enum exit_action on_window(struct vcpu *v)
{
    vmx_set_proc(vmx_of(v), (u32)(PROC_INTERRUPT_WINDOW | PROC_NMI_WINDOW), 0);
    return EXIT_EVENTS;
}

static enum exit_action on_preemption_timer(struct vcpu *v)
{
    (void)v;
    asm volatile("sti; nop; cli" ::: "memory"); /* what could not exit: see arm_timer() */
    return EXIT_EVENTS;
}

/* It spins: others may need the core, and with IF=0 the timer above never gets so far. */
static enum exit_action on_pause(struct vcpu *v)
{
    (void)on_preemption_timer(v);
    sched_spins(v);
    return EXIT_ADVANCE_RESCHED;
}

static enum exit_action on_vmcall(struct vcpu *v)
{
    return vmx_get(v, HVM_CPL) ? EXIT_UD : exit_hypercall(v);
}

static enum exit_action on_io(struct vcpu *v)
{
    struct exit_io io = exit_decode_io(vmcs_read(VMCS_EXIT_QUALIFICATION),
                                       vmcs_read32(VMCS_EXIT_INSN_INFO), vmx_caps.insn_info);

    v->page->rip = vmcs_read(VMCS_GUEST_RIP);
    if (io.string) {
        vmx_fill_page(v);
        v->page->io.gla = vmcs_read(VMCS_EXIT_GLA);
    }
    return message_io(v, io, vmcs_read32(VMCS_EXIT_INSN_LEN));
}

/* A page without memory, or one the guest may not write; q: EPTQ_*. */
static enum exit_action forward_mmio(struct vcpu *v, u64 gpa, u64 q)
{
    if (vmcs_read32(VMCS_VECTORING_INFO) & INTR_VALID)
        return message_stop(v, EXIT_UNHANDLED, FAILURE_EVENT, gpa);
    v->page->mmio.gla_valid = !!(q & EPTQ_GLA_VALID);
    v->page->mmio.gla = q & EPTQ_GLA_VALID ? vmcs_read(VMCS_EXIT_GLA) : 0;
    v->page->stats.exits[CLASS_MMIO]++;
    return message_mmio(v, gpa, q & EPTQ_WRITE, q & EPTQ_FETCH);
}

static enum exit_action on_ept_violation(struct vcpu *v)
{
    u64 q = vmcs_read(VMCS_EXIT_QUALIFICATION), gpa = vmcs_read64(VMCS_EXIT_GPA);

    if (q & EPTQ_NMI_UNBLOCK)
        block_nmi_again();
    if ((q & EPTQ_GLA_VALID) && !(q & EPTQ_FINAL))
        return message_stop(v, EXIT_UNHANDLED, FAILURE_TABLE, gpa);
    return forward_mmio(v, gpa, q);
}

static enum exit_action on_apic_access(struct vcpu *v)
{
    u64 q = vmcs_read(VMCS_EXIT_QUALIFICATION), type = FIELD_GET(APICQ_TYPE, q);

    if (type > APIC_LINEAR_WRITE)
        return message_stop(v, EXIT_UNHANDLED, FAILURE_APIC_PAGE, 0);
    return forward_mmio(v, VLAPIC_BASE_DEFAULT + (q & APICQ_OFFSET),
                        type == APIC_LINEAR_WRITE ? EPTQ_WRITE : 0);
}

/* Trap-like: the value is in the page, the instruction is done. */
static enum exit_action on_apic_write(struct vcpu *v)
{
    u32 offset = vmcs_read(VMCS_EXIT_QUALIFICATION) & 0xff0;
    enum exit_action a = exit_apic_result(v, vlapic_write(v, offset, vlapic_reg(v->lapic, offset)));

    switch (a) {
    case EXIT_ADVANCE_RESCHED:
        return EXIT_RESCHED;
    case EXIT_ADVANCE_EVENTS:
        return EXIT_EVENTS;
    default:
        return EXIT_RESUME;
    }
}

/* Trap-like as well; only vectors whose EOI-exit bit is set, the level-triggered ones. */
static enum exit_action on_eoi(struct vcpu *v)
{
    return message_eoi(v, vmcs_read(VMCS_EXIT_QUALIFICATION) & 0xff);
}

static u64 source(struct vcpu *v, u32 reg)
{
    return reg == REG_RSP ? vmcs_read(VMCS_GUEST_RSP) : v->page->regs[reg];
}

static enum exit_action on_cr8(struct vcpu *v, u64 type, u32 reg)
{
    if (type == CR_MOV_FROM) {
        if (reg == REG_RSP)
            vmcs_write(VMCS_GUEST_RSP, vlapic_tpr(v));
        else
            v->page->regs[reg] = vlapic_tpr(v);
        return EXIT_ADVANCE;
    }
    if (source(v, reg) >> 4)
        return EXIT_GP;
    return exit_apic_result(v, vlapic_set_tpr(v, source(v, reg)));
}

static enum exit_action on_cr(struct vcpu *v)
{
    u64 q = vmcs_read(VMCS_EXIT_QUALIFICATION), cr = q & CRQ_CR, type = FIELD_GET(CRQ_TYPE, q);
    u32 reg = (u32)FIELD_GET(CRQ_REG, q);

    if (cr == 8)
        return on_cr8(v, type, reg);
    if (type == CR_MOV_TO && cr == 0)
        return vmx_take_cr0(v, source(v, reg)) ? EXIT_RESUME : EXIT_GP;
    if (type == CR_MOV_TO && cr == 4)
        return vmx_take_cr4(v, source(v, reg)) ? EXIT_RESUME : EXIT_GP;
    return message_stop(v, EXIT_UNHANDLED, FAILURE_CR, cr);
}

/* The first use of a debug register: from now on they are the guest's. */
static enum exit_action on_mov_dr(struct vcpu *v)
{
    vmx_own_debug(v);
    return EXIT_RESUME;
}

/* The control partition finds out which check failed (SDM 3C 27.3).  A state that the guest made is
 * its own fault; error, of an instruction that failed, is ours. */
static enum exit_action refuse(struct vcpu *v, u32 error)
{
    enum exit_action a;

    log_write(error ? LOG_ERROR : LOG_NOTICE,
              "VM %s vCPU %u: VM entry failed, exit reason %x, instruction error %u", v->vm->name,
              v->index, vmcs_read32(VMCS_EXIT_REASON), error);
    a = message_stop(v, EXIT_ENTRY_FAILED, FAILURE_ENTRY,
                     error | (u64)vmcs_read32(VMCS_ENTRY_INTR_INFO) << 32);
    vmx_unload(v); /* launched or not is open: the next entry, after a reset, launches */
    return a;
}

/* SS.DPL is the CPL, also where SS is null (SDM 3C 25.4.1); Bochs leaves 0 there in rings 1 and 2
 * and then does not enter.  True: it was so. */
static bool align_null_ss(void)
{
    u32 access = vmcs_read32(VMCS_GUEST_SS_ACCESS), cpl = vmcs_read16(VMCS_GUEST_CS) & 3;

    if (!(access & ACCESS_UNUSABLE) || FIELD_GET(ACCESS_DPL, access) == cpl)
        return false;
    vmcs_write32(VMCS_GUEST_SS_ACCESS, (u32)((access & ~ACCESS_DPL) | FIELD_PUT(ACCESS_DPL, cpl)));
    return true;
}

/* An entry that failed changed nothing of the exit's fields but the reason (SDM 3C 27.8). */
static enum exit_action on_entry_failed(struct vcpu *v)
{
    if ((u16)vmcs_read32(VMCS_EXIT_REASON) == REASON_MACHINE_CHECK)
        asm volatile("int $18" : : : "memory");
    else if (!align_null_ss())
        return refuse(v, 0);
    vmx_unload(v); /* as above */
    return EXIT_RESCHED;
}

#define ON(reason, fn_, class_) [REASON_##reason] = {.fn = fn_, .class = class_}
#define ALWAYS(reason, action_, class_) [REASON_##reason] = {.action = action_, .class = class_}
static const struct {
    enum exit_action (*fn)(struct vcpu *v);
    u8 action; /* enum exit_action, where fn is NULL */
    u8 class;  /* enum exit_class */
} handlers[REASON_COUNT] = {
    ON(EXCEPTION_OR_NMI, on_exception, CLASS_EXCEPTION),
    ON(EXTERNAL_INTERRUPT, on_external_interrupt, CLASS_EXTERNAL_INTERRUPT),
    ON(TRIPLE_FAULT, on_triple_fault, CLASS_TRIPLE_FAULT),
    ON(INTERRUPT_WINDOW, on_window, CLASS_INTERRUPT_WINDOW),
    ON(NMI_WINDOW, on_window, CLASS_NMI_WINDOW),
    ON(CPUID, exit_cpuid, CLASS_CPUID),
    ALWAYS(GETSEC, EXIT_UD, CLASS_OTHER),
    ON(HLT, exit_hlt, CLASS_HLT),
    ALWAYS(INVD, EXIT_ADVANCE, CLASS_INVD),
    ALWAYS(RDPMC, EXIT_GP, CLASS_RDPMC),
    ALWAYS(RSM, EXIT_UD, CLASS_OTHER),
    ON(VMCALL, on_vmcall, CLASS_HYPERCALL),
    [REASON_VMCLEAR... REASON_VMXON] = {.action = EXIT_UD, .class = CLASS_VMX_INSN},
    ON(CR_ACCESS, on_cr, CLASS_CR),
    ON(MOV_DR, on_mov_dr, CLASS_DR),
    ON(IO, on_io, CLASS_IO),
    ON(RDMSR, exit_rdmsr, CLASS_RDMSR),
    ON(WRMSR, exit_wrmsr, CLASS_WRMSR),
    ALWAYS(MWAIT, EXIT_UD, CLASS_MWAIT),
    ALWAYS(MONITOR, EXIT_UD, CLASS_MWAIT),
    ON(PAUSE, on_pause, CLASS_PAUSE),
    ALWAYS(TPR_THRESHOLD, EXIT_EVENTS, CLASS_TPR_THRESHOLD),
    ON(APIC_ACCESS, on_apic_access, CLASS_APIC_ACCESS),
    ON(EOI, on_eoi, CLASS_EOI),
    ON(EPT_VIOLATION, on_ept_violation, CLASS_EPT_VIOLATION),
    ALWAYS(INVEPT, EXIT_UD, CLASS_VMX_INSN),
    ON(PREEMPTION_TIMER, on_preemption_timer, CLASS_PREEMPTION_TIMER),
    ALWAYS(INVVPID, EXIT_UD, CLASS_VMX_INSN),
    ALWAYS(WBINVD, EXIT_ADVANCE, CLASS_WBINVD),
    ON(XSETBV, exit_xsetbv, CLASS_XSETBV),
    ON(APIC_WRITE, on_apic_write, CLASS_APIC_WRITE),
    ALWAYS(VMFUNC, EXIT_UD, CLASS_VMX_INSN),
    ALWAYS(ENCLS, EXIT_UD, CLASS_OTHER),
};

/* The preemption timer stands for cpu->deadline: SDM 3C 26.5.1, rounded up.
 *
 * A guest that is entered with IF=0 is looked at every millisecond besides: Bochs then keeps
 * physical interrupts from exiting until the guest writes IF, and a guest that spins would keep
 * the CPU for good. */
static inline __attribute__((always_inline)) void arm_timer(const struct cpu *c, u64 now)
{
    u64 left = c->deadline - now;

    if (!(vmcs_read(VMCS_GUEST_RFLAGS) & RFLAGS_IF))
        left = MIN(left, tsc_hz / 1000);

    if (!(vmx_caps.word[VMX_PIN] & PIN_PREEMPTION_TIMER)) {
        timer_arm_hardware();
        return;
    }
    u64 count = (left >> vmx_caps.timer_shift) + 1;
    vmcs_write32(VMCS_PREEMPTION_TIMER, (u32)MIN(count, 0xffffffffull));
}

/* Timers, requests and events, once. */
static __attribute__((noinline)) void attend(struct cpu *c, struct vcpu *v, u64 now)
{
    if (now >= c->deadline)
        timer_run();
    if (c->attention & ATTENTION_RESCHED)
        sched_leave_guest(v);
    if (c->attention)
        __atomic_and_fetch(&c->attention, ~ATTENTION_KICK, __ATOMIC_SEQ_CST);
    if ((v->look || v->requests) && !message_prepare(v))
        sched_leave_guest(v);
}

/* A new vector in IRR, as hand_over() in vmx_event.c would tell the CPU. */
static inline void raise(struct vcpu *v)
{
    const struct vlapic *l = v->lapic;
    u32 status, vector = v->raised;

    v->raised = 0;
    v->look |=
        !l->virtual_delivery || l->isr_changed || l->tmr_changed || v->activity != VCPU_ACTIVE;
    if (v->look)
        return;
    status = vmcs_read16(VMCS_GUEST_INTERRUPT_STATUS); /* SVI, RVI */
    if ((u8)status < vector)
        vmcs_write16(VMCS_GUEST_INTERRUPT_STATUS, (u16)(status - (u8)status + vector));
}

/* Until nothing is left to do before an entry. */
static inline __attribute__((always_inline)) void settle(struct cpu *c, struct vcpu *v)
{
    u64 now;

    if (v->raised)
        raise(v);
    while (now = tsc_read(), now >= c->deadline || c->attention || v->look || v->requests)
        attend(c, v, now);
    vmx_guest_load(v);
    if (c->fpu_owner != v->xsave)
        fpu_load_vcpu(v);
    arm_timer(c, now);
}

static void act(struct vcpu *v, enum exit_action a)
{
    switch (a) {
    case EXIT_ADVANCE:
        vmx_advance();
        return;
    case EXIT_GP:
        vmx_exception(v, VECTOR_GP, true, 0);
        return;
    case EXIT_UD:
        vmx_exception(v, VECTOR_UD, false, 0);
        return;
    case EXIT_ADVANCE_EVENTS:
        vmx_advance();
        v->look = true;
        return;
    case EXIT_EVENTS:
        v->look = true;
        return;
    case EXIT_ADVANCE_RESCHED:
        vmx_advance();
        sched_leave_guest(v);
    case EXIT_RESCHED:
        sched_leave_guest(v);
    default:
        return;
    }
}

static void dispatch(struct cpu *c, struct vcpu *v)
{
    u32 reason = vmcs_read32(VMCS_EXIT_REASON);
    u32 vectoring = vmcs_read32(VMCS_VECTORING_INFO);

    c->last_exit_reason = reason;
    if (reason & REASON_ENTRY_FAILED) {
        act(v, on_entry_failed(v));
        return;
    }
    if (vectoring & INTR_VALID)
        vmx_reinject(v, vectoring);
    if (reason >= REASON_COUNT || (!handlers[reason].fn && !handlers[reason].class)) {
        v->page->stats.exits[CLASS_OTHER]++;
        act(v, message_stop(v, EXIT_UNHANDLED, FAILURE_EXIT, 0));
        return;
    }
    v->page->stats.exits[handlers[reason].class]++;
    act(v, handlers[reason].fn ? handlers[reason].fn(v) : handlers[reason].action);
}

void vmx_exit(struct cpu *c, struct vcpu *v, u32 todo)
{
    if (todo == VMX_FULL)
        dispatch(c, v);
    else if (todo == VMX_TRAP)
        vmx_trap_step();
    v->look |= todo == VMX_EVENTS;
    if (v->look || c->attention || tsc_read() >= c->deadline)
        settle(c, v);
}

void vmx_entry_refused(struct cpu *c, struct vcpu *v)
{
    (void)c;
    refuse(v, vmcs_read32(VMCS_INSN_ERROR));
    sched_leave_guest(v);
}

void vmx_run(struct vcpu *v)
{
    struct cpu *c = this_cpu();
    struct vmx_vcpu *x = vmx_of(v);

    vmx_load(v);
    c->guest_regs = v->page->regs;
    settle(c, v);
    if (x->launched)
        vmx_resume();
    x->launched = true;
    vmx_launch();
}
