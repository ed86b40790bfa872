/* VHD images (Microsoft, Virtual Hard Disk Image Format Specification 1.0): fixed, dynamic,
 * differencing; read and written. */
#pragma once

#include "storage/image.h"

extern const struct image_format vhd_format;
