/* The PCI transport of virtio devices: capabilities, the common configuration, notifications, ISR.
 *
 * On the event loop.  Doorbells are ports: the queue's number times two, from the start of BAR 0; a
 * second notification capability offers the same in memory.  Virtio 1.2, section 4.1. */
#pragma once

#include "vmm/virtio_dev.h"

#define VIRTIO_ISR_QUEUE BIT(0)
#define VIRTIO_ISR_CONFIG BIT(1)

/* Wires a device up with its place in the VM's state and puts it on the bus.  pci_reset() brings
 * it to life; after a restart of the control partition the state is as it was. */
void virtio_dev_pci_attach(struct virtio_device *d, struct vm *vm, u32 slot,
                           struct virtio_area *area);
/* Off the bus: nobody rings it any more. */
void virtio_dev_pci_detach(struct virtio_device *d);
/* A doorbell that the kernel answered: loop_on_doorbell(). */
void virtio_dev_pci_doorbell(u32 slot, u32 doorbell);
void virtio_dev_pci_interrupt(struct virtio_device *d, u16 vector, u8 isr);
