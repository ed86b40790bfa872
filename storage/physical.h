/* Physical disks (drivers/block.h) as disks of the block layer, under the names they have there. */
#ifndef BULKHEAD_STORAGE_PHYSICAL_H
#define BULKHEAD_STORAGE_PHYSICAL_H

/* Makes a disk of each device that is there and of each that comes.  Called once at start. */
void physical_start(void);

#endif
