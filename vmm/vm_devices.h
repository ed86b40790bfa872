/* The virtio devices of a VM: which of them its configuration asks for, and in which PCI slot.
 *
 * On the event loop.  The VM's state says which of its areas (struct virtio_area) a device has, so
 * that it is the same before and after a restart of the control partition.  Areas without a device
 * are for NICs and disks that come while the VM runs. */
#pragma once

#include "vmm/vm.h"

/* Areas that the state of a VM has for its devices: for four network cards if it is started with
 * one, else for one more than it has. */
u32 vm_devices_count(const struct vm_config *c);
/* At a start: who has which area.  *s is zeros. */
void vm_devices_place(struct vm_state *s, const struct vm_config *c);
/* Can *s be the state of a VM of these settings? */
bool vm_devices_fit(const struct vm_state *s, const struct vm_config *c);
/* Makes the devices over the VM's state area and puts them on its bus.  False: E_NOMEM. */
MUST_CHECK bool vm_devices_attach(struct vm *vm, struct vm_error *e);
/* After a restart of the control partition: takes up what the drivers have left. */
void vm_devices_resume(struct vm *vm);
void vm_devices_detach(struct vm *vm);
/* False: E_STATE, a running VM has no area for one device more. */
MUST_CHECK bool vm_devices_room(const struct vm *vm, const char *label, struct vm_error *e);
/* A running VM's "nic1" or "disk3", as its configuration has it: made, put on the bus, shown to the
 * guest.  NULL: *e says why, there is none.  Does not wait. */
MUST_CHECK struct virtio_device *vm_devices_plug(struct vm *vm, const char *label,
                                                 struct vm_error *e);
/* The guest is done with the NIC or disk in that slot, which it may be at any moment: it is off the
 * bus.  Any other slot, and that of the disk it boots from, is left as it is. */
void vm_devices_unplug(struct vm *vm, u32 slot);
/* disk0, or the first disk that the VM was started with: it stays while the VM runs. */
bool vm_devices_is_boot_disk(const struct vm *vm, u32 n);
u32 vm_devices_bit(const char *label); /* of "nic1" or "disk3" in vm->changing */
/* Is a device of that kind, "disk" or "nic", in that slot? */
bool vm_devices_at(const struct vm *vm, u32 slot, const char *kind);
struct virtio_device *vm_devices_find(struct vm *vm, const char *label); /* NULL: none */
