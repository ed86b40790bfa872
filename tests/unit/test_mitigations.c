/* links: vmm/mitigations.c kernel/vmx_caps.c */
/* Which speculation controls are chosen for CPUs of several ages. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>

#include <cmocka.h>

#include "control/rt/log.h"
#include "control/rt/sys.h"
#include "kernel/vmx_caps.h"
#include "vmm/mitigations.h"

static struct host_info info;
static i64 answer;
static u64 asked;

const struct host_info *sys_host_info(void)
{
    return &info;
}

i64 sys_call(u64 number, u64 a, u64 b, u64 c, u64 d, u64 e)
{
    (void)b, (void)c, (void)d, (void)e;
    assert_int_equal(number, SYS_SPECULATION);
    asked = a;
    return answer;
}

void log_write(enum log_level level, const char *fmt, ...)
{
    (void)level, (void)fmt;
}

#define SPEC (BIT(26) | BIT(27) | BIT(31)) /* IBRS and IBPB, STIBP, SSBD */
#define FLUSH BIT(28)
#define CAPS BIT(29)
#define MD_CLEAR BIT(10)
#define RETPOLINE SPECULATION_RETPOLINE
#define BASIC (SPECULATION_IBRS | SPECULATION_IBPB | SPECULATION_RSB | SPECULATION_GUEST_CTRL)

static const struct {
    const char *cpu;
    u32 leaf7;
    u64 capable;
    u32 use;
} profiles[] = {
    {"an emulator, or no microcode", 0, 0, RETPOLINE},
    {"Haswell with microcode of 2018", SPEC | FLUSH, 0, RETPOLINE | BASIC | SPECULATION_L1D},
    {"Skylake server", SPEC | FLUSH | MD_CLEAR, 0,
     RETPOLINE | BASIC | SPECULATION_L1D | SPECULATION_VERW},
    {"L1D flushed by the outer hypervisor", SPEC | FLUSH | CAPS | MD_CLEAR, BIT(3),
     RETPOLINE | BASIC | SPECULATION_VERW},
    {"Cascade Lake", SPEC | FLUSH | CAPS | MD_CLEAR, 0x2b, BASIC},
    {"Cascade Lake with MMIO stale data", SPEC | FLUSH | CAPS | MD_CLEAR, 0x2002b,
     BASIC | SPECULATION_VERW},
    {"Sapphire Rapids", SPEC | FLUSH | CAPS | MD_CLEAR, 0x10ce16b & ~BIT(17),
     BASIC & ~SPECULATION_RSB},
    {"RFDS", SPEC | FLUSH | CAPS | MD_CLEAR, BIT(0) | BIT(5) | BIT(28),
     RETPOLINE | BASIC | SPECULATION_VERW},
    {"RFDS_NO", SPEC | FLUSH | CAPS | MD_CLEAR, BIT(0) | BIT(5) | BIT(27) | BIT(28),
     RETPOLINE | BASIC},
    {"MDS without MD_CLEAR", SPEC | FLUSH, BIT(0), RETPOLINE | BASIC},
};

static void chooses(void **state)
{
    (void)state;
    for (u32 i = 0; i < ARRAY_LEN(profiles); i++) {
        struct host_info h = {.speculation = RETPOLINE | vmx_caps_speculation(profiles[i].leaf7),
                              .arch_capabilities = profiles[i].capable};
        u32 use = mitigations_choose(&h, MITIGATIONS_AUTO);
        if (use != profiles[i].use)
            fail_msg("%s: %x, not %x", profiles[i].cpu, use, profiles[i].use);
        assert_int_equal(mitigations_choose(&h, MITIGATIONS_OFF), 0);
        h.speculation = RETPOLINE;
        assert_int_equal(mitigations_choose(&h, MITIGATIONS_AUTO), use & RETPOLINE);
    }
}

/* What svm.c says without and with IBPB. */
static void less_on_amd(void **state)
{
    struct host_info h = {.speculation = RETPOLINE | SPECULATION_RSB};

    (void)state;
    assert_int_equal(mitigations_choose(&h, MITIGATIONS_AUTO), RETPOLINE | SPECULATION_RSB);
    h.speculation |= SPECULATION_IBPB;
    assert_int_equal(mitigations_choose(&h, MITIGATIONS_ALL),
                     RETPOLINE | SPECULATION_RSB | SPECULATION_IBPB);
    assert_int_equal(mitigations_choose(&h, MITIGATIONS_OFF), 0);
}

static enum feature_state state_of(const struct host_info *h, u32 used, const char *name,
                                   const char *note)
{
    struct feature_line line;

    for (u32 i = 0; mitigations_line(h, used, i, &line); i++)
        if (!strcmp(line.name, name)) {
            assert_non_null(strstr(line.note, note));
            return line.state;
        }
    fail_msg("no line %s", name);
    return 0;
}

static void says_why(void **state)
{
    struct host_info w = {.speculation = RETPOLINE | vmx_caps_speculation(SPEC | FLUSH | CAPS),
                          .arch_capabilities = BIT(0)};
    u32 use = mitigations_choose(&w, MITIGATIONS_AUTO);

    (void)state;
    assert_int_equal(state_of(&w, use, "IBRS in the host", "Spectre v2"), FEATURE_ACTIVE);
    assert_int_equal(state_of(&w, use, "L1D flush before entry", "not affected"), FEATURE_UNUSED);
    assert_int_equal(state_of(&w, use, "VERW before entry", "no means"), FEATURE_ABSENT);
    assert_int_equal(state_of(&w, 0, "IBRS in the host", "mitigations: off"), FEATURE_UNUSED);
    use = mitigations_choose(&w, MITIGATIONS_ALL); /* also what it does not need, with its means */
    assert_int_equal(use, BASIC | RETPOLINE | SPECULATION_L1D);
    assert_int_equal(state_of(&w, use, "L1D flush before entry", "L1TF"), FEATURE_ACTIVE);
    w.speculation = RETPOLINE;
    assert_int_equal(state_of(&w, 0, "IBPB between VMs", "no means"), FEATURE_ABSENT);
}

static void guests_see_what_holds(void **state)
{
    (void)state;
    assert_int_equal(mitigations_guest_capabilities(0), BIT(3));
    /* TSX_CTRL, MISC_PACKAGE_CTLS and the like are MSRs that a guest has not. */
    assert_int_equal(mitigations_guest_capabilities(BIT(0) | BIT(7) | BIT(10)), BIT(0) | BIT(3));
}

static void a_refusal_leaves_none(void **state)
{
    (void)state;
    info.speculation = RETPOLINE;
    answer = HV_OK;
    mitigations_apply(MITIGATIONS_AUTO);
    assert_int_equal(asked, RETPOLINE);
    mitigations_apply(MITIGATIONS_OFF);
    assert_int_equal(asked, 0);
    answer = HV_EINVAL;
    mitigations_apply(MITIGATIONS_AUTO);
    assert_int_equal(mitigations_used(), 0);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(chooses),
        cmocka_unit_test(says_why),
        cmocka_unit_test(less_on_amd),
        cmocka_unit_test(guests_see_what_holds),
        cmocka_unit_test(a_refusal_leaves_none),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
