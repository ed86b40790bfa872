/* From _start to main(): what a C library expects on its stack, since the kernel passes nothing. */
#ifndef BULKHEAD_CONTROL_RT_START_H
#define BULKHEAD_CONTROL_RT_START_H

#include "kernel/abi/types.h"

void start_c(void) NORETURN; /* called by start.S only */

#endif
