/* links: kernel/policy.c */
/* The check of CPUID and MSR policy: what it accepts and refuses, and the index it builds. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include "kernel/policy.h"

static u8 index_[POLICY_GROUPS][POLICY_LEAVES];

static struct vm_policy good(void)
{
    return (struct vm_policy){
        .cpuid_count = 5,
        .cpuid = {{.leaf = 0},
                  {.leaf = 4, .subleaf = 0, .flags = CPUID_SUBLEAF},
                  {.leaf = 4, .subleaf = 1, .flags = CPUID_SUBLEAF},
                  {.leaf = 0x40000000},
                  {.leaf = 0x80000008}},
        .msr_count = 3,
        .msr = {{.first = 0x10, .last = 0x1f, .kind = MSR_CONST},
                {.first = 0x20, .last = 0x20, .kind = MSR_STORED},
                {.first = 0xc0000080, .last = 0xffffffff, .kind = MSR_FAULT}},
    };
}

static void builds_the_index(void **state)
{
    struct vm_policy p = good();

    (void)state;
    assert_int_equal(policy_check(&p, index_), HV_OK);
    assert_int_equal(index_[0][0], 1);
    assert_int_equal(index_[0][4], 2);
    assert_int_equal(index_[0][5], 0);
    assert_int_equal(index_[1][0], 4);
    assert_int_equal(index_[2][8], 5);
    p.cpuid[3].leaf = 0x40000101;
    assert_int_equal(policy_check(&p, index_), HV_OK);
    assert_int_equal(index_[1][0], 0);
    assert_int_equal(index_[POLICY_FAR][1], 4);
    p.cpuid_count = p.msr_count = 0;
    assert_int_equal(policy_check(&p, index_), HV_OK);
    assert_int_equal(index_[0][0], 0);
}

#define REFUSED(change)                                                                            \
    do {                                                                                           \
        struct vm_policy p = good();                                                               \
        change;                                                                                    \
        assert_int_equal(policy_check(&p, index_), HV_EINVAL);                                     \
    } while (0)

static void refuses_bad_cpuid_rows(void **state)
{
    (void)state;
    REFUSED(p.cpuid_count = POLICY_CPUID_MAX + 1);
    REFUSED(p.cpuid[0].leaf = 5);
    REFUSED(p.cpuid[3].leaf = 0x40000040);
    REFUSED(p.cpuid[3].leaf = 0x40000140);
    REFUSED(p.cpuid[3].leaf = 0x40000200);
    REFUSED(p.cpuid[4].leaf = 0xc0000000);
    REFUSED(p.cpuid[2].subleaf = 0);
    REFUSED(p.cpuid[1].flags = 0);
    REFUSED(p.cpuid[2].flags = 0);
}

static void refuses_bad_msr_rows(void **state)
{
    (void)state;
    REFUSED(p.msr_count = POLICY_MSR_MAX + 1);
    REFUSED(p.msr[0].last = 0x20);
    REFUSED(p.msr[0].last = 0x0f);
    REFUSED(p.msr[1].last = 0x20 + VM_STORED_MSRS);
    REFUSED(p.msr[2].kind = MSR_STORED + 1);
}

static void limits_stored_msrs(void **state)
{
    struct vm_policy p = {.msr_count = VM_STORED_MSRS};

    (void)state;
    for (u32 i = 0; i <= VM_STORED_MSRS; i++)
        p.msr[i] = (struct msr_row){.first = i, .last = i, .kind = MSR_STORED};
    assert_int_equal(policy_check(&p, index_), HV_OK);
    p.msr_count++;
    assert_int_equal(policy_check(&p, index_), HV_EINVAL);
    /* A range takes a place an MSR. */
    p.msr_count = 1;
    p.msr[0].last = VM_STORED_MSRS - 1;
    assert_int_equal(policy_check(&p, index_), HV_OK);
    p.msr[0].last = VM_STORED_MSRS;
    assert_int_equal(policy_check(&p, index_), HV_EINVAL);
    p.msr[0].last = ~0u;
    assert_int_equal(policy_check(&p, index_), HV_EINVAL);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(builds_the_index),
        cmocka_unit_test(refuses_bad_cpuid_rows),
        cmocka_unit_test(refuses_bad_msr_rows),
        cmocka_unit_test(limits_stored_msrs),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
