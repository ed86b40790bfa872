/* The run loop of AMD-V vCPUs and its exits. */
#pragma once

#include "kernel/svm_vcpu.h"

void svm_run(struct vcpu *v) NORETURN;  /* svm_enter.S: on an empty stack, svm_loop() */
void svm_loop(struct vcpu *v) NORETURN; /* enter, exit, until the scheduler is wanted */
/* svm_enter.S.  GIF=0 on entry, GIF=1 and IF=0 on return. */
void svm_enter(u64 vmcb, u64 *regs, u64 host_area, struct vcpu *v);
/* Called by it between VM exit and VMSAVE: GIF=0, and FS, GS, TR, LDTR and the system-call MSRs are
 * still the guest's, so there is no this_cpu().  True: the exit is served, enter again. */
bool svm_fast(struct vcpu *v);

void svm_fill_page(struct vcpu *v); /* what every message says */
