/* ACPI tables as the guest sees them; the rest of the platform is declared in guest.h. */
#ifndef BULKHEAD_TESTS_GUESTS_LIB_PLATFORM_H
#define BULKHEAD_TESTS_GUESTS_LIB_PLATFORM_H

#include "kernel/abi/types.h"

struct __attribute__((packed)) acpi_header {
    char signature[4];
    u32 length;
    u8 revision, checksum;
    char oem_id[6], oem_table[8];
    u32 oem_revision, creator, creator_revision;
};

const char *platform_command_line(void); /* "" when there is none */

#endif
