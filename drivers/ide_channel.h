/* One channel of an IDE controller: two disks that share registers, a bus master and an interrupt,
 * so one command at a time.  Called by ide.c; one thread. */
#pragma once

#include "drivers/ata.h"
#include "drivers/ata_packet.h"
#include "drivers/block.h"
#include "kernel/abi/types.h"

struct ide_channel;

struct ide_unit {
    struct block_device *device; /* `block`, or what ata_packet.c made of a drive of CDs */
    struct block_device block;
    bool packet;
    struct ata_identity identity;
    struct ide_channel *channel;
    u32 number;
};

struct ide_prd { /* Programming Interface for Bus Master IDE Controller 1.0, section 1.2 */
    u32 address;
    u16 count, flags;
};

struct ide_channel {
    u16 command, control, master; /* first ports; master 0: no DMA */
    struct ide_prd *prds;         /* DMA memory, a page */
    u64 *scratch;                 /* DMA memory, 512 bytes */
    struct ide_unit *units[2];    /* NULL: nothing that is used */
    /* The one command that is out, of a disk or of a drive of CDs; both NULL: none. */
    struct block_request *request;
    const struct ata_packet *packet;
    struct ide_unit *packet_unit;
    u64 packet_moved; /* bytes */
    bool by_dma;
    bool held; /* a reset goes on: no command is started */
    /* What moves through the data port. */
    struct block_walk walk;
    u8 *piece;
    u64 piece_left, data_left;
};

/* In a fiber: resets the channel and looks which of its disks answer; c's ports and memory are
 * set.  Fills c->units; their block devices are described, not registered. */
void ide_channel_probe(struct ide_channel *c);
/* The channel's interrupt, or a guess that there was one. */
void ide_channel_serve(void *channel);

/* ---- for ide_packet.c -------------------------------------------------------------------------
 */
enum ide_register { /* from the first command port */
                    IDE_DATA,
                    IDE_FEATURES,
                    IDE_COUNT,
                    IDE_LOW,
                    IDE_MID,
                    IDE_HIGH,
                    IDE_DEVICE,
                    IDE_COMMAND, /* read: status, which takes the interrupt back */
};
#define IDE_PIECE (64 * KIB) /* of memory, which crosses none of these */
#define IDE_PRDS 256

u8 ide_channel_status(const struct ide_channel *c); /* the interrupt stays */
/* 400 ns, until the status is that of the selected device. */
void ide_channel_settle(const struct ide_channel *c);
void ide_channel_select(const struct ide_channel *c, u32 number);
/* Tells the bus master where data is, at least a byte; starts it; whether it has interrupted; stops
 * it: true, if it failed. */
void ide_channel_master(struct ide_channel *c, const struct block_walk *data, bool in);
void ide_channel_run_master(struct ide_channel *c, bool in);
bool ide_channel_master_over(const struct ide_channel *c);
bool ide_channel_stop_master(struct ide_channel *c);
/* In a fiber: both devices of the channel; what the unit had out is forgotten. */
enum hv_status ide_channel_reset(struct ide_unit *u);
