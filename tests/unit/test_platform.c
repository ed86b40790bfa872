/* links: boot/platform.c boot/acpi.c */
/* I/O APICs, interrupt overrides, timers, reset and S5 from ACPI tables, sound and broken. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>

#include <cmocka.h>

#include "boot/platform.h"

static u8 memory[8192];
#define MEMORY_BASE 0x1000
enum {
    RSDP = 0x1000,
    XSDT = 0x1100,
    FADT = 0x1300,
    MADT = 0x1500,
    DSDT = 0x1700,
    HPET = 0x1900,
    DMAR = 0x1b00
};

static const void *map(u64 paddr, u64 len)
{
    if (paddr < MEMORY_BASE || len > sizeof(memory) || paddr - MEMORY_BASE > sizeof(memory) - len)
        return NULL;
    return memory + (paddr - MEMORY_BASE);
}

static u8 *at(u64 paddr)
{
    return memory + (paddr - MEMORY_BASE);
}

static void put(u64 paddr, u64 value, u32 size)
{
    memcpy(at(paddr), &value, size);
}

static void seal(u64 table, u32 len, u32 checksum_at)
{
    u8 sum = 0;
    at(table)[checksum_at] = 0;
    for (u32 i = 0; i < len; i++)
        sum += at(table)[i];
    at(table)[checksum_at] = (u8)-sum;
}

static void table(u64 paddr, const char *signature, u32 len)
{
    memcpy(at(paddr), signature, 4);
    put(paddr + 4, len, 4);
    seal(paddr, len, 9);
}

static int setup(void **state)
{
    (void)state;
    memset(memory, 0, sizeof(memory));
    memcpy(at(RSDP), "RSD PTR ", 8);
    put(RSDP + 15, 2, 1);
    put(RSDP + 20, 36, 4);
    put(RSDP + 24, XSDT, 8);
    seal(RSDP, 20, 8);
    seal(RSDP, 36, 32);

    u32 n = 44;
    const u8 madt[] = {
        0, 8,  0,  0,   1,  0, 0,    0,                   /* a CPU */
        1, 12, 9,  0,   0,  0, 0xc0, 0xfe, 0,    0, 0, 0, /* I/O APIC at fec00000, GSI 0 */
        1, 12, 10, 0,   0,  0, 0xd0, 0xfe, 24,   0, 0, 0, /* and fed00000, GSI 24 */
        2, 10, 0,  4,   20, 0, 0,    0,    0x0f, 0,       /* IRQ 4 is GSI 20, low, level */
        2, 10, 0,  200, 5,  0, 0,    0,    0,    0};      /* no such IRQ */
    memcpy(at(MADT + n), madt, sizeof(madt));
    table(MADT, "APIC", n + sizeof(madt));

    put(FADT + 40, DSDT, 4);
    put(FADT + 64, 0x604, 4);
    put(FADT + 76, 0x608, 4);
    put(FADT + 112, 1 << 10 | 1 << 8, 4);
    put(FADT + 116, 1, 1);
    put(FADT + 120, 0xcf9, 8);
    put(FADT + 128, 6, 1);
    table(FADT, "FACP", 244);

    const u8 s5[] = {'_', 'S', '5', '_', 0x12, 0x06, 0x04, 0x0a, 0x05, 0x01, 0x00, 0x00};
    memcpy(at(DSDT + 60), s5, sizeof(s5));
    table(DSDT, "DSDT", 100);

    put(HPET + 44, 0xfed00000, 8);
    table(HPET, "HPET", 56);

    const u8 dmar[] = {
        38, 1, 0,  0, 0,    0,    0,    0, 0, 0,    0,    0,                /* remapping */
        0,  0, 16, 0, 1,    0,    0,    0, 0, 0x90, 0xd9, 0xfe, 0, 0, 0, 0, /* a unit */
        0,  0, 16, 0, 0,    0,    1,    0, 0, 0x10, 0xd9, 0xfe, 0, 0, 0, 0, /* of segment 1 */
        1,  0, 8,  0, 0,    0,    0,    0, 0, 0,    17,   0,    0, 0, 0, 0, /* RMRR, then one */
        0,  0, 0,  0, 0x20, 0xd9, 0xfe, 0};                                 /* too long */
    memcpy(at(DMAR + 36), dmar, sizeof(dmar));
    table(DMAR, "DMAR", 36 + sizeof(dmar));

    put(XSDT + 60, DMAR, 8);
    put(XSDT + 36, FADT, 8);
    put(XSDT + 44, MADT, 8);
    put(XSDT + 52, HPET, 8);
    table(XSDT, "XSDT", 68);
    return 0;
}

static void sound_tables(void **state)
{
    (void)state;
    struct boot_platform p;
    struct platform_timers t;
    platform_read(&p, &t, map, RSDP);
    assert_int_equal(p.ioapic_count, 2);
    assert_int_equal(p.ioapics[1].address, 0xfed00000);
    assert_int_equal(p.ioapics[1].gsi_base, 24);
    assert_int_equal(p.isa[4].gsi, 20);
    assert_true(p.isa[4].active_low && p.isa[4].level);
    assert_int_equal(p.isa[3].gsi, 3);
    assert_int_equal(t.pm_port, 0x608);
    assert_true(t.pm_32bit);
    assert_int_equal(p.pm1a_control, 0x604);
    assert_int_equal(p.reset_port, 0xcf9);
    assert_int_equal(p.reset_value, 6);
    assert_true(p.has_s5);
    assert_int_equal(p.sleep_type_a, 5);
    assert_int_equal(p.sleep_type_b, 1);
    assert_int_equal(t.hpet, 0xfed00000);
    assert_true(p.interrupt_remapping);
    assert_int_equal(p.iommu_count, 1);
    assert_int_equal(p.iommus[0], 0xfed99000);
}

static void no_acpi(void **state)
{
    (void)state;
    struct boot_platform p;
    struct platform_timers t;
    platform_read(&p, &t, map, 0);
    assert_int_equal(p.ioapic_count, 1);
    assert_int_equal(p.ioapics[0].address, 0xfec00000);
    assert_int_equal(p.isa[4].gsi, 4);
    assert_false(p.has_s5 || t.pm_port || p.reset_port || t.hpet || p.iommu_count);
}

static void broken_entries(void **state)
{
    (void)state;
    struct boot_platform p;
    struct platform_timers t;
    at(MADT)[45] = 0; /* an entry of no length */
    table(MADT, "APIC", 100);
    put(FADT + 40, 0xfffffff0, 4); /* DSDT where nothing is */
    put(FADT + 64, 0x12345678, 4); /* no port */
    table(FADT, "FACP", 120);      /* ends before the reset register */
    platform_read(&p, &t, map, RSDP);
    assert_int_equal(p.ioapic_count, 1);
    assert_false(p.has_s5);
    assert_int_equal(p.pm1a_control, 0);
    assert_int_equal(p.reset_port, 0);
}

static void every_cut_and_every_byte(void **state)
{
    (void)state;
    struct boot_platform p;
    struct platform_timers t;
    static u8 saved[sizeof(memory)];
    memcpy(saved, memory, sizeof(memory));
    for (u32 i = 0; i < 100; i++) { /* AML that lies about itself */
        memcpy(memory, saved, sizeof(memory));
        at(DSDT + 60 + i % 12)[0] = (u8)(i * 37);
        table(DSDT, "DSDT", 61 + i % 39);
        platform_read(&p, &t, map, RSDP);
    }
    for (u32 i = 44; i < 100; i++) {
        memcpy(memory, saved, sizeof(memory));
        at(MADT)[i] = 0xff;
        table(MADT, "APIC", 100);
        platform_read(&p, &t, map, RSDP);
        table(MADT, "APIC", i);
        platform_read(&p, &t, map, RSDP);
        assert_true(p.ioapic_count >= 1 && p.ioapic_count <= BOOT_IOAPICS);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup(sound_tables, setup),
        cmocka_unit_test_setup(no_acpi, setup),
        cmocka_unit_test_setup(broken_entries, setup),
        cmocka_unit_test_setup(every_cut_and_every_byte, setup),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
