/* One vCPU on AMD-V: its VMCB, how it starts, its registers, its ASID. */
#pragma once

#include "kernel/svm.h"

#define SVM_NO_CPU (~0u)

struct svm_vcpu { /* v->vendor */
    struct vmcb *vmcb;
    hpa_t vmcb_pa;
    u32 cpu;             /* where the VMCB is cached and the ASID holds; SVM_NO_CPU: nowhere */
    u64 asid_generation; /* of vmcb->asid; 0: give it a fresh one */
    u64 dr[4];           /* DR0..DR3 while not in the CPU */
    int posted;          /* vector that waits in int_ctl, and in IRR until it is taken; or -1 */
    bool dr_loaded;      /* they are in the CPU and the guest uses them without an exit */
    bool nmi_blocked;    /* from the injection of an NMI to the end of IRET */
    bool nmi_iret;       /* that IRET, at iret_rip, is about to be executed */
    u64 iret_rip;
    bool stepping; /* RFLAGS.TF is ours, for one instruction: an NMI waits behind it */
    bool guest_tf; /* the guest's own TF meanwhile */
};

static inline struct svm_vcpu *svm_of(const struct vcpu *v)
{
    return v->vendor;
}
/* The CPU must read that group of fields again. */
static inline void svm_dirty(struct svm_vcpu *s, u32 group)
{
    s->vmcb->clean &= ~group;
}
static inline void svm_intercept(struct svm_vcpu *s, enum vmcb_intercept_word w, u32 bits, bool on)
{
    u32 old = s->vmcb->intercept[w], new = on ? old | bits : old & ~bits;
    if (new == old)
        return;
    s->vmcb->intercept[w] = new;
    svm_dirty(s, CLEAN_INTERCEPTS);
}

MUST_CHECK enum hv_status svm_vcpu_init(struct vcpu *v);
void svm_vcpu_reset(struct vcpu *v);

/* Own core, before entry: make this CPU's caches, ASID, debug registers and MSRs this vCPU's. */
void svm_vcpu_load(struct vcpu *v);
void svm_vcpu_unload(struct vcpu *v);
/* Own core: a fresh ASID, so that no translation from before holds. */
void svm_vcpu_flush_tlb(struct vcpu *v);
/* Own core: the guest uses its debug registers: let it have them. */
void svm_vcpu_load_debug(struct svm_vcpu *s);

void svm_vcpu_get_state(struct vcpu *v, struct vcpu_state *out);
void svm_vcpu_set_state(struct vcpu *v, const struct vcpu_state *in);
u64 svm_vcpu_get(struct vcpu *v, enum hvm_reg r);
void svm_vcpu_set(struct vcpu *v, enum hvm_reg r, u64 value);
void svm_vcpu_tsc_changed(struct vcpu *v);
void svm_vcpu_flush(struct vm *vm);
struct vmcb_segment *svm_vcpu_segment(struct vmcb *m, u32 index); /* enum vcpu_segment_index */
/* VMX access-rights format of the shared page. */
u32 svm_vcpu_access(const struct vmcb_segment *seg);
