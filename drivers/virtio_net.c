/* virtio network cards: virtio 1.2 section 5.1; several pairs of queues, mergeable buffers,
 * checksum and TSO on sending. Called by pci.c and nic.c, by its interrupt on the loop.  One file:
 * receiving, sending, orders and a reset all change the same queues of the same card. */
#include "drivers/virtio_net.h"

#include <stdlib.h>
#include <string.h>

#include "control/rt/clock.h"
#include "control/rt/dma.h"
#include "control/rt/fiber.h"
#include "control/rt/log.h"
#include "control/rt/loop.h"
#include "control/rt/mmio.h"
#include "drivers/driver.h"
#include "drivers/nic.h"
#include "drivers/nic_flow.h"
#include "drivers/virtio.h"

#define F_CSUM BIT(0)
#define F_GUEST_CSUM BIT(1)
#define F_MTU BIT(3)
#define F_MAC BIT(5)
#define F_HOST_TSO4 BIT(11)
#define F_HOST_TSO6 BIT(12)
#define F_HOST_ECN BIT(13)
#define F_MERGEABLE BIT(15)
#define F_STATUS BIT(16)
#define F_CTRL_VQ BIT(17)
#define F_CTRL_RX BIT(18)
#define F_MQ BIT(22)
#define WANTED                                                                                     \
    (F_CSUM | F_GUEST_CSUM | F_MTU | F_MAC | F_HOST_TSO4 | F_HOST_TSO6 | F_HOST_ECN |              \
     F_MERGEABLE | F_STATUS | F_CTRL_VQ | F_CTRL_RX | F_MQ | VIRTIO_F_INDIRECT |                   \
     VIRTIO_F_EVENT_IDX)

enum config {
    CONFIG_MAC = 0,
    CONFIG_STATUS = 6,
    CONFIG_PAIRS = 8,
    CONFIG_MTU = 10,
    CONFIG_LEAST = 8
};
#define LINK_UP 1u

struct header { /* 5.1.6 */
    u8 flags, gso_type;
    u16 header_len, gso_size, csum_start, csum_offset, buffers;
};
#define HEADER_NEEDS_CSUM 1u
#define HEADER_CSUM_GOOD 2u
#define HEADER_ECN 0x80u
enum { GSO_NONE = 0, GSO_TCP4 = 1, GSO_TCP6 = 4 };

struct order { /* 5.1.6.5: a command of the control queue */
    u8 class, command;
    u16 value;
    u8 ack, gap;
};
enum { CLASS_RX = 0, CLASS_PAIRS = 4 };
enum order_slot { ORDER_PROMISCUOUS, ORDER_MULTICAST, ORDER_PAIRS, ORDERS };

#define PAIRS NIC_PAIRS /* at most */
#define SLOTS 256
#define BUFFER 2048
#define BUDGET 64
#define LINK_EVERY CLOCK_SECOND /* for devices whose interrupts tell nothing of it */
#define ORDER_NS CLOCK_SECOND
#define HANGS_AFTER (10 * CLOCK_SECOND)

struct pair;

struct buffer {
    struct nic_frame frame;
    struct pair *pair;
    u8 *memory;
    u16 slot;
    bool posted; /* the card's, or to be given to it after its reset */
};

struct pair { /* a queue to receive and one to send */
    struct card *card;
    u32 number;
    struct nic_pair_stats *stats;
    struct virtq rx, tx;
    struct buffer buffers[SLOTS];
    struct nic_frame *sending[SLOTS];
    u16 free[SLOTS], free_count;
    u64 moved;              /* TSC when the first of what is sent was queued, or one came back */
    struct header *headers; /* of what is sent, one a slot; DMA memory */
    struct loop_timer more;
};

struct card {
    struct nic nic;
    struct pci_device *pci;
    struct virtio virtio;
    struct pair *pairs;
    u32 count;   /* of pairs; of them: */
    u32 active;  /* the card uses as many */
    u32 stride;  /* a vector serves every so many-th: as many have one of their own */
    u32 changed; /* vector of changes of the configuration; 0: shared with the first pair */
    struct virtq ctrl;
    struct order *orders; /* DMA memory, ORDERS */
    u32 ordering;         /* that are out */
    bool reorder;         /* the filter has changed since */
    struct nic_filter filter;
    struct loop_timer link;
    bool resetting;
};

/* ---- receiving --------------------------------------------------------------------------------
 */
static void post(struct buffer *b)
{
    struct virtq *q = &b->pair->rx;

    *virtq_chain(q, b->slot) =
        (struct virtq_desc){.address = dma_address(b->memory), .len = BUFFER, .flags = VIRTQ_WRITE};
    b->posted = true;
    virtq_add(q, b->slot, 1);
}

static void release(struct nic_frame *f)
{
    struct buffer *b = f->owner;

    if (b->pair->card->resetting) {
        b->posted = true;
        return;
    }
    post(b);
    virtq_kick(&b->pair->rx);
}

/* What is being sent is lost: the card is gone, or was reset. */
static void give_back(struct pair *p)
{
    for (u32 i = 0; i < p->tx.slots; i++) {
        struct nic_frame *f = p->sending[i];
        p->sending[i] = NULL;
        if (!f)
            continue;
        p->card->nic.stats.tx_errors++;
        nic_release(f);
    }
}

static void silence(void *arg)
{
    struct card *c = arg;

    if (virtio_reset(&c->virtio) != HV_OK)
        pci_silence(c->pci); /* it may still read what it was given */
    for (u32 n = 0; n < c->count; n++)
        give_back(&c->pairs[n]);
}

/* What it says of its queues cannot be: it is not used any more, and those above get their frames
 * back once it has let go of them. */
static void leave_alone(struct card *c, const char *why)
{
    log_error("%s: %s; it is left alone", c->nic.name, why);
    c->nic.gone = true;
    if (!c->resetting && !fiber_spawn("silence", silence, c)) /* a reset gives them back, too */
        log_warn("%s: no memory to reset it", c->nic.name);
}

/* A buffer that came; NULL: none, or the card is broken. */
static struct buffer *take_buffer(struct pair *p, u32 *len)
{
    struct card *c = p->card;
    u32 slot;

    if (c->nic.gone || !virtq_pop(&p->rx, &slot, len))
        return NULL;
    if (slot >= p->rx.slots || !p->buffers[slot].posted || *len > BUFFER) {
        leave_alone(c, "says it filled a buffer that it has not");
        return NULL;
    }
    p->buffers[slot].posted = false;
    return &p->buffers[slot];
}

/* The pieces after the first, which carry no header. */
static bool take_rest(struct pair *p, struct nic_frame *first, u32 count)
{
    struct nic_frame **end = &first->more;
    u32 len;

    while (count-- > 0) {
        struct buffer *b = take_buffer(p, &len);
        if (!b)
            return false;
        b->frame =
            (struct nic_frame){.data = b->memory, .len = len, .release = release, .owner = b};
        *end = &b->frame;
        end = &b->frame.more;
    }
    return true;
}

/* One frame; NULL: none is left.  *bad: it was not usable and is posted again. */
static struct nic_frame *take_frame(struct pair *p, bool *bad)
{
    u32 len;
    struct buffer *b = take_buffer(p, &len);

    if (!b)
        return NULL;
    const struct header h = *(const struct header *)b->memory;
    b->frame = (struct nic_frame){
        .data = b->memory + sizeof(h), .len = len - (u32)sizeof(h), .release = release, .owner = b};
    b->frame.flags = h.flags & (HEADER_CSUM_GOOD | HEADER_NEEDS_CSUM) ? NIC_CSUM_GOOD : 0;
    bool merged = p->card->virtio.features & F_MERGEABLE;
    *bad = len < sizeof(h) + NIC_FRAME_LEAST || (merged && (h.buffers == 0 || h.buffers > 32));
    if (!*bad && merged && h.buffers > 1)
        *bad = !take_rest(p, &b->frame, h.buffers - 1u);
    return &b->frame;
}

static u32 receive(struct pair *p, u32 budget)
{
    struct card *c = p->card;
    struct nic_frame *batch[NIC_BATCH], *f;
    u32 n = 0, seen = 0;
    bool bad;

    while (seen < budget && (f = take_frame(p, &bad))) {
        seen++;
        if (!bad) {
            batch[n++] = f;
            continue;
        }
        c->nic.stats.rx_errors++;
        nic_release(f);
    }
    p->stats->rx_frames += n;
    if (n)
        nic_received(&c->nic, batch, n);
    return seen;
}

/* ---- sending ----------------------------------------------------------------------------------
 */
static void fill_header(struct header *h, const struct nic_frame *f)
{
    *h = (struct header){.gso_type = GSO_NONE};
    if (f->flags & NIC_CSUM_NEEDED) {
        h->flags = HEADER_NEEDS_CSUM;
        h->csum_start = f->csum_start;
        h->csum_offset = f->csum_offset;
    }
    if (f->flags & (NIC_GSO_TCP4 | NIC_GSO_TCP6)) {
        h->gso_type = (u8)((f->flags & NIC_GSO_TCP4 ? GSO_TCP4 : GSO_TCP6) |
                           (f->flags & NIC_GSO_ECN ? HEADER_ECN : 0));
        h->gso_size = f->gso_size;
        h->header_len = f->header_len;
    }
}

static void send_one(struct pair *p, struct nic_frame *f)
{
    u32 slot = p->free[--p->free_count], n = 1;
    struct virtq_desc *chain = virtq_chain(&p->tx, slot);

    fill_header(&p->headers[slot], f);
    chain[0] = (struct virtq_desc){.address = dma_address(&p->headers[slot]),
                                   .len = sizeof(struct header)};
    for (const struct nic_frame *at = f; at; at = at->more)
        if (at->len)
            chain[n++] = (struct virtq_desc){.address = dma_address(at->data), .len = at->len};
    if (p->free_count + 1u == p->tx.slots)
        p->moved = clock_tsc();
    p->sending[slot] = f;
    virtq_add(&p->tx, slot, n);
    p->stats->tx_frames++;
    p->card->nic.stats.tx_frames++;
    p->card->nic.stats.tx_bytes += nic_frame_len(f);
}

/* Frames that the card has read.  Returns how many. */
static u32 reclaim(struct pair *p, u32 budget)
{
    struct card *c = p->card;
    u32 n = 0, slot, len;

    while (n < budget && !c->nic.gone && virtq_pop(&p->tx, &slot, &len)) {
        if (slot >= p->tx.slots || !p->sending[slot]) {
            leave_alone(c, "says it sent what it was not given");
            break;
        }
        struct nic_frame *f = p->sending[slot];
        p->sending[slot] = NULL;
        p->free[p->free_count++] = (u16)slot;
        nic_release(f);
        n++;
    }
    if (n)
        p->moved = clock_tsc();
    return n;
}

static u32 send(struct nic *n, struct nic_frame *const *frames, u32 count)
{
    struct card *c = n->driver;
    u32 sent = 0, used = 0;

    for (; sent < count && !c->resetting; sent++) {
        struct pair *p = &c->pairs[c->active > 1 ? nic_flow(frames[sent]) % c->active : 0];
        if (!p->free_count && !reclaim(p, SLOTS))
            break;
        send_one(p, frames[sent]);
        used |= 1u << p->number;
    }
    for (; used; used &= used - 1)
        virtq_kick(&c->pairs[__builtin_ctz(used)].tx);
    return sent;
}

/* ---- filter and link ---------------------------------------------------------------------------
 */
static void order(struct card *c, enum order_slot slot, u8 class, u8 command, u16 value)
{
    struct virtq_desc *chain = virtq_chain(&c->ctrl, slot);
    u64 at = dma_address(&c->orders[slot]);

    c->orders[slot] =
        (struct order){.class = class, .command = command, .value = value, .ack = 0xff};
    chain[0] = (struct virtq_desc){.address = at, .len = 2};
    chain[1] = (struct virtq_desc){.address = at + 2, .len = class == CLASS_PAIRS ? 2 : 1};
    chain[2] = (struct virtq_desc){.address = at + 4, .len = 1, .flags = VIRTQ_WRITE};
    c->ordering++;
    virtq_add(&c->ctrl, slot, 3);
}

static void send_filter(struct card *c)
{
    c->reorder = false;
    order(c, ORDER_PROMISCUOUS, CLASS_RX, 0, c->filter.promiscuous);
    order(c, ORDER_MULTICAST, CLASS_RX, 1, c->filter.all_multicast || c->filter.multicast_count);
    virtq_kick(&c->ctrl);
}

static void set_filter(struct nic *n, const struct nic_filter *f)
{
    struct card *c = n->driver;

    c->filter = *f;
    if (!(c->virtio.features & F_CTRL_RX))
        return; /* it passes everything on */
    if (c->ordering || c->resetting)
        c->reorder = true;
    else
        send_filter(c);
}

static void end_orders(struct card *c)
{
    u32 slot, len;

    while (c->ordering && !c->resetting && virtq_pop(&c->ctrl, &slot, &len)) {
        c->ordering--;
        if (slot == ORDER_PAIRS && !((const volatile struct order *)c->orders)[slot].ack)
            c->active = c->count;
    }
    if (!c->ordering && c->reorder && !c->resetting)
        send_filter(c);
}

static void look_at_link(void *owner)
{
    struct card *c = owner;
    bool up = true;

    if (c->virtio.features & F_STATUS)
        up = mmio_read16(c->virtio.device + CONFIG_STATUS) & LINK_UP;
    nic_link(&c->nic, up && !c->nic.gone, 0, true);
    end_orders(c);
}

/* True: there is more than its share. */
static bool serve_pair(struct pair *p)
{
    u32 budget = BUDGET, done;

    do {
        done = receive(p, budget) + reclaim(p, BUDGET);
        budget -= MIN(done, budget);
        bool again = virtq_rearm(&p->rx);
        again |= virtq_rearm(&p->tx);
        done = again;
    } while (budget && done && !p->card->nic.gone);
    if (p->free_count)
        nic_room(&p->card->nic);
    return !budget;
}

/* The interrupt of the pair that owns its vector. */
static void serve(void *owner)
{
    struct pair *first = owner;
    struct card *c = first->card;
    bool more = false;

    if (c->pci->irq_mode != PCI_IRQ_MSIX && virtio_ack(&c->virtio) & VIRTIO_ACK_CONFIG)
        look_at_link(c);
    c->nic.stats.interrupts++;
    first->stats->interrupts++;
    for (u32 n = first->number; n < c->count && !c->resetting; n += c->stride)
        more |= serve_pair(&c->pairs[n]);
    if (more)
        loop_timer_set(&first->more, clock_tsc());
}

/* ---- start ------------------------------------------------------------------------------------
 */
/* How many pairs there are to be: 5.1.5, and 5.1.2 for where the control queue is then. */
static u32 pairs_of(const struct card *c, u16 *ctrl)
{
    u32 most = 1;

    if ((c->virtio.features & F_MQ) && c->virtio.device_len >= CONFIG_PAIRS + 2)
        most = MIN(MAX(mmio_read16(c->virtio.device + CONFIG_PAIRS), (u16)1), (u16)0x7fff);
    *ctrl = (u16)(2 * most);
    return c->virtio.features & F_CTRL_VQ ? MIN(most, (u32)PAIRS) : 1;
}

/* Vectors: one a pair and one for changes, or what there is. */
static void take_vectors(struct card *c)
{
    u32 vectors = pci_interrupts(c->pci, c->count + 1);

    c->changed = vectors > 1 ? vectors - 1 : 0;
    c->stride = MAX(c->changed, 1u);
    virtio_config_vector(&c->virtio, c->changed);
}

static enum hv_status open_pair(struct pair *p)
{
    struct virtio *v = &p->card->virtio;
    u32 vector = p->number % p->card->stride;
    enum hv_status status = virtq_start(&p->rx, v, (u16)(2 * p->number), SLOTS, 1, vector);

    if (status == HV_OK)
        status = virtq_start(&p->tx, v, (u16)(2 * p->number + 1), SLOTS, NIC_PIECES + 1, vector);
    p->free_count = 0;
    for (u16 i = 0; status == HV_OK && i < p->tx.slots; i++)
        p->free[p->free_count++] = i;
    return status;
}

static enum hv_status start_pair(struct card *c, u32 n)
{
    struct pair *p = &c->pairs[n];

    p->card = c;
    p->number = n;
    p->stats = &c->nic.pair[n];
    p->more = (struct loop_timer){.fn = serve, .owner = p};
    p->headers = dma_alloc(SLOTS * sizeof(struct header));
    enum hv_status status = p->headers ? open_pair(p) : HV_ENOMEM;
    for (u16 i = 0; status == HV_OK && i < p->rx.slots; i++) {
        struct buffer *b = &p->buffers[i];
        b->pair = p;
        b->slot = i;
        b->memory = dma_alloc(BUFFER);
        if (!b->memory)
            return HV_ENOMEM;
        post(b);
    }
    return status;
}

/* The queue of orders, where there is a use for it; `at`: its number. */
static enum hv_status open_ctrl(struct card *c, u16 at)
{
    enum hv_status status = virtq_start(&c->ctrl, &c->virtio, at, ORDERS, 3, 0);

    return status == HV_OK && c->ctrl.slots < ORDERS ? HV_EIO : status;
}

static enum hv_status start_queues(struct card *c)
{
    enum hv_status status = HV_OK;
    u16 at;

    c->count = pairs_of(c, &at);
    c->active = 1;
    c->pairs = calloc(c->count, sizeof(*c->pairs));
    c->orders = dma_alloc(ORDERS * sizeof(struct order));
    if (!c->pairs || !c->orders)
        return HV_ENOMEM;
    take_vectors(c);
    for (u32 n = 0; n < c->count && status == HV_OK; n++)
        status = start_pair(c, n);
    bool ctrl =
        (c->virtio.features & F_CTRL_VQ) && ((c->virtio.features & F_CTRL_RX) || c->count > 1);
    if (status == HV_OK && ctrl)
        status = open_ctrl(c, at);
    if (!ctrl)
        c->virtio.features &= ~F_CTRL_RX;
    return status;
}

/* In a fiber, while the first pair works already: 5.1.6.5.5. */
static void use_all_pairs(struct card *c)
{
    u64 end = clock_after(ORDER_NS);

    if (c->count == 1)
        return;
    while (c->ordering && clock_tsc() < end) {
        fiber_sleep_until(clock_after(CLOCK_MS));
        end_orders(c);
    }
    order(c, ORDER_PAIRS, CLASS_PAIRS, 0, (u16)c->count);
    virtq_kick(&c->ctrl);
    while (c->ordering && clock_tsc() < end) {
        fiber_sleep_until(clock_after(CLOCK_MS));
        end_orders(c);
    }
    c->nic.pairs = c->active;
    log_info("%s: %u pairs of queues", c->nic.name, c->active);
}

/* ---- reset -------------------------------------------------------------------------------------
 */
/* What was to be filled is the next queue's. */
static void close_pair(struct pair *p)
{
    give_back(p);
    virtq_free(&p->rx);
    virtq_free(&p->tx);
}

/* The same features and queues as before; in a fiber. */
static enum hv_status start_again(struct card *c)
{
    u64 features = c->virtio.features;
    bool ctrl = c->ctrl.v;
    enum hv_status status = virtio_reset(&c->virtio);

    if (status != HV_OK)
        return status; /* it may still write to what it was given */
    for (u32 n = 0; n < c->count; n++)
        close_pair(&c->pairs[n]);
    if (ctrl)
        virtq_free(&c->ctrl);
    c->ordering = 0;
    c->active = c->nic.pairs = 1;
    status = virtio_start(&c->virtio, c->pci, features);
    if (status == HV_OK && features != c->virtio.features)
        status = HV_EIO;
    for (u32 n = 0; n < c->count && status == HV_OK; n++) {
        u16 slots = c->pairs[n].rx.slots;
        status = open_pair(&c->pairs[n]);
        if (status == HV_OK && slots != c->pairs[n].rx.slots)
            status = HV_EIO;
    }
    if (status == HV_OK && ctrl)
        status = open_ctrl(c, c->ctrl.index);
    if (status == HV_OK) /* a card that was pulled out meanwhile has no registers */
        virtio_config_vector(&c->virtio, c->changed);
    return c->pci->gone ? HV_EIO : status;
}

static void reset(void *arg)
{
    struct card *c = arg;
    enum hv_status status = start_again(c);

    c->nic.stats.resets++;
    if (status != HV_OK) {
        log_error("%s: does not come back from a reset", c->nic.name);
        c->nic.gone = true;
        pci_silence(c->pci);
        for (u32 n = 0; n < c->count; n++)
            give_back(&c->pairs[n]);
        nic_link(&c->nic, false, 0, true);
        return;
    }
    c->resetting = false;
    virtio_ready(&c->virtio);
    for (u32 n = 0; n < c->count; n++) {
        struct pair *p = &c->pairs[n];
        for (u32 i = 0; i < p->rx.slots; i++)
            if (p->buffers[i].posted)
                post(&p->buffers[i]);
        virtq_kick(&p->rx);
    }
    if (c->virtio.features & F_CTRL_RX)
        send_filter(c);
    for (u32 n = 0; n < c->stride; n++)
        serve(&c->pairs[n]);
    use_all_pairs(c);
    nic_room(&c->nic);
}

static enum hv_status begin_reset(struct nic *n)
{
    struct card *c = n->driver;

    if (c->resetting || n->gone)
        return HV_EBUSY;
    c->resetting = true;
    if (fiber_spawn("reset", reset, c))
        return HV_OK;
    c->resetting = false;
    return HV_ENOMEM;
}

/* Takes what an interrupt that was lost has told of; resets a card that hangs, or that forgot. */
static void watch(void *owner)
{
    struct card *c = owner;
    const char *why = NULL;

    loop_timer_set(&c->link, clock_after(LINK_EVERY));
    look_at_link(c);
    if (c->resetting || c->nic.gone)
        return;
    for (u32 n = 0; n < c->count; n++) {
        struct pair *p = &c->pairs[n];
        if (serve_pair(p))
            loop_timer_set(&c->pairs[n % c->stride].more, clock_tsc());
        /* Also without link: those above wait for their frames. */
        if (p->free_count < p->tx.slots && clock_tsc() - p->moved > clock_ticks(HANGS_AFTER))
            why = "sends nothing any more";
    }
    if (virtio_broken(&c->virtio))
        why = "asks for it";
    else if (virtio_forgot(&c->virtio))
        why = "was reset by somebody else";
    if (!why || c->nic.gone)
        return;
    log_warn("%s: %s; it is reset", c->nic.name, why);
    (void)begin_reset(&c->nic);
}

static const struct nic_ops ops = {.send = send, .set_filter = set_filter, .reset = begin_reset};

static void describe(struct card *c)
{
    struct nic *n = &c->nic;
    u64 f = c->virtio.features;

    n->kind = "virtio";
    n->ops = &ops;
    n->driver = c;
    for (u32 i = 0; i < NIC_MAC_LEN; i++)
        n->mac[i] = mmio_read8(c->virtio.device + CONFIG_MAC + i);
    u32 mtu = f & F_MTU && c->virtio.device_len >= CONFIG_MTU + 2
                  ? mmio_read16(c->virtio.device + CONFIG_MTU)
                  : 1500;
    n->mtu = n->mtu_most = MIN(MAX(mtu, 68u), 9216u);
    n->capabilities = (f & F_CSUM ? NIC_CAN_CSUM : 0) | (f & F_GUEST_CSUM ? NIC_CAN_RX_CSUM : 0) |
                      (f & F_HOST_TSO4 && f & F_CSUM ? NIC_CAN_TSO4 : 0) |
                      (f & F_HOST_TSO6 && f & F_CSUM ? NIC_CAN_TSO6 : 0);
}

static enum hv_status bring_up(struct card *c)
{
    enum hv_status status = virtio_start(&c->virtio, c->pci, WANTED);

    if (status == HV_OK && (c->virtio.device_len < CONFIG_LEAST || !(c->virtio.features & F_MAC)))
        status = HV_ENOSYS;
    return status == HV_OK ? start_queues(c) : status;
}

static enum hv_status probe(struct pci_device *pci)
{
    struct card *c = calloc(1, sizeof(*c));

    if (!c)
        return HV_ENOMEM;
    c->pci = pci;
    c->link = (struct loop_timer){.fn = watch, .owner = c};
    enum hv_status status = bring_up(c);
    if (status != HV_OK)
        return status; /* what it may still write to stays its own: it is not used for anything else
                        */
    pci->state = c;
    describe(c);
    nic_register(&c->nic);
    for (u32 n = 0; n < MIN(c->stride, c->count); n++)
        pci_on_interrupt(pci, n, serve, &c->pairs[n]);
    if (c->changed)
        pci_on_interrupt(pci, c->changed, look_at_link, c);
    virtio_ready(&c->virtio);
    for (u32 n = 0; n < c->count; n++)
        virtq_kick(&c->pairs[n].rx);
    watch(c);
    for (u32 n = 0; n < c->stride; n++)
        serve(&c->pairs[n]);
    use_all_pairs(c);
    return HV_OK;
}

static void gone(struct pci_device *pci)
{
    struct card *c = pci->state;

    c->nic.gone = true;
    for (u32 n = 0; n < c->count; n++)
        give_back(&c->pairs[n]);
    look_at_link(c);
}

static const struct driver_id ids[] = {
    {VIRTIO_VENDOR, 0x1041, 0, 0, "virtio network card"},
    {VIRTIO_VENDOR, 0x1000, 0, 0, "virtio network card (transitional)"},
    {0},
};
static const struct driver virtio_net = {
    .name = "virtio_net", .ids = ids, .probe = probe, .gone = gone};
DRIVER(virtio_net);
