/* qcow2 images, versions 2 and 3 (QEMU docs/interop/qcow2.rst).
 *
 * Read: everything but encryption and external data files.  Written: a subset: 16-bit refcounts, no
 * internal snapshots, no extended L2 entries.  While an image is being changed its dirty bit is set
 * and its refcounts are not kept; they are brought up to date when it is closed, or rebuilt when it
 * is opened after a power cut. */
#pragma once

#include "storage/image.h"

extern const struct image_format qcow2_format;

/* ---- shared by qcow2.c, qcow2_write.c and qcow2_refcount.c ----------------------------------- */
#define QCOW2_MAGIC 0x514649fbu
#define QCOW2_DIRTY BIT(0)
#define QCOW2_CORRUPT BIT(1)
#define QCOW2_EXTERNAL BIT(2)
#define QCOW2_COMPRESSION BIT(3)
#define QCOW2_EXTENDED_L2 BIT(4)
#define QCOW2_COPIED BIT(63)
#define QCOW2_COMPRESSED BIT(62)
#define QCOW2_ZERO BIT(0)
#define QCOW2_OFFSET BITS(55, 9)

#define QCOW2_L1_MAX (32 * MIB / 8)   /* entries */
#define QCOW2_TABLE_MAX (8 * MIB / 8) /* entries of the refcount table */

struct qcow2_delta { /* clusters whose refcount changes by `by` */
    u64 first, count;
    i32 by;
};

struct qcow2_list { /* of cluster numbers */
    u64 *at;
    u32 count, room;
};

struct qcow2 {
    u32 version, cluster_bits, refcount_bits, header_length;
    u64 cluster; /* bytes */
    u64 incompatible, compatible, autoclear;
    bool zstd, extended, was_dirty;
    u32 snapshots;
    u64 l1_offset;
    u32 l1_size;
    u64 *l1;          /* as in the file, in our byte order */
    u64 table_offset; /* of the refcount table */
    u32 table_size;   /* entries */
    u64 *table;
    u8 *metadata; /* a bit a cluster: holds a table or a header */
    u64 metadata_clusters;
    struct qcow2_delta *deltas;
    u32 delta_count, delta_room;
    struct qcow2_list freed, free; /* freed: the tables on disk may still name them */
    u8 *unpacked;                  /* the last compressed cluster that was read */
    u64 unpacked_at;               /* guest offset; ~0: none */
};

/* The host clusters that a compressed entry covers. */
void qcow2_compressed(const struct qcow2 *q, u64 entry, u64 *at, u64 *bytes);
bool qcow2_is_metadata(const struct qcow2 *q, u64 at);
enum hv_status qcow2_note_metadata(struct qcow2 *q, u64 at, u64 length);
/* Reads count entries of the L2 table for guest offset `offset`, from its entry on. */
enum hv_status qcow2_l2_read(struct image *img, u64 offset, u32 count, u64 *entries);
u64 qcow2_l2_span(const struct qcow2 *q); /* bytes of disk that one L2 table maps */

/* qcow2_refcount.c */
enum hv_status qcow2_change(struct qcow2 *q, u64 cluster, i32 by);
/* Brings the refcounts of the file up to date with the deltas. */
enum hv_status qcow2_apply(struct image *img);
/* New refcounts from what the L1 and L2 tables say. */
enum hv_status qcow2_rebuild(struct image *img);
enum hv_status qcow2_check(struct image *img, u64 *problems);

/* qcow2_write.c */
enum hv_status qcow2_create(struct disk *file, const struct image_options *o,
                            char error[IMAGE_ERROR_MAX]);
/* Of an image that is not open: it has no parent any more, holes read as zeros. */
enum hv_status qcow2_forget_parent(struct disk *file);
enum hv_status qcow2_begin(struct image *img);
enum hv_status qcow2_alloc(struct image *img, u64 offset, u64 length, u64 *at, u64 *got);
enum hv_status qcow2_link(struct image *img, u64 offset, u64 length, u64 at);
enum hv_status qcow2_unlink(struct image *img, u64 offset, u64 length, bool zero);
enum hv_status qcow2_commit(struct image *img);
enum hv_status qcow2_finish(struct image *img);
enum hv_status qcow2_resize(struct image *img, u64 size);
enum hv_status qcow2_put64(struct image *img, u64 header_field, u64 value);
enum hv_status qcow2_put32(struct image *img, u64 header_field, u32 value);
