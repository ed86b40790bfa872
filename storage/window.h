/* A disk made of pieces of another one: a partition, a file of a file system that stays where it
 * is.  Requests are cut where the pieces end. */
#pragma once

#include "storage/disk.h"

#define WINDOW_PIECES_MAX 32u

struct window_piece { /* bytes of the other disk, multiples of its block_size, within it */
    u64 offset, length;
};

/* kind: "partition", "esp file"; kept as it is.  The other disk is in use until this one is
 * closed.  NULL: no memory. */
struct disk *window_open(struct disk *whole, const char *kind, const char *name,
                         const struct window_piece *pieces, u32 count);
/* What lies behind `offset` of a file that can grow, as an empty file that can grow. */
struct disk *window_tail(struct disk *file, const char *name, u64 offset);
struct disk *window_whole(const struct disk *d); /* NULL: it is no window */
