/* links: vmm/entry_check.c vmm/failure.c */
/* The auditor of failed VM entries: a sound state passes, and each check is named when it alone is
 * broken; the words for every kind of failure. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <string.h>

#include <cmocka.h>

#include "vmm/entry_check.h"
#include "vmm/failure.h"

#define SOUND "no guest-state check of the auditor fails"
#define EVENT_EXTERNAL 0x80000030u
#define EVENT_NMI 0x80000202u

static struct vcpu_state good(void)
{
    struct vcpu_state s = {.rip = 0xffffffff81000000,
                           .rflags = 0x202,
                           .cr0 = 0x80050033,
                           .cr3 = 0x1000,
                           .cr4 = 0x20,
                           .efer = 0xd01,
                           .gdtr_base = 0xfffffe0000000000,
                           .gdtr_limit = 0x7f,
                           .idtr_limit = 0xfff,
                           .dr = {[6] = 0xffff0ff0, [7] = 0x400}};
    for (u32 i = 0; i < SEG_COUNT; i++)
        s.seg[i] = (struct vcpu_segment){.access = 0xc093, .limit = 0xffffffff};
    s.seg[SEG_CS].access = 0xa09b;
    s.seg[SEG_LDTR] = (struct vcpu_segment){.access = 0x10000};
    s.seg[SEG_TR] = (struct vcpu_segment){.access = 0x8b, .limit = 0x67};
    return s;
}

#define BROKEN(member, value_, rule_)                                                              \
    {                                                                                              \
        .at = offsetof(struct vcpu_state, member),                                                 \
        .size = sizeof(((struct vcpu_state *)0)->member), .value = (value_), .rule = (rule_)       \
    }
struct broken {
    size_t at, size;
    u64 value;
    const char *rule;
    u32 event;
};

static const struct broken in_long_mode[] = {
    BROKEN(cr0, 0x180050033, "CR0 bits 63:32"),
    BROKEN(cr0, 0x80050032, "CR0.PG without CR0.PE"),
    BROKEN(cr0, 0x50033, "IA-32e mode without CR0.PG and CR4.PAE"),
    BROKEN(cr4, 0, "IA-32e mode without CR0.PG and CR4.PAE"),
    BROKEN(cr3, 1ull << 52, "CR3 is beyond physical addresses"),
    BROKEN(dr[7], 1ull << 32, "DR7 bits 63:32"),
    BROKEN(sysenter_esp, 1ull << 47, "SYSENTER_ESP or SYSENTER_EIP is not canonical"),
    BROKEN(sysenter_eip, 1ull << 63, "SYSENTER_ESP or SYSENTER_EIP is not canonical"),
    BROKEN(efer, 0xd03, "EFER has a reserved bit"),
    BROKEN(efer, 0xc01, "EFER.LMA differs from EFER.LME"),
    BROKEN(seg[SEG_CS].access, 0xa091, "CS: type of CS"),
    BROKEN(seg[SEG_SS].access, 0xc095, "SS: type of SS"),
    BROKEN(seg[SEG_TR].access, 0x83, "TR: type of TR"),
    BROKEN(seg[SEG_LDTR].access, 0x8b, "LDTR: type of LDTR"),
    BROKEN(seg[SEG_DS].access, 0xc092, "DS: type of a data segment"),
    BROKEN(seg[SEG_ES].access, 0xc099, "ES: type of a data segment"),
    BROKEN(seg[SEG_FS].access, 0xc083, "FS: S bit"),
    BROKEN(seg[SEG_TR].access, 0x9b, "TR: S bit"),
    BROKEN(seg[SEG_CS].access, 0xa0f3, "CS: DPL of CS"),
    BROKEN(seg[SEG_CS].access, 0xa0bb, "CS: DPL of CS is not that of SS"),
    BROKEN(seg[SEG_CS].access, 0xa0bf, "CS: DPL of CS is above that of SS"),
    BROKEN(seg[SEG_GS].access, 0xc013, "GS: P bit"),
    BROKEN(seg[SEG_DS].access, 0xc193, "DS: reserved access rights"),
    BROKEN(seg[SEG_CS].access, 0xe09b, "CS: CS.L with CS.D"),
    BROKEN(seg[SEG_DS].limit, 0xfffff000, "DS: limit against G"),
    BROKEN(seg[SEG_TR].limit, 0x100000, "TR: limit against G"),
    BROKEN(seg[SEG_TR].access, 0x1008b, "TR: TR is unusable"),
    BROKEN(seg[SEG_TR].selector, 4, "TR: TI bit of the selector"),
    BROKEN(seg[SEG_SS].base, 1ull << 32, "SS: base above 4 GiB"),
    BROKEN(seg[SEG_GS].base, 1ull << 47, "GS: base is not canonical"),
    BROKEN(seg[SEG_TR].base, 1ull << 47, "TR: base is not canonical"),
    BROKEN(gdtr_base, 1ull << 47, "base of GDTR or IDTR is not canonical"),
    BROKEN(idtr_base, 1ull << 47, "base of GDTR or IDTR is not canonical"),
    BROKEN(gdtr_limit, 0x10000, "limit of GDTR or IDTR"),
    BROKEN(idtr_limit, 0x10000, "limit of GDTR or IDTR"),
    BROKEN(rip, 1ull << 47, "RIP is not an address of this mode"),
    BROKEN(rflags, 0x20a, "reserved bits of RFLAGS"),
    BROKEN(rflags, 0x200, "reserved bits of RFLAGS"),
    BROKEN(interruptibility, 0x20, "interruptibility state"),
    BROKEN(interruptibility, 3, "interruptibility state"),
    {.rule = "external interrupt injected while blocked",
     .at = offsetof(struct vcpu_state, interruptibility),
     .size = 4,
     .value = 1,
     .event = EVENT_EXTERNAL},
    {.rule = "NMI injected while blocked",
     .at = offsetof(struct vcpu_state, interruptibility),
     .size = 4,
     .value = 8,
     .event = EVENT_NMI},
};

static void break_it(struct vcpu_state *s, const struct broken *b)
{
    memcpy((u8 *)s + b->at, &b->value, b->size);
}

static void vmx_checks_in_turn(void **state)
{
    (void)state;
    char text[80];
    struct vcpu_state s = good();
    entry_check_vmx(&s, EVENT_EXTERNAL, text, sizeof(text));
    assert_string_equal(text, SOUND);
    for (size_t i = 0; i < ARRAY_LEN(in_long_mode); i++) {
        s = good();
        break_it(&s, &in_long_mode[i]);
        entry_check_vmx(&s, in_long_mode[i].event, text, sizeof(text));
        assert_string_equal(text, in_long_mode[i].rule);
    }
}

static void vmx_other_modes(void **state)
{
    (void)state;
    char text[80];
    struct vcpu_state s = good();
    s.efer = 0x800;
    s.rip = 0x1000;
    entry_check_vmx(&s, 0, text, sizeof(text));
    assert_string_equal(text, SOUND);
    s.cr4 |= 1u << 17;
    entry_check_vmx(&s, 0, text, sizeof(text));
    assert_string_equal(text, "CR4.PCIDE outside IA-32e mode");

    s = good(); /* real mode */
    s.efer = 0;
    s.cr0 = 0x10;
    s.rip = 0xfff0;
    s.seg[SEG_CS].access = 0xc093;
    s.seg[SEG_SS].access = 0xc0f3;
    entry_check_vmx(&s, 0, text, sizeof(text));
    assert_string_equal(text, "SS: DPL of SS");

    s = good();
    s.rflags |= 1u << 17;
    entry_check_vmx(&s, 0, text, sizeof(text));
    assert_string_equal(text, "ES: virtual-8086");
    for (u32 i = 0; i < SEG_LDTR; i++)
        s.seg[i] = (struct vcpu_segment){.access = 0xf3, .limit = 0xffff};
    s.rip = 0x100;
    entry_check_vmx(&s, 0, text, sizeof(text));
    assert_string_equal(text, "RFLAGS.VM in this mode");

    s = good();
    s.rflags = 2;
    s.interruptibility = 1; /* STI blocking with IF clear */
    entry_check_vmx(&s, 0, text, sizeof(text));
    assert_string_equal(text, "interruptibility state");
    s.rflags = 0x302;
    entry_check_vmx(&s, 0, text, sizeof(text));
    assert_string_equal(text, "pending debug exceptions against RFLAGS.TF");
}

static void svm_checks_in_turn(void **state)
{
    (void)state;
    static const struct broken checks[] = {
        BROKEN(cr0, 0xa0050033, "CR0.NW without CR0.CD"),
        BROKEN(cr0, 0x180050033, "CR0 bits 63:32"),
        BROKEN(dr[6], 1ull << 32, "DR6 bits 63:32"),
        BROKEN(dr[7], 1ull << 32, "DR7 bits 63:32"),
        BROKEN(cr3, 1ull << 52, "CR3 reserved bits"),
        BROKEN(cr4, 0, "EFER.LME and CR0.PG without CR4.PAE"),
        BROKEN(cr0, 0x80050032, "EFER.LME and CR0.PG without CR0.PE"),
        BROKEN(seg[SEG_CS].access, 0xe09b, "CS.L and CS.D in long mode"),
    };
    char text[80];
    struct vcpu_state s = good();
    entry_check_svm(&s, 0, text, sizeof(text));
    assert_string_equal(text, "CR4 or EFER reserved bits, or the event to inject");
    for (size_t i = 0; i < ARRAY_LEN(checks); i++) {
        s = good();
        break_it(&s, &checks[i]);
        entry_check_svm(&s, 0, text, sizeof(text));
        assert_string_equal(text, checks[i].rule);
    }
}

static const char *words(u32 failure, u64 value, u32 reason, enum host_hvm hvm)
{
    static char text[160];
    struct vcpu_page p = {.failure = failure, .failure_value = value, .hw_reason = reason};

    p.full = good();
    p.full.seg[SEG_CS].access &= ~0x80u;
    failure_text(&p, hvm, text, sizeof(text));
    return text;
}

static void every_failure(void **state)
{
    (void)state;
    assert_string_equal(words(FAILURE_TRIPLE_FAULT, 0, 2, HOST_HVM_VMX), "triple fault");
    assert_string_equal(words(FAILURE_EXIT, 0, 9, HOST_HVM_VMX), "unsupported exit task switch");
    assert_string_equal(words(FAILURE_EXIT, 0, 35, HOST_HVM_VMX), "unsupported exit ");
    assert_string_equal(words(FAILURE_EXIT, 0, 9, HOST_HVM_SVM), "unsupported exit ");
    assert_string_equal(words(FAILURE_EXIT, 0, 0x7d, HOST_HVM_SVM), "unsupported exit task switch");
    assert_string_equal(words(FAILURE_EXIT, 0, 0x403, HOST_HVM_SVM), "unsupported exit ");
    assert_string_equal(words(FAILURE_ENTRY, 0, ~0u, HOST_HVM_SVM),
                        "VM entry failed: CR4 or EFER reserved bits, or the event to inject");
    assert_string_equal(words(FAILURE_TABLE, 0xd0000000, 48, HOST_HVM_VMX),
                        "a page table lies at d0000000, where no memory is");
    assert_string_equal(words(FAILURE_CR, 3, 28, HOST_HVM_VMX),
                        "an access to CR3 that is not supported");
    assert_string_equal(words(FAILURE_ENTRY, 0, 0x80000021, HOST_HVM_VMX),
                        "VM entry failed: CS: P bit");
    assert_string_equal(words(FAILURE_ENTRY, 7, 0, HOST_HVM_VMX),
                        "VM entry refused, instruction error 7: CS: P bit");
    for (u32 f = 0; f < FAILURE_COUNT + 3; f++)
        assert_true(strlen(words(f, 1, 12345, HOST_HVM_VMX + (f & 1))) > 5);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(vmx_checks_in_turn),
        cmocka_unit_test(vmx_other_modes),
        cmocka_unit_test(svm_checks_in_turn),
        cmocka_unit_test(every_failure),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
