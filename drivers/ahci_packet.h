/* A CD drive at an AHCI port.  Called by ahci_port.c. */
#pragma once

#include "drivers/ahci_port.h"
#include "drivers/block.h"

/* NULL: no memory.  Nothing is sent yet. */
struct block_device *ahci_packet_new(struct ahci_port *p, const char *serial,
                                     const struct block_limits *limits);
/* In a fiber, with the port's interrupts on: finds out what it is and registers it.  False: nothing
 * that can be used, and why is in the log; the port is silent then. */
bool ahci_packet_attach(struct block_device *b);
