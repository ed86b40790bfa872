/* Boot: from kernel_entry to the first instruction of the control partition. */
#pragma once

#include "kernel/abi/boot_info.h"

/* From entry.S on the boot CPU's first stack; `physical` is boot_info's address, still mapped
 * one-to-one. */
void main_boot(const struct boot_info *physical) __attribute__((noreturn));
