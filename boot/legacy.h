/* Old devices that must be quiet or ready before the kernel runs: 8259s, UART, APIC timer. */
#pragma once

#include "kernel/abi/boot_info.h"

/* After ExitBootServices and tsc_measure(): masks both PICs, sets up the console's UART (or clears
 * serial_port), measures the local APIC's timer. */
void legacy_prepare(struct boot_info *bi);
