/* The catalogue of a store in SQL: names, inodes, maps.  Called by store.c and store_file.c. */
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
static sqlite3_stmt *prepare(struct store *s, const char *sql, u64 a, u64 b)
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
static enum hv_status step(struct store *s, sqlite3_stmt *st)
{
    int ret = st ? sqlite3_step(st) : sqlite3_errcode(s->db);

    if (ret == SQLITE_ROW)
        return HV_OK;
    return ret == SQLITE_DONE ? HV_ENOENT : store_sql_failed(s, ret & 0xff);
}

/* A statement without rows. */
static enum hv_status run(struct store *s, sqlite3_stmt *st)
{
    enum hv_status status = step(s, st);

    sqlite3_finalize(st);
    return status == HV_ENOENT ? HV_OK : status;
}

static enum hv_status run2(struct store *s, const char *sql, u64 a, u64 b)
{
    return run(s, prepare(s, sql, a, b));
}

static enum hv_status end_transaction(struct store *s, enum hv_status status)
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

        if (unit != STORE_NOWHERE && unit >= s->units)
            return store_fail(s, HV_ECORRUPT, "a map names unit %u of %u", unit, s->units);
        out[chunk * STORE_CHUNK + i] = unit;
    }
    return HV_OK;
}

enum hv_status store_load_map(struct store *s, u64 inode, u32 **map, u32 *count)
{
    sqlite3_stmt *st = prepare(s, "SELECT size FROM inode WHERE id=?", inode, 0);
    enum hv_status status = step(s, st);
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
    st = prepare(s, "SELECT chunk, units FROM map WHERE inode=?", inode, 0);
    while ((status = step(s, st)) == HV_OK && (status = take_row(s, st, *map, *count)) == HV_OK)
        ;
    sqlite3_finalize(st);
    return status == HV_ENOENT ? HV_OK : status;
}

/* How many maps have each unit: what is in none is free. */
enum hv_status store_load_refs(struct store *s)
{
    sqlite3_stmt *st = prepare(s, "SELECT units FROM map", 0, 0);
    enum hv_status status;

    memset(s->refs, 0, s->units * sizeof(*s->refs));
    while ((status = step(s, st)) == HV_OK) {
        const u8 *blob = sqlite3_column_blob(st, 0);

        for (int i = 0; i + 4 <= sqlite3_column_bytes(st, 0); i += 4) {
            u32 unit = le32(blob + i);

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

static enum hv_status save_chunk(struct store_file *f, u32 chunk)
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
        return run2(s, "DELETE FROM map WHERE inode=? AND chunk=?", f->inode, chunk);
    sqlite3_stmt *st = prepare(s, "INSERT OR REPLACE INTO map(inode, chunk, units) VALUES(?,?,?)",
                               f->inode, chunk);
    if (st)
        sqlite3_bind_blob(st, 3, blob, (int)count * 4, SQLITE_TRANSIENT);
    return run(s, st);
}

enum hv_status store_save_file(struct store_file *f)
{
    struct store *s = f->store;
    u32 chunks = f->room / STORE_CHUNK;
    enum hv_status status;

    store_lock(s);
    status = store_sql(s, "BEGIN");
    for (u32 i = 0; i < chunks && status == HV_OK; i++)
        if (f->changed[i])
            status = save_chunk(f, i);
    if (status == HV_OK)
        status = run2(s, "UPDATE inode SET size=?2 WHERE id=?1", f->inode, f->size);
    if (status == HV_OK)
        status = run2(s, "UPDATE inode SET changed=?2 WHERE id=?1", f->inode, (u64)clock_unix());
    status = end_transaction(s, status);
    if (status == HV_OK) {
        memset(f->changed, 0, chunks);
        for (u32 i = 0; i < f->freed_count; i++)
            store_drop_unit(s, f->freed[i]);
        f->freed_count = 0;
    }
    store_unlock(s);
    return status;
}

/* ---- names -------------------------------------------------------------------------------------
 */

static bool name_valid(const char *name, u32 len)
{
    static const char more[] = "-_.";

    if (!len || len > 100 || (name[0] == '.' && (len == 1 || (len == 2 && name[1] == '.'))))
        return false;
    for (u32 i = 0; i < len; i++) {
        char c = name[i];

        if (!((c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') || (c >= '0' && c <= '9') ||
              strchr(more, c)) ||
            !c)
            return false;
    }
    return true;
}

static enum hv_status child(struct store *s, u64 parent, const char *name, u32 len, u64 *inode)
{
    sqlite3_stmt *st = prepare(s, "SELECT inode FROM name WHERE parent=? AND name=?", parent, 0);

    if (st)
        sqlite3_bind_text(st, 2, name, (int)len, SQLITE_TRANSIENT);
    enum hv_status status = step(s, st);
    if (status == HV_OK)
        *inode = (u64)sqlite3_column_int64(st, 0);
    sqlite3_finalize(st);
    return status;
}

/* The directory that a path's last name is in, and that name. */
static enum hv_status walk(struct store *s, const char *path, u64 *parent, const char **last)
{
    *parent = STORE_ROOT;
    for (;;) {
        const char *slash = strchr(path, '/');
        u32 len = slash ? (u32)(slash - path) : (u32)strlen(path);
        enum hv_status status;

        if (!name_valid(path, len))
            return store_fail(s, HV_EINVAL, "'%.*s' is not a name", (int)MIN(len, 100u), path);
        *last = path;
        if (!slash)
            return HV_OK;
        status = child(s, *parent, path, len, parent);
        if (status != HV_OK)
            return status == HV_ENOENT
                       ? store_fail(s, status, "there is no directory '%.*s'", (int)len, path)
                       : status;
        path = slash + 1;
    }
}

static enum hv_status stat_inode(struct store *s, u64 inode, struct store_stat *out)
{
    sqlite3_stmt *st =
        prepare(s, "SELECT directory, size, changed FROM inode WHERE id=?", inode, 0);
    enum hv_status status = step(s, st);
    u32 *map = NULL, count = 0;

    memset(out, 0, sizeof(*out));
    out->inode = inode;
    if (status == HV_OK) {
        out->directory = sqlite3_column_int(st, 0);
        out->size = (u64)sqlite3_column_int64(st, 1);
        out->changed = sqlite3_column_int64(st, 2);
    }
    sqlite3_finalize(st);
    if (status == HV_OK && !out->directory)
        status = store_load_map(s, inode, &map, &count);
    for (u32 i = 0; i < count && status == HV_OK; i++) {
        bool there = map[i] != STORE_NOWHERE;

        out->allocated += there ? STORE_UNIT : 0;
        out->shared += there && s->refs[map[i]] > 1 ? STORE_UNIT : 0;
    }
    free(map);
    return status;
}

enum hv_status store_lookup(struct store *s, const char *path, struct store_stat *out)
{
    const char *last;
    u64 parent, inode = STORE_ROOT;
    enum hv_status status = HV_OK;

    if (path[0]) {
        status = walk(s, path, &parent, &last);
        if (status == HV_OK)
            status = child(s, parent, last, (u32)strlen(last), &inode);
        if (status == HV_ENOENT)
            store_fail(s, status, "there is no '%.100s'", path);
    }
    return status == HV_OK ? stat_inode(s, inode, out) : status;
}

enum hv_status store_stat(struct store *s, const char *path, struct store_stat *out)
{
    store_lock(s);
    enum hv_status status = store_lookup(s, path, out);
    store_unlock(s);
    return status;
}

static enum hv_status add_name(struct store *s, u64 parent, const char *name, u64 inode)
{
    sqlite3_stmt *st =
        prepare(s, "INSERT INTO name(parent, inode, name) VALUES(?,?,?)", parent, inode);

    if (st)
        sqlite3_bind_text(st, 3, name, -1, SQLITE_TRANSIENT);
    return run(s, st);
}

static enum hv_status free_name(struct store *s, const char *path, u64 *parent, const char **last)
{
    u64 inode;
    struct store_stat dir;
    enum hv_status status;

    if (s->read_only)
        return store_fail(s, HV_EPERM, "the store is mounted read-only");
    status = walk(s, path, parent, last);
    if (status == HV_OK)
        status = stat_inode(s, *parent, &dir);
    if (status == HV_OK && !dir.directory)
        return store_fail(s, HV_EINVAL, "'%.100s' is in a file", path);
    if (status != HV_OK)
        return status;
    status = child(s, *parent, *last, (u32)strlen(*last), &inode);
    if (status == HV_OK)
        return store_fail(s, HV_EEXIST, "there is a '%.100s' already", path);
    return status == HV_ENOENT ? HV_OK : status;
}

static enum hv_status make(struct store *s, const char *path, bool directory, u64 size, u64 *inode)
{
    const char *last;
    u64 parent;
    enum hv_status status = free_name(s, path, &parent, &last);

    if (status == HV_OK)
        status =
            run2(s, "INSERT INTO inode(directory, size, changed) VALUES(?,?,0)", directory, size);
    *inode = (u64)sqlite3_last_insert_rowid(s->db);
    if (status == HV_OK)
        status = run2(s, "UPDATE inode SET changed=?2 WHERE id=?1", *inode, (u64)clock_unix());
    return status == HV_OK ? add_name(s, parent, last, *inode) : status;
}

enum hv_status store_make(struct store *s, const char *path, bool directory)
{
    u64 inode;

    store_lock(s);
    enum hv_status status = store_sql(s, "BEGIN");
    if (status == HV_OK)
        status = end_transaction(s, make(s, path, directory, 0, &inode));
    store_unlock(s);
    return status;
}

static enum hv_status is_empty(struct store *s, u64 inode)
{
    sqlite3_stmt *st = prepare(s, "SELECT 1 FROM name WHERE parent=? LIMIT 1", inode, 0);
    enum hv_status status = step(s, st);

    sqlite3_finalize(st);
    if (status == HV_OK)
        return store_fail(s, HV_EBUSY, "the directory is not empty");
    return status == HV_ENOENT ? HV_OK : status;
}

static enum hv_status delete_rows(struct store *s, u64 inode)
{
    enum hv_status status = store_sql(s, "BEGIN");

    if (status != HV_OK)
        return status;
    status = run2(s, "DELETE FROM name WHERE inode=?", inode, 0);
    if (status == HV_OK)
        status = run2(s, "DELETE FROM map WHERE inode=?", inode, 0);
    if (status == HV_OK)
        status = run2(s, "DELETE FROM inode WHERE id=?", inode, 0);
    return end_transaction(s, status);
}

enum hv_status store_remove(struct store *s, const char *path)
{
    struct store_stat st;
    u32 *map = NULL, count = 0;
    enum hv_status status;

    store_lock(s);
    status = store_lookup(s, path, &st);
    if (status == HV_OK && (s->read_only || st.inode == STORE_ROOT))
        status = store_fail(s, HV_EPERM, "this cannot be removed");
    if (status == HV_OK && store_file_find(s, st.inode))
        status = store_fail(s, HV_EBUSY, "'%.100s' is open", path);
    if (status == HV_OK)
        status = st.directory ? is_empty(s, st.inode) : store_load_map(s, st.inode, &map, &count);
    if (status == HV_OK)
        status = delete_rows(s, st.inode);
    for (u32 i = 0; i < count && status == HV_OK; i++)
        if (map[i] != STORE_NOWHERE)
            store_drop_unit(s, map[i]);
    free(map);
    store_unlock(s);
    return status;
}

enum hv_status store_rename(struct store *s, const char *from, const char *to)
{
    struct store_stat st;
    const char *last;
    u64 parent = 0, up;
    enum hv_status status;

    store_lock(s);
    status = store_lookup(s, from, &st);
    if (status == HV_OK && st.inode == STORE_ROOT)
        status = store_fail(s, HV_EPERM, "the root has no name");
    if (status == HV_OK)
        status = free_name(s, to, &parent, &last);
    /* A directory does not go into itself. */
    for (up = parent; status == HV_OK && st.directory && up != STORE_ROOT;) {
        sqlite3_stmt *q = prepare(s, "SELECT parent FROM name WHERE inode=?", up, 0);

        if (up == st.inode)
            status = store_fail(s, HV_EINVAL, "a directory cannot be moved into itself");
        else if ((status = step(s, q)) == HV_OK)
            up = (u64)sqlite3_column_int64(q, 0);
        sqlite3_finalize(q);
    }
    if (status == HV_OK)
        status = store_sql(s, "BEGIN");
    if (status == HV_OK) {
        status = run2(s, "DELETE FROM name WHERE inode=?", st.inode, 0);
        if (status == HV_OK)
            status = add_name(s, parent, last, st.inode);
        status = end_transaction(s, status);
    }
    store_unlock(s);
    return status;
}

static enum hv_status copy_rows(struct store *s, const struct store_stat *from, const char *to)
{
    u64 inode;
    enum hv_status status = store_sql(s, "BEGIN");

    if (status != HV_OK)
        return status;
    status = make(s, to, false, from->size, &inode);
    if (status == HV_OK)
        status = run2(s,
                      "INSERT INTO map(inode, chunk, units) "
                      "SELECT ?1, chunk, units FROM map WHERE inode=?2",
                      inode, from->inode);
    return end_transaction(s, status);
}

enum hv_status store_copy(struct store *s, const char *from, const char *to)
{
    struct store_stat st;
    struct store_file *open;
    u32 *map = NULL, count = 0;
    enum hv_status status;

    store_lock(s);
    status = store_lookup(s, from, &st);
    if (status == HV_OK && st.directory)
        status = store_fail(s, HV_EINVAL, "'%.100s' is a directory", from);
    if (status == HV_OK && (open = store_file_find(s, st.inode)) && open->writer)
        status = store_fail(s, HV_EBUSY, "'%.100s' is being written", from);
    if (status == HV_OK)
        status = store_load_map(s, st.inode, &map, &count);
    for (u32 i = 0; i < count && status == HV_OK; i++)
        if (map[i] != STORE_NOWHERE && s->refs[map[i]] >= 0xfffe)
            status = store_fail(s, HV_E2BIG, "too many files share a unit");
    if (status == HV_OK)
        status = copy_rows(s, &st, to);
    for (u32 i = 0; i < count && status == HV_OK; i++)
        if (map[i] != STORE_NOWHERE)
            s->refs[map[i]]++;
    free(map);
    store_unlock(s);
    return status;
}

enum hv_status store_list(struct store *s, const char *path,
                          void (*fn)(void *arg, const char *name, const struct store_stat *st),
                          void *arg)
{
    struct store_stat dir, st;
    sqlite3_stmt *q = NULL;
    enum hv_status status;

    store_lock(s);
    status = store_lookup(s, path, &dir);
    if (status == HV_OK && !dir.directory)
        status = store_fail(s, HV_EINVAL, "'%.100s' is a file", path);
    if (status == HV_OK)
        q = prepare(s, "SELECT name, inode FROM name WHERE parent=? ORDER BY name", dir.inode, 0);
    while (status == HV_OK && (status = step(s, q)) == HV_OK) {
        status = stat_inode(s, (u64)sqlite3_column_int64(q, 1), &st);
        if (status == HV_OK)
            fn(arg, (const char *)sqlite3_column_text(q, 0), &st);
    }
    sqlite3_finalize(q);
    store_unlock(s);
    return status == HV_ENOENT && dir.directory ? HV_OK : status;
}

enum hv_status store_usage(struct store *s, struct store_usage *out)
{
    store_lock(s);
    sqlite3_stmt *q =
        prepare(s, "SELECT total(size), sum(directory=0), sum(directory<>0) FROM inode", 0, 0);
    enum hv_status status = step(s, q);

    *out = (struct store_usage){
        .capacity = s->units * STORE_UNIT,
        .used = (s->units - s->free_units) * STORE_UNIT,
    };
    if (status == HV_OK) {
        out->provisioned = (u64)sqlite3_column_int64(q, 0);
        out->files = (u64)sqlite3_column_int64(q, 1);
        out->directories = (u64)sqlite3_column_int64(q, 2);
    }
    sqlite3_finalize(q);
    store_unlock(s);
    return status;
}
