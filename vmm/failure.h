/* Why the kernel stopped a vCPU, in words. */
#pragma once

#include "kernel/abi/vcpu_page.h"

/* Of a page with EXIT_TRIPLE_FAULT, EXIT_ENTRY_FAILED or EXIT_UNHANDLED, `full` filled; amd: the
 * host has AMD-V, else VT-x. */
void failure_text(const struct vcpu_page *p, bool amd, char *text, u64 size);
