/* ACPI tables as the guest sees them; the rest of the platform is declared in guest.h. */
#pragma once

#include "kernel/abi/types.h"

struct __attribute__((packed)) acpi_header {
    char signature[4];
    u32 length;
    u8 revision, checksum;
    char oem_id[6], oem_table[8];
    u32 oem_revision, creator, creator_revision;
};

/* PVH start info, version 0 and 1: https://xenbits.xen.org/docs/unstable/misc/pvh.html */
struct pvh_start_info {
    u32 magic, version, flags, module_count;
    u64 modules, command_line, rsdp, map; /* the map since version 1 */
    u32 map_count, reserved;
};
#define PVH_MAGIC 0x336ec578

extern struct pvh_start_info *start_info; /* what EBX was */
extern u64 boot_magic;                    /* what EAX was: a multiboot loader's magic number */

const char *platform_command_line(void); /* "" when there is none or another protocol booted */
/* The digits of the command line as one number; `otherwise` when it has none, or 0. */
u32 platform_command_number(u32 otherwise);
