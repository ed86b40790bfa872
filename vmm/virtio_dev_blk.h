/* The virtio block device over a struct disk.  Virtio 1.2, section 5.2.
 *
 * Chains are answered when they are done.  Those that others have overtaken are noted in the VM's
 * state; what else is in flight is still in the ring, from its `resume` on: a restarted control
 * partition finds both and does them again.  If there is no room for one more note, what is behind
 * that chain waits for it.  vm_disk.c opens disks and connects them.  On the event loop. */
#pragma once

#include "storage/disk.h"
#include "vmm/virtio_dev.h"
#include "vmm/vm.h"

extern const struct virtio_model virtio_dev_blk_model;

/* Memory for requests; there is no disk yet.  E_NOMEM. */
MUST_CHECK bool virtio_dev_blk_open(struct virtio_device *d, struct vm_error *e);
/* Nothing is in flight. */
void virtio_dev_blk_close(struct virtio_device *d);

/* From now on requests go to `disk`; NULL: they wait in their rings.  Nothing is in flight.  The
 * driver is told if the size has changed. */
void virtio_dev_blk_connect(struct virtio_device *d, struct disk *disk);
/* Held: no request is taken from the rings.  Released, all that came meanwhile is. */
void virtio_dev_blk_hold(struct virtio_device *d, bool hold);
u32 virtio_dev_blk_in_flight(const struct virtio_device *d);
/* In a fiber: waits until nothing is. */
void virtio_dev_blk_drain(struct virtio_device *d);
/* The physical disk that it is on, or that its datastore is on: remembered over a restart of the
 * control partition. */
char *virtio_dev_blk_device_name(struct virtio_device *d); /* VM_DISK_DEVICE bytes */
