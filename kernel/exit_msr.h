/* RDMSR and WRMSR: what the kernel virtualises itself, then the VM's policy rows, else #GP.
 * The exits themselves, exit_rdmsr and exit_wrmsr, are declared in exit.h. */
#pragma once

#include "kernel/exit.h"

void exit_msr_policy_init(struct vm *vm); /* vm->msr_filter, places of MSR_STORED rows */
void exit_msr_reset(struct vcpu *v, bool init);
