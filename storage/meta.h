/* Cached, written-behind metadata of an image file: 4 KiB blocks, dirty by 512-byte sectors.
 *
 * The image engine holds its lock around every call, so there is one caller at a time; calls may
 * wait in a fiber.  Changes stay in memory until meta_write_back() of their class: tables are
 * written before the roots that name them, with barriers of the caller's between. */
#pragma once

#include "storage/disk.h"

#define META_BLOCK 4096u

enum meta_class { META_TABLE, META_ROOT, META_CLASSES };

struct meta_block {
    struct meta_block *next;          /* in its hash chain */
    struct meta_block *newer, *older; /* in order of use */
    u64 index;                        /* file offset / META_BLOCK */
    u8 dirty[META_CLASSES];           /* a bit a sector */
    u8 data[META_BLOCK];
};

struct meta {
    struct disk *file;
    struct meta_block **hash;
    struct meta_block *newest, *oldest;
    u32 count, limit;        /* blocks; the limit is for clean ones */
    u32 dirty[META_CLASSES]; /* blocks */
};

/* HV_ENOMEM.  limit: blocks kept in memory, of those that are not dirty. */
MUST_CHECK enum hv_status meta_init(struct meta *m, struct disk *file, u32 limit);
void meta_fini(struct meta *m); /* dirty blocks are forgotten */

/* What lies beyond the end of the file reads as zeros. */
MUST_CHECK enum hv_status meta_read(struct meta *m, u64 offset, void *buf, u64 len);
MUST_CHECK enum hv_status meta_write(struct meta *m, enum meta_class class, u64 offset,
                                     const void *buf, u64 len);
MUST_CHECK enum hv_status meta_fill(struct meta *m, enum meta_class class, u64 offset, u8 byte,
                                    u64 len);
u32 meta_dirty(const struct meta *m); /* blocks of all classes */

/* Writes the dirty sectors of a class, in order of file offset; no barrier.  What failed stays
 * dirty. */
MUST_CHECK enum hv_status meta_write_back(struct meta *m, enum meta_class class);

/* Calls fn for each dirty sector run of a class (VHDX puts them in its log first). */
MUST_CHECK enum hv_status
meta_each_dirty(struct meta *m, enum hv_status (*fn)(void *arg, u64 offset, const u8 *block),
                void *arg);
/* Nothing of the range is dirty or cached afterwards. */
void meta_forget(struct meta *m, u64 offset, u64 len);
