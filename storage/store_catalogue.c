/* The catalogue of a store in SQL: what its other parts share, and maps.  Called by store.c,
 * store_names.c, store_images.c and store_file.c. */
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "control/rt/clock.h"
#include "storage/endian.h"
#include "storage/store_inner.h"

void store_lock(struct store *s)
{
    while (s->locked)
        fiber_wait(&s->unlocked, LOOP_NEVER);
    s->locked = true;
}

void store_unlock(struct store *s)
{
    s->locked = false;
    if (s->unlocked.waiters)
        event_signal(&s->unlocked);
}

enum hv_status store_fail(struct store *s, enum hv_status status, const char *fmt, ...)
{
    va_list ap;

    va_start(ap, fmt);
    vsnprintf(s->error, sizeof(s->error), fmt, ap);
    va_end(ap);
    return status;
}

enum hv_status store_sql_failed(struct store *s, int ret)
{
    enum hv_status status = HV_EIO;

    if (ret == SQLITE_FULL)
        status = HV_ENOSPC;
    else if (ret == SQLITE_CORRUPT || ret == SQLITE_NOTADB)
        status = HV_ECORRUPT;
    else if (ret == SQLITE_NOMEM)
        status = HV_ENOMEM;
    return store_fail(s, status, "its catalogue: %s", sqlite3_errmsg(s->db));
}

enum hv_status store_sql(struct store *s, const char *sql)
{
    int ret = sqlite3_exec(s->db, sql, NULL, NULL, NULL);

    return ret == SQLITE_OK ? HV_OK : store_sql_failed(s, ret & 0xff);
}

/* Prepares a statement and binds numbers, as many as `sql` has. */
sqlite3_stmt *store_prepare(struct store *s, const char *sql, u64 a, u64 b)
{
    sqlite3_stmt *st = NULL;

    if (sqlite3_prepare_v2(s->db, sql, -1, &st, NULL) != SQLITE_OK)
        return NULL;
    int count = sqlite3_bind_parameter_count(st);
    if (count > 0)
        sqlite3_bind_int64(st, 1, (sqlite3_int64)a);
    if (count > 1)
        sqlite3_bind_int64(st, 2, (sqlite3_int64)b);
    return st;
}

/* One row, or the end.  HV_ENOENT: the end. */
enum hv_status store_step(struct store *s, sqlite3_stmt *st)
{
    int ret = st ? sqlite3_step(st) : sqlite3_errcode(s->db);

    if (ret == SQLITE_ROW)
        return HV_OK;
    return ret == SQLITE_DONE ? HV_ENOENT : store_sql_failed(s, ret & 0xff);
}

/* A statement without rows. */
enum hv_status store_run(struct store *s, sqlite3_stmt *st)
{
    enum hv_status status = store_step(s, st);

    sqlite3_finalize(st);
    return status == HV_ENOENT ? HV_OK : status;
}

enum hv_status store_run2(struct store *s, const char *sql, u64 a, u64 b)
{
    return store_run(s, store_prepare(s, sql, a, b));
}

enum hv_status store_end(struct store *s, enum hv_status status)
{
    if (status == HV_OK)
        status = store_sql(s, "COMMIT");
    if (status != HV_OK && !sqlite3_get_autocommit(s->db))
        sqlite3_exec(s->db, "ROLLBACK", NULL, NULL, NULL);
    return status;
}

/* ---- maps --------------------------------------------------------------------------------------
 */

/* One row of `map`: 1,024 unit numbers of 32 bits, little-endian, all ones where there is none. */
static enum hv_status take_row(struct store *s, sqlite3_stmt *st, u32 *out, u32 count)
{
    const u8 *blob = sqlite3_column_blob(st, 1);
    u64 chunk = (u64)sqlite3_column_int64(st, 0);
    u32 len = (u32)sqlite3_column_bytes(st, 1) / 4;

    for (u64 i = 0; i < len && chunk < ~0u && chunk * STORE_CHUNK + i < count; i++) {
        u32 unit = le32(blob + i * 4);

        if (unit != STORE_NOWHERE && store_unit_of(unit) >= s->units)
            return store_fail(s, HV_ECORRUPT, "a map names unit %u of %u", store_unit_of(unit),
                              s->units);
        out[chunk * STORE_CHUNK + i] = unit;
    }
    return HV_OK;
}

enum hv_status store_load_map(struct store *s, u64 inode, u32 **map, u32 *count)
{
    sqlite3_stmt *st = store_prepare(s, "SELECT size FROM inode WHERE id=?", inode, 0);
    enum hv_status status = store_step(s, st);
    u64 size = status == HV_OK ? (u64)sqlite3_column_int64(st, 0) : 0;

    sqlite3_finalize(st);
    if (status != HV_OK)
        return status;
    if (size > IMAGE_SIZE_MAX)
        return store_fail(s, HV_ECORRUPT, "a file of %llu bytes", (unsigned long long)size);
    *count = (u32)((size + STORE_UNIT - 1) / STORE_UNIT);
    *map = malloc(*count * 4ull + 4);
    if (!*map)
        return HV_ENOMEM;
    memset(*map, 0xff, *count * 4ull);
    st = store_prepare(s, "SELECT chunk, units FROM map WHERE inode=?", inode, 0);
    while ((status = store_step(s, st)) == HV_OK &&
           (status = take_row(s, st, *map, *count)) == HV_OK)
        ;
    sqlite3_finalize(st);
    return status == HV_ENOENT ? HV_OK : status;
}

/* How many maps have each unit: what is in none is free. */
enum hv_status store_load_refs(struct store *s)
{
    sqlite3_stmt *st = store_prepare(s, "SELECT units FROM map", 0, 0);
    enum hv_status status;

    memset(s->refs, 0, s->units * sizeof(*s->refs));
    while ((status = store_step(s, st)) == HV_OK) {
        const u8 *blob = sqlite3_column_blob(st, 0);

        for (int i = 0; i + 4 <= sqlite3_column_bytes(st, 0); i += 4) {
            u32 unit = store_unit_of(le32(blob + i));

            if (unit < s->units)
                s->refs[unit] += s->refs[unit] != 0xffff;
            else if (unit != STORE_NOWHERE)
                status = store_fail(s, HV_ECORRUPT, "a map names unit %u of %u", unit, s->units);
        }
        if (status != HV_OK)
            break;
    }
    sqlite3_finalize(st);
    s->free_units = 0;
    for (u32 i = 0; i < s->units; i++)
        s->free_units += !s->refs[i];
    return status == HV_ENOENT ? HV_OK : status;
}

enum hv_status store_save_chunk(struct store_file *f, u32 chunk)
{
    struct store *s = f->store;
    u32 first = chunk * STORE_CHUNK, count = f->count > first ? f->count - first : 0;
    u8 blob[STORE_CHUNK * 4];
    bool any = false;

    count = MIN(count, STORE_CHUNK);
    for (u32 i = 0; i < count; i++) {
        put_le32(blob + i * 4, f->map[first + i]);
        any |= f->map[first + i] != STORE_NOWHERE;
    }
    if (!any)
        return store_run2(s, "DELETE FROM map WHERE inode=? AND chunk=?", f->inode, chunk);
    sqlite3_stmt *st = store_prepare(
        s, "INSERT OR REPLACE INTO map(inode, chunk, units) VALUES(?,?,?)", f->inode, chunk);
    if (st)
        sqlite3_bind_blob(st, 3, blob, (int)count * 4, SQLITE_TRANSIENT);
    return store_run(s, st);
}

/* ---- saving open files -------------------------------------------------------------------------
 */

#define TIME_STEP 60 /* seconds by which the time of the last change may be late */

static bool is_saved(const struct store_file *f)
{
    u32 chunks = f->room / STORE_CHUNK;

    if (f->size != f->saved_size || f->freed_count || clock_unix() - f->saved_time >= TIME_STEP)
        return false;
    for (u32 i = 0; i < chunks; i++)
        if (f->changed[i])
            return false;
    return true;
}

/* In a transaction. */
static enum hv_status put_file(struct store_file *f, i64 now)
{
    struct store *s = f->store;
    u32 chunks = f->room / STORE_CHUNK;
    enum hv_status status = HV_OK;

    for (u32 i = 0; i < chunks && status == HV_OK; i++)
        if (f->changed[i])
            status = store_save_chunk(f, i);
    if (status == HV_OK)
        status = store_run2(s, "UPDATE inode SET size=?2 WHERE id=?1", f->inode, f->size);
    if (status == HV_OK)
        status = store_run2(s, "UPDATE inode SET changed=?2 WHERE id=?1", f->inode, (u64)now);
    return status;
}

/* The first `count` files of the list, which stand still, in one transaction. */
static enum hv_status put_files(struct store *s, struct store_file *list, u32 count)
{
    i64 now = clock_unix();
    enum hv_status status = store_sql(s, "BEGIN");
    struct store_file *f = list;

    for (u32 i = 0; i < count && status == HV_OK; i++, f = f->next_unsaved)
        status = put_file(f, now);
    status = store_end(s, status);
    f = list;
    for (u32 i = 0; i < count; i++, f = f->next_unsaved) {
        f->saved = status;
        if (status != HV_OK)
            continue;
        memset(f->changed, 0, f->room / STORE_CHUNK);
        for (u32 n = 0; n < f->freed_count; n++)
            store_drop_unit(s, f->freed[n]);
        f->freed_count = 0;
        f->saved_size = f->size;
        f->saved_time = now;
    }
    return status;
}

/* Whoever gets the lock first saves all that wait for it: their data is on the disk, and each waits
 * with its engine's lock held, so that none of them changes. */
enum hv_status store_save_file(struct store_file *f)
{
    struct store *s = f->store;
    u32 count = 0;

    if (is_saved(f))
        return HV_OK;
    f->waits = true;
    f->next_unsaved = NULL;
    *s->unsaved_end = f;
    s->unsaved_end = &f->next_unsaved;
    store_lock(s);
    struct store_file *list = f->waits ? s->unsaved : NULL;
    if (list) {
        s->unsaved = NULL;
        s->unsaved_end = &s->unsaved;
    }
    for (struct store_file *at = list; at; at = at->next_unsaved, count++)
        at->waits = false;
    if (list && put_files(s, list, count) != HV_OK && count > 1)
        while (list) { /* what one of them cannot have is not the others' fault */
            struct store_file *next = list->next_unsaved;

            list->saved = put_files(s, list, 1);
            list = next;
        }
    enum hv_status status = f->saved;
    if (status == HV_OK)
        store_look_at_space(s);
    store_unlock(s);
    return status;
}
