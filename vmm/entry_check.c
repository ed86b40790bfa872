/* Says which guest-state check of VM entry a state fails; called by failure.c when the CPU refused
 * to enter, on the event loop. */
#include "vmm/entry_check.h"
#include "kernel/abi/x86_bits.h"

#include <stdio.h>

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

/* Entry interruption information: SDM 3C table 25-17. */
#define EVENT_VALID BIT(31)
#define EVENT_TYPE BITS(10, 8)
enum { EVENT_EXTERNAL = 0, EVENT_NMI = 2 };

/* Interruptibility state: SDM 3C table 25-3. */
#define BLOCKED_STI BIT(0)
#define BLOCKED_STI_MOVSS BITS(1, 0)
#define BLOCKED_MOVSS_NMI (BIT(1) | BIT(3))

struct check { /* checks in the order of the manual; the first that is broken counts */
    bool broken;
    const char *rule;
};

static const char *first_broken(const struct check *checks, u32 count)
{
    for (u32 i = 0; i < count; i++)
        if (checks[i].broken)
            return checks[i].rule;
    return NULL;
}

static bool canonical(u64 a)
{
    return (u64)((i64)(a << 16) >> 16) == a;
}

static bool ia32e(const struct vcpu_state *s)
{
    return s->efer & EFER_LMA;
}

static const char *check_control(const struct vcpu_state *s)
{
    const struct check checks[] = {
        {s->cr0 >> 32, "CR0 bits 63:32"},
        {(s->cr0 & CR0_PG) && !(s->cr0 & CR0_PE), "CR0.PG without CR0.PE"},
        {ia32e(s) && (!(s->cr0 & CR0_PG) || !(s->cr4 & CR4_PAE)),
         "IA-32e mode without CR0.PG and CR4.PAE"},
        {!ia32e(s) && (s->cr4 & CR4_PCIDE), "CR4.PCIDE outside IA-32e mode"},
        {s->cr3 >> 52, "CR3 is beyond physical addresses"},
        {s->dr[7] >> 32, "DR7 bits 63:32"},
        {!canonical(s->sysenter_esp) || !canonical(s->sysenter_eip),
         "SYSENTER_ESP or SYSENTER_EIP is not canonical"},
        {s->efer & ~(EFER_SCE | EFER_LME | EFER_LMA | EFER_NXE), "EFER has a reserved bit"},
        {(s->cr0 & CR0_PG) && !ia32e(s) != !(s->efer & EFER_LME), "EFER.LMA differs from EFER.LME"},
    };
    return first_broken(checks, ARRAY_LEN(checks));
}

static const char *check_rights(u32 i, const struct vcpu_state *s)
{
    u64 access = s->seg[i].access, limit = s->seg[i].limit;
    u64 type = FIELD_GET(ACCESS_TYPE, access), dpl = FIELD_GET(ACCESS_DPL, access);
    bool code = i == SEG_CS, system = i == SEG_TR || i == SEG_LDTR;
    bool granular = access & ACCESS_G;
    u64 cs_access = s->seg[SEG_CS].access, ss_dpl = FIELD_GET(ACCESS_DPL, s->seg[SEG_SS].access);
    const struct check checks[] = {
        {code && type != 3 && (type & 9) != 9, "type of CS"},
        {i == SEG_SS && type != 3 && type != 7, "type of SS"},
        {i == SEG_TR && type != 11 && (type != 3 || ia32e(s)), "type of TR"},
        {i == SEG_LDTR && type != 2, "type of LDTR"},
        {!code && !system && (!(type & 1) || (type & 0xa) == 8), "type of a data segment"},
        {!(access & ACCESS_S) != system, "S bit"},
        {code && type == 3 && dpl, "DPL of CS"},
        {code && (type & 12) == 8 && dpl != ss_dpl, "DPL of CS is not that of SS"},
        {code && (type & 12) == 12 && dpl > ss_dpl, "DPL of CS is above that of SS"},
        {i == SEG_SS && (!(s->cr0 & CR0_PE) || FIELD_GET(ACCESS_TYPE, cs_access) == 3) && dpl,
         "DPL of SS"},
        {!(access & ACCESS_P), "P bit"},
        {access & ACCESS_RESERVED, "reserved access rights"},
        {code && ia32e(s) && (access & ACCESS_L) && (access & ACCESS_DB), "CS.L with CS.D"},
        {granular ? (limit & 0xfff) != 0xfff : limit >> 20, "limit against G"},
    };
    return first_broken(checks, ARRAY_LEN(checks));
}

static const char *check_segment(u32 i, const struct vcpu_state *s)
{
    const struct vcpu_segment *g = &s->seg[i];
    bool system = i == SEG_TR || i == SEG_LDTR, usable = !(g->access & ACCESS_UNUSABLE);

    if ((s->rflags & RFLAGS_VM) && !system)
        return g->base == (u64)g->selector << 4 && g->limit == 0xffff && g->access == 0xf3
                   ? NULL
                   : "virtual-8086";
    if (i == SEG_CS || i == SEG_TR || usable) {
        if (i == SEG_TR && !usable)
            return "TR is unusable";
        const char *why = check_rights(i, s);
        if (why)
            return why;
        if (system && (g->selector & 4))
            return "TI bit of the selector";
        if (i < SEG_FS && g->base >> 32)
            return "base above 4 GiB";
    }
    return i < SEG_FS || canonical(g->base) ? NULL : "base is not canonical";
}

static const char *check_execution(const struct vcpu_state *s, u32 event)
{
    u32 blocked = s->interruptibility, type = (u32)FIELD_GET(EVENT_TYPE, event);
    bool code64 = ia32e(s) && (s->seg[SEG_CS].access & ACCESS_L),
         interrupts = s->rflags & RFLAGS_IF;
    const struct check checks[] = {
        {!canonical(s->gdtr_base) || !canonical(s->idtr_base),
         "base of GDTR or IDTR is not canonical"},
        {s->gdtr_limit >> 16 || s->idtr_limit >> 16, "limit of GDTR or IDTR"},
        {code64 ? !canonical(s->rip) : s->rip >> 32, "RIP is not an address of this mode"},
        {(s->rflags & RFLAGS_RESERVED) || !(s->rflags & RFLAGS_FIXED), "reserved bits of RFLAGS"},
        {(s->rflags & RFLAGS_VM) && (ia32e(s) || !(s->cr0 & CR0_PE)), "RFLAGS.VM in this mode"},
        {(blocked & ~0x1fu) || (blocked & BLOCKED_STI_MOVSS) == BLOCKED_STI_MOVSS ||
             ((blocked & BLOCKED_STI) && !interrupts),
         "interruptibility state"},
        {(event & EVENT_VALID) && type == EVENT_EXTERNAL &&
             (!interrupts || (blocked & BLOCKED_STI_MOVSS)),
         "external interrupt injected while blocked"},
        {(event & EVENT_VALID) && type == EVENT_NMI && (blocked & BLOCKED_MOVSS_NMI),
         "NMI injected while blocked"},
        /* Pending debug exceptions are no part of the state; this is the one rule about them. */
        {(blocked & BLOCKED_STI_MOVSS) && (s->rflags & RFLAGS_TF),
         "pending debug exceptions against RFLAGS.TF"},
    };
    return first_broken(checks, ARRAY_LEN(checks));
}

void entry_check_vmx(const struct vcpu_state *s, u32 event, char *text, u64 size)
{
    static const char *const names[SEG_COUNT] = {
        [SEG_ES] = "ES", [SEG_CS] = "CS", [SEG_SS] = "SS",     [SEG_DS] = "DS",
        [SEG_FS] = "FS", [SEG_GS] = "GS", [SEG_LDTR] = "LDTR", [SEG_TR] = "TR",
    };
    const char *why = check_control(s), *segment = "";

    for (u32 i = 0; i < SEG_COUNT && !why; i++) {
        why = check_segment(i, s);
        segment = why ? names[i] : "";
    }
    if (!why)
        why = check_execution(s, event);
    snprintf(text, size, "%s%s%s", segment, *segment ? ": " : "",
             why ? why : "no guest-state check of the auditor fails");
}

void entry_check_svm(const struct vcpu_state *s, u32 event, char *text, u64 size)
{
    bool long_paging = (s->efer & EFER_LME) && (s->cr0 & CR0_PG);
    u32 cs = s->seg[SEG_CS].access;
    const struct check checks[] = {
        {(s->cr0 & CR0_NW) && !(s->cr0 & CR0_CD), "CR0.NW without CR0.CD"},
        {s->cr0 >> 32, "CR0 bits 63:32"},
        {s->dr[6] >> 32, "DR6 bits 63:32"},
        {s->dr[7] >> 32, "DR7 bits 63:32"},
        {s->cr3 >> 52, "CR3 reserved bits"},
        {long_paging && !(s->cr4 & CR4_PAE), "EFER.LME and CR0.PG without CR4.PAE"},
        {long_paging && !(s->cr0 & CR0_PE), "EFER.LME and CR0.PG without CR0.PE"},
        {long_paging && (cs & ACCESS_L) && (cs & ACCESS_DB), "CS.L and CS.D in long mode"},
    };
    const char *why = first_broken(checks, ARRAY_LEN(checks));

    (void)event;
    snprintf(text, size, "%s", why ? why : "CR4 or EFER reserved bits, or the event to inject");
}
