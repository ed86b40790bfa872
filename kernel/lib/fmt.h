/* printf formatting without a C library: for the kernel and the loader.  Pure. */
#pragma once

#include <stdarg.h>

#include "kernel/abi/types.h"

/* d u x p s %, flag '0' (not with negative numbers), width, precision of s (also '*'), lengths
 * l ll z.
 * Writes at most len bytes with the NUL; returns the length the whole text has. */
u64 fmt_vsnprintf(char *buf, u64 len, const char *format, va_list ap);
u64 fmt_snprintf(char *buf, u64 len, const char *format, ...) PRINTF_LIKE(3, 4);
