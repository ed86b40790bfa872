/* Builds the CPUID policy of a VM; called by vm_run.c at start.  Pure.  Leaves: SDM 2A, CPUID. */
#include "vmm/cpuid.h"

#include "vmm/pv_clock.h"

enum reg { EAX, EBX, ECX, EDX };
enum source {
    HOST,   /* if the host has it */
    ALWAYS, /* we supply it, whatever the host has */
};

struct feature {
    u32 leaf, subleaf;
    u8 reg, bit, source;
    const char *name, *reason;
};

/* What is not named here is not there.  Left out on purpose: VMX and SVM (no nesting), MONITOR
 * (MWAIT would hold the CPU), PMU and debug store (not virtualised), RTM/HLE (aborts at exits,
 * side channels), SGX, PT, PCID with INVPCID (no INVPCID control), PKU, AVX-512 and AMX (XCR0 is
 * kept to what the scheduler saves), XSAVES (IA32_XSS is not switched), microcode MSRs (not
 * virtualised), L1D flush by the guest (the host does it). */
static const struct feature features[] = {
    {1, 0, ECX, 0, HOST, "SSE3", "plain instructions"},
    {1, 0, ECX, 1, HOST, "PCLMULQDQ", "plain instruction"},
    {1, 0, ECX, 9, HOST, "SSSE3", "plain instructions"},
    {1, 0, ECX, 12, HOST, "FMA", "AVX state is switched"},
    {1, 0, ECX, 13, HOST, "CMPXCHG16B", "plain instruction"},
    {1, 0, ECX, 19, HOST, "SSE4.1", "plain instructions"},
    {1, 0, ECX, 20, HOST, "SSE4.2", "plain instructions"},
    {1, 0, ECX, 21, ALWAYS, "x2APIC", "the kernel's local APIC has it"},
    {1, 0, ECX, 22, HOST, "MOVBE", "plain instruction"},
    {1, 0, ECX, 23, HOST, "POPCNT", "plain instruction"},
    {1, 0, ECX, 24, ALWAYS, "TSC-deadline", "the kernel's local APIC timer has it"},
    {1, 0, ECX, 25, HOST, "AES", "plain instructions"},
    {1, 0, ECX, 26, HOST, "XSAVE", "XCR0 is switched a vCPU"},
    {1, 0, ECX, 28, HOST, "AVX", "AVX state is switched"},
    {1, 0, ECX, 29, HOST, "F16C", "AVX state is switched"},
    {1, 0, ECX, 30, HOST, "RDRAND", "plain instruction"},
    {1, 0, ECX, 31, ALWAYS, "hypervisor", "honesty: leaf 4000_0000H says who we are"},
    {1, 0, EDX, 0, HOST, "FPU", "state is switched"},
    {1, 0, EDX, 1, HOST, "VME", "the processor does it in VMX non-root"},
    {1, 0, EDX, 2, HOST, "DE", "debug registers are the guest's"},
    {1, 0, EDX, 3, HOST, "PSE", "the guest's own paging"},
    {1, 0, EDX, 4, HOST, "TSC", "offset by the VMCS"},
    {1, 0, EDX, 5, HOST, "MSR", "RDMSR and WRMSR by policy"},
    {1, 0, EDX, 6, HOST, "PAE", "the guest's own paging"},
    {1, 0, EDX, 7, HOST, "MCE", "no banks, so none comes"},
    {1, 0, EDX, 8, HOST, "CMPXCHG8B", "plain instruction"},
    {1, 0, EDX, 9, ALWAYS, "APIC", "the kernel's local APIC"},
    {1, 0, EDX, 11, HOST, "SYSENTER", "its MSRs are switched"},
    {1, 0, EDX, 12, HOST, "MTRR", "kept and given back; EPT decides the type"},
    {1, 0, EDX, 13, HOST, "PGE", "the guest's own paging"},
    {1, 0, EDX, 14, HOST, "MCA", "no banks"},
    {1, 0, EDX, 15, HOST, "CMOV", "plain instruction"},
    {1, 0, EDX, 16, HOST, "PAT", "its MSR is switched"},
    {1, 0, EDX, 17, HOST, "PSE-36", "the guest's own paging"},
    {1, 0, EDX, 19, HOST, "CLFLUSH", "plain instruction"},
    {1, 0, EDX, 23, HOST, "MMX", "state is switched"},
    {1, 0, EDX, 24, HOST, "FXSR", "state is switched"},
    {1, 0, EDX, 25, HOST, "SSE", "state is switched"},
    {1, 0, EDX, 26, HOST, "SSE2", "state is switched"},
    {1, 0, EDX, 27, HOST, "self-snoop", "a property of the caches"},
    {6, 0, EAX, 2, ALWAYS, "ARAT", "the local APIC timer never stops"},
    {7, 0, EBX, 0, HOST, "FSGSBASE", "bases are the guest's"},
    {7, 0, EBX, 1, ALWAYS, "TSC_ADJUST", "the kernel keeps it in the TSC offset"},
    {7, 0, EBX, 3, HOST, "BMI1", "plain instructions"},
    {7, 0, EBX, 5, HOST, "AVX2", "AVX state is switched"},
    {7, 0, EBX, 7, HOST, "SMEP", "the guest's own paging"},
    {7, 0, EBX, 8, HOST, "BMI2", "plain instructions"},
    {7, 0, EBX, 9, HOST, "ERMS", "faster string instructions; not in TCG"},
    {7, 0, EBX, 18, HOST, "RDSEED", "plain instruction"},
    {7, 0, EBX, 19, HOST, "ADX", "plain instructions"},
    {7, 0, EBX, 20, HOST, "SMAP", "the guest's own paging"},
    {7, 0, EBX, 23, HOST, "CLFLUSHOPT", "plain instruction"},
    {7, 0, EBX, 24, HOST, "CLWB", "plain instruction"},
    {7, 0, EBX, 29, HOST, "SHA", "plain instructions"},
    {7, 0, ECX, 2, HOST, "UMIP", "the processor does it in VMX non-root"},
    {7, 0, EDX, 4, HOST, "FSRM", "faster string instructions; not in TCG"},
    {7, 0, EDX, 10, HOST, "MD_CLEAR", "VERW clears buffers in a guest too"},
    {7, 0, EDX, 26, HOST, "IBRS and IBPB", "IA32_SPEC_CTRL is switched"},
    {7, 0, EDX, 27, HOST, "STIBP", "IA32_SPEC_CTRL is switched"},
    {7, 0, EDX, 29, HOST, "ARCH_CAPABILITIES", "bits that hold for guests"},
    {7, 0, EDX, 31, HOST, "SSBD", "IA32_SPEC_CTRL is switched"},
    {0xd, 1, EAX, 0, HOST, "XSAVEOPT", "XCR0 state only"},
    {0xd, 1, EAX, 1, HOST, "XSAVEC", "XCR0 state only"},
    {0xd, 1, EAX, 2, HOST, "XGETBV1", "XCR0 state only"},
    {0x80000001, 0, ECX, 0, HOST, "LAHF", "plain instruction"},
    {0x80000001, 0, ECX, 5, HOST, "LZCNT", "plain instruction"},
    {0x80000001, 0, ECX, 8, HOST, "PREFETCHW", "plain instruction"},
    {0x80000001, 0, EDX, 11, HOST, "SYSCALL", "its MSRs are switched"},
    {0x80000001, 0, EDX, 20, HOST, "NX", "EFER is switched"},
    {0x80000001, 0, EDX, 26, HOST, "1 GiB pages", "the guest's own paging"},
    {0x80000001, 0, EDX, 27, HOST, "RDTSCP", "TSC_AUX is switched"},
    {0x80000001, 0, EDX, 29, HOST, "long mode", "EFER is switched"},
    {0x80000007, 0, EDX, 8, HOST, "invariant TSC", "the offset never changes while it runs"},
};

bool cpuid_describe(u32 i, const char **name, const char **reason)
{
    if (i >= ARRAY_LEN(features))
        return false;
    *name = features[i].name;
    *reason = features[i].reason;
    return true;
}

#define XCR0_GUEST 7ull /* x87, SSE, AVX */
#define MAX_BASIC 0x16u
#define MAX_EXTENDED 0x80000008u
#define MAX_HYPERVISOR 0x40000010u

/* CR4 bits and the feature that allows them; leaf 0: always. */
static const struct {
    u8 bit;
    u32 leaf;
    u8 reg, feature_bit;
} cr4_bits[] = {
    {0, 1, EDX, 1},   /* VME */
    {1, 1, EDX, 1},   /* PVI */
    {2, 1, EDX, 4},   /* TSD */
    {3, 1, EDX, 2},   /* DE */
    {4, 1, EDX, 3},   /* PSE */
    {5, 1, EDX, 6},   /* PAE */
    {6, 1, EDX, 7},   /* MCE */
    {7, 1, EDX, 13},  /* PGE */
    {8, 0, 0, 0},     /* PCE: RDPMC is refused anyway */
    {9, 1, EDX, 24},  /* OSFXSR */
    {10, 1, EDX, 25}, /* OSXMMEXCPT */
    {11, 7, ECX, 2},  /* UMIP */
    {16, 7, EBX, 0},  /* FSGSBASE */
    {18, 1, ECX, 26}, /* OSXSAVE */
    {20, 7, EBX, 7},  /* SMEP */
    {21, 7, EBX, 20}, /* SMAP */
};

static u32 reg_of(const struct cpuid_regs *r, u8 reg)
{
    return reg == EAX ? r->eax : reg == EBX ? r->ebx : reg == ECX ? r->ecx : r->edx;
}

#define SPECULATION_BITS (1u << 26 | 1u << 27 | 1u << 31)
#define ERMS (1u << 9) /* EBX */
#define FSRM (1u << 4) /* EDX */

/* QEMU's TCG says so of itself, and has these bits, but moves a byte a turn where REP MOVSB was
 * chosen for them, and eight where REP MOVSQ is without. */
static bool slow_strings(const struct cpuid_host *host)
{
    return host->read(1, 0).ecx >> 31 && host->read(0x40000000, 0).ebx == 0x54474354; /* "TCGT" */
}

/* The allowed bits of one register. */
static u32 allowed(const struct cpuid_host *host, u32 leaf, u32 subleaf, enum reg reg)
{
    struct cpuid_regs h = host->read(leaf, subleaf);
    u32 bits = 0;
    if (leaf == 0x80000001 && host->hide_rdtscp)
        h.edx &= ~(1u << 27);
    if (leaf == 7 && subleaf == 0 && !host->speculation)
        h.edx &= ~SPECULATION_BITS;
    if (leaf == 7 && subleaf == 0 && !host->capabilities)
        h.edx &= ~(1u << 29);
    if (leaf == 7 && subleaf == 0 && slow_strings(host)) {
        h.ebx &= ~ERMS;
        h.edx &= ~FSRM;
    }
    for (u32 i = 0; i < ARRAY_LEN(features); i++) {
        const struct feature *f = &features[i];
        if (f->leaf != leaf || f->subleaf != subleaf || f->reg != reg)
            continue;
        if (f->source == ALWAYS || (reg_of(&h, f->reg) >> f->bit & 1))
            bits |= 1u << f->bit;
    }
    return bits;
}

static void add(struct vm_policy *p, u32 leaf, u32 subleaf, struct cpuid_regs r, u32 flags)
{
    if (p->cpuid_count >= POLICY_CPUID_MAX)
        return;
    p->cpuid[p->cpuid_count++] =
        (struct cpuid_row){leaf, subleaf, r.eax, r.ebx, r.ecx, r.edx, flags, 0};
}

static u32 log2_up(u32 n)
{
    u32 bits = 0;
    while ((1u << bits) < n)
        bits++;
    return bits;
}

/* Leaves 0 to 7: identity, caches.  Every vCPU is a core of one package. */
static void basic(struct vm_policy *p, const struct cpuid_host *host, u32 vcpus)
{
    struct cpuid_regs r = host->read(0, 0);
    u32 host_max = r.eax;
    r.eax = MAX_BASIC;
    add(p, 0, 0, r, 0);
    r = host->read(1, 0);
    add(p, 1, 0,
        (struct cpuid_regs){r.eax, (r.ebx & 0xff00) | vcpus << 16, allowed(host, 1, 0, ECX),
                            allowed(host, 1, 0, EDX) | (vcpus > 1 ? 1u << 28 : 0)},
        CPUID_APIC_ID | CPUID_CR4);
    if (host_max >= 2)
        add(p, 2, 0, host->read(2, 0), 0);
    for (u32 i = 0; host_max >= 4 && i < 8; i++) {
        r = host->read(4, i);
        if (!(r.eax & 0x1f))
            break;
        u32 level = r.eax >> 5 & 7;
        u32 sharing = level >= 3 ? (1u << log2_up(vcpus)) - 1 : 0;
        r.eax = (r.eax & 0x3fff) | sharing << 14 | (MIN(1u << log2_up(vcpus), 64u) - 1) << 26;
        add(p, 4, i, r, CPUID_SUBLEAF);
    }
    add(p, 6, 0, (struct cpuid_regs){.eax = allowed(host, 6, 0, EAX)}, 0);
    if (host_max < 7)
        return;
    add(p, 7, 0,
        (struct cpuid_regs){0, allowed(host, 7, 0, EBX), allowed(host, 7, 0, ECX),
                            allowed(host, 7, 0, EDX)},
        CPUID_SUBLEAF | CPUID_CR4);
}

static void topology(struct vm_policy *p, u32 vcpus)
{
    enum { SMT = 1 << 8, CORE = 2 << 8 };
    add(p, 0xb, 0, (struct cpuid_regs){0, 1, 0 | SMT, 0}, CPUID_SUBLEAF | CPUID_APIC_ID);
    add(p, 0xb, 1, (struct cpuid_regs){log2_up(vcpus), vcpus, 1 | CORE, 0},
        CPUID_SUBLEAF | CPUID_APIC_ID);
    add(p, 0xb, 2, (struct cpuid_regs){0, 0, 2, 0}, CPUID_SUBLEAF | CPUID_APIC_ID);
}

static void xsave(struct vm_policy *p, const struct cpuid_host *host)
{
    struct cpuid_regs h = host->read(0xd, 0), avx = host->read(0xd, 2);
    p->xcr0_allowed = 0;
    if (!(allowed(host, 1, 0, ECX) & 1u << 26))
        return;
    p->xcr0_allowed = h.eax & XCR0_GUEST;
    if (!(allowed(host, 1, 0, ECX) & 1u << 28))
        p->xcr0_allowed &= ~4ull;
    u32 size = 576; /* x87 and SSE with the XSAVE header */
    if (p->xcr0_allowed & 4)
        size = MAX(size, avx.eax + avx.ebx);
    add(p, 0xd, 0, (struct cpuid_regs){(u32)p->xcr0_allowed, size, size, 0},
        CPUID_SUBLEAF | CPUID_XSAVE_SIZE);
    add(p, 0xd, 1, (struct cpuid_regs){.eax = allowed(host, 0xd, 1, EAX)},
        CPUID_SUBLEAF | CPUID_XSAVE_SIZE);
    if (p->xcr0_allowed & 4)
        add(p, 0xd, 2, avx, CPUID_SUBLEAF);
}

/* Rates, so that guests need not measure them: kernel/abi/vm_policy.h. */
static void clocks(struct vm_policy *p, const struct cpuid_host *host)
{
    u32 mhz = (u32)((host->tsc_hz + 500000) / 1000000);
    if (host->tsc_hz <= 0xffffffffull)
        add(p, 0x15, 0, (struct cpuid_regs){1, 1, (u32)host->tsc_hz, 0}, 0);
    add(p, 0x16, 0, (struct cpuid_regs){mhz, mhz, 100, 0}, 0);
}

static void hypervisor(struct vm_policy *p, const struct cpuid_host *host)
{
    u32 khz = (u32)(host->tsc_hz / 1000);
    /* "BulkheadHV  " */
    add(p, 0x40000000, 0, (struct cpuid_regs){MAX_HYPERVISOR, 0x6b6c7542, 0x64616568, 0x20205648},
        0);
    /* Rates of the TSC and of the local APIC timer's clock, in kHz. */
    add(p, 0x40000010, 0, (struct cpuid_regs){khz, khz, 0, 0}, 0);
    if (!host->pv_clock)
        return;
    /* "KVMKVMKVM": whoever looks for that interface searches every 256th leaf. */
    add(p, 0x40000100, 0, (struct cpuid_regs){0x40000101, 0x4b4d564b, 0x564b4d56, 0x4d}, 0);
    add(p, 0x40000101, 0, (struct cpuid_regs){.eax = PV_CLOCK_FEATURES}, 0);
}

static void extended(struct vm_policy *p, const struct cpuid_host *host)
{
    u32 max = MIN(host->read(0x80000000, 0).eax, MAX_EXTENDED);
    add(p, 0x80000000, 0, (struct cpuid_regs){.eax = max}, 0);
    add(p, 0x80000001, 0,
        (struct cpuid_regs){0, 0, allowed(host, 0x80000001, 0, ECX),
                            allowed(host, 0x80000001, 0, EDX)},
        0);
    for (u32 leaf = 0x80000002; leaf <= 0x80000004 && leaf <= max; leaf++)
        add(p, leaf, 0, host->read(leaf, 0), 0);
    if (max >= 0x80000006)
        add(p, 0x80000006, 0, (struct cpuid_regs){.ecx = host->read(0x80000006, 0).ecx}, 0);
    if (max >= 0x80000007)
        add(p, 0x80000007, 0, (struct cpuid_regs){.edx = allowed(host, 0x80000007, 0, EDX)}, 0);
    if (max >= 0x80000008)
        add(p, 0x80000008, 0, (struct cpuid_regs){.eax = host->read(0x80000008, 0).eax & 0xffff},
            0);
}

static void cr4(struct vm_policy *p, const struct cpuid_host *host)
{
    p->cr4_allowed = 0;
    for (u32 i = 0; i < ARRAY_LEN(cr4_bits); i++) {
        u32 leaf = cr4_bits[i].leaf;
        if (leaf == 0 || (allowed(host, leaf, 0, cr4_bits[i].reg) >> cr4_bits[i].feature_bit & 1))
            p->cr4_allowed |= BIT(cr4_bits[i].bit);
    }
}

void cpuid_policy(struct vm_policy *p, const struct cpuid_host *host, u32 vcpus)
{
    p->cpuid_count = 0;
    basic(p, host, vcpus);
    topology(p, vcpus);
    xsave(p, host);
    clocks(p, host);
    hypervisor(p, host);
    extended(p, host);
    cr4(p, host);
}

struct cpuid_regs cpuid_native(u32 leaf, u32 subleaf)
{
    struct cpuid_regs r;
    __asm__ volatile("cpuid"
                     : "=a"(r.eax), "=b"(r.ebx), "=c"(r.ecx), "=d"(r.edx)
                     : "a"(leaf), "c"(subleaf));
    return r;
}
