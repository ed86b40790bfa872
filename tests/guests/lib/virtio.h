/* A driver for virtio devices on PCI bus 0: modern, split rings, no interrupts unless asked. */
#pragma once

#include "kernel/abi/types.h"

#define VIRTIO_ENTRIES 64 /* of each queue, at most */
#define VIRTIO_QUEUES_USED 3
#define VIRTIO_F_EVENT_IDX BIT(29)
#define VIRTIO_F_VERSION_1 BIT(32)

struct virtq_desc {
    u64 address;
    u32 len;
    u16 flags, next;
};

struct virtq {
    struct virtq_desc desc[VIRTIO_ENTRIES] __attribute__((aligned(16)));
    struct {
        u16 flags;
        volatile u16 index;
        volatile u16 ring[VIRTIO_ENTRIES + 1]; /* then used_event */
    } avail;
    struct {
        volatile u16 flags, index;
        struct {
            u32 id, len;
        } ring[VIRTIO_ENTRIES + 1]; /* then avail_event */
    } used __attribute__((aligned(8)));
    u16 size; /* entries */
    u16 seen; /* used entries taken */
};

struct virtio {
    u32 slot;
    u64 common, device; /* registers in memory */
    u16 ports;          /* doorbell of queue 0, the next two bytes further */
    u64 memory;         /* the same in memory */
    u64 features;
    struct virtq queue[VIRTIO_QUEUES_USED];
};

/* Finds the device of this type (virtio 1.2, chapter 5) and starts it with `queues` queues and
 * those of `features` that it offers.  Vector of queue n: `vector` + n, by MSI-X to this CPU; 0: no
 * interrupts.  False: there is no such device. */
bool virtio_open(struct virtio *d, u32 type, u32 queues, u64 features, u8 vector);
/* Makes one buffer available; its number is `entry`. */
void virtio_put(struct virtio *d, u32 queue, u16 entry, void *buffer, u32 len, bool device_writes);
/* A request of three parts: `head` and `data` to the device or from it, then `status` from it. */
void virtio_request(struct virtio *d, u32 queue, void *head, u32 head_len, void *data, u32 len,
                    bool device_writes, u8 *status);
/* The same in descriptors `first` to `first` + 2, for several at a time. */
void virtio_request_at(struct virtio *d, u32 queue, u16 first, void *head, u32 head_len, void *data,
                       u32 len, bool device_writes, u8 *status);
void virtio_kick(const struct virtio *d, u32 queue); /* by the port */
void virtio_kick_memory(const struct virtio *d, u32 queue);
bool virtio_wants_kick(const struct virtio *d, u32 queue, u16 before);
/* The next buffer that came back; ~0: none did. */
u32 virtio_take(struct virtio *d, u32 queue, u32 *len);

u32 pci_config_read(u32 slot, u32 offset);
void pci_config_write(u32 slot, u32 offset, u32 value);
