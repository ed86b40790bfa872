/* From VM exit to VM entry.  vmx_enter.S calls the first two, on an empty stack. */
#pragma once

#include "kernel/exit.h"
#include "kernel/vmx.h"

void vmx_exit(struct cpu *c, struct vcpu *v, u32 todo); /* enum vmx_todo */
void vmx_entry_refused(struct cpu *c, struct vcpu *v) NORETURN;
void vmx_run(struct vcpu *v) NORETURN; /* hvm->run */
