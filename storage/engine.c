/* Open images: the disk over a chain of layers, and the path of requests whose mapping is known.
 * Called through disk_submit() on the loop or in a fiber. */
#include "storage/engine.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "control/rt/log.h"
#include "storage/iov.h"
#include "storage/raw.h"

/* ---- requests that need no waiting ----------------------------------------------------------- */

struct child {
    struct disk_io io;
    struct disk_io *parent;
    struct split *split; /* NULL: the child is all of the parent */
    struct child *next;
};

struct split { /* a request in several pieces */
    u32 left;
    enum hv_status status;
    struct disk_iov iov[];
};

static struct child *free_children;

static struct child *new_child(struct disk_io *parent)
{
    struct child *c = free_children;

    if (c)
        free_children = c->next;
    else if (!(c = calloc(1, sizeof(*c))))
        return NULL;
    c->parent = parent;
    c->split = NULL;
    c->io.op = parent->op;
    c->io.owner = c;
    return c;
}

static void free_child(struct child *c)
{
    c->next = free_children;
    free_children = c;
}

static void one_done(struct disk_io *io)
{
    struct child *c = io->owner;
    struct disk_io *parent = c->parent;
    struct split *split = c->split;
    enum hv_status status = io->status;

    if (parent->op == DISK_WRITE)
        engine_write_done((struct engine *)parent->disk);
    free_child(c);
    if (split) {
        if (status != HV_OK)
            split->status = status;
        if (--split->left)
            return;
        status = split->status;
        free(split);
    }
    disk_complete(parent, status);
}

static void submit_child(struct engine *g, struct child *c, const struct engine_piece *p)
{
    c->io.offset = p->at;
    c->io.length = p->length;
    c->io.done = one_done;
    if (c->parent->op == DISK_WRITE) {
        g->writes++;
        g->dirty = true;
    }
    disk_submit(g->layer[p->layer].file, &c->io);
}

/* Several pieces: each data piece becomes a child with its slice of the buffers. */
static bool submit_pieces(struct engine *g, struct disk_io *io, const struct engine_piece *p,
                          u32 count)
{
    struct child *children[ENGINE_PIECES] = {0};
    u32 pieces = io->iov_count + count, used = 0;
    struct split *split = malloc(sizeof(*split) + pieces * sizeof(split->iov[0]));
    u64 at = 0;

    if (!split)
        return false;
    split->left = 1; /* ours */
    split->status = HV_OK;
    for (u32 i = 0; i < count; at += p[i++].length) {
        if (p[i].kind != IMAGE_DATA) {
            iov_zero(io->iov, io->iov_count, at, p[i].length);
            continue;
        }
        if (!(children[i] = new_child(io)))
            goto no_memory;
        children[i]->split = split;
        children[i]->io.iov = &split->iov[used];
        children[i]->io.iov_count =
            iov_slice(io->iov, io->iov_count, at, p[i].length, &split->iov[used]);
        used += children[i]->io.iov_count;
        split->left++;
    }
    for (u32 i = 0; i < count; i++)
        if (children[i])
            submit_child(g, children[i], &p[i]);
    if (--split->left == 0) {
        enum hv_status status = split->status;

        free(split);
        disk_complete(io, status);
    }
    return true;
no_memory:
    for (u32 i = 0; i < count; i++)
        if (children[i])
            free_child(children[i]);
    free(split);
    return false;
}

/* False: this request has to take the slow path. */
static bool submit_fast(struct engine *g, struct disk_io *io)
{
    struct engine_piece p[ENGINE_PIECES];
    u32 count = 0;
    bool write = io->op == DISK_WRITE;

    if (write && io->length > g->disk.size - MIN(io->offset, g->disk.size))
        return false; /* a file that grows */
    if (write && (g->quiesce || g->failed || !g->layer[0].begun))
        return false;
    for (u64 at = 0; at < io->length; at += p[count++].length) {
        if (count == ENGINE_PIECES)
            return false;
        p[count] = engine_piece(g, io->offset + at, io->length - at);
        if (p[count].kind == IMAGE_UNKNOWN || p[count].kind == IMAGE_SPECIAL ||
            (write && (p[count].kind != IMAGE_DATA || p[count].layer)))
            return false;
    }
    if (count == 1 && p[0].kind == IMAGE_DATA) {
        struct child *c = new_child(io);

        if (!c)
            return false;
        c->io.iov = io->iov;
        c->io.iov_count = io->iov_count;
        submit_child(g, c, &p[0]);
        return true;
    }
    return submit_pieces(g, io, p, count);
}

static void engine_submit(struct disk *d, struct disk_io *io)
{
    struct engine *g = (struct engine *)d;

    if ((io->op == DISK_READ || io->op == DISK_WRITE) && submit_fast(g, io))
        return;
    if (io->op == DISK_FLUSH && !g->dirty && !g->quiesce) /* nor is a commit under way */
        disk_complete(io, HV_OK);
    else
        engine_slow(g, io);
}

/* ---- opening and closing --------------------------------------------------------------------- */

void engine_lock(struct engine *g)
{
    while (g->locked)
        fiber_wait(&g->unlocked, LOOP_NEVER);
    g->locked = true;
}

void engine_unlock(struct engine *g)
{
    g->locked = false;
    if (g->unlocked.waiters)
        event_signal(&g->unlocked);
}

static void destroy(struct engine *g)
{
    if (g->pages)
        engine_forget_all(g);
    free(g->pages);
    for (u32 i = g->layers; i--;)
        image_layer_close(&g->layer[i]);
    free(g);
}

static enum hv_status engine_close(struct disk *d)
{
    struct engine *g = (struct engine *)d;
    struct image *top = &g->layer[0];
    enum hv_status status = HV_OK;

    while (g->fibers)
        fiber_wait(&g->idle, LOOP_NEVER);
    if (top->begun) {
        engine_lock(g);
        status = engine_commit(g);
        if (status == HV_OK && top->format->finish)
            status = top->format->finish(top);
        if (status == HV_OK && top->end < top->file->size && top->file->growable)
            status = disk_resize(top->file, top->end);
        if (status == HV_OK)
            status = disk_flush(top->file);
        engine_unlock(g);
        if (status != HV_OK)
            log_error("disk %s: closing it failed (%d): %s", d->name, status, top->error);
    }
    disk_fini(d);
    destroy(g);
    return status;
}

static bool engine_unsaved(const struct disk *d)
{
    const struct engine *g = (const struct engine *)d;

    return g->unsaved || disk_unsaved(g->layer[0].file);
}

static const struct disk_ops engine_ops = {
    .name = "image", .submit = engine_submit, .close = engine_close, .unsaved = engine_unsaved};

static enum hv_status chain_error(char *error, enum hv_status status, u32 layer, const char *why)
{
    snprintf(error, IMAGE_ERROR_MAX, "layer %u: %s", layer, why);
    return status;
}

/* A parent must be the one the child was made from, as far as the format can tell. */
static enum hv_status check_link(struct engine *g, u32 child, char *error)
{
    static const u8 none[16];
    struct image *c = &g->layer[child], *p = &g->layer[child + 1];

    if (!c->wants_parent)
        return chain_error(error, HV_EINVAL, child, "it has no parent, but one was attached");
    if (memcmp(c->parent_id, none, 16) && memcmp(p->id, none, 16) &&
        memcmp(c->parent_id, p->id, 16) && c->format == p->format)
        return chain_error(error, HV_EINVAL, child,
                           "the parent is not the one this image was made from");
    c->parent_size = p->size;
    return HV_OK;
}

static enum hv_status open_layers(struct engine *g, const struct image_layer *layers, u32 count,
                                  bool read_only, char *error)
{
    for (u32 i = 0; i < count; i++) {
        for (u32 j = 0; j < i; j++)
            if (layers[i].file == layers[j].file && !layers[i].arg)
                return chain_error(error, HV_EINVAL, i, "this file is in the chain twice");
        enum hv_status status = image_layer_open(&g->layer[i], layers[i].file, layers[i].format,
                                                 layers[i].arg, read_only || i);
        if (status != HV_OK)
            return chain_error(error, status, i, g->layer[i].error);
        g->layers++;
        if (layers[i].file->block_size > DISK_SECTOR && layers[i].format != &raw_format &&
            !layers[i].arg)
            return chain_error(error, HV_EINVAL, i, "images cannot lie on a disk of 4 KiB sectors");
        g->block = MAX(g->block, layers[i].file->block_size);
        g->unit = i ? MIN(g->unit, g->layer[i].unit) : g->layer[i].unit;
        if (i && (status = check_link(g, i - 1, error)) != HV_OK)
            return status;
    }
    if (g->layer[count - 1].wants_parent)
        return chain_error(error, HV_ENOENT, count - 1, "it needs its parent, none is attached");
    return HV_OK;
}

enum hv_status image_open(const char *name, const struct image_layer *layers, u32 count,
                          bool read_only, struct disk **out, char error[IMAGE_ERROR_MAX])
{
    struct engine *g = count && count <= IMAGE_CHAIN_MAX ? calloc(1, sizeof(*g)) : NULL;
    enum hv_status status;

    error[0] = 0;
    if (g)
        g->block = DISK_SECTOR;
    else
        return chain_error(error, count > IMAGE_CHAIN_MAX ? HV_E2BIG : HV_ENOMEM, count,
                           "no memory, or too long a chain");
    status = open_layers(g, layers, count, read_only, error);
    if (status == HV_OK) {
        u64 size = g->layer[0].size;

        g->unit_bits = (u32)__builtin_ctz(g->unit);
        g->page_count = size / ((u64)ENGINE_PAGE_UNITS << g->unit_bits) + 1;
        g->pages = calloc(g->page_count, sizeof(*g->pages));
        status = g->pages ? HV_OK : chain_error(error, HV_ENOMEM, 0, "no memory for its map");
    }
    if (status != HV_OK) {
        destroy(g);
        return status;
    }
    disk_init(&g->disk, &engine_ops, name, g->layer[0].size, g->block);
    g->disk.read_only = g->layer[0].read_only;
    g->queue_end = &g->queue;
    *out = &g->disk;
    return HV_OK;
}

struct image *image_of(struct disk *d, u32 layer)
{
    struct engine *g = (struct engine *)d;

    return d->ops == &engine_ops && layer < g->layers ? &g->layer[layer] : NULL;
}

enum hv_status image_extent_below(struct disk *d, u32 from, u64 offset, u64 length,
                                  struct image_extent *e, u32 *layer)
{
    struct engine *g = (struct engine *)d;

    if (d->ops != &engine_ops || offset >= d->size || !length || length > d->size - offset)
        return HV_EINVAL;
    engine_lock(g);
    enum hv_status status = engine_resolve(g, from, offset, length, e, layer);
    engine_unlock(g);
    return status;
}

enum hv_status image_extent(struct disk *d, u64 offset, u64 length, struct image_extent *e,
                            u32 *layer)
{
    return image_extent_below(d, 0, offset, length, e, layer);
}

enum hv_status image_read_below(struct disk *d, u32 from, u64 offset, void *buf, u64 length)
{
    struct engine *g = (struct engine *)d;

    if (d->ops != &engine_ops || offset > d->size || length > d->size - offset)
        return HV_EINVAL;
    engine_lock(g);
    enum hv_status status = engine_read_below(g, from, offset, buf, length);
    engine_unlock(g);
    return status;
}
