/* SCSI disks and CDs, whatever carries their commands: SPC-4, SBC-3, MMC-6.
 *
 * One thread.  A driver that carries commands (usb_storage.c, virtio_scsi.c, ata_packet.c)
 * offers a struct scsi_transport; scsi.c makes block devices of what answers, builds commands,
 * reads sense data, tries again what was not the disk's fault.  All that a target says is hostile.
 */
#pragma once

#include "control/rt/fiber.h"
#include "control/rt/loop.h"
#include "drivers/block.h"
#include "kernel/abi/types.h"

#define SCSI_DEPTH 32
#define SCSI_SENSE 18
#define SCSI_CDB 16

enum scsi_status { SCSI_GOOD = 0, SCSI_CHECK = 2, SCSI_BUSY = 8, SCSI_FULL = 0x28 };
enum scsi_operation {
    SCSI_TEST_READY = 0x00,
    SCSI_REQUEST_SENSE = 0x03,
    SCSI_INQUIRY = 0x12,
    SCSI_MODE_SENSE = 0x1a,
    SCSI_START_STOP = 0x1b,
    SCSI_CAPACITY = 0x25,
    SCSI_READ = 0x28,
    SCSI_WRITE = 0x2a,
    SCSI_SYNCHRONIZE = 0x35,
    SCSI_UNMAP = 0x42,
    SCSI_READ_16 = 0x88,
    SCSI_WRITE_16 = 0x8a,
    SCSI_SERVICE_IN = 0x9e, /* 10H: READ CAPACITY(16) */
    SCSI_REPORT_LUNS = 0xa0,
};

struct scsi_command {
    u8 cdb[SCSI_CDB];
    u32 cdb_len; /* 6, 10, 12 or 16 */
    bool in;     /* data comes from the target */
    u32 length;  /* bytes of data; 0: none */
    /* The end, called once. */
    void (*done)(struct scsi_command *c);
    void *owner;
    /* What the transport found out. */
    enum hv_status delivered; /* HV_OK: the target answered, the rest is valid */
    u8 status;                /* enum scsi_status */
    u32 moved;                /* bytes of data */
    u8 sense[SCSI_SENSE];
    u32 sense_len;

    struct event over; /* scsi.c's, of one that a fiber waits for */
    u32 slot;          /* below SCSI_DEPTH: of this disk's commands, none other has it now */
    u32 tries;
    struct block_request *request; /* whose data it moves, unless there is a piece */
    struct block_iov piece;        /* DMA memory that crosses no page */
};

struct scsi_transport {
    /* In a fiber or on the loop.  False: no room now; block_room() follows. */
    bool (*start)(void *lun, struct scsi_command *c);
    void (*poll)(void *lun);
    /* As struct block_ops has it; commands that were out are forgotten, their done not called. */
    enum hv_status (*reset)(void *lun);
    bool modern; /* its targets may be asked what old ones choke on: VPD pages, 16-byte commands */
};

struct scsi_disk {
    struct block_device block; /* limits and kind are the transport's; serial if it knows it */
    const struct scsi_transport *transport;
    void *lun;
    const char *prefix; /* of a disk's name; CDs are cd0, cd1 */
    u32 depth;          /* commands at once, at most SCSI_DEPTH */
    /* scsi.c's. */
    bool wide; /* 16-byte commands */
    u32 type;  /* of device */
    u32 busy, again, resets;
    u32 sense; /* of scsi_run()'s last command: key, additional code, qualifier; 0: none */
    struct scsi_disk *next; /* scsi_media.c's */
    struct loop_timer retry;
    u8 *scratch; /* DMA memory, a page */
    struct scsi_command commands[SCSI_DEPTH];
};

/* In a fiber: asks what answers there and registers a disk or CD.  d->block.limits, kind,
 * transport, lun and depth are set.  HV_ENOENT: nothing that can be used, and why is in the log;
 * then d may be freed. */
MUST_CHECK enum hv_status scsi_attach(struct scsi_disk *d);
/* In a fiber: whether what answers at `now`, set up as for scsi_attach(), is the registered `old`.
 * Then or not, `now` may be freed. */
MUST_CHECK bool scsi_same(const struct scsi_disk *old, struct scsi_disk *now);
/* In a fiber: finds out what medium a registered drive has, unless it is at work. */
void scsi_refresh(struct scsi_disk *d);
/* A registered disk was pulled out, and the transport has forgotten its commands. */
void scsi_gone(struct scsi_disk *d);
/* The pieces of the data of a command that has any, as block_walk_next() gives them. */
void scsi_walk(struct block_walk *w, const struct scsi_command *c);
/* One command with at most a page of data, in a fiber.  HV_EIO: the answer is not SCSI_GOOD;
 * HV_EBUSY: not now. */
MUST_CHECK enum hv_status scsi_run(struct scsi_disk *d, const u8 *cdb, u32 cdb_len, void *data,
                                   u32 length, bool in);

/* ---- pure ------------------------------------------------------------------------------------ */
/* Builds the command of r in cdb; returns its length.  SCSI_UNMAP's 24 bytes go to `unmap`. */
u32 scsi_build(const struct scsi_disk *d, const struct block_request *r, u8 cdb[SCSI_CDB],
               u8 *unmap);
/* What an answer means.  HV_EBUSY: try again; HV_ENOSYS: it does not know that command. */
enum hv_status scsi_verdict(const struct scsi_command *c);
/* Sizes from READ CAPACITY's answer of 8 or 32 bytes.  HV_ENOENT: cannot be used; HV_E2BIG: the
 * short answer cannot tell. */
MUST_CHECK enum hv_status scsi_capacity(struct block_device *b, const u8 *answer, u32 len);
