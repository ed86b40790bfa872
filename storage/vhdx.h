/* VHDX images ([MS-VHDX]): fixed, dynamic and differencing; read and written, with log replay.
 *
 * Metadata changes go through the log: an entry with all changed 4 KiB blocks, a barrier, the
 * blocks in place, a barrier.  A log found at open is replayed: into the file, or for a read-only
 * image into the metadata cache. */
#pragma once

#include "storage/image.h"

extern const struct image_format vhdx_format;

/* ---- shared by vhdx.c, vhdx_log.c and vhdx_create.c
 * ---------------------------------------------- */
#define VHDX_HEADER_SIZE 4096u
#define VHDX_REGION_SIZE (64 * KIB)
#define VHDX_LOG_MAX (16 * MIB) /* longer logs are refused */

enum vhdx_place {
    VHDX_HEADER1 = 64 * KIB,
    VHDX_HEADER2 = 128 * KIB,
    VHDX_REGION1 = 192 * KIB,
    VHDX_REGION2 = 256 * KIB,
};

enum vhdx_header_field { /* section 2.2.2 */
                         VHDX_CHECKSUM = 4,
                         VHDX_SEQUENCE = 8,
                         VHDX_FILE_GUID = 16,
                         VHDX_DATA_GUID = 32,
                         VHDX_LOG_GUID = 48,
                         VHDX_LOG_VERSION = 64,
                         VHDX_VERSION = 66,
                         VHDX_LOG_LENGTH = 68,
                         VHDX_LOG_OFFSET = 72,
};

enum vhdx_state { /* of a block in the table, sections 2.5.1.1 and 2.5.1.2 */
                  VHDX_NOT_PRESENT = 0,
                  VHDX_UNDEFINED = 1,
                  VHDX_ZERO = 2,
                  VHDX_UNMAPPED = 3,
                  VHDX_PRESENT = 6,
                  VHDX_PARTIAL = 7,
};

struct vhdx {
    u8 header[VHDX_HEADER_SIZE]; /* the current one */
    u32 current;                 /* 0 or 1 */
    u64 sequence;                /* of the log's entries */
    u64 log_at;
    u32 log_length;
    u64 table_at;
    u32 table_length;
    u64 metadata_at;
    u32 metadata_length;
    u64 size_at;       /* of the disk's size, in the metadata; 0: there is none */
    u32 block, sector; /* bytes */
    u64 chunk;         /* payload blocks for one bitmap block */
    u64 entries;       /* of the table that are used */
    u64 *table;
    bool parent, fixed;
};

u32 vhdx_checksum(const u8 *at, u32 len); /* with the field at 4 taken as 0 */
/* Writes the header that is not current, with the next number, and makes it current. */
enum hv_status vhdx_put_header(struct image *img);
/* Replays what the log holds.  HV_OK also when it is empty. */
enum hv_status vhdx_replay(struct image *img);
enum hv_status vhdx_commit(struct image *img);
/* How many entries the block table has for so many blocks. */
u64 vhdx_entries(const struct vhdx *v, u64 blocks);
/* The changed entry of the table, here and in the cache of metadata. */
enum hv_status vhdx_put_entry(struct image *img, u64 index, u64 value);
enum hv_status vhdx_resize(struct image *img, u64 size);
enum hv_status vhdx_create(struct disk *file, const struct image_options *o,
                           char error[IMAGE_ERROR_MAX]);

extern const u8 vhdx_guid_table[16], vhdx_guid_metadata[16], vhdx_guid_file[16], vhdx_guid_size[16],
    vhdx_guid_page83[16], vhdx_guid_logical[16], vhdx_guid_physical[16], vhdx_guid_locator[16];
