/* Hot-plug registers; called by the port table, by vm_plug.c and by vm_devices.c. */
#include "vmm/pci_hotplug.h"

#include "vmm/acpi_pm.h"
#include "vmm/vm.h"
#include "vmm/vm_devices.h"

enum { CAME = 0, LEAVING = 4, EJECT = 8 };

void pci_hotplug_came(struct vm *vm, u32 slot)
{
    vm->state->hotplug.came |= (u16)BIT(slot);
    acpi_pm_event(vm, ACPI_GPE_HOTPLUG);
}

void pci_hotplug_leave(struct vm *vm, u32 slot)
{
    vm->state->hotplug.leaving |= (u16)BIT(slot);
    acpi_pm_event(vm, ACPI_GPE_HOTPLUG);
}

u32 pci_hotplug_in(struct vm *vm, u16 port, u8 size)
{
    struct pci_hotplug *h = &vm->state->hotplug;
    u32 at = port - PCI_HOTPLUG_PORT, value = 0;
    (void)size;
    if (at == CAME) {
        value = h->came;
        h->came = 0;
    } else if (at == LEAVING) {
        value = h->leaving;
        h->leaving = 0;
    }
    return value;
}

void pci_hotplug_out(struct vm *vm, u16 port, u8 size, u32 value)
{
    (void)size;
    if (port - PCI_HOTPLUG_PORT != EJECT)
        return;
    for (u32 slot = 0; slot < PCI_HOTPLUG_SLOTS; slot++) {
        if (value & BIT(slot))
            vm_devices_unplug(vm, slot);
    }
}
