/* virtio 1.2 over PCI, the modern interface: what all virtio drivers share.
 *
 * A queue is split into slots: slot i owns `stride` descriptors, or one that names an indirect
 * table, so a driver fills a chain and no free list of descriptors is needed. */
#pragma once

#include "drivers/pci.h"
#include "kernel/abi/types.h"

#define VIRTIO_VENDOR 0x1af4
#define VIRTIO_F_INDIRECT BIT(28)
#define VIRTIO_F_EVENT_IDX BIT(29)
#define VIRTIO_F_VERSION_1 BIT(32)
#define VIRTIO_F_ACCESS_PLATFORM BIT(33)

struct virtio {
    struct pci_device *pci;
    volatile u8 *common, *isr, *device, *notify;
    u32 device_len, notify_len, notify_multiplier;
    u64 features;
};

struct virtq_desc { /* virtio 1.2, 2.7.5 */
    u64 address;
    u32 len;
    u16 flags, next;
};
#define VIRTQ_NEXT 1u
#define VIRTQ_WRITE 2u
#define VIRTQ_INDIRECT 4u

struct virtq {
    struct virtio *v;
    u16 index, size; /* entries of the rings */
    u16 slots, stride;
    bool indirect;
    struct virtq_desc *desc, *tables; /* tables: slots * stride, when indirect */
    volatile u16 *avail, *used_ring;  /* avail: flags, idx, ring; used: flags, idx, pairs of u32 */
    u16 avail_index, used_index, told;
    volatile u8 *bell;
};

/* Finds the registers, resets the device and agrees on features: of `wanted` what the device
 * offers, VERSION_1 always.  In a fiber.  HV_ENOENT: no modern interface. */
MUST_CHECK enum hv_status virtio_start(struct virtio *v, struct pci_device *pci, u64 wanted);
MUST_CHECK enum hv_status virtio_reset(struct virtio *v); /* no DMA any more; in a fiber */
void virtio_ready(struct virtio *v);                      /* DRIVER_OK */
MUST_CHECK bool virtio_broken(const struct virtio *v);    /* the device asks for a reset */
MUST_CHECK bool virtio_forgot(const struct virtio *v);    /* somebody else has reset it */
u32 virtio_queues(const struct virtio *v);
#define VIRTIO_ACK_CONFIG BIT(1)
u32 virtio_ack(const struct virtio *v); /* line interrupts: reads and clears the cause */
/* After virtio_start: changes of the device's configuration interrupt by this MSI-X vector. */
void virtio_config_vector(const struct virtio *v, u32 vector);

/* Between virtio_start and virtio_ready.  At most `slots` of `stride` descriptors; vector: 0 on, of
 * MSI-X, or not used.  HV_ENOENT: no such queue; HV_ENOMEM. */
MUST_CHECK enum hv_status virtq_start(struct virtq *q, struct virtio *v, u16 index, u16 slots,
                                      u16 stride, u32 vector);
void virtq_free(struct virtq *q); /* after virtio_reset */
/* The chain of a slot, to be filled: `stride` entries.  virtq_add() links `count` of them, which
 * have address, len and VIRTQ_WRITE, and makes them available. */
struct virtq_desc *virtq_chain(struct virtq *q, u32 slot);
void virtq_add(struct virtq *q, u32 slot, u32 count);
void virtq_kick(struct virtq *q); /* tells the device, if it wants to know */
/* A slot that the device has given back, and the bytes it wrote.  False: none.  A slot number that
 * is none of ours reads as q->slots: the device is broken. */
MUST_CHECK bool virtq_pop(struct virtq *q, u32 *slot, u32 *len);
/* Interrupts again for what comes from now on; true: something has come already. */
MUST_CHECK bool virtq_rearm(struct virtq *q);
