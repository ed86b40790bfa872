/* Words for a stopped vCPU; called by exits.c on the event loop. */
#include "vmm/failure.h"

#include <stdio.h>

#include "kernel/abi/vmx_reason.h"
#include "vmm/entry_check.h"

#define NAME(id, number, name) [REASON_##id] = name,
static const char *const vmx_reasons[] = {VMX_REASONS(NAME)};
#undef NAME
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
