/* The virtio entropy device: random bytes on request.  Virtio 1.2, section 5.4. */
#ifndef BULKHEAD_VMM_VIRTIO_RNG_H
#define BULKHEAD_VMM_VIRTIO_RNG_H

#include "vmm/virtio.h"

extern const struct virtio_model virtio_rng_model;

#endif
