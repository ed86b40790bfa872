/* The virtio entropy device: random bytes on request.  Virtio 1.2, section 5.4. */
#pragma once

#include "vmm/virtio_dev.h"

extern const struct virtio_model virtio_dev_rng_model;
