/* Copies of whole directories of a store; called by the shell. */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "storage/store_inner.h"

#define NAMES_MAX 256u
#define DEPTH_MAX 8u

struct entries {
    u32 count;
    bool more;
    struct {
        char name[101];
        bool directory;
    } entry[NAMES_MAX];
};

static void on_entry(void *arg, const char *name, const struct store_stat *st)
{
    struct entries *e = arg;

    e->more |= e->count == NAMES_MAX;
    if (e->more)
        return;
    snprintf(e->entry[e->count].name, sizeof(e->entry[0].name), "%s", name);
    e->entry[e->count++].directory = st->directory;
}

struct tree {
    struct store *store;
    const char *from, *to; /* the two roots */
    enum hv_status (*fn)(struct tree *t, const char *path, bool directory);
};

static enum hv_status join(struct tree *t, const char *dir, const char *name,
                           char path[STORE_PATH_MAX])
{
    int n = snprintf(path, STORE_PATH_MAX, "%s%s%s", dir, dir[0] ? "/" : "", name);

    return n < (int)STORE_PATH_MAX
               ? HV_OK
               : store_fail(t->store, HV_E2BIG, "a path in '%.100s' would be too long", dir);
}

/* Calls fn for what is in a directory: before its own contents, or (after) behind them. */
static enum hv_status walk(struct tree *t, const char *dir, u32 depth, bool after)
{
    struct entries *e = calloc(1, sizeof(*e));
    enum hv_status status = e ? store_list(t->store, dir, on_entry, e) : HV_ENOMEM;
    char path[STORE_PATH_MAX];

    if (status == HV_OK && (e->more || depth == DEPTH_MAX))
        status = store_fail(t->store, HV_E2BIG, "'%.100s' has too many names or directories", dir);
    for (u32 i = 0; e && i < e->count && status == HV_OK; i++) {
        bool directory = e->entry[i].directory;

        status = join(t, dir, e->entry[i].name, path);
        if (status == HV_OK && !after)
            status = t->fn(t, path, directory);
        if (status == HV_OK && directory)
            status = walk(t, path, depth + 1, after);
        if (status == HV_OK && after)
            status = t->fn(t, path, directory);
    }
    free(e);
    return status;
}

static enum hv_status target(struct tree *t, const char *path, char to[STORE_PATH_MAX])
{
    return join(t, t->to, path + strlen(t->from) + 1, to);
}

static enum hv_status copy_one(struct tree *t, const char *path, bool directory)
{
    char to[STORE_PATH_MAX];
    enum hv_status status = target(t, path, to);

    if (status == HV_OK)
        status = directory ? store_make(t->store, to, true) : store_copy(t->store, path, to);
    return status;
}

/* The copy of an image whose parent was copied too lies over that copy. */
static enum hv_status link_one(struct tree *t, const char *path, bool directory)
{
    struct store_image chain[2];
    u32 count = 0;
    char to[STORE_PATH_MAX], parent[STORE_PATH_MAX];
    u64 n = strlen(t->from);
    enum hv_status status = directory ? HV_ENOENT : store_chain(t->store, path, chain, 2, &count);

    if (directory || (status == HV_OK && count < 2))
        return HV_OK;
    if (status == HV_OK && (strncmp(chain[1].path, t->from, n) || chain[1].path[n] != '/'))
        return HV_OK;
    if (status == HV_OK)
        status = target(t, path, to);
    if (status == HV_OK)
        status = target(t, chain[1].path, parent);
    struct store_change c = {
        .kind = STORE_IMAGE, .path = to, .to = parent, .format = chain[0].format};
    return status == HV_OK ? store_apply(t->store, &c, 1) : status;
}

static enum hv_status unlink_one(struct tree *t, const char *path, bool directory)
{
    struct store_change c = {.kind = STORE_IMAGE, .path = path};
    struct store_image chain[2];
    u32 count = 0;
    enum hv_status status = directory ? HV_OK : store_chain(t->store, path, chain, 2, &count);

    return count > 1 ? store_apply(t->store, &c, 1) : status;
}

static enum hv_status remove_one(struct tree *t, const char *path, bool directory)
{
    (void)directory;
    return store_remove(t->store, path);
}

/* The first failure is the one that is told. */
static void take_away(struct tree *t, const char *dir)
{
    char error[STORE_ERROR_MAX];

    memcpy(error, t->store->error, sizeof(error));
    t->fn = unlink_one;
    enum hv_status status = walk(t, dir, 0, false);
    t->fn = remove_one;
    if (status == HV_OK)
        status = walk(t, dir, 0, true);
    if (status == HV_OK)
        status = store_remove(t->store, dir);
    if (status == HV_OK)
        memcpy(t->store->error, error, sizeof(error));
}

enum hv_status store_copy_tree(struct store *s, const char *from, const char *to)
{
    struct tree t = {.store = s, .from = from, .to = to, .fn = copy_one};
    struct store_stat st;
    enum hv_status status = store_stat(s, from, &st);
    u64 n = strlen(from);

    if (status != HV_OK || !st.directory)
        return status == HV_OK ? store_copy(s, from, to) : status;
    if (!n || (!strncmp(to, from, n) && (to[n] == '/' || !to[n])))
        return store_fail(s, HV_EINVAL, "a directory cannot be copied into itself");
    status = store_make(s, to, true);
    if (status != HV_OK)
        return status;
    status = walk(&t, from, 0, false);
    t.fn = link_one;
    if (status == HV_OK)
        status = walk(&t, from, 0, false);
    if (status != HV_OK)
        take_away(&t, to);
    return status;
}
