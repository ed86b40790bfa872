/* The virtio devices of a VM: which of them its configuration asks for, and in which PCI slot.
 *
 * On the event loop.  The order of the table is the order of struct virtio_area in the VM's state,
 * so it is the same before and after a restart of the control partition; NICs have their area there
 * whether they are on the bus or not, since they may come while the VM runs. */
#pragma once

#include "vmm/vm.h"

/* Areas that the state of a VM has for its devices: for four network cards if it is started with
 * one, else for nic0. */
u32 vm_devices_count(const struct vm_config *c);
/* Is there room for the devices of a VM that runs, some cards of which may have come and gone? */
bool vm_devices_fit(const struct vm_config *c, u32 count);
/* Makes the devices over the VM's state area and puts them on its bus.  False: E_NOMEM. */
MUST_CHECK bool vm_devices_attach(struct vm *vm, struct vm_error *e);
/* After a restart of the control partition: takes up what the drivers have left. */
void vm_devices_resume(struct vm *vm);
void vm_devices_detach(struct vm *vm);
/* A running VM's NIC `n`, as its configuration has it: made, put on the bus, shown to the guest.
 * False: *e says why, there is none. */
MUST_CHECK bool vm_devices_plug_nic(struct vm *vm, u32 n, struct vm_error *e);
/* The guest is done with the NIC in that slot: it is gone, and so are its settings.  Any other slot
 * is left as it is. */
void vm_devices_unplug(struct vm *vm, u32 slot);
/* Is a device of that kind, "disk" or "nic", in that slot? */
bool vm_devices_at(const struct vm *vm, u32 slot, const char *kind);
struct virtio_device *vm_devices_find(struct vm *vm, const char *label); /* NULL: none */
