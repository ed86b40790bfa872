/* Sectors of 512 bytes on a disk of larger blocks.  Submitted to by the block layer; completes when
 * the disk below has done the last part.  A change of a part of a block reads the block first, and
 * no other change is under way then.  One thread, no locks. */
#include "storage/sector_disk.h"

#include <stdlib.h>
#include <string.h>

#include "storage/iov.h"

struct sector_disk {
    struct disk disk;
    struct disk *below;
    bool own;                  /* `below` is closed with it */
    u32 changing;              /* changes under way */
    bool alone;                /* ... and it is one that must be */
    struct part *queue, **end; /* changes that wait */
};

struct part { /* an io on its way, piece by piece */
    struct disk_io below;
    struct disk_io *io;
    struct part *next;
    u64 done;   /* bytes before this piece */
    u64 piece;  /* bytes of it */
    bool alone; /* it changes parts of blocks */
    u8 *block;  /* one, if a piece is a part of one */
    struct disk_iov one, iov[];
};

static void next_piece(struct part *p);

static struct sector_disk *of(const struct part *p)
{
    return (struct sector_disk *)p->io->disk;
}

static bool changes(const struct disk_io *io)
{
    return io->op != DISK_READ && io->op != DISK_FLUSH;
}

/* ---- one after the other ----------------------------------------------------------------------
 */

static bool may_begin(const struct sector_disk *s, const struct part *p)
{
    return p->alone ? !s->changing : !s->alone;
}

static void begin(struct sector_disk *s, struct part *p)
{
    s->changing++;
    s->alone = p->alone;
    next_piece(p);
}

static void end(struct part *p, enum hv_status status)
{
    struct sector_disk *s = of(p);
    struct disk_io *io = p->io;

    if (status == HV_OK && io->op == DISK_WRITE)
        s->disk.size = MAX(s->disk.size, io->offset + io->length);
    if (status == HV_OK && io->op == DISK_RESIZE)
        s->disk.size = io->offset;
    if (changes(io)) {
        s->changing--;
        s->alone = false;
    }
    free(p->block);
    free(p);
    /* Before the completion, which may close the disk if this was the last one. */
    while (changes(io) && s->queue && may_begin(s, s->queue)) {
        p = s->queue;
        s->queue = p->next;
        if (!s->queue)
            s->end = &s->queue;
        begin(s, p);
    }
    disk_complete(io, status);
}

/* ---- pieces -----------------------------------------------------------------------------------
 */

static void on_done(struct disk_io *below)
{
    struct part *p = below->owner;

    if (below->status == HV_OK) {
        p->done += p->piece;
        next_piece(p);
    } else {
        end(p, below->status);
    }
}

/* The block that the piece is a part of was read (zeros, where the file did not reach). */
static void on_block(struct disk_io *below)
{
    struct part *p = below->owner;
    struct disk_io *io = p->io;
    u64 block = of(p)->below->block_size, at = io->offset + p->done;
    u8 *here = p->block + at % block;

    if (below->status != HV_OK) {
        end(p, below->status);
        return;
    }
    if (io->op == DISK_READ) {
        iov_write(io->iov, io->iov_count, p->done, here, p->piece);
        p->done += p->piece;
        next_piece(p);
        return;
    }
    if (io->op == DISK_WRITE)
        iov_read(io->iov, io->iov_count, p->done, here, p->piece);
    else
        memset(here, 0, p->piece);
    p->one = (struct disk_iov){p->block, block};
    p->below = (struct disk_io){.op = DISK_WRITE,
                                .offset = at - at % block,
                                .length = block,
                                .iov = &p->one,
                                .iov_count = 1,
                                .done = on_done,
                                .owner = p};
    disk_submit(of(p)->below, &p->below);
}

static void part_of_block(struct part *p, u64 at)
{
    struct disk *d = of(p)->below;
    u64 block = d->block_size, first = at - at % block;

    if (p->io->op == DISK_DISCARD) { /* a hint: whole blocks only */
        p->done += p->piece;
        next_piece(p);
        return;
    }
    memset(p->block, 0, block);
    p->one = (struct disk_iov){p->block, block};
    p->below = (struct disk_io){.op = DISK_READ,
                                .offset = first,
                                .length = block,
                                .iov = &p->one,
                                .iov_count = 1,
                                .done = on_block,
                                .owner = p};
    if (first < d->size)
        disk_submit(d, &p->below);
    else
        on_block(&p->below);
}

static void next_piece(struct part *p)
{
    struct disk_io *io = p->io;
    u64 block = of(p)->below->block_size, at = io->offset + p->done, left = io->length - p->done;

    if (io->op != DISK_FLUSH && io->op != DISK_RESIZE && !left) {
        end(p, HV_OK);
        return;
    }
    if ((io->op == DISK_FLUSH || io->op == DISK_RESIZE) && p->piece) {
        end(p, HV_OK);
        return;
    }
    p->below = (struct disk_io){.op = io->op, .done = on_done, .owner = p};
    if (io->op == DISK_FLUSH || io->op == DISK_RESIZE) {
        p->piece = 1; /* there is one */
        p->below.offset = io->op == DISK_RESIZE ? ROUND_UP(io->offset, block) : 0;
    } else if (at % block || left < block) {
        p->piece = MIN(block - at % block, left);
        part_of_block(p, at);
        return;
    } else {
        p->piece = ROUND_DOWN(left, block);
        p->below.offset = at;
        p->below.length = p->piece;
    }
    if (io->op == DISK_READ || io->op == DISK_WRITE) {
        p->below.iov_count = iov_slice(io->iov, io->iov_count, p->done, p->piece, p->iov);
        p->below.iov = p->iov;
    }
    disk_submit(of(p)->below, &p->below);
}

static void sector_submit(struct disk *d, struct disk_io *io)
{
    struct sector_disk *s = (struct sector_disk *)d;
    u64 block = s->below->block_size;
    bool ranged = io->op != DISK_FLUSH && io->op != DISK_RESIZE;
    bool parts = ranged && ((io->offset | io->length) & (block - 1));
    struct part *p = malloc(sizeof(*p) + io->iov_count * sizeof(p->iov[0]));

    if (p)
        *p = (struct part){.io = io, .alone = (parts && changes(io)) || io->op == DISK_RESIZE};
    if (p && parts)
        p->block = malloc(block);
    if (!p || (parts && !p->block)) {
        free(p);
        disk_complete(io, HV_ENOMEM);
        return;
    }
    if (!changes(io)) {
        next_piece(p);
    } else if (!s->queue && may_begin(s, p)) {
        begin(s, p);
    } else {
        *s->end = p;
        s->end = &p->next;
    }
}

static enum hv_status sector_close(struct disk *d)
{
    struct sector_disk *s = (struct sector_disk *)d;
    enum hv_status status = HV_OK;

    s->below->users--;
    if (s->own)
        status = disk_close(s->below);
    disk_fini(d);
    free(s);
    return status;
}

static bool sector_unsaved(const struct disk *d)
{
    return disk_unsaved(((const struct sector_disk *)d)->below);
}

static const struct disk_ops ops = {
    .name = "sectors", .submit = sector_submit, .close = sector_close, .unsaved = sector_unsaved};

struct disk *sector_disk_open(struct disk *below, bool own)
{
    struct sector_disk *s = calloc(1, sizeof(*s));

    if (!s)
        return NULL;
    disk_init(&s->disk, &ops, below->name, below->size, MIN(below->block_size, DISK_SECTOR));
    s->disk.read_only = below->read_only;
    s->disk.growable = below->growable;
    s->end = &s->queue;
    s->below = below;
    s->own = own;
    below->users++;
    return &s->disk;
}
