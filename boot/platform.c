/* Reads MADT, FADT, DMAR and HPET tables (ACPI 6.4 chapters 5.2.9, 5.2.12; IA-PC HPET 1.0a 3.2.4).
 * Called by main.c on the boot CPU, before ExitBootServices. */
#include "boot/platform.h"

#define MADT_ENTRIES 44
#define MADT_IOAPIC 1
#define MADT_OVERRIDE 2
#define IOAPIC_DEFAULT 0xfec00000u

#define DMAR_FLAGS 37
#define DMAR_UNITS 48
#define DMAR_UNIT 0

#define FADT_DSDT 40
#define FADT_PM1A_CONTROL 64
#define FADT_PM1B_CONTROL 68
#define FADT_PM_TIMER 76
#define FADT_FLAGS 112
#define FADT_RESET_REG 116
#define FADT_RESET_VALUE 128
#define FADT_X_DSDT 140
#define FADT_X_PM1A_CONTROL 172
#define FADT_X_PM_TIMER 208
#define FLAG_TIMER_32BIT BIT(8)
#define FLAG_RESET BIT(10)
#define GAS_IO 1 /* address space of a generic address structure, its first byte */

static void read_ioapic(struct boot_platform *p, const u8 *t, u32 len, u32 at)
{
    if (p->ioapic_count == BOOT_IOAPICS)
        return;
    p->ioapics[p->ioapic_count].address = acpi_u32(t, len, at + 4);
    p->ioapics[p->ioapic_count].gsi_base = acpi_u32(t, len, at + 8);
    p->ioapic_count++;
}

static void read_override(struct boot_platform *p, const u8 *t, u32 len, u32 at)
{
    u8 irq = acpi_u8(t, len, at + 3);
    u16 flags = acpi_u16(t, len, at + 8);

    if (acpi_u8(t, len, at + 2) != 0 || irq >= BOOT_ISA_IRQS)
        return;
    p->isa[irq].gsi = acpi_u32(t, len, at + 4);
    p->isa[irq].active_low = (flags & 3) == 3;
    p->isa[irq].level = (flags >> 2 & 3) == 3;
}

static void read_madt(struct boot_platform *p, const u8 *t, u32 len)
{
    for (u32 at = MADT_ENTRIES; at + 2 <= len;) {
        u8 type = acpi_u8(t, len, at), size = acpi_u8(t, len, at + 1);
        if (size < 2 || size > len - at)
            return;
        if (type == MADT_IOAPIC && size >= 12)
            read_ioapic(p, t, len, at);
        else if (type == MADT_OVERRIDE && size >= 10)
            read_override(p, t, len, at);
        at += size;
    }
}

/* An I/O port, from the generic address structure where it is filled in, else from the old field.
 */
static u16 port_of(const u8 *t, u32 len, u32 gas, u32 old)
{
    u64 port = acpi_u64(t, len, gas + 4);
    if (acpi_u8(t, len, gas) != GAS_IO || port == 0)
        port = old ? acpi_u32(t, len, old) : 0;
    return port <= 0xffff ? (u16)port : 0;
}

/* One small integer of AML (ACPI 6.4, 20.2.3); false: something else. */
static bool small_int(const u8 *t, u32 len, u32 *at, u8 *value)
{
    u8 op = acpi_u8(t, len, (*at)++);
    if (op == 0x0a)
        op = acpi_u8(t, len, (*at)++);
    else if (op > 1)
        return false;
    *value = op;
    return true;
}

/* "_S5_" is always a package of constants, so it is found without interpreting AML. */
static void read_s5(struct boot_platform *p, const u8 *t, u32 len)
{
    for (u32 i = ACPI_HEADER_LEN; i + 8 < len; i++) {
        if (__builtin_memcmp(t + i, "_S5_\x12", 5) != 0)
            continue;
        u32 at = i + 5;
        at += 1 + (acpi_u8(t, len, at) >> 6); /* package length */
        at += 1;                              /* element count */
        if (small_int(t, len, &at, &p->sleep_type_a) && small_int(t, len, &at, &p->sleep_type_b))
            p->has_s5 = true;
        return;
    }
}

/* The DSDT is not in the XSDT: check its header here. */
static void read_dsdt(struct boot_platform *p, acpi_map_fn map, const u8 *fadt, u32 len)
{
    u64 at = acpi_u64(fadt, len, FADT_X_DSDT);
    if (!at)
        at = acpi_u32(fadt, len, FADT_DSDT);
    const u8 *head = at ? map(at, ACPI_HEADER_LEN) : NULL;
    if (!head || __builtin_memcmp(head, "DSDT", 4) != 0)
        return;
    u32 size = acpi_u32(head, ACPI_HEADER_LEN, 4);
    const u8 *dsdt = size > ACPI_HEADER_LEN && size <= 4 * MIB ? map(at, size) : NULL;
    if (dsdt)
        read_s5(p, dsdt, size);
}

static void read_fadt(struct boot_platform *p, struct platform_timers *timers, acpi_map_fn map,
                      const u8 *t, u32 len)
{
    u32 flags = acpi_u32(t, len, FADT_FLAGS);

    timers->pm_port = port_of(t, len, FADT_X_PM_TIMER, FADT_PM_TIMER);
    timers->pm_32bit = flags & FLAG_TIMER_32BIT;
    p->pm1a_control = port_of(t, len, FADT_X_PM1A_CONTROL, FADT_PM1A_CONTROL);
    p->pm1b_control = (u16)acpi_u32(t, len, FADT_PM1B_CONTROL);
    if (flags & FLAG_RESET) {
        p->reset_port = port_of(t, len, FADT_RESET_REG, 0);
        p->reset_value = acpi_u8(t, len, FADT_RESET_VALUE);
    }
    read_dsdt(p, map, t, len);
}

/* VT-d 8.1 to 8.3.  Bus mastering of functions in other segments stays off: pci.c. */
static void read_dmar(struct boot_platform *p, const u8 *t, u32 len)
{
    p->interrupt_remapping = acpi_u8(t, len, DMAR_FLAGS) & 1;
    for (u32 at = DMAR_UNITS; at + 4 <= len;) {
        u16 type = acpi_u16(t, len, at), size = acpi_u16(t, len, at + 2);
        if (size < 4 || size > len - at)
            return;
        if (type == DMAR_UNIT && size >= 16 && acpi_u16(t, len, at + 6) == 0 &&
            p->iommu_count < BOOT_IOMMUS)
            p->iommus[p->iommu_count++] = acpi_u64(t, len, at + 8) & ~(PAGE_SIZE - 1);
        at += size;
    }
}

void platform_read(struct boot_platform *p, struct platform_timers *timers, acpi_map_fn map,
                   u64 rsdp)
{
    u32 len;

    *p = (struct boot_platform){0};
    *timers = (struct platform_timers){0};
    for (u32 i = 0; i < BOOT_ISA_IRQS; i++)
        p->isa[i].gsi = i;

    const u8 *t = acpi_find(map, rsdp, "APIC", &len);
    if (t)
        read_madt(p, t, len);
    if (!p->ioapic_count) {
        p->ioapic_count = 1;
        p->ioapics[0].address = IOAPIC_DEFAULT;
    }
    t = acpi_find(map, rsdp, "FACP", &len);
    if (t)
        read_fadt(p, timers, map, t, len);
    t = acpi_find(map, rsdp, "DMAR", &len);
    if (t)
        read_dmar(p, t, len);
    t = acpi_find(map, rsdp, "HPET", &len);
    if (t && acpi_u8(t, len, 40) == 0)
        timers->hpet = acpi_u64(t, len, 44);
}
