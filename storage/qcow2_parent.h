/* The name of its parent inside a qcow2 image. */
#pragma once

#include "storage/disk.h"

/* What other programs call a format of ours. */
const char *qcow2_parent_format(const char *format);
/* Of an image that is not open: its parent has this name (a file beside it) and format.  HV_EINVAL:
 * there is no room for the name in its first 4 KiB, or it is no image. */
MUST_CHECK enum hv_status qcow2_set_parent(struct disk *file, const char *name, const char *format);
