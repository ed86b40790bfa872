/* VMDK images ("Virtual Disk Format 5.0"): monolithicSparse read and written, streamOptimized read
 * and exported, and the text descriptor of flat ones. */
#pragma once

#include "storage/image.h"

extern const struct image_format vmdk_format;

/* Writes all of `from` into the empty `file` as streamOptimized, front to back.  Called in a fiber.
 * progress (may be NULL) is told the bytes done; false ends with HV_ETIMEDOUT. */
MUST_CHECK enum hv_status vmdk_export(struct disk *from, struct disk *file, const char *name,
                                      bool (*progress)(void *arg, u64 done), void *arg);

/* ---- descriptors: vmdk_descriptor.c, pure
 * -------------------------------------------------------- */
#define VMDK_DESCRIPTOR_MAX (20 * KIB)

struct vmdk_descriptor {
    u32 cid, parent_cid; /* 0xffffffff: no parent */
    char type[32];       /* "monolithicSparse" */
    char data[256];      /* the name in the only extent line: shown, never opened */
    char data_type[16];  /* "FLAT", "SPARSE" ... */
    char parent[256];
    u64 sectors;
    u32 extents;
};

/* HV_ECORRUPT: *why says what is wrong.  The text is hostile and not terminated. */
enum hv_status vmdk_descriptor_read(const char *text, u64 len, struct vmdk_descriptor *out,
                                    const char **why);
/* Returns the length, as snprintf. */
u32 vmdk_descriptor_write(char *buf, u32 len, const struct vmdk_descriptor *d);
