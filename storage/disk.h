/* One block device, whatever is below: a physical disk, a file, an image, a chain of images.
 *
 * Anyone in the control partition submits a disk_io through disk_submit(), the only door to a
 * backend: there the range, the list of buffers and the limits are checked, once.  One thread, no
 * locks.  A disk whose block_size is 1 is a file: byte ranges, and it may grow when written. */
#pragma once

#include "control/rt/loop.h"
#include "kernel/abi/status.h"
#include "kernel/abi/types.h"

#define DISK_NAME_MAX 64
#define DISK_IOV_MAX 1024          /* buffers of one request */
#define DISK_SIZE_MAX (1ull << 62) /* sums of an offset and a length never overflow */
#define DISK_SECTOR 512u
#define DISK_LATENCY_BUCKETS 32 /* b: from 2^b ns; the last has all that is longer */

enum disk_op {
    DISK_READ,
    DISK_WRITE,
    DISK_FLUSH,   /* what had completed before it was submitted survives a power cut */
    DISK_DISCARD, /* the range may read as anything of this disk's, usually zeros; a hint */
    DISK_ZERO,    /* the range reads as zeros */
    DISK_RESIZE,  /* the size becomes `offset` */
    DISK_OPS,
};

/* Pieces of memory, in order; may point straight into guest memory.  Same layout as iovec. */
struct disk_iov {
    void *base;
    u64 len;
};

struct disk;

/* A request.  It and what it points to belong to the disk from disk_submit() until `done`. */
struct disk_io {
    enum disk_op op;
    u32 iov_count;
    u64 offset, length;         /* bytes, multiples of the disk's block_size */
    const struct disk_iov *iov; /* READ, WRITE: `length` bytes in sum */
    /* Called exactly once, perhaps before disk_submit() returns; may submit and may free the io. */
    void (*done)(struct disk_io *io);
    void *owner;           /* the submitter's */
    enum hv_status status; /* valid in done() */

    /* The disk layer's. */
    struct disk *disk;
    struct disk_io *next;
    u64 started; /* TSC */
    u32 tries;
    bool counted;     /* the rate limits have let it pass */
    void *backend[3]; /* the backend's, while it has the io */
};

struct disk_ops {
    const char *name; /* "flat", "qcow2" */
    /* Starts the io, which was checked; ends in disk_complete(), now or later. */
    void (*submit)(struct disk *d, struct disk_io *io);
    /* Nothing is in flight.  May wait in a fiber.  Frees the disk. */
    enum hv_status (*close)(struct disk *d);
    /* Something that completed is reached only by what this program holds in memory, until the next
     * flush: a table of an image, a file's map.  NULL: never. */
    bool (*unsaved)(const struct disk *d);
};

struct disk_limits { /* 0: none */
    u64 iops;        /* all but flushes */
    u64 bandwidth;   /* bytes a second */
};

/* What happens to a request that the backend failed. */
enum disk_on_error {
    DISK_REPORT,     /* the submitter gets the error */
    DISK_PAUSE,      /* it is held until disk_resume(); on_pause is told, so that it stops the VM */
    DISK_PAUSE_FULL, /* HV_ENOSPC as DISK_PAUSE, the rest as DISK_REPORT */
    DISK_RETRY,      /* three more tries, 100 ms, 1 s and 10 s later; then as DISK_REPORT */
};

struct disk_stats {
    u64 count[DISK_OPS], bytes[DISK_OPS], errors[DISK_OPS];
    u64 refused;   /* failed the door's checks */
    u64 throttled; /* had to wait for the limits */
    u64 retried;
    u32 latency[3][DISK_LATENCY_BUCKETS]; /* READ, WRITE, FLUSH, from submission to completion */
};

struct disk {
    char name[DISK_NAME_MAX];
    const struct disk_ops *ops;
    u64 size;       /* bytes; the backend changes it before it completes a RESIZE */
    u32 block_size; /* power of two; 1: a file */
    bool read_only;
    bool growable; /* a WRITE past the end extends it */
    bool closing;
    enum disk_on_error on_error;
    void (*on_pause)(struct disk *d, enum hv_status why); /* NULL: nobody is told */
    void *owner;                                          /* of on_pause */
    struct disk_limits limits;
    struct disk_stats stats;
    u32 in_flight; /* at the backend, held, waiting for limits or for a retry */
    u32 users;     /* those who rely on it: images above, virtual devices */

    /* The layer's. */
    struct disk *next;
    struct disk_io *throttled, **throttled_end;
    struct disk_io *held, **held_end;
    struct disk_io *retries, **retries_end;
    struct loop_timer throttle_timer, retry_timer;
    u64 io_due, byte_due; /* TSC before which the limits let nothing pass */
};

/* Makes *d (memory of the backend's own struct) a disk and enters it in the list.  `name` is cut.
 */
void disk_init(struct disk *d, const struct disk_ops *ops, const char *name, u64 size,
               u32 block_size);
/* The reverse, called by a backend's close. */
void disk_fini(struct disk *d);

/* The door.  What fails here is completed at once: HV_EINVAL (range, block size, buffers),
 * HV_EPERM (a change of a read-only disk), HV_EBUSY (being closed). */
void disk_submit(struct disk *d, struct disk_io *io);
/* A crash of this program now would lose what had completed, unless a DISK_FLUSH comes first.  (Of
 * a power cut that says nothing: only a flush is safe from that.)  Guests live on after such a
 * crash, so they are told of no write while this is true. */
bool disk_unsaved(const struct disk *d);
/* For backends: the end of an io.  Applies the error policy. */
void disk_complete(struct disk_io *io, enum hv_status status);

/* HV_EBUSY: in use (users or in_flight); else the backend's verdict, and the disk is gone.  In a
 * fiber, and not from a request's done(). */
enum hv_status disk_close(struct disk *d);

void disk_set_limits(struct disk *d, struct disk_limits limits);
/* Tries again what DISK_PAUSE held. */
void disk_resume(struct disk *d);
/* Fails what DISK_PAUSE held, with HV_EIO: the VM is to end. */
void disk_give_up(struct disk *d);
bool disk_paused(const struct disk *d);

struct disk *disk_first(void); /* of all open disks, in order of opening; ->next */
struct disk *disk_find(const char *name);
const char *disk_op_name(enum disk_op op); /* "read" */

/* ---- the same, waiting: disk_wait.c -------------------------------------------------------------
 * In a fiber, or anywhere if the backend completes at once (memory).  They return the status. */
enum hv_status disk_do(struct disk *d, enum disk_op op, u64 offset, u64 length,
                       const struct disk_iov *iov, u32 iov_count);
MUST_CHECK enum hv_status disk_read(struct disk *d, u64 offset, void *buf, u64 len);
MUST_CHECK enum hv_status disk_write(struct disk *d, u64 offset, const void *buf, u64 len);
MUST_CHECK enum hv_status disk_flush(struct disk *d);
MUST_CHECK enum hv_status disk_discard(struct disk *d, u64 offset, u64 len);
MUST_CHECK enum hv_status disk_zero(struct disk *d, u64 offset, u64 len);
MUST_CHECK enum hv_status disk_resize(struct disk *d, u64 size);
