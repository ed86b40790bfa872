/* The table of speculation mitigations; main.c applies it at start, `host info` shows it, the
 * policy of a VM asks what its guest may see.  Bits: SDM 4 table 2-2, SDM 2A CPUID leaf 7. */
#include "vmm/mitigations.h"

#include "control/rt/log.h"
#include "control/rt/sys.h"
#include "vmm/cpuid.h"

enum { /* of IA32_ARCH_CAPABILITIES */
       RDCL_NO = 0,
       IBRS_ALL = 1,
       RSBA = 2,
       SKIP_L1DFL = 3,
       SSB_NO = 4,
       MDS_NO = 5,
       IF_PSCHANGE_MC_NO = 6,
       TAA_NO = 8,
       SBDR_SSDP_NO = 13,
       FBSDP_NO = 14,
       PSDP_NO = 15,
       FB_CLEAR = 17,
       BHI_NO = 20,
       PBRSB_NO = 24,
       GDS_NO = 26,
       RFDS_NO = 27,
       RFDS_CLEAR = 28,
};

static bool has(const struct mitigation_words *w, u32 bit)
{
    return w->capable >> bit & 1;
}

static bool no_enhanced_ibrs(const struct mitigation_words *w)
{
    return !has(w, IBRS_ALL);
}

static bool always(const struct mitigation_words *w)
{
    (void)w;
    return true;
}

/* With enhanced IBRS only the post-barrier fault of some CPUs is left. */
static bool return_stack(const struct mitigation_words *w)
{
    return !(has(w, IBRS_ALL) && has(w, PBRSB_NO));
}

static bool l1_terminal_fault(const struct mitigation_words *w)
{
    return !has(w, RDCL_NO) && !has(w, SKIP_L1DFL);
}

/* MDS, MMIO stale data, register file data sampling. */
static bool stale_buffers(const struct mitigation_words *w)
{
    bool mmio = has(w, FB_CLEAR) && !(has(w, SBDR_SSDP_NO) && has(w, FBSDP_NO) && has(w, PSDP_NO));
    return !has(w, MDS_NO) || mmio || (has(w, RFDS_CLEAR) && !has(w, RFDS_NO));
}

#define CODE 32  /* code alone, on any CPU */
#define NEVER 33 /* not done there */
#define AMD_IBPB 12
#define LEAF7_MD_CLEAR 10
#define LEAF7_IBRS_IBPB 26
#define LEAF7_FLUSH_CMD 28

static const struct {
    u32 use;  /* SPECULATION_* */
    u8 leaf7; /* CPUID 7.0 EDX bit that tells of the means on VT-x, or CODE */
    u8 amd;   /* the same of 8000_0008H EBX on AMD-V, or CODE or NEVER */
    bool (*needed)(const struct mitigation_words *w);
    const char *name, *note;
} rows[] = {
    {SPECULATION_RETPOLINE, CODE, CODE, no_enhanced_ibrs, "retpolines", "Spectre v2"},
    {SPECULATION_IBRS, LEAF7_IBRS_IBPB, NEVER, always, "IBRS in the host", "Spectre v2"},
    {SPECULATION_IBPB, LEAF7_IBRS_IBPB, AMD_IBPB, always, "IBPB between VMs", "Spectre v2"},
    {SPECULATION_RSB, LEAF7_IBRS_IBPB, CODE, return_stack, "return stack filled at exit",
     "Spectre RSB"},
    {SPECULATION_L1D, LEAF7_FLUSH_CMD, NEVER, l1_terminal_fault, "L1D flush before entry", "L1TF"},
    {SPECULATION_VERW, LEAF7_MD_CLEAR, NEVER, stale_buffers, "VERW before entry",
     "MDS, MMIO, RFDS"},
    {SPECULATION_GUEST_CTRL, LEAF7_IBRS_IBPB, NEVER, always, "IBRS, STIBP, SSBD for guests",
     "IA32_SPEC_CTRL, IA32_PRED_CMD"},
};

static bool possible(const struct mitigation_words *w, u32 i)
{
    if (rows[i].leaf7 == CODE || (w->svm && rows[i].amd == CODE))
        return true;
    return (w->vmx && (w->leaf7 >> rows[i].leaf7 & 1)) ||
           (w->svm && rows[i].amd < CODE && (w->amd >> rows[i].amd & 1));
}

u32 mitigations_choose(const struct mitigation_words *w, enum mitigations mode)
{
    u32 use = 0;

    for (u32 i = 0; i < ARRAY_LEN(rows) && mode != MITIGATIONS_OFF; i++)
        if (possible(w, i) && (mode == MITIGATIONS_ALL || rows[i].needed(w)))
            use |= rows[i].use;
    return use;
}

bool mitigations_line(const struct mitigation_words *w, u32 used, u32 i, struct feature_line *out)
{
    if (i >= ARRAY_LEN(rows))
        return false;
    *out = (struct feature_line){.name = rows[i].name};
    if (used & rows[i].use) {
        out->state = FEATURE_ACTIVE;
        out->note = rows[i].note;
    } else if (!possible(w, i)) {
        out->state = FEATURE_ABSENT;
        out->note = w->vmx || rows[i].amd != NEVER ? "the CPU or its microcode has no means"
                                                   : "done on VT-x only";
    } else {
        out->state = FEATURE_UNUSED;
        out->note = rows[i].needed(w) ? "mitigations: off" : "the CPU is not affected";
    }
    return true;
}

u64 mitigations_guest_capabilities(u64 capable)
{
    u64 hold = BIT(RDCL_NO) | BIT(IBRS_ALL) | BIT(RSBA) | BIT(SSB_NO) | BIT(MDS_NO) |
               BIT(IF_PSCHANGE_MC_NO) | BIT(TAA_NO) | BIT(SBDR_SSDP_NO) | BIT(FBSDP_NO) |
               BIT(PSDP_NO) | BIT(FB_CLEAR) | BIT(BHI_NO) | BIT(PBRSB_NO) | BIT(GDS_NO) |
               BIT(RFDS_NO) | BIT(RFDS_CLEAR);
    return (capable & hold) | BIT(SKIP_L1DFL); /* the host flushes where need be */
}

struct mitigation_words mitigations_words(const struct host_info *h)
{
    u32 leaf7 = cpuid_native(0, 0).eax >= 7 ? cpuid_native(7, 0).edx : 0;

    bool works = h->hvm_problem == HOST_HVM_WORKS, svm = h->hvm == HOST_HVM_SVM;
    u32 amd = svm ? cpuid_native(0x80000008, 0).ebx : 0;

    return (struct mitigation_words){works && h->hvm == HOST_HVM_VMX, leaf7, h->arch_capabilities,
                                     works && svm, amd};
}

static u32 in_use;

void mitigations_apply(enum mitigations mode)
{
    struct mitigation_words w = mitigations_words(sys_host_info());
    u32 wanted = mitigations_choose(&w, mode);
    i64 status = sys_speculation(wanted);

    in_use = status == HV_OK ? wanted : 0;
    if (status != HV_OK)
        log_warn("speculation mitigations are not in use: the kernel answered %d", (int)status);
}

u32 mitigations_used(void)
{
    return in_use;
}
