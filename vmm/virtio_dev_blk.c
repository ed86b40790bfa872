/* The block device: from chains to disk requests and back; kicked by doorbells, on the event loop.
 */
#include "vmm/virtio_dev_blk.h"

#include <stddef.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "control/rt/fiber.h"
#include "vmm/platform.h"

#define F_SEG_MAX BIT(2)
#define F_RO BIT(5)
#define F_BLK_SIZE BIT(6)
#define F_FLUSH BIT(9)
#define F_MQ BIT(12)
#define F_DISCARD BIT(13)
#define F_WRITE_ZEROES BIT(14)

enum type {
    TYPE_IN = 0,
    TYPE_OUT = 1,
    TYPE_FLUSH = 4,
    TYPE_GET_ID = 8,
    TYPE_DISCARD = 11,
    TYPE_WRITE_ZEROES = 13
};
enum answer { ANSWER_OK, ANSWER_IOERR, ANSWER_UNSUPP };

#define SECTOR 512u
#define SEGMENTS 128u /* of data */
#define SERIAL 20u
#define RANGE_SECTORS (2 * MIB) /* 1 GiB in one discard or zeroing */
#define RANGE_UNMAP BIT(0)
#define QUEUES_MAX 8u
#define TURN 128u                /* chains taken before others run */
#define RETRY (NS_PER_SEC / 100) /* for memory */

struct blk_config { /* 5.2.4 */
    u64 capacity;
    u32 size_max, seg_max;
    u8 geometry[4];
    u32 blk_size;
    u8 topology[8];
    u8 writeback, unused;
    u16 num_queues;
    u32 max_discard_sectors, max_discard_seg, discard_sector_alignment;
    u32 max_write_zeroes_sectors, max_write_zeroes_seg;
    u8 write_zeroes_may_unmap, unused2[3];
};

struct blk_header { /* 5.2.6 */
    u32 type, reserved;
    u64 sector;
};

struct blk_range { /* of DISCARD and WRITE_ZEROES */
    u64 sector;
    u32 count, flags;
};

struct blk_state { /* survives a restart of the control partition */
    u64 size;
    u32 block_size;
    bool read_only;
    char device[VM_DISK_DEVICE];
};
_Static_assert(sizeof(struct blk_state) <= VIRTIO_MODEL_STATE, "it has no more");

struct request {
    struct disk_io io;
    struct virtio_device *d;
    struct request *next;     /* in the order of the takes, or free */
    struct virtio_kept *kept; /* NULL: it is in the ring */
    u32 type, queue;
    u16 id, slots;
    bool done;
    u8 answer;
    u8 *answer_at;
    u32 written;
    struct disk_iov iov[SEGMENTS + 2];
};

struct blk {
    struct disk *disk; /* NULL: not there */
    bool hold;
    bool in_turn; /* the driver is told at the end of the turn */
    u32 in_flight;
    struct event idle;
    struct request *free;
    struct blk_queue {
        struct request *first, **end; /* those that are kept, then the rest */
        u32 slots;                    /* of the ring, in flight */
        u32 done;                     /* of them, and not answered */
        u32 again;                    /* before it, what an instance before this one has kept */
    } queue[QUEUES_MAX];
};

static struct virtio_chain chain; /* one thread, and never kept */

static const struct vm_disk *settings(const struct virtio_device *d)
{
    return &d->pci.vm->config.disk[d->index];
}

/* ---- answers ----------------------------------------------------------------------------------
 */

/* Notes a request, so that those behind it can be answered.  All before it are noted. */
static bool keep(struct request *r)
{
    struct virtio_device *d = r->d;
    struct virtio_kept *k = vm_state_kept(d->pci.vm->state), *end = k + VM_KEPT;
    while (k < end && k->used)
        k++;
    if (k == end)
        return false;
    k->device = (u8)d->index;
    k->queue = (u8)r->queue;
    if (!virtio_dev_keep(d, r->queue, r->id, r->slots, k))
        return false;
    r->kept = k;
    return true;
}

static void give_back(struct blk *b, struct request *r)
{
    struct virtio_device *d = r->d;
    b->queue[r->queue].slots -= r->slots;
    b->queue[r->queue].done--;
    b->in_flight--;
    if (virtio_dev_live(d)) {
        *r->answer_at = r->answer;
        virtio_dev_put_id(d, r->queue, r->id, r->slots, r->written, !r->kept);
    }
    if (r->kept)
        r->kept->used = 0;
    r->next = b->free;
    b->free = r;
}

/* What is done, in whatever order. */
static void answer(struct virtio_device *d, u32 queue)
{
    struct blk *b = d->backend;
    struct blk_queue *q = &b->queue[queue];
    struct request **at = &q->first, *r;
    while (q->done) {
        r = *at;
        if (r->done) {
            *at = r->next;
            if (!*at)
                q->end = at;
            give_back(b, r);
            continue;
        }
        if (!r->kept && virtio_dev_live(d) && !keep(r))
            break;
        at = &r->next;
    }
    if (!b->in_turn)
        virtio_dev_signal(d, queue);
    if (b->in_flight)
        return;
    if (b->idle.waiters)
        event_signal(&b->idle);
    virtio_dev_drained(d);
}

static void finish(struct request *r, enum answer a)
{
    r->answer = (u8)a;
    r->done = true;
    ((struct blk *)r->d->backend)->queue[r->queue].done++;
    answer(r->d, r->queue);
}

static void on_done(struct disk_io *io)
{
    struct request *r = io->owner;
    struct virtio_device *d = r->d;
    bool write = io->op != DISK_READ && io->op != DISK_FLUSH;
    if (io->status != HV_OK) {
        finish(r, io->status == HV_ENOSYS ? ANSWER_UNSUPP : ANSWER_IOERR);
        return;
    }
    if (io->op == DISK_READ) {
        r->written += (u32)io->length;
        d->state->bytes_in += io->length;
    } else if (io->op == DISK_WRITE) {
        d->state->bytes_out += io->length;
    }
    /* 5.2.6.2: a driver that does not know of flushes wants none to be needed.  And the guest
     * outlives this program: what it is told of must too.  One flush does for all that wait. */
    struct disk *disk = ((struct blk *)d->backend)->disk;
    if (write && settings(d)->cache != VM_DISK_UNSAFE &&
        (!virtio_dev_has(d, F_FLUSH) || disk_unsaved(disk))) {
        io->op = DISK_FLUSH;
        disk_submit(disk, io);
        return;
    }
    finish(r, ANSWER_OK);
}

/* ---- requests ---------------------------------------------------------------------------------
 */

/* The data of a chain, from `skip` on, as buffers. */
static void take_iov(struct request *r, const struct virtio_segment *s, u32 count, u32 skip,
                     u32 len)
{
    u32 left = len;
    for (u32 i = 0; i < count && left; i++) {
        if (skip >= s[i].len) {
            skip -= s[i].len;
            continue;
        }
        u32 n = MIN(s[i].len - skip, left);
        r->iov[r->io.iov_count++] = (struct disk_iov){s[i].at + skip, n};
        left -= n;
        skip = 0;
    }
    r->io.iov = r->iov;
    r->io.length = len;
}

static void transfer(struct blk *b, struct request *r, u64 sector)
{
    bool in = r->type == TYPE_IN;
    if (in)
        take_iov(r, chain.segment + chain.readable, chain.writable, 0, chain.writable_len - 1);
    else
        take_iov(r, chain.segment, chain.readable, sizeof(struct blk_header),
                 chain.readable_len - (u32)sizeof(struct blk_header));
    r->io.op = in ? DISK_READ : DISK_WRITE;
    r->io.offset = sector * SECTOR;
    if (sector > DISK_SIZE_MAX / SECTOR)
        finish(r, ANSWER_IOERR);
    else
        disk_submit(b->disk, &r->io);
}

/* One range (that is what the configuration says). */
static void change_range(struct blk *b, struct request *r)
{
    struct blk_range range;
    bool discard = r->type == TYPE_DISCARD;
    u32 n = virtio_chain_read(&chain, sizeof(struct blk_header), &range, sizeof(range));
    r->io.op = discard ? DISK_DISCARD : DISK_ZERO;
    if (n != sizeof(range) || chain.readable_len != sizeof(struct blk_header) + sizeof(range) ||
        range.count > RANGE_SECTORS || range.sector > DISK_SIZE_MAX / SECTOR) {
        finish(r, ANSWER_IOERR);
        return;
    }
    if (range.flags & (discard ? ~0u : ~(u32)RANGE_UNMAP)) { /* 5.2.6.2 */
        finish(r, ANSWER_UNSUPP);
        return;
    }
    r->io.offset = range.sector * SECTOR;
    r->io.length = (u64)range.count * SECTOR;
    disk_submit(b->disk, &r->io);
}

static void tell_serial(struct request *r)
{
    const struct vm_config *c = &r->d->pci.vm->config;
    char serial[SERIAL + 1] = "";
    if (settings(r->d)->serial[0])
        memcpy(serial, settings(r->d)->serial, SERIAL);
    else
        snprintf(serial, sizeof(serial), "vm%u-disk%u", c->number, r->d->index);
    r->written += virtio_chain_write(&chain, 0, serial, MIN(SERIAL, chain.writable_len - 1));
    finish(r, ANSWER_OK);
}

static void serve(struct blk *b, struct request *r, const struct blk_header *h)
{
    switch (h->type) {
    case TYPE_IN:
    case TYPE_OUT:
        transfer(b, r, h->sector);
        break;
    case TYPE_FLUSH:
        r->io.op = DISK_FLUSH;
        if (settings(r->d)->cache == VM_DISK_UNSAFE)
            finish(r, ANSWER_OK);
        else
            disk_submit(b->disk, &r->io);
        break;
    case TYPE_DISCARD:
    case TYPE_WRITE_ZEROES:
        change_range(b, r);
        break;
    case TYPE_GET_ID:
        tell_serial(r);
        break;
    default:
        finish(r, ANSWER_UNSUPP);
    }
}

/* The chain as a request, entered in its queue; NULL: it breaks a rule, the device is broken. */
static struct request *enter(struct virtio_device *d, u32 queue, struct blk_header *h)
{
    struct blk *b = d->backend;
    struct blk_queue *q = &b->queue[queue];
    struct request *r = b->free;
    u32 last = chain.readable + chain.writable - 1;
    if (virtio_chain_read(&chain, 0, h, sizeof(*h)) != sizeof(*h) || !chain.writable_len) {
        virtio_dev_broken(d, "a request without header or status");
        return NULL;
    }
    if (q->slots + chain.slots > d->state->queue[queue].size) {
        virtio_dev_broken(d, "more requests than its queue has entries");
        return NULL;
    }
    b->free = r->next;
    memset(r, 0, offsetof(struct request, iov));
    r->d = d;
    r->queue = queue;
    r->type = h->type;
    r->id = chain.id;
    r->slots = chain.slots;
    r->written = 1;
    r->answer_at = chain.segment[last].at + chain.segment[last].len - 1;
    r->io.owner = r;
    r->io.done = on_done;
    *q->end = r;
    q->end = &r->next;
    q->slots += r->slots;
    b->in_flight++;
    return r;
}

/* Memory for one more request is there. */
static bool provide(struct blk *b)
{
    if (b->free)
        return true;
    b->free = malloc(sizeof(*b->free));
    if (b->free)
        b->free->next = NULL;
    return b->free;
}

/* The next chain of the queue: what was kept before a restart comes before what is in the ring. */
static bool take(struct virtio_device *d, u32 queue, struct virtio_kept **kept)
{
    struct blk_queue *q = &((struct blk *)d->backend)->queue[queue];
    while (__builtin_expect(q->again, 0)) {
        struct virtio_kept *k = *kept = vm_state_kept(d->pci.vm->state) + --q->again;
        if (k->used && k->device == d->index && k->queue == queue)
            return virtio_dev_take_kept(d, queue, k, &chain);
    }
    *kept = NULL;
    return virtio_dev_take(d, queue, &chain);
}

static void kick(struct virtio_device *d, u32 queue)
{
    struct blk *b = d->backend;
    struct virtio_kept *kept;
    struct request *r;
    struct blk_header h;
    u32 n = 0;
    if (!b || !b->disk || b->hold || b->in_turn)
        return;
    b->in_turn = true;
    while (n < TURN && provide(b) && take(d, queue, &kept)) {
        n++;
        r = enter(d, queue, &h);
        if (!r)
            continue;
        r->kept = kept;
        serve(b, r, &h);
    }
    b->in_turn = false;
    virtio_dev_signal(d, queue);
    if (n == TURN || !b->free)
        virtio_dev_again(d, queue, platform_now() + (n == TURN ? 0 : RETRY));
}

/* ---- the device -------------------------------------------------------------------------------
 */

static u32 queues(const struct virtio_device *d)
{
    return MIN(d->pci.vm->config.cpu_count, QUEUES_MAX);
}

static u64 more_features(const struct virtio_device *d)
{
    const struct blk_state *s = d->model_state;
    const struct vm_disk *c = settings(d);
    return (s->read_only ? F_RO : F_DISCARD | F_WRITE_ZEROES) |
           (c->cache == VM_DISK_WRITETHROUGH ? 0 : F_FLUSH);
}

static void config_read(struct virtio_device *d, u32 offset, void *dst, u32 len)
{
    const struct blk_state *s = d->model_state;
    struct blk_config c = {.capacity = s->size / SECTOR,
                           .seg_max = SEGMENTS,
                           .blk_size = s->block_size,
                           .writeback = settings(d)->cache != VM_DISK_WRITETHROUGH,
                           .num_queues = (u16)queues(d),
                           .max_discard_sectors = RANGE_SECTORS,
                           .max_discard_seg = 1,
                           .discard_sector_alignment = s->block_size / SECTOR,
                           .max_write_zeroes_sectors = RANGE_SECTORS,
                           .max_write_zeroes_seg = 1,
                           .write_zeroes_may_unmap = 1};
    memcpy(dst, (const u8 *)&c + offset, len);
}

/* Also after a restart of the control partition, when nobody knows what became of the requests that
 * were in flight: they are done again. */
static void start(struct virtio_device *d)
{
    struct blk *b = d->backend;
    for (u32 i = 0; i < queues(d); i++) {
        virtio_dev_rewind(d, i);
        b->queue[i].again = VM_KEPT;
        virtio_dev_signal(d, i);
    }
}

static void reset(struct virtio_device *d)
{
    struct blk *b = d->backend;
    struct virtio_kept *k = vm_state_kept(d->pci.vm->state);
    for (u32 i = 0; i < VM_KEPT; i++)
        if (k[i].device == d->index)
            k[i].used = 0;
    for (u32 i = 0; b && i < QUEUES_MAX; i++)
        for (struct request *r = b->queue[i].first; r; r = r->next)
            r->kept = NULL;
}

static bool busy(const struct virtio_device *d)
{
    return virtio_dev_blk_in_flight(d);
}

const struct virtio_model virtio_dev_blk_model = {
    .name = "virtio-blk",
    .type = 2,
    .class = 0x010000, /* mass storage */
    .queue_size = 256,
    .config_len = sizeof(struct blk_config),
    .features = F_SEG_MAX | F_BLK_SIZE | F_MQ,
    .more_features = more_features,
    .queues = queues,
    .config_read = config_read,
    .start = start,
    .reset = reset,
    .busy = busy,
    .kick = kick,
};

bool virtio_dev_blk_open(struct virtio_device *d, struct vm_error *e)
{
    struct blk *b = calloc(1, sizeof(*b));
    if (!b)
        return vm_error(e, HV_ENOMEM, "E_NOMEM", "stop another VM", "no memory for %s", d->label);
    for (u32 i = 0; i < QUEUES_MAX; i++)
        b->queue[i].end = &b->queue[i].first;
    d->backend = b;
    return true;
}

void virtio_dev_blk_close(struct virtio_device *d)
{
    struct blk *b = d->backend;
    if (!b)
        return;
    while (b->free) {
        struct request *r = b->free;
        b->free = r->next;
        free(r);
    }
    free(b);
    d->backend = NULL;
}

void virtio_dev_blk_connect(struct virtio_device *d, struct disk *disk)
{
    struct blk *b = d->backend;
    struct blk_state *s = d->model_state;
    b->disk = disk;
    if (!disk)
        return;
    bool news = s->size && s->size != disk->size;
    s->size = disk->size;
    s->block_size = disk->block_size;
    s->read_only = disk->read_only;
    if (news)
        virtio_dev_config_changed(d);
    virtio_dev_blk_hold(d, b->hold);
}

void virtio_dev_blk_hold(struct virtio_device *d, bool hold)
{
    struct blk *b = d->backend;
    b->hold = hold;
    for (u32 i = 0; !hold && i < queues(d); i++)
        virtio_dev_kick(d, i);
}

u32 virtio_dev_blk_in_flight(const struct virtio_device *d)
{
    const struct blk *b = d->backend;
    return b ? b->in_flight : 0;
}

void virtio_dev_blk_drain(struct virtio_device *d)
{
    struct blk *b = d->backend;
    while (b && b->in_flight)
        fiber_wait(&b->idle, LOOP_NEVER);
}

char *virtio_dev_blk_device_name(struct virtio_device *d)
{
    return ((struct blk_state *)d->model_state)->device;
}
