/* Images of a store and their parents, small files, and changes that belong together: SQL.  Called
 * by whoever opens chains and by the snapshot code. */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "control/rt/clock.h"
#include "storage/ram_disk.h"
#include "storage/store_inner.h"

/* ---- small files ----------------------------------------------------------------------------- */

enum hv_status store_get(struct store *s, const char *path, char **text, u32 *len)
{
    struct store_stat st;

    *text = NULL;
    store_lock(s);
    enum hv_status status = store_lookup(s, path, &st);
    if (status == HV_OK && !st.text)
        status = store_fail(s, HV_EINVAL, "'%.100s' is not a small file", path);
    if (status == HV_OK) {
        sqlite3_stmt *q = store_prepare(s, "SELECT bytes FROM text WHERE inode=?", st.inode, 0);

        status = store_step(s, q);
        if (status == HV_OK) {
            *len = (u32)sqlite3_column_bytes(q, 0);
            *text = *len <= STORE_TEXT_MAX ? malloc(*len + 1) : NULL;
            status = *text ? HV_OK : HV_ENOMEM;
        }
        if (*text) {
            memcpy(*text, *len ? sqlite3_column_blob(q, 0) : "", *len);
            (*text)[*len] = 0;
        }
        sqlite3_finalize(q);
    }
    store_unlock(s);
    return status;
}

/* A small file as a disk that can only be read: a copy of it. */
enum hv_status store_text_disk(struct store *s, const struct store_stat *st, const char *path,
                               struct disk **out)
{
    sqlite3_stmt *q = store_prepare(s, "SELECT bytes FROM text WHERE inode=?", st->inode, 0);
    enum hv_status status = store_step(s, q);
    u32 len = status == HV_OK ? (u32)sqlite3_column_bytes(q, 0) : 0;

    if (status == HV_OK) {
        *out = ram_disk_open(path, len, 1, STORE_TEXT_MAX + 64 * KIB);
        status = *out && len <= STORE_TEXT_MAX ? HV_OK : HV_ENOMEM;
        if (status == HV_OK && len)
            status = disk_write(*out, 0, sqlite3_column_blob(q, 0), len);
        if (*out && status != HV_OK)
            disk_close(*out);
        else if (*out)
            (*out)->read_only = true;
    }
    sqlite3_finalize(q);
    return status;
}

static enum hv_status put(struct store *s, const struct store_change *c)
{
    struct store_stat st;
    enum hv_status status = store_lookup(s, c->path, &st);

    if (c->length > STORE_TEXT_MAX)
        return store_fail(s, HV_E2BIG, "'%.100s' would be longer than 256 KiB", c->path);
    if (status == HV_ENOENT)
        status = store_make_inode(s, c->path, false, 0, &st.inode);
    else if (status == HV_OK && (st.directory || st.allocated))
        status = store_fail(s, HV_EEXIST, "there is a '%.100s' already", c->path);
    if (status != HV_OK)
        return status;
    sqlite3_stmt *q =
        store_prepare(s, "INSERT OR REPLACE INTO text(inode, bytes) VALUES(?1, ?3)", st.inode, 0);
    if (q)
        sqlite3_bind_blob(q, 3, c->text, (int)c->length, SQLITE_TRANSIENT);
    status = store_run(s, q);
    if (status == HV_OK)
        status = store_run2(s, "UPDATE inode SET size=?2 WHERE id=?1", st.inode, c->length);
    if (status == HV_OK)
        status =
            store_run2(s, "UPDATE inode SET changed=?2 WHERE id=?1", st.inode, (u64)clock_unix());
    return status;
}

/* ---- images and parents ---------------------------------------------------------------------- */

bool store_has_children(struct store *s, u64 inode)
{
    sqlite3_stmt *q = store_prepare(s, "SELECT 1 FROM image WHERE parent=? LIMIT 1", inode, 0);
    enum hv_status status = store_step(s, q);

    sqlite3_finalize(q);
    return status != HV_ENOENT; /* a catalogue that cannot be read may say so */
}

static enum hv_status set_image(struct store *s, const struct store_change *c)
{
    struct store_stat st, to = {0};
    enum hv_status status = store_lookup(s, c->path, &st);

    if (status == HV_OK && c->to)
        status = store_lookup(s, c->to, &to);
    if (status == HV_OK && (st.directory || st.text || to.directory || to.text))
        status = store_fail(s, HV_EINVAL, "'%.100s' is no image", c->path);
    if (status == HV_OK && c->format) {
        sqlite3_stmt *q = store_prepare(
            s, "INSERT OR REPLACE INTO image(inode, parent, format, size) VALUES(?1, ?2, ?3, ?4)",
            st.inode, to.inode);
        u64 size = c->size ? c->size : to.image_size;

        if (q) {
            sqlite3_bind_text(q, 3, c->format, -1, SQLITE_TRANSIENT);
            sqlite3_bind_int64(q, 4, (sqlite3_int64)(size ? size : st.image_size));
        }
        return store_run(s, q);
    }
    return status == HV_OK
               ? store_run2(s, "UPDATE image SET parent=?2 WHERE inode=?1", st.inode, to.inode)
               : status;
}

/* One image of the table, and its parent (0: none). */
static enum hv_status get_image(struct store *s, u64 inode, struct store_image *out, u64 *parent)
{
    sqlite3_stmt *q =
        store_prepare(s, "SELECT format, parent, size FROM image WHERE inode=?", inode, 0);
    enum hv_status status = store_step(s, q);

    *parent = 0;
    out->inode = inode;
    out->format[0] = 0;
    out->size = 0;
    if (status == HV_OK) {
        const char *format = (const char *)sqlite3_column_text(q, 0);

        snprintf(out->format, sizeof(out->format), "%s", format ? format : "");
        *parent = (u64)sqlite3_column_int64(q, 1);
        out->size = MIN((u64)sqlite3_column_int64(q, 2), IMAGE_SIZE_MAX);
    }
    sqlite3_finalize(q);
    return status == HV_ENOENT ? HV_OK : status;
}

/* The path of an inode, from its names upwards. */
static enum hv_status path_of(struct store *s, u64 inode, char path[STORE_PATH_MAX])
{
    char rest[STORE_PATH_MAX];
    enum hv_status status = HV_OK;

    path[0] = 0;
    for (u32 depth = 0; inode != STORE_ROOT && status == HV_OK; depth++) {
        sqlite3_stmt *q = store_prepare(s, "SELECT name, parent FROM name WHERE inode=?", inode, 0);

        status = store_step(s, q);
        if (status == HV_OK) {
            const char *name = (const char *)sqlite3_column_text(q, 0);

            memcpy(rest, path, sizeof(rest));
            int n = snprintf(path, STORE_PATH_MAX, "%s%s%s", name ? name : "", rest[0] ? "/" : "",
                             rest);
            inode = (u64)sqlite3_column_int64(q, 1);
            if (n >= STORE_PATH_MAX || depth >= STORE_PATH_MAX)
                status = store_fail(s, HV_ECORRUPT, "a path is longer than %u", STORE_PATH_MAX);
        }
        sqlite3_finalize(q);
    }
    return status == HV_ENOENT ? store_fail(s, HV_ECORRUPT, "an image's parent is gone") : status;
}

enum hv_status store_chain(struct store *s, const char *path, struct store_image *out, u32 max,
                           u32 *count)
{
    struct store_stat st;
    u64 inode, parent;

    *count = 0;
    store_lock(s);
    enum hv_status status = store_lookup(s, path, &st);
    for (inode = st.inode; status == HV_OK && inode; inode = parent) {
        if (*count == max) {
            status = store_fail(s, HV_E2BIG, "the chain of '%.100s' is longer than %u", path, max);
            break;
        }
        status = get_image(s, inode, &out[*count], &parent);
        if (status == HV_OK)
            status = path_of(s, inode, out[*count].path);
        ++*count;
    }
    store_unlock(s);
    return status;
}

enum hv_status store_children(struct store *s, const char *path,
                              void (*fn)(void *arg, const char *child), void *arg)
{
    struct store_stat st;
    char child[STORE_PATH_MAX];

    store_lock(s);
    enum hv_status status = store_lookup(s, path, &st);
    if (status == HV_OK) {
        sqlite3_stmt *q =
            store_prepare(s, "SELECT inode FROM image WHERE parent=? ORDER BY inode", st.inode, 0);

        while ((status = store_step(s, q)) == HV_OK) {
            status = path_of(s, (u64)sqlite3_column_int64(q, 0), child);
            if (status != HV_OK)
                break;
            fn(arg, child);
        }
        status = status == HV_ENOENT ? HV_OK : status;
        sqlite3_finalize(q);
    }
    store_unlock(s);
    return status;
}

/* No image without its parent, and from each image the way ends within IMAGE_CHAIN_MAX. */
static enum hv_status links_hold(struct store *s)
{
    sqlite3_stmt *q = store_prepare(
        s,
        "SELECT name FROM image JOIN name USING(inode) WHERE image.parent<>0 AND image.parent NOT "
        "IN (SELECT id FROM inode) LIMIT 1",
        0, 0);
    enum hv_status status = store_step(s, q);

    if (status == HV_OK)
        status = store_fail(s, HV_EBUSY, "'%.100s' is made from it", sqlite3_column_text(q, 0));
    sqlite3_finalize(q);
    if (status != HV_ENOENT)
        return status;
    q = store_prepare(s,
                      "WITH RECURSIVE up(start, at, depth) AS (SELECT inode, parent, 1 FROM image "
                      "WHERE parent<>0 UNION ALL SELECT start, parent, depth+1 FROM up JOIN image "
                      "ON inode=at WHERE parent<>0 AND depth<=?1) SELECT name FROM up JOIN name ON "
                      "inode=start WHERE depth>=?1 LIMIT 1",
                      IMAGE_CHAIN_MAX, 0);
    status = store_step(s, q);
    if (status == HV_OK)
        status = store_fail(s, HV_EINVAL, "'%.100s' has a chain of more than %u images",
                            sqlite3_column_text(q, 0), IMAGE_CHAIN_MAX);
    sqlite3_finalize(q);
    return status == HV_ENOENT ? HV_OK : status;
}

/* ---- changes that belong together ------------------------------------------------------------ */

static enum hv_status change_one(struct store *s, const struct store_change *c,
                                 struct store_units *gone)
{
    struct store_stat st;
    enum hv_status status;

    switch (c->kind) {
    case STORE_PUT:
        return put(s, c);
    case STORE_MOVE:
        return store_move(s, c->path, c->to);
    case STORE_IMAGE:
        return set_image(s, c);
    case STORE_DROP:
        status = store_lookup(s, c->path, &st);
        return status == HV_OK ? store_unlink(s, c->path, &st, gone) : status;
    }
    return HV_EINVAL;
}

enum hv_status store_apply(struct store *s, const struct store_change *changes, u32 count)
{
    struct store_units gone = {0};
    bool links = false;

    store_lock(s);
    enum hv_status status =
        s->read_only ? store_fail(s, HV_EPERM, "the store is mounted read-only") : HV_OK;
    if (status == HV_OK)
        status = store_sql(s, "BEGIN");
    for (u32 i = 0; i < count && status == HV_OK; i++) {
        status = change_one(s, &changes[i], &gone);
        links |= changes[i].kind == STORE_IMAGE || changes[i].kind == STORE_DROP;
    }
    if (status == HV_OK && links)
        status = links_hold(s);
    if (status == HV_OK && links)
        status = store_look_at_provision(s);
    status = store_end_units(s, status, &gone);
    store_unlock(s);
    return status;
}
