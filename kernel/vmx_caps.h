/* Which VT-x controls and features are used on this machine: a pure function of capability MSRs.
 *
 * vmx.c reads the MSRs; unit tests replay recorded ones.  SDM 3D appendix A. */
#pragma once

#include "kernel/abi/host_info.h"
#include "kernel/abi/speculation.h"
#include "kernel/abi/vmx_bits.h"
/* All four or none: one model of each kind of local APIC. */
#define PROC2_APICV                                                                                \
    (PROC2_APIC_ACCESS | PROC2_X2APIC | PROC2_APIC_REGISTERS | PROC2_VIRTUAL_DELIVERY)

struct vmx_msrs { /* raw capability MSRs of one CPU; absent ones are 0 */
    u64 word[VMX_WORDS];
    u64 cr0_fixed0, cr0_fixed1, cr4_fixed0, cr4_fixed1;
};

struct vmx_caps {
    u64 word[VMX_WORDS]; /* controls: the value to write; others: bits in use */
    bool apicv;      /* APIC-register virtualisation and virtual-interrupt delivery, both modes */
    u32 timer_shift; /* the preemption timer counts TSC >> this */
    u32 revision;    /* VMCS revision identifier */
    u64 cr0_must, cr0_may; /* guest CR0: with unrestricted guest, so PE and PG are free */
    u64 cr4_must, cr4_may;
    bool insn_info;
};

/* Solve.  used, lacking: as in host_info.  False: no guests. */
bool vmx_caps_solve(const struct vmx_msrs *m, struct vmx_caps *out, u64 used[VMX_WORDS],
                    u64 lacking[VMX_WORDS]);
/* SPECULATION_* that CPUID 7.0 EDX gives means for. */
u32 vmx_caps_speculation(u32 edx);
/* May a CPU with these MSRs run what was solved on the boot CPU? */
bool vmx_caps_fit(const struct vmx_caps *c, const struct vmx_msrs *m);
