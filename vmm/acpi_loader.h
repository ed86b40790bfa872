/* The script by which a guest's firmware puts ACPI tables into its memory: "etc/table-loader" of
 * QEMU's firmware configuration device (hw/acpi/bios-linker-loader of QEMU tells the format).
 *
 * Pure.  The tables are those of acpi_tables_build() for address 0, offered as two files:
 * "etc/acpi/tables" has them all, "etc/acpi/rsdp" their first ACPI_LOADER_RSDP bytes. */
#pragma once

#include "kernel/abi/types.h"

#define ACPI_LOADER_RSDP 36u

/* Clears the checksums that the script will put in. */
void acpi_loader_clear(u8 *tables, u32 len);
/* Bytes used in out[0..size); 0: does not fit. */
MUST_CHECK u32 acpi_loader_build(const u8 *tables, u32 len, u8 *out, u32 size);
