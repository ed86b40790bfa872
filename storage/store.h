/* Datastores: directories and files on any disk.
 *
 * Layout: two copies of a superblock (at 0 and 4 KiB), from 1 MiB a region with a SQLite database
 * (the catalogue: names, inodes, maps), behind it one for its journal, and from there units of 1
 * MiB for the files' data.  docs/storage.md has it all.  A unit belongs to as many files as have it
 * in their map: copies share.  Data is durable before the catalogue that names it, a unit shows
 * nothing of who had it before, and it is given away again only when the catalogue has let go of
 * it.
 *
 * All calls wait: they need a fiber.  A store's files are disks (block_size of the device). */
#pragma once

#include "storage/disk.h"

#define STORE_NAME_MAX 32
#define STORE_PATH_MAX 256
#define STORE_ERROR_MAX 200
#define STORE_UNIT (1 * MIB)
#define STORE_DISK_MIN (32 * MIB)
#define STORE_TEXT_MAX (256 * KIB)

struct store;

/* When a file gets its units. */
enum store_thickness {
    STORE_THIN,  /* as it is written */
    STORE_LAZY,  /* at once; each is zeroed when it is first written */
    STORE_EAGER, /* at once, zeroed */
};

struct store_stat {
    u64 inode;
    bool directory;
    u64 size;      /* bytes; of a directory: 0 */
    u64 allocated; /* bytes of units in its map */
    u64 shared;    /* of them, in other files' maps too */
    u64 reserved;  /* of them, the file's own and never written: zeros */
    bool text;     /* a small file that is kept in the catalogue */
    enum store_thickness thickness;
    u64 image_size; /* of the disk in it, if it is known as an image; else 0 */
    i64 changed;    /* unix time */
};

struct store_usage { /* bytes */
    u64 capacity, used;
    u64 provisioned; /* what the files would take if every disk that can be written were full */
    u64 files, directories;
};

/* Per cent of the capacity; 0: never. */
enum store_alarm { STORE_WARN, STORE_CRITICAL, STORE_OVERCOMMIT, STORE_ALARMS };
struct store_alerts {
    u32 percent[STORE_ALARMS]; /* used, used, provisioned */
};
#define STORE_ALERTS_USUAL                                                                         \
    {                                                                                              \
        {                                                                                          \
            80, 95, 0                                                                              \
        }                                                                                          \
    }

/* Makes the disk an empty store of this name; all that was on it is lost. */
MUST_CHECK enum hv_status store_format(struct disk *device, const char *name,
                                       char error[STORE_ERROR_MAX]);
/* The device stays the caller's, and in use until store_unmount(). */
MUST_CHECK enum hv_status store_mount(struct disk *device, bool read_only, struct store **out,
                                      char error[STORE_ERROR_MAX]);
enum hv_status store_unmount(struct store *s); /* HV_EBUSY: files are open */

/* Crossing one is logged, once until it is crossed back. */
void store_set_alerts(struct store *s, const struct store_alerts *a);
struct store_alerts store_get_alerts(const struct store *s);
const char *store_state(const struct store *s); /* "ok", "warning", "critical", "full" */

struct store *store_first(void);
struct store *store_next(const struct store *s);
struct store *store_find(const char *name);
const char *store_name(const struct store *s);
const struct disk *store_device(const struct store *s);
const char *store_error(const struct store *s); /* why the last call failed */

/* Paths: "dir/file", names of 1 to 100 letters, digits and -_.; "" is the root.  Every change is
 * durable when the call returns. */
MUST_CHECK enum hv_status store_stat(struct store *s, const char *path, struct store_stat *out);
MUST_CHECK enum hv_status store_make(struct store *s, const char *path, bool directory);
MUST_CHECK enum hv_status store_remove(struct store *s, const char *path);
MUST_CHECK enum hv_status store_rename(struct store *s, const char *from, const char *to);
/* A new file with the same contents, sharing all units.  HV_EBUSY: `from` is open for writing. */
MUST_CHECK enum hv_status store_copy(struct store *s, const char *from, const char *to);
/* Gives a file all units that it has room for, and those to come as it grows.  HV_ENOSPC: then
 * none. progress (may be NULL) is told how much is zeroed of what is to be; false ends with
 * HV_ETIMEDOUT. HV_EBUSY: it is open, or an image that others are made from. */
MUST_CHECK enum hv_status store_reserve(struct store *s, const char *path,
                                        enum store_thickness thickness,
                                        bool (*progress)(void *arg, u64 done, u64 total),
                                        void *arg);
/* store_copy() of a file, or of a directory with all that is in it: images in it that lie over
 * others in it lie over their copies.  On failure nothing is left of it. */
MUST_CHECK enum hv_status store_copy_tree(struct store *s, const char *from, const char *to);
/* Calls fn for each name in a directory, in order; fn must not call the store. */
MUST_CHECK enum hv_status
store_list(struct store *s, const char *path,
           void (*fn)(void *arg, const char *name, const struct store_stat *st), void *arg);
MUST_CHECK enum hv_status store_usage(struct store *s, struct store_usage *out);
/* Looks at everything; problems are told to fn. */
MUST_CHECK enum hv_status store_check(struct store *s, void (*fn)(void *arg, const char *what),
                                      void *arg, u64 *problems);

/* Small files: a few KiB in the catalogue, replaced whole.  *text is zero-terminated; free() it. */
MUST_CHECK enum hv_status store_get(struct store *s, const char *path, char **text, u32 *len);

/* Several changes, all of them or none, durable when the call returns. */
enum store_change_kind {
    STORE_PUT,   /* small file `path` gets `text`; made if it is not there */
    STORE_MOVE,  /* `path` gets the name `to`, which is free */
    STORE_DROP,  /* file or empty directory `path` goes */
    STORE_IMAGE, /* `path` is an image of `format` (NULL: as it was) over the image `to` (NULL: over
                    none), the disk in it has `size` bytes (0: as `to`, or as it was) */
};
struct store_change {
    enum store_change_kind kind;
    const char *path, *to, *format, *text;
    u32 length; /* of text */
    u64 size;
};
/* HV_EBUSY: an image would lose its parent, or a file is open; HV_EINVAL: images in a circle or a
 * chain longer than IMAGE_CHAIN_MAX. */
MUST_CHECK enum hv_status store_apply(struct store *s, const struct store_change *changes,
                                      u32 count);

/* Images and their parents, as attached; nothing of it is read from the images themselves. */
struct store_image {
    u64 inode;
    char path[STORE_PATH_MAX];
    char format[12]; /* "": nobody has said */
    u64 size;        /* of the disk; 0: nobody has said */
};
/* `path` and its ancestors, at most `max`. */
MUST_CHECK enum hv_status store_chain(struct store *s, const char *path, struct store_image *out,
                                      u32 max, u32 *count);
/* Calls fn with each image whose parent is `path`; fn must not call the store. */
MUST_CHECK enum hv_status store_children(struct store *s, const char *path,
                                         void (*fn)(void *arg, const char *child), void *arg);

/* A file as a disk.  One writer or many readers, and no writer of an image that is a parent:
 * HV_EBUSY.  Small files are read-only. */
MUST_CHECK enum hv_status store_open(struct store *s, const char *path, bool read_only,
                                     struct disk **out);
