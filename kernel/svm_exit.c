/* Enter, exit, one table row.  Own core. */
#include "kernel/svm_exit.h"

#include "kernel/exit.h"
#include "kernel/exit_decode.h"
#include "kernel/fpu.h"
#include "kernel/message.h"
#include "kernel/sched.h"
#include "kernel/speculation.h"
#include "kernel/svm_event.h"
#include "kernel/svm_fetch.h"
#include "kernel/svm_insn.h"
#include "kernel/timer.h"
#include "kernel/vlapic.h"
#include "kernel/x86.h"

/* CR4 bits that change what page-table entries mean, or which of them may be cached. */
#define CR4_FLUSHES (BIT(4) | CR4_PAE | CR4_PGE | CR4_PCIDE | CR4_SMEP | CR4_SMAP | BIT(22))

#define PREFIX_ADDRESS_SIZE 0x67

void svm_fill_page(struct vcpu *v)
{
    const struct vmcb *m = svm_of(v)->vmcb;
    struct vcpu_page *p = v->page;

    p->rip = m->rip;
    p->rflags = m->rflags;
    p->cr0 = m->cr0;
    p->cr3 = m->cr3;
    p->cr4 = m->cr4;
    p->efer = svm_vcpu_get(v, HVM_EFER);
    p->cs_access = svm_vcpu_access(&m->cs);
    p->ss_access = (svm_vcpu_access(&m->ss) & ~0x60u) | (u32)m->cpl << 5;
    p->cs_base = m->cs.base;
    p->insn_len = 0;
    p->hw_reason = (u32)m->exit_code;
    p->hw_qualification = m->exit_info1;
    p->hw_intr_info = m->exit_int_info;
}

static u32 measure(struct vcpu *v, u32 *reg)
{
    const struct vmcb *m = svm_of(v)->vmcb;
    u8 bytes[SVM_INSN_MAX];
    u32 count = svm_fetch(v, bytes, sizeof(bytes));

    return svm_insn_length(bytes, count, (m->efer & EFER_LMA) && (m->cs.attrib & VMCB_CS_LONG),
                           reg);
}

/* Of the instruction that exited; 0: it cannot be read. */
static u32 insn_length(struct vcpu *v)
{
    const struct vmcb *m = svm_of(v)->vmcb;
    u32 reg;

    return svm_caps.next_rip && m->next_rip ? (u32)(m->next_rip - m->rip) : measure(v, &reg);
}

/* False: the instruction cannot be read; the vCPU is stopped. */
static bool advance(struct vcpu *v)
{
    u32 length = insn_length(v);

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

/* #DB and #AC always come here, others when v->exceptions asks for them. */
static enum exit_action exception(struct vcpu *v)
{
    struct svm_vcpu *s = svm_of(v);
    struct vmcb *m = s->vmcb;
    u32 vector = m->exit_code & 31, error = (u32)m->exit_info1;
    bool has_error = EXIT_WITH_ERROR >> vector & 1;
    u32 becomes = exit_second_exception((u32)m->event_inj, vector);

    if (vector == VECTOR_MC) {
        asm volatile("int $18" : : : "memory");
        return EXIT_RESUME;
    }
    if (vector == VECTOR_DB && svm_step_done(v))
        return EXIT_EVENTS;
    if (vector == VECTOR_PF) { /* APM 2, 15.12.15: the exit left CR2 as it was */
        m->cr2 = m->exit_info2;
        svm_dirty(s, CLEAN_CR2);
    }
    exit_note_exception(v, m->rip, vector == VECTOR_PF ? m->cr2 : 0, vector, has_error ? error : 0);
    if (becomes == EXCEPTION_SHUTDOWN)
        return message_stop(v, EXIT_TRIPLE_FAULT, FAILURE_TRIPLE_FAULT, 0);
    svm_exception(v, becomes, has_error || becomes != vector, becomes == vector ? error : 0);
    return EXIT_EVENTS;
}

/* It still waits: take it as an interrupt of the kernel. */
static enum exit_action host_interrupt(struct vcpu *v)
{
    (void)v;
    asm volatile("sti; nop; cli" ::: "memory");
    return EXIT_RESUME;
}

static enum exit_action pause_loop(struct vcpu *v)
{
    sched_spins(v);
    return EXIT_RESCHED;
}

static enum exit_action iret(struct vcpu *v)
{
    struct svm_vcpu *s = svm_of(v);

    svm_intercept(s, VMCB_X3, X3_IRET, false);
    s->nmi_iret = true;
    s->iret_rip = s->vmcb->rip;
    return EXIT_EVENTS;
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

/* Linear address of an INS or OUTS operand.  The prefixes are read from memory where the CPU does
 * not tell segment and address size. */
static u64 string_address(struct vcpu *v, u64 info)
{
    static const u8 overrides[6] = {0x26, 0x2e, 0x36, 0x3e, 0x64, 0x65}; /* ES to GS */
    struct vmcb *m = svm_of(v)->vmcb;
    u8 bytes[SVM_INSN_MAX];
    bool mode64 = (m->efer & EFER_LMA) && (m->cs.attrib & VMCB_CS_LONG);
    bool in = info & IO_INFO_IN, other_size = false;
    u32 seg = in ? SEG_ES : SEG_DS;
    u64 mask = ~0ull;
    u32 count = svm_fetch(v, bytes, (u32)MIN(m->exit_info2 - m->rip, (u64)SVM_INSN_MAX));

    for (u32 i = 0; i < count; i++) {
        other_size |= bytes[i] == PREFIX_ADDRESS_SIZE;
        for (u32 o = 0; o < ARRAY_LEN(overrides) && !in; o++)
            if (bytes[i] == overrides[o])
                seg = o;
    }
    if (mode64)
        mask = other_size ? ~0u : ~0ull;
    else
        mask = !(m->cs.attrib & VMCB_CS_BIG) == other_size ? ~0u : 0xffffu;
    u64 at = v->page->regs[in ? REG_RDI : REG_RSI] & mask;
    if (!mode64 || seg >= SEG_FS)
        at += svm_vcpu_segment(m, seg)->base;
    return mode64 ? at : (u32)at;
}

static enum exit_action io(struct vcpu *v)
{
    const struct vmcb *m = svm_of(v)->vmcb;
    u64 info = m->exit_info1;
    struct exit_io io = {
        .port = (u16)FIELD_GET(IO_INFO_PORT, info),
        .size = (u8)FIELD_GET(IO_INFO_SIZE, info),
        .in = info & IO_INFO_IN,
        .string = info & IO_INFO_STRING,
        .rep = info & IO_INFO_REP,
    };

    v->page->rip = m->rip;
    if (io.string) {
        svm_fill_page(v);
        v->page->io.gla = string_address(v, info);
    }
    if (message_io(v, io, (u32)(m->exit_info2 - m->rip)) == EXIT_RESCHED)
        return EXIT_RESCHED;
    svm_skip(v, (u32)(m->exit_info2 - m->rip));
    return EXIT_RESUME;
}

static enum exit_action nested_fault(struct vcpu *v)
{
    const struct vmcb *m = svm_of(v)->vmcb;
    u64 gpa = m->exit_info2, info = m->exit_info1, pa, size;
    u32 attr;

    if (pgtab_lookup(&v->vm->npt, gpa, &pa, &attr, &size) && (!(info & NPF_WRITE) || (attr & PG_W)))
        return EXIT_RESUME; /* mapped meanwhile */
    if (info & NPF_WALK)
        return message_stop(v, EXIT_UNHANDLED, FAILURE_TABLE, gpa);
    if (m->exit_int_info & EVENT_VALID)
        return message_stop(v, EXIT_UNHANDLED, FAILURE_EVENT, gpa);
    v->page->mmio.gla = v->page->mmio.gla_valid = 0;
    return message_mmio(v, gpa, info & NPF_WRITE, info & NPF_FETCH);
}

#define ON(fn_, class_) .fn = (fn_), .class = (class_)
#define ALWAYS(action_, class_) .action = (action_), .class = (class_)
/* By exit code, APM 2 appendix C. */
static const struct {
    enum exit_action (*fn)(struct vcpu *v);
    u8 action; /* enum exit_action, where fn is NULL */
    u8 class;  /* enum exit_class */
} handlers[] = {
    [0x14] = {ON(take_cr4, CLASS_CR)},
    [0x18] = {ON(take_cr8, CLASS_TPR_THRESHOLD)},
    [0x20 ... 0x3f] = {ON(debug_register, CLASS_DR)},
    [0x40 ... 0x5f] = {ON(exception, CLASS_EXCEPTION)},
    [0x60] = {ON(host_interrupt, CLASS_EXTERNAL_INTERRUPT)},
    [0x61] = {ALWAYS(EXIT_RESUME, CLASS_NMI)},            /* taken when GIF was set */
    [0x62 ... 0x63] = {ALWAYS(EXIT_RESUME, CLASS_OTHER)}, /* SMI, INIT */
    [0x64] = {ALWAYS(EXIT_EVENTS, CLASS_INTERRUPT_WINDOW)},
    [0x6f] = {ALWAYS(EXIT_GP, CLASS_RDPMC)},
    [SVM_EXIT_CPUID] = {ON(exit_cpuid, CLASS_CPUID)},
    [0x73] = {ALWAYS(EXIT_UD, CLASS_OTHER)}, /* RSM */
    [0x74] = {ON(iret, CLASS_NMI_WINDOW)},
    [0x76] = {ALWAYS(EXIT_ADVANCE, CLASS_INVD)}, /* nothing a guest owns bypasses the caches */
    [0x77] = {ON(pause_loop, CLASS_PAUSE)},
    [0x78] = {ON(exit_hlt, CLASS_HLT)},
    [0x7a] = {ALWAYS(EXIT_UD, CLASS_VMX_INSN)}, /* INVLPGA */
    [0x7b] = {ON(io, CLASS_IO)},
    [SVM_EXIT_MSR] = {ON(msr, CLASS_RDMSR)},
    [0x7e] = {ALWAYS(EXIT_RESUME, CLASS_OTHER)}, /* FERR freeze */
    [0x7f] = {ON(shutdown, CLASS_TRIPLE_FAULT)},
    [0x80] = {ALWAYS(EXIT_UD, CLASS_VMX_INSN)}, /* VMRUN */
    [SVM_EXIT_VMMCALL] = {ON(vmmcall, CLASS_HYPERCALL)},
    [0x82 ... 0x86] = {ALWAYS(EXIT_UD, CLASS_VMX_INSN)}, /* VMLOAD to SKINIT */
    [0x89] = {ALWAYS(EXIT_ADVANCE, CLASS_WBINVD)},
    [0x8a ... 0x8c] = {ALWAYS(EXIT_UD, CLASS_MWAIT)},
    [0x8d] = {ON(exit_xsetbv, CLASS_XSETBV)},
    [0x8e] = {ALWAYS(EXIT_UD, CLASS_OTHER)}, /* RDPRU */
    [SVM_EXIT_NPF] = {ON(nested_fault, CLASS_MMIO)},
};

static enum exit_action dispatch(struct vcpu *v)
{
    const struct vmcb *m = svm_of(v)->vmcb;
    u64 *exits = v->page->stats.exits, code = m->exit_code;

    if (code < ARRAY_LEN(handlers) && (handlers[code].fn || handlers[code].class)) {
        exits[handlers[code].class + (code == SVM_EXIT_MSR && m->exit_info1)]++;
        return handlers[code].fn ? handlers[code].fn(v) : handlers[code].action;
    }
    if ((i32)code == -1) { /* some write 32 bits of it */
        exits[CLASS_ENTRY_FAILED]++;
        return message_stop(v, EXIT_ENTRY_FAILED, FAILURE_ENTRY, 0);
    }
    exits[CLASS_OTHER]++;
    return message_stop(v, EXIT_UNHANDLED, FAILURE_EXIT, 0);
}
_Static_assert(CLASS_WRMSR == CLASS_RDMSR + 1, "dispatch()");

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

/* What VMRUN was told is done. */
static void entered(struct vmcb *m)
{
    m->clean = svm_caps.clean_bits ? CLEAN_ALL : 0;
    m->tlb_control = 0;
    m->event_inj = 0;
}

/* Served at once: CPUID, hypercalls, reads of MSRs that are not the local APIC's. */
static bool is_fast(const struct vmcb *m, u32 msr)
{
    if (m->exit_code == SVM_EXIT_MSR)
        return !m->exit_info1 && (msr & ~0xffu) != MSR_X2APIC && msr != MSR_TSC_DEADLINE;
    return m->exit_code == SVM_EXIT_CPUID || (m->exit_code == SVM_EXIT_VMMCALL && !m->cpl);
}

/* Whoever wants this core sends an interrupt, so VMRUN comes back at once: nothing to look at. */
bool svm_fast(struct vcpu *v)
{
    struct vmcb *m = svm_of(v)->vmcb;
    u64 *regs = v->page->regs, code = m->exit_code;

    if (!is_fast(m, (u32)regs[REG_RCX]) || (m->exit_int_info & EVENT_VALID) ||
        (m->rflags & RFLAGS_TF) || (m->int_ctl & INT_CTL_TPR) != vlapic_tpr(v) ||
        (fpu_xcr0_host && xgetbv(0) != cpus[v->cpu]->xcr0))
        return false;
    regs[REG_RAX] = m->rax;
    enum exit_action a = code == SVM_EXIT_CPUID     ? exit_cpuid(v)
                         : code == SVM_EXIT_VMMCALL ? exit_hypercall(v)
                                                    : exit_rdmsr(v);
    u32 length = a == EXIT_GP ? 0 : insn_length(v);
    if (a != EXIT_GP && !length)
        return false; /* it cannot be read: act() stops the vCPU */
    entered(m);
    v->page->stats.exits[handlers[code].class]++;
    if (length)
        svm_skip(v, length);
    else
        svm_exception(v, VECTOR_GP, true, 0);
    m->rax = regs[REG_RAX];
    return true;
}

static void enter(struct cpu *c, struct vcpu *v)
{
    struct svm_vcpu *s = svm_of(v);
    struct vmcb *m = s->vmcb;
    u64 *regs = v->page->regs;

    m->rax = regs[REG_RAX];
    m->rsp = regs[REG_RSP];
    u64 shadowed = m->int_state & INT_STATE_SHADOW ? m->rip : ~0ull;
    if (speculation_used & SPECULATION_IBPB)
        speculation_enter();
    u32 *eoi = v->msrs.pv_eoi & 1 ? svm_offer_eoi(v) : NULL;
    svm_enter(s->vmcb_pa.raw, regs, svm_cpus[c->id].host.raw, v);
    regs[REG_RAX] = m->rax;
    regs[REG_RSP] = m->rsp;
    follow_xcr0(c, v);
    entered(m);
    if (m->rip == shadowed) /* not executed yet; QEMU 7.2 has not loaded the shadow */
        m->int_state |= INT_STATE_SHADOW;
    if ((m->int_ctl & INT_CTL_TPR) != vlapic_tpr(v))
        vlapic_set_tpr(v, m->int_ctl & INT_CTL_TPR);
    svm_settle(v);
    if (eoi)
        svm_take_eoi(v, eoi);
    c->last_exit_reason = m->exit_code;
    c->last_exit_rip = m->rip;
    c->last_exit_qualification = m->exit_info1;
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

    v->page->stats.entries++;
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
        events = act(v, dispatch(v)) || v->look;
    }
}
