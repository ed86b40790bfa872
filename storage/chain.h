/* The disk over an image of a datastore and its ancestors, as they were attached: the store says
 * what is whose parent, never an image.  All calls wait: they need a fiber. */
#pragma once

#include "storage/image.h"
#include "storage/store.h"

struct chain {
    struct disk *disk; /* over all of them */
    u32 count;
    struct disk *file[IMAGE_CHAIN_MAX];
    struct store_image image[IMAGE_CHAIN_MAX]; /* top first */
};

/* format: of the top image, NULL or "": as the store has it, and raw if it has nothing.  On failure
 * `error` says why. */
MUST_CHECK enum hv_status chain_open(struct store *s, const char *path, const char *format,
                                     bool read_only, struct chain **out,
                                     char error[IMAGE_ERROR_MAX]);
/* The disk's users are gone, and nothing is in flight.  Frees the chain whatever it returns. */
enum hv_status chain_close(struct chain *c);

/* The disk of an open chain becomes larger, and the store knows.  Nothing is in flight.  HV_EINVAL:
 * smaller, or not whole sectors; HV_ENOSYS: images of this format do not grow; error: why. */
MUST_CHECK enum hv_status chain_grow(struct store *s, struct chain *c, u64 size,
                                     char error[IMAGE_ERROR_MAX]);
/* What is behind the last slash of a path. */
const char *chain_base_name(const char *path);

/* Makes the file `path`, an empty image over `parent` (NULL: over none; then `o` has the size).
 * The store does not know its parent yet: STORE_IMAGE is the caller's to apply. */
MUST_CHECK enum hv_status chain_create(struct store *s, const char *path, const char *format,
                                       struct image_options *o, struct chain *parent,
                                       char error[IMAGE_ERROR_MAX]);
