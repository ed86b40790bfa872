/* The virtio entropy device: random bytes on request.  Virtio 1.2, section 5.4. */
#ifndef BULKHEAD_VMM_VIRTIO_DEV_RNG_H
#define BULKHEAD_VMM_VIRTIO_DEV_RNG_H

#include "vmm/virtio_dev.h"

extern const struct virtio_model virtio_dev_rng_model;

#endif
