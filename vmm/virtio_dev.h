/* Virtio devices: one const struct virtio_model and one file a device; this is what they share.
 *
 * A model sees chains of segments and signals, never a ring, a register or PCI: virtio_dev_pci.c is
 * the transport, virtio_ring.c the queues.  What must outlive a restart of the control partition is
 * struct virtio_state and VIRTIO_MODEL_STATE bytes of the model's own, in the VM's state.  On the
 * event loop.  Virtio 1.2, OASIS CS01. */
#pragma once

#include "control/rt/loop.h"
#include "kernel/abi/types.h"
#include "vmm/pci.h"
#include "vmm/virtio_ring.h"

#define VIRTIO_QUEUES 10
#define VIRTIO_MODEL_STATE 192

#define VIRTIO_STATUS_ACKNOWLEDGE BIT(0)
#define VIRTIO_STATUS_DRIVER BIT(1)
#define VIRTIO_STATUS_DRIVER_OK BIT(2)
#define VIRTIO_STATUS_FEATURES_OK BIT(3)
#define VIRTIO_STATUS_NEEDS_RESET BIT(6)

#define VIRTIO_F_INDIRECT_DESC BIT(28)
#define VIRTIO_F_EVENT_IDX BIT(29)
#define VIRTIO_F_VERSION_1 BIT(32)
#define VIRTIO_F_RING_PACKED BIT(34)

struct virtio_state {
    u64 driver_features;
    u32 device_select, driver_select; /* which half of the features is looked at */
    u16 config_vector, queue_select;
    u8 status, isr, generation;
    u8 resetting;                    /* the driver has asked for it, and requests are in flight */
    u64 chains, bytes_in, bytes_out; /* statistics: chains served, bytes to and from the guest */
    struct virtio_queue queue[VIRTIO_QUEUES];
};

struct virtio_device;

struct virtio_model {
    const char *name; /* "virtio-net" */
    u16 type;         /* virtio device id, chapter 5 */
    u32 class;        /* PCI class code */
    u16 queue_size;
    u32 config_len; /* bytes of device-specific configuration */
    u64 features;   /* beside those of the transport */
    /* All may be NULL but kick. */
    u64 (*more_features)(const struct virtio_device *d); /* of this one device */
    u32 (*queues)(const struct virtio_device *d);        /* NULL: one */
    void (*config_read)(struct virtio_device *d, u32 offset, void *dst, u32 len);
    void (*config_write)(struct virtio_device *d, u32 offset, const void *src, u32 len);
    void (*start)(struct virtio_device *d); /* DRIVER_OK; also after a restart of control */
    void (*reset)(struct virtio_device *d); /* forget the driver; queues are closed already */
    /* Are chains in flight that may still be written?  Then a reset by the driver waits for
     * virtio_dev_drained(). */
    bool (*busy)(const struct virtio_device *d);
    void (*kick)(struct virtio_device *d, u32 queue); /* there may be chains */
};

struct virtio_device {
    struct pci_device pci; /* first */
    const struct virtio_model *model;
    struct virtio_state *state;
    void *model_state;                      /* VIRTIO_MODEL_STATE bytes */
    void *backend;                          /* what the model is connected to */
    void (*close)(struct virtio_device *d); /* NULL, or disconnects it */
    struct virtio_ring ring[VIRTIO_QUEUES]; /* open: enabled, and the device is live */
    u32 index;                              /* of nic0, nic1... */
    char label[16];                         /* "nic0" */
    u32 doorbells;                          /* queues whose doorbells the kernel answers */
    u32 group;                              /* of doorbells: where BAR 0 is */
    u32 again;                              /* queues to be looked at when the timer fires */
    bool told;                              /* the host's log has that its driver is wrong */
    struct loop_timer timer;
};

/* One device's part of the VM's state area. */
struct virtio_area {
    struct pci_state pci;
    struct virtio_state virtio;
    u8 model[VIRTIO_MODEL_STATE] __attribute__((aligned(8)));
};

static inline bool virtio_dev_has(const struct virtio_device *d, u64 feature)
{
    return (d->state->driver_features & feature) == feature;
}

/* Is the driver there and the device not broken? */
bool virtio_dev_live(const struct virtio_device *d);
u64 virtio_dev_features(const struct virtio_device *d); /* all that are offered */
u32 virtio_dev_queue_count(const struct virtio_device *d);

/* For models.  A queue that is not enabled is empty; a broken one breaks the device. */
/* A doorbell is asked for when the queue is found empty; who stops before that must look again by
 * itself: virtio_dev_again(). */
MUST_CHECK bool virtio_dev_take(struct virtio_device *d, u32 queue, struct virtio_chain *c);
void virtio_dev_untake(struct virtio_device *d, u32 queue, const struct virtio_chain *c);
void virtio_dev_put(struct virtio_device *d, u32 queue, const struct virtio_chain *c, u32 written);
/* The same by id and slots, for a model that finds its chains again after a restart: `pass`, unless
 * it was kept; virtio_ring_pass(). */
void virtio_dev_put_id(struct virtio_device *d, u32 queue, u16 id, u16 slots, u32 written,
                       bool pass);
/* The same for chains that belong together: the driver sees all of them at once. */
void virtio_dev_put_all(struct virtio_device *d, u32 queue, const struct virtio_chain *c,
                        const u32 *written, u32 count);
/* What survives a restart of what is in flight: virtio_ring_keep() and those beside it. */
MUST_CHECK bool virtio_dev_keep(struct virtio_device *d, u32 queue, u16 id, u16 slots,
                                struct virtio_kept *k);
MUST_CHECK bool virtio_dev_take_kept(struct virtio_device *d, u32 queue,
                                     const struct virtio_kept *k, struct virtio_chain *c);
void virtio_dev_rewind(struct virtio_device *d, u32 queue);
void virtio_dev_drained(struct virtio_device *d);           /* busy() has become false */
void virtio_dev_signal(struct virtio_device *d, u32 queue); /* interrupt, if wanted, after puts */
/* Does a ring of the device lie in the page at `gpa`? */
bool virtio_dev_uses(const struct virtio_device *d, u64 gpa);
/* Kick the queue at `at` (ns of platform_now): there is more than one turn may do. */
void virtio_dev_again(struct virtio_device *d, u32 queue, u64 at);
void virtio_dev_config_changed(struct virtio_device *d);
/* The driver broke a rule: DEVICE_NEEDS_RESET, told in `vm log`, the first time in `host log`. */
void virtio_dev_broken(struct virtio_device *d, const char *why);

/* For the transport. */
void virtio_dev_set_status(struct virtio_device *d, u8 status);
void virtio_dev_enable_queue(struct virtio_device *d, u32 queue);
void virtio_dev_kick(struct virtio_device *d, u32 queue);
void virtio_dev_reset(struct virtio_device *d);
/* While the queues are polled no driver rings.  Each millisecond: virtio_dev_mute(). */
void virtio_dev_polls(bool on);
void virtio_dev_mute(struct virtio_device *d); /* doorbells of all its queues, as they should be */
bool virtio_dev_poll(struct virtio_device *d); /* serves what waits; false: nothing did */
void virtio_dev_timer(struct virtio_device *d);
void virtio_dev_resume(struct virtio_device *d); /* after a restart of the control partition */
