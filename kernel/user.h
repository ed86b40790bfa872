/* Access to ring 3's memory; the two functions are declared in control.h. */
#ifndef BULKHEAD_KERNEL_USER_H
#define BULKHEAD_KERNEL_USER_H

#include "kernel/control.h"

#endif
