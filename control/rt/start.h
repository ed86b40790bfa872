/* From _start to main(): what a C library expects on its stack, since the kernel passes nothing. */
#pragma once

#include "kernel/abi/types.h"

void start_c(void) NORETURN; /* called by start.S only */
