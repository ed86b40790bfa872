/* What a multiboot kernel is told: the boot information structure of either version. */
#pragma once

#include "vmm/load_guest.h"

/* Types of tags of version 2 that load_multiboot_info() can make; a bit each. */
extern const u64 load_multiboot_info_tags;
/* Puts it at LOAD_BOOT_DATA.  initrd: where the module lies, 0: none.  NULL or the reason in
 * words. */
MUST_CHECK const char *load_multiboot_info(const struct load_request *r, u32 version, u64 initrd);
