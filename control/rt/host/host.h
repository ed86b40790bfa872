/* The control partition as a Linux program: stands for the kernel and the console UART, so that
 * the host tests run the very same runtime, shell and drivers.  Never part of an image. */
#pragma once

#include "kernel/abi/host_info.h"

/* The host information that sys_host_info() will return; a test may change it. */
struct host_info *host_info_mutable(void);
/* Adds a boot module; `bytes` must stay valid. */
void host_add_module(const char *name, const void *bytes, u64 len);
