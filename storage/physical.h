/* Physical disks (drivers/block.h) as disks of the block layer, under the names they have there. */
#pragma once

/* Makes a disk of each device that is there and of each that comes.  Called once at start. */
void physical_start(void);
