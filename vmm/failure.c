/* Words for a stopped vCPU; called by exits.c on the event loop. */
#include "vmm/failure.h"

#include <stdio.h>

#include "vmm/entry_check.h"

/* Basic exit reasons of VT-x, SDM 3D appendix C. */
static const char *const vmx_reasons[] = {
    [0] = "exception or NMI",
    [1] = "external interrupt",
    [2] = "triple fault",
    [3] = "INIT",
    [4] = "SIPI",
    [5] = "I/O SMI",
    [6] = "SMI",
    [7] = "interrupt window",
    [8] = "NMI window",
    [9] = "task switch",
    [10] = "CPUID",
    [11] = "GETSEC",
    [12] = "HLT",
    [13] = "INVD",
    [14] = "INVLPG",
    [15] = "RDPMC",
    [16] = "RDTSC",
    [17] = "RSM",
    [18] = "VMCALL",
    [19] = "VMCLEAR",
    [20] = "VMLAUNCH",
    [21] = "VMPTRLD",
    [22] = "VMPTRST",
    [23] = "VMREAD",
    [24] = "VMRESUME",
    [25] = "VMWRITE",
    [26] = "VMXOFF",
    [27] = "VMXON",
    [28] = "CR access",
    [29] = "MOV DR",
    [30] = "I/O",
    [31] = "RDMSR",
    [32] = "WRMSR",
    [33] = "invalid guest state",
    [34] = "MSR loading",
    [36] = "MWAIT",
    [37] = "monitor trap",
    [39] = "MONITOR",
    [40] = "PAUSE",
    [41] = "machine check",
    [43] = "TPR threshold",
    [44] = "APIC access",
    [45] = "EOI",
    [46] = "GDTR or IDTR access",
    [47] = "LDTR or TR",
    [48] = "EPT violation",
    [49] = "EPT misconfig",
    [50] = "INVEPT",
    [51] = "RDTSCP",
    [52] = "preemption timer",
    [53] = "INVVPID",
    [54] = "WBINVD",
    [55] = "XSETBV",
    [56] = "APIC write",
    [57] = "RDRAND",
    [58] = "INVPCID",
    [59] = "VMFUNC",
    [60] = "ENCLS",
    [61] = "RDSEED",
    [62] = "page-modification log full",
    [63] = "XSAVES",
    [64] = "XRSTORS",
};
#define REASON_BASIC BITS(15, 0)

/* failure_value goes in as one %llx where there is one. */
static const char *const formats[FAILURE_COUNT] = {
    [FAILURE_TRIPLE_FAULT] = "triple fault",
    [FAILURE_EXCEPTION] = "exception %llx was intercepted",
    [FAILURE_EVENT] = "event delivery touched %llx, where no memory is",
    [FAILURE_TABLE] = "a page table lies at %llx, where no memory is",
    [FAILURE_APIC_PAGE] = "the local APIC's page was used as code or stack",
    [FAILURE_CR] = "an access to CR%llx that is not supported",
    [FAILURE_FETCH] = "the instruction cannot be read",
    [FAILURE_REPLY] = "the control partition's reply held an invalid state",
};

static const char *reason_name(const struct vcpu_page *p, bool amd)
{
    u32 basic = p->hw_reason & REASON_BASIC;

    return !amd && basic < ARRAY_LEN(vmx_reasons) && vmx_reasons[basic] ? vmx_reasons[basic] : "";
}

static void entry_text(const struct vcpu_page *p, bool amd, char *text, u64 size)
{
    u32 error = (u32)p->failure_value;
    char why[80];

    if (amd)
        entry_check_svm(&p->full, why, sizeof(why));
    else
        entry_check_vmx(&p->full, (u32)(p->failure_value >> 32), why, sizeof(why));
    if (error)
        snprintf(text, size, "VM entry refused, instruction error %u: %s", error, why);
    else
        snprintf(text, size, "VM entry failed: %s", why);
}

void failure_text(const struct vcpu_page *p, bool amd, char *text, u64 size)
{
    u32 failure = p->failure;

    if (failure == FAILURE_ENTRY)
        entry_text(p, amd, text, size);
    else if (failure < FAILURE_COUNT && formats[failure])
        snprintf(text, size, formats[failure], (unsigned long long)p->failure_value);
    else
        snprintf(text, size, "unsupported exit %s", reason_name(p, amd));
}
