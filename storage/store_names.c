/* Names of a store in SQL: directories, files, copies.  Called by the shell and by whoever opens
 * files. */
#include <stdlib.h>
#include <string.h>

#include "control/rt/clock.h"
#include "storage/store_inner.h"

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
    sqlite3_stmt *st =
        store_prepare(s, "SELECT inode FROM name WHERE parent=? AND name=?", parent, 0);

    if (st)
        sqlite3_bind_text(st, 2, name, (int)len, SQLITE_TRANSIENT);
    enum hv_status status = store_step(s, st);
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
    sqlite3_stmt *st = store_prepare(s,
                                     "SELECT directory, size, changed,"
                                     " id IN (SELECT inode FROM text), thick,"
                                     " (SELECT size FROM image WHERE inode=id)"
                                     " FROM inode WHERE id=?",
                                     inode, 0);
    enum hv_status status = store_step(s, st);
    u32 *map = NULL, count = 0;

    memset(out, 0, sizeof(*out));
    out->inode = inode;
    if (status == HV_OK) {
        out->directory = sqlite3_column_int(st, 0);
        out->size = (u64)sqlite3_column_int64(st, 1);
        out->changed = sqlite3_column_int64(st, 2);
        out->text = sqlite3_column_int(st, 3);
        out->thickness =
            (enum store_thickness)MIN((u32)sqlite3_column_int(st, 4), (u32)STORE_EAGER);
        out->image_size = MIN((u64)sqlite3_column_int64(st, 5), IMAGE_SIZE_MAX);
    }
    sqlite3_finalize(st);
    if (status == HV_OK && !out->directory && !out->text)
        status = store_load_map(s, inode, &map, &count);
    for (u32 i = 0; i < count && status == HV_OK; i++) {
        u32 unit = store_unit_of(map[i]);
        bool there = unit != STORE_NOWHERE;

        out->allocated += there ? STORE_UNIT : 0;
        out->reserved += store_is_reserved(map[i]) ? STORE_UNIT : 0;
        out->shared += there && s->refs[unit] > 1 ? STORE_UNIT : 0;
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
        store_prepare(s, "INSERT INTO name(parent, inode, name) VALUES(?,?,?)", parent, inode);

    if (st)
        sqlite3_bind_text(st, 3, name, -1, SQLITE_TRANSIENT);
    return store_run(s, st);
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

enum hv_status store_make_inode(struct store *s, const char *path, bool directory, u64 size,
                                u64 *inode)
{
    const char *last;
    u64 parent;
    enum hv_status status = free_name(s, path, &parent, &last);

    if (status == HV_OK)
        status = store_run2(s, "INSERT INTO inode(directory, size, changed) VALUES(?,?,0)",
                            directory, size);
    *inode = (u64)sqlite3_last_insert_rowid(s->db);
    if (status == HV_OK)
        status =
            store_run2(s, "UPDATE inode SET changed=?2 WHERE id=?1", *inode, (u64)clock_unix());
    return status == HV_OK ? add_name(s, parent, last, *inode) : status;
}

enum hv_status store_make(struct store *s, const char *path, bool directory)
{
    u64 inode;

    store_lock(s);
    enum hv_status status = store_sql(s, "BEGIN");
    if (status == HV_OK)
        status = store_end(s, store_make_inode(s, path, directory, 0, &inode));
    store_unlock(s);
    return status;
}

static enum hv_status is_empty(struct store *s, u64 inode)
{
    sqlite3_stmt *st = store_prepare(s, "SELECT 1 FROM name WHERE parent=? LIMIT 1", inode, 0);
    enum hv_status status = store_step(s, st);

    sqlite3_finalize(st);
    if (status == HV_OK)
        return store_fail(s, HV_EBUSY, "the directory is not empty");
    return status == HV_ENOENT ? HV_OK : status;
}

enum hv_status store_unlink(struct store *s, const char *path, const struct store_stat *st,
                            struct store_units *gone)
{
    static const char *const rows[] = {
        "DELETE FROM name WHERE inode=?", "DELETE FROM map WHERE inode=?",
        "DELETE FROM text WHERE inode=?", "DELETE FROM image WHERE inode=?",
        "DELETE FROM inode WHERE id=?",
    };
    u32 *map = NULL, count = 0;
    enum hv_status status = HV_OK;

    if (s->read_only || st->inode == STORE_ROOT)
        return store_fail(s, HV_EPERM, "'%.100s' cannot be removed", path);
    if (store_file_find(s, st->inode))
        return store_fail(s, HV_EBUSY, "'%.100s' is open", path);
    status = st->directory ? is_empty(s, st->inode) : store_load_map(s, st->inode, &map, &count);
    u32 *more = status == HV_OK ? realloc(gone->unit, (gone->count + count + 1) * 4ull) : NULL;
    if (more)
        gone->unit = more;
    else if (status == HV_OK)
        status = HV_ENOMEM;
    for (u32 i = 0; i < ARRAY_LEN(rows) && status == HV_OK; i++)
        status = store_run2(s, rows[i], st->inode, 0);
    for (u32 i = 0; i < count && status == HV_OK; i++)
        if (map[i] != STORE_NOWHERE)
            gone->unit[gone->count++] = store_unit_of(map[i]);
    free(map);
    return status;
}

enum hv_status store_end_units(struct store *s, enum hv_status status, struct store_units *gone)
{
    status = store_end(s, status);
    for (u32 i = 0; i < gone->count && status == HV_OK; i++)
        store_drop_unit(s, gone->unit[i]);
    free(gone->unit);
    store_look_at_space(s);
    return status;
}

enum hv_status store_remove(struct store *s, const char *path)
{
    struct store_change change = {.kind = STORE_DROP, .path = path};

    return store_apply(s, &change, 1);
}

/* A directory does not go into itself. */
static enum hv_status not_inside(struct store *s, const struct store_stat *st, u64 parent)
{
    enum hv_status status = HV_OK;

    for (u64 up = parent; status == HV_OK && st->directory && up != STORE_ROOT;) {
        sqlite3_stmt *q = store_prepare(s, "SELECT parent FROM name WHERE inode=?", up, 0);

        if (up == st->inode)
            status = store_fail(s, HV_EINVAL, "a directory cannot be moved into itself");
        else if ((status = store_step(s, q)) == HV_OK)
            up = (u64)sqlite3_column_int64(q, 0);
        sqlite3_finalize(q);
    }
    return status;
}

enum hv_status store_move(struct store *s, const char *from, const char *to)
{
    struct store_stat st;
    const char *last = "";
    u64 parent = 0;
    enum hv_status status = store_lookup(s, from, &st);

    if (status == HV_OK && st.inode == STORE_ROOT)
        status = store_fail(s, HV_EPERM, "the root has no name");
    if (status == HV_OK)
        status = free_name(s, to, &parent, &last);
    if (status == HV_OK)
        status = not_inside(s, &st, parent);
    if (status == HV_OK)
        status = store_run2(s, "DELETE FROM name WHERE inode=?", st.inode, 0);
    return status == HV_OK ? add_name(s, parent, last, st.inode) : status;
}

enum hv_status store_rename(struct store *s, const char *from, const char *to)
{
    store_lock(s);
    enum hv_status status = store_sql(s, "BEGIN");
    if (status == HV_OK)
        status = store_end(s, store_move(s, from, to));
    store_unlock(s);
    return status;
}

static enum hv_status copy_map(struct store *s, u64 inode, u32 *map, u32 count)
{
    struct store_file f = {.store = s, .inode = inode, .map = map, .count = count};
    enum hv_status status = HV_OK;

    for (u32 i = 0; i * STORE_CHUNK < count && status == HV_OK; i++)
        status = store_save_chunk(&f, i);
    return status;
}

static enum hv_status copy_rows(struct store *s, const struct store_stat *from, const char *to,
                                u32 *map, u32 count)
{
    u64 inode;
    enum hv_status status = store_sql(s, "BEGIN");

    if (status != HV_OK)
        return status;
    status = store_make_inode(s, to, false, from->size, &inode);
    if (status == HV_OK)
        status = copy_map(s, inode, map, count);
    if (status == HV_OK)
        status = store_run2(s, "INSERT INTO text SELECT ?1, bytes FROM text WHERE inode=?2", inode,
                            from->inode);
    if (status == HV_OK)
        status = store_run2(s,
                            "INSERT INTO image(inode, format, parent, size) "
                            "SELECT ?1, format, parent, size FROM image WHERE inode=?2",
                            inode, from->inode);
    return store_end(s, status);
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
        if (store_is_reserved(map[i])) /* a copy has no room of its own, only what was written */
            map[i] = STORE_NOWHERE;
    for (u32 i = 0; i < count && status == HV_OK; i++)
        if (map[i] != STORE_NOWHERE && s->refs[map[i]] >= 0xfffe)
            status = store_fail(s, HV_E2BIG, "too many files share a unit");
    if (status == HV_OK)
        status = copy_rows(s, &st, to, map, count);
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
        q = store_prepare(s, "SELECT name, inode FROM name WHERE parent=? ORDER BY name", dir.inode,
                          0);
    while (status == HV_OK && (status = store_step(s, q)) == HV_OK) {
        status = stat_inode(s, (u64)sqlite3_column_int64(q, 1), &st);
        if (status == HV_OK)
            fn(arg, (const char *)sqlite3_column_text(q, 0), &st);
    }
    sqlite3_finalize(q);
    store_unlock(s);
    return status == HV_ENOENT && dir.directory ? HV_OK : status;
}
