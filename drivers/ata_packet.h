/* A CD drive that takes its commands as ATA packets, whatever carries them.  Called by ahci_port.c
 * and ide_packet.c. */
#pragma once

#include "drivers/block.h"
#include "kernel/abi/types.h"

struct ata_packet { /* a SCSI command; the caller's until done */
    u8 cdb[16];
    u32 cdb_len;
    bool in; /* data comes from the device */
    struct block_walk walk;
    /* HV_EIO: the device reports an error and answers again.  moved: bytes of data. */
    void (*done)(void *owner, enum hv_status status, u32 moved);
    void *owner;
};

struct ata_packet_ops {
    /* False: another command is out. */
    bool (*start)(void *port, const struct ata_packet *k);
    void (*poll)(void *port);
    /* In a fiber.  What was out is forgotten; else than HV_OK: it is dead or gone. */
    enum hv_status (*reset)(void *port);
};

/* NULL: no memory.  Nothing is sent yet. */
struct block_device *ata_packet_new(const struct ata_packet_ops *ops, void *port, const char *kind,
                                    const char *serial, const struct block_limits *limits);
/* In a fiber, with the port's interrupts on: finds out what it is and registers it.  False: nothing
 * that can be used, and why is in the log; the port is silent then. */
MUST_CHECK bool ata_packet_attach(struct block_device *b);
