/* PCI configuration mechanism 1 with no device behind it.  On the event loop. */
#ifndef BULKHEAD_VMM_PCI_HOST_H
#define BULKHEAD_VMM_PCI_HOST_H

#include "kernel/abi/types.h"

struct vm;

struct pci_host {
    u32 address; /* port cf8h */
};

void pci_host_reset(struct vm *vm);
u32 pci_host_in(struct vm *vm, u16 port, u8 size); /* cf8h..cffh but cf9h */
void pci_host_out(struct vm *vm, u16 port, u8 size, u32 value);

#endif
