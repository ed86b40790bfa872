/* Partitions of a disk as disks: GPT and MBR with its logical partitions.
 *
 * A partition is a disk by the name "vd0p1" from when somebody first asks for it; its disk is in
 * use then, and whoever wants the whole of it is refused.  Tables are only read.  What is on the
 * disk is hostile.  All calls wait: in a fiber. */
#pragma once

#include "storage/disk.h"

#define PARTITIONS_MAX 128u

struct partition {
    u32 number;         /* as Linux counts: a GPT's place in the table; 1 to 4, logical from 5 */
    u64 offset, length; /* bytes */
    char kind[40];      /* "EFI system", "Linux", else the type in hex */
    char name[37];      /* a GPT's; letters beyond ASCII are '?' */
};

/* The table of a disk.  *count: of what is in `out`, at most PARTITIONS_MAX; *gpt: by a GPT.
 * HV_ENOENT: it has none; HV_ECORRUPT: partitions overlap or leave the disk; HV_EIO. */
MUST_CHECK enum hv_status partition_read(struct disk *d, struct partition *out, u32 *count,
                                         bool *gpt);

/* The disk of that name, whole or a partition, opened if it was not.  NULL: there is none, or the
 * whole disk is in use; `why` (of 120 bytes, may be NULL) says which. */
struct disk *partition_find(const char *name, char why[120]);
bool partition_is(const struct disk *d);
