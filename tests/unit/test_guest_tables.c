/* links: vmm/acpi_tables.c vmm/cpuid.c vmm/msr.c */
/* What a guest is told of its machine: ACPI tables, CPUID and MSR policy. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>

#include <cmocka.h>

#include "kernel/abi/x86_bits.h"
#include "vmm/acpi_tables.h"
#include "vmm/cpuid.h"
#include "vmm/msr.h"
#include "vmm/pci.h"

static u8 space[ACPI_TABLES_MAX];

static u64 get(const u8 *p, u32 bytes)
{
    u64 v = 0;
    memcpy(&v, p, bytes);
    return v;
}

static u8 sum(const u8 *p, u32 len)
{
    u8 s = 0;
    while (len--)
        s += *p++;
    return s;
}

static const u8 *table(u64 gpa, const char *signature)
{
    const u8 *t = space + (gpa - ACPI_TABLES_GPA);
    assert_memory_equal(t, signature, 4);
    if (strcmp(signature, "FACS"))
        assert_int_equal(sum(t, (u32)get(t + 4, 4)), 0);
    return t;
}

static void tables_hang_together(void **state)
{
    u8 dsdt[64] = "DSDT";
    struct acpi_tables_config c = {.cpu_count = 64, .dsdt = dsdt, .dsdt_len = sizeof(dsdt)};
    (void)state;
    dsdt[4] = sizeof(dsdt);
    dsdt[9] = (u8)(dsdt[9] - sum(dsdt, sizeof(dsdt)));
    u32 used = acpi_tables_build(space, sizeof(space), ACPI_TABLES_GPA, &c);
    assert_true(used > 0 && used <= sizeof(space));
    assert_memory_equal(space, "RSD PTR ", 8);
    assert_int_equal(sum(space, 20), 0);
    assert_int_equal(sum(space, 36), 0);
    const u8 *xsdt = table(get(space + 24, 8), "XSDT");
    assert_int_equal(get(xsdt + 4, 4), 36 + 3 * 8);
    const u8 *mcfg = table(get(xsdt + 52, 8), "MCFG");
    assert_int_equal(get(mcfg + 4, 4), 60);
    assert_int_equal(get(mcfg + 44, 8), PCI_ECAM_BASE);
    const u8 *fadt = table(get(xsdt + 36, 8), "FACP");
    assert_int_equal(get(fadt + 40, 4), get(fadt + 140, 8));
    table(get(fadt + 140, 8), "DSDT");
    table(get(fadt + 36, 4), "FACS");
    assert_int_equal(get(fadt + 36, 4) % 64, 0);
    assert_int_equal(get(fadt + 64, 4), 0x604);
    assert_int_equal(get(fadt + 120, 8), 0xcf9);
    assert_int_equal(fadt[128], 6);
    const u8 *madt = table(get(xsdt + 44, 8), "APIC");
    u32 cpus = 0, length = (u32)get(madt + 4, 4), at = 44;
    while (at < length) {
        cpus += madt[at] == 0;
        assert_int_not_equal(madt[at + 1], 0);
        at += madt[at + 1];
    }
    assert_int_equal(at, length);
    assert_int_equal(cpus, 64);
    for (u32 size = 0; size < used; size += 16)
        assert_int_equal(acpi_tables_build(space, size, ACPI_TABLES_GPA, &c), 0);
}

/* A host with every bit set, and one with none. */
static struct cpuid_regs all_ones(u32 leaf, u32 subleaf)
{
    if (leaf == 0)
        return (struct cpuid_regs){0x20, 0x756e6547, 0x6c65746e, 0x49656e69};
    if (leaf == 0x80000000)
        return (struct cpuid_regs){0x80000021, 0, 0, 0};
    if (leaf == 0xd && subleaf == 2)
        return (struct cpuid_regs){256, 576, 0, 0};
    if (leaf == 4 && subleaf >= 4)
        return (struct cpuid_regs){0};
    return (struct cpuid_regs){~0u, ~0u, ~0u, ~0u};
}

static struct cpuid_regs all_zero(u32 leaf, u32 subleaf)
{
    (void)subleaf;
    if (leaf == 0)
        return (struct cpuid_regs){0x20, 0, 0, 0};
    if (leaf == 0x80000000)
        return (struct cpuid_regs){0x80000008, 0, 0, 0};
    return (struct cpuid_regs){0};
}

static struct vm_policy policy;

static const struct cpuid_row *row(u32 leaf, u32 subleaf)
{
    for (u32 i = 0; i < policy.cpuid_count; i++) {
        const struct cpuid_row *r = &policy.cpuid[i];
        if (r->leaf == leaf && (!(r->flags & CPUID_SUBLEAF) || r->subleaf == subleaf))
            return r;
    }
    return NULL;
}

static void cpuid_allows_by_name(void **state)
{
    const struct cpuid_host host = {.read = all_ones, .tsc_hz = 2000000000};
    (void)state;
    cpuid_policy(&policy, &host, 3);
    const struct cpuid_row *one = row(1, 0);
    assert_int_equal(one->ecx >> 5 & 1, 0);  /* VMX */
    assert_int_equal(one->ecx >> 3 & 1, 0);  /* MONITOR */
    assert_int_equal(one->ecx >> 21 & 1, 1); /* x2APIC */
    assert_int_equal(one->ecx >> 31, 1);
    assert_int_equal(one->edx >> 28 & 1, 1);
    assert_int_equal(one->ebx >> 16 & 0xff, 3);
    assert_int_equal(row(7, 0)->ebx >> 16 & 1, 0); /* AVX-512 */
    assert_int_equal(row(7, 0)->edx >> 29 & 1, 0); /* ARCH_CAPABILITIES */
    assert_null(row(0xa, 0));
    assert_null(row(5, 0));
    assert_int_equal(row(0xb, 1)->ebx, 3);
    assert_int_equal(row(0xb, 1)->eax, 2);
    assert_int_equal(row(4, 3)->eax >> 26, 3);
    assert_int_equal(row(0x15, 0)->ecx, 2000000000);
    assert_int_equal(row(0x16, 0)->eax, 2000);
    assert_int_equal(row(0xd, 0)->ecx, 832);
    assert_int_equal(policy.xcr0_allowed, 7);
    assert_int_equal(policy.cr4_allowed >> 13 & 1, 0); /* VMXE */
    assert_int_equal(policy.cr4_allowed >> 20 & 3, 3); /* SMEP, SMAP */
    char text[13] = "";
    memcpy(text, &row(0x40000000, 0)->ebx, 4);
    memcpy(text + 4, &row(0x40000000, 0)->ecx, 4);
    memcpy(text + 8, &row(0x40000000, 0)->edx, 4);
    assert_string_equal(text, "BulkheadHV  ");
    assert_int_equal(row(0x40000010, 0)->eax, 2000000);
    assert_null(row(0x40000100, 0));
}

static void pv_clock_is_offered(void **state)
{
    const struct cpuid_host host = {.read = all_ones, .tsc_hz = 2000000000, .pv_clock = true};
    (void)state;
    cpuid_policy(&policy, &host, 1);
    assert_memory_equal(&row(0x40000100, 0)->ebx, "KVMKVMKVM\0\0\0", 12);
    assert_int_equal(row(0x40000100, 0)->eax, 0x40000101);
    assert_int_equal(row(0x40000101, 0)->eax, 1 << 1 | 1 << 3 | 1 << 6 | 1 << 24);
}

static void cpuid_of_a_poor_host(void **state)
{
    const struct cpuid_host host = {.read = all_zero, .tsc_hz = 5000000000};
    const char *name, *reason;
    (void)state;
    cpuid_policy(&policy, &host, 1);
    assert_int_equal(row(1, 0)->ecx, 1u << 31 | 1u << 24 | 1u << 21);
    assert_int_equal(policy.xcr0_allowed, 0);
    assert_null(row(0xd, 0));
    assert_null(row(0x15, 0)); /* 5 GHz do not fit */
    assert_int_equal(row(1, 0)->edx >> 28 & 1, 0);
    for (u32 i = 0; cpuid_describe(i, &name, &reason); i++)
        assert_true(name[0] && reason[0]);
}

static void rows_are_sorted(void **state)
{
    const struct cpuid_host host = {.read = all_ones, .tsc_hz = 2000000000, .pv_clock = true};
    (void)state;
    cpuid_policy(&policy, &host, 64);
    msr_policy(&policy, 39, NULL, true);
    assert_true(policy.cpuid_count < POLICY_CPUID_MAX);
    for (u32 i = 1; i < policy.cpuid_count; i++) {
        const struct cpuid_row *a = &policy.cpuid[i - 1], *b = &policy.cpuid[i];
        assert_true(a->leaf < b->leaf || (a->leaf == b->leaf && a->subleaf < b->subleaf));
    }
    for (u32 i = 1; i < policy.msr_count; i++)
        assert_true(policy.msr[i - 1].last < policy.msr[i].first);
    for (u32 i = 0; i < policy.msr_count; i++)
        if (policy.msr[i].first == MSR_PV_EOI)
            assert_int_equal(policy.msr[i].kind, MSR_STORED);
    msr_policy(&policy, 39, NULL, false);
    for (u32 i = 0; i < policy.msr_count; i++)
        if (policy.msr[i].first >> 8 == MSR_PV_EOI >> 8)
            assert_int_equal(policy.msr[i].kind, MSR_FAULT);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(tables_hang_together), cmocka_unit_test(cpuid_allows_by_name),
        cmocka_unit_test(pv_clock_is_offered),  cmocka_unit_test(cpuid_of_a_poor_host),
        cmocka_unit_test(rows_are_sorted),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
