/* ELF kernels by the PVH boot protocol (Xen's docs/misc/pvh.pandoc; Linux, FreeBSD, test guests).
 */
#ifndef BULKHEAD_VMM_LOAD_PVH_H
#define BULKHEAD_VMM_LOAD_PVH_H

#include "vmm/load_guest.h"

/* Does the file have a PVH entry note? */
bool load_pvh_is(const struct load_request *r);
/* NULL: loaded; else the reason in words. */
MUST_CHECK const char *load_pvh(const struct load_request *r, const struct load_result *out);

#endif
