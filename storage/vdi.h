/* VDI 1.1 images (VirtualBox): fixed, dynamic, differencing; read and written. */
#ifndef BULKHEAD_STORAGE_VDI_H
#define BULKHEAD_STORAGE_VDI_H

#include "storage/image.h"

extern const struct image_format vdi_format;

#endif
