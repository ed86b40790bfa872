/* Events into the guest. */
#pragma once

#include "kernel/vmx.h"

void vmx_exception(struct vcpu *v, u32 vector, bool has_error, u32 error);
void vmx_fault(u32 vector); /* with error code 0, at an exit that cut no event short */
void vmx_inject(struct vcpu *v, u32 info, u32 error);
void vmx_reinject(struct vcpu *v, u32 vectoring); /* an event was cut short by this exit */
/* An intercepted exception is noted and goes on to the guest.  False: it was a triple fault. */
bool vmx_reflect(struct vcpu *v, u32 info);
void vmx_interrupt(struct vcpu *v, u32 vector);
bool vmx_interrupts_open(struct vcpu *v); /* one could be injected now */
enum hvm_events vmx_take_events(struct vcpu *v);
