/* The memory disk: a table of chunks, allocated on first write. */
#include "storage/ram_disk.h"

#include <stdlib.h>
#include <string.h>

#include "storage/iov.h"

#define CHUNK (64 * KIB)

struct ram_disk {
    struct disk disk;
    u8 **chunks;
    u64 slots; /* of `chunks` */
    u64 used, max;
};

static u8 *chunk_of(struct ram_disk *r, u64 offset)
{
    u64 slot = offset / CHUNK;

    return slot < r->slots ? r->chunks[slot] : NULL;
}

static enum hv_status make_chunk(struct ram_disk *r, u64 slot)
{
    if (slot >= r->slots) {
        u64 slots = MAX(slot + 1, r->slots * 2);
        u8 **more = realloc(r->chunks, slots * sizeof(*more));

        if (!more)
            return HV_ENOMEM;
        memset(more + r->slots, 0, (slots - r->slots) * sizeof(*more));
        r->chunks = more;
        r->slots = slots;
    }
    if (r->chunks[slot])
        return HV_OK;
    if (r->used + CHUNK > r->max)
        return HV_ENOSPC;
    r->chunks[slot] = calloc(1, CHUNK);
    r->used += CHUNK;
    return r->chunks[slot] ? HV_OK : HV_ENOMEM;
}

static void read_range(struct ram_disk *r, const struct disk_io *io)
{
    for (u64 at = 0, n; at < io->length; at += n) {
        u64 offset = io->offset + at;
        const u8 *chunk = chunk_of(r, offset);

        n = MIN(io->length - at, CHUNK - offset % CHUNK);
        if (chunk)
            iov_write(io->iov, io->iov_count, at, chunk + offset % CHUNK, n);
        else
            iov_zero(io->iov, io->iov_count, at, n);
    }
}

static enum hv_status write_range(struct ram_disk *r, const struct disk_io *io)
{
    for (u64 at = 0, n; at < io->length; at += n) {
        u64 offset = io->offset + at;
        enum hv_status status = make_chunk(r, offset / CHUNK);

        if (status != HV_OK)
            return status;
        n = MIN(io->length - at, CHUNK - offset % CHUNK);
        iov_read(io->iov, io->iov_count, at, chunk_of(r, offset) + offset % CHUNK, n);
    }
    r->disk.size = MAX(r->disk.size, io->offset + io->length);
    return HV_OK;
}

static void zero_range(struct ram_disk *r, u64 offset, u64 length)
{
    length = MIN(length, r->slots * CHUNK - MIN(offset, r->slots * CHUNK));
    for (u64 end = offset + length, n; offset < end; offset += n) {
        u8 *chunk = chunk_of(r, offset);

        n = MIN(end - offset, CHUNK - offset % CHUNK);
        if (chunk && n == CHUNK) {
            free(chunk);
            r->chunks[offset / CHUNK] = NULL;
            r->used -= CHUNK;
        } else if (chunk) {
            memset(chunk + offset % CHUNK, 0, n);
        }
    }
}

static void ram_disk_submit(struct disk *d, struct disk_io *io)
{
    struct ram_disk *r = (struct ram_disk *)d;
    enum hv_status status = HV_OK;

    if (io->op == DISK_READ)
        read_range(r, io);
    else if (io->op == DISK_WRITE)
        status = write_range(r, io);
    else if (io->op == DISK_ZERO || io->op == DISK_DISCARD)
        zero_range(r, io->offset, io->length);
    else if (io->op == DISK_RESIZE) {
        if (io->offset < d->size)
            zero_range(r, io->offset, d->size - io->offset);
        d->size = io->offset;
    }
    disk_complete(io, status);
}

static enum hv_status ram_disk_close(struct disk *d)
{
    struct ram_disk *r = (struct ram_disk *)d;

    for (u64 i = 0; i < r->slots; i++)
        free(r->chunks[i]);
    free(r->chunks);
    disk_fini(d);
    free(r);
    return HV_OK;
}

static const struct disk_ops ops = {
    .name = "ram", .submit = ram_disk_submit, .close = ram_disk_close};

struct disk *ram_disk_open(const char *name, u64 size, u32 block_size, u64 max)
{
    struct ram_disk *r = calloc(1, sizeof(*r));

    if (!r)
        return NULL;
    disk_init(&r->disk, &ops, name, size, block_size);
    r->disk.growable = block_size == 1;
    r->max = max;
    return &r->disk;
}

bool ram_disk_is(const struct disk *d)
{
    return d->ops == &ops;
}

u64 ram_disk_blank(const struct disk *d, u64 offset)
{
    struct ram_disk *r = (struct ram_disk *)(uintptr_t)d;
    u64 at = offset;

    while (at < d->size && !chunk_of(r, at))
        at = ROUND_DOWN(at, (u64)CHUNK) + CHUNK;
    return MIN(at, d->size) - MIN(offset, d->size);
}
