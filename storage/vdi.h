/* VDI 1.1 images (VirtualBox): fixed, dynamic, differencing; read and written. */
#pragma once

#include "storage/image.h"

extern const struct image_format vdi_format;
