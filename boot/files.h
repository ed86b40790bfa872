/* Files of the volume that the loader itself came from. */
#pragma once

#include "kernel/abi/boot_info.h"

/* Open the volume that the loader was started from.  NULL, or what failed. */
MUST_CHECK const char *files_open_volume(void *image);

enum files_result { FILES_OK, FILES_ABSENT, FILES_FAILED, FILES_NO_MEMORY };

/* Read \bulkhead\NAME whole into memory claimed as `type`. */
MUST_CHECK enum files_result files_read(const char *name, u32 type, void **data, u64 *len);

/* bulkhead.conf as module 0, then everything under \bulkhead\guests.  What cannot be taken is
 * named on the console and left out. */
void files_load_modules(struct boot_info *bi);
