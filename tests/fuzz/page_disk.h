/* A sparse disk in memory for fuzzers: what an input changed lies in pages over its beginning and
 * is undone in no time, so that an input costs what it touches. */
#pragma once

#include "storage/disk.h"

#define PAGE_DISK_PAGE 4096u

/* block_size 1: a file, which may grow to `max` bytes.  Blank; ends the program without memory. */
struct disk *page_disk_open(const char *name, u64 size, u32 block_size, u64 max);
/* Its bytes and its size of now are its beginning, for good. */
void page_disk_keep(struct disk *d);
/* Back to the beginning.  Nobody uses the disk. */
void page_disk_undo(struct disk *d);
/* Bytes put there as if they had always been (until the next undo); those past the largest size
 * are left out. */
void page_disk_put(struct disk *d, u64 at, const void *bytes, u64 length);
