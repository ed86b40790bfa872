/* Enter, exit, one table row.  Own core. */
#include "kernel/svm_exit.h"

#include "kernel/exit.h"
#include "kernel/fpu.h"
#include "kernel/log.h"
#include "kernel/message.h"
#include "kernel/sched.h"
#include "kernel/svm_event.h"
#include "kernel/svm_fetch.h"
#include "kernel/svm_insn.h"
#include "kernel/svm_message.h"
#include "kernel/timer.h"
#include "kernel/vlapic.h"
#include "kernel/x86.h"

/* CR4 bits that change what page-table entries mean, or which of them may be cached. */
#define CR4_FLUSHES (BIT(4) | CR4_PAE | CR4_PGE | CR4_PCIDE | CR4_SMEP | CR4_SMAP | BIT(22))

static u32 measure(struct vcpu *v, u32 *reg)
{
    const struct vmcb *m = svm_of(v)->vmcb;
    u8 bytes[SVM_INSN_MAX];
    u32 count = svm_fetch(v, bytes, sizeof(bytes));

    return svm_insn_length(bytes, count, (m->efer & EFER_LMA) && (m->cs.attrib & VMCB_CS_LONG),
                           reg);
}

/* False: the instruction cannot be read; the vCPU is stopped. */
static bool advance(struct vcpu *v)
{
    const struct vmcb *m = svm_of(v)->vmcb;
    u32 reg, length;

    if (svm_caps.next_rip && m->next_rip) {
        svm_skip(v, m->next_rip - m->rip);
        return true;
    }
    length = measure(v, &reg);
    if (!length) {
        message_stop(v, EXIT_UNHANDLED, FAILURE_FETCH, 0);
        return false;
    }
    svm_skip(v, length);
    return true;
}

/* The value that a MOV to a control register writes.  False: stopped. */
static bool mov_value(struct vcpu *v, u64 *value)
{
    const struct vmcb *m = svm_of(v)->vmcb;
    u32 reg;

    if (svm_caps.decode_assists && (m->exit_info1 & CR_INFO_MOV)) {
        reg = (u32)FIELD_GET(CR_INFO_REG, m->exit_info1);
    } else if (!measure(v, &reg)) {
        message_stop(v, EXIT_UNHANDLED, FAILURE_FETCH, 0);
        return false;
    }
    *value = v->page->regs[reg];
    if (!(m->efer & EFER_LMA) || !(m->cs.attrib & VMCB_CS_LONG))
        *value = (u32)*value;
    return true;
}

static bool cr4_valid(const struct vcpu *v, u64 value)
{
    const struct vmcb *m = svm_of(v)->vmcb;
    bool long_mode = m->efer & EFER_LMA, pcide_on = value & ~m->cr4 & CR4_PCIDE;

    if ((value & ~v->vm->policy->cr4_allowed) || (long_mode && !(value & CR4_PAE)))
        return false;
    return !pcide_on || (long_mode && !(m->cr3 & 0xfff));
}

static enum exit_action take_cr4(struct vcpu *v)
{
    struct svm_vcpu *s = svm_of(v);
    u64 value;

    if (!mov_value(v, &value))
        return EXIT_RESCHED;
    if (!cr4_valid(v, value))
        return EXIT_GP;
    if ((value ^ s->vmcb->cr4) & CR4_FLUSHES)
        svm_vcpu_flush_tlb(v);
    s->vmcb->cr4 = value;
    svm_dirty(s, CLEAN_CR);
    return EXIT_ADVANCE;
}

static enum exit_action take_cr8(struct vcpu *v)
{
    u64 value;

    if (!mov_value(v, &value))
        return EXIT_RESCHED;
    if (value > 15)
        return EXIT_GP;
    vlapic_set_tpr(v, value);
    return EXIT_ADVANCE_EVENTS;
}

static enum exit_action debug_register(struct vcpu *v)
{
    svm_vcpu_load_debug(svm_of(v));
    return EXIT_RESUME;
}

static enum exit_action debug_exception(struct vcpu *v)
{
    if (!svm_step_done(v))
        svm_exception(v, VECTOR_DB, false, 0);
    return EXIT_EVENTS;
}

static enum exit_action alignment_check(struct vcpu *v)
{
    svm_exception(v, VECTOR_AC, true, 0);
    return EXIT_RESUME;
}

static enum exit_action machine_check(struct vcpu *v)
{
    panic("machine check while %s/%u ran", v->vm->name, v->index);
}

/* It still waits: take it as an interrupt of the kernel. */
static enum exit_action host_interrupt(struct vcpu *v)
{
    (void)v;
    asm volatile("sti; nop; cli" ::: "memory");
    return EXIT_RESUME;
}

static enum exit_action look_again(struct vcpu *v)
{
    (void)v;
    return EXIT_RESUME;
}

static enum exit_action window_open(struct vcpu *v)
{
    (void)v;
    return EXIT_EVENTS;
}

static enum exit_action iret(struct vcpu *v)
{
    struct svm_vcpu *s = svm_of(v);

    svm_intercept(s, VMCB_X3, X3_IRET, false);
    s->nmi_iret = true;
    s->iret_rip = s->vmcb->rip;
    return EXIT_EVENTS;
}

static enum exit_action pause(struct vcpu *v)
{
    (void)v;
    return this_cpu()->runq.count ? EXIT_RESCHED : EXIT_RESUME;
}

static enum exit_action msr(struct vcpu *v)
{
    return svm_of(v)->vmcb->exit_info1 ? exit_wrmsr(v) : exit_rdmsr(v);
}

static enum exit_action vmmcall(struct vcpu *v)
{
    return svm_of(v)->vmcb->cpl ? EXIT_UD : exit_hypercall(v);
}

static enum exit_action shutdown(struct vcpu *v)
{
    return message_stop(v, EXIT_TRIPLE_FAULT, FAILURE_TRIPLE_FAULT, 0);
}

typedef enum exit_action (*handler)(struct vcpu *v);

static const handler handlers[SVM_EXIT_TABLE_SIZE] = {
    [SVM_EXIT_WRITE_CR4] = take_cr4,
    [SVM_EXIT_WRITE_CR8] = take_cr8,
    [SVM_EXIT_READ_DR... SVM_EXIT_WRITE_DR_LAST] = debug_register,
    [SVM_EXIT_EXCEPTION_DB] = debug_exception,
    [SVM_EXIT_EXCEPTION_AC] = alignment_check,
    [SVM_EXIT_EXCEPTION_MC] = machine_check,
    [SVM_EXIT_INTR] = host_interrupt,
    [SVM_EXIT_NMI] = look_again, /* taken when GIF was set */
    [SVM_EXIT_SMI] = look_again,
    [SVM_EXIT_INIT] = look_again,
    [SVM_EXIT_VINTR] = window_open,
    [SVM_EXIT_RDPMC] = exit_gp,
    [SVM_EXIT_CPUID] = exit_cpuid,
    [SVM_EXIT_RSM] = exit_ud,
    [SVM_EXIT_IRET] = iret,
    [SVM_EXIT_INVD] = exit_skip, /* nothing a guest owns bypasses the caches */
    [SVM_EXIT_PAUSE] = pause,
    [SVM_EXIT_HLT] = exit_hlt,
    [SVM_EXIT_INVLPGA] = exit_ud,
    [SVM_EXIT_IO] = svm_message_io,
    [SVM_EXIT_MSR] = msr,
    [SVM_EXIT_FERR_FREEZE] = look_again,
    [SVM_EXIT_SHUTDOWN] = shutdown,
    [SVM_EXIT_VMRUN] = exit_ud,
    [SVM_EXIT_VMMCALL] = vmmcall,
    [SVM_EXIT_VMLOAD] = exit_ud,
    [SVM_EXIT_VMSAVE] = exit_ud,
    [SVM_EXIT_STGI] = exit_ud,
    [SVM_EXIT_CLGI] = exit_ud,
    [SVM_EXIT_SKINIT] = exit_ud,
    [SVM_EXIT_WBINVD] = exit_skip,
    [SVM_EXIT_MONITOR] = exit_ud,
    [SVM_EXIT_MWAIT] = exit_ud,
    [SVM_EXIT_MWAIT_ARMED] = exit_ud,
    [SVM_EXIT_XSETBV] = exit_xsetbv,
    [SVM_EXIT_RDPRU] = exit_ud,
};

#define EXIT_ROW(name, number, class) [number] = 1 + (class),
static const u8 classes[SVM_EXIT_TABLE_SIZE] = {
    SVM_EXITS(EXIT_ROW)[SVM_EXIT_READ_DR... SVM_EXIT_WRITE_DR_LAST] = 1 + CLASS_DR};

static u32 class_of(const struct vmcb *m)
{
    if (m->exit_code == SVM_EXIT_NPF)
        return CLASS_MMIO;
    if (m->exit_code >= SVM_EXIT_TABLE_SIZE || !classes[m->exit_code])
        return m->exit_code == SVM_EXIT_INVALID ? CLASS_ENTRY_FAILED : CLASS_OTHER;
    if (m->exit_code == SVM_EXIT_MSR && m->exit_info1)
        return CLASS_WRMSR;
    return classes[m->exit_code] - 1u;
}

static enum exit_action dispatch(struct vcpu *v)
{
    const struct vmcb *m = svm_of(v)->vmcb;

    if (m->exit_code < SVM_EXIT_TABLE_SIZE && handlers[m->exit_code])
        return handlers[m->exit_code](v);
    if (m->exit_code == SVM_EXIT_NPF)
        return svm_message_npf(v);
    if ((i32)m->exit_code == -1) /* some write 32 bits of it */
        return message_stop(v, EXIT_ENTRY_FAILED, FAILURE_ENTRY, 0);
    return message_stop(v, EXIT_UNHANDLED, FAILURE_EXIT, 0);
}

/* QEMU's TCG lets XSETBV pass where it is intercepted: whatever the guest's XCR0 is now, its
 * components must be kept.  XGETBV costs no exit anywhere. */
static void follow_xcr0(struct cpu *c, struct vcpu *v)
{
    u64 now = fpu_xcr0_host ? xgetbv(0) : c->xcr0;

    if (now == c->xcr0)
        return;
    c->xcr0 = v->xcr0 = now;
    v->xcr0_ever |= now;
}

static void enter(struct cpu *c, struct vcpu *v)
{
    struct svm_vcpu *s = svm_of(v);
    struct vmcb *m = s->vmcb;
    u64 *regs = v->page->regs;

    m->rax = regs[REG_RAX];
    m->rsp = regs[REG_RSP];
    svm_enter(s->vmcb_pa.raw, regs, svm_cpus[c->id].host.raw);
    regs[REG_RAX] = m->rax;
    regs[REG_RSP] = m->rsp;
    follow_xcr0(c, v);
    m->clean = svm_caps.clean_bits ? CLEAN_ALL : 0;
    m->tlb_control = 0;
    m->event_inj = 0;
    if ((m->int_ctl & INT_CTL_TPR) != vlapic_tpr(v))
        vlapic_set_tpr(v, m->int_ctl & INT_CTL_TPR);
    if (m->exit_int_info & EVENT_VALID)
        svm_reinject(v);
    c->last_exit_reason = m->exit_code;
    c->last_exit_rip = m->rip;
    c->last_exit_qualification = m->exit_info1;
    v->page->stats.entries++;
    v->page->stats.exits[class_of(m)]++;
}

/* True: look for events before the next entry.  Leaves the guest where it must. */
static bool act(struct vcpu *v, enum exit_action action)
{
    switch (action) {
    case EXIT_ADVANCE:
    case EXIT_ADVANCE_EVENTS:
    case EXIT_ADVANCE_RESCHED:
        if (!advance(v) || action == EXIT_ADVANCE_RESCHED)
            sched_leave_guest(v);
        return action == EXIT_ADVANCE_EVENTS;
    case EXIT_RESCHED:
        sched_leave_guest(v);
    case EXIT_GP:
        svm_exception(v, VECTOR_GP, true, 0);
        return false;
    case EXIT_UD:
        svm_exception(v, VECTOR_UD, false, 0);
        return false;
    default:
        return action == EXIT_EVENTS;
    }
}

void svm_loop(struct vcpu *v)
{
    struct cpu *c = this_cpu();
    bool events = true;

    for (;;) {
        if (tsc_read() >= c->deadline)
            timer_run();
        if ((events && !message_prepare(v)) || (c->attention & ATTENTION_RESCHED))
            sched_leave_guest(v);
        svm_vcpu_load(v);
        timer_arm_hardware();
        asm volatile("clgi" ::: "memory");
        if (c->attention || (v->requests & ~REQUEST_REPLY)) {
            asm volatile("stgi" ::: "memory");
            __atomic_and_fetch(&c->attention, ~ATTENTION_KICK, __ATOMIC_SEQ_CST);
            events = true;
            continue;
        }
        enter(c, v);
        events = act(v, dispatch(v));
    }
}
