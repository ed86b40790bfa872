/* Exit messages to the control partition and their answers; VMCS loaded. */
#ifndef BULKHEAD_KERNEL_VMX_MESSAGE_H
#define BULKHEAD_KERNEL_VMX_MESSAGE_H

#include "kernel/vmx.h"

void vmx_fill_page(struct vcpu *v); /* what every full message tells */
/* The vCPU stops for good; `format` is why, for its log. */
void vmx_stop(struct vcpu *v, enum exit_kind kind, const char *format, ...) PRINTF_LIKE(3, 4);
void vmx_complete_exit(struct vcpu *v);

#endif
