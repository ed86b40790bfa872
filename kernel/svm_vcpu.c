/* One vCPU on AMD-V: VMCB set-up, reset, state in and out, ASIDs.  On the vCPU's own core, or while
 * it does not run. */
#include "kernel/svm_vcpu.h"

#include "kernel/fpu.h"
#include "kernel/string.h"
#include "kernel/vlapic.h"
#include "kernel/vlapic_timer.h"
#include "kernel/x86.h"

/* INT3 and INTO push the next RIP, which cannot be injected; NMIs have an intercept of their own.
 */
#define NEVER_EXIT (u32) BITS(4, 2)
#define DR7_ENABLES 0xffull
#define PAUSES_AT_ONCE 3000 /* in a loop, before the vCPU gives up the core */
#define PAUSE_GAP 128       /* ticks between two that still are one loop */

/* What always exits. */
static const u32 intercepts[VMCB_INTERCEPT_WORDS] = {
    [VMCB_CR] = VMCB_CR_WRITE(4),
    [VMCB_DR] = ~0u, /* until the first use */
    /* #DB and #AC: their delivery can raise them again, for ever, inside one instruction. */
    [VMCB_EXCEPTION] = (u32)(BIT(1) | BIT(17) | BIT(18)),
    [VMCB_X3] = X3_INTR | X3_NMI | X3_SMI | X3_INIT | X3_RDPMC | X3_CPUID | X3_RSM | X3_INVD |
                X3_HLT | X3_INVLPGA | X3_IO | X3_MSR | X3_FERR_FREEZE | X3_SHUTDOWN,
    [VMCB_X4] = X4_VMRUN | X4_VMMCALL | X4_VMLOAD | X4_VMSAVE | X4_STGI | X4_CLGI | X4_SKINIT |
                X4_WBINVD | X4_MONITOR | X4_MWAIT | X4_MWAIT_ARMED | X4_XSETBV | X4_RDPRU,
};

static const u16 segments[SEG_COUNT] = {
    [SEG_ES] = offsetof(struct vmcb, es),     [SEG_CS] = offsetof(struct vmcb, cs),
    [SEG_SS] = offsetof(struct vmcb, ss),     [SEG_DS] = offsetof(struct vmcb, ds),
    [SEG_FS] = offsetof(struct vmcb, fs),     [SEG_GS] = offsetof(struct vmcb, gs),
    [SEG_LDTR] = offsetof(struct vmcb, ldtr), [SEG_TR] = offsetof(struct vmcb, tr),
};

struct vmcb_segment *svm_vcpu_segment(struct vmcb *m, u32 i)
{
    return (struct vmcb_segment *)((u8 *)m + segments[i]);
}

enum hv_status svm_vcpu_init(struct vcpu *v)
{
    svm_of(v)->vmcb = v->block;
    svm_of(v)->vmcb_pa = virt_to_phys(v->block);
    return vlapic_init(v, false);
}

void svm_vcpu_reset(struct vcpu *v)
{
    struct vmcb *m = svm_of(v)->vmcb;

    svm_vcpu_unload(v);
    memcpy(m->intercept, intercepts, sizeof(m->intercept));
    if (svm_caps.pause_filter) {
        m->intercept[VMCB_X3] |= X3_PAUSE;
        m->pause_count = PAUSES_AT_ONCE;
        m->pause_threshold = PAUSE_GAP;
    }
    m->iopm = svm_iopm.raw;
    m->msrpm = svm_msrpm.raw;
    m->int_ctl = INT_CTL_MASKING;
    m->nested = NESTED_ENABLE;
    m->nested_cr3 = v->vm->npt.root.raw;
    m->event_inj = m->exit_int_info = 0;
    svm_of(v)->posted = -1;
}

static void fresh_asid(struct svm_vcpu *s, struct svm_cpu *c)
{
    s->vmcb->tlb_control = 0;
    if (!c->generation || c->next_asid >= svm_caps.asids) {
        c->generation++;
        c->next_asid = 1;
        s->vmcb->tlb_control = TLB_FLUSH_ALL;
    }
    s->vmcb->asid = c->next_asid++;
    s->asid_generation = c->generation;
    svm_dirty(s, CLEAN_ASID);
}

void svm_vcpu_load_debug(struct svm_vcpu *s)
{
    asm volatile("mov %0, %%dr0; mov %1, %%dr1; mov %2, %%dr2; mov %3, %%dr3"
                 :
                 : "r"(s->dr[0]), "r"(s->dr[1]), "r"(s->dr[2]), "r"(s->dr[3]));
    s->dr_loaded = true;
    svm_intercept(s, VMCB_DR, ~0u, false);
}

static void store_debug(struct svm_vcpu *s)
{
    asm volatile("mov %%dr0, %0; mov %%dr1, %1; mov %%dr2, %2; mov %%dr3, %3"
                 : "=r"(s->dr[0]), "=r"(s->dr[1]), "=r"(s->dr[2]), "=r"(s->dr[3]));
    s->dr_loaded = false;
    svm_intercept(s, VMCB_DR, ~0u, true);
}

void svm_vcpu_load(struct vcpu *v)
{
    struct svm_vcpu *s = svm_of(v);
    struct svm_cpu *c = &svm_cpus[this_cpu()->id];

    if (c->loaded != v) {
        if (c->loaded && svm_of(c->loaded)->dr_loaded)
            store_debug(svm_of(c->loaded));
        c->loaded = v;
        if (s->cpu != this_cpu()->id) {
            s->cpu = this_cpu()->id;
            s->asid_generation = 0;
            s->vmcb->clean = 0;
        }
    }
    if ((s->vmcb->dr7 & DR7_ENABLES) && !s->dr_loaded)
        svm_vcpu_load_debug(s);
    if (svm_caps.rdtscp && c->tsc_aux != v->msrs.tsc_aux) {
        c->tsc_aux = v->msrs.tsc_aux;
        wrmsr(MSR_TSC_AUX, c->tsc_aux);
    }
    if (s->asid_generation != c->generation || !s->asid_generation)
        fresh_asid(s, c);
    fpu_load_vcpu(v);
}

void svm_vcpu_unload(struct vcpu *v)
{
    struct svm_vcpu *s = svm_of(v);
    struct svm_cpu *c = &svm_cpus[this_cpu()->id];

    if (c->loaded == v) {
        if (s->dr_loaded)
            store_debug(s);
        c->loaded = NULL;
    }
    s->cpu = SVM_NO_CPU;
    fpu_release(v->xsave);
}

void svm_vcpu_flush_tlb(struct vcpu *v)
{
    svm_of(v)->asid_generation = 0;
}

void svm_vcpu_flush(struct vm *vm)
{
    u32 here = this_cpu()->id;

    for (u32 i = 0; i < VM_VCPUS; i++)
        if (vm->vcpus[i] && svm_of(vm->vcpus[i])->cpu == here)
            svm_vcpu_flush_tlb(vm->vcpus[i]);
}

u32 svm_vcpu_access(const struct vmcb_segment *seg)
{
    u32 a = seg->attrib;
    return a & 0x80 ? (a & 0xff) | (a & 0xf00) << 4 : 1u << 16;
}

static u16 attrib_of(u32 access)
{
    return access & 1u << 16 ? 0 : (u16)((access & 0xff) | (access >> 4 & 0xf00));
}

/* State that is a plain word on both sides. */
#define WORD(field, member) offsetof(struct vcpu_state, field), offsetof(struct vmcb, member)
static const u16 words[][2] = {
    {WORD(rip, rip)},
    {WORD(rflags, rflags)},
    {WORD(cr0, cr0)},
    {WORD(cr2, cr2)},
    {WORD(cr3, cr3)},
    {WORD(cr4, cr4)},
    {WORD(efer, efer)},
    {WORD(pat, pat)},
    {WORD(dr[6], dr6)},
    {WORD(dr[7], dr7)},
    {WORD(star, star)},
    {WORD(lstar, lstar)},
    {WORD(cstar, cstar)},
    {WORD(fmask, sfmask)},
    {WORD(kernel_gs_base, kernel_gs_base)},
    {WORD(sysenter_cs, sysenter_cs)},
    {WORD(sysenter_esp, sysenter_esp)},
    {WORD(sysenter_eip, sysenter_eip)},
    {WORD(gdtr_base, gdtr.base)},
    {WORD(idtr_base, idtr.base)},
};

static u64 *word_at(void *base, u16 offset)
{
    return (u64 *)((u8 *)base + offset);
}

void svm_vcpu_get_state(struct vcpu *v, struct vcpu_state *out)
{
    struct svm_vcpu *s = svm_of(v);
    struct vmcb *m = s->vmcb;

    if (s->dr_loaded)
        store_debug(s);
    for (u32 i = 0; i < ARRAY_LEN(words); i++)
        *word_at(out, words[i][0]) = *word_at(m, words[i][1]);
    for (u32 i = 0; i < SEG_COUNT; i++) {
        const struct vmcb_segment *seg = svm_vcpu_segment(m, i);
        out->seg[i] = (struct vcpu_segment){.selector = seg->selector,
                                            .access = svm_vcpu_access(seg),
                                            .limit = seg->limit,
                                            .base = seg->base};
    }
    /* SYSRET leaves SS's DPL as it likes; the CPL is kept apart here. */
    out->seg[SEG_SS].access = (out->seg[SEG_SS].access & ~0x60u) | (u32)m->cpl << 5;
    memcpy(out->dr, s->dr, sizeof(s->dr));
    if (s->stepping)
        out->rflags = (out->rflags & ~RFLAGS_TF) | (s->guest_tf ? RFLAGS_TF : 0);
    out->efer &= ~EFER_SVME;
    out->gdtr_limit = m->gdtr.limit;
    out->idtr_limit = m->idtr.limit;
    /* SDM 3C table 25-3: blocking by STI, blocking by NMI. */
    out->interruptibility = (u32)(m->int_state & INT_STATE_SHADOW) | (s->nmi_blocked ? 8 : 0);
}

void svm_vcpu_set_state(struct vcpu *v, const struct vcpu_state *in)
{
    struct svm_vcpu *s = svm_of(v);
    struct vmcb *m = s->vmcb;

    svm_vcpu_unload(v);
    for (u32 i = 0; i < ARRAY_LEN(words); i++)
        *word_at(m, words[i][1]) = *(const u64 *)((const u8 *)in + words[i][0]);
    for (u32 i = 0; i < SEG_COUNT; i++)
        *svm_vcpu_segment(m, i) = (struct vmcb_segment){
            in->seg[i].selector, attrib_of(in->seg[i].access), in->seg[i].limit, in->seg[i].base};
    m->cpl = in->seg[SEG_SS].access >> 5 & 3;
    m->efer |= EFER_SVME;
    m->cr4 &= v->vm->policy->cr4_allowed;
    m->tsc_offset = in->tsc_offset;
    m->gdtr.limit = in->gdtr_limit;
    m->idtr.limit = in->idtr_limit;
    m->int_state = in->interruptibility & 3 ? INT_STATE_SHADOW : 0;
    s->nmi_blocked = in->interruptibility & 8;
    svm_intercept(s, VMCB_X3, X3_IRET, s->nmi_blocked);
    s->stepping = s->nmi_iret = false;
    m->intercept[VMCB_EXCEPTION] = intercepts[VMCB_EXCEPTION] | (in->exceptions & ~NEVER_EXIT);
    memcpy(s->dr, in->dr, sizeof(s->dr));
    m->clean = 0;
    s->asid_generation = 0;
}

u64 svm_vcpu_get(struct vcpu *v, enum hvm_reg r)
{
    const struct vmcb *m = svm_of(v)->vmcb;

    if (r == HVM_CR0 || r == HVM_CR4)
        return r == HVM_CR0 ? m->cr0 : m->cr4;
    return r == HVM_CPL ? m->cpl : r == HVM_EFER ? m->efer & ~EFER_SVME : m->pat;
}

void svm_vcpu_set(struct vcpu *v, enum hvm_reg r, u64 value)
{
    struct vmcb *m = svm_of(v)->vmcb;

    if (r == HVM_EFER) {
        m->efer = value | EFER_SVME;
        svm_vcpu_flush_tlb(v); /* NXE changes what entries mean */
    } else {
        m->pat = value;
    }
    m->clean = 0;
}

void svm_vcpu_tsc_changed(struct vcpu *v)
{
    svm_of(v)->vmcb->tsc_offset = v->msrs.tsc_offset;
    svm_dirty(svm_of(v), CLEAN_INTERCEPTS);
    vlapic_deadline_moved(v); /* an armed deadline is a guest time */
}
