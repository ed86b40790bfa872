/* The list of CPUs: from ACPI, else from the firmware's multiprocessor services, else just one. */
#pragma once

#include "kernel/abi/boot_info.h"

/* Fills bi->cpus (boot CPU first), cpu_count and cpu_source; bi->rsdp is known. */
void cpus_collect(struct boot_info *bi);
