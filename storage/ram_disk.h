/* A disk in memory: scratch space of the control partition, and the ground under tests.  It grows
 * by 64 KiB chunks as it is written; what was never written reads as zeros.  Completes at once. */
#pragma once

#include "storage/disk.h"

/* block_size 1: a file.  `max` bounds the memory it may take, in bytes; beyond it writes end in
 * HV_ENOSPC.  NULL: no memory. */
struct disk *ram_disk_open(const char *name, u64 size, u32 block_size, u64 max);
bool ram_disk_is(const struct disk *d);
/* How many bytes from `offset` on were never written: they read as zeros. */
u64 ram_disk_blank(const struct disk *d, u64 offset);
