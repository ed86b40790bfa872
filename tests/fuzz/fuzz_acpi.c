/* links: boot/acpi.c */
/* Any bytes as physical memory that starts with an RSDP, and as a MADT. */
#include <stdlib.h>
#include <string.h>

#include "boot/acpi.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

#define MEMORY_BASE 0x1000u

static const u8 *memory;
static size_t memory_size;

static const void *map(u64 paddr, u64 len)
{
    if (paddr < MEMORY_BASE || len > memory_size || paddr - MEMORY_BASE > memory_size - len)
        return NULL;
    return memory + (paddr - MEMORY_BASE);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    struct acpi_cpu cpus[8];
    u32 len;

    memory = data;
    memory_size = size;
    const u8 *table = acpi_find(map, MEMORY_BASE, "APIC", &len);
    if (table && acpi_madt_cpus(table, len, cpus, ARRAY_LEN(cpus)) > ARRAY_LEN(cpus))
        abort();
    if (acpi_madt_cpus(data, (u32)size, cpus, ARRAY_LEN(cpus)) > ARRAY_LEN(cpus))
        abort();
    return 0;
}
