/* Hashes of files, and manifests that list them ("SHA256(app.ovf)= 0123...").  Manifests are
 * hostile. */
#pragma once

#include "storage/disk.h"

#define DIGEST_HEX 129u

enum digest_kind { DIGEST_SHA1, DIGEST_SHA256, DIGEST_SHA512, DIGEST_KINDS };

/* The first `length` bytes as hex digits.  progress may be NULL; false ends with HV_ETIMEDOUT.
 * Waits: in a fiber. */
MUST_CHECK enum hv_status digest_of(struct disk *file, u64 length, enum digest_kind kind,
                                    char hex[DIGEST_HEX], bool (*progress)(void *arg, u64 done),
                                    void *arg);
const char *digest_name(enum digest_kind kind); /* "SHA256" */

struct digest_line {
    enum digest_kind kind;
    char name[128], hex[DIGEST_HEX];
};
/* The line at *at, which moves behind it; empty ones are passed over.  HV_ENOENT: no more;
 * HV_EINVAL: it is none; HV_ENOSYS: of another hash.  Pure. */
enum hv_status digest_read_line(const char **at, const char *end, struct digest_line *out);
