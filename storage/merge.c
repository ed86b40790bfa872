/* Merging images of a chain into one; called by snapshots and clones in a fiber. */
#include "storage/merge.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "storage/qcow2.h"
#include "storage/qcow2_parent.h"

#define PIECE (256 * KIB)
#define LOOK_AHEAD (1 * GIB)

struct merge {
    struct store *store;
    struct chain *from, *to;
    u32 first, last; /* what these layers hold is copied */
    struct merge_job *job;
    u8 *buf;
    char *error;
};

static enum hv_status fail(char *error, enum hv_status status, const char *what, const char *why)
{
    snprintf(error, IMAGE_ERROR_MAX, "%.80s: %.100s", what, why[0] ? why : "the disk fails");
    return status;
}

/* What layers of a chain hold that nothing above them hides, in bytes. */
static enum hv_status measure(struct chain *c, u64 held[IMAGE_CHAIN_MAX])
{
    struct image_extent e;
    u32 layer;

    memset(held, 0, IMAGE_CHAIN_MAX * sizeof(held[0]));
    for (u64 at = 0; at < c->disk->size; at += e.length) {
        u64 rest = c->disk->size - at;
        enum hv_status status = image_extent(c->disk, at, MIN(rest, LOOK_AHEAD), &e, &layer);

        if (status != HV_OK)
            return status;
        if (e.kind != IMAGE_HOLE && e.kind != IMAGE_ZERO)
            held[layer] += e.length;
    }
    return HV_OK;
}

static bool all_zeros(const u8 *buf, u64 n)
{
    return !buf[0] && !memcmp(buf, buf + 1, n - 1);
}

static enum hv_status copy_extent(struct merge *m, u64 at, const struct image_extent *e)
{
    enum hv_status status = HV_OK;

    if (e->kind == IMAGE_ZERO)
        return disk_zero(m->to->disk, at, e->length);
    for (u64 done = 0, n; done < e->length && status == HV_OK; done += n) {
        n = MIN(e->length - done, PIECE);
        status = disk_read(m->from->disk, at + done, m->buf, n);
        if (status == HV_OK && all_zeros(m->buf, n))
            status = disk_zero(m->to->disk, at + done, n);
        else if (status == HV_OK)
            status = disk_write(m->to->disk, at + done, m->buf, n);
        m->job->done += n;
        if (status == HV_OK && m->job->cancel)
            status = HV_ETIMEDOUT;
        if (fiber_self())
            fiber_yield();
    }
    return status;
}

static enum hv_status copy_layers(struct merge *m)
{
    struct disk *from = m->from->disk;
    struct image_extent e;
    u32 layer;
    enum hv_status status = HV_OK;

    if (m->to->disk->size < from->size)
        status = disk_resize(m->to->disk, from->size);
    if (m->job->cancel)
        status = HV_ETIMEDOUT;
    for (u64 at = 0; at < from->size && status == HV_OK; at += e.length) {
        status = image_extent(from, at, MIN(from->size - at, LOOK_AHEAD), &e, &layer);
        if (status == HV_OK && e.kind != IMAGE_HOLE && layer >= m->first && layer <= m->last)
            status = copy_extent(m, at, &e);
    }
    return status == HV_OK ? disk_flush(m->to->disk) : status;
}

/* Can the oldest image take what came later? */
static bool can_go_down(const struct chain *c, u32 last)
{
    struct image *old = image_of(c->disk, last);

    return old->format->can_write && !strstr(old->note, "stream") && old->size <= c->disk->size &&
           (old->size == c->disk->size || old->format->resize) &&
           c->file[last]->size % DISK_SECTOR == 0;
}

/* The copy that the rest is written into, entered in the store with its parent. */
static enum hv_status make_copy(struct merge *m, u32 base, u32 last, const char *to,
                                const char *format)
{
    struct chain *c = m->from;
    struct store_change change = {.kind = STORE_IMAGE,
                                  .path = to,
                                  .to = last + 1 < c->count ? c->image[last + 1].path : NULL,
                                  .format = format,
                                  .size = c->disk->size};
    enum hv_status status = store_copy(m->store, c->image[base].path, to);

    if (status == HV_OK) {
        status = store_apply(m->store, &change, 1);
        if (status != HV_OK && store_remove(m->store, to) != HV_OK)
            return fail(m->error, status, to, store_error(m->store));
    }
    return status == HV_OK ? status : fail(m->error, status, to, store_error(m->store));
}

/* An image that had a parent says which one it has now, or that it has none any more.  That a name
 * finds no room is no failure: nobody here reads it. */
static enum hv_status tell_parent(struct merge *m, const char *to, const struct store_image *parent)
{
    struct disk *file;
    enum hv_status status = store_open(m->store, to, false, &file);

    if (status == HV_OK) {
        status = parent ? qcow2_set_parent(file, chain_base_name(parent->path), parent->format)
                        : qcow2_forget_parent(file);
        if (parent && status == HV_EINVAL)
            status = HV_OK;
        enum hv_status closed = disk_close(file);
        status = status == HV_OK ? closed : status;
    }
    return status == HV_OK ? status : fail(m->error, status, to, store_error(m->store));
}

static enum hv_status write_copy(struct merge *m, const char *to)
{
    enum hv_status status = chain_open(m->store, to, NULL, false, &m->to, m->error);

    if (status != HV_OK)
        return status;
    m->buf = malloc(PIECE);
    status = m->buf ? copy_layers(m) : HV_ENOMEM;
    free(m->buf);
    if (status != HV_OK) {
        struct image *top = image_of(m->to->disk, 0);

        fail(m->error, status, to,
             status == HV_ENOSPC      ? "the store is full"
             : status == HV_ETIMEDOUT ? "cancelled"
                                      : top->error);
    }
    enum hv_status closed = chain_close(m->to);
    if (status == HV_OK && closed != HV_OK)
        status = fail(m->error, closed, to, store_error(m->store));
    return status;
}

enum hv_status merge_images(struct store *s, struct chain *c, u32 last, const char *to,
                            struct merge_job *job, char format[12], char error[IMAGE_ERROR_MAX])
{
    struct merge m = {.store = s, .from = c, .job = job, .error = error};
    u64 held[IMAGE_CHAIN_MAX], down = 0, up = 0;
    bool go_down = can_go_down(c, last);
    enum hv_status status = measure(c, held);

    if (status != HV_OK)
        return fail(error, status, c->image[0].path, "its tables cannot be read");
    for (u32 i = 0; i < last; i++) {
        down += held[i];
        up += held[i + 1];
    }
    /* Only our own deltas take older data. */
    bool delta = image_of(c->disk, 0)->format == &qcow2_format;
    if (!go_down && !delta)
        return fail(error, HV_ENOSYS, c->image[0].path, "images of these formats do not merge");
    if (job->direction == MERGE_UP || (job->direction == MERGE_AUTO && up < down))
        go_down = go_down && !delta;
    u32 base = go_down ? last : 0;
    m.first = go_down ? 0 : 1;
    m.last = go_down ? last - 1 : last;
    job->total += go_down ? down : up;
    snprintf(format, 12, "%s", image_of(c->disk, base)->format->name);
    status = make_copy(&m, base, last, to, format);
    if (status != HV_OK)
        return status;
    if (!go_down)
        status = tell_parent(&m, to, last + 1 < c->count ? &c->image[last + 1] : NULL);
    if (status == HV_OK)
        status = write_copy(&m, to);
    if (status != HV_OK && store_remove(s, to) != HV_OK)
        return status; /* snapshot_sweep() finds it later */
    return status;
}
