/* NVMe over PCIe: NVM Express Base Specification 2.0 ("base"), NVM Command Set 1.0 ("nvm").  The
 * first usable namespace of a controller is a disk.  Up to four pairs of queues with an interrupt
 * each take requests in turn, since controllers work on their queues in parallel.  Called by pci.c
 * and block.c, by its interrupts on the loop. */
#include "drivers/nvme.h"

#include <stdlib.h>
#include <string.h>

#include "control/rt/clock.h"
#include "control/rt/dma.h"
#include "control/rt/fiber.h"
#include "control/rt/log.h"
#include "control/rt/loop.h"
#include "control/rt/mmio.h"
#include "drivers/block.h"
#include "drivers/driver.h"
#include "drivers/pci.h"

enum nvme_register { /* PCIe transport 1.0, section 3.1 */
                     REG_CAP = 0x00,
                     REG_INTMC = 0x10,
                     REG_CC = 0x14,
                     REG_CSTS = 0x1c,
                     REG_AQA = 0x24,
                     REG_ASQ = 0x28,
                     REG_ACQ = 0x30,
                     REG_DOORBELLS = 0x1000,
};
#define CAP_ENTRIES BITS(15, 0)  /* less one */
#define CAP_TIMEOUT BITS(31, 24) /* in half seconds */
#define CAP_STRIDE BITS(35, 32)
#define CAP_PAGE_LEAST BITS(51, 48)
#define CC_ON 0x00460001u /* 16-byte completions, 64-byte commands, 4 KiB pages, enabled */
#define CSTS_READY 1u
#define CSTS_FATAL 2u

enum {
    ADMIN_CREATE_SQ = 1,
    ADMIN_GET_LOG = 2,
    ADMIN_CREATE_CQ = 5,
    ADMIN_IDENTIFY = 6,
    ADMIN_SET_FEATURES = 9
};
#define FEATURE_QUEUES 7u
enum { NVM_FLUSH = 0, NVM_WRITE = 1, NVM_READ = 2, NVM_ZEROES = 8, NVM_DATASET = 9 };
#define DATASET_DEALLOCATE 4u
#define ZEROES_DEALLOCATE BIT(25)
#define LOG_HEALTH 2u
#define CONTIGUOUS 1u
#define INTERRUPTS 2u

#define ADMIN_ENTRIES 16
#define PAIRS 4
#define ENTRIES 64          /* of each */
#define SLOTS (ENTRIES - 1) /* a full queue looks like an empty one */
#define PAGE PAGE_SIZE
#define BYTES_MOST MIB /* a list of pages is one page */
#define BUDGET 64
#define ADMIN_SECONDS 5

struct command { /* base 3.3.3.1 */
    u32 head, nsid;
    u64 reserved, metadata, prp1, prp2;
    u32 dword[6]; /* 10 to 15 */
};
struct completion { /* base 3.3.3.2.1 */
    u32 result, reserved;
    u16 sq_head, sq_id, id;
    volatile u16 status; /* bit 0: phase */
};

struct queue {
    struct command *commands;
    struct completion *completions;
    volatile u8 *tail_bell, *head_bell;
    u32 entries, tail, head;
    u16 phase;
};

struct controller;

struct pair { /* of an I/O submission and completion queue, and what is out on it */
    struct controller *controller;
    struct queue queue;
    u64 *lists; /* a page a slot: addresses of pages, or a range to deallocate */
    struct block_request *requests[SLOTS];
    u16 free[SLOTS], free_count;
    struct loop_timer more;
};

struct controller {
    struct block_device block;
    struct pci_device *pci;
    volatile u8 *registers;
    u64 cap;
    u32 nsid;
    struct queue admin;
    struct pair pairs[PAIRS];
    u32 pair_count, turn; /* those in use; the one that is asked first */
    u8 *scratch;          /* a page for admin commands */
    bool admin_busy;
};

/* ---- queues -----------------------------------------------------------------------------------
 */
static bool make_queue(struct queue *q, u32 entries)
{
    q->entries = entries;
    q->commands = dma_alloc(MAX(entries * sizeof(struct command), PAGE));
    q->completions = dma_alloc(MAX(entries * sizeof(struct completion), PAGE));
    return q->commands && q->completions;
}

/* As the controller sees it after it was enabled or the queue was created. */
static void empty_queue(struct controller *c, struct queue *q, u32 id)
{
    u32 stride = 4u << FIELD_GET(CAP_STRIDE, c->cap);

    q->tail_bell = c->registers + REG_DOORBELLS + (2 * id) * stride;
    q->head_bell = c->registers + REG_DOORBELLS + (2 * id + 1) * stride;
    q->tail = q->head = 0;
    q->phase = 1;
    memset(q->completions, 0, q->entries * sizeof(struct completion));
}

static void put_command(struct queue *q, const struct command *command)
{
    q->commands[q->tail] = *command;
    q->tail = (q->tail + 1) % q->entries;
    mmio_barrier();
    mmio_write32(q->tail_bell, q->tail);
}

static bool take_completion(struct queue *q, struct completion *out)
{
    const struct completion *c = &q->completions[q->head];

    if ((c->status & 1) != q->phase)
        return false;
    __atomic_thread_fence(__ATOMIC_ACQUIRE);
    *out = *c;
    if (++q->head == q->entries) {
        q->head = 0;
        q->phase ^= 1;
    }
    return true;
}

/* One admin command, waiting; scratch is its memory, *result its first dword.  In a fiber. */
static enum hv_status admin_result(struct controller *c, u32 opcode, u32 nsid, u64 memory, u32 d10,
                                   u32 d11, u32 *result)
{
    u64 end = clock_after(ADMIN_SECONDS * CLOCK_SECOND);
    struct command command = {.head = opcode, .nsid = nsid, .prp1 = memory, .dword = {d10, d11}};
    struct completion done;

    put_command(&c->admin, &command);
    while (!take_completion(&c->admin, &done)) {
        if (clock_tsc() > end)
            return HV_ETIMEDOUT;
        fiber_sleep_until(clock_after(100 * CLOCK_US));
    }
    mmio_write32(c->admin.head_bell, c->admin.head);
    *result = done.result;
    return done.status >> 1 ? HV_EIO : HV_OK;
}

static enum hv_status admin(struct controller *c, u32 opcode, u32 nsid, u64 memory, u32 d10,
                            u32 d11)
{
    u32 result;

    return admin_result(c, opcode, nsid, memory, d10, d11, &result);
}

/* ---- requests ---------------------------------------------------------------------------------
 */
static u64 *list_of(struct pair *p, u32 slot)
{
    return p->lists + slot * (PAGE / sizeof(u64));
}

/* base 4.1.1: the first page, then the second, or a list of the others. */
static void point_to_data(struct pair *p, struct command *command, struct block_request *r)
{
    u64 *list = list_of(p, r->slot), at, len;
    struct block_walk w;
    u32 n = 0;

    block_walk_start(&w, r);
    while (block_walk_next(&w, &at, &len)) {
        if (n == 0)
            command->prp1 = at;
        else
            list[n - 1] = at;
        n++;
    }
    command->prp2 = n < 2 ? 0 : n == 2 ? list[0] : dma_address(list);
}

static void send(struct pair *p, struct block_request *r)
{
    const struct controller *c = p->controller;
    static const u8 opcodes[] = {[BLOCK_READ] = NVM_READ,
                                 [BLOCK_WRITE] = NVM_WRITE,
                                 [BLOCK_FLUSH] = NVM_FLUSH,
                                 [BLOCK_DISCARD] = NVM_DATASET,
                                 [BLOCK_ZERO] = NVM_ZEROES};
    u64 first = r->offset / c->block.sector_size, count = r->length / c->block.sector_size;
    struct command command = {.head = opcodes[r->op] | r->slot << 16, .nsid = c->nsid};

    if (r->op == BLOCK_DISCARD) { /* one range: nvm 3.2.3 */
        u64 *range = list_of(p, r->slot);
        range[0] = count << 32;
        range[1] = first;
        command.prp1 = dma_address(range);
        command.dword[1] = DATASET_DEALLOCATE;
    } else if (r->op != BLOCK_FLUSH) {
        command.dword[0] = (u32)first;
        command.dword[1] = (u32)(first >> 32);
        command.dword[2] = (u32)(count - 1);
        if (r->op == BLOCK_ZERO)
            command.dword[2] |= (u32)ZEROES_DEALLOCATE;
        else
            point_to_data(p, &command, r);
    }
    put_command(&p->queue, &command);
}

static bool submit(struct block_device *b, struct block_request *r)
{
    struct controller *c = b->driver;
    struct pair *p = &c->pairs[c->turn];

    for (u32 i = 0; i < c->pair_count && !p->free_count; i++)
        p = &c->pairs[(c->turn + i) % c->pair_count];
    if (!p->free_count)
        return false;
    c->turn = (u32)(p - c->pairs + 1) % c->pair_count;
    r->slot = p->free[--p->free_count];
    p->requests[r->slot] = r;
    send(p, r);
    return true;
}

/* True: something came. */
static bool take_one(struct pair *p)
{
    struct controller *c = p->controller;
    struct completion done;

    if (c->block.resetting || c->block.gone || !take_completion(&p->queue, &done))
        return false;
    if (done.id >= SLOTS || !p->requests[done.id]) {
        block_stuck(&c->block, "the controller completes what it was not given");
        return false;
    }
    struct block_request *r = p->requests[done.id];
    p->requests[done.id] = NULL;
    p->free[p->free_count++] = done.id;
    block_done(r, done.status >> 1 ? HV_EIO : HV_OK);
    return true;
}

static void serve(void *owner)
{
    struct pair *p = owner;
    u32 budget = BUDGET;

    while (budget && take_one(p))
        budget--;
    if (budget < BUDGET && !p->controller->block.resetting)
        mmio_write32(p->queue.head_bell, p->queue.head);
    if (!budget)
        loop_timer_set(&p->more, clock_tsc());
}

/* One message for all queues. */
static void serve_all(void *owner)
{
    struct controller *c = owner;

    for (u32 i = 0; i < c->pair_count; i++)
        serve(&c->pairs[i]);
}

static void poll(struct block_device *b)
{
    struct controller *c = b->driver;
    u32 status = mmio_read32(c->registers + REG_CSTS);

    serve_all(c);
    if (status == ~0u || (status & CSTS_FATAL))
        block_stuck(b, "the controller has failed");
}

/* ---- start and reset ---------------------------------------------------------------------------
 */
static u64 ready_ns(const struct controller *c)
{
    return (FIELD_GET(CAP_TIMEOUT, c->cap) + 1) * CLOCK_SECOND / 2;
}

static enum hv_status stop(struct controller *c)
{
    mmio_write32(c->registers + REG_CC, 0);
    return pci_wait_register(c->registers + REG_CSTS, CSTS_READY, 0, ready_ns(c));
}

/* base 5.27.1.5: how many it grants; each number is less one. */
static enum hv_status ask_for_pairs(struct controller *c)
{
    u32 want = c->pair_count - 1, got;
    enum hv_status status =
        admin_result(c, ADMIN_SET_FEATURES, 0, 0, FEATURE_QUEUES, want << 16 | want, &got);

    if (status == HV_EIO) {
        c->pair_count = 1; /* one is always there */
        return HV_OK;
    }
    if (status == HV_OK)
        c->pair_count = MIN(c->pair_count, MIN(got & 0xffff, got >> 16) + 1);
    return status;
}

static enum hv_status create_pair(struct controller *c, u32 n)
{
    const struct queue *q = &c->pairs[n].queue;
    u32 id = n + 1, size = (ENTRIES - 1) << 16 | id;
    u32 vector = c->pci->irq_mode == PCI_IRQ_MSIX ? n % c->pci->vectors : 0;
    enum hv_status status = admin(c, ADMIN_CREATE_CQ, 0, dma_address(q->completions), size,
                                  vector << 16 | INTERRUPTS | CONTIGUOUS);

    if (status == HV_OK)
        status =
            admin(c, ADMIN_CREATE_SQ, 0, dma_address(q->commands), size, id << 16 | CONTIGUOUS);
    return status;
}

static void empty_pair(struct controller *c, u32 n)
{
    struct pair *p = &c->pairs[n];

    empty_queue(c, &p->queue, n + 1);
    p->free_count = 0;
    for (u16 i = 0; i < SLOTS; i++) {
        p->requests[i] = NULL;
        p->free[p->free_count++] = i;
    }
}

/* From any state to one with empty queues. */
static enum hv_status start(struct controller *c)
{
    enum hv_status status = stop(c);

    if (status != HV_OK)
        return status;
    empty_queue(c, &c->admin, 0);
    mmio_write32(c->registers + REG_AQA, (ADMIN_ENTRIES - 1) << 16 | (ADMIN_ENTRIES - 1));
    mmio_write64(c->registers + REG_ASQ, dma_address(c->admin.commands));
    mmio_write64(c->registers + REG_ACQ, dma_address(c->admin.completions));
    mmio_write32(c->registers + REG_CC, CC_ON);
    status = pci_wait_register(c->registers + REG_CSTS, CSTS_READY | CSTS_FATAL, CSTS_READY,
                               ready_ns(c));
    if (status != HV_OK)
        return status;
    if (c->pci->irq_mode != PCI_IRQ_MSIX)
        mmio_write32(c->registers + REG_INTMC, ~0u);
    status = ask_for_pairs(c);
    c->turn = 0;
    for (u32 i = 0; i < c->pair_count && status == HV_OK; i++) {
        empty_pair(c, i);
        status = create_pair(c, i);
    }
    return status;
}

static enum hv_status reset(struct block_device *b)
{
    struct controller *c = b->driver;

    for (u32 i = 0; i < PAIRS; i++)
        loop_timer_cancel(&c->pairs[i].more);
    return c->pci->gone ? HV_EIO : start(c);
}

static u64 field(const u8 *from, u32 at, u32 size)
{
    u64 value = 0;

    memcpy(&value, from + at, size);
    return value;
}

/* base 5.16.1.2, figure 207. */
static enum hv_status health(struct block_device *b, struct block_health *h)
{
    struct controller *c = b->driver;

    if (c->admin_busy || b->resetting)
        return HV_EBUSY;
    c->admin_busy = true;
    enum hv_status status =
        admin(c, ADMIN_GET_LOG, ~0u, dma_address(c->scratch), LOG_HEALTH | 127 << 16, 0);
    if (status == HV_OK) {
        h->known = true;
        h->failing = c->scratch[0] != 0;
        h->temperature_c = (int)field(c->scratch, 1, 2) - 273;
        h->spare_percent = c->scratch[3];
        h->used_percent = c->scratch[5];
        h->power_on_hours = (i64)field(c->scratch, 128, 8);
        h->media_errors = (i64)field(c->scratch, 160, 8);
    }
    c->admin_busy = false;
    return status;
}

static const struct block_ops ops = {
    .submit = submit, .poll = poll, .reset = reset, .health = health};

/* base 5.17.2.1, figure 275. */
static enum hv_status identify_controller(struct controller *c)
{
    struct block_device *b = &c->block;
    const u8 *id = c->scratch;
    enum hv_status status = admin(c, ADMIN_IDENTIFY, 0, dma_address(id), 1, 0);

    if (status != HV_OK)
        return status;
    block_text(b->serial, sizeof(b->serial), id + 4, 20, false);
    block_text(b->model, sizeof(b->model), id + 24, 40, false);
    block_text(b->firmware, sizeof(b->firmware), id + 64, 8, false);
    b->limits = (struct block_limits){.bytes = BYTES_MOST,
                                      .segments = BYTES_MOST / PAGE + 1,
                                      .queue_depth = SLOTS * c->pair_count,
                                      .boundary = PAGE,
                                      .page = PAGE,
                                      .align = 4};
    if (id[77] && id[77] < 8)
        b->limits.bytes = PAGE << id[77];
    b->can_discard = id[520] & 4;
    b->can_zero = id[520] & 8;
    b->can_flush = id[525] & 1;
    return HV_OK;
}

/* nvm 4.1.5.2: of the NVM command set alone (CNS 06h; older controllers know of no such thing).
 * Sectors that are to be zeroes are not moved, so there is no other limit but their own, WZSL. */
static u64 most_zeroes(struct controller *c)
{
    const u8 *id = c->scratch;
    bool known = admin(c, ADMIN_IDENTIFY, 0, dma_address(id), 6, 0) == HV_OK;

    return known && id[1] && id[1] < 32 ? (u64)PAGE << id[1] : ~0ull;
}

/* nvm 4.1.5.1.  HV_ENOENT: this one cannot be used. */
static enum hv_status identify_namespace(struct controller *c, u32 nsid)
{
    struct block_device *b = &c->block;
    const u8 *id = c->scratch;
    enum hv_status status = admin(c, ADMIN_IDENTIFY, nsid, dma_address(id), 0, 0);

    if (status != HV_OK)
        return status;
    u32 format = (u32)field(id, 128 + 4 * (id[26] & 15), 4), shift = format >> 16 & 0xff;
    u64 sectors = field(id, 0, 8);
    if (!sectors || (format & 0xffff) || shift < 9 || shift > 16 || sectors > 1ull << (62 - shift))
        return HV_ENOENT;
    b->sector_size = b->physical_sector_size = 1u << shift;
    b->size = sectors << shift;
    b->limits.range[0] = (u64)0xffffffff << shift; /* 32 bits of sectors */
    u64 zeroes = most_zeroes(c);
    b->limits.range[1] = MIN((u64)0x10000 << shift, MAX(zeroes, 1ull << shift)); /* 16 */
    c->nsid = nsid;
    return HV_OK;
}

static enum hv_status find_namespace(struct controller *c)
{
    u32 list[16] = {1}; /* where the list is not known */

    if (admin(c, ADMIN_IDENTIFY, 0, dma_address(c->scratch), 2, 0) == HV_OK)
        memcpy(list, c->scratch, sizeof(list));
    for (u32 i = 0; i < ARRAY_LEN(list) && list[i]; i++)
        if (identify_namespace(c, list[i]) == HV_OK)
            return HV_OK;
    return HV_ENOENT;
}

static enum hv_status bring_up(struct controller *c)
{
    struct pci_device *pci = c->pci;
    enum hv_status status = pci_map(pci, 0, REG_DOORBELLS + 16);

    if (status != HV_OK || !pci->bars[0].registers)
        return HV_ENOENT;
    pci_enable(pci);
    c->registers = pci->bars[0].registers;
    c->cap = mmio_read64(c->registers + REG_CAP);
    u64 bells = (pci->bars[0].len - REG_DOORBELLS) / (8ull << FIELD_GET(CAP_STRIDE, c->cap));
    if (FIELD_GET(CAP_PAGE_LEAST, c->cap) != 0 || FIELD_GET(CAP_ENTRIES, c->cap) + 1 < ENTRIES ||
        bells < 2)
        return HV_ENOSYS;
    c->pair_count = (u32)MIN(bells - 1, (u64)PAIRS);
    pci_interrupts(pci, c->pair_count);
    status = start(c);
    if (status == HV_OK)
        status = identify_controller(c);
    if (status == HV_OK)
        status = find_namespace(c);
    return status;
}

static void free_queue(struct queue *q)
{
    dma_free(q->commands, MAX(q->entries * sizeof(struct command), PAGE));
    dma_free(q->completions, MAX(q->entries * sizeof(struct completion), PAGE));
}

static void give_back(struct controller *c)
{
    if (c->registers && stop(c) != HV_OK)
        return; /* it may still write there */
    dma_free(c->scratch, PAGE);
    free_queue(&c->admin);
    for (u32 i = 0; i < PAIRS; i++) {
        dma_free(c->pairs[i].lists, SLOTS * PAGE);
        free_queue(&c->pairs[i].queue);
    }
    free(c);
}

static bool allocate(struct controller *c)
{
    c->scratch = dma_alloc(PAGE);
    if (!c->scratch || !make_queue(&c->admin, ADMIN_ENTRIES))
        return false;
    for (u32 i = 0; i < PAIRS; i++) {
        struct pair *p = &c->pairs[i];
        p->controller = c;
        p->more = (struct loop_timer){.fn = serve, .owner = p};
        p->lists = dma_alloc(SLOTS * PAGE);
        if (!p->lists || !make_queue(&p->queue, ENTRIES))
            return false;
    }
    return true;
}

static enum hv_status probe(struct pci_device *pci)
{
    struct controller *c = calloc(1, sizeof(*c));

    if (!c)
        return HV_ENOMEM;
    c->pci = pci;
    enum hv_status status = allocate(c) ? bring_up(c) : HV_ENOMEM;
    if (status != HV_OK) {
        give_back(c);
        return status;
    }
    c->block.kind = "NVMe";
    c->block.ops = &ops;
    c->block.driver = c;
    pci->state = c;
    for (u32 i = 0; i < pci->vectors; i++) {
        if (pci->vectors < c->pair_count)
            pci_on_interrupt(pci, i, serve_all, c);
        else
            pci_on_interrupt(pci, i, i < c->pair_count ? serve : NULL, &c->pairs[i]);
    }
    block_register(&c->block, "nvme");
    log_info("%s: %u pairs of queues", c->block.name, c->pair_count);
    return HV_OK;
}

static void gone(struct pci_device *pci)
{
    struct controller *c = pci->state;

    block_stuck(&c->block, "it was pulled out");
}

static const struct driver_id ids[] = {
    {DRIVER_ANY, DRIVER_ANY, 0x010802, 0xffffff, "NVMe controller"},
    {0},
};
static const struct driver nvme = {.name = "nvme", .ids = ids, .probe = probe, .gone = gone};
DRIVER(nvme);
