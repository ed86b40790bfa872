/* What the fuzzers of image formats share: a file opened as an image, checked, read, written and
 * closed, whatever is in it. */
#pragma once

#include "storage/image.h"

#define IMAGE_FUZZ_MAX (64 * MIB) /* bytes to which the file may grow */

/* Any bytes as the file. */
void image_fuzz(const struct image_format *format, const u8 *data, size_t size);
/* A page disk (page_disk.h) as the file, which is undone afterwards. */
struct image_fuzz_use {
    bool check, read_only;
};
void image_fuzz_file(const struct image_format *format, struct disk *file,
                     struct image_fuzz_use use);
