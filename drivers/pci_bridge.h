/* Bridges between buses, as far as an IOMMU makes them matter. */
#pragma once

#include "kernel/abi/types.h"

/* The function that an IOMMU takes this one for: bridges of PCI without Express pass requests on
 * under a name of their own. */
MUST_CHECK u16 pci_bridge_source(u16 function);
