/* What pci.c does for a driver whose one function has its registers in a test's model. */
#pragma once

#include "drivers/pci.h"

extern volatile u8 *pci_lab_window; /* its registers, every BAR */
extern u64 pci_lab_len;
extern bool pci_lab_has_msix;
extern u32 pci_lab_silenced;  /* how often bus mastering was taken */
void pci_lab_interrupt(void); /* what the driver asked for; one vector */
