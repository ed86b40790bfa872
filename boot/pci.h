/* Silences PCI devices: none may write to memory that is no longer the firmware's. */
#pragma once

/* Before ExitBootServices, when no file is wanted any more: let the firmware's drivers of disks,
 * NICs and USB controllers shut their devices down. */
void pci_disconnect_drivers(void);
/* After ExitBootServices: clear Bus Master Enable of every endpoint. */
void pci_stop_dma(void);
