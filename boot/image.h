/* Puts an ELF image of ours into memory, ready to be mapped. */
#pragma once

#include "kernel/abi/boot_info.h"

/* Load \bulkhead\NAME, which must be linked at or above `base`, into memory of that BOOT_MEM_*
 * type. *bytes: size of the file.  False: refused, and the console says why. */
MUST_CHECK bool image_load(const char *name, u64 base, u32 type, struct boot_image *out,
                           u64 *bytes);
