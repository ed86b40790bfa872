/* What the parts of the VMDK format share: the header's fields and flags, the markers of streams.
 * For vmdk.c, which reads and changes images, and vmdk_create.c, which makes them. */
#pragma once

#include "storage/vmdk.h"

#define VMDK_HEADER 512u
#define VMDK_SECTOR 512ull
#define VMDK_AT_END (~0ull) /* of the grain directory: its place is in the footer */
#define VMDK_GRAIN_ZERO 1u  /* table entry: zeros, if the header says that this is used */
#define VMDK_ENTRIES_MAX (1u << 26)

enum vmdk_field { /* of the header, little-endian ("Hosted Sparse Extent Header") */
                  VMDK_MAGIC = 0,
                  VMDK_VERSION = 4,
                  VMDK_FLAGS = 8,
                  VMDK_CAPACITY = 12,
                  VMDK_GRAIN = 20,
                  VMDK_DESCRIPTOR = 28,
                  VMDK_DESCRIPTOR_SIZE = 36,
                  VMDK_ENTRIES = 44,
                  VMDK_SPARE_DIRECTORY = 48,
                  VMDK_DIRECTORY = 56,
                  VMDK_OVERHEAD = 64,
                  VMDK_UNCLEAN = 72,
                  VMDK_NEWLINES = 73,
                  VMDK_COMPRESSION = 77,
};

enum vmdk_flag {
    VMDK_FLAG_NEWLINES = 1,
    VMDK_FLAG_SPARE = 2,
    VMDK_FLAG_ZEROS = 4,
    VMDK_FLAG_COMPRESSED = 0x10000,
    VMDK_FLAG_MARKERS = 0x20000,
};

enum vmdk_marker { VMDK_MARKER_END, VMDK_MARKER_TABLE, VMDK_MARKER_DIRECTORY, VMDK_MARKER_FOOTER };

struct vmdk {
    u32 version, flags, entries; /* entries of one grain table */
    u64 tables;                  /* in the directory */
    u32 *directory, *spare;      /* sector numbers; spare: NULL if there is none */
    u64 directory_at, spare_at;
    u64 descriptor_at, descriptor_size;
    u32 cid;
    u8 *unpacked;
    u64 unpacked_at;
};

/* image_format.create: an empty sparse image, or the descriptor of a flat one. */
enum hv_status vmdk_create(struct disk *file, const struct image_options *o,
                           char error[IMAGE_ERROR_MAX]);
/* image_format.resize: an image that is no stream grows. */
enum hv_status vmdk_resize(struct image *img, u64 size);
