/* The virtio block device over a struct disk.  Virtio 1.2, section 5.2.
 *
 * Chains are answered in the order in which each queue got them, so what is in flight lies between
 * the used and the available position of the ring: a restarted control partition begins there
 * again.  vm_disk.c opens disks and connects them.  On the event loop. */
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
