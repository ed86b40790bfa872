/* A disk with sectors of 512 bytes over one whose blocks are larger: images and archives begin
 * their parts at multiples of 512, and are to lie on disks with blocks of 4 KiB, too. */
#pragma once

#include "storage/disk.h"

/* The disk below is in use until this one is closed; own: it is closed with it.  Where it can grow,
 * this one can, by sectors.  NULL: no memory. */
struct disk *sector_disk_open(struct disk *below, bool own);
