/* Kernels by the Multiboot Specification, version 1 (0.6.96) and 2 (2.0), as ELF files or flat
 * images that name their addresses themselves. */
#pragma once

#include "vmm/load_guest.h"

/* Is the header's magic number of that version (1, 2) where a header has to be?  The header may
 * still be malformed. */
bool load_multiboot_is(const struct load_request *r, u32 version);
/* NULL: loaded; else the reason in words. */
MUST_CHECK const char *load_multiboot(const struct load_request *r, u32 version,
                                      const struct load_result *out);
