/* What the fuzzers of image formats share: any bytes as an image file, opened, checked, read,
 * written and closed. */
#pragma once

#include "storage/image.h"

void image_fuzz(const struct image_format *format, const u8 *data, size_t size);
/* The same for an image of which only these parts can be other than zeros. */
struct image_fuzz_part {
    u32 at, length;
};
void image_fuzz_parts(const struct image_format *format, const u8 *data, size_t size,
                      const struct image_fuzz_part *parts, u32 count);
