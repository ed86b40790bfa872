/* Finds and checks the host's static ACPI tables; ACPI 6.4 section 5.2.  No AML.
 *
 * Pure: the caller says how physical memory is reached. */
#pragma once

#include "kernel/abi/types.h"

#define ACPI_HEADER_LEN 36 /* bytes before a table's own fields */

/* A pointer to len bytes at that physical address; NULL: cannot be read. */
typedef const void *(*acpi_map_fn)(u64 paddr, u64 len);

/* The first table with that four-letter signature whose length and checksum are right; NULL: none.
 * `rsdp` is a physical address, 0 gives NULL.  *len: bytes of the whole table. */
const u8 *acpi_find(acpi_map_fn map, u64 rsdp, const char *signature, u32 *len);

struct acpi_cpu {
    u32 apic_id;
    bool usable; /* enabled, not merely able to be plugged in later */
};

/* The CPUs of a MADT, in its order, without repetition; at most max.  Returns how many. */
u32 acpi_madt_cpus(const u8 *madt, u32 len, struct acpi_cpu *out, u32 max);

/* Little-endian fields of a table; bytes beyond its end read as zero. */
u8 acpi_u8(const u8 *table, u32 len, u32 at);
u16 acpi_u16(const u8 *table, u32 len, u32 at);
u32 acpi_u32(const u8 *table, u32 len, u32 at);
u64 acpi_u64(const u8 *table, u32 len, u32 at);
