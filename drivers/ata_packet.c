/* Carries the commands of scsi.c to an ATA packet device, one at a time, and asks for the sense
 * data of one that failed (MMC-6 4.1, ACS-3 7.18).  Called by ahci_port.c and ide_packet.c, on the
 * loop or in a fiber. */
#include "drivers/ata_packet.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "control/rt/dma.h"
#include "drivers/scsi.h"

struct unit {
    struct scsi_disk disk; /* the first: its block device is the unit's */
    const struct ata_packet_ops *ops;
    void *port;
    struct scsi_command *command; /* that is out; NULL: none */
    struct ata_packet packet;
    struct block_iov sense; /* DMA memory */
};

static void over(struct unit *u)
{
    struct scsi_command *c = u->command;

    u->command = NULL;
    c->done(c);
}

static void on_sense(void *owner, enum hv_status status, u32 moved)
{
    struct unit *u = owner;

    if (status == HV_OK) { /* else it has none, and scsi.c tries again */
        u->command->sense_len = MIN(moved, (u32)SCSI_SENSE);
        memcpy(u->command->sense, u->sense.base, u->command->sense_len);
    }
    over(u);
}

static void on_done(void *owner, enum hv_status status, u32 moved)
{
    struct unit *u = owner;
    struct scsi_command *c = u->command;

    c->delivered = HV_OK;
    c->status = status == HV_OK ? SCSI_GOOD : SCSI_CHECK;
    c->moved = moved;
    if (status == HV_OK) {
        over(u);
        return;
    }
    u->packet = (struct ata_packet){.cdb = {SCSI_REQUEST_SENSE, [4] = SCSI_SENSE},
                                    .cdb_len = 12,
                                    .in = true,
                                    .walk = {.iov = &u->sense, .left = 1},
                                    .done = on_sense,
                                    .owner = u};
    if (!u->ops->start(u->port, &u->packet))
        over(u);
}

static bool start(void *lun, struct scsi_command *c)
{
    struct unit *u = lun;

    if (u->command)
        return false;
    u->packet = (struct ata_packet){.cdb_len = 12, .in = c->in, .done = on_done, .owner = u};
    memcpy(u->packet.cdb, c->cdb, c->cdb_len); /* 6 or 10: the rest is zeros */
    if (c->length)
        scsi_walk(&u->packet.walk, c);
    u->command = c;
    if (u->ops->start(u->port, &u->packet))
        return true;
    u->command = NULL;
    return false;
}

static void poll(void *lun)
{
    struct unit *u = lun;

    u->ops->poll(u->port);
}

static enum hv_status reset(void *lun)
{
    struct unit *u = lun;

    u->command = NULL;
    return u->ops->reset(u->port);
}

static const struct scsi_transport transport = {.start = start, .poll = poll, .reset = reset};

struct block_device *ata_packet_new(const struct ata_packet_ops *ops, void *port, const char *kind,
                                    const char *serial, const struct block_limits *limits)
{
    struct unit *u = calloc(1, sizeof(*u));

    if (!u || !(u->sense.base = dma_alloc(SCSI_SENSE))) {
        free(u);
        return NULL;
    }
    u->sense.len = SCSI_SENSE;
    u->ops = ops;
    u->port = port;
    u->disk.transport = &transport;
    u->disk.lun = u;
    u->disk.prefix = "sd";
    u->disk.depth = 1;
    u->disk.block.kind = kind;
    u->disk.block.limits = *limits;
    snprintf(u->disk.block.serial, sizeof(u->disk.block.serial), "%s", serial);
    return &u->disk.block;
}

bool ata_packet_attach(struct block_device *b)
{
    struct unit *u = (struct unit *)b;

    return scsi_attach(&u->disk) == HV_OK;
}
