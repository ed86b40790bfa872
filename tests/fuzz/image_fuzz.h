/* What the fuzzers of image formats share: any bytes as an image file, opened, checked, read,
 * written and closed. */
#ifndef BULKHEAD_TESTS_FUZZ_IMAGE_FUZZ_H
#define BULKHEAD_TESTS_FUZZ_IMAGE_FUZZ_H

#include "storage/image.h"

void image_fuzz(const struct image_format *format, const u8 *data, size_t size);

#endif
