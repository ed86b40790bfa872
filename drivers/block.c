/* The door to block devices: checks, copies, queues, watches over what hangs.  Called by storage/,
 * the shell and drivers; on the loop or in a fiber, one thread. */
#include "drivers/block.h"

#include <stdio.h>
#include <string.h>

#include "control/rt/clock.h"
#include "control/rt/dma.h"
#include "control/rt/fiber.h"
#include "control/rt/log.h"
#include "control/rt/loop.h"

#define WATCH_EVERY (1 * CLOCK_SECOND)
#define HANGS_AFTER (8 * CLOCK_SECOND)
#define TRIES 3
#define WATCHERS 4
#define RANGE_END (1ull << 62)

static struct block_device *devices, **devices_end = &devices;
static void (*watchers[WATCHERS])(struct block_device *d);
static struct loop_timer watchdog;

static bool moves_data(enum block_op op)
{
    return op == BLOCK_READ || op == BLOCK_WRITE;
}

/* ---- lists: `link` is where the pointer to this request is stored --------------------------- */
static void append(struct block_request ***end, struct block_request *r)
{
    r->next = NULL;
    r->link = *end;
    **end = r;
    *end = &r->next;
}

static void take_out(struct block_request ***end, struct block_request *r)
{
    *r->link = r->next;
    if (r->next)
        r->next->link = r->link;
    else
        *end = r->link;
}

/* ---- pieces ---------------------------------------------------------------------------------- */
void block_walk_start(struct block_walk *w, const struct block_request *r)
{
    const struct block_limits *l = &r->device->limits;

    *w = (struct block_walk){.iov = r->piece.base ? &r->piece : r->iov,
                             .left = r->piece.base ? 1 : r->iov_count,
                             .boundary = l->boundary,
                             .most = l->segment_bytes};
}

bool block_walk_next(struct block_walk *w, u64 *address, u64 *len)
{
    while (w->left && w->skip == w->iov->len) {
        w->iov++;
        w->left--;
        w->skip = 0;
    }
    if (!w->left)
        return false;
    *address = dma_address(w->iov->base) + w->skip;
    *len = w->iov->len - w->skip;
    if (w->most)
        *len = MIN(*len, w->most);
    if (w->boundary)
        *len = MIN(*len, w->boundary - *address % w->boundary);
    w->skip += *len;
    return true;
}

static bool within(const struct block_limits *l, const void *p, u64 len)
{
    return dma_reaches(p, len) && (!l->reach || dma_address(p) + len <= l->reach);
}

/* Can the device reach all pieces, as they are? */
static bool reachable(const struct block_request *r)
{
    const struct block_limits *l = &r->device->limits;
    u64 page = l->page ? l->page : 1, align = l->align ? l->align : 1, at, len;
    struct block_walk w;
    u32 n = 0;

    for (u32 i = 0; i < r->iov_count; i++) {
        u64 start = (u64)r->iov[i].base, end = start + r->iov[i].len;
        if (!within(l, r->iov[i].base, r->iov[i].len) || start % align || end % align ||
            (i > 0 && start % page) || (i + 1 < r->iov_count && end % page))
            return false;
    }
    block_walk_start(&w, r);
    while (block_walk_next(&w, &at, &len))
        n++;
    return n <= l->segments;
}

static void copy(struct block_request *r, bool in)
{
    u8 *at = r->piece.base;

    for (u32 i = 0; i < r->iov_count; at += r->iov[i].len, i++)
        memcpy(in ? at : r->iov[i].base, in ? r->iov[i].base : at, r->iov[i].len);
}

/* ---- the end of a request -------------------------------------------------------------------- */
static void finish(struct block_request *r, enum hv_status status)
{
    struct block_device *d = r->device;

    if (r->piece.base) {
        if (r->op == BLOCK_READ && status == HV_OK)
            copy(r, false);
        dma_free(r->piece.base, r->piece.len);
        r->piece.base = NULL;
    }
    if (status == HV_OK) {
        d->stats.count[r->op]++;
        d->stats.bytes[r->op] += r->op == BLOCK_FLUSH ? 0 : r->length;
    } else {
        d->stats.errors[r->op]++;
    }
    r->status = status;
    r->done(r);
}

/* What waits goes to the driver for as long as it takes. */
static void feed(struct block_device *d)
{
    while (d->waiting && !d->resetting && !d->gone) {
        struct block_request *r = d->waiting;

        take_out(&d->waiting_end, r);
        r->started = clock_tsc();
        append(&d->active_end, r);
        d->in_flight++;
        if (!d->ops->submit(d, r)) {
            take_out(&d->active_end, r);
            d->in_flight--;
            r->next = d->waiting; /* back to the head */
            r->link = &d->waiting;
            if (r->next)
                r->next->link = &r->next;
            else
                d->waiting_end = &r->next;
            d->waiting = r;
            return;
        }
        r->tries++;
    }
}

void block_room(struct block_device *d)
{
    feed(d);
}

void block_done(struct block_request *r, enum hv_status status)
{
    struct block_device *d = r->device;

    take_out(&d->active_end, r);
    d->in_flight--;
    finish(r, status);
    feed(d);
}

static void fail_waiting(struct block_device *d, enum hv_status status)
{
    while (d->waiting) {
        struct block_request *r = d->waiting;

        take_out(&d->waiting_end, r);
        finish(r, status);
    }
}

/* ---- the door -------------------------------------------------------------------------------- */
static enum hv_status check(const struct block_device *d, const struct block_request *r)
{
    u64 sum = 0;

    if (d->gone)
        return HV_EIO;
    if (d->no_medium)
        return HV_ENOENT;
    if (r->op >= BLOCK_OPS)
        return HV_EINVAL;
    if (r->op != BLOCK_READ && d->read_only)
        return HV_EPERM;
    if (r->op == BLOCK_FLUSH)
        return HV_OK;
    if (r->length > RANGE_END || r->offset > d->size || r->length > d->size - r->offset ||
        (r->offset | r->length) % d->sector_size)
        return HV_EINVAL;
    if (r->op == BLOCK_ZERO && !d->can_zero)
        return HV_ENOSYS;
    if (!moves_data(r->op))
        return r->length > d->limits.range[r->op == BLOCK_ZERO] ? HV_E2BIG : HV_OK;
    if (r->length > d->limits.bytes || r->iov_count > BLOCK_IOV_MAX)
        return HV_E2BIG;
    for (u32 i = 0; i < r->iov_count; i++) {
        if (r->iov[i].len > r->length - sum)
            return HV_EINVAL;
        sum += r->iov[i].len;
    }
    return sum == r->length ? HV_OK : HV_EINVAL;
}

/* Nothing for the hardware to do? */
static bool trivial(const struct block_device *d, const struct block_request *r)
{
    if (r->op == BLOCK_FLUSH)
        return !d->can_flush;
    return r->length == 0 || (r->op == BLOCK_DISCARD && !d->can_discard);
}

static enum hv_status make_reachable(struct block_device *d, struct block_request *r)
{
    if (!moves_data(r->op) || reachable(r))
        return HV_OK;
    void *bounce = dma_alloc(r->length);
    if (!bounce || !within(&d->limits, bounce, r->length)) {
        dma_free(bounce, r->length);
        return HV_ENOMEM;
    }
    r->piece = (struct block_iov){bounce, r->length};
    if (r->op == BLOCK_WRITE)
        copy(r, true);
    d->stats.copied++;
    return HV_OK;
}

void block_submit(struct block_device *d, struct block_request *r)
{
    r->device = d;
    r->tries = 0;
    r->piece = (struct block_iov){NULL, 0};
    r->status = check(d, r);
    if (r->status != HV_OK) { /* nothing of r is to be believed, not even its operation */
        d->stats.refused++;
        r->done(r);
        return;
    }
    bool over = trivial(d, r);
    enum hv_status status = over ? HV_OK : make_reachable(d, r);
    if (over || status != HV_OK) {
        finish(r, status);
        return;
    }
    append(&d->waiting_end, r);
    feed(d);
}

static void wake(struct block_request *r)
{
    event_signal(r->owner);
}

enum hv_status block_do(struct block_device *d, enum block_op op, u64 offset, void *data,
                        u64 length)
{
    struct event done = {0};
    struct block_iov iov = {data, length};
    struct block_request r = {.op = op,
                              .offset = offset,
                              .length = length,
                              .iov = &iov,
                              .iov_count = data ? 1 : 0,
                              .done = wake,
                              .owner = &done};

    block_submit(d, &r);
    fiber_wait(&done, LOOP_NEVER);
    return r.status;
}

/* ---- what hangs -------------------------------------------------------------------------------
 */
void block_gone(struct block_device *d, const char *why)
{
    if (d->gone)
        return;
    log_error("%s: %s; its requests fail", d->name, why);
    d->gone = true;
    while (d->active)
        block_done(d->active, HV_EIO);
    fail_waiting(d, HV_EIO);
}

/* Every active request goes back to the head of those that wait, in the old order; what was tried
 * too often fails.  None was acknowledged, so none is lost. */
static void send_again(struct block_device *d)
{
    struct block_request *old = d->waiting, *r, *failed = NULL, **failed_end = &failed;

    d->waiting = NULL;
    d->waiting_end = &d->waiting;
    while ((r = d->active)) {
        take_out(&d->active_end, r);
        d->in_flight--;
        append(r->tries >= TRIES ? &failed_end : &d->waiting_end, r);
    }
    while ((r = old)) {
        old = r->next;
        append(&d->waiting_end, r);
    }
    while ((r = failed)) {
        take_out(&failed_end, r);
        finish(r, HV_ETIMEDOUT);
    }
}

static void reset(void *arg)
{
    struct block_device *d = arg;

    enum hv_status status = d->ops->reset(d);
    d->stats.resets++;
    if (status != HV_OK || d->gone) {
        d->resetting = false;
        block_gone(d, "it does not come back from a reset");
        return;
    }
    log_notice("%s: was reset, %u requests are sent again", d->name, d->in_flight);
    send_again(d);
    d->resetting = false;
    feed(d);
}

void block_stuck(struct block_device *d, const char *why)
{
    if (d->resetting || d->gone)
        return;
    log_warn("%s: %s; it is reset", d->name, why);
    d->resetting = true;
    if (!fiber_spawn("reset", reset, d)) {
        d->resetting = false; /* the watchdog comes again */
        log_error("%s: no memory to reset it", d->name);
    }
}

static void watch(void *owner)
{
    u64 limit = clock_ticks(HANGS_AFTER), now = clock_tsc();

    (void)owner;
    loop_timer_set(&watchdog, clock_after(WATCH_EVERY));
    for (struct block_device *d = devices; d; d = d->next) {
        if (!d->active || d->resetting || now - d->active->started < limit / 4)
            continue;
        u32 before = d->in_flight;
        u64 oldest = d->active->started;
        d->ops->poll(d);
        d->stats.lost += before > d->in_flight ? before - d->in_flight : 0;
        if (d->active && d->active->started == oldest && now - oldest > limit)
            block_stuck(d, "a request is not answered");
    }
}

/* ---- devices ----------------------------------------------------------------------------------
 */
struct block_device *block_first(void)
{
    return devices;
}

struct block_device *block_find(const char *name)
{
    struct block_device *d = devices;

    while (d && strcmp(d->name, name))
        d = d->next;
    return d;
}

void block_watch(void (*fn)(struct block_device *d))
{
    for (u32 i = 0; i < WATCHERS; i++)
        if (!watchers[i]) {
            watchers[i] = fn;
            for (struct block_device *d = devices; d; d = d->next)
                fn(d);
            return;
        }
    rt_assert(!"room for a watcher");
}

void block_register(struct block_device *d, const char *prefix)
{
    u32 n = 0;

    do
        snprintf(d->name, sizeof(d->name), "%s%u", prefix, n++);
    while (block_find(d->name));
    d->next = NULL;
    d->waiting = d->active = NULL;
    d->waiting_end = &d->waiting;
    d->active_end = &d->active;
    d->in_flight = 0;
    d->gone = d->resetting = false;
    *devices_end = d;
    devices_end = &d->next;
    log_info("%s: %s, %s, serial %s, %llu MiB, %u byte sectors", d->name, d->kind, d->model,
             d->serial, (unsigned long long)(d->size / MIB), d->sector_size);
    if (!watchdog.armed) {
        watchdog.fn = watch;
        loop_timer_set(&watchdog, clock_after(WATCH_EVERY));
    }
    for (u32 i = 0; i < WATCHERS && watchers[i]; i++)
        watchers[i](d);
}

void block_medium(struct block_device *d, u64 size, u32 sector_size)
{
    d->no_medium = !size;
    d->size = size;
    d->sector_size = d->physical_sector_size = sector_size;
    if (size)
        log_info("%s: a medium of %llu MiB", d->name, (unsigned long long)(size / MIB));
    else
        log_info("%s: no medium", d->name);
    for (u32 i = 0; i < WATCHERS && watchers[i]; i++)
        watchers[i](d);
    if (d->no_medium)
        fail_waiting(d, HV_ENOENT);
}

const char *block_op_name(enum block_op op)
{
    static const char *const names[] = {[BLOCK_READ] = "read",
                                        [BLOCK_WRITE] = "write",
                                        [BLOCK_FLUSH] = "flush",
                                        [BLOCK_DISCARD] = "discard",
                                        [BLOCK_ZERO] = "zero"};

    return op < BLOCK_OPS ? names[op] : "?";
}

void block_text(char *to, u64 size, const void *from, u64 len, bool swap)
{
    const u8 *in = from;
    u64 n = 0, start = 0;

    while (start < len && in[start ^ (swap ? 1 : 0)] == ' ')
        start++;
    for (u64 i = start; i < len && n + 1 < size; i++) {
        u8 c = in[swap ? i ^ 1 : i];
        if (!c)
            break;
        to[n++] = c >= ' ' && c < 0x7f ? (char)c : '?';
    }
    while (n && to[n - 1] == ' ')
        n--;
    to[n] = 0;
}
