/* The MSR policy of a VM; called by vm_run.c at start.  Pure.  Numbers: SDM 4, chapter 2;
 * AMD APM 2, appendix A. */
#include "vmm/msr.h"

#include "kernel/abi/x86_bits.h"
#include "vmm/pv_clock.h"

#define MSR_ARCH_CAPABILITIES 0x10a

/* MTRRs are only given back as written, since EPT decides: eight ranges, fixed ranges,
 * write-combining (SDM 3A 12.11).  All memory is write-back from the start, for kernels that are
 * loaded directly. */
#define MTRR_FIRST 0x200
#define MTRR_LAST 0x20f
#define MTRR_CAP 0x508
#define MTRR_DEF_ON 0x806
#define MTRR_ALL_WRITE_BACK 0x0606060606060606ull
#define MTRR_RANGE(n)                                                                              \
    {.first = 0x200 + 2 * (n),                                                                     \
     .last = 0x200 + 2 * (n),                                                                      \
     .kind = MSR_STORED,                                                                           \
     .mask = ~0xf00ull,                                                                            \
     .memory_types = 1},                                                                           \
    {                                                                                              \
        .first = 0x201 + 2 * (n), .last = 0x201 + 2 * (n), .kind = MSR_STORED, .mask = ~0x7ffull   \
    }
#define MTRR_FIXED(from, to)                                                                       \
    {                                                                                              \
        .first = from, .last = to, .kind = MSR_STORED, .value = MTRR_ALL_WRITE_BACK,               \
        .mask = ~0ull, .memory_types = 0xff                                                        \
    }

/* Sorted.  What is missing raises #GP, which kernels probe for. */
static const struct msr_row rows[] = {
    /* P5 machine check, read by old kernels */
    {.first = 0x0, .last = 0x1, .kind = MSR_IGNORE},
    /* IA32_PLATFORM_ID: read with the microcode revision */
    {.first = 0x17, .last = 0x17, .kind = MSR_CONST},
    /* IA32_FEATURE_CONTROL: locked, VMX and SGX off */
    {.first = 0x3a, .last = 0x3a, .kind = MSR_CONST, .value = 1},
    /* IA32_BIOS_UPDT_TRIG: the guest's microcode loader finds that nothing changed */
    {.first = 0x79, .last = 0x79, .kind = MSR_IGNORE},
    /* IA32_BIOS_SIGN_ID: kernels write 0, execute CPUID and read a revision */
    {.first = 0x8b, .last = 0x8b, .kind = MSR_IGNORE, .value = 0x100000000ull},
    /* MSR_PLATFORM_INFO: no CPUID faulting */
    {.first = 0xce, .last = 0xce, .kind = MSR_CONST},
    /* IA32_MTRRCAP */
    {.first = 0xfe, .last = 0xfe, .kind = MSR_CONST, .value = MTRR_CAP},
    {.first = MSR_ARCH_CAPABILITIES, .last = MSR_ARCH_CAPABILITIES},
    /* MSR_MISC_FEATURE_ENABLES: no CPUID faulting, no ring-3 MWAIT; kernels write 0 */
    {.first = 0x140, .last = 0x140, .kind = MSR_STORED},
    /* IA32_MCG_CAP: no machine-check banks; IA32_MCG_STATUS */
    {.first = 0x179, .last = 0x179, .kind = MSR_CONST},
    {.first = 0x17a, .last = 0x17a, .kind = MSR_STORED, .mask = 7},
    /* IA32_PERF_STATUS, IA32_PERF_CTL: no frequency control */
    {.first = 0x198, .last = 0x198, .kind = MSR_CONST},
    {.first = 0x199, .last = 0x199, .kind = MSR_IGNORE},
    /* IA32_MISC_ENABLE: fast strings, no BTS, no PEBS; what a guest switches off changes nothing */
    {.first = 0x1a0, .last = 0x1a0, .kind = MSR_STORED, .value = 0x1801, .mask = ~0ull},
    /* IA32_DEBUGCTL: no branch tracing */
    {.first = 0x1d9, .last = 0x1d9, .kind = MSR_IGNORE},
    MTRR_RANGE(0),
    MTRR_RANGE(1),
    MTRR_RANGE(2),
    MTRR_RANGE(3),
    MTRR_RANGE(4),
    MTRR_RANGE(5),
    MTRR_RANGE(6),
    MTRR_RANGE(7),
    MTRR_FIXED(0x250, 0x250),
    MTRR_FIXED(0x258, 0x259),
    MTRR_FIXED(0x268, 0x26f),
    /* IA32_MTRR_DEF_TYPE */
    {.first = 0x2ff,
     .last = 0x2ff,
     .kind = MSR_STORED,
     .value = MTRR_DEF_ON,
     .mask = 0xcff,
     .memory_types = 1},
    {.first = PV_CLOCK_WALL_MSR,
     .last = PV_CLOCK_TIME_MSR,
     .kind = MSR_STORED,
     .told = true,
     .mask = ~0ull},
    /* The place of a word of 32 bits */
    {.first = MSR_PV_EOI, .last = MSR_PV_EOI, .kind = MSR_STORED, .mask = ~2ull},
    /* AMD's, which kernels use without care for a fault.  The four old performance counters and
     * their selectors: Xen clears them; nothing counts */
    {.first = 0xc0010000, .last = 0xc0010007, .kind = MSR_IGNORE},
    /* SYSCFG: no fixed-range extensions, no
     * memory encryption */
    {.first = 0xc0010010, .last = 0xc0010010, .kind = MSR_CONST},
    /* HWCR: the TSC counts at the P0 rate; kernels set bits here for errata */
    {.first = 0xc0010015, .last = 0xc0010015, .kind = MSR_IGNORE, .value = 0x1000000},
    /* NB_CFG1; interrupt pending message: C1E is off */
    {.first = 0xc001001f, .last = 0xc001001f, .kind = MSR_IGNORE},
    {.first = 0xc0010055, .last = 0xc0010055, .kind = MSR_CONST},
    /* LS_CFG to DC_CFG: errata of families that this one is not */
    {.first = 0xc0011020, .last = 0xc0011022, .kind = MSR_IGNORE},
    /* DE_CFG: LFENCE serialises */
    {.first = 0xc0011029, .last = 0xc0011029, .kind = MSR_STORED, .value = 2, .mask = 2},
};
_Static_assert(ARRAY_LEN(rows) <= POLICY_MSR_MAX, "fits the policy");

void msr_policy(struct vm_policy *p, u32 phys_bits, const u64 *capabilities, bool pv_clock)
{
    p->msr_count = ARRAY_LEN(rows);
    for (u32 i = 0; i < ARRAY_LEN(rows); i++) {
        p->msr[i] = rows[i];
        if (rows[i].first >= MTRR_FIRST && rows[i].first <= MTRR_LAST)
            p->msr[i].mask &= BITS(phys_bits - 1, 0); /* SDM 3A 12.11.2.3: the rest is reserved */
        if ((rows[i].first == PV_CLOCK_WALL_MSR || rows[i].first == MSR_PV_EOI) && !pv_clock)
            p->msr[i].kind = MSR_FAULT;
        if (rows[i].first != MSR_ARCH_CAPABILITIES)
            continue;
        p->msr[i].kind = capabilities ? MSR_CONST : MSR_FAULT;
        p->msr[i].value = capabilities ? *capabilities : 0;
    }
}
