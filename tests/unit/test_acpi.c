/* links: boot/acpi.c */
/* ACPI tables of the host: found through XSDT and RSDT, refused when broken; CPUs of the MADT. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>

#include <cmocka.h>

#include "boot/acpi.h"

/* Physical memory of the test: address 0x1000 on. */
static u8 memory[4096];
#define MEMORY_BASE 0x1000
enum { RSDP = 0x1000, XSDT = 0x1100, RSDT = 0x1200, FADT = 0x1300, MADT = 0x1400 };

static const void *map(u64 paddr, u64 len)
{
    if (paddr < MEMORY_BASE || len > sizeof(memory) || paddr - MEMORY_BASE > sizeof(memory) - len)
        return NULL;
    return memory + (paddr - MEMORY_BASE);
}

static void put(u32 at, u64 value, u32 size)
{
    memcpy(memory + at - MEMORY_BASE, &value, size);
}

static void fix_checksum(u32 at, u32 len, u32 where)
{
    u8 sum = 0;

    put(at + where, 0, 1);
    for (u32 i = 0; i < len; i++)
        sum = (u8)(sum + memory[at - MEMORY_BASE + i]);
    put(at + where, (u8)-sum, 1);
}

static void table(u32 at, const char *signature, u32 len)
{
    memcpy(memory + at - MEMORY_BASE, signature, 4);
    put(at + 4, len, 4);
    fix_checksum(at, len, 9);
}

static int build(void **state)
{
    static const u8 entries[] = {
        0, 8,  0, 0,    1,    0, 0,    0,                            /* APIC 0, enabled */
        1, 12, 0, 0,    0,    0, 0xc0, 0xfe, 0, 0, 0, 0,             /* I/O APIC */
        0, 8,  1, 2,    0,    0, 0,    0,                            /* APIC 2, disabled */
        0, 8,  9, 0xff, 0,    0, 0,    0,                            /* unused row */
        9, 16, 0, 0,    0x2c, 1, 0,    0,    1, 0, 0, 0, 3, 0, 0, 0, /* x2APIC 300 */
        9, 16, 0, 0,    0,    0, 0,    0,    1, 0, 0, 0, 0, 0, 0, 0, /* x2APIC 0 again */
    };
    (void)state;
    memset(memory, 0, sizeof(memory));
    memcpy(memory, "RSD PTR ", 8);
    put(RSDP + 15, 2, 1);
    put(RSDP + 16, RSDT, 4);
    put(RSDP + 24, XSDT, 8);
    fix_checksum(RSDP, 20, 8);
    put(RSDT + 36, FADT, 4);
    table(RSDT, "RSDT", 40);
    put(XSDT + 36, FADT, 8);
    put(XSDT + 44, 0xdead000000ull, 8); /* outside memory: skipped */
    put(XSDT + 52, MADT, 8);
    table(XSDT, "XSDT", 60);
    table(FADT, "FACP", 100);
    memcpy(memory + MADT - MEMORY_BASE + 44, entries, sizeof(entries));
    table(MADT, "APIC", 44 + sizeof(entries));
    return 0;
}

static void finds_tables(void **state)
{
    u32 len = 0;

    (void)state;
    assert_ptr_equal(acpi_find(map, RSDP, "APIC", &len), memory + MADT - MEMORY_BASE);
    assert_int_equal(len, 44 + 68);
    assert_non_null(acpi_find(map, RSDP, "FACP", &len));
    assert_null(acpi_find(map, RSDP, "HPET", &len));
    assert_null(acpi_find(map, 0, "APIC", &len));
}

static void falls_back_to_the_rsdt(void **state)
{
    u32 len;

    (void)state;
    put(XSDT + 8, 77, 1); /* breaks its checksum */
    assert_null(acpi_find(map, RSDP, "APIC", &len));
    assert_non_null(acpi_find(map, RSDP, "FACP", &len));
}

static void refuses_broken_tables(void **state)
{
    u32 len;

    (void)state;
    put(MADT + 60, 0x55, 1);
    assert_null(acpi_find(map, RSDP, "APIC", &len));
    put(FADT + 4, 0xffffffff, 4);
    assert_null(acpi_find(map, RSDP, "FACP", &len));
    put(RSDP, 0, 1);
    assert_null(acpi_find(map, RSDP, "FACP", &len));
}

static void lists_cpus(void **state)
{
    struct acpi_cpu cpus[4];
    u32 len = 0;

    (void)state;
    const u8 *madt = acpi_find(map, RSDP, "APIC", &len);
    assert_int_equal(acpi_madt_cpus(madt, len, cpus, 4), 3);
    assert_true(cpus[0].apic_id == 0 && cpus[0].usable);
    assert_true(cpus[1].apic_id == 2 && !cpus[1].usable);
    assert_true(cpus[2].apic_id == 300 && cpus[2].usable);
    assert_int_equal(acpi_madt_cpus(madt, len, cpus, 1), 1);
    for (u32 cut = 0; cut < len; cut++)
        assert_true(acpi_madt_cpus(madt, cut, cpus, 4) <= 3);
}

static void stops_at_an_empty_entry(void **state)
{
    struct acpi_cpu cpus[4];
    u8 madt[60] = {[44] = 0, [45] = 0};

    (void)state;
    assert_int_equal(acpi_madt_cpus(madt, sizeof(madt), cpus, 4), 0);
}

static void reads_fields(void **state)
{
    const u8 t[] = {1, 2, 3, 4, 5, 6, 7, 8};

    (void)state;
    assert_int_equal(acpi_u16(t, 8, 1), 0x0302);
    assert_int_equal(acpi_u32(t, 8, 6), 0x0807);
    assert_true(acpi_u64(t, 8, 0) == 0x0807060504030201ull);
    assert_int_equal(acpi_u8(t, 8, 8), 0);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup(finds_tables, build),
        cmocka_unit_test_setup(falls_back_to_the_rsdt, build),
        cmocka_unit_test_setup(refuses_broken_tables, build),
        cmocka_unit_test_setup(lists_cpus, build),
        cmocka_unit_test(stops_at_an_empty_entry),
        cmocka_unit_test(reads_fields),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
