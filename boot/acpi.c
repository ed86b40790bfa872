/* The host's static ACPI tables: called by cpus.c, firmware.c and platform.c on the boot CPU; no
 * state. */
#include "boot/acpi.h"

#define TABLE_MAX (16 * MIB) /* no static table is larger; a longer one is broken */

/* ACPI 6.4 table 5.45: MADT structure types, their offsets and flags. */
enum { MADT_ENTRIES = 44, MADT_LOCAL_APIC = 0, MADT_LOCAL_X2APIC = 9, MADT_ENABLED = 1 };

static u64 field(const u8 *table, u32 len, u32 at, u32 size)
{
    u64 value = 0;

    for (u32 i = 0; i < size && at + i < len; i++)
        value |= (u64)table[at + i] << (8 * i);
    return value;
}

u8 acpi_u8(const u8 *table, u32 len, u32 at)
{
    return (u8)field(table, len, at, 1);
}

u16 acpi_u16(const u8 *table, u32 len, u32 at)
{
    return (u16)field(table, len, at, 2);
}

u32 acpi_u32(const u8 *table, u32 len, u32 at)
{
    return (u32)field(table, len, at, 4);
}

u64 acpi_u64(const u8 *table, u32 len, u32 at)
{
    return field(table, len, at, 8);
}

static bool checksum_ok(const u8 *at, u64 len)
{
    u8 sum = 0;

    for (u64 i = 0; i < len; i++)
        sum = (u8)(sum + at[i]);
    return sum == 0;
}

/* A whole table at paddr, or NULL. */
static const u8 *table_at(acpi_map_fn map, u64 paddr, u32 *len)
{
    const u8 *t = paddr ? map(paddr, ACPI_HEADER_LEN) : NULL;

    if (!t)
        return NULL;
    *len = acpi_u32(t, ACPI_HEADER_LEN, 4);
    if (*len < ACPI_HEADER_LEN || *len > TABLE_MAX)
        return NULL;
    t = map(paddr, *len);
    return t && checksum_ok(t, *len) ? t : NULL;
}

const u8 *acpi_find(acpi_map_fn map, u64 rsdp, const char *signature, u32 *len)
{
    const u8 *r = rsdp ? map(rsdp, 36) : NULL;
    u32 root_len, size = 4;

    if (!r || __builtin_memcmp(r, "RSD PTR ", 8) != 0 || !checksum_ok(r, 20))
        return NULL;
    const u8 *root = NULL;
    if (r[15] >= 2) {
        root = table_at(map, acpi_u64(r, 36, 24), &root_len);
        size = 8;
    }
    if (!root) {
        root = table_at(map, acpi_u32(r, 36, 16), &root_len);
        size = 4;
    }
    if (!root)
        return NULL;
    for (u32 at = ACPI_HEADER_LEN; at + size <= root_len; at += size) {
        const u8 *t = table_at(map, field(root, root_len, at, size), len);
        if (t && __builtin_memcmp(t, signature, 4) == 0)
            return t;
    }
    return NULL;
}

static u32 add_cpu(struct acpi_cpu *out, u32 count, u32 max, u32 apic_id, u32 flags)
{
    for (u32 i = 0; i < count; i++)
        if (out[i].apic_id == apic_id) {
            out[i].usable |= flags & MADT_ENABLED;
            return count;
        }
    if (count < max)
        out[count++] = (struct acpi_cpu){apic_id, flags & MADT_ENABLED};
    return count;
}

u32 acpi_madt_cpus(const u8 *madt, u32 len, struct acpi_cpu *out, u32 max)
{
    u32 count = 0, size;

    for (u32 at = MADT_ENTRIES; at + 2 <= len; at += size) {
        const u8 *entry = madt + at;
        size = entry[1];
        if (size < 2 || size > len - at)
            break;
        /* APIC id 255 in a local APIC entry marks an unused row. */
        if (entry[0] == MADT_LOCAL_APIC && size >= 8 && entry[3] != 0xff)
            count = add_cpu(out, count, max, entry[3], acpi_u32(entry, size, 4));
        else if (entry[0] == MADT_LOCAL_X2APIC && size >= 16)
            count = add_cpu(out, count, max, acpi_u32(entry, size, 4), acpi_u32(entry, size, 8));
    }
    return count;
}
