/* Disk images: one engine for all formats and chains, and what a format has to supply.
 *
 * An open image is a disk over a chain of layers, each an image file (the top one first; only the
 * top one is written).  The engine keeps, per unit of the disk, where its data lies: (layer, file
 * offset).  Requests whose units are known go straight to the file; the others, and all that change
 * the mapping, run in a fiber under the engine's lock.  The calls here wait: they need a fiber. */
#pragma once

#include "control/rt/fiber.h"
#include "storage/disk.h"
#include "storage/meta.h"

#define IMAGE_CHAIN_MAX 36           /* 32 of snapshots, and those that a merge needs */
#define IMAGE_SIZE_MAX (64ull << 40) /* of a virtual disk */
#define IMAGE_HINT_MAX 1024
#define IMAGE_ERROR_MAX 200

/* Where a piece of one layer's disk is. */
enum image_kind {
    IMAGE_UNKNOWN, /* only in the engine's map: not looked up yet */
    IMAGE_HOLE,    /* not in this layer: its parent's, zeros without one */
    IMAGE_ZERO,    /* zeros, whatever the parent has */
    IMAGE_DATA,    /* at a file offset, as it is */
    IMAGE_SPECIAL, /* in this layer, but only read_special() can read it (compressed) */
    IMAGE_CUT,     /* the engine's: one sector of data, within which the file ends */
};

struct image_extent {
    enum image_kind kind;
    u64 at;     /* IMAGE_DATA: file offset, a multiple of 512 */
    u64 length; /* bytes for which this holds, at most what was asked for */
};

struct image_format;

struct image { /* one layer */
    const struct image_format *format;
    struct disk *file;
    struct meta meta;
    void *priv;     /* the format's */
    void *arg;      /* of struct image_layer */
    u64 size;       /* of the virtual disk */
    u32 unit;       /* bytes: the mapping changes at multiples of it; what is allocated at once */
    bool read_only; /* asked for, or all that this image allows */
    bool begun;     /* begin() was called: changes are under way */
    bool wants_parent;        /* holes are the parent's */
    u8 id[16], parent_id[16]; /* where the format has them; zeros: does not say */
    u64 parent_size;          /* of the parent's disk, once it is attached */
    u64 end;                  /* file offset from which on nothing is used: the place to append */
    u64 fresh;                /* file offsets from here on read as zeros */
    char parent_hint[IMAGE_HINT_MAX]; /* a name inside the image: shown, never opened */
    char note[80];                    /* "compat 1.1, 64 KiB clusters" */
    char error[IMAGE_ERROR_MAX];      /* why the last call failed */
};

struct image_options { /* of create */
    u64 size;
    u32 unit;                   /* 0: the format's usual one */
    const char *kind;           /* NULL: the format's usual one; "fixed", "dynamic", "stream" ... */
    u8 id[16];                  /* a new UUID, where the format records one */
    const struct image *parent; /* differencing: its id and size are recorded */
    const char *parent_name, *parent_format; /* recorded as a hint only */
    const char *data_name;                   /* vmdk flat: the name of the data file, recorded */
};

struct image_format {
    const char *name;
    bool can_create, can_write, can_parent;
    const char *kinds; /* of image_options.kind, "dynamic|fixed"; the first is the usual one */
    /* Writes an empty image into an empty file.  Why not: in `error`. */
    enum hv_status (*create)(struct disk *file, const struct image_options *o,
                             char error[IMAGE_ERROR_MAX]);
    /* Checks headers; sets size, unit, read_only if it can only be read, end, priv. */
    enum hv_status (*open)(struct image *img);
    /* The extent at `offset` of at most `length` bytes; offset + length <= size.  The engine checks
     * the file offset it gets against the file. */
    enum hv_status (*map)(struct image *img, u64 offset, u64 length, struct image_extent *e);
    /* One whole unit that map() called SPECIAL. */
    enum hv_status (*read_special)(struct image *img, u64 offset, u8 *buf);
    /* Before the first change since open. */
    enum hv_status (*begin)(struct image *img);
    /* File space for units from `offset`; *got: bytes in one piece, a multiple of the unit, at most
     * `length`.  The last unit of a disk is given whole. */
    enum hv_status (*alloc)(struct image *img, u64 offset, u64 length, u64 *at, u64 *got);
    /* The data is written: from now on it is at `at`.  Changes cached metadata only. */
    enum hv_status (*link)(struct image *img, u64 offset, u64 length, u64 at);
    /* Takes units away; zero: they read as zeros even with a parent.  NULL: cannot. */
    enum hv_status (*unlink)(struct image *img, u64 offset, u64 length, bool zero);
    /* Makes the changes durable, after the data is (image_commit() has seen to that).  NULL: the
     * tables, a barrier, the roots, a barrier. */
    enum hv_status (*commit)(struct image *img);
    /* After a last commit: leaves the file as after a clean shutdown. */
    enum hv_status (*finish)(struct image *img);
    enum hv_status (*resize)(struct image *img, u64 size); /* NULL: cannot */
    /* Looks at all metadata.  Counts what is wrong into *problems, the first one in img->error. */
    enum hv_status (*check)(struct image *img, u64 *problems);
    void (*release)(struct image *img); /* frees priv; may be called after a failed open */
};

/* ---- formats --------------------------------------------------------------------------------- */
const struct image_format *image_format(const char *name); /* NULL: none of that name */
const struct image_format *image_format_at(u32 i);         /* NULL: past the end */

/* For formats: notes why and returns `status`. */
enum hv_status image_fail(struct image *img, enum hv_status status, const char *fmt, ...)
    PRINTF_LIKE(3, 4);
/* For formats: `length` bytes at the end of the file, aligned; the file grows if it must. */
MUST_CHECK enum hv_status image_append(struct image *img, u64 length, u64 align, u64 *at);
/* For formats: bytes of the file at any alignment, whatever the file's blocks are. */
MUST_CHECK enum hv_status image_read(struct image *img, u64 at, void *buf, u64 len);
/* For formats: no two of the `count` places of `length` bytes overlap (places[i] == skip: none). */
MUST_CHECK enum hv_status image_check_overlap(struct image *img, const u64 *places, u64 count,
                                              u64 length, u64 skip);
/* A random UUID (version 4), from the clock: unique, not secret. */
void image_new_id(u8 id[16]);
/* For formats: the default commit. */
MUST_CHECK enum hv_status image_commit_meta(struct image *img);

/* One layer by itself, for tools that look at files: create, info, check. */
MUST_CHECK enum hv_status image_layer_open(struct image *img, struct disk *file,
                                           const struct image_format *format, void *arg,
                                           bool read_only);
enum hv_status image_layer_close(struct image *img);

/* ---- open images ----------------------------------------------------------------------------- */
struct image_layer { /* what the administrator attached */
    struct disk *file;
    const struct image_format *format;
    void *arg; /* for a format that is not found by name: a file of a datastore */
};

/* The disk over layers[0..count-1], top first.  The files stay the caller's, and in use until the
 * disk is closed.  On failure `error` says why, with the offset at fault. */
MUST_CHECK enum hv_status image_open(const char *name, const struct image_layer *layers, u32 count,
                                     bool read_only, struct disk **out,
                                     char error[IMAGE_ERROR_MAX]);
struct image *image_of(struct disk *d, u32 layer); /* NULL: not an image, or no such layer */

/* The extent at `offset` over all layers: which layer holds it (*layer), if any.  Lengths up to
 * `length`.  For converting and for `disk map`. */
MUST_CHECK enum hv_status image_extent(struct disk *d, u64 offset, u64 length,
                                       struct image_extent *e, u32 *layer);
/* The same of the layers from `from` on; from 0 is as above. */
MUST_CHECK enum hv_status image_extent_below(struct disk *d, u32 from, u64 offset, u64 length,
                                             struct image_extent *e, u32 *layer);
/* Reads what the layers from `from` on hold. */
MUST_CHECK enum hv_status image_read_below(struct disk *d, u32 from, u64 offset, void *buf,
                                           u64 length);
