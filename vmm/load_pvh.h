/* ELF kernels by the PVH boot protocol (Xen's docs/misc/pvh.pandoc; Linux, FreeBSD, test guests).
 */
#pragma once

#include "vmm/load_guest.h"

/* Does the file have a PVH entry note? */
bool load_pvh_is(const struct load_request *r);
/* NULL: loaded; else the reason in words. */
MUST_CHECK const char *load_pvh(const struct load_request *r, const struct load_result *out);
