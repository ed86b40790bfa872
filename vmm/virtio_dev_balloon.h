/* The virtio memory balloon: pages that the guest gives up are the host's until it uses them again.
 * Virtio 1.2, section 5.5; `vm set NAME mem.balloon=`.
 *
 * The kernel knows which pages are there.  A page that was taken comes back, zeroed, when the
 * driver says so, when the guest touches it, and when a device is to: guest_ptr() asks. */
#pragma once

#include "vmm/virtio_dev.h"
#include "vmm/vm.h"

extern const struct virtio_model virtio_dev_balloon_model;

MUST_CHECK bool virtio_dev_balloon_open(struct virtio_device *d, struct vm_error *e);
void virtio_dev_balloon_close(struct virtio_device *d);
/* The configuration may have another target. */
void virtio_dev_balloon_apply(struct vm *vm);
u64 virtio_dev_balloon_taken(struct vm *vm); /* bytes that the host has now */
/* The guest has touched `gpa`.  True: a page is there now that was not, or, when the host has none
 * left, the VM is paused; it tries again. */
bool virtio_dev_balloon_gave(struct vm *vm, u64 gpa);
