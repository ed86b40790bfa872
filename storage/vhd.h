/* VHD images (Microsoft, Virtual Hard Disk Image Format Specification 1.0): fixed, dynamic,
 * differencing; read and written. */
#ifndef BULKHEAD_STORAGE_VHD_H
#define BULKHEAD_STORAGE_VHD_H

#include "storage/image.h"

extern const struct image_format vhd_format;

#endif
