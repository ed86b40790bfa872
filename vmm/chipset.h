/* The PCI functions that OVMF knows a machine by, in VMs that start with firmware: Intel's 82441FX
 * host bridge and 82371AB (PIIX4: ISA bridge and power management), data sheets 290549 and 290562.
 *
 * Pure: identities and fixed registers; what a guest writes there is dropped. */
#pragma once

#include "kernel/abi/types.h"

/* Byte `offset` of the configuration space of device << 3 | function; false: there is none such. */
bool chipset_read(u32 function, u32 offset, u8 *value);
