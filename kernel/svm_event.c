/* What is injected, when, and how the vCPU is told to come back for what must wait; before slow
 * entries.  Own core. */
#include "kernel/svm_event.h"

#include "kernel/irq.h"
#include "kernel/svm_fetch.h"
#include "kernel/vlapic.h"
#include "kernel/x86.h"

#define RFLAGS_RF BIT(16)
#define DR6_BS BIT(14)
#define DR6_HITS BITS(3, 0)
#define PRIORITY_HIGHEST FIELD_PUT(INT_CTL_PRIORITY, 15)

/* As vmx_inject(): what was to be delivered before gives way. */
static void inject(struct vcpu *v, u64 event)
{
    svm_of(v)->vmcb->event_inj = event;
    v->activity = VCPU_ACTIVE;
}

void svm_exception(struct vcpu *v, u32 vector, bool has_error, u32 error)
{
    /* Real mode pushes no error code: APM 2, 8.4. */
    if (!(svm_of(v)->vmcb->cr0 & BIT(0)))
        has_error = false;
    inject(v, VMCB_EVENT(EVENT_EXCEPTION, vector) |
                  (has_error ? EVENT_HAS_ERROR | (u64)error << 32 : 0));
}

/* From the PIC, which has been told that it is taken.  QEMU 7.2 delivers it once more, whatever
 * RFLAGS.IF is by then, if its loop is left before the next exit: the interrupt that waits at VMRUN
 * makes that the next thing to come. */
void svm_interrupt(struct vcpu *v, u32 vector)
{
    inject(v, VMCB_EVENT(EVENT_INTR, vector));
    v->page->stats.injected++;
    if (svm_caps.tcg)
        irq_kick(this_cpu()->id);
}

static void inject_nmi(struct vcpu *v)
{
    struct svm_vcpu *s = svm_of(v);

    inject(v, VMCB_EVENT(EVENT_NMI, VECTOR_NMI));
    v->nmi_pending = false;
    s->nmi_blocked = true;
    svm_intercept(s, VMCB_X3, X3_IRET, true);
}

void svm_settle(struct vcpu *v)
{
    struct svm_vcpu *s = svm_of(v);
    u64 event = s->vmcb->exit_int_info, type = FIELD_GET(EVENT_TYPE, event);
    int vector = event & EVENT_VALID ? (int)FIELD_GET(EVENT_VECTOR, event) : -1;
    /* QEMU 7.2 calls it an exception, and leaves it waiting in int_ctl. */
    bool cut_short =
        vector == s->posted && (type == EVENT_INTR || (type != EVENT_SOFT && vector > 31));

    if (s->posted >= 0 && (cut_short || !(s->vmcb->int_ctl & INT_CTL_IRQ))) {
        vlapic_ack(v, (u32)s->posted);
        v->page->stats.injected++;
        s->posted = -1;
        v->look |= cut_short;
    }
    /* RIP is still at an INT n, INT3 or INTO: it is executed again instead. */
    if (vector < 0 || type == EVENT_SOFT ||
        (type == EVENT_EXCEPTION && (vector == VECTOR_BP || vector == VECTOR_OF)))
        return;
    inject(v, event);
}

void svm_skip(struct vcpu *v, u64 bytes)
{
    struct svm_vcpu *s = svm_of(v);
    struct vmcb *m = s->vmcb;

    if (!bytes)
        return;
    m->rip += bytes;
    m->int_state = 0;
    m->rflags &= ~RFLAGS_RF;
    if (s->stepping) { /* this was the one instruction; a HLT must find what waits */
        s->stepping = false;
        v->look = true;
        if (!s->guest_tf)
            m->rflags &= ~RFLAGS_TF;
    }
    if (m->rflags & RFLAGS_TF) {
        m->dr6 |= DR6_BS;
        svm_dirty(s, CLEAN_DR);
        svm_exception(v, VECTOR_DB, false, 0);
    }
}

/* Come back after one instruction. */
static void step(struct svm_vcpu *s)
{
    if (s->stepping)
        return;
    s->stepping = true;
    s->guest_tf = s->vmcb->rflags & RFLAGS_TF;
    s->vmcb->rflags |= RFLAGS_TF;
}

bool svm_step_done(struct vcpu *v)
{
    struct svm_vcpu *s = svm_of(v);
    struct vmcb *m = s->vmcb;

    if (!s->stepping)
        return false;
    s->stepping = false;
    if (s->guest_tf)
        return false;
    if (!s->nmi_iret) /* IRET has loaded the guest's own */
        m->rflags &= ~RFLAGS_TF;
    m->dr6 &= ~DR6_BS;
    svm_dirty(s, CLEAN_DR);
    return !(m->dr6 & DR6_HITS);
}

bool svm_interrupts_open(struct vcpu *v)
{
    const struct svm_vcpu *s = svm_of(v);
    const struct vmcb *m = s->vmcb;

    return !(m->event_inj & EVENT_VALID) && (m->rflags & RFLAGS_IF) &&
           !(m->int_state & INT_STATE_SHADOW) && !s->stepping;
}

static void take_nmi(struct vcpu *v)
{
    struct svm_vcpu *s = svm_of(v);
    struct vmcb *m = s->vmcb;

    if (s->nmi_iret && m->rip != s->iret_rip)
        s->nmi_iret = s->nmi_blocked = false;
    if (!v->nmi_pending || (m->event_inj & EVENT_VALID))
        return;
    if (s->nmi_iret || (!s->nmi_blocked && (m->int_state & INT_STATE_SHADOW)))
        step(s);
    else if (!s->nmi_blocked && !s->stepping)
        inject_nmi(v);
}

/* The local APIC's interrupt is a virtual one (APM 2, 15.21.4): the CPU takes it when RFLAGS.IF
 * allows, without an exit, and svm_settle() learns of it.  What else waits for RFLAGS.IF comes back
 * by a virtual interrupt that is intercepted; what waits for the TPR, by the write to CR8.  That is
 * intercepted in all cases, since QEMU 7.2 aborts when a guest changes CR8 while a virtual
 * interrupt waits. */
static void set_windows(struct vcpu *v, bool window)
{
    struct svm_vcpu *s = svm_of(v);
    struct vlapic *l = v->lapic;
    int irr = vlapic_highest_irr(l), isr = vlapic_highest_isr(l);
    bool by_tpr = !window && irr >= 0 && (isr < 0 || (irr & 0xf0) > (isr & 0xf0));
    u64 ctl = INT_CTL_MASKING | vlapic_tpr(v);

    if (window)
        ctl |= INT_CTL_IRQ | PRIORITY_HIGHEST | INT_CTL_IGNORE_TPR;
    else if (s->posted >= 0)
        ctl |= INT_CTL_IRQ | FIELD_PUT(INT_CTL_PRIORITY, (u64)s->posted >> 4) |
               FIELD_PUT(INT_CTL_VECTOR, (u64)s->posted);

    if (s->vmcb->int_ctl != ctl) {
        s->vmcb->int_ctl = ctl;
        svm_dirty(s, CLEAN_INT);
    }
    svm_intercept(s, VMCB_X3, X3_VINTR, window);
    svm_intercept(s, VMCB_CR, VMCB_CR_WRITE(8), window || by_tpr);
}

enum hvm_events svm_take_events(struct vcpu *v)
{
    struct svm_vcpu *s = svm_of(v);
    bool window = false;

    take_nmi(v);
    if (vlapic_extint(v)) {
        if (svm_interrupts_open(v))
            return EVENTS_PIC;
        window = true;
    }
    int vector = vlapic_pending(v);
    bool pic = (s->vmcb->event_inj & (EVENT_VALID | EVENT_TYPE)) == VMCB_EVENT(EVENT_INTR, 0);
    window |= (vector >= 0 && pic) || (v->nmi_pending && !s->nmi_blocked);
    /* It would come before that instruction, which may be the HLT after STI, since QEMU 7.2 does
     * not load the shadow. */
    if ((window || vector >= 0) && (s->stepping || (s->vmcb->int_state & INT_STATE_SHADOW))) {
        step(s);
        window = false;
        vector = -1;
    }
    s->posted = window ? -1 : vector;
    set_windows(v, window);
    return (s->vmcb->event_inj & EVENT_VALID) || (s->posted >= 0 && svm_interrupts_open(v))
               ? EVENTS_DELIVER
               : EVENTS_NONE;
}

/* The word is the guest's, and its other vCPUs may write it too: whatever they do there is only an
 * EOI too many or too few. */
u32 *svm_offer_eoi(struct vcpu *v)
{
    struct vlapic *l = v->lapic;
    u64 gpa = v->msrs.pv_eoi & ~1ull;
    int posted = svm_of(v)->posted, vector = vlapic_highest_isr(l);

    if (posted >= 0)
        vlapic_set_bit(l, APIC_IRR, (u32)posted, false);
    bool more = vlapic_highest_irr(l) >= 0 || (posted >= 0 && vector >= 0);
    if (posted >= 0)
        vlapic_set_bit(l, APIC_IRR, (u32)(vector = posted), true);
    /* It must be clear whose end it is.  The owner of a level is told of its end; what waits comes
     * right after an end. */
    if (vector < 0 || more || vlapic_bit(l, APIC_TMR, (u32)vector))
        return NULL;
    u32 *word = svm_fetch_ram(v, gpa, true);
    if (word) {
        pgtab_set_written(&v->vm->npt, gpa);
        __atomic_fetch_or(word, 1, __ATOMIC_SEQ_CST);
    }
    return word;
}

void svm_take_eoi(struct vcpu *v, u32 *word)
{
    if (!(__atomic_fetch_and(word, ~1u, __ATOMIC_SEQ_CST) & 1))
        vlapic_eoi(v);
}
