/* Speculation controls at the border between host and guest. */
#pragma once

#include "kernel/abi/speculation.h"
#include "kernel/vcpu.h"

#define MSR_SPEC_CTRL 0x48u
#define MSR_PRED_CMD 0x49u

extern u32 speculation_used;       /* SPECULATION_*; changes while there is no VM only */
extern u64 speculation_guest_ctrl; /* bits of IA32_SPEC_CTRL that guests may set */

/* SYS_SPECULATION.  HV_EINVAL: this CPU lacks the means; HV_EBUSY: there are VMs. */
i64 speculation_set(const u64 args[6]);
u64 speculation_exit_entry(void); /* HOST_RIP */
/* Before an entry, IF=0; on VT-x from sites in vmx_enter.S that are patched for it. */
void speculation_enter(void);
