/* What the firmware knows about the machine, apart from memory and CPUs. */
#pragma once

#include "kernel/abi/boot_info.h"

/* Fills firmware, rsdp, smbios, unix_time, framebuffer and serial_hint. */
void firmware_collect(struct boot_info *bi);
