/* Why the kernel stopped a vCPU, in words. */
#pragma once

#include "kernel/abi/host_info.h"
#include "kernel/abi/vcpu_page.h"

/* Of a page with EXIT_TRIPLE_FAULT, EXIT_ENTRY_FAILED or EXIT_UNHANDLED, `full` filled; hvm:
 * what the host runs guests on. */
void failure_text(const struct vcpu_page *p, enum host_hvm hvm, char *text, u64 size);
