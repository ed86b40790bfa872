/* One channel of an IDE controller: two disks that share registers, a bus master and an interrupt,
 * so one command at a time.  Called by ide.c; one thread. */
#pragma once

#include "drivers/ata.h"
#include "drivers/block.h"
#include "kernel/abi/types.h"

struct ide_channel;

struct ide_unit {
    struct block_device block;
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
    struct ide_unit *units[2];    /* NULL: no disk */
    /* The one command that is out; NULL: none. */
    struct block_request *request;
    bool by_dma;
    bool held; /* a reset goes on: no command is started */
    /* What moves through the data port. */
    struct block_walk walk;
    u8 *piece;
    u64 piece_left, data_left;
};

/* In a fiber: resets the channel and looks which of its disks answer; c's ports and memory are
 * set.  Fills c->units; a disk's block device is described, not registered. */
void ide_channel_probe(struct ide_channel *c);
/* The channel's interrupt, or a guess that there was one. */
void ide_channel_serve(void *channel);
