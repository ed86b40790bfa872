/* Inside of datastores: what store.c, store_vfs.c, store_file.c and store_catalogue.c share. */
#pragma once

#include <sqlite3.h>

#include "control/rt/fiber.h"
#include "storage/image.h"
#include "storage/meta.h"
#include "storage/store.h"

#define STORE_ROOT 1u /* inode of the root directory */
#define STORE_NOWHERE 0xffffffffu
#define STORE_RESERVED 0x80000000u /* in a map: the unit is this place's, and reads as zeros */
#define STORE_UNITS_MAX 0x7ffffffeu
#define STORE_CHUNK 1024u /* units in one row of the table `map` */

struct store_region { /* of the device: one file of SQLite's */
    u64 at, length;
    u64 size; /* as SQLite sees it */
    struct meta meta;
};

struct store {
    struct disk *device;
    char name[STORE_NAME_MAX];
    char error[STORE_ERROR_MAX];
    u8 id[16];
    bool read_only;
    struct store *next;

    struct store_region database, journal;
    sqlite3_vfs vfs;
    char vfs_name[48];
    sqlite3 *db;
    bool locked; /* SQLite is at work, perhaps waiting for the disk */
    struct event unlocked;

    u64 data_at; /* byte offset of unit 0 */
    u32 units;
    u16 *refs; /* by unit: how many maps have it, and one for a unit that is being written */
    u32 free_units, search;
    struct store_alerts alerts;
    bool warned[STORE_ALARMS];
    struct store_file *files;                  /* open ones */
    struct store_file *unsaved, **unsaved_end; /* wait for a transaction, for the same one */
};

struct store_file { /* open: both layers of its disk refer to it */
    struct store *store;
    struct store_file *next;
    u64 inode, size;
    u32 *map; /* by unit of the file: a unit of the store */
    u32 count, room;
    u8 *shared;  /* a byte a unit of the file: others had it too when it was opened */
    u8 *changed; /* a bit a chunk: the catalogue has an older map */
    bool writer;
    bool thick; /* what it lets go of stays its own */
    u32 layers; /* that use this struct */
    u32 *freed; /* units that the catalogue still names for this file */
    u32 freed_count, freed_room;

    bool waits; /* in the store's list `unsaved` */
    struct store_file *next_unsaved;
    enum hv_status saved; /* how that ended */
    u64 saved_size;       /* as the catalogue has it */
    i64 saved_time;       /* what the catalogue has as the time of the last change; 0: not known */
};

/* The unit that an entry of a map names; STORE_NOWHERE: none. */
static inline u32 store_unit_of(u32 entry)
{
    return entry == STORE_NOWHERE ? entry : entry & ~STORE_RESERVED;
}

static inline bool store_is_reserved(u32 entry)
{
    return entry != STORE_NOWHERE && (entry & STORE_RESERVED);
}

/* store_vfs.c */
enum hv_status store_vfs_open(struct store *s, bool create);
void store_vfs_close(struct store *s);
enum hv_status store_region_check(struct store *s);

/* store_catalogue.c: SQL; each takes the lock. */
void store_lock(struct store *s);
void store_unlock(struct store *s);
/* What SQLite refused with `ret`, as a status; s->error tells it. */
enum hv_status store_sql_failed(struct store *s, int ret);
enum hv_status store_fail(struct store *s, enum hv_status status, const char *fmt, ...)
    PRINTF_LIKE(3, 4);
enum hv_status store_sql(struct store *s, const char *sql);
enum hv_status store_load_refs(struct store *s);
enum hv_status store_load_map(struct store *s, u64 inode, u32 **map, u32 *count);
enum hv_status store_save_file(struct store_file *f);
enum hv_status store_save_chunk(struct store_file *f, u32 chunk); /* in a transaction */
enum hv_status store_lookup(struct store *s, const char *path, struct store_stat *out);

/* Statements; `sql` has at most the numbers ?1 and ?2. */
sqlite3_stmt *store_prepare(struct store *s, const char *sql, u64 a, u64 b);
enum hv_status store_step(struct store *s, sqlite3_stmt *st); /* HV_ENOENT: no more rows */
enum hv_status store_run(struct store *s, sqlite3_stmt *st);  /* without rows */
enum hv_status store_run2(struct store *s, const char *sql, u64 a, u64 b);
/* Ends a transaction: commits if all went well, else rolls back. */
enum hv_status store_end(struct store *s, enum hv_status status);

/* store_names.c; these are called with the lock held, within a transaction */
struct store_units { /* that nobody has once the transaction is committed */
    u32 *unit, count;
};
enum hv_status store_make_inode(struct store *s, const char *path, bool directory, u64 size,
                                u64 *inode);
enum hv_status store_unlink(struct store *s, const char *path, const struct store_stat *st,
                            struct store_units *gone);
enum hv_status store_move(struct store *s, const char *from, const char *to);
enum hv_status store_end_units(struct store *s, enum hv_status status, struct store_units *gone);

/* store_images.c */
bool store_has_children(struct store *s, u64 inode); /* with the lock held */
enum hv_status store_text_disk(struct store *s, const struct store_stat *st, const char *path,
                               struct disk **out);

/* store_space.c */
void store_look_at_space(struct store *s);               /* units were taken or given back */
enum hv_status store_look_at_provision(struct store *s); /* with the lock held */
/* Units for the places first..end-1 of the map, which has room for them; HV_ENOSPC: none. */
enum hv_status store_reserve_units(struct store_file *f, u32 first, u32 end);

/* store_file.c */
u32 store_take_unit(struct store *s); /* STORE_NOWHERE: full */
void store_drop_unit(struct store *s, u32 unit);
struct store_file *store_file_find(struct store *s, u64 inode);
/* Reads a file's map; it is one of the open files then. */
enum hv_status store_file_load(struct store *s, const struct store_stat *st,
                               struct store_file **out);
void store_file_free(struct store_file *f);
/* May the file be opened like this?  With the lock held. */
enum hv_status store_file_may_open(struct store *s, const struct store_stat *st, const char *path,
                                   bool read_only);
