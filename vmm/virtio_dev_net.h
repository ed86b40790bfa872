/* The virtio network device: a port of a virtual switch.  Virtio 1.2, section 5.1. */
#pragma once

#include "net/switch.h"
#include "vmm/virtio_dev.h"
#include "vmm/vm.h"

extern const struct virtio_model virtio_dev_net_model;

/* Connects it to a port of the switch that the VM's configuration names; of a VM that is found
 * after a restart of the control partition the switch may come later.  E_NOENT: there is no such
 * switch; E_NOSPACE: it has no port left; E_EXIST: the address is in use there. */
MUST_CHECK bool virtio_dev_net_open(struct virtio_device *d, struct vm_error *e);
void virtio_dev_net_close(struct virtio_device *d);
/* Puts it onto the switch that the configuration names now, which is another one; on an error it
 * stays where it is. */
MUST_CHECK bool virtio_dev_net_move(struct virtio_device *d, struct vm_error *e);
/* A switch was made: a NIC that waits for one of that name is connected. */
void virtio_dev_net_found(struct virtio_device *d, const struct net_switch *sw);
/* Told, once, who hears of each port that a NIC gets. */
void virtio_dev_net_watch(void (*joined)(const char *port));
/* Its port gets the VLAN of the configuration. */
void virtio_dev_net_vlan(struct virtio_device *d);
