/* Files of a store as disks: the image engine over two layers on the device, the units that only
 * this file has, which are written in place, and below them those that it shares, which are copied
 * before they change.  Called by the engine. */
#include <stdlib.h>
#include <string.h>

#include "control/rt/log.h"
#include "storage/engine.h"
#include "storage/sector_disk.h"
#include "storage/store_inner.h"

/* ---- units -------------------------------------------------------------------------------------
 */

u32 store_take_unit(struct store *s)
{
    for (u32 i = 0; i < s->units && s->free_units; i++) {
        u32 unit = s->search;

        s->search = (s->search + 1) % s->units;
        if (s->refs[unit])
            continue;
        s->refs[unit] = 1;
        s->free_units--;
        return unit;
    }
    return STORE_NOWHERE;
}

void store_drop_unit(struct store *s, u32 unit)
{
    rt_assert(unit < s->units && s->refs[unit]);
    if (!--s->refs[unit])
        s->free_units++;
}

static u64 place(const struct store *s, u32 unit)
{
    return s->data_at + unit * STORE_UNIT;
}

/* ---- open files --------------------------------------------------------------------------------
 */

struct store_file *store_file_find(struct store *s, u64 inode)
{
    struct store_file *f = s->files;

    while (f && f->inode != inode)
        f = f->next;
    return f;
}

static bool grow(void *array, u64 bytes)
{
    void *more = realloc(*(void **)array, bytes);

    if (more)
        *(void **)array = more;
    return more != NULL;
}

static enum hv_status make_room(struct store_file *f, u32 count)
{
    u32 room = ROUND_UP(count + 1, STORE_CHUNK), had = f->room / STORE_CHUNK;

    if (room > f->room) {
        if (!grow(&f->map, room * 4ull) || !grow(&f->shared, room) ||
            !grow(&f->changed, room / STORE_CHUNK))
            return HV_ENOMEM;
        memset(f->changed + had, 0, room / STORE_CHUNK - had);
        f->room = room;
    }
    for (u32 i = f->count; i < count; i++) {
        f->map[i] = STORE_NOWHERE;
        f->shared[i] = 0;
    }
    return HV_OK;
}

void store_file_free(struct store_file *f)
{
    struct store_file **at = &f->store->files;

    while (*at && *at != f)
        at = &(*at)->next;
    if (*at)
        *at = f->next;
    free(f->map);
    free(f->shared);
    free(f->changed);
    free(f->freed);
    free(f);
}

/* ---- the two layers ----------------------------------------------------------------------------
 */

static enum hv_status layer_open(struct image *img)
{
    struct store_file *f = img->arg;

    img->priv = f;
    f->layers++;
    img->size = f->size;
    img->unit = STORE_UNIT;
    img->end = img->file->size; /* nothing is appended, nothing reads as zeros by itself */
    return HV_OK;
}

static enum hv_status own_open(struct image *img)
{
    struct store_file *f = img->arg;

    for (u32 i = 0; i < f->count; i++)
        img->wants_parent |= f->shared[i];
    return layer_open(img);
}

static void layer_release(struct image *img)
{
    struct store_file *f = img->priv;

    if (f && !--f->layers)
        store_file_free(f);
}

static enum hv_status map_units(struct image *img, u64 offset, u64 length, struct image_extent *e,
                                bool shared)
{
    struct store_file *f = img->priv;
    u64 within = offset % STORE_UNIT;
    u32 n = (u32)(offset / STORE_UNIT), unit = n < f->count ? f->map[n] : STORE_NOWHERE;
    bool there = !(unit & STORE_RESERVED) && !!f->shared[n] == shared; /* NOWHERE has it too */

    e->kind = there ? IMAGE_DATA : IMAGE_HOLE;
    e->at = there ? place(f->store, unit) + within : 0;
    e->length = STORE_UNIT - within;
    for (u32 i = n + 1; there && e->length < length && i < f->count; i++) {
        if (f->map[i] != unit + (i - n) || !!f->shared[i] != shared)
            break;
        e->length += STORE_UNIT;
    }
    e->length = MIN(e->length, length);
    return HV_OK;
}

static enum hv_status own_map(struct image *img, u64 offset, u64 length, struct image_extent *e)
{
    return map_units(img, offset, length, e, false);
}

static enum hv_status shared_map(struct image *img, u64 offset, u64 length, struct image_extent *e)
{
    return map_units(img, offset, length, e, true);
}

/* The units that were reserved for this place, as many as follow each other. */
static void take_reserved(struct store_file *f, u32 n, u64 length, u64 *at, u64 *got)
{
    u32 unit = store_unit_of(f->map[n]), count = 1;

    while (count * STORE_UNIT < length && n + count < f->count &&
           f->map[n + count] == ((unit + count) | STORE_RESERVED))
        count++;
    *at = place(f->store, unit);
    *got = count * STORE_UNIT;
}

static enum hv_status own_alloc(struct image *img, u64 offset, u64 length, u64 *at, u64 *got)
{
    struct store_file *f = img->priv;
    u32 unit, n = (u32)(offset / STORE_UNIT);

    if (n < f->count && store_is_reserved(f->map[n])) {
        take_reserved(f, n, length, at, got);
        return HV_OK;
    }
    unit = store_take_unit(f->store);
    if (unit == STORE_NOWHERE)
        return image_fail(img, HV_ENOSPC, "the store is full");
    *at = place(f->store, unit);
    for (*got = STORE_UNIT; *got < length; *got += STORE_UNIT) {
        struct store *s = f->store;
        u32 next = unit + (u32)(*got / STORE_UNIT);

        if (next >= s->units || s->refs[next])
            break;
        s->refs[next] = 1;
        s->free_units--;
    }
    store_look_at_space(f->store);
    return HV_OK;
}

/* The unit that the catalogue names for this place until the next commit. */
static enum hv_status let_go(struct store_file *f, u32 n)
{
    if (f->map[n] == STORE_NOWHERE)
        return HV_OK;
    f->changed[n / STORE_CHUNK] = 1;
    if (f->freed_count == f->freed_room) {
        u32 room = MAX(f->freed_room * 2, 64u);
        u32 *more = realloc(f->freed, room * 4ull);

        if (!more)
            return HV_ENOMEM;
        f->freed = more;
        f->freed_room = room;
    }
    f->freed[f->freed_count++] = store_unit_of(f->map[n]);
    f->map[n] = STORE_NOWHERE;
    f->shared[n] = 0;
    return HV_OK;
}

static enum hv_status own_link(struct image *img, u64 offset, u64 length, u64 at)
{
    struct store_file *f = img->priv;
    enum hv_status status = HV_OK;

    for (u64 done = 0; done < length && status == HV_OK; done += STORE_UNIT) {
        u32 n = (u32)((offset + done) / STORE_UNIT);
        u32 unit = (u32)((at + done - f->store->data_at) / STORE_UNIT);

        if (f->map[n] != (unit | STORE_RESERVED))
            status = let_go(f, n);
        f->map[n] = unit;
        f->changed[n / STORE_CHUNK] = 1;
    }
    return status;
}

static enum hv_status own_unlink(struct image *img, u64 offset, u64 length, bool zero)
{
    struct store_file *f = img->priv;
    enum hv_status status = HV_OK;

    (void)zero; /* both layers have nothing there: zeros */
    for (u64 done = 0; done < length && status == HV_OK; done += STORE_UNIT) {
        u32 n = (u32)((offset + done) / STORE_UNIT);

        if (f->thick && f->map[n] != STORE_NOWHERE && !f->shared[n]) {
            f->map[n] |= STORE_RESERVED; /* written whole before it is data again */
            f->changed[n / STORE_CHUNK] = 1;
        } else {
            status = let_go(f, n);
        }
    }
    return status;
}

static enum hv_status own_commit(struct image *img)
{
    struct store_file *f = img->priv;
    enum hv_status status = store_save_file(f);

    return status == HV_OK ? status : image_fail(img, status, "%s", f->store->error);
}

/* The end of the last unit that stays is cleared: what was cut off does not come back when the file
 * grows again.  A shared unit is copied for that. */
static enum hv_status clear_tail(struct image *img, u32 n, u64 tail)
{
    struct store_file *f = img->priv;
    struct disk *device = f->store->device;
    u64 from = place(f->store, f->map[n]), at, got;
    u8 *buf;
    enum hv_status status;

    if (!f->shared[n])
        return disk_zero(device, from + tail, STORE_UNIT - tail);
    buf = calloc(1, STORE_UNIT);
    status = buf ? own_alloc(img, n * STORE_UNIT, STORE_UNIT, &at, &got) : HV_ENOMEM;
    if (status == HV_OK)
        status = disk_read(device, from, buf, tail);
    if (status == HV_OK)
        status = disk_write(device, at, buf, STORE_UNIT);
    if (status == HV_OK)
        status = own_link(img, n * STORE_UNIT, STORE_UNIT, at);
    free(buf);
    return status == HV_OK ? disk_flush(device) : status;
}

static enum hv_status own_resize(struct image *img, u64 size)
{
    struct store_file *f = img->priv;
    u32 count = (u32)((size + STORE_UNIT - 1) / STORE_UNIT);
    u64 tail = size % STORE_UNIT;
    enum hv_status status = make_room(f, count);

    for (u32 n = count; n < f->count && status == HV_OK; n++)
        status = let_go(f, n);
    if (status == HV_OK && size < f->size && tail && !(f->map[count - 1] & STORE_RESERVED))
        status = clear_tail(img, count - 1, tail);
    if (status == HV_OK && f->thick && count > f->count)
        status = store_reserve_units(f, f->count, count);
    if (status != HV_OK)
        return status;
    f->count = count;
    f->size = size;
    return HV_OK;
}

static const struct image_format own_format = {
    .name = "file",
    .can_write = true,
    .open = own_open,
    .map = own_map,
    .alloc = own_alloc,
    .link = own_link,
    .unlink = own_unlink,
    .commit = own_commit,
    .resize = own_resize,
    .release = layer_release,
};

static const struct image_format shared_format = {
    .name = "shared",
    .open = layer_open,
    .map = shared_map,
    .release = layer_release,
};

/* ---- opening -----------------------------------------------------------------------------------
 */

enum hv_status store_file_load(struct store *s, const struct store_stat *st,
                               struct store_file **out)
{
    struct store_file *f = calloc(1, sizeof(*f));
    u32 *map = NULL, count;
    enum hv_status status = f ? store_load_map(s, st->inode, &map, &count) : HV_ENOMEM;

    if (status == HV_OK) {
        f->store = s;
        f->inode = st->inode;
        f->size = f->saved_size = st->size;
        f->thick = st->thickness != STORE_THIN;
        status = make_room(f, count);
    }
    if (status != HV_OK) {
        free(map);
        free(f);
        return status;
    }
    f->count = count;
    for (u32 i = 0; i < count; i++) {
        f->map[i] = map[i];
        f->shared[i] = map[i] != STORE_NOWHERE && s->refs[store_unit_of(map[i])] > 1;
    }
    free(map);
    f->next = s->files;
    s->files = f;
    *out = f;
    return HV_OK;
}

enum hv_status store_file_may_open(struct store *s, const struct store_stat *st, const char *path,
                                   bool read_only)
{
    if (st->directory)
        return store_fail(s, HV_EINVAL, "'%.100s' is a directory", path);
    if (!read_only && st->text)
        return store_fail(s, HV_EPERM, "'%.100s' is a small file, replaced only as a whole", path);
    if (!read_only && s->read_only)
        return store_fail(s, HV_EPERM, "the store is mounted read-only");
    if (!read_only && store_has_children(s, st->inode))
        return store_fail(s, HV_EBUSY, "other images are made from '%.100s'", path);
    for (struct store_file *f = s->files; f; f = f->next)
        if (f->inode == st->inode && (f->writer || !read_only))
            return store_fail(s, HV_EBUSY, "'%.100s' is open already", path);
    return HV_OK;
}

enum hv_status store_open(struct store *s, const char *path, bool read_only, struct disk **out)
{
    struct store_stat st;
    struct store_file *f = NULL;
    char error[IMAGE_ERROR_MAX];

    store_lock(s);
    enum hv_status status = store_lookup(s, path, &st);
    if (status == HV_OK)
        status = store_file_may_open(s, &st, path, read_only);
    if (status == HV_OK && st.text)
        status = store_text_disk(s, &st, path, out);
    else if (status == HV_OK)
        status = store_file_load(s, &st, &f);
    store_unlock(s);
    if (status != HV_OK || st.text)
        return status;
    f->writer = !read_only;
    struct image_layer layers[2] = {{s->device, &own_format, f}, {s->device, &shared_format, f}};
    bool any = false;
    for (u32 i = 0; i < f->count; i++)
        any |= f->shared[i];
    f->layers = 1; /* ours, until it is open */
    status = image_open(path, layers, any ? 2 : 1, read_only, out, error);
    if (status == HV_OK)
        (*out)->growable = !read_only;
    else
        store_fail(s, status, "%.150s", error);
    if (!--f->layers)
        store_file_free(f);
    if (status == HV_OK && (*out)->block_size > DISK_SECTOR) {
        struct disk *sectors = sector_disk_open(*out, true);

        if (!sectors) {
            disk_close(*out);
            return store_fail(s, HV_ENOMEM, "no memory");
        }
        *out = sectors;
    }
    return status;
}
