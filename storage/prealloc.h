/* Gives every unit of an image's disk its place in the file at once, for thick disks. */
#pragma once

#include "storage/image.h"

/* The one layer in `file`, which nobody has open: what has no data is zeros in file space of its
 * own afterwards.  progress (may be NULL) false: HV_ETIMEDOUT.  Why not: in `error`. */
MUST_CHECK enum hv_status prealloc_image(struct disk *file, const struct image_format *format,
                                         bool (*progress)(void *arg, u64 done, u64 total),
                                         void *arg, char error[IMAGE_ERROR_MAX]);
