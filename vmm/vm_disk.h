/* What a VM's virtio disks are connected to: images on datastores, or physical disks.
 *
 * On the event loop's thread.  Opening, closing, draining and whatever else waits needs a fiber;
 * for one VM they are done one after the other.  Snapshots and clones use quiesce, reopen and
 * release. */
#pragma once

#include "storage/image.h"
#include "vmm/vm.h"

struct store;
struct virtio_device;

/* "store:dir/file" as a mounted store and the path in it.  E_NO_STORE. */
MUST_CHECK bool vm_disk_find(const char *file, struct store **store, const char **path,
                             struct vm_error *e);

/* Opens all disks of the VM's configuration, its devices being there, and connects them.  On
 * failure none is left open.  E_NO_STORE, E_NOENT, E_NO_DISK, E_BUSY, E_CORRUPT (with the offset at
 * fault), E_NOMEM, E_IO. */
MUST_CHECK bool vm_disk_open_all(struct vm *vm, struct vm_error *e);
/* Disk n becomes larger; a driver that runs is told.  Of a disk with snapshots the image on top
 * grows, the others stay.  E_NOENT, E_UNSUPPORTED: a physical disk, a format that does not grow;
 * E_INVALID: smaller; E_STATE: paused over a disk; as vm_disk_open_all(). */
MUST_CHECK bool vm_disk_grow(struct vm *vm, u32 n, u64 size, struct vm_error *e);
/* Ends what is in flight (held requests fail), closes all and disconnects. */
void vm_disk_close_all(struct vm *vm);
/* After a restart of the control partition: opens the disks of all VMs as soon as they and their
 * stores are there again.  Needs no fiber.  A VM whose disk does not come back is paused. */
void vm_disk_restart(void);

/* Ends what is in flight (held requests fail) and holds new requests, for a reset of the VM. */
void vm_disk_drain(struct vm *vm);
/* All that the guest had an answer for is durable, nothing is in flight, and new requests wait
 * until vm_disk_release().  E_STATE: the VM is paused over one of its disks; E_IO. */
MUST_CHECK bool vm_disk_quiesce(struct vm *vm, struct vm_error *e);
/* Closes the images on datastores, so that they can be exchanged; vm_disk_reopen() of each follows.
 * Between quiesce and release. */
void vm_disk_detach(struct vm *vm);
/* Disk n is this file from now on, in the configuration too.  Between quiesce and release.  On
 * failure it is again what it was; if that cannot be opened any more, it is missing, and the VM is
 * paused at the release. */
MUST_CHECK bool vm_disk_reopen(struct vm *vm, u32 n, const char *file, u32 format,
                               struct vm_error *e);
void vm_disk_release(struct vm *vm); /* no fiber needed */
/* From vm_resume(): tries again what is held, and to open what is missing.  No fiber needed. */
void vm_disk_resume(struct vm *vm);
void vm_disk_apply(struct vm *vm); /* limits and error policy have changed; no fiber needed */

/* Disk n of a running VM, which has none, becomes *to: opened, then put in, in the configuration
 * too.  As vm_disk_open_all(), and E_STATE: there is no room; the VM stops. */
MUST_CHECK bool vm_disk_put_in(struct vm *vm, u32 n, const struct vm_disk *to, struct vm_error *e);
/* The guest has let it go, and it is off the bus: what is in flight ends, and it is flushed and
 * closed, soon.  No fiber needed. */
void vm_disk_left(struct virtio_device *d);
/* The same, until it is done.  E_IO: what was written last may be lost. */
MUST_CHECK bool vm_disk_finish(struct vm *vm, u32 n, struct vm_error *e);

/* NULL: it is not open. */
struct disk *vm_disk_of(const struct vm *vm, u32 n);
