/* All of a disk onto another one, for conversions, imports and exports. */
#pragma once

#include "storage/disk.h"

/* What reads as zeros is not written, unless `zero`: then it is zeroed (a device that had other
 * contents).  Holes of images are passed over without being read.  `to` is flushed at the end.
 * progress may be NULL; false ends with HV_ETIMEDOUT.  Waits: in a fiber. */
MUST_CHECK enum hv_status copy_disk(struct disk *from, struct disk *to, bool zero,
                                    bool (*progress)(void *arg, u64 done), void *arg);
