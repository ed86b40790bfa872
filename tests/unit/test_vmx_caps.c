/* links: kernel/vmx_caps.c vmm/features.c vmm/cpuid.c */
/* The capability solver on MSR values read on Bochs' CPU models, on sets made after what KVM offers
 * its guests, and with single bits taken away. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>

#include <cmocka.h>

#include "kernel/vmx_caps.h"
#include "vmm/features.h"

/* Bochs, corei7_skylake_x. */
static const struct vmx_msrs skylake = {
    .word = {0x7f00000016, 0xf7f9fffe04006172, 0x2177fff00000000, 0x7fffff00036dfb,
             0xffff000011fb, [VMX_EPT_VPID] = 0xf0106334141, [VMX_MISC] = 0x600401e0,
             [VMX_BASIC] = 0xd810000000002b},
    .cr0_fixed0 = 0x80000021,
    .cr0_fixed1 = 0xffffffff,
    .cr4_fixed0 = 0x2000,
    .cr4_fixed1 = 0x3727ff,
};
/* Bochs, corei7_sandy_bridge_2600k: no APIC-register virtualisation. */
static const struct vmx_msrs sandy = {
    .word = {0x7f00000016, 0xf7f9fffe04006172, 0xff00000000, 0x7fffff00036dfb, 0xffff000011fb,
             [VMX_EPT_VPID] = 0xf0106114141, [VMX_MISC] = 0x401e0, [VMX_BASIC] = 0xd810000000002b},
    .cr0_fixed0 = 0x80000021,
    .cr0_fixed1 = 0xffffffff,
    .cr4_fixed0 = 0x2000,
    .cr4_fixed1 = 0x627ff,
};
/* Bochs, core2_penryn_t9600: no EPT. */
static const struct vmx_msrs penryn = {
    .word = {0x3f00000016, 0xf7f9fffe04006172, 0x4100000000, 0x3ffff00036dfb,
             0x3fff000011fb, [VMX_MISC] = 0x401e0, [VMX_BASIC] = 0xd810000000002b},
    .cr0_fixed0 = 0x80000021,
    .cr0_fixed1 = 0xffffffff,
    .cr4_fixed0 = 0x2000,
    .cr4_fixed1 = 0x467ff,
};

static struct vmx_caps caps;
static struct host_info info;
static char reason[FEATURES_REASON];
static const char *hint;

/* Solves as vmx.c does, then puts into words what the control partition would say. */
static bool solve(const struct vmx_msrs *m)
{
    info = (struct host_info){.hvm = HOST_HVM_VMX};
    memcpy(info.offered, m->word, sizeof(info.offered));
    bool ok = vmx_caps_solve(m, &caps, info.used, info.lacking);
    info.hvm_problem = ok ? HOST_HVM_WORKS : HOST_HVM_LACKING;
    reason[0] = 0;
    hint = ok ? "" : features_why_not(&info, reason, sizeof(reason));
    return ok;
}

static int state_of(const char *name)
{
    struct feature_line line;

    for (u32 i = 0; features_line(&info, i, &line); i++)
        if (!strcmp(line.name, name))
            return line.state;
    fail_msg("no feature is called %s", name);
    return -1;
}

static void everything_on_skylake(void **state)
{
    (void)state;
    assert_true(solve(&skylake));
    assert_true(caps.apicv);
    assert_string_equal(features_hvm_name(&info), "VT-x");
    assert_int_equal(caps.revision, 0x2b);
    assert_int_equal(caps.timer_shift, 0);
    assert_int_equal(state_of("virtual-interrupt delivery"), FEATURE_ACTIVE);
    assert_int_equal(state_of("EPT 1 GiB pages"), FEATURE_ACTIVE);
    assert_int_equal(state_of("posted interrupts"), FEATURE_ABSENT);
    assert_int_equal(state_of("VMCS shadowing"), FEATURE_UNUSED);
    /* What the CPU forces is in, what it forbids is out. */
    for (u32 w = 0; w < VMX_CONTROL_WORDS; w++) {
        assert_int_equal(caps.word[w] & (u32)skylake.word[w], (u32)skylake.word[w]);
        assert_int_equal(caps.word[w] & ~(skylake.word[w] >> 32), 0);
    }
    assert_int_equal(caps.cr0_must, 0x20); /* NE: PE and PG are free */
    assert_int_equal(caps.word[VMX_PROC] & (PROC_INTERRUPT_WINDOW | PROC_CR3_LOAD), 0);
}

static void fallbacks_on_sandy_bridge(void **state)
{
    (void)state;
    assert_true(solve(&sandy));
    assert_false(caps.apicv);
    assert_true(caps.word[VMX_PROC] & PROC_TPR_SHADOW);
    assert_int_equal(caps.word[VMX_PROC2] & (PROC2_APIC_ACCESS | PROC2_X2APIC), 0);
    assert_int_equal(state_of("virtual-interrupt delivery"), FEATURE_ABSENT);
    assert_int_equal(state_of("virtualize APIC accesses"), FEATURE_UNUSED);
    assert_int_equal(state_of("EPT 1 GiB pages"), FEATURE_ABSENT);
    assert_int_equal(state_of("EPT 2 MiB pages"), FEATURE_ACTIVE);
}

static void names_what_penryn_lacks(void **state)
{
    (void)state;
    assert_false(solve(&penryn));
    assert_non_null(strstr(reason, "EPT"));
    assert_non_null(strstr(reason, "unrestricted guest"));
    assert_non_null(strstr(reason, ", ...")); /* cut at a whole name */
    assert_non_null(strstr(hint, "cpu: host"));
    assert_int_equal(state_of("EPT"), FEATURE_MISSING);
    assert_int_equal(state_of("HLT exiting"), FEATURE_ACTIVE);
}

static void each_required_bit_is_named(void **state)
{
    static const struct {
        u32 word;
        u64 bit;
        const char *name;
    } rows[] = {
        {VMX_PIN, PIN_EXTERNAL_INTERRUPT, "external-interrupt exiting"},
        {VMX_PIN, PIN_NMI, "NMI exiting"},
        {VMX_PROC, PROC_MSR_BITMAPS, "MSR bitmaps"},
        {VMX_PROC2, PROC2_EPT, "EPT"},
        {VMX_PROC2, PROC2_UNRESTRICTED, "unrestricted guest"},
        {VMX_EXIT, EXIT_ACK_INTERRUPT, "acknowledge interrupt on exit"},
        {VMX_ENTRY, ENTRY_LOAD_PAT, "load guest PAT"},
        {VMX_ENTRY, ENTRY_LOAD_EFER, "load guest EFER"},
    };

    (void)state;
    for (u32 i = 0; i < ARRAY_LEN(rows); i++) {
        struct vmx_msrs m = skylake;
        m.word[rows[i].word] &= ~(rows[i].bit << 32);
        assert_false(solve(&m));
        assert_non_null(strstr(reason, rows[i].name));
        assert_int_equal(state_of(rows[i].name), FEATURE_MISSING);
    }
}

static void optional_bits_may_go(void **state)
{
    struct vmx_msrs m = skylake;

    (void)state;
    m.word[VMX_PIN] &= ~(PIN_PREEMPTION_TIMER << 32);
    assert_true(solve(&m));
    /* Of no use alone. */
    assert_int_equal(caps.word[VMX_EXIT] & EXIT_SAVE_TIMER, 0);

    m = skylake;
    m.word[VMX_PROC] &= ~(PROC_TPR_SHADOW << 32);
    assert_true(solve(&m));
    assert_false(caps.apicv);

    m = skylake;
    m.word[VMX_PROC2] &= ~(PROC2_VIRTUAL_DELIVERY << 32);
    assert_true(solve(&m));
    assert_false(caps.apicv);
    assert_int_equal(caps.word[VMX_PROC2] & PROC2_APIC_REGISTERS, 0);

    m = skylake;
    m.word[VMX_EPT_VPID] &= ~VPID_CAP_INVVPID;
    assert_true(solve(&m));
    assert_int_equal(caps.word[VMX_PROC2] & PROC2_VPID, 0);

    /* KVM below us: timer rate 5, no PAUSE-loop exiting. */
    m = skylake;
    m.word[VMX_MISC] |= 5;
    m.word[VMX_PROC2] &= ~(PROC2_PAUSE_LOOP << 32);
    assert_true(solve(&m));
    assert_int_equal(caps.timer_shift, 5);
}

static void a_forced_cr3_exit_is_refused(void **state)
{
    struct vmx_msrs m = skylake;

    (void)state;
    m.word[VMX_PROC] |= PROC_CR3_LOAD;
    assert_false(solve(&m));
    assert_non_null(strstr(reason, "CR3 load without exit"));
}

static void other_cpus_must_fit(void **state)
{
    struct vmx_msrs m = skylake;

    (void)state;
    assert_true(solve(&skylake));
    assert_true(vmx_caps_fit(&caps, &m));
    m.word[VMX_PIN] |= PIN_POSTED_INTERRUPTS << 32; /* more does no harm */
    assert_true(vmx_caps_fit(&caps, &m));
    assert_false(vmx_caps_fit(&caps, &sandy));
    m = skylake;
    m.word[VMX_BASIC] ^= 1; /* another revision of the VMCS */
    assert_false(vmx_caps_fit(&caps, &m));
}

static void feature_control(void **state)
{
    (void)state;
    info = (struct host_info){.hvm = HOST_HVM_VMX, .hvm_problem = HOST_HVM_LOCKED};
    assert_non_null(features_why_not(&info, reason, sizeof(reason)));
    assert_non_null(strstr(reason, "IA32_FEATURE_CONTROL"));
    assert_string_equal(features_hvm_name(&info), "");
}

static void every_bit_has_at_most_one_name(void **state)
{
    struct feature_line a, b;

    (void)state;
    assert_true(solve(&skylake));
    for (u32 i = 0; features_line(&info, i, &a); i++)
        for (u32 j = i + 1; features_line(&info, j, &b); j++)
            assert_string_not_equal(a.name, b.name);
}

static void amd_lines(void **state)
{
    (void)state;
    info = (struct host_info){.hvm = HOST_HVM_SVM, .offered = {0x9, 2}, .used = {0x9}};
    assert_string_equal(features_hvm_name(&info), "AMD-V");
    assert_int_equal(state_of("Nested paging"), FEATURE_ACTIVE);
    assert_int_equal(state_of("an ASID for guests"), FEATURE_ACTIVE);
    assert_int_equal(state_of("Decode assists"), FEATURE_ABSENT);
    info.hvm_problem = HOST_HVM_LACKING;
    info.lacking[SVM_FEATURES] = 1;
    info.lacking[SVM_ASIDS] = 1;
    features_why_not(&info, reason, sizeof(reason));
    assert_string_equal(reason, "AMD-V lacks: Nested paging, an ASID for guests");
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(everything_on_skylake),
        cmocka_unit_test(fallbacks_on_sandy_bridge),
        cmocka_unit_test(names_what_penryn_lacks),
        cmocka_unit_test(each_required_bit_is_named),
        cmocka_unit_test(optional_bits_may_go),
        cmocka_unit_test(a_forced_cr3_exit_is_refused),
        cmocka_unit_test(other_cpus_must_fit),
        cmocka_unit_test(feature_control),
        cmocka_unit_test(every_bit_has_at_most_one_name),
        cmocka_unit_test(amd_lines),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
