/* Linux bzImage by the 64-bit boot protocol (Documentation/x86/boot.rst, "64-bit boot protocol").
 */
#pragma once

#include "vmm/load_guest.h"

/* Does the file have its header? */
bool load_bzimage_is(const struct load_request *r);
/* NULL: loaded; else the reason in words. */
MUST_CHECK const char *load_bzimage(const struct load_request *r, const struct load_result *out);
