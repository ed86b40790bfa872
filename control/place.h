/* Where a command reads bytes from or puts them: a file of a datastore, a disk or a partition, a
 * file on a disk's EFI system partition.
 *
 * Written "STORE:DIR/NAME", "vd0", "vd0p2" or "vd0:folder/name.ext".  In the shell's fiber; errors
 * are told to `out`. */
#pragma once

#include "control/out.h"
#include "control/schema.h"
#include "storage/store.h"

#define PLACE_HELP "STORE:DIR/NAME"
#define PLACE_ANY_HELP "STORE:DIR/NAME, a disk or partition (vd0p2), or DISK:FILE on its ESP"

enum place_use {
    PLACE_READ,
    PLACE_CHANGE, /* it is there and will be written */
    PLACE_MAKE,   /* a file that is not there yet; of a disk or an ESP, as PLACE_CHANGE */
};

struct place {
    const char *text; /* as it was given */
    struct store *store;
    const char *path; /* in the store */
    struct disk *file;
    struct disk *blocks; /* of place_sectors(): what is below `file` */
    u64 length;          /* bytes; an ESP's file may end within the last block of `file` */
    bool made;           /* place_drop() removes it */
    bool ours;           /* `file` is to be closed */
};

MUST_CHECK enum hv_status place_open(struct out *out, const char *text, enum place_use use,
                                     struct place *p);
enum hv_status place_close(struct place *p);
/* `file` has sectors of 512 bytes from now on, if its blocks are larger.  HV_ENOMEM: out says so.
 */
MUST_CHECK enum hv_status place_sectors(struct out *out, struct place *p);
/* Closes it, and removes the file that place_open() made. */
void place_drop(struct place *p);

/* "STORE:DIR/NAME" alone: the store, and the path in it; NULL: there is none, and out says so. */
struct store *place_store(struct out *out, const char *text, const char **path);
/* What storage refused, as an error of a command. */
enum hv_status place_fail(struct out *out, enum hv_status status, const char *hint,
                          const char *what);
/* A whole disk or partition that nothing uses; NULL: out says why. */
struct disk *place_disk(struct out *out, const char *name);
/* Is the disk blank where tables, file systems and stores begin?  E_NOT_EMPTY. */
enum hv_status place_must_be_blank(struct out *out, struct disk *d);
void place_size_cell(struct out *out, u64 bytes);
