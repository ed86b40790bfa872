/* A package of a virtual machine that is read: an OVA archive, or an OVF descriptor with its files
 * beside it in a directory of a store.  In the shell's fiber; errors are told to `out`. */
#pragma once

#include "control/place.h"
#include "storage/ovf.h"
#include "storage/tar.h"

struct package {
    struct place place;
    bool archive;
    struct tar_member member[TAR_MEMBERS_MAX];
    u32 count;
    char dir[STORE_PATH_MAX]; /* of an OVF: with a slash at the end, or "" */
    char ovf[OVF_NAME];       /* the descriptor's name */
};

/* "STORE:DIR/NAME.ova" or ".ovf"; also "DISK:NAME.ova" of an ESP. */
MUST_CHECK enum hv_status package_open(struct out *out, const char *text, struct package *p);
void package_close(struct package *p);
/* The file of that name; disk_close() it before the package. */
MUST_CHECK enum hv_status package_member(struct out *out, struct package *p, const char *name,
                                         struct disk **file, u64 *length);
/* All of a file of at most `most` bytes as text; *text is to be freed. */
MUST_CHECK enum hv_status package_text(struct out *out, struct package *p, const char *name,
                                       u64 most, char **text, u64 *len);
/* Reads and understands the descriptor. */
MUST_CHECK enum hv_status package_describe(struct out *out, struct package *p, struct ovf *o);
/* The hashes of the manifest: E_CHECKSUM.  Without one it says so and goes on. */
MUST_CHECK enum hv_status package_verify(struct out *out, struct package *p);
