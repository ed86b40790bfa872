/* virtio block devices: virtio 1.2 section 5.2.  Called by pci.c and block.c, by its interrupt on
 * the loop. */
#include "drivers/virtio_blk.h"

#include <stdlib.h>
#include <string.h>

#include "control/rt/clock.h"
#include "control/rt/dma.h"
#include "control/rt/log.h"
#include "control/rt/loop.h"
#include "control/rt/mmio.h"
#include "drivers/block.h"
#include "drivers/driver.h"
#include "drivers/virtio.h"

enum config { /* 5.2.4 */
              CAPACITY = 0x00,
              SIZE_MAX_ = 0x08,
              SEG_MAX = 0x0c,
              BLK_SIZE = 0x14,
              PHYSICAL_EXP = 0x18,
              DISCARD_SECTORS = 0x24,
              ZEROES_SECTORS = 0x30,
              CONFIG_LEAST = 0x08,
};
#define F_SIZE_MAX BIT(1)
#define F_SEG_MAX BIT(2)
#define F_READ_ONLY BIT(5)
#define F_BLK_SIZE BIT(6)
#define F_FLUSH BIT(9)
#define F_TOPOLOGY BIT(10)
#define F_DISCARD BIT(13)
#define F_WRITE_ZEROES BIT(14)
#define WANTED                                                                                     \
    (F_SIZE_MAX | F_SEG_MAX | F_READ_ONLY | F_BLK_SIZE | F_FLUSH | F_TOPOLOGY | F_DISCARD |        \
     F_WRITE_ZEROES | VIRTIO_F_INDIRECT | VIRTIO_F_EVENT_IDX)

#define SECTOR 512u /* of the protocol, whatever blk_size says */
#define SLOTS 128
#define SEGMENTS 62 /* and header and status: a power of two of descriptors */
#define BUDGET 64   /* completions of one turn of the loop */
#define ID_BYTES 20

struct header { /* 5.2.6 */
    u32 type, reserved;
    u64 sector;
};
enum {
    TYPE_IN = 0,
    TYPE_OUT = 1,
    TYPE_FLUSH = 4,
    TYPE_GET_ID = 8,
    TYPE_DISCARD = 11,
    TYPE_ZEROES = 13
};

struct range { /* of DISCARD and WRITE_ZEROES */
    u64 sector;
    u32 sectors, flags;
};
#define ZEROES_MAY_UNMAP 1u

struct slot { /* what the device reads and writes beside data; 64 bytes */
    struct header header;
    struct range range;
    u8 status;
    u8 id[ID_BYTES];
};
#define STATUS_NONE 0xff
#define STATUS_OK 0
#define STATUS_UNSUPPORTED 2

struct disk {
    struct block_device block;
    struct pci_device *pci;
    struct virtio virtio;
    struct virtq queue;
    struct slot *slots;                    /* DMA memory */
    struct block_request *requests[SLOTS]; /* NULL: free */
    u16 free[SLOTS], free_count;
    u32 discard_most, zeroes_most; /* sectors */
    struct loop_timer more;
};

static struct disk *disk_of(struct block_device *d)
{
    return d->driver;
}

static u32 fill_data(struct block_request *r, struct virtq_desc *chain)
{
    struct block_walk w;
    u64 at, len;
    u32 n = 0;

    block_walk_start(&w, r);
    while (block_walk_next(&w, &at, &len))
        chain[n++] = (struct virtq_desc){
            .address = at, .len = (u32)len, .flags = r->op == BLOCK_READ ? VIRTQ_WRITE : 0};
    return n;
}

/* The device sees the request of a slot; its chain is header, data or range, status. */
static void send(struct disk *d, u32 i, struct block_request *r)
{
    static const u32 types[] = {[BLOCK_READ] = TYPE_IN,
                                [BLOCK_WRITE] = TYPE_OUT,
                                [BLOCK_FLUSH] = TYPE_FLUSH,
                                [BLOCK_DISCARD] = TYPE_DISCARD,
                                [BLOCK_ZERO] = TYPE_ZEROES};
    struct virtq_desc *chain = virtq_chain(&d->queue, i);
    struct slot *s = &d->slots[i];
    bool data = r->op == BLOCK_READ || r->op == BLOCK_WRITE;
    u32 n = 1;

    s->header = (struct header){.type = types[r->op], .sector = data ? r->offset / SECTOR : 0};
    s->status = STATUS_NONE;
    chain[0] = (struct virtq_desc){.address = dma_address(&s->header), .len = sizeof(s->header)};
    if (data) {
        n += fill_data(r, chain + 1);
    } else if (r->op != BLOCK_FLUSH) {
        s->range = (struct range){.sector = r->offset / SECTOR,
                                  .sectors = (u32)(r->length / SECTOR),
                                  .flags = r->op == BLOCK_ZERO ? ZEROES_MAY_UNMAP : 0};
        chain[n++] =
            (struct virtq_desc){.address = dma_address(&s->range), .len = sizeof(s->range)};
    }
    chain[n++] =
        (struct virtq_desc){.address = dma_address(&s->status), .len = 1, .flags = VIRTQ_WRITE};
    virtq_add(&d->queue, i, n);
    virtq_kick(&d->queue);
}

static bool submit(struct block_device *b, struct block_request *r)
{
    struct disk *d = disk_of(b);

    if (!d->free_count)
        return false;
    u32 i = d->free[--d->free_count];
    d->requests[i] = r;
    r->slot = i;
    send(d, i, r);
    return true;
}

static enum hv_status result_of(u8 status)
{
    return status == STATUS_OK ? HV_OK : status == STATUS_UNSUPPORTED ? HV_ENOSYS : HV_EIO;
}

/* True: something came. */
static bool take_one(struct disk *d)
{
    u32 i, len;

    if (d->block.resetting || !virtq_pop(&d->queue, &i, &len))
        return false;
    if (i >= d->queue.slots || !d->requests[i] || d->slots[i].status == STATUS_NONE) {
        block_stuck(&d->block, "the device completes what it was not given");
        return false;
    }
    struct block_request *r = d->requests[i];
    d->requests[i] = NULL;
    d->free[d->free_count++] = (u16)i;
    block_done(r, result_of(d->slots[i].status));
    return true;
}

static void serve(void *owner)
{
    struct disk *d = owner;
    u32 budget = BUDGET;

    if (d->pci->irq_mode != PCI_IRQ_MSIX)
        (void)virtio_ack(&d->virtio);
    do
        while (budget && take_one(d))
            budget--;
    while (budget && !d->block.resetting && virtq_rearm(&d->queue));
    if (!budget)
        loop_timer_set(&d->more, clock_tsc());
}

static void poll(struct block_device *b)
{
    struct disk *d = disk_of(b);

    serve(d);
    if (virtio_broken(&d->virtio))
        block_stuck(b, "the device asks for a reset");
}

static void forget_requests(struct disk *d)
{
    d->free_count = 0;
    for (u32 i = d->queue.slots; i-- > 0;) {
        d->requests[i] = NULL;
        d->free[d->free_count++] = (u16)i;
    }
}

/* From a device in any state to one that works; its queue is new. */
static enum hv_status start(struct disk *d)
{
    enum hv_status status = virtio_start(&d->virtio, d->pci, WANTED);

    if (status == HV_OK)
        status = virtq_start(&d->queue, &d->virtio, 0, SLOTS, SEGMENTS + 2, 0);
    if (status != HV_OK)
        return status;
    forget_requests(d);
    virtio_ready(&d->virtio);
    return virtq_rearm(&d->queue) ? HV_EIO : HV_OK;
}

static enum hv_status reset(struct block_device *b)
{
    struct disk *d = disk_of(b);
    enum hv_status status = d->pci->gone ? HV_EIO : virtio_reset(&d->virtio);

    if (status != HV_OK)
        return status;
    loop_timer_cancel(&d->more);
    virtq_free(&d->queue);
    return start(d);
}

static const struct block_ops ops = {.submit = submit, .poll = poll, .reset = reset};

static u32 field(const struct disk *d, u64 feature, u32 at, u32 if_missing)
{
    if (!(d->virtio.features & feature) || at + 4 > d->virtio.device_len)
        return if_missing;
    return mmio_read32(d->virtio.device + at);
}

/* The serial number, by the one command that is no block request; polled, before interrupts are on.
 */
static void read_serial(struct disk *d)
{
    struct virtq_desc *chain = virtq_chain(&d->queue, 0);
    struct slot *s = &d->slots[0];
    u64 end = clock_after(CLOCK_SECOND);
    u32 i, len;

    s->header = (struct header){.type = TYPE_GET_ID};
    s->status = STATUS_NONE;
    chain[0] = (struct virtq_desc){.address = dma_address(&s->header), .len = sizeof(s->header)};
    chain[1] =
        (struct virtq_desc){.address = dma_address(s->id), .len = ID_BYTES, .flags = VIRTQ_WRITE};
    chain[2] =
        (struct virtq_desc){.address = dma_address(&s->status), .len = 1, .flags = VIRTQ_WRITE};
    virtq_add(&d->queue, 0, 3);
    virtq_kick(&d->queue);
    while (!virtq_pop(&d->queue, &i, &len) && clock_tsc() < end)
        fiber_sleep_until(clock_after(CLOCK_MS));
    if (s->status == STATUS_OK)
        block_text(d->block.serial, sizeof(d->block.serial), s->id, ID_BYTES, false);
}

static void describe(struct disk *d)
{
    struct block_device *b = &d->block;
    u32 sector = field(d, F_BLK_SIZE, BLK_SIZE, SECTOR);
    bool sound = sector >= SECTOR && sector <= 64 * KIB && !(sector & (sector - 1));

    b->kind = "virtio";
    b->ops = &ops;
    b->driver = d;
    strcpy(b->model, "virtio disk");
    b->sector_size = sound ? sector : SECTOR;
    u32 shift = field(d, F_TOPOLOGY, PHYSICAL_EXP, 0) & 0xff;
    b->physical_sector_size = b->sector_size << MIN(shift, 8u);
    b->size = ROUND_DOWN((mmio_read64(d->virtio.device + CAPACITY) & BITS(52, 0)) * SECTOR,
                         (u64)b->sector_size);
    b->read_only = d->virtio.features & F_READ_ONLY;
    b->can_flush = d->virtio.features & F_FLUSH;
    b->can_discard = field(d, F_DISCARD, DISCARD_SECTORS, 0) >= b->sector_size / SECTOR;
    b->can_zero = field(d, F_WRITE_ZEROES, ZEROES_SECTORS, 0) >= b->sector_size / SECTOR;
    b->limits = (struct block_limits){
        .bytes = MIB,
        .segments = MAX(MIN(field(d, F_SEG_MAX, SEG_MAX, 1), (u32)SEGMENTS), 1u),
        .queue_depth = d->queue.slots,
        .segment_bytes = MAX(field(d, F_SIZE_MAX, SIZE_MAX_, (u32)MIB), 4096u),
    };
    b->limits.bytes = MIN(MIB, b->limits.segments * b->limits.segment_bytes);
    b->limits.range[0] = (u64)field(d, F_DISCARD, DISCARD_SECTORS, 0) * SECTOR;
    b->limits.range[1] = (u64)field(d, F_WRITE_ZEROES, ZEROES_SECTORS, 0) * SECTOR;
}

static enum hv_status probe(struct pci_device *pci)
{
    struct disk *d = calloc(1, sizeof(*d));
    struct slot *slots = dma_alloc(SLOTS * sizeof(struct slot));
    enum hv_status status = HV_ENOMEM;

    if (d && slots) {
        d->pci = pci;
        d->slots = slots;
        d->more.fn = serve;
        d->more.owner = d;
        pci->state = d;
        pci_interrupts(pci, 1);
        status = start(d);
    }
    if (status == HV_OK && d->virtio.device_len < CONFIG_LEAST)
        status = HV_EIO;
    if (status != HV_OK) {
        dma_free(slots, SLOTS * sizeof(struct slot));
        free(d);
        return status;
    }
    read_serial(d);
    describe(d);
    pci_on_interrupt(pci, 0, serve, d);
    block_register(&d->block, "vd");
    return HV_OK;
}

static void gone(struct pci_device *pci)
{
    struct disk *d = pci->state;

    block_stuck(&d->block, "it was pulled out");
}

static const struct driver_id ids[] = {
    {VIRTIO_VENDOR, 0x1042, 0, 0, "virtio block device"},
    {VIRTIO_VENDOR, 0x1001, 0, 0, "virtio block device (transitional)"},
    {0},
};
static const struct driver virtio_blk = {
    .name = "virtio_blk", .ids = ids, .probe = probe, .gone = gone};
DRIVER(virtio_blk);
