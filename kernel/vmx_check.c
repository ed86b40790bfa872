/* Says which guest-state check of SDM 3C 27.3.1 the current VMCS fails; called after a refused
 * entry, on the vCPU's own core. */
#include "kernel/vmx_check.h"

#include "kernel/exit_decode.h"
#include "kernel/lib/fmt.h"
#include "kernel/x86.h"

#define CR0_PE BIT(0)
#define EFER_LMA BIT(10)
#define RFLAGS_VM BIT(17)
#define RFLAGS_RESERVED (~BITS(21, 0) | BIT(15) | BIT(5) | BIT(3))

/* Access rights: SDM 3C table 25-2. */
#define ACCESS_TYPE BITS(3, 0)
#define ACCESS_S BIT(4)
#define ACCESS_DPL BITS(6, 5)
#define ACCESS_P BIT(7)
#define ACCESS_L BIT(13)
#define ACCESS_DB BIT(14)
#define ACCESS_G BIT(15)
#define ACCESS_UNUSABLE BIT(16)
#define ACCESS_RESERVED (BITS(31, 17) | BITS(11, 8))

struct guest { /* what several checks need */
    u64 cr0, cr4, efer, rflags;
    bool ia32e, v86;
};

/* Each check returns NULL, or which rule is broken. */
static const char *check_control(const struct guest *g)
{
    u64 cr3 = vmcs_read(VMCS_GUEST_CR3);

    if ((g->cr0 & vmx_caps.cr0_must) != vmx_caps.cr0_must || (g->cr0 & ~vmx_caps.cr0_may))
        return "CR0 has a bit VMX does not allow";
    if ((g->cr0 & CR0_PG) && !(g->cr0 & CR0_PE))
        return "CR0.PG without CR0.PE";
    if ((g->cr4 & vmx_caps.cr4_must) != vmx_caps.cr4_must || (g->cr4 & ~vmx_caps.cr4_may))
        return "CR4 has a bit VMX does not allow";
    if (g->ia32e && (!(g->cr0 & CR0_PG) || !(g->cr4 & CR4_PAE)))
        return "IA-32e mode without CR0.PG and CR4.PAE";
    if (!g->ia32e && (g->cr4 & CR4_PCIDE))
        return "CR4.PCIDE outside IA-32e mode";
    if (cr3 >> 52)
        return "CR3 is beyond physical addresses";
    if (vmcs_read(VMCS_GUEST_DR7) >> 32)
        return "DR7 bits 63:32";
    if (!canonical(vmcs_read(VMCS_GUEST_SYSENTER_ESP)) ||
        !canonical(vmcs_read(VMCS_GUEST_SYSENTER_EIP)))
        return "SYSENTER_ESP or SYSENTER_EIP is not canonical";
    if (g->efer & ~(EFER_SCE | EFER_LME | EFER_LMA | EFER_NXE))
        return "EFER has a reserved bit";
    if (!!(g->efer & EFER_LMA) != g->ia32e)
        return "EFER.LMA differs from the IA-32e mode control";
    if ((g->cr0 & CR0_PG) && !(g->efer & EFER_LMA) != !(g->efer & EFER_LME))
        return "EFER.LMA differs from EFER.LME";
    return NULL;
}

static const char *check_rights(u32 i, u64 access, u64 limit, const struct guest *g)
{
    u64 type = FIELD_GET(ACCESS_TYPE, access), dpl = FIELD_GET(ACCESS_DPL, access);
    bool code = i == SEG_CS, system = i == SEG_TR || i == SEG_LDTR;

    if (code && type != 3 && (type & 9) != 9)
        return "type of CS";
    if (i == SEG_SS && type != 3 && type != 7)
        return "type of SS";
    if (i == SEG_TR && type != 11 && (type != 3 || g->ia32e))
        return "type of TR";
    if (i == SEG_LDTR && type != 2)
        return "type of LDTR";
    if (!code && !system && (!(type & 1) || (type & 0xa) == 8))
        return "type of a data segment";
    if (!(access & ACCESS_S) != system)
        return "S bit";
    if (code && type == 3 && dpl)
        return "DPL of CS";
    if (i == SEG_SS && (!(g->cr0 & CR0_PE)) && dpl)
        return "DPL of SS";
    if (!(access & ACCESS_P))
        return "P bit";
    if (access & ACCESS_RESERVED)
        return "reserved access rights";
    if (code && g->ia32e && (access & ACCESS_L) && (access & ACCESS_DB))
        return "CS.L with CS.D";
    if (((access & ACCESS_G) && (limit & 0xfff) != 0xfff) || (!(access & ACCESS_G) && limit >> 20))
        return "limit against G";
    return NULL;
}

static const char *check_segment(u32 i, const struct guest *g)
{
    u64 access = vmread(VMCS_SEG(VMCS_GUEST_ES_ACCESS, i));
    u64 base = vmread(VMCS_SEG(VMCS_GUEST_ES_BASE, i));
    u64 limit = vmread(VMCS_SEG(VMCS_GUEST_ES_LIMIT, i));
    u64 selector = vmread(VMCS_SEG(VMCS_GUEST_ES, i));
    bool usable = !(access & ACCESS_UNUSABLE);

    if (g->v86 && i != SEG_TR && i != SEG_LDTR)
        return base == selector << 4 && limit == 0xffff && access == 0xf3 ? NULL : "virtual-8086";
    if (i == SEG_CS || i == SEG_TR || usable) {
        if (i == SEG_TR && !usable)
            return "TR is unusable";
        const char *why = check_rights(i, access, limit, g);
        if (why)
            return why;
        if ((i == SEG_TR || i == SEG_LDTR) && (selector & 4))
            return "TI bit of the selector";
        if ((i < SEG_FS || i == SEG_CS) && base >> 32)
            return "base above 4 GiB";
    }
    return (i < SEG_FS || canonical(base)) ? NULL : "base is not canonical";
}

static const char *check_execution(const struct guest *g)
{
    u64 rip = vmcs_read(VMCS_GUEST_RIP), blocked = vmcs_read32(VMCS_GUEST_INTERRUPTIBILITY);
    u32 inject = vmcs_read32(VMCS_ENTRY_INTR_INFO);
    bool code64 = g->ia32e && (vmcs_read32(VMCS_GUEST_CS_ACCESS) & ACCESS_L);

    if (!canonical(vmcs_read(VMCS_GUEST_GDTR_BASE)) || !canonical(vmcs_read(VMCS_GUEST_IDTR_BASE)))
        return "base of GDTR or IDTR is not canonical";
    if (vmcs_read32(VMCS_GUEST_GDTR_LIMIT) >> 16 || vmcs_read32(VMCS_GUEST_IDTR_LIMIT) >> 16)
        return "limit of GDTR or IDTR";
    if (code64 ? !canonical(rip) : rip >> 32)
        return "RIP is not an address of this mode";
    if ((g->rflags & RFLAGS_RESERVED) || !(g->rflags & RFLAGS_FIXED))
        return "reserved bits of RFLAGS";
    if (g->v86 && (g->ia32e || !(g->cr0 & CR0_PE)))
        return "RFLAGS.VM in this mode";
    if (blocked & ~0x1full || (blocked & 3) == 3 || ((blocked & 1) && !(g->rflags & RFLAGS_IF)))
        return "interruptibility state";
    if ((inject & INTR_VALID) && FIELD_GET(INTR_TYPE, inject) == INTR_EXTERNAL &&
        (!(g->rflags & RFLAGS_IF) || (blocked & 3)))
        return "external interrupt injected while blocked";
    if ((inject & INTR_VALID) && FIELD_GET(INTR_TYPE, inject) == INTR_NMI && (blocked & 10))
        return "NMI injected while blocked";
    if (vmcs_read32(VMCS_GUEST_ACTIVITY) > 3)
        return "activity state";
    if ((blocked & 3) && (g->rflags & RFLAGS_TF) &&
        !(vmcs_read(VMCS_GUEST_PENDING_DEBUG) & BIT(14)))
        return "pending debug exceptions against RFLAGS.TF";
    return NULL;
}

static const char *const segment_names[SEG_COUNT] = {
    [SEG_ES] = "ES", [SEG_CS] = "CS", [SEG_SS] = "SS",     [SEG_DS] = "DS",
    [SEG_FS] = "FS", [SEG_GS] = "GS", [SEG_LDTR] = "LDTR", [SEG_TR] = "TR",
};

void vmx_check(char *text, u64 len)
{
    struct guest g = {
        .cr0 = vmcs_read(VMCS_GUEST_CR0),
        .cr4 = vmcs_read(VMCS_GUEST_CR4),
        .efer = vmcs_read64(VMCS_GUEST_EFER),
        .rflags = vmcs_read(VMCS_GUEST_RFLAGS),
        .ia32e = vmcs_read32(VMCS_ENTRY_CONTROLS) & ENTRY_IA32E,
    };
    const char *why = check_control(&g);
    const char *segment = "";

    g.v86 = g.rflags & RFLAGS_VM;
    for (u32 i = 0; i < SEG_COUNT && !why; i++) {
        why = check_segment(i, &g);
        segment = why ? segment_names[i] : "";
    }
    if (!why)
        why = check_execution(&g);
    fmt_snprintf(text, len, "%s%s%s", segment, *segment ? ": " : "",
                 why ? why : "no guest-state check of the auditor fails");
}
