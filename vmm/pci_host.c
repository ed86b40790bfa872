/* PCI configuration ports of a guest without PCI devices; called from the port table. */
#include "vmm/pci_host.h"

#include "vmm/vm.h"

u32 pci_host_in(struct vm *vm, u16 port, u8 size)
{
    if (port == 0xcf8 && size == 4)
        return vm->state->pci.address;
    return ~0u; /* no device answers */
}

void pci_host_out(struct vm *vm, u16 port, u8 size, u32 value)
{
    if (port == 0xcf8 && size == 4)
        vm->state->pci.address = value & 0x80fffffc;
}

void pci_host_reset(struct vm *vm)
{
    vm->state->pci = (struct pci_host){0};
}
