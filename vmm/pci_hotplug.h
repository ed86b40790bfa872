/* Slots of a guest's PCI bus whose device may come and go: the registers behind the methods of
 * dsdt.asl.
 *
 * On the event loop.  vm_plug.c puts devices in and asks for them back; the guest's ACPI driver
 * answers by the eject register.  ACPI 6.4, section 6.3 (device insertion, removal). */
#pragma once

#include "kernel/abi/types.h"

struct vm;

#define PCI_HOTPLUG_PORT 0x630 /* three doublewords: came, leaving, eject; bit n is slot n */
#define PCI_HOTPLUG_SLOTS 16   /* below it: NICs in 4 to 7, disks in 9 to 15 */

struct pci_hotplug { /* what the guest has not yet read */
    u16 came, leaving;
};

/* A device is in the slot: the guest is told to look. */
void pci_hotplug_came(struct vm *vm, u32 slot);
/* The guest is asked to let the device go; it does so by vm_devices_unplug(), some day. */
void pci_hotplug_leave(struct vm *vm, u32 slot);

/* Rows of exits.c. */
u32 pci_hotplug_in(struct vm *vm, u16 port, u8 size);
void pci_hotplug_out(struct vm *vm, u16 port, u8 size, u32 value);
