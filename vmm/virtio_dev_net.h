/* The virtio network device: a port of a virtual switch.  Virtio 1.2, section 5.1. */
#ifndef BULKHEAD_VMM_VIRTIO_DEV_NET_H
#define BULKHEAD_VMM_VIRTIO_DEV_NET_H

#include "vmm/virtio_dev.h"
#include "vmm/vm.h"

extern const struct virtio_model virtio_dev_net_model;

/* Connects it to a port of the switch that the VM's configuration names.  E_NOENT: there is no such
 * switch; E_NOSPACE: it has no port left; E_EXIST: the address is in use there. */
MUST_CHECK bool virtio_dev_net_open(struct virtio_device *d, struct vm_error *e);
void virtio_dev_net_close(struct virtio_device *d);

#endif
