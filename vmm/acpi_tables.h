/* The ACPI tables of a guest: RSDP, XSDT, FADT, FACS, MADT, DSDT.
 *
 * Pure.  They lie in the BIOS area, where a search for the RSDP looks as well (ACPI 6.4, 5.2.5.1).
 */
#pragma once

#include "kernel/abi/types.h"

#define ACPI_TABLES_GPA 0xe0000ull /* the RSDP is at the very start */
#define ACPI_TABLES_MAX 0x4000u

struct acpi_tables_config {
    u32 cpu_count; /* local APIC ids 0..cpu_count-1 */
    const void *dsdt;
    u32 dsdt_len;
    u32 pci_mem; /* where PCI's memory begins; 0: PCI_MEM_BASE */
};

/* Writes the tables for guest address `gpa` into out[0..size).  Bytes used; 0: does not fit. */
MUST_CHECK u32 acpi_tables_build(u8 *out, u32 size, u64 gpa, const struct acpi_tables_config *c);

extern const u8 acpi_dsdt[], acpi_dsdt_end[]; /* vmm/dsdt.S */
