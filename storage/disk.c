/* The block layer's door, error policy, limits and statistics; on the loop's thread, no locks.
 * Called by virtual devices, images and shell commands; calls the backends. */
#include "storage/disk.h"

#include <string.h>

#include "control/rt/clock.h"
#include "control/rt/log.h"

static struct disk *disks;

static const char *const op_names[DISK_OPS] = {
    [DISK_READ] = "read",       [DISK_WRITE] = "write", [DISK_FLUSH] = "flush",
    [DISK_DISCARD] = "discard", [DISK_ZERO] = "zero",   [DISK_RESIZE] = "resize",
};

static const u64 retry_delay[] = {100 * CLOCK_MS, CLOCK_SECOND, 10 * CLOCK_SECOND};

const char *disk_op_name(enum disk_op op)
{
    return (u32)op < DISK_OPS ? op_names[op] : "?";
}

/* ---- lists of requests
 * -------------------------------------------------------------------------*/

static void append(struct disk_io ***end, struct disk_io *io)
{
    io->next = NULL;
    **end = io;
    *end = &io->next;
}

static struct disk_io *take_all(struct disk_io **head, struct disk_io ***end)
{
    struct disk_io *first = *head;

    *head = NULL;
    *end = head;
    return first;
}

static struct disk_io *take_first(struct disk_io **head, struct disk_io ***end)
{
    struct disk_io *io = *head;

    *head = io->next;
    if (!*head)
        *end = head;
    return io;
}

/* ---- open disks
 * --------------------------------------------------------------------------------*/

void disk_init(struct disk *d, const struct disk_ops *ops, const char *name, u64 size,
               u32 block_size)
{
    struct disk **at = &disks;

    memset(d, 0, sizeof(*d));
    strncpy(d->name, name, sizeof(d->name) - 1);
    d->ops = ops;
    d->size = size;
    d->block_size = block_size;
    d->throttled_end = &d->throttled;
    d->held_end = &d->held;
    d->retries_end = &d->retries;
    while (*at)
        at = &(*at)->next;
    *at = d;
}

void disk_fini(struct disk *d)
{
    loop_timer_cancel(&d->throttle_timer);
    loop_timer_cancel(&d->retry_timer);
    for (struct disk **at = &disks; *at; at = &(*at)->next) {
        if (*at == d) {
            *at = d->next;
            return;
        }
    }
}

enum hv_status disk_close(struct disk *d)
{
    if (d->users || d->in_flight || d->closing)
        return HV_EBUSY;
    d->closing = true;
    return d->ops->close(d);
}

struct disk *disk_first(void)
{
    return disks;
}

struct disk *disk_find(const char *name)
{
    struct disk *d = disks;

    while (d && strcmp(d->name, name))
        d = d->next;
    return d;
}

/* ---- limits
 * ------------------------------------------------------------------------------------*/

/* Both limits are a rate at which the time of the next permission moves on; up to a tenth of a
 * second of unused time is kept, which is the burst. */
static u64 charge(u64 due, u64 now, u64 units, u64 rate)
{
    u64 burst = clock_ticks(CLOCK_SECOND / 10), floor = now > burst ? now - burst : 0;
    __uint128_t cost = (__uint128_t)units * clock_ticks(CLOCK_SECOND) / rate;

    return MAX(due, floor) + (u64)cost;
}

static bool limits_let_pass(struct disk *d, const struct disk_io *io, u64 now)
{
    if (d->io_due > now || d->byte_due > now)
        return false;
    if (d->limits.iops)
        d->io_due = charge(d->io_due, now, 1, d->limits.iops);
    if (d->limits.bandwidth && (io->op == DISK_READ || io->op == DISK_WRITE))
        d->byte_due = charge(d->byte_due, now, io->length, d->limits.bandwidth);
    return true;
}

static void start(struct disk *d, struct disk_io *io)
{
    io->counted = true;
    d->ops->submit(d, io);
}

static void on_throttle(void *owner)
{
    struct disk *d = owner;

    /* A completion may end the last request, and with it the disk: look at it before each start. */
    while (d->throttled) {
        u64 now = clock_tsc();
        bool last = !d->throttled->next;

        if (!limits_let_pass(d, d->throttled, now)) {
            loop_timer_set(&d->throttle_timer, MAX(d->io_due, d->byte_due));
            return;
        }
        start(d, take_first(&d->throttled, &d->throttled_end));
        if (last)
            return;
    }
}

static void throttle(struct disk *d, struct disk_io *io)
{
    d->stats.throttled++;
    append(&d->throttled_end, io);
    d->throttle_timer.fn = on_throttle;
    d->throttle_timer.owner = d;
    if (!d->throttle_timer.armed)
        loop_timer_set(&d->throttle_timer, MAX(d->io_due, d->byte_due));
}

void disk_set_limits(struct disk *d, struct disk_limits limits)
{
    d->limits = limits;
    d->io_due = d->byte_due = 0;
    if (d->throttled)
        loop_timer_set(&d->throttle_timer, clock_tsc());
}

/* ---- the door
 * ----------------------------------------------------------------------------------*/

static bool buffers_fit(const struct disk_io *io)
{
    u64 sum = 0;

    if (io->iov_count > DISK_IOV_MAX)
        return false;
    for (u32 i = 0; i < io->iov_count; i++) {
        if (io->iov[i].len > io->length - sum)
            return false;
        sum += io->iov[i].len;
    }
    return sum == io->length;
}

static bool range_fits(const struct disk *d, const struct disk_io *io)
{
    u64 end = d->growable && io->op == DISK_WRITE ? DISK_SIZE_MAX : d->size;

    return io->offset <= end && io->length <= end - io->offset &&
           !((io->offset | io->length) & (d->block_size - 1));
}

static enum hv_status check(const struct disk *d, const struct disk_io *io)
{
    if (d->closing)
        return HV_EBUSY;
    switch (io->op) {
    case DISK_READ:
        return range_fits(d, io) && buffers_fit(io) ? HV_OK : HV_EINVAL;
    case DISK_WRITE:
        if (d->read_only)
            return HV_EPERM;
        return range_fits(d, io) && buffers_fit(io) ? HV_OK : HV_EINVAL;
    case DISK_FLUSH:
        return HV_OK;
    case DISK_DISCARD:
    case DISK_ZERO:
        if (d->read_only)
            return HV_EPERM;
        return range_fits(d, io) ? HV_OK : HV_EINVAL;
    case DISK_RESIZE:
        if (d->read_only)
            return HV_EPERM;
        return io->offset <= DISK_SIZE_MAX && !(io->offset & (d->block_size - 1)) ? HV_OK
                                                                                  : HV_EINVAL;
    case DISK_OPS:
        break;
    }
    return HV_EINVAL;
}

void disk_submit(struct disk *d, struct disk_io *io)
{
    enum hv_status status = check(d, io);

    if (status != HV_OK) {
        d->stats.refused++;
        io->status = status;
        io->done(io);
        return;
    }
    io->disk = d;
    io->next = NULL;
    io->started = clock_tsc();
    io->tries = 0;
    io->counted = false;
    d->in_flight++;
    if ((d->limits.iops || d->limits.bandwidth) && io->op != DISK_FLUSH &&
        (d->throttled || !limits_let_pass(d, io, io->started)))
        throttle(d, io);
    else
        start(d, io);
}

bool disk_unsaved(const struct disk *d)
{
    return d->ops->unsaved && d->ops->unsaved(d);
}

/* ---- completion and what follows an error
 * --------------------------------------------------------*/

static void account(struct disk *d, const struct disk_io *io)
{
    d->stats.count[io->op]++;
    d->stats.bytes[io->op] += io->op == DISK_FLUSH || io->op == DISK_RESIZE ? 0 : io->length;
    d->stats.errors[io->op] += io->status != HV_OK;
    if (io->op > DISK_FLUSH)
        return;
    u64 ns = clock_ticks_to_ns(clock_tsc() - io->started) | 1;
    u32 bucket = 63 - (u32)__builtin_clzll(ns);
    d->stats.latency[io->op][MIN(bucket, DISK_LATENCY_BUCKETS - 1u)]++;
}

static void finish(struct disk_io *io)
{
    struct disk *d = io->disk;

    d->in_flight--;
    account(d, io);
    io->done(io); /* d may be gone now */
}

static void on_retry(void *owner)
{
    struct disk *d = owner;
    struct disk_io *io = take_all(&d->retries, &d->retries_end);

    while (io) {
        struct disk_io *next = io->next;

        start(d, io);
        io = next;
    }
}

static void retry_later(struct disk *d, struct disk_io *io)
{
    u64 deadline = clock_after(retry_delay[io->tries]);

    io->tries++;
    d->stats.retried++;
    append(&d->retries_end, io);
    d->retry_timer.fn = on_retry;
    d->retry_timer.owner = d;
    if (!d->retry_timer.armed || d->retry_timer.deadline > deadline)
        loop_timer_set(&d->retry_timer, deadline);
}

static void hold(struct disk *d, struct disk_io *io, enum hv_status why)
{
    bool first = !d->held;

    append(&d->held_end, io);
    if (!first)
        return;
    log_warn("disk %s: %s at %llu failed (%d); held", d->name, op_names[io->op],
             (unsigned long long)io->offset, why);
    if (d->on_pause)
        d->on_pause(d, why);
}

void disk_complete(struct disk_io *io, enum hv_status status)
{
    struct disk *d = io->disk;

    io->status = status;
    /* HV_EPERM and HV_EINVAL are the submitter's fault and would be the same the next time; a full
     * store is worth a pause but no quick retry. */
    if (status == HV_OK || status == HV_EPERM || status == HV_EINVAL ||
        d->on_error == DISK_REPORT || (d->on_error == DISK_PAUSE_FULL && status != HV_ENOSPC))
        finish(io);
    else if (d->on_error == DISK_PAUSE || d->on_error == DISK_PAUSE_FULL)
        hold(d, io, status);
    else if (io->tries < ARRAY_LEN(retry_delay) && status != HV_ENOSPC)
        retry_later(d, io);
    else
        finish(io);
}

void disk_resume(struct disk *d)
{
    struct disk_io *io = take_all(&d->held, &d->held_end);

    while (io) {
        struct disk_io *next = io->next;

        start(d, io);
        io = next;
    }
}

void disk_give_up(struct disk *d)
{
    struct disk_io *io = take_all(&d->held, &d->held_end);

    while (io) {
        struct disk_io *next = io->next;

        io->status = HV_EIO;
        finish(io);
        io = next;
    }
}

bool disk_paused(const struct disk *d)
{
    return d->held != NULL;
}
