/* Pieces of a disk as a disk.  Submitted to by the block layer; completes when the disk below has
 * done the last part.  One thread, no locks. */
#include "storage/window.h"

#include <stdlib.h>
#include <string.h>

#include "storage/iov.h"

struct window {
    struct disk disk;
    struct disk_ops ops; /* with the kind as name */
    struct disk *whole;
    u32 count;
    struct window_piece piece[];
};

struct part { /* an io on its way through the pieces */
    struct disk_io below;
    struct disk_io *io;
    u64 done; /* bytes before this request */
    struct disk_iov iov[];
};

static void next_part(struct part *p);

static void on_done(struct disk_io *below)
{
    struct part *p = below->owner;
    struct disk_io *io = p->io;
    struct disk *d = io->disk;
    enum hv_status status = below->status;

    p->done += below->length;
    if (d->growable && io->op == DISK_WRITE && status == HV_OK)
        d->size = MAX(d->size, io->offset + p->done);
    if (status == HV_OK && p->done < io->length) {
        next_part(p);
        return;
    }
    free(p);
    disk_complete(io, status);
}

/* The range was checked against the sum of the pieces. */
static void next_part(struct part *p)
{
    struct disk_io *io = p->io;
    struct window *w = (struct window *)io->disk;
    u64 at = io->offset + p->done;
    u32 i = 0;

    while (i + 1 < w->count && at >= w->piece[i].length)
        at -= w->piece[i++].length;
    p->below = (struct disk_io){.op = io->op, .done = on_done, .owner = p};
    if (io->op != DISK_FLUSH) {
        p->below.offset = w->piece[i].offset + at;
        p->below.length = MIN(io->length - p->done, w->piece[i].length - at);
    }
    if (io->op == DISK_READ || io->op == DISK_WRITE) {
        p->below.iov_count = iov_slice(io->iov, io->iov_count, p->done, p->below.length, p->iov);
        p->below.iov = p->iov;
    }
    disk_submit(w->whole, &p->below);
}

static void window_submit(struct disk *d, struct disk_io *io)
{
    struct part *p;

    (void)d;
    if (io->op == DISK_RESIZE || (io->op != DISK_FLUSH && !io->length)) {
        disk_complete(io, io->op == DISK_RESIZE ? HV_ENOSYS : HV_OK);
        return;
    }
    p = malloc(sizeof(*p) + MAX(io->iov_count, 1u) * sizeof(p->iov[0]));
    if (!p) {
        disk_complete(io, HV_ENOMEM);
        return;
    }
    p->io = io;
    p->done = 0;
    next_part(p);
}

static bool window_unsaved(const struct disk *d)
{
    return disk_unsaved(((const struct window *)d)->whole);
}

static enum hv_status window_close(struct disk *d)
{
    struct window *w = (struct window *)d;

    w->whole->users--;
    disk_fini(d);
    free(w);
    return HV_OK;
}

struct disk *window_open(struct disk *whole, const char *kind, const char *name,
                         const struct window_piece *pieces, u32 count)
{
    struct window *w = calloc(1, sizeof(*w) + count * sizeof(w->piece[0]));
    u64 size = 0;

    if (!w)
        return NULL;
    for (u32 i = 0; i < count; i++)
        size += pieces[i].length;
    memcpy(w->piece, pieces, count * sizeof(w->piece[0]));
    w->count = count;
    w->whole = whole;
    w->ops = (struct disk_ops){
        .name = kind, .submit = window_submit, .close = window_close, .unsaved = window_unsaved};
    disk_init(&w->disk, &w->ops, name, size, whole->block_size);
    w->disk.read_only = whole->read_only;
    whole->users++;
    return &w->disk;
}

struct disk *window_tail(struct disk *file, const char *name, u64 offset)
{
    struct window_piece all = {offset, DISK_SIZE_MAX - offset};
    struct disk *d = window_open(file, "tail", name, &all, 1);

    if (d) {
        d->size = 0;
        d->growable = true;
    }
    return d;
}

struct disk *window_whole(const struct disk *d)
{
    return d->ops->submit == window_submit ? ((const struct window *)d)->whole : NULL;
}
