/* Block devices as their drivers offer them, and the one door to them.
 *
 * storage/ makes disks of these.  One thread, no locks.  A driver embeds a struct block_device,
 * fills what describes it and calls block_register(); requests come through block_submit(), which
 * checks them, copies data that the device cannot reach (anything outside of dma_alloc() memory),
 * keeps what the hardware's queue has no room for and counts. */
#pragma once

#include "kernel/abi/status.h"
#include "kernel/abi/types.h"

#define BLOCK_NAME_MAX 16
#define BLOCK_TEXT_MAX 64
#define BLOCK_IOV_MAX 1024

enum block_op {
    BLOCK_READ,
    BLOCK_WRITE,
    BLOCK_FLUSH,   /* what completed before it was submitted survives a power cut */
    BLOCK_DISCARD, /* the range may read as anything of this disk's: a hint */
    BLOCK_ZERO,    /* the range reads as zeros; HV_ENOSYS: write them */
    BLOCK_OPS,
};

struct block_iov { /* same layout as iovec */
    void *base;
    u64 len;
};

struct block_device;

/* A request.  It and what it points to belong to the device from block_submit() until `done`. */
struct block_request {
    enum block_op op;
    u32 iov_count;
    u64 offset, length; /* bytes, multiples of the device's sector_size; FLUSH: not looked at */
    const struct block_iov *iov; /* READ, WRITE: `length` bytes in sum */
    /* Called exactly once, perhaps before block_submit() returns; may submit again. */
    void (*done)(struct block_request *r);
    void *owner;           /* the submitter's */
    enum hv_status status; /* valid in done() */

    /* The layer's and the driver's. */
    struct block_device *device;
    struct block_request *next, **link; /* waiting, or active: at the driver */
    u64 started;                        /* TSC when the driver took it */
    u32 tries;                          /* times it was sent to the hardware */
    u32 slot;                           /* the driver's */
    struct block_iov piece;             /* the copy, where one was needed: dma_alloc() memory */
};

struct block_limits {
    u64 bytes;         /* of one request; the layer refuses more */
    u32 segments;      /* pieces of physical memory of one request */
    u32 queue_depth;   /* requests the hardware takes at once */
    u64 range[2];      /* bytes of one DISCARD and one ZERO */
    u64 segment_bytes; /* of one piece; 0: no limit */
    u64 reach;         /* first address that it cannot reach; 0: it reaches all */
    u64 boundary;      /* a piece does not cross multiples of this; 0: none */
    u64 page;          /* only the first piece may begin, and only the last may end, beside a
                        * multiple of this (NVMe PRP); 0: none */
    u64 align;         /* every piece begins and ends at a multiple of this; 0: anywhere */
};

struct block_health { /* -1: the device does not say */
    int temperature_c, used_percent, spare_percent;
    i64 power_on_hours, media_errors;
    bool known, failing;
};

struct block_stats {
    u64 count[BLOCK_OPS], bytes[BLOCK_OPS], errors[BLOCK_OPS];
    u64 refused; /* failed the door's checks */
    u64 copied;  /* requests whose data had to be copied */
    u64 resets;  /* of the device, while it was in use */
    u64 lost;    /* completions that no interrupt told of */
};

struct block_ops {
    /* Starts r, which was checked and whose pieces the device reaches.  False: no room now; the
     * layer offers it again after the next block_done(). */
    bool (*submit)(struct block_device *d, struct block_request *r);
    /* Takes what the hardware has completed: for an interrupt that was lost. */
    void (*poll)(struct block_device *d);
    /* In a fiber, when something hangs.  On return the hardware works on nothing it was given and
     * the driver has forgotten all requests: the layer sends them again.  HV_EIO: it is dead. */
    enum hv_status (*reset)(struct block_device *d);
    /* In a fiber.  NULL: the device does not tell. */
    enum hv_status (*health)(struct block_device *d, struct block_health *h);
};

struct block_device {
    char name[BLOCK_NAME_MAX];
    char model[BLOCK_TEXT_MAX], serial[BLOCK_TEXT_MAX], firmware[BLOCK_TEXT_MAX]; /* printable */
    const char *kind; /* "NVMe", "SATA", "virtio" */
    const struct block_ops *ops;
    u64 size; /* bytes */
    u32 sector_size, physical_sector_size;
    bool read_only, removable;
    bool no_medium; /* a drive without one: size is 0, its requests fail with HV_ENOENT */
    bool can_flush; /* has a volatile cache; without it FLUSH completes at once */
    bool can_discard, can_zero;
    struct block_limits limits;
    struct block_stats stats;
    void *driver; /* the driver's */

    /* The layer's. */
    struct block_device *next;
    struct block_request *waiting, **waiting_end;
    struct block_request *active, **active_end; /* at the driver, oldest first */
    u32 in_flight;                              /* entries of active */
    bool resetting;
    bool gone; /* pulled out or dead: everything fails with HV_EIO */
};

/* ---- for those who use devices --------------------------------------------------------------- */
struct block_device *block_first(void); /* in order of registration; ->next */
struct block_device *block_find(const char *name);
/* The door.  What fails here is completed at once: HV_EINVAL (range, alignment, pieces, size),
 * HV_EPERM (a write to a read-only device), HV_ENOSYS (an operation it has not), HV_ENOENT (no
 * medium), HV_EIO (gone). */
void block_submit(struct block_device *d, struct block_request *r);
/* The same, waiting, in a fiber: one piece of memory. */
MUST_CHECK enum hv_status block_do(struct block_device *d, enum block_op op, u64 offset, void *data,
                                   u64 length);
/* Told of devices that come, at once of those that are there, and again when a medium of one
 * changed: size and sector_size are others then. */
void block_watch(void (*fn)(struct block_device *d));
const char *block_op_name(enum block_op op);

/* ---- for drivers ------------------------------------------------------------------------------
 */
/* d is filled in.  Names it PREFIX0, PREFIX1... */
void block_register(struct block_device *d, const char *prefix);
/* The end of a request that submit took. */
void block_done(struct block_request *r, enum hv_status status);
/* There is room again, though no request of this device ended: another one shares the hardware. */
void block_room(struct block_device *d);
/* The hardware reports that it is stuck: starts a reset, if none goes on. */
void block_stuck(struct block_device *d, const char *why);

/* A drive has another medium, of `size` bytes; 0: none.  What waits is not meant for it and fails.
 */
void block_medium(struct block_device *d, u64 size, u32 sector_size);
/* It was pulled out, and the driver has forgotten its requests: they fail, and all that come. */
void block_gone(struct block_device *d, const char *why);

/* The pieces of r as the device sees them, split as d->limits says.  `index` counts from 0. */
struct block_walk {
    const struct block_iov *iov;
    u32 left;           /* entries of iov */
    u64 skip;           /* bytes of the first entry that are done */
    u64 boundary, most; /* of limits; 0: none */
};
void block_walk_start(struct block_walk *w, const struct block_request *r);
/* False: no more. */
bool block_walk_next(struct block_walk *w, u64 *address, u64 *len);

/* Text from a device, `len` bytes: what is not printable becomes '?', spaces at both ends go;
 * swap: two bytes each the other way round (ATA). */
void block_text(char *to, u64 size, const void *from, u64 len, bool swap);
