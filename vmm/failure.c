/* Words for a stopped vCPU; called by exits.c on the event loop. */
#include "vmm/failure.h"

#include <stdio.h>

#include "kernel/abi/vmx_reason.h"
#include "vmm/entry_check.h"

#define NAME(id, number, name) [REASON_##id] = name,
static const char *const vmx_reasons[] = {VMX_REASONS(NAME)};
#undef NAME
#define REASON_BASIC BITS(15, 0)
/* APM 2, appendix C; what the kernel does not ask for, but an outer hypervisor might bring. */
static const char *const svm_reasons[] = {
    [0x65] = "CR0 write that changes more than TS or MP",
    [0x66] = "IDTR read",
    [0x67] = "GDTR read",
    [0x68] = "LDTR read",
    [0x69] = "TR read",
    [0x6a] = "IDTR write",
    [0x6b] = "GDTR write",
    [0x6c] = "LDTR write",
    [0x6d] = "TR write",
    [0x6e] = "RDTSC",
    [0x70] = "PUSHF",
    [0x71] = "POPF",
    [0x75] = "INT n",
    [0x79] = "INVLPG",
    [0x7d] = "task switch",
    [0x87] = "RDTSCP",
    [0x88] = "ICEBP",
    [0x8f] = "EFER write",
};

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

/* What only the backend's manual explains: its exits, its checks of an entry. */
static const struct vendor {
    const char *const *reasons;
    u32 count;
    void (*entry_check)(const struct vcpu_state *s, u32 event, char *text, u64 size);
} vendors[] = {
    [HOST_HVM_VMX] = {vmx_reasons, ARRAY_LEN(vmx_reasons), entry_check_vmx},
    [HOST_HVM_SVM] = {svm_reasons, ARRAY_LEN(svm_reasons), entry_check_svm},
};

static const char *reason_name(const struct vcpu_page *p, const struct vendor *v)
{
    u32 basic = p->hw_reason & REASON_BASIC;

    return basic < v->count && v->reasons[basic] ? v->reasons[basic] : "";
}

static void entry_text(const struct vcpu_page *p, const struct vendor *v, char *text, u64 size)
{
    u32 error = (u32)p->failure_value;
    char why[80];

    v->entry_check(&p->full, (u32)(p->failure_value >> 32), why, sizeof(why));
    if (error)
        snprintf(text, size, "VM entry refused, instruction error %u: %s", error, why);
    else
        snprintf(text, size, "VM entry failed: %s", why);
}

void failure_text(const struct vcpu_page *p, enum host_hvm hvm, char *text, u64 size)
{
    const struct vendor *v = &vendors[hvm];
    u32 failure = p->failure;

    if (failure == FAILURE_ENTRY)
        entry_text(p, v, text, size);
    else if (failure < FAILURE_COUNT && formats[failure])
        snprintf(text, size, formats[failure], (unsigned long long)p->failure_value);
    else
        snprintf(text, size, "unsupported exit %s", reason_name(p, v));
}
