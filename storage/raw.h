/* The format without a format: byte n of the disk is byte n of the file. */
#ifndef BULKHEAD_STORAGE_RAW_H
#define BULKHEAD_STORAGE_RAW_H

#include "storage/image.h"

extern const struct image_format raw_format;

#endif
