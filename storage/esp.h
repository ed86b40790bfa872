/* Files on the EFI system partition of a disk, found for reading and writing in place.
 *
 * Reads partition tables and FAT12, FAT16 and FAT32 and writes none of them: a file keeps its
 * size and its place, which is all that storage/slots.h asks for.  What is on the disk is hostile.
 * All calls wait: in a fiber. */
#pragma once

#include "storage/disk.h"

#define ESP_EXTENTS 32

struct esp_extent { /* bytes of the disk */
    u64 offset, length;
};

struct esp_file {
    struct disk *disk;
    u64 size;   /* bytes: of its clusters, as far as the file's own length reaches into them */
    u64 length; /* the file's own */
    u32 count;
    struct esp_extent extent[ESP_EXTENTS];
};

/* `path` as "folder/name.ext", parts of at most 8 and 3 characters.  Looks at the GPT's system
 * partitions, at FAT partitions of an MBR, and at the disk as one file system.  HV_ENOENT: not
 * there; HV_E2BIG: in more than ESP_EXTENTS pieces; HV_ECORRUPT: the file system contradicts
 * itself; HV_EIO, HV_ENOMEM. */
MUST_CHECK enum hv_status esp_find(struct disk *d, const char *path, struct esp_file *out);

/* `len` bytes from the file's begin; offset and len multiples of the disk's block size. */
MUST_CHECK enum hv_status esp_read(const struct esp_file *f, u64 offset, void *buf, u64 len);
MUST_CHECK enum hv_status esp_write(const struct esp_file *f, u64 offset, const void *buf, u64 len);
