/* One port of an AHCI controller with what is attached to it.  Called by ahci.c; what concerns
 * packets by ahci_packet.c.  One thread. */
#pragma once

#include "drivers/block.h"
#include "drivers/pci.h"
#include "kernel/abi/types.h"

struct ahci_port;

/* registers: the port's; cap: the controller's register.  NULL: no memory. */
struct ahci_port *ahci_port_new(struct pci_device *pci, volatile u8 *registers, u32 cap,
                                u32 number);
/* In a fiber: finds out what is attached and registers it.  False: nothing that can be used, and
 * why is in the log. */
MUST_CHECK bool ahci_port_attach(struct ahci_port *p);
/* In a fiber: nothing is attached, or it is gone.  Memory that the port may still write to is kept,
 * and so is p, which a block device that was registered is part of. */
void ahci_port_release(struct ahci_port *p);
struct block_device *ahci_port_block(struct ahci_port *p);
/* Its interrupt.  True: the link comes or goes. */
bool ahci_port_serve(struct ahci_port *p);

/* Of ports with nothing attached, too, by their registers: */
bool ahci_port_linked(const volatile u8 *registers); /* a device answers */
void ahci_port_watch(volatile u8 *registers);        /* interrupts for one that comes */
void ahci_port_calm(volatile u8 *registers);         /* takes them back, and errors */
