/* Puts an ELF image of ours into memory, ready to be mapped. */
#ifndef BULKHEAD_BOOT_IMAGE_H
#define BULKHEAD_BOOT_IMAGE_H

#include "kernel/abi/boot_info.h"

/* Load \bulkhead\NAME, which must be linked at or above `base`, as memory of type BOOT_MEM_IMAGE.
 * *bytes: size of the file.  False: refused, and the console says why. */
MUST_CHECK bool image_load(const char *name, u64 base, struct boot_image *out, u64 *bytes);

#endif
