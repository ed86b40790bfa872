/* CPUID and MSR policy of one VM: tables that the control partition fills and the kernel obeys.
 * A leaf or MSR that no row names reads as zero (CPUID) or raises #GP (MSR) and is counted.
 *
 * Time as the guest is told it (CPUID 15H): the input clock of the local APIC's timer, before its
 * divider, ticks at the rate of the TSC (the "crystal" is the TSC). */
#pragma once

#include "kernel/abi/types.h"

#define POLICY_CPUID_MAX 64
#define POLICY_MSR_MAX 48

/* cpuid_row.flags: what the kernel fills in at the exit, because only it knows. */
#define CPUID_SUBLEAF BIT(0)    /* row holds for this ECX only; else for every ECX */
#define CPUID_APIC_ID BIT(1)    /* 1H: EBX[31:24]; BH, 1FH: EDX = x2APIC id of the vCPU */
#define CPUID_CR4 BIT(2)        /* 1H: OSXSAVE from CR4; 7H: OSPKE from CR4 */
#define CPUID_XSAVE_SIZE BIT(3) /* DH.0/DH.1: EBX follows the guest's XCR0 | XSS */

struct cpuid_row { /* sorted by (leaf, subleaf) */
    u32 leaf, subleaf;
    u32 eax, ebx, ecx, edx;
    u32 flags;
    u32 pad;
};

enum msr_kind {
    MSR_FAULT,  /* #GP on both */
    MSR_CONST,  /* reads `value`; writes raise #GP */
    MSR_IGNORE, /* reads `value`; writes are dropped */
    MSR_STORED, /* a private copy a vCPU, initially `value` and at power-up again; bits
                 * outside `mask` must stay zero */
};

struct msr_row { /* sorted by first; MSRs the kernel virtualises itself (EFER, APIC, TSC, ...) may
                  * not be named */
    u32 first, last; /* inclusive; STORED: a place for each */
    u8 kind;         /* enum msr_kind */
    u8 memory_types; /* STORED: bit n: byte n must be a memory type, SDM 3A table 12-8 */
    u16 slot;        /* the kernel's */
    u32 told;        /* STORED: each write is an EXIT_MSR, after it was done */
    u64 value, mask;
};

#define POLICY_NO_APICV BIT(0) /* the local APIC in software, whatever the CPU offers */
#define POLICY_FLAGS POLICY_NO_APICV

struct vm_policy {
    u32 cpuid_count, msr_count;
    u64 flags;
    u64 xcr0_allowed; /* bits the guest may set; the kernel masks with the host's */
    u64 cr4_allowed;
    struct cpuid_row cpuid[POLICY_CPUID_MAX];
    struct msr_row msr[POLICY_MSR_MAX];
};

_Static_assert(sizeof(struct vm_policy) <= 4096, "the kernel keeps it in one frame");

#define VM_STORED_MSRS 40 /* MSRs in MSR_STORED rows of a VM */
