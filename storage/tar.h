/* Tar archives in the ustar format (POSIX.1-1988, with GNU's large sizes): members found, and
 * headers written.  What is read is hostile.  Calls that read wait: in a fiber. */
#pragma once

#include "storage/disk.h"

#define TAR_BLOCK 512u
#define TAR_NAME 101u
#define TAR_MEMBERS_MAX 64u

struct tar_member {
    char name[TAR_NAME];
    u64 offset, size; /* bytes, of the contents */
};

/* The regular files of an archive, in order; at most `max`.  HV_ECORRUPT: it is no archive, or a
 * member leaves the file; HV_E2BIG: more members. */
MUST_CHECK enum hv_status tar_read(struct disk *file, struct tar_member *out, u32 max, u32 *count);
void tar_header(u8 block[TAR_BLOCK], const char *name, u64 size);
