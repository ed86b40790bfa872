/* Explains refused VM entries. */
#ifndef BULKHEAD_KERNEL_VMX_CHECK_H
#define BULKHEAD_KERNEL_VMX_CHECK_H

#include "kernel/vmx.h"

/* The first guest-state check (SDM 3C 27.3) that the current VMCS fails, into text. */
void vmx_check(char *text, u64 len);

#endif
