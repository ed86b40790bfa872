/* Inside of the image engine: what engine.c, engine_map.c and engine_slow.c share. */
#pragma once

#include "storage/image.h"

#define ENGINE_PAGE_UNITS 512u
#define ENGINE_PAGES_MAX 4096u /* 16 MiB of map */
#define ENGINE_FIBERS 16u      /* requests of one image that wait at the same time */
#define ENGINE_PIECES 8u       /* of one request on the fast path */
#define ENGINE_DIRTY_MAX                                                                           \
    100u /* metadata blocks before they are written; a VHDX log entry has 126 */
#define ENGINE_RUN_MAX (1 * MIB) /* allocated in one go */

/* An entry of the map: file offset in bits 9..55, kind in 0..2, layer in 56..63. */
#define ENTRY_KIND 7ull
#define ENTRY_AT BITS(55, 9)
#define ENTRY_LAYER(e) ((u32)((e) >> 56))
#define ENTRY_NONE IMAGE_UNKNOWN

struct engine_piece { /* consecutive units that one request can cover */
    enum image_kind kind;
    u32 layer;
    u64 at, length;
};

struct engine_busy { /* a range that a fiber is giving file space to */
    u64 begin, end;
    struct engine_busy *next;
};

struct engine {
    struct disk disk;
    struct image layer[IMAGE_CHAIN_MAX];
    u32 layers;
    u32 unit, unit_bits; /* of the map: the smallest of the layers' */
    u32 block;           /* the disk's block_size: the largest of the files' */

    u64 **pages; /* of ENGINE_PAGE_UNITS entries; NULL: not there */
    u64 page_count;
    u32 pages_used, hand;
    u32 loaded[ENGINE_PAGES_MAX]; /* numbers of the pages that are there; a ring when it is full */

    bool locked;
    struct event unlocked;
    struct engine_busy *busy;
    struct event unbusy;
    u32 writes;   /* on their way to the top file */
    bool quiesce; /* no new ones, until what was freed may be used again */
    struct event quiet;
    bool dirty;   /* file data or metadata since the last flush */
    bool unsaved; /* the mapping has changed since the last flush: only this program knows how */
    bool failed;  /* a corrupt mapping was seen: no more writes */

    struct disk_io *queue, **queue_end; /* for the fibers */
    u32 fibers;
    struct event idle; /* there are none */
};

void engine_lock(struct engine *g);
void engine_unlock(struct engine *g);

/* engine_map.c.  entry() never waits; the others do, under the lock. */
u64 engine_entry(struct engine *g, u64 offset);
void engine_forget(struct engine *g, u64 offset, u64 length); /* looked up again when needed */
void engine_forget_all(struct engine *g);
/* Makes the units of one page from `offset` known. */
enum hv_status engine_load(struct engine *g, u64 offset);
void engine_set(struct engine *g, u64 offset, u64 length, enum image_kind kind, u64 at);
/* The longest piece from `offset` that the map knows, at most `length`.  UNKNOWN: ask for a load.
 */
struct engine_piece engine_piece(struct engine *g, u64 offset, u64 length);
enum hv_status engine_resolve(struct engine *g, u32 from, u64 offset, u64 length,
                              struct image_extent *e, u32 *layer);
enum hv_status engine_read_below(struct engine *g, u32 from, u64 offset, u8 *buf, u64 length);

/* engine_slow.c */
void engine_slow(struct engine *g, struct disk_io *io);
/* Everything that completed is durable, metadata included.  Lock held. */
enum hv_status engine_commit(struct engine *g);
void engine_write_done(struct engine *g);
