/* Which speculation controls a CPU needs and offers, by its own words; and what is in use. */
#pragma once

#include "kernel/abi/host_info.h"
#include "kernel/abi/speculation.h"
#include "vmm/features.h"

/* The key `mitigations`: what the CPU needs, none, all that it offers. */
enum mitigations { MITIGATIONS_AUTO, MITIGATIONS_OFF, MITIGATIONS_ALL };

/* Pure: the argument of SYS_SPECULATION. */
u32 mitigations_choose(const struct host_info *h, enum mitigations mode);
/* Pure: the i-th line of `host info` about them; used: what was chosen.  False past the end. */
bool mitigations_line(const struct host_info *h, u32 used, u32 i, struct feature_line *out);
/* Pure: what a guest reads from IA32_ARCH_CAPABILITIES: bits that hold for it too. */
u64 mitigations_guest_capabilities(u64 capable);

/* Once, before any VM is made, and again after a restart: makes the kernel do it. */
void mitigations_apply(enum mitigations mode);
u32 mitigations_used(void);
