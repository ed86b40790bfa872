/* Disk requests that wait in the calling fiber; see disk.h. */
#include <string.h>

#include "control/rt/fiber.h"
#include "control/rt/log.h"
#include "storage/disk.h"

struct waiting {
    struct disk_io io;
    struct event event;
    bool done;
};

static void on_done(struct disk_io *io)
{
    struct waiting *w = io->owner;

    w->done = true;
    event_signal(&w->event);
}

enum hv_status disk_do(struct disk *d, enum disk_op op, u64 offset, u64 length,
                       const struct disk_iov *iov, u32 iov_count)
{
    struct waiting w = {
        .io = {.op = op, .offset = offset, .length = length, .iov = iov, .iov_count = iov_count}};

    w.io.done = on_done;
    w.io.owner = &w;
    disk_submit(d, &w.io);
    while (!w.done) {
        rt_assert(fiber_self()); /* nobody else could run meanwhile */
        fiber_wait(&w.event, LOOP_NEVER);
    }
    return w.io.status;
}

enum hv_status disk_read(struct disk *d, u64 offset, void *buf, u64 len)
{
    struct disk_iov iov = {buf, len};

    return disk_do(d, DISK_READ, offset, len, &iov, 1);
}

enum hv_status disk_write(struct disk *d, u64 offset, const void *buf, u64 len)
{
    struct disk_iov iov = {(void *)(uintptr_t)buf, len};

    return disk_do(d, DISK_WRITE, offset, len, &iov, 1);
}

enum hv_status disk_flush(struct disk *d)
{
    return disk_do(d, DISK_FLUSH, 0, 0, NULL, 0);
}

enum hv_status disk_discard(struct disk *d, u64 offset, u64 len)
{
    return disk_do(d, DISK_DISCARD, offset, len, NULL, 0);
}

enum hv_status disk_zero(struct disk *d, u64 offset, u64 len)
{
    return disk_do(d, DISK_ZERO, offset, len, NULL, 0);
}

enum hv_status disk_resize(struct disk *d, u64 size)
{
    return disk_do(d, DISK_RESIZE, size, 0, NULL, 0);
}
