/* Image requests that wait: tables to load, space to allocate, copies, compressed units, flushes.
 * Each runs straight down in a fiber; the engine's lock covers metadata, never guest data. */
#include <stdlib.h>
#include <string.h>

#include "control/rt/log.h"
#include "storage/engine.h"
#include "storage/iov.h"

#define COPY_CHUNK (1 * MIB)

void engine_write_done(struct engine *g)
{
    if (!--g->writes && g->quiet.waiters)
        event_signal(&g->quiet);
}

/* A write of the top file by a fiber. */
static enum hv_status write_file(struct engine *g, enum disk_op op, u64 at, u64 length,
                                 const struct disk_iov *iov, u32 count)
{
    g->writes++;
    g->dirty = true;
    enum hv_status status = disk_do(g->layer[0].file, op, at, length, iov, count);
    engine_write_done(g);
    return status;
}

/* Data, then what names it.  What was freed may be used again only when the tables that named it
 * are gone and no write to it is under way any more. */
enum hv_status engine_commit(struct engine *g)
{
    struct image *top = &g->layer[0];
    enum hv_status status;

    if (!g->dirty)
        return HV_OK;
    g->quiesce = true;
    while (g->writes)
        fiber_wait(&g->quiet, LOOP_NEVER);
    g->dirty = false;
    status = disk_flush(top->file);
    if (status == HV_OK && top->begun)
        status = top->format->commit ? top->format->commit(top) : image_commit_meta(top);
    g->quiesce = false;
    g->dirty |= status != HV_OK;
    g->unsaved &= status != HV_OK;
    return status;
}

/* Lock held.  Makes sure that the unit at `offset` is known. */
static enum hv_status look_up(struct engine *g, u64 offset)
{
    if (engine_entry(g, offset) != ENTRY_NONE)
        return HV_OK;
    return engine_load(g, offset);
}

/* ---- reading --------------------------------------------------------------------------------- */

static enum hv_status read_special(struct engine *g, struct disk_io *io, u64 at, u64 length)
{
    u8 *buf = malloc(length);
    enum hv_status status = HV_ENOMEM;

    if (buf)
        status = engine_read_below(g, 0, io->offset + at, buf, length);
    if (status == HV_OK)
        iov_write(io->iov, io->iov_count, at, buf, length);
    free(buf);
    return status;
}

static enum hv_status slice_do(struct engine *g, struct disk_io *io, u64 at,
                               const struct engine_piece *p)
{
    struct disk_iov few[16], *iov = few;
    u32 count = iov_pieces(io->iov, io->iov_count, at, p->length);
    enum hv_status status;

    if (count > ARRAY_LEN(few) && !(iov = malloc(count * sizeof(*iov))))
        return HV_ENOMEM;
    iov_slice(io->iov, io->iov_count, at, p->length, iov);
    if (io->op == DISK_WRITE)
        status = write_file(g, DISK_WRITE, p->at, p->length, iov, count);
    else
        status = disk_do(g->layer[p->layer].file, DISK_READ, p->at, p->length, iov, count);
    if (iov != few)
        free(iov);
    return status;
}

static enum hv_status slow_read(struct engine *g, struct disk_io *io)
{
    enum hv_status status = HV_OK;
    struct engine_piece p;

    for (u64 at = 0; at < io->length && status == HV_OK; at += p.length) {
        engine_lock(g);
        status = look_up(g, io->offset + at);
        p = engine_piece(g, io->offset + at, io->length - at);
        if (status == HV_OK && p.kind == IMAGE_SPECIAL)
            status = read_special(g, io, at, p.length);
        engine_unlock(g);
        if (status != HV_OK)
            break;
        if (p.kind == IMAGE_HOLE || p.kind == IMAGE_ZERO)
            iov_zero(io->iov, io->iov_count, at, p.length);
        else if (p.kind == IMAGE_DATA)
            status = slice_do(g, io, at, &p);
    }
    return status;
}

/* ---- writing --------------------------------------------------------------------------------- */

static bool overlaps_busy(const struct engine *g, u64 begin, u64 end)
{
    for (const struct engine_busy *b = g->busy; b; b = b->next)
        if (b->begin < end && begin < b->end)
            return true;
    return false;
}

static void not_busy(struct engine *g, struct engine_busy *busy)
{
    struct engine_busy **at = &g->busy;

    while (*at != busy)
        at = &(*at)->next;
    *at = busy->next;
    if (g->unbusy.waiters)
        event_signal(&g->unbusy);
}

/* Lock held; may let go of it.  The first change of all. */
static enum hv_status begin(struct engine *g)
{
    struct image *top = &g->layer[0];
    enum hv_status status = HV_OK;

    if (top->begun)
        return HV_OK;
    if (top->format->begin)
        status = top->format->begin(top);
    top->begun = status == HV_OK;
    return status;
}

/* How much from `offset` on, in whole units of the top layer, is not data of the top layer. */
static u64 unallocated(struct engine *g, u64 offset, u64 length)
{
    u64 unit = g->layer[0].unit, n = unit;

    while (n + unit <= length && n < ENGINE_RUN_MAX) {
        u64 entry = engine_entry(g, offset + n);

        if ((entry & ENTRY_KIND) == IMAGE_UNKNOWN ||
            ((entry & ENTRY_KIND) == IMAGE_DATA && !ENTRY_LAYER(entry)) ||
            overlaps_busy(g, offset + n, offset + n + unit))
            break;
        n += unit;
    }
    return n;
}

struct filling { /* new file space that a write is being put into */
    struct engine_busy busy;
    u64 at, length; /* file offset; length of the whole units */
    bool blank;     /* the rest reads as zeros and shall */
};

/* Lock held.  HV_EBUSY: somebody is at these units; wait and look again. */
static enum hv_status reserve(struct engine *g, struct filling *f, u64 offset, u64 length)
{
    struct image *top = &g->layer[0];
    u64 unit = top->unit, begin_at = ROUND_DOWN(offset, unit), want = unit, got;

    if (begin_at == offset && length >= unit)
        want = unallocated(g, offset, length);
    if (overlaps_busy(g, begin_at, begin_at + want))
        return HV_EBUSY;
    enum hv_status status = top->format->alloc(top, begin_at, want, &f->at, &got);
    if (status != HV_OK)
        return status;
    f->length = got;
    f->busy = (struct engine_busy){begin_at, begin_at + got, g->busy};
    g->busy = &f->busy;
    f->blank = f->at >= top->fresh;
    top->fresh = MAX(top->fresh, f->at + got);
    return HV_OK;
}

static void overlay(struct disk_io *io, u64 at, u64 length, u64 chunk_at, u8 *buf, u64 n)
{
    u64 begin_at = MAX(io->offset + at, chunk_at),
        end = MIN(io->offset + at + length, chunk_at + n);

    if (begin_at >= end)
        return;
    if (io->op == DISK_WRITE)
        iov_read(io->iov, io->iov_count, begin_at - io->offset, buf + (begin_at - chunk_at),
                 end - begin_at);
    else
        memset(buf + (begin_at - chunk_at), 0, end - begin_at);
}

/* The units' old contents where the write does not reach, and the write over it. */
static enum hv_status fill_rest(struct engine *g, struct disk_io *io, u64 at, u64 length,
                                const struct filling *f)
{
    u8 *buf = malloc(MIN(f->length, COPY_CHUNK));
    enum hv_status status = buf ? HV_OK : HV_ENOMEM;

    for (u64 done = 0, n; done < f->length && status == HV_OK; done += n) {
        u64 chunk_at = f->busy.begin + done, size = g->disk.size;
        struct disk_iov iov = {buf, n = MIN(f->length - done, COPY_CHUNK)};
        u64 old = chunk_at < size ? MIN(n, size - chunk_at) : 0;

        engine_lock(g);
        status = engine_read_below(g, 0, chunk_at, buf, old);
        engine_unlock(g);
        memset(buf + old, 0, n - old);
        overlay(io, at, length, chunk_at, buf, n);
        if (status == HV_OK)
            status = write_file(g, DISK_WRITE, f->at + done, n, &iov, 1);
    }
    free(buf);
    return status;
}

static bool all_blank(struct engine *g, u64 begin_at, u64 length)
{
    length = MIN(length, g->disk.size - begin_at);
    struct engine_piece p = engine_piece(g, begin_at, length);

    return (p.kind == IMAGE_HOLE || p.kind == IMAGE_ZERO) && p.length == length;
}

static enum hv_status fill(struct engine *g, struct disk_io *io, u64 at, u64 length,
                           const struct filling *f)
{
    u64 offset = io->offset + at;
    struct engine_piece p = {.at = f->at + (offset - f->busy.begin), .length = length};

    if (length < f->length && !f->blank)
        return fill_rest(g, io, at, length, f);
    if (io->op == DISK_WRITE)
        return slice_do(g, io, at, &p);
    return write_file(g, DISK_ZERO, p.at, p.length, NULL, 0);
}

/* Lock held on entry and exit; puts io's bytes from `at` on into new units.  *done: how many. */
static enum hv_status write_new(struct engine *g, struct disk_io *io, u64 at, u64 *done)
{
    struct image *top = &g->layer[0];
    struct filling f = {0};
    u64 offset = io->offset + at;
    enum hv_status status = HV_ENOSYS;

    *done = 0;
    if (top->format->alloc)
        status = reserve(g, &f, offset, io->length - at);
    if (status == HV_EBUSY) {
        engine_unlock(g);
        fiber_wait(&g->unbusy, LOOP_NEVER);
        engine_lock(g);
        return HV_OK;
    }
    if (status != HV_OK)
        return status;
    *done = MIN(io->length - at, f.busy.end - offset);
    f.blank = f.blank && all_blank(g, f.busy.begin, f.length);
    engine_unlock(g);
    status = fill(g, io, at, *done, &f);
    engine_lock(g);
    if (status == HV_OK)
        status = top->format->link(top, f.busy.begin, f.length, f.at);
    if (status == HV_OK)
        engine_set(g, f.busy.begin, f.length, IMAGE_DATA, f.at);
    else
        engine_forget(g, f.busy.begin, f.length);
    g->dirty = g->unsaved = true;
    not_busy(g, &f.busy);
    if (status == HV_OK && meta_dirty(&top->meta) > ENGINE_DIRTY_MAX)
        status = engine_commit(g);
    return status;
}

static enum hv_status unlink_units(struct engine *g, u64 offset, u64 length, bool zero)
{
    struct image *top = &g->layer[0];
    enum hv_status status = top->format->unlink(top, offset, length, zero);

    if (status == HV_OK)
        engine_set(g, offset, length, zero ? IMAGE_ZERO : IMAGE_HOLE, 0);
    else
        engine_forget(g, offset, length);
    g->dirty = g->unsaved = true;
    return status;
}

/* Lock held; zeros or discards what the piece covers.  *done: how many bytes. */
static enum hv_status clear_piece(struct engine *g, struct disk_io *io, u64 at,
                                  const struct engine_piece *p, u64 *done)
{
    struct image *top = &g->layer[0];
    u64 offset = io->offset + at, unit = top->unit;
    u64 whole = offset % unit ? 0 : ROUND_DOWN(MIN(io->length - at, ENGINE_RUN_MAX), unit);
    enum hv_status status;

    *done = p->length;
    if (offset + (io->length - at) == g->disk.size && !(offset % unit) && !whole)
        whole = io->length - at; /* the last unit is a short one */
    if (p->kind == IMAGE_HOLE || p->kind == IMAGE_ZERO)
        return HV_OK;
    if (whole && top->format->unlink) {
        u64 n = MIN(MAX(unit, ROUND_DOWN(p->length, unit)), whole);

        *done = n;
        if (!overlaps_busy(g, offset, offset + n))
            return unlink_units(g, offset, n, io->op == DISK_ZERO || g->layers > 1);
        *done = 0;
        engine_unlock(g);
        fiber_wait(&g->unbusy, LOOP_NEVER);
        engine_lock(g);
        return HV_OK;
    }
    *done = MIN(p->length, unit - offset % unit);
    if (io->op == DISK_DISCARD)
        return HV_OK;
    if (p->kind != IMAGE_DATA || p->layer)
        return write_new(g, io, at, done);
    g->writes++; /* before the lock is gone: nobody may free these units now */
    engine_unlock(g);
    status = disk_zero(top->file, p->at, *done);
    engine_write_done(g);
    g->dirty = true;
    engine_lock(g);
    return status;
}

/* One piece of a write: *done bytes of it are finished.  Lock held on entry and exit. */
static enum hv_status write_piece(struct engine *g, struct disk_io *io, u64 at, u64 *done)
{
    enum hv_status status = look_up(g, io->offset + at);

    if (status != HV_OK)
        return status;
    struct engine_piece p = engine_piece(g, io->offset + at, io->length - at);
    if (io->op != DISK_WRITE)
        return clear_piece(g, io, at, &p, done);
    if (p.kind != IMAGE_DATA || p.layer)
        return write_new(g, io, at, done);
    *done = p.length;
    g->writes++; /* as above */
    engine_unlock(g);
    status = slice_do(g, io, at, &p);
    engine_write_done(g);
    engine_lock(g);
    return status;
}

/* Lock held.  `durable`: when it returns; else it is with the next flush, like a write. */
static enum hv_status resize(struct engine *g, u64 size, bool durable)
{
    struct image *top = &g->layer[0];
    enum hv_status status;
    u64 count = size / ((u64)ENGINE_PAGE_UNITS << g->unit_bits) + 1;

    if (!top->format->resize || size > IMAGE_SIZE_MAX)
        return HV_ENOSYS;
    status = begin(g);
    if (status == HV_OK)
        status = engine_commit(g);
    u64 **pages = status == HV_OK ? calloc(count, sizeof(*pages)) : NULL;
    if (status == HV_OK && !pages)
        status = HV_ENOMEM;
    if (status == HV_OK)
        status = top->format->resize(top, size);
    if (status == HV_OK) {
        engine_forget_all(g);
        free(g->pages);
        g->pages = pages;
        pages = NULL;
        g->page_count = count;
        g->disk.size = top->size = size;
        g->dirty = g->unsaved = true;
        if (durable)
            status = engine_commit(g);
    }
    free(pages);
    return status;
}

static enum hv_status slow_write(struct engine *g, struct disk_io *io)
{
    enum hv_status status;

    engine_lock(g);
    status = g->failed ? HV_ECORRUPT : begin(g);
    if (status == HV_OK && io->offset + io->length > g->disk.size)
        status = resize(g, io->offset + io->length, false);
    for (u64 at = 0, done = 0; at < io->length && status == HV_OK; at += done) {
        done = 0;
        status = write_piece(g, io, at, &done);
    }
    engine_unlock(g);
    return status;
}

static enum hv_status slow_flush(struct engine *g)
{
    engine_lock(g);
    enum hv_status status = engine_commit(g);
    engine_unlock(g);
    return status;
}

/* ---- fibers ---------------------------------------------------------------------------------- */

static void serve(struct engine *g, struct disk_io *io)
{
    enum hv_status status = HV_EINVAL;

    switch (io->op) {
    case DISK_READ:
        status = slow_read(g, io);
        break;
    case DISK_WRITE:
    case DISK_ZERO:
    case DISK_DISCARD:
        status = slow_write(g, io);
        break;
    case DISK_FLUSH:
        status = slow_flush(g);
        break;
    case DISK_RESIZE:
        engine_lock(g);
        status = resize(g, io->offset, true);
        engine_unlock(g);
        break;
    case DISK_OPS:
        break;
    }
    if (status == HV_ECORRUPT && !g->disk.read_only) {
        g->disk.read_only = true;
        for (u32 i = 0; i < g->layers; i++)
            if (g->layer[i].error[0])
                log_notice("disk %s: layer %u: %s; it is read-only now", g->disk.name, i,
                           g->layer[i].error);
    }
    disk_complete(io, status);
}

static void fiber_main(void *arg)
{
    struct engine *g = arg;

    while (g->queue) {
        struct disk_io *io = g->queue;

        g->queue = io->next;
        if (!g->queue)
            g->queue_end = &g->queue;
        serve(g, io);
    }
    /* engine_close() waits for this: nothing of g is touched after the last fiber's signal. */
    if (!--g->fibers)
        event_signal(&g->idle);
}

void engine_slow(struct engine *g, struct disk_io *io)
{
    io->next = NULL;
    *g->queue_end = io;
    g->queue_end = &io->next;
    if (g->fibers >= ENGINE_FIBERS)
        return;
    if (fiber_spawn("image", fiber_main, g)) {
        g->fibers++;
        return;
    }
    if (!g->fibers) { /* nobody would come for it */
        g->queue = NULL;
        g->queue_end = &g->queue;
        disk_complete(io, HV_ENOMEM);
    }
}
