/* The adapter between the block layer and the disk drivers: one request after the other of what the
 * device takes at once.  On the loop's thread; completions come from the drivers. */
#include "storage/physical.h"

#include <stdlib.h>
#include <string.h>

#include "control/rt/log.h"
#include "drivers/block.h"
#include "storage/disk.h"
#include "storage/iov.h"

#define ZEROS (64 * KIB)

struct physical {
    struct disk disk;
    struct block_device *device;
};

struct part { /* an io on its way through the device */
    struct block_request request;
    struct disk_io *io;
    u64 done; /* bytes before this request */
    struct block_iov iov[];
};

static u8 zeros[ZEROS];

static const enum block_op ops_of[DISK_OPS] = {
    [DISK_READ] = BLOCK_READ,       [DISK_WRITE] = BLOCK_WRITE, [DISK_FLUSH] = BLOCK_FLUSH,
    [DISK_DISCARD] = BLOCK_DISCARD, [DISK_ZERO] = BLOCK_ZERO,
};

static void next_part(struct part *p);

static void part_done(struct block_request *r)
{
    struct part *p = r->owner;
    struct disk_io *io = p->io;
    enum hv_status status = r->status;

    p->done += r->length;
    if (status == HV_OK && p->done < io->length) {
        next_part(p);
        return;
    }
    free(p);
    disk_complete(io, status);
}

/* Devices that cannot zero get zeros written, from one page of them, a piece at a time. */
static void next_part(struct part *p)
{
    struct disk_io *io = p->io;
    struct block_device *d = ((struct physical *)io->disk)->device;
    u64 left = io->length - p->done;
    bool write_zeros = io->op == DISK_ZERO && !d->can_zero;
    struct block_request *r = &p->request;

    memset(r, 0, sizeof(*r));
    r->op = write_zeros ? BLOCK_WRITE : ops_of[io->op];
    r->offset = io->offset + p->done;
    r->done = part_done;
    r->owner = p;
    if (io->op == DISK_READ || io->op == DISK_WRITE) {
        r->length = MIN(left, ROUND_DOWN(d->limits.bytes, (u64)d->sector_size));
        r->iov_count = iov_slice(io->iov, io->iov_count, p->done, r->length,
                                 (struct disk_iov *)(void *)p->iov);
        r->iov = p->iov;
    } else if (write_zeros) {
        r->length = MIN(MIN(left, ZEROS), ROUND_DOWN(d->limits.bytes, (u64)d->sector_size));
        p->iov[0] = (struct block_iov){zeros, r->length};
        r->iov = p->iov;
        r->iov_count = 1;
    } else if (io->op != DISK_FLUSH) {
        u64 most = d->limits.range[io->op == DISK_ZERO];

        r->length = most ? MIN(left, ROUND_DOWN(most, (u64)d->sector_size)) : left;
    }
    block_submit(d, r);
}

static void physical_submit(struct disk *disk, struct disk_io *io)
{
    struct block_device *d = ((struct physical *)disk)->device;
    struct part *p;

    if (io->op == DISK_RESIZE) {
        disk_complete(io, HV_ENOSYS);
        return;
    }
    if ((io->op == DISK_DISCARD && !d->can_discard) || (io->op != DISK_FLUSH && !io->length)) {
        disk_complete(io, HV_OK); /* a hint, or nothing to do */
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

static enum hv_status physical_close(struct disk *disk)
{
    disk_fini(disk);
    free(disk);
    return HV_OK;
}

static const struct disk_ops ops = {
    .name = "physical", .submit = physical_submit, .close = physical_close};

static void on_device(struct block_device *d)
{
    struct disk *known = disk_find(d->name);

    if (known && known->ops == &ops) { /* another medium */
        known->size = ROUND_DOWN(d->size, (u64)d->sector_size);
        known->block_size = d->sector_size;
        return;
    }
    struct physical *p = calloc(1, sizeof(*p));

    if (!p) {
        log_error("no memory for disk %s", d->name);
        return;
    }
    disk_init(&p->disk, &ops, d->name, ROUND_DOWN(d->size, (u64)d->sector_size), d->sector_size);
    p->disk.read_only = d->read_only;
    p->device = d;
}

void physical_start(void)
{
    block_watch(on_device);
}
