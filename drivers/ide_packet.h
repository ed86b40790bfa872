/* CD drives at an IDE channel: the PACKET command's protocols, ACS-3 and ATA8-APT.  Called by
 * ide_channel.c. */
#pragma once

#include "drivers/ide_channel.h"

/* Makes a block device of a drive that was identified.  False: no memory. */
MUST_CHECK bool ide_packet_new(struct ide_unit *u);
/* The channel's interrupt, while a packet is out. */
void ide_packet_serve(struct ide_channel *c);
