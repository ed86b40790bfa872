/* The virtio console: one port, the VM's console.  Virtio 1.2, section 5.3. */
#ifndef BULKHEAD_VMM_VIRTIO_DEV_CONSOLE_H
#define BULKHEAD_VMM_VIRTIO_DEV_CONSOLE_H

#include "vmm/virtio_dev.h"

extern const struct virtio_model virtio_dev_console_model;

/* Bytes typed; returns how many were taken. */
u32 virtio_dev_console_input(struct virtio_device *d, const u8 *bytes, u32 len);

#endif
