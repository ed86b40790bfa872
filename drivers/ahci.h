/* AHCI controllers: the driver's struct (drivers/driver.h), and what ahci_packet.c needs of a port
 * that has a packet device.  One thread. */
#pragma once

#include "drivers/block.h"
#include "kernel/abi/types.h"

struct ahci_port;

struct ahci_packet { /* a SCSI command; the caller's until done */
    u8 cdb[16];
    u32 cdb_len;
    bool in; /* data comes from the device */
    struct block_walk walk;
    /* HV_EIO: the device reports an error and answers again.  moved: bytes of data. */
    void (*done)(void *owner, enum hv_status status, u32 moved);
    void *owner;
};

/* False: another one is out. */
bool ahci_packet_start(struct ahci_port *p, const struct ahci_packet *k);
void ahci_poll(struct ahci_port *p);
/* In a fiber.  What was out is forgotten; HV_EIO, HV_ETIMEDOUT: it is dead. */
enum hv_status ahci_reset(struct ahci_port *p);
