/* Solves the VT-x controls from capability MSRs; pure, called once a CPU at boot.  What the bits
 * are called is told in vmm/features.c. */
#include "kernel/vmx_caps.h"

static const struct {
    u64 required;  /* no guests without */
    u64 wanted;    /* used where offered */
    u64 dynamic;   /* required, but switched on only when needed */
    u64 forbidden; /* must be possible to leave off: guests would crawl or stop */
} needs[VMX_WORDS] = {
    [VMX_PIN] = {.required = PIN_EXTERNAL_INTERRUPT | PIN_NMI | PIN_VIRTUAL_NMI,
                 .wanted = PIN_PREEMPTION_TIMER},
    [VMX_PROC] = {.required = PROC_TSC_OFFSET | PROC_HLT | PROC_MWAIT | PROC_RDPMC | PROC_IO |
                              PROC_MSR_BITMAPS | PROC_MONITOR | PROC_SECONDARY,
                  .wanted = PROC_TPR_SHADOW,
                  .dynamic = PROC_INTERRUPT_WINDOW | PROC_CR8_LOAD | PROC_CR8_STORE |
                             PROC_NMI_WINDOW | PROC_MOV_DR,
                  .forbidden = PROC_INVLPG | PROC_CR3_LOAD | PROC_CR3_STORE},
    [VMX_PROC2] = {.required = PROC2_EPT | PROC2_UNRESTRICTED,
                   .wanted = PROC2_APICV | PROC2_RDTSCP | PROC2_VPID | PROC2_WBINVD |
                             PROC2_PAUSE_LOOP | PROC2_INVPCID},
    [VMX_EXIT] = {.required = EXIT_SAVE_DEBUG | EXIT_HOST_64 | EXIT_ACK_INTERRUPT | EXIT_SAVE_PAT |
                              EXIT_LOAD_PAT | EXIT_SAVE_EFER | EXIT_LOAD_EFER,
                  .wanted = EXIT_SAVE_TIMER},
    [VMX_ENTRY] = {.required = ENTRY_LOAD_DEBUG | ENTRY_LOAD_PAT | ENTRY_LOAD_EFER,
                   .dynamic = ENTRY_IA32E},
    [VMX_EPT_VPID] = {.required = EPT_CAP_WALK_4 | EPT_CAP_WB | EPT_CAP_INVEPT | EPT_CAP_INVEPT_ALL,
                      .wanted = EPT_CAP_2M | EPT_CAP_1G | EPT_CAP_ACCESSED_DIRTY |
                                EPT_CAP_INVEPT_SINGLE | VPID_CAP_INVVPID | VPID_CAP_SINGLE |
                                VPID_CAP_ALL},
    [VMX_MISC] = {.required = VMX_MISC_STORES_LMA},
    [VMX_BASIC] = {.required = VMX_BASIC_WRITE_BACK, .wanted = VMX_BASIC_INSN_INFO},
};

/* A wanted bit that is useless without another goes too; applied in this order. */
static const struct {
    u8 word, needs_word;
    u64 bits, needs;
} dependencies[] = {
    {VMX_PIN, VMX_EXIT, PIN_PREEMPTION_TIMER, EXIT_SAVE_TIMER},
    {VMX_EXIT, VMX_PIN, EXIT_SAVE_TIMER, PIN_PREEMPTION_TIMER},
    {VMX_PROC2, VMX_EPT_VPID, PROC2_VPID, VPID_CAP_INVVPID | VPID_CAP_ALL},
    {VMX_PROC2, VMX_PROC, PROC2_APICV, PROC_TPR_SHADOW},
    {VMX_PROC2, VMX_PROC2, PROC2_APICV, PROC2_APICV},
};

/* The bits of a word that the CPU lets be 1, and those it does not let be 0. */
static u64 may_be_1(const struct vmx_msrs *m, u32 w)
{
    return m->word[w] >> (w < VMX_CONTROL_WORDS ? 32 : 0);
}

static u64 must_be_1(const struct vmx_msrs *m, u32 w)
{
    return w < VMX_CONTROL_WORDS ? (u32)m->word[w] : 0;
}

bool vmx_caps_solve(const struct vmx_msrs *m, struct vmx_caps *out, u64 used[VMX_WORDS],
                    u64 lacking[VMX_WORDS])
{
    bool ok = true;

    *out = (struct vmx_caps){
        .timer_shift = (u32)FIELD_GET(VMX_MISC_TIMER_SHIFT, m->word[VMX_MISC]),
        .revision = (u32)FIELD_GET(VMX_BASIC_REVISION, m->word[VMX_BASIC]),
        .insn_info = m->word[VMX_BASIC] & VMX_BASIC_INSN_INFO,
        .cr0_must = m->cr0_fixed0 & ~(BIT(0) | BIT(31)), /* SDM 3D A.7, unrestricted guest */
        .cr0_may = m->cr0_fixed1,
        .cr4_must = m->cr4_fixed0,
        .cr4_may = m->cr4_fixed1,
    };
    for (u32 w = 0; w < VMX_WORDS; w++) {
        u64 may = may_be_1(m, w), must = must_be_1(m, w);
        out->word[w] = must | ((needs[w].required | needs[w].wanted) & may);
        lacking[w] = ((needs[w].required | needs[w].dynamic) & ~may) | (needs[w].forbidden & must);
        ok &= !lacking[w];
    }
    for (u32 i = 0; i < ARRAY_LEN(dependencies); i++)
        if (dependencies[i].needs & ~out->word[dependencies[i].needs_word])
            out->word[dependencies[i].word] &= ~dependencies[i].bits;
    for (u32 w = 0; w < VMX_WORDS; w++)
        used[w] = out->word[w] | (needs[w].dynamic & may_be_1(m, w));
    out->apicv = (out->word[VMX_PROC2] & PROC2_APICV) == PROC2_APICV;
    return ok;
}

u32 vmx_caps_speculation(u32 edx)
{
    return (edx & BIT(26)
                ? SPECULATION_GUEST_CTRL | SPECULATION_IBRS | SPECULATION_IBPB | SPECULATION_RSB
                : 0) |
           (edx & BIT(28) ? SPECULATION_L1D : 0) | (edx & BIT(10) ? SPECULATION_VERW : 0);
}

bool vmx_caps_fit(const struct vmx_caps *c, const struct vmx_msrs *m)
{
    for (u32 w = 0; w < VMX_WORDS; w++)
        if ((c->word[w] & ~may_be_1(m, w)) || (must_be_1(m, w) & ~c->word[w]))
            return false;
    return c->revision == (u32)FIELD_GET(VMX_BASIC_REVISION, m->word[VMX_BASIC]);
}
