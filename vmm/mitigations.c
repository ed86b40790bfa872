/* The table of speculation mitigations; main.c applies it at start, `host info` shows it, the
 * policy of a VM asks what its guest may see.  Bits: SDM 4 table 2-2. */
#include "vmm/mitigations.h"

#include "control/rt/log.h"
#include "control/rt/sys.h"

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

static bool has(const struct host_info *h, u32 bit)
{
    return h->arch_capabilities >> bit & 1;
}

static bool no_enhanced_ibrs(const struct host_info *h)
{
    return !has(h, IBRS_ALL);
}

static bool always(const struct host_info *h)
{
    (void)h;
    return true;
}

/* With enhanced IBRS only the post-barrier fault of some CPUs is left. */
static bool return_stack(const struct host_info *h)
{
    return !(has(h, IBRS_ALL) && has(h, PBRSB_NO));
}

static bool l1_terminal_fault(const struct host_info *h)
{
    return !has(h, RDCL_NO) && !has(h, SKIP_L1DFL);
}

/* MDS, MMIO stale data, register file data sampling. */
static bool stale_buffers(const struct host_info *h)
{
    bool mmio = has(h, FB_CLEAR) && !(has(h, SBDR_SSDP_NO) && has(h, FBSDP_NO) && has(h, PSDP_NO));
    return !has(h, MDS_NO) || mmio || (has(h, RFDS_CLEAR) && !has(h, RFDS_NO));
}

static const struct {
    u32 use; /* SPECULATION_* */
    bool (*needed)(const struct host_info *h);
    const char *name, *note;
} rows[] = {
    {SPECULATION_RETPOLINE, no_enhanced_ibrs, "retpolines", "Spectre v2"},
    {SPECULATION_IBRS, always, "IBRS in the host", "Spectre v2"},
    {SPECULATION_IBPB, always, "IBPB between VMs", "Spectre v2"},
    {SPECULATION_RSB, return_stack, "return stack filled at exit", "Spectre RSB"},
    {SPECULATION_L1D, l1_terminal_fault, "L1D flush before entry", "L1TF"},
    {SPECULATION_VERW, stale_buffers, "VERW before entry", "MDS, MMIO, RFDS"},
    {SPECULATION_GUEST_CTRL, always, "IBRS, STIBP, SSBD for guests",
     "IA32_SPEC_CTRL, IA32_PRED_CMD"},
};

u32 mitigations_choose(const struct host_info *h, enum mitigations mode)
{
    u32 use = 0;

    for (u32 i = 0; i < ARRAY_LEN(rows) && mode != MITIGATIONS_OFF; i++)
        if ((h->speculation & rows[i].use) && (mode == MITIGATIONS_ALL || rows[i].needed(h)))
            use |= rows[i].use;
    return use;
}

bool mitigations_line(const struct host_info *h, u32 used, u32 i, struct feature_line *out)
{
    if (i >= ARRAY_LEN(rows))
        return false;
    *out = (struct feature_line){.name = rows[i].name};
    if (used & rows[i].use) {
        out->state = FEATURE_ACTIVE;
        out->note = rows[i].note;
    } else if (!(h->speculation & rows[i].use)) {
        out->state = FEATURE_ABSENT;
        out->note = "the CPU or its microcode has no means";
    } else {
        out->state = FEATURE_UNUSED;
        out->note = rows[i].needed(h) ? "mitigations: off" : "the CPU is not affected";
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

static u32 in_use;

void mitigations_apply(enum mitigations mode)
{
    u32 wanted = mitigations_choose(sys_host_info(), mode);
    i64 status = sys_speculation(wanted);

    in_use = status == HV_OK ? wanted : 0;
    if (status != HV_OK)
        log_warn("speculation mitigations are not in use: the kernel answered %d", (int)status);
}

u32 mitigations_used(void)
{
    return in_use;
}
