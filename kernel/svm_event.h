/* Events into the guest on AMD-V: the only writer of VMCB.EVENTINJ, windows, single steps. */
#pragma once

#include "kernel/svm_vcpu.h"

void svm_exception(struct vcpu *v, u32 vector, bool has_error, u32 error);
void svm_interrupt(struct vcpu *v, u32 vector);
bool svm_interrupts_open(struct vcpu *v); /* one could be injected now */
/* After an exit, before anything looks at the local APIC: was the interrupt that waited taken?  And
 * if the exit came while an event was being delivered: deliver it again at the next entry. */
void svm_settle(struct vcpu *v);
/* The instruction that exited is done. */
void svm_skip(struct vcpu *v, u64 bytes);
/* #DB exit: true when it was a step of ours and the guest must not see it. */
bool svm_step_done(struct vcpu *v);
enum hvm_events svm_take_events(struct vcpu *v);

/* EOI without an exit, in KVM's form (Linux, Documentation/virt/kvm/x86/msr.rst,
 * MSR_KVM_PV_EOI_EN): while the guest runs, bit 0 of the word that MSR_PV_EOI names says that
 * clearing it does for the interrupt in service, or for the one that waits to be.  At every other
 * time it is clear, so that nobody but svm_exit.c has to know.  Own core, interrupts off from the
 * first call to the second. */
/* Before VMRUN.  NULL: not offered, since an EOI has to exit, or the word is not in RAM. */
u32 *svm_offer_eoi(struct vcpu *v);
/* After it and svm_settle(). */
void svm_take_eoi(struct vcpu *v, u32 *word);
