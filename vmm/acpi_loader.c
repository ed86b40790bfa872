/* Writes the script for a guest's ACPI tables; called by fw_cfg_items.c.  Pure. */
#include "vmm/acpi_loader.h"

#include <string.h>

#define RSDP_FILE "etc/acpi/rsdp"
#define TABLES_FILE "etc/acpi/tables"
#define NAME_LEN 56

enum { ALLOCATE = 1, ADD_POINTER, ADD_CHECKSUM };
enum { ZONE_HIGH = 1, ZONE_BIOS };

struct command {
    u32 kind;
    union {
        struct {
            char file[NAME_LEN];
            u32 align;
            u8 zone;
        } __attribute__((packed)) allocate;
        struct {
            char file[NAME_LEN], pointee[NAME_LEN];
            u32 offset;
            u8 size;
        } __attribute__((packed)) pointer;
        struct {
            char file[NAME_LEN];
            u32 offset, start, len;
        } __attribute__((packed)) checksum;
        u8 all[124];
    };
} __attribute__((packed));
_Static_assert(sizeof(struct command) == 128, "the format");

/* Offsets in tables (ACPI 6.4: 5.2.5.3, 5.2.6, 5.2.8, 5.2.9). */
enum { RSDP_CHECKSUM = 8, RSDP_V1_LEN = 20, RSDP_XSDT = 24, RSDP_EXTENDED = 32 };
enum { TABLE_LEN = 4, TABLE_CHECKSUM = 9, TABLE_HEADER = 36 };
enum { FADT_FACS = 36, FADT_DSDT = 40, FADT_X_DSDT = 140 };

struct script {
    u8 *out;
    u32 used, size;
    bool full;
};

static void add(struct script *s, const struct command *c)
{
    s->full = s->full || sizeof(*c) > s->size - s->used;
    if (s->full)
        return;
    memcpy(s->out + s->used, c, sizeof(*c));
    s->used += (u32)sizeof(*c);
}

static void allocate(struct script *s, const char *file, u32 align, u8 zone)
{
    struct command c = {.kind = ALLOCATE, .allocate = {.align = align, .zone = zone}};
    memcpy(c.allocate.file, file, strlen(file));
    add(s, &c);
}

static void pointer(struct script *s, const char *file, u32 offset, u8 size)
{
    struct command c = {.kind = ADD_POINTER, .pointer = {.offset = offset, .size = size}};
    memcpy(c.pointer.file, file, strlen(file));
    memcpy(c.pointer.pointee, TABLES_FILE, sizeof(TABLES_FILE));
    add(s, &c);
}

static void checksum(struct script *s, const char *file, u32 offset, u32 start, u32 len)
{
    struct command c = {.kind = ADD_CHECKSUM,
                        .checksum = {.offset = offset, .start = start, .len = len}};
    memcpy(c.checksum.file, file, strlen(file));
    add(s, &c);
}

static u32 get32(const u8 *at)
{
    u32 value;
    memcpy(&value, at, sizeof(value));
    return value;
}

void acpi_loader_clear(u8 *tables, u32 len)
{
    u32 xsdt = len ? get32(tables + RSDP_XSDT) : 0;
    u32 xsdt_len = len ? get32(tables + xsdt + TABLE_LEN) : 0;
    if (!len)
        return;
    tables[RSDP_CHECKSUM] = tables[RSDP_EXTENDED] = tables[xsdt + TABLE_CHECKSUM] = 0;
    for (u32 at = xsdt + TABLE_HEADER; at < xsdt + xsdt_len; at += 8) {
        u8 *table = tables + get32(tables + at);
        if (memcmp(table, "FACP", 4) == 0)
            table[TABLE_CHECKSUM] = 0;
    }
}

u32 acpi_loader_build(const u8 *tables, u32 len, u8 *out, u32 size)
{
    struct script s = {.out = out, .size = size};
    u32 xsdt = len ? get32(tables + RSDP_XSDT) : 0;
    u32 xsdt_len = len ? get32(tables + xsdt + TABLE_LEN) : 0;
    allocate(&s, RSDP_FILE, 16, ZONE_BIOS);
    allocate(&s, TABLES_FILE, 64, ZONE_HIGH);
    for (u32 at = xsdt + TABLE_HEADER; at < xsdt + xsdt_len; at += 8) {
        u32 table = get32(tables + at);
        if (memcmp(tables + table, "FACP", 4) == 0) {
            pointer(&s, TABLES_FILE, table + FADT_FACS, 4);
            pointer(&s, TABLES_FILE, table + FADT_DSDT, 4);
            pointer(&s, TABLES_FILE, table + FADT_X_DSDT, 8);
            checksum(&s, TABLES_FILE, table + TABLE_CHECKSUM, table,
                     get32(tables + table + TABLE_LEN));
        }
        pointer(&s, TABLES_FILE, at, 8);
    }
    checksum(&s, TABLES_FILE, xsdt + TABLE_CHECKSUM, xsdt, xsdt_len);
    pointer(&s, RSDP_FILE, RSDP_XSDT, 8);
    checksum(&s, RSDP_FILE, RSDP_CHECKSUM, 0, RSDP_V1_LEN);
    checksum(&s, RSDP_FILE, RSDP_EXTENDED, 0, ACPI_LOADER_RSDP);
    return s.full || !len ? 0 : s.used;
}
