/* Entry formats for pgtab.c; the two exported objects are declared in pgtab.h. */
#ifndef BULKHEAD_KERNEL_PGTAB_FORMATS_H
#define BULKHEAD_KERNEL_PGTAB_FORMATS_H

#include "kernel/pgtab.h"

#endif
