/* What the kernel can do against speculation across the border of a guest; the control partition
 * chooses (vmm/mitigations.c). */
#pragma once

/* Argument of SYS_SPECULATION.  Plain numbers: assembly tests them too. */
#define SPECULATION_GUEST_CTRL 1 /* guests have IA32_SPEC_CTRL and IA32_PRED_CMD */
#define SPECULATION_IBRS 2       /* indirect branches of the host are restricted */
#define SPECULATION_RSB 4        /* the return stack buffer is filled after an exit */
#define SPECULATION_IBPB 8       /* barrier when a CPU enters another VM than before */
#define SPECULATION_L1D 16       /* the L1 data cache is flushed before an entry */
#define SPECULATION_VERW 32      /* buffers of the CPU are cleared before an entry */
#define SPECULATION_RETPOLINE 64 /* indirect branches of the kernel are not predicted */
