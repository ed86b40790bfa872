/* The format without a format: byte n of the disk is byte n of the file. */
#pragma once

#include "storage/image.h"

extern const struct image_format raw_format;
