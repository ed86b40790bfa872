/* virtio SCSI host adapters: virtio 1.2 section 5.6.  Called by pci.c and scsi.c, by its interrupt
 * on the loop.  Disks that come and go are told of by the event queue and looked at in a fiber. */
#include "drivers/virtio_scsi.h"

#include <stdlib.h>
#include <string.h>

#include "control/rt/clock.h"
#include "control/rt/dma.h"
#include "control/rt/fiber.h"
#include "control/rt/log.h"
#include "control/rt/loop.h"
#include "control/rt/mmio.h"
#include "drivers/driver.h"
#include "drivers/scsi.h"
#include "drivers/virtio.h"

enum config { /* 5.6.4 */
              SEG_MAX = 0x04,
              MAX_SECTORS = 0x08,
              SENSE_SIZE = 0x14,
              CDB_SIZE = 0x18,
              MAX_TARGET = 0x1e,
              MAX_LUN = 0x20,
              CONFIG_LEN = 0x24,
};
#define F_HOTPLUG BIT(1)
enum queue { CONTROL, EVENTS, REQUESTS, QUEUES };

#define SLOTS 64
#define SEGMENTS 62 /* and what surrounds them: a power of two of descriptors */
#define EVENT_SLOTS 8
#define BUDGET 64
#define TARGETS 256
#define LUNS 32u
#define DEPTH 32u
#define CDB_LEN 32   /* what the device is told, its default */
#define SENSE_LEN 96 /* the same */

struct request { /* 5.6.6.1 */
    u8 lun[8];
    u64 id;
    u8 attribute, priority, crn;
    u8 cdb[CDB_LEN];
} __attribute__((packed));
struct response {
    u32 sense_len, left;
    u16 qualifier;
    u8 status, response;
    u8 sense[SENSE_LEN];
} __attribute__((packed));
enum { RESPONSE_OK = 0, RESPONSE_BAD_TARGET = 3, RESPONSE_BUSY = 5, RESPONSE_NONE = 0xff };

struct reset_request { /* 5.6.6.2: a task management function */
    u32 type, subtype;
    u8 lun[8];
    u64 id;
    u8 response;
} __attribute__((packed));
#define RESET_LUN 5u
#define RESET_DONE 0u
#define RESET_SUCCEEDED 10u /* FUNCTION_SUCCEEDED is 10, COMPLETE 0 */
#define RESET_NS (5 * CLOCK_SECOND)

struct event_block { /* 5.6.6.3 */
    u32 event;
    u8 lun[8];
    u32 reason;
};

struct slot { /* what the device reads and writes beside data; 256 bytes */
    struct request request;
    u8 gap[128 - sizeof(struct request)];
    struct response response;
    u8 gap2[128 - sizeof(struct response)];
};

struct unit {
    struct scsi_disk disk;
    struct adapter *adapter;
    struct unit *next;
    u8 target, lun;
    bool registered, gone;
};

struct adapter {
    struct pci_device *pci;
    struct virtio virtio;
    struct virtq control, events, requests;
    struct slot *slots;
    struct event_block *event_blocks;
    struct reset_request *reset_request;
    struct scsi_command *commands[SLOTS]; /* NULL: free */
    struct unit *owners[SLOTS];
    u16 free[SLOTS], free_count;
    struct unit *units;
    u32 targets, resets;
    u64 segments, bytes;
    bool resetting, managing;
    struct event changed;
    struct loop_timer more;
};

static void put_lun(u8 lun[8], const struct unit *u)
{
    memset(lun, 0, 8);
    lun[0] = 1;
    lun[1] = u->target;
    lun[2] = 0x40; /* flat space: SAM-5 4.6.7.3 */
    lun[3] = u->lun;
}

/* ---- commands ---------------------------------------------------------------------------------
 */
static u32 put_data(struct virtq_desc *chain, const struct scsi_command *c)
{
    struct block_walk w;
    u64 at, len;
    u32 n = 0;

    if (!c->length)
        return 0;
    scsi_walk(&w, c);
    while (n < SEGMENTS && block_walk_next(&w, &at, &len))
        chain[n++] =
            (struct virtq_desc){.address = at, .len = (u32)len, .flags = c->in ? VIRTQ_WRITE : 0};
    return n;
}

static bool start_command(void *lun, struct scsi_command *c)
{
    struct unit *u = lun;
    struct adapter *a = u->adapter;

    if (!a->free_count || a->resetting || u->gone)
        return false;
    u32 i = a->free[--a->free_count], n = 1;
    struct slot *s = &a->slots[i];
    struct virtq_desc *chain = virtq_chain(&a->requests, i);
    a->commands[i] = c;
    a->owners[i] = u;
    s->request = (struct request){.id = i};
    put_lun(s->request.lun, u);
    memcpy(s->request.cdb, c->cdb, SCSI_CDB);
    s->response.response = RESPONSE_NONE;
    chain[0] = (struct virtq_desc){.address = dma_address(&s->request), .len = sizeof(s->request)};
    if (!c->in)
        n += put_data(chain + n, c);
    chain[n++] = (struct virtq_desc){
        .address = dma_address(&s->response), .len = sizeof(s->response), .flags = VIRTQ_WRITE};
    if (c->in)
        n += put_data(chain + n, c);
    virtq_add(&a->requests, i, n);
    virtq_kick(&a->requests);
    return true;
}

static void take_answer(struct scsi_command *c, const struct response *shared)
{
    const struct response r = *shared;

    c->delivered = r.response == RESPONSE_OK           ? HV_OK
                   : r.response == RESPONSE_BUSY       ? HV_EBUSY
                   : r.response == RESPONSE_BAD_TARGET ? HV_ENOENT
                                                       : HV_EIO;
    c->status = r.status;
    c->moved = c->length - MIN(r.left, c->length);
    c->sense_len = MIN(r.sense_len, (u32)SCSI_SENSE);
    memcpy(c->sense, r.sense, SCSI_SENSE);
}

static void stuck(struct adapter *a, const char *why)
{
    for (struct unit *u = a->units; u; u = u->next)
        if (u->registered)
            block_stuck(&u->disk.block, why);
}

/* Another's command has ended: those that found no room are offered again. */
static void tell_room(struct adapter *a)
{
    for (struct unit *u = a->units; u && a->free_count; u = u->next)
        if (u->registered && !u->gone)
            block_room(&u->disk.block);
}

/* True: something came. */
static bool take_one(struct adapter *a)
{
    u32 i, len;

    if (a->resetting || !virtq_pop(&a->requests, &i, &len))
        return false;
    if (i >= a->requests.slots || !a->commands[i] ||
        a->slots[i].response.response == RESPONSE_NONE) {
        stuck(a, "the adapter completes what it was not given");
        return false;
    }
    struct scsi_command *c = a->commands[i];
    bool was_full = !a->free_count;
    a->commands[i] = NULL;
    a->free[a->free_count++] = (u16)i;
    if (a->owners[i]) { /* else the command is there no more */
        take_answer(c, &a->slots[i].response);
        c->done(c);
    }
    if (was_full)
        tell_room(a);
    return true;
}

/* ---- events of the adapter --------------------------------------------------------------------
 */
static void offer_event_block(struct adapter *a, u32 i)
{
    virtq_chain(&a->events, i)[0] = (struct virtq_desc){.address = dma_address(&a->event_blocks[i]),
                                                        .len = sizeof(struct event_block),
                                                        .flags = VIRTQ_WRITE};
    virtq_add(&a->events, i, 1);
}

/* What it says is only a reason to look: events may be missed as well. */
static void take_events(struct adapter *a)
{
    u32 i, len;

    while (!a->resetting && virtq_pop(&a->events, &i, &len)) {
        if (i >= a->events.slots)
            return;
        offer_event_block(a, i);
        event_signal(&a->changed);
    }
    virtq_kick(&a->events);
}

static void serve(void *owner)
{
    struct adapter *a = owner;
    u32 budget = BUDGET;

    if (a->pci->irq_mode != PCI_IRQ_MSIX)
        (void)virtio_ack(&a->virtio);
    if (a->resetting)
        return;
    do
        while (budget && take_one(a))
            budget--;
    while (budget && !a->resetting && virtq_rearm(&a->requests));
    if (!budget)
        loop_timer_set(&a->more, clock_tsc());
    if (a->virtio.features & F_HOTPLUG) {
        take_events(a);
        if (!a->resetting && virtq_rearm(&a->events))
            take_events(a);
    }
}

static void poll(void *lun)
{
    struct unit *u = lun;

    serve(u->adapter);
    if (virtio_broken(&u->adapter->virtio))
        stuck(u->adapter, "the adapter asks for a reset");
}

/* ---- start and reset --------------------------------------------------------------------------
 */
static enum hv_status start_queue(struct adapter *a, struct virtq *q, enum queue index, u16 slots,
                                  u16 stride)
{
    return virtq_start(q, &a->virtio, (u16)index, slots, stride, 0);
}

/* From a device in any state to one that works; its queues are new. */
static enum hv_status start(struct adapter *a)
{
    enum hv_status status =
        virtio_start(&a->virtio, a->pci, F_HOTPLUG | VIRTIO_F_INDIRECT | VIRTIO_F_EVENT_IDX);

    if (status == HV_OK)
        status = start_queue(a, &a->control, CONTROL, 1, 2);
    if (status == HV_OK)
        status = start_queue(a, &a->events, EVENTS, EVENT_SLOTS, 1);
    if (status == HV_OK)
        status = start_queue(a, &a->requests, REQUESTS, SLOTS, SEGMENTS + 2);
    if (status != HV_OK)
        return status;
    a->free_count = 0;
    for (u32 i = a->requests.slots; i-- > 0;) {
        a->commands[i] = NULL;
        a->free[a->free_count++] = (u16)i;
    }
    for (u32 i = 0; i < a->events.slots; i++)
        offer_event_block(a, i);
    virtio_ready(&a->virtio);
    virtq_kick(&a->events);
    return virtq_rearm(&a->requests) ? HV_EIO : HV_OK;
}

/* The whole adapter, when a task management function does not help: what its other disks wait for
 * is forgotten, too, so they are reset after it. */
static enum hv_status reset_adapter(struct adapter *a, const struct unit *asked)
{
    enum hv_status status = virtio_reset(&a->virtio);

    if (status != HV_OK)
        return status;
    loop_timer_cancel(&a->more);
    virtq_free(&a->control);
    virtq_free(&a->events);
    virtq_free(&a->requests);
    status = start(a);
    a->resets++;
    for (struct unit *u = a->units; u && status == HV_OK; u = u->next)
        if (u != asked && u->registered)
            block_stuck(&u->disk.block, "its adapter was reset");
    return status;
}

static void forget(struct adapter *a, const struct unit *u)
{
    for (u32 i = 0; i < SLOTS; i++)
        if (a->owners[i] == u && a->commands[i])
            a->owners[i] = NULL; /* the slot stays taken until the device gives it back */
}

/* 5.6.6.2: all commands of the unit have come back when it is answered. */
static bool reset_unit(struct adapter *a, const struct unit *u)
{
    struct reset_request *r = a->reset_request;
    struct virtq_desc *chain = virtq_chain(&a->control, 0);
    u64 end = clock_after(RESET_NS);
    u32 i, len;

    *r = (struct reset_request){.subtype = RESET_LUN, .response = RESPONSE_NONE};
    put_lun(r->lun, u);
    chain[0] = (struct virtq_desc){.address = dma_address(r),
                                   .len = offsetof(struct reset_request, response)};
    chain[1] =
        (struct virtq_desc){.address = dma_address(&r->response), .len = 1, .flags = VIRTQ_WRITE};
    virtq_add(&a->control, 0, 2);
    virtq_kick(&a->control);
    while (!virtq_pop(&a->control, &i, &len)) {
        if (clock_tsc() > end)
            return false;
        fiber_sleep_until(clock_after(CLOCK_MS));
    }
    for (u32 n = 0; n < SLOTS && take_one(a); n++)
        ; /* to forgotten owners */
    return r->response == RESET_DONE || r->response == RESET_SUCCEEDED;
}

static enum hv_status reset(void *lun)
{
    struct unit *u = lun;
    struct adapter *a = u->adapter;
    u32 resets = a->resets;
    enum hv_status status = HV_OK;

    while (a->managing)
        fiber_sleep_until(clock_after(10 * CLOCK_MS));
    forget(a, u);
    if (u->gone || a->pci->gone)
        return HV_EIO;
    if (resets != a->resets) /* another one's reset has done it */
        return HV_OK;
    a->managing = true;
    if (virtio_broken(&a->virtio) || !reset_unit(a, u)) {
        a->resetting = true;
        status = reset_adapter(a, u);
        a->resetting = false;
    }
    a->managing = false;
    tell_room(a);
    return status;
}

static const struct scsi_transport transport = {
    .start = start_command, .poll = poll, .reset = reset, .modern = true};

/* ---- which disks there are --------------------------------------------------------------------
 */
static struct unit *find_unit(struct adapter *a, u32 target, u32 lun)
{
    for (struct unit *u = a->units; u; u = u->next)
        if (!u->gone && u->target == target && u->lun == lun)
            return u;
    return NULL;
}

static struct unit *new_unit(struct adapter *a, u32 target, u32 lun)
{
    struct unit *u = calloc(1, sizeof(*u));

    if (!u)
        return NULL;
    u->adapter = a;
    u->target = (u8)target;
    u->lun = (u8)lun;
    u->disk.transport = &transport;
    u->disk.lun = u;
    u->disk.depth = DEPTH;
    u->disk.prefix = "sd";
    u->disk.block.kind = "SCSI";
    u->disk.block.limits = (struct block_limits){.bytes = a->bytes, .segments = (u32)a->segments};
    return u;
}

static void try_unit(struct adapter *a, u32 target, u32 lun)
{
    struct unit *u = new_unit(a, target, lun);

    if (!u)
        return;
    if (scsi_attach(&u->disk) != HV_OK) {
        forget(a, u);
        free(u);
        return;
    }
    u->registered = true;
    u->next = a->units;
    a->units = u;
}

/* A bit in `luns` for each unit of that target.  False: it cannot be told now. */
static bool ask_luns(struct adapter *a, u32 target, u32 *luns)
{
    static const u8 cdb[12] = {SCSI_REPORT_LUNS, [8] = 16}; /* 4 KiB */
    struct unit *u = new_unit(a, target, 0);
    u8 *list = dma_alloc(PAGE_SIZE);

    *luns = 0;
    enum hv_status status = HV_ENOMEM;
    if (u && list)
        status = scsi_run(&u->disk, cdb, sizeof(cdb), list, PAGE_SIZE, true);
    if (status == HV_OK) {
        u32 len = (u32)list[2] << 8 | list[3];
        for (u32 at = 8; at + 8 <= MIN(len + 8, (u32)PAGE_SIZE); at += 8)
            if (list[at] % 0x40 == 0 && list[at + 1] < LUNS)
                *luns |= 1u << list[at + 1];
    } else if (status == HV_ENOSYS) { /* it is there, but too old to tell */
        *luns = 1;
    }
    if (status != HV_ETIMEDOUT)
        dma_free(list, PAGE_SIZE);
    free(u);
    return status == HV_OK || status == HV_ENOSYS || status == HV_ENOENT;
}

static void look(struct adapter *a)
{
    for (u32 target = 0; target < a->targets; target++) {
        u32 luns;
        bool known = ask_luns(a, target, &luns);
        for (u32 lun = 0; known && lun < LUNS; lun++) {
            struct unit *u = find_unit(a, target, lun);
            if ((luns >> lun & 1) && !u) {
                try_unit(a, target, lun);
            } else if (!(luns >> lun & 1) && u) {
                u->gone = true;
                forget(a, u);
                scsi_gone(&u->disk);
            }
        }
    }
}

static void look_after(void *owner)
{
    struct adapter *a = owner;

    for (;;) {
        fiber_wait(&a->changed, LOOP_NEVER);
        fiber_sleep_until(clock_after(100 * CLOCK_MS)); /* and no faster, whatever it says */
        event_clear(&a->changed);
        look(a);
    }
}

static enum hv_status bring_up(struct adapter *a)
{
    a->slots = dma_alloc(SLOTS * sizeof(struct slot));
    a->event_blocks = dma_alloc(EVENT_SLOTS * sizeof(struct event_block));
    a->reset_request = dma_alloc(sizeof(struct reset_request));
    if (!a->slots || !a->event_blocks || !a->reset_request)
        return HV_ENOMEM;
    pci_interrupts(a->pci, 1);
    enum hv_status status = start(a);
    if (status == HV_OK && a->virtio.device_len < CONFIG_LEN)
        status = HV_EIO;
    if (status != HV_OK)
        return status;
    const volatile u8 *config = a->virtio.device;
    if (mmio_read32(config + CDB_SIZE) != CDB_LEN || mmio_read32(config + SENSE_SIZE) != SENSE_LEN)
        return HV_ENOSYS;
    a->targets = MIN((u32)mmio_read16(config + MAX_TARGET) + 1, (u32)TARGETS);
    a->segments = MAX(MIN(mmio_read32(config + SEG_MAX), (u32)SEGMENTS), 1u);
    a->bytes = MAX(MIN((u64)mmio_read32(config + MAX_SECTORS) * 512, MIB), 4096ull);
    return HV_OK;
}

static enum hv_status probe(struct pci_device *pci)
{
    struct adapter *a = calloc(1, sizeof(*a));

    if (!a)
        return HV_ENOMEM;
    a->pci = pci;
    a->more.fn = serve;
    a->more.owner = a;
    pci->state = a;
    enum hv_status status = bring_up(a);
    if (status != HV_OK) {
        if (!a->virtio.common || virtio_reset(&a->virtio) == HV_OK) {
            dma_free(a->slots, SLOTS * sizeof(struct slot));
            dma_free(a->event_blocks, EVENT_SLOTS * sizeof(struct event_block));
            dma_free(a->reset_request, sizeof(struct reset_request));
        }
        free(a);
        return status;
    }
    pci_on_interrupt(pci, 0, serve, a);
    look(a);
    if (!fiber_spawn("virtio scsi", look_after, a))
        log_warn("%s: no memory to look after its disks", pci->name);
    return HV_OK;
}

static void gone(struct pci_device *pci)
{
    stuck(pci->state, "it was pulled out");
}

static const struct driver_id ids[] = {
    {VIRTIO_VENDOR, 0x1048, 0, 0, "virtio SCSI adapter"},
    {VIRTIO_VENDOR, 0x1004, 0, 0, "virtio SCSI adapter (transitional)"},
    {0},
};
static const struct driver virtio_scsi = {
    .name = "virtio_scsi", .ids = ids, .probe = probe, .gone = gone};
DRIVER(virtio_scsi);
