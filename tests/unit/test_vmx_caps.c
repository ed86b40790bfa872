/* links: kernel/vmx_caps.c */
/* The capability solver on MSR values read on Bochs' CPU models, on sets made after what KVM offers
 * its guests, and with single bits taken away. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>

#include <cmocka.h>

#include "kernel/vmx_caps.h"

/* Bochs, corei7_skylake_x. */
static const struct vmx_msrs skylake = {
    .basic = 0xd810000000002b,
    .misc = 0x600401e0,
    .ept_vpid = 0xf0106334141,
    .control = {0x7f00000016, 0xf7f9fffe04006172, 0x2177fff00000000, 0x7fffff00036dfb,
                0xffff000011fb},
    .cr0_fixed0 = 0x80000021,
    .cr0_fixed1 = 0xffffffff,
    .cr4_fixed0 = 0x2000,
    .cr4_fixed1 = 0x3727ff,
};
/* Bochs, corei7_sandy_bridge_2600k: no APIC-register virtualisation. */
static const struct vmx_msrs sandy = {
    .basic = 0xd810000000002b,
    .misc = 0x401e0,
    .ept_vpid = 0xf0106114141,
    .control = {0x7f00000016, 0xf7f9fffe04006172, 0xff00000000, 0x7fffff00036dfb, 0xffff000011fb},
    .cr0_fixed0 = 0x80000021,
    .cr0_fixed1 = 0xffffffff,
    .cr4_fixed0 = 0x2000,
    .cr4_fixed1 = 0x627ff,
};
/* Bochs, core2_penryn_t9600: no EPT. */
static const struct vmx_msrs penryn = {
    .basic = 0xd810000000002b,
    .misc = 0x401e0,
    .control = {0x3f00000016, 0xf7f9fffe04006172, 0x4100000000, 0x3ffff00036dfb, 0x3fff000011fb},
    .cr0_fixed0 = 0x80000021,
    .cr0_fixed1 = 0xffffffff,
    .cr4_fixed0 = 0x2000,
    .cr4_fixed1 = 0x467ff,
};

static struct vmx_caps caps;
static struct host_feature features[HOST_FEATURES];
static struct vmx_problem problem;
static u32 count;

static bool solve(const struct vmx_msrs *m)
{
    memset(features, 0, sizeof(features));
    return vmx_caps_solve(m, &caps, features, HOST_FEATURES, &count, &problem);
}

static int state_of(const char *name)
{
    for (u32 i = 0; i < count; i++)
        if (!strcmp(features[i].name, name))
            return features[i].state;
    fail_msg("no feature is called %s", name);
    return -1;
}

static void everything_on_skylake(void **state)
{
    (void)state;
    assert_true(solve(&skylake));
    assert_true(caps.apicv);
    assert_string_equal(problem.reason, "");
    assert_int_equal(caps.revision, 0x2b);
    assert_int_equal(caps.timer_shift, 0);
    assert_int_equal(state_of("virtual-interrupt delivery"), FEATURE_ACTIVE);
    assert_int_equal(state_of("EPT 1 GiB pages"), FEATURE_ACTIVE);
    assert_int_equal(state_of("posted interrupts"), FEATURE_ABSENT);
    assert_int_equal(state_of("VMCS shadowing"), FEATURE_UNUSED);
    /* What the CPU forces is in, what it forbids is out. */
    for (u32 w = 0; w < VMX_CONTROL_WORDS; w++) {
        assert_int_equal(caps.word[w] & (u32)skylake.control[w], (u32)skylake.control[w]);
        assert_int_equal(caps.word[w] & ~(skylake.control[w] >> 32), 0);
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
    assert_non_null(strstr(problem.reason, "EPT"));
    assert_non_null(strstr(problem.reason, "unrestricted guest"));
    assert_non_null(strstr(problem.reason, ", ...")); /* cut at a whole name */
    assert_non_null(strstr(problem.hint, "cpu: host"));
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
        m.control[rows[i].word] &= ~(rows[i].bit << 32);
        assert_false(solve(&m));
        assert_non_null(strstr(problem.reason, rows[i].name));
        assert_int_equal(state_of(rows[i].name), FEATURE_MISSING);
    }
}

static void optional_bits_may_go(void **state)
{
    struct vmx_msrs m = skylake;

    (void)state;
    m.control[VMX_PIN] &= ~(PIN_PREEMPTION_TIMER << 32);
    assert_true(solve(&m));
    /* Of no use alone. */
    assert_int_equal(caps.word[VMX_EXIT] & EXIT_SAVE_TIMER, 0);

    m = skylake;
    m.control[VMX_PROC] &= ~(PROC_TPR_SHADOW << 32);
    assert_true(solve(&m));
    assert_false(caps.apicv);

    m = skylake;
    m.control[VMX_PROC2] &= ~(PROC2_VIRTUAL_DELIVERY << 32);
    assert_true(solve(&m));
    assert_false(caps.apicv);
    assert_int_equal(caps.word[VMX_PROC2] & PROC2_APIC_REGISTERS, 0);

    m = skylake;
    m.ept_vpid &= ~VPID_CAP_INVVPID;
    assert_true(solve(&m));
    assert_int_equal(caps.word[VMX_PROC2] & PROC2_VPID, 0);

    /* KVM below us: timer rate 5, no PAUSE-loop exiting. */
    m = skylake;
    m.misc |= 5;
    m.control[VMX_PROC2] &= ~(PROC2_PAUSE_LOOP << 32);
    assert_true(solve(&m));
    assert_int_equal(caps.timer_shift, 5);
}

static void a_forced_cr3_exit_is_refused(void **state)
{
    struct vmx_msrs m = skylake;

    (void)state;
    m.control[VMX_PROC] |= PROC_CR3_LOAD;
    assert_false(solve(&m));
    assert_non_null(strstr(problem.reason, "CR3 load without exit"));
}

static void other_cpus_must_fit(void **state)
{
    struct vmx_msrs m = skylake;

    (void)state;
    assert_true(solve(&skylake));
    assert_true(vmx_caps_fit(&caps, &m, &problem));
    m.control[VMX_PIN] |= PIN_POSTED_INTERRUPTS << 32; /* more does no harm */
    assert_true(vmx_caps_fit(&caps, &m, &problem));
    assert_false(vmx_caps_fit(&caps, &sandy, &problem));
    assert_non_null(strstr(problem.reason, "differs from the boot CPU"));
    m = skylake;
    m.basic ^= 1;
    assert_false(vmx_caps_fit(&caps, &m, &problem));
    assert_non_null(strstr(problem.reason, "revision"));
}

static void feature_control(void **state)
{
    (void)state;
    assert_int_equal(vmx_feature_control(false, true, 5, &problem), FEATURE_CONTROL_OFF);
    assert_non_null(strstr(problem.reason, "no VMX"));
    assert_int_equal(vmx_feature_control(true, true, 0, &problem), FEATURE_CONTROL_LOCK);
    assert_int_equal(vmx_feature_control(true, true, 5, &problem), FEATURE_CONTROL_USABLE);
    assert_int_equal(vmx_feature_control(true, true, 1, &problem), FEATURE_CONTROL_OFF);
    assert_non_null(strstr(problem.hint, "firmware"));
    assert_int_equal(vmx_feature_control(true, false, 0, &problem), FEATURE_CONTROL_USABLE);
}

static void a_short_list_is_not_overrun(void **state)
{
    (void)state;
    memset(features, 0, sizeof(features));
    assert_true(vmx_caps_solve(&skylake, &caps, features, 3, &count, &problem));
    assert_int_equal(count, 3);
    assert_int_equal(features[3].name[0], 0);
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
        cmocka_unit_test(a_short_list_is_not_overrun),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
