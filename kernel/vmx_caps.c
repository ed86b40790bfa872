/* Solves the VT-x controls from capability MSRs; pure, called once a CPU at boot. */
#include "kernel/vmx_caps.h"

enum need {
    REQUIRED,  /* no guests without */
    WANTED,    /* used where offered */
    DYNAMIC,   /* required, but switched on only when needed */
    FORBIDDEN, /* must be possible to leave off: guests would crawl or stop */
    UNUSED,    /* listed, never switched on */
};

struct row {
    u8 word, bit, need;
    const char *name;
    const char *note; /* WANTED: what happens without it; UNUSED: why */
};

#define ROW(w, b, n, ...)                                                                          \
    {                                                                                              \
        .word = VMX_##w, .bit = __builtin_ctzll(b), .need = n, __VA_ARGS__                         \
    }
static const struct row rows[] = {
    ROW(PIN, PIN_EXTERNAL_INTERRUPT, REQUIRED, "external-interrupt exiting"),
    ROW(PIN, PIN_NMI, REQUIRED, "NMI exiting"),
    ROW(PIN, PIN_VIRTUAL_NMI, REQUIRED, "virtual NMIs"),
    ROW(PIN, PIN_PREEMPTION_TIMER, WANTED, "preemption timer", "APIC timer instead"),
    ROW(PIN, PIN_POSTED_INTERRUPTS, UNUSED, "posted interrupts", "kick by IPI instead"),
    ROW(PROC, PROC_INTERRUPT_WINDOW, DYNAMIC, "interrupt-window exiting"),
    ROW(PROC, PROC_TSC_OFFSET, REQUIRED, "TSC offsetting"),
    ROW(PROC, PROC_HLT, REQUIRED, "HLT exiting"),
    ROW(PROC, PROC_INVLPG, FORBIDDEN, "INVLPG without exit"),
    ROW(PROC, PROC_MWAIT, REQUIRED, "MWAIT exiting"),
    ROW(PROC, PROC_RDPMC, REQUIRED, "RDPMC exiting"),
    ROW(PROC, PROC_CR3_LOAD, FORBIDDEN, "CR3 load without exit"),
    ROW(PROC, PROC_CR3_STORE, FORBIDDEN, "CR3 store without exit"),
    ROW(PROC, PROC_CR8_LOAD, DYNAMIC, "CR8-load exiting"),
    ROW(PROC, PROC_CR8_STORE, DYNAMIC, "CR8-store exiting"),
    ROW(PROC, PROC_TPR_SHADOW, WANTED, "TPR shadow", "CR8 accesses exit"),
    ROW(PROC, PROC_NMI_WINDOW, DYNAMIC, "NMI-window exiting"),
    ROW(PROC, PROC_MOV_DR, DYNAMIC, "MOV-DR exiting"),
    ROW(PROC, PROC_IO, REQUIRED, "unconditional I/O exiting"),
    ROW(PROC, PROC_MSR_BITMAPS, REQUIRED, "MSR bitmaps"),
    ROW(PROC, PROC_MONITOR, REQUIRED, "MONITOR exiting"),
    ROW(PROC, PROC_SECONDARY, REQUIRED, "secondary controls"),
    ROW(PROC2, PROC2_APIC_ACCESS, WANTED, "virtualize APIC accesses", "software local APIC"),
    ROW(PROC2, PROC2_EPT, REQUIRED, "EPT"),
    ROW(PROC2, PROC2_RDTSCP, WANTED, "RDTSCP", "hidden from guests"),
    ROW(PROC2, PROC2_X2APIC, WANTED, "virtualize x2APIC mode", "software local APIC"),
    ROW(PROC2, PROC2_VPID, WANTED, "VPID", "TLB flushed at each exit"),
    ROW(PROC2, PROC2_WBINVD, WANTED, "WBINVD exiting", "guests may flush caches"),
    ROW(PROC2, PROC2_UNRESTRICTED, REQUIRED, "unrestricted guest"),
    ROW(PROC2, PROC2_APIC_REGISTERS, WANTED, "APIC-register virtualization", "software local APIC"),
    ROW(PROC2, PROC2_VIRTUAL_DELIVERY, WANTED, "virtual-interrupt delivery",
        "injected by software"),
    ROW(PROC2, PROC2_PAUSE_LOOP, WANTED, "PAUSE-loop exiting", "spinning guests keep their slice"),
    ROW(PROC2, PROC2_INVPCID, WANTED, "INVPCID", "hidden from guests"),
    ROW(PROC2, BIT(13), UNUSED, "VM functions", "not needed"),
    ROW(PROC2, BIT(14), UNUSED, "VMCS shadowing", "guests get no VT-x"),
    ROW(PROC2, BIT(17), UNUSED, "page-modification logging", "no dirty log yet"),
    ROW(PROC2, BIT(20), UNUSED, "XSAVES", "hidden from guests"),
    ROW(PROC2, BIT(25), UNUSED, "TSC scaling", "guests see the host's rate"),
    ROW(EXIT, EXIT_SAVE_DEBUG, REQUIRED, "save debug controls"),
    ROW(EXIT, EXIT_HOST_64, REQUIRED, "64-bit host"),
    ROW(EXIT, EXIT_ACK_INTERRUPT, REQUIRED, "acknowledge interrupt on exit"),
    ROW(EXIT, EXIT_SAVE_PAT, REQUIRED, "save PAT"),
    ROW(EXIT, EXIT_LOAD_PAT, REQUIRED, "load host PAT"),
    ROW(EXIT, EXIT_SAVE_EFER, REQUIRED, "save EFER"),
    ROW(EXIT, EXIT_LOAD_EFER, REQUIRED, "load host EFER"),
    ROW(EXIT, EXIT_SAVE_TIMER, WANTED, "save preemption timer", "APIC timer instead"),
    ROW(ENTRY, ENTRY_LOAD_DEBUG, REQUIRED, "load debug controls"),
    ROW(ENTRY, ENTRY_IA32E, DYNAMIC, "IA-32e mode guest"),
    ROW(ENTRY, ENTRY_LOAD_PAT, REQUIRED, "load guest PAT"),
    ROW(ENTRY, ENTRY_LOAD_EFER, REQUIRED, "load guest EFER"),
    ROW(EPT_VPID, EPT_CAP_WALK_4, REQUIRED, "EPT four-level walk"),
    ROW(EPT_VPID, EPT_CAP_WB, REQUIRED, "EPT write-back tables"),
    ROW(EPT_VPID, EPT_CAP_2M, WANTED, "EPT 2 MiB pages", "4 KiB pages"),
    ROW(EPT_VPID, EPT_CAP_1G, WANTED, "EPT 1 GiB pages", "2 MiB pages"),
    ROW(EPT_VPID, EPT_CAP_INVEPT, REQUIRED, "INVEPT"),
    ROW(EPT_VPID, BIT(21), UNUSED, "EPT accessed and dirty bits", "no dirty log yet"),
    ROW(EPT_VPID, EPT_CAP_INVEPT_SINGLE, WANTED, "INVEPT single context", "all contexts"),
    ROW(EPT_VPID, EPT_CAP_INVEPT_ALL, REQUIRED, "INVEPT all contexts"),
    ROW(EPT_VPID, VPID_CAP_INVVPID, WANTED, "INVVPID", "no VPID"),
    ROW(EPT_VPID, VPID_CAP_SINGLE, WANTED, "INVVPID single context", "all contexts"),
    ROW(EPT_VPID, VPID_CAP_ALL, WANTED, "INVVPID all contexts", "no VPID"),
    ROW(MISC, VMX_MISC_STORES_LMA, REQUIRED, "EFER.LMA stored on exit"),
    ROW(BASIC, VMX_BASIC_INSN_INFO, WANTED, "INS/OUTS instruction information", "decoded"),
};
#undef ROW

_Static_assert(ARRAY_LEN(rows) <= HOST_FEATURES, "host_info has room for each");

/* A wanted bit that is useless without another goes too; applied in this order. */
static const struct {
    u8 word, needs_word;
    u64 bits, needs;
} dependencies[] = {
    {VMX_PIN, VMX_EXIT, PIN_PREEMPTION_TIMER, EXIT_SAVE_TIMER},
    {VMX_EXIT, VMX_PIN, EXIT_SAVE_TIMER, PIN_PREEMPTION_TIMER},
    {VMX_PROC2, VMX_EPT_VPID, PROC2_VPID, VPID_CAP_INVVPID | VPID_CAP_ALL},
#define APICV (PROC2_APIC_ACCESS | PROC2_X2APIC | PROC2_APIC_REGISTERS | PROC2_VIRTUAL_DELIVERY)
    {VMX_PROC2, VMX_PROC, APICV, PROC_TPR_SHADOW},
    {VMX_PROC2, VMX_PROC2, APICV, APICV}, /* all four or none: one model of each kind */
};

#define HINT_CPU                                                                                   \
    "nested: CPU type host (Proxmox: cpu: host); bare metal: Intel CPU of 2010 or later"
#define HINT_FIRMWARE "enable Intel VT-x in the firmware setup, then switch power off and on"

static void put(char *to, u64 size, const char *text)
{
    u64 n = 0;
    while (to[n])
        n++;
    while (*text && n + 1 < size)
        to[n++] = *text++;
    to[n] = 0;
}

static u64 length(const char *text)
{
    u64 n = 0;
    while (text[n])
        n++;
    return n;
}

/* Names what is missing as long as whole names fit, then says that there is more. */
static void missing(struct vmx_problem *p, const char *name)
{
    u64 used = length(p->reason);

    if (used && p->reason[used - 1] == '.')
        return;
    if (used + length(name) + sizeof(", , ...") > sizeof(p->reason))
        name = "...";
    put(p->reason, sizeof(p->reason), p->reason[0] ? ", " : "VT-x lacks: ");
    put(p->reason, sizeof(p->reason), name);
    if (!p->hint[0])
        put(p->hint, sizeof(p->hint), HINT_CPU);
}

/* The bits of a word that the CPU lets be 1, and those it does not let be 0. */
static u64 may_be_1(const struct vmx_msrs *m, u32 word)
{
    switch (word) {
    case VMX_EPT_VPID:
        return m->ept_vpid;
    case VMX_MISC:
        return m->misc;
    case VMX_BASIC:
        return m->basic;
    default:
        return m->control[word] >> 32;
    }
}

static u64 must_be_1(const struct vmx_msrs *m, u32 word)
{
    return word < VMX_CONTROL_WORDS ? (u32)m->control[word] : 0;
}

static bool solve_rows(const struct vmx_msrs *m, struct vmx_caps *out, struct vmx_problem *p)
{
    bool ok = true;

    for (u32 w = 0; w < VMX_CONTROL_WORDS; w++)
        out->word[w] = must_be_1(m, w);
    for (u32 i = 0; i < ARRAY_LEN(rows); i++) {
        const struct row *r = &rows[i];
        bool offered = may_be_1(m, r->word) & BIT(r->bit);
        bool forced = must_be_1(m, r->word) & BIT(r->bit);
        if (r->need == FORBIDDEN ? forced : !offered && r->need != WANTED && r->need != UNUSED) {
            missing(p, r->name);
            ok = false;
        }
        if (offered && (r->need == REQUIRED || r->need == WANTED))
            out->word[r->word] |= BIT(r->bit);
    }
    for (u32 i = 0; i < ARRAY_LEN(dependencies); i++)
        if ((out->word[dependencies[i].needs_word] & dependencies[i].needs) !=
            dependencies[i].needs)
            out->word[dependencies[i].word] &= ~dependencies[i].bits;
    return ok;
}

static u8 row_state(const struct row *r, const struct vmx_msrs *m, const struct vmx_caps *c)
{
    bool offered = may_be_1(m, r->word) & BIT(r->bit);

    switch (r->need) {
    case FORBIDDEN:
        return must_be_1(m, r->word) & BIT(r->bit) ? FEATURE_MISSING : FEATURE_ACTIVE;
    case REQUIRED:
    case DYNAMIC:
        return offered ? FEATURE_ACTIVE : FEATURE_MISSING;
    default:
        if (!offered)
            return FEATURE_ABSENT;
        return r->need == WANTED && (c->word[r->word] & BIT(r->bit)) ? FEATURE_ACTIVE
                                                                     : FEATURE_UNUSED;
    }
}

static void list(const struct vmx_msrs *m, const struct vmx_caps *c, struct host_feature *f,
                 u32 max, u32 *count)
{
    *count = 0;
    for (u32 i = 0; i < ARRAY_LEN(rows) && *count < max; i++) {
        struct host_feature *h = &f[(*count)++];
        h->name[0] = h->note[0] = 0;
        put(h->name, sizeof(h->name), rows[i].name);
        h->state = row_state(&rows[i], m, c);
        if (h->state != FEATURE_ACTIVE && rows[i].note)
            put(h->note, sizeof(h->note), rows[i].note);
    }
}

bool vmx_caps_solve(const struct vmx_msrs *m, struct vmx_caps *out, struct host_feature *features,
                    u32 max, u32 *count, struct vmx_problem *p)
{
    *out = (struct vmx_caps){0};
    *p = (struct vmx_problem){{0}, {0}};
    bool ok = solve_rows(m, out, p);
    if (FIELD_GET(VMX_BASIC_MEMORY_TYPE, m->basic) != 6) {
        missing(p, "write-back VMCS");
        ok = false;
    }
    out->apicv = (out->word[VMX_PROC2] & APICV) == APICV;
    out->timer_shift = (u32)FIELD_GET(VMX_MISC_TIMER_SHIFT, m->misc);
    out->revision = (u32)FIELD_GET(VMX_BASIC_REVISION, m->basic);
    out->insn_info = m->basic & VMX_BASIC_INSN_INFO;
    out->cr0_must = m->cr0_fixed0 & ~(BIT(0) | BIT(31)); /* SDM 3D A.7, unrestricted guest */
    out->cr0_may = m->cr0_fixed1;
    out->cr4_must = m->cr4_fixed0;
    out->cr4_may = m->cr4_fixed1;
    list(m, out, features, max, count);
    return ok;
}

bool vmx_caps_fit(const struct vmx_caps *c, const struct vmx_msrs *m, struct vmx_problem *p)
{
    static const char *const words[] = {"pin",   "processor",    "secondary",     "exit",
                                        "entry", "EPT and VPID", "miscellaneous", "basic"};
    *p = (struct vmx_problem){{0}, {0}};
    for (u32 w = 0; w < VMX_WORDS; w++) {
        if ((c->word[w] & ~may_be_1(m, w)) || (must_be_1(m, w) & ~c->word[w])) {
            put(p->reason, sizeof(p->reason), "VT-x differs from the boot CPU: ");
            put(p->reason, sizeof(p->reason), words[w]);
            return false;
        }
    }
    if (c->revision != (u32)FIELD_GET(VMX_BASIC_REVISION, m->basic)) {
        put(p->reason, sizeof(p->reason), "VT-x differs from the boot CPU: VMCS revision");
        return false;
    }
    return true;
}

enum vmx_feature_control vmx_feature_control(bool cpuid_vmx, bool present, u64 value,
                                             struct vmx_problem *p)
{
    *p = (struct vmx_problem){{0}, {0}};
    if (!cpuid_vmx) {
        put(p->reason, sizeof(p->reason), "the CPU reports no VMX (CPUID 1, ECX bit 5)");
        put(p->hint, sizeof(p->hint), HINT_CPU);
        return FEATURE_CONTROL_OFF;
    }
    /* Some hypervisors offer VMX without the MSR: VMXON will tell. */
    if (!present)
        return FEATURE_CONTROL_USABLE;
    if (!(value & FEATURE_CONTROL_LOCKED))
        return FEATURE_CONTROL_LOCK;
    if (value & FEATURE_CONTROL_VMXON)
        return FEATURE_CONTROL_USABLE;
    put(p->reason, sizeof(p->reason), "VT-x is locked off (IA32_FEATURE_CONTROL bit 2)");
    put(p->hint, sizeof(p->hint), HINT_FIRMWARE);
    return FEATURE_CONTROL_OFF;
}
