/* virtio network cards: virtio 1.2 section 5.1; mergeable buffers, checksum and TSO on sending.
 * Called by pci.c and nic.c, by its interrupt on the loop. */
#include "drivers/virtio_net.h"

#include <stdlib.h>
#include <string.h>

#include "control/rt/clock.h"
#include "control/rt/dma.h"
#include "control/rt/log.h"
#include "control/rt/loop.h"
#include "control/rt/mmio.h"
#include "drivers/driver.h"
#include "drivers/nic.h"
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
#define WANTED                                                                                     \
    (F_CSUM | F_GUEST_CSUM | F_MTU | F_MAC | F_HOST_TSO4 | F_HOST_TSO6 | F_HOST_ECN |              \
     F_MERGEABLE | F_STATUS | F_CTRL_VQ | F_CTRL_RX | VIRTIO_F_INDIRECT | VIRTIO_F_EVENT_IDX)

enum config { CONFIG_MAC = 0, CONFIG_STATUS = 6, CONFIG_MTU = 10, CONFIG_LEAST = 8 };
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
    u8 class, command, on, ack;
};

enum { RX = 0, TX = 1, CTRL = 2 };
#define SLOTS 256
#define CTRL_SLOTS 2
#define BUFFER 2048
#define BUDGET 64
enum { QUEUES, CONFIG_CHANGED, VECTORS }; /* of MSI-X */
#define LINK_EVERY CLOCK_SECOND           /* for devices whose interrupts tell nothing of it */

struct card;

struct buffer {
    struct nic_frame frame;
    struct card *card;
    u8 *memory;
    u16 slot;
    bool posted;
};

struct card {
    struct nic nic;
    struct pci_device *pci;
    struct virtio virtio;
    struct virtq rx, tx, ctrl;
    struct buffer buffers[SLOTS];
    struct nic_frame *sending[SLOTS];
    u16 free[SLOTS], free_count;
    struct header *headers; /* of what is sent, one a slot; DMA memory */
    struct order *orders;   /* likewise, CTRL_SLOTS */
    bool ordering, reorder; /* orders are out; the filter has changed since */
    struct nic_filter filter;
    struct loop_timer more, link;
};

/* ---- receiving --------------------------------------------------------------------------------
 */
static void post(struct buffer *b)
{
    struct virtq *q = &b->card->rx;

    *virtq_chain(q, b->slot) =
        (struct virtq_desc){.address = dma_address(b->memory), .len = BUFFER, .flags = VIRTQ_WRITE};
    b->posted = true;
    virtq_add(q, b->slot, 1);
}

static void release(struct nic_frame *f)
{
    struct buffer *b = f->owner;

    post(b);
    virtq_kick(&b->card->rx);
}

/* A buffer that came; NULL: none, or the card is broken. */
static struct buffer *take_buffer(struct card *c, u32 *len)
{
    u32 slot;

    if (c->nic.gone || !virtq_pop(&c->rx, &slot, len))
        return NULL;
    if (slot >= c->rx.slots || !c->buffers[slot].posted || *len > BUFFER) {
        log_error("%s: says it filled a buffer that it has not; it is left alone", c->nic.name);
        c->nic.gone = true;
        return NULL;
    }
    c->buffers[slot].posted = false;
    return &c->buffers[slot];
}

/* The pieces after the first, which carry no header. */
static bool take_rest(struct card *c, struct nic_frame *first, u32 count)
{
    struct nic_frame **end = &first->more;
    u32 len;

    while (count-- > 0) {
        struct buffer *b = take_buffer(c, &len);
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
static struct nic_frame *take_frame(struct card *c, bool *bad)
{
    u32 len;
    struct buffer *b = take_buffer(c, &len);

    if (!b)
        return NULL;
    const struct header h = *(const struct header *)b->memory;
    b->frame = (struct nic_frame){
        .data = b->memory + sizeof(h), .len = len - (u32)sizeof(h), .release = release, .owner = b};
    b->frame.flags = h.flags & (HEADER_CSUM_GOOD | HEADER_NEEDS_CSUM) ? NIC_CSUM_GOOD : 0;
    bool merged = c->virtio.features & F_MERGEABLE;
    *bad = len < sizeof(h) + NIC_FRAME_LEAST || (merged && (h.buffers == 0 || h.buffers > 32));
    if (!*bad && merged && h.buffers > 1)
        *bad = !take_rest(c, &b->frame, h.buffers - 1u);
    return &b->frame;
}

static u32 receive(struct card *c, u32 budget)
{
    struct nic_frame *batch[NIC_BATCH], *f;
    u32 n = 0, seen = 0;
    bool bad;

    while (seen < budget && (f = take_frame(c, &bad))) {
        seen++;
        if (!bad) {
            batch[n++] = f;
            continue;
        }
        c->nic.stats.rx_errors++;
        nic_release(f);
    }
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

static void send_one(struct card *c, struct nic_frame *f)
{
    u32 slot = c->free[--c->free_count], n = 1;
    struct virtq_desc *chain = virtq_chain(&c->tx, slot);

    fill_header(&c->headers[slot], f);
    chain[0] = (struct virtq_desc){.address = dma_address(&c->headers[slot]),
                                   .len = sizeof(struct header)};
    for (const struct nic_frame *p = f; p; p = p->more)
        if (p->len)
            chain[n++] = (struct virtq_desc){.address = dma_address(p->data), .len = p->len};
    c->sending[slot] = f;
    virtq_add(&c->tx, slot, n);
    c->nic.stats.tx_frames++;
    c->nic.stats.tx_bytes += nic_frame_len(f);
}

/* Frames that the card has read.  Returns how many. */
static u32 reclaim(struct card *c, u32 budget)
{
    u32 n = 0, slot, len;

    while (n < budget && !c->nic.gone && virtq_pop(&c->tx, &slot, &len)) {
        if (slot >= c->tx.slots || !c->sending[slot]) {
            log_error("%s: says it sent what it was not given; it is left alone", c->nic.name);
            c->nic.gone = true;
            break;
        }
        struct nic_frame *f = c->sending[slot];
        c->sending[slot] = NULL;
        c->free[c->free_count++] = (u16)slot;
        nic_release(f);
        n++;
    }
    return n;
}

static u32 send(struct nic *n, struct nic_frame *const *frames, u32 count)
{
    struct card *c = n->driver;
    u32 sent = 0;

    if (c->free_count < count)
        reclaim(c, SLOTS);
    while (sent < count && c->free_count)
        send_one(c, frames[sent++]);
    if (sent)
        virtq_kick(&c->tx);
    return sent;
}

/* ---- filter and link ---------------------------------------------------------------------------
 */
static void order(struct card *c, u32 slot, u8 command, bool on)
{
    struct virtq_desc *chain = virtq_chain(&c->ctrl, slot);
    u64 at = dma_address(&c->orders[slot]);

    c->orders[slot] = (struct order){.class = 0, .command = command, .on = on, .ack = 0xff};
    chain[0] = (struct virtq_desc){.address = at, .len = 2};
    chain[1] = (struct virtq_desc){.address = at + 2, .len = 1};
    chain[2] = (struct virtq_desc){.address = at + 3, .len = 1, .flags = VIRTQ_WRITE};
    virtq_add(&c->ctrl, slot, 3);
}

static void send_filter(struct card *c)
{
    c->reorder = false;
    c->ordering = true;
    order(c, 0, 0, c->filter.promiscuous);
    order(c, 1, 1, c->filter.all_multicast || c->filter.multicast_count);
    virtq_kick(&c->ctrl);
}

static void set_filter(struct nic *n, const struct nic_filter *f)
{
    struct card *c = n->driver;

    c->filter = *f;
    if (!(c->virtio.features & F_CTRL_RX))
        return; /* it passes everything on */
    if (c->ordering)
        c->reorder = true;
    else
        send_filter(c);
}

static void end_orders(struct card *c)
{
    u32 slot, len;

    while (virtq_pop(&c->ctrl, &slot, &len))
        c->ordering = slot != CTRL_SLOTS - 1; /* they are done in order */
    if (!c->ordering && c->reorder)
        send_filter(c);
}

static void look_at_link(void *owner)
{
    struct card *c = owner;
    bool up = true;

    if (c->virtio.features & F_STATUS)
        up = mmio_read16(c->virtio.device + CONFIG_STATUS) & LINK_UP;
    nic_link(&c->nic, up && !c->nic.gone, 0, true);
    if (c->virtio.features & F_CTRL_RX)
        end_orders(c);
    loop_timer_set(&c->link, clock_after(LINK_EVERY));
}

static void serve(void *owner)
{
    struct card *c = owner;
    u32 budget = BUDGET, done;

    if (c->pci->irq_mode != PCI_IRQ_MSIX && virtio_ack(&c->virtio) & VIRTIO_ACK_CONFIG)
        look_at_link(c);
    c->nic.stats.interrupts++;
    do {
        done = receive(c, budget) + reclaim(c, BUDGET);
        budget -= MIN(done, budget);
        bool again = virtq_rearm(&c->rx);
        again |= virtq_rearm(&c->tx);
        done = again;
    } while (budget && done && !c->nic.gone);
    if (c->free_count)
        nic_room(&c->nic);
    if (!budget)
        loop_timer_set(&c->more, clock_tsc());
}

static const struct nic_ops ops = {.send = send, .set_filter = set_filter};

/* ---- start ------------------------------------------------------------------------------------
 */
static enum hv_status start_queues(struct card *c)
{
    bool ctrl = (c->virtio.features & F_CTRL_VQ) && (c->virtio.features & F_CTRL_RX);
    enum hv_status status = virtq_start(&c->rx, &c->virtio, RX, SLOTS, 1, 0);

    if (status == HV_OK)
        status = virtq_start(&c->tx, &c->virtio, TX, SLOTS, NIC_PIECES + 1, 0);
    if (status == HV_OK && ctrl)
        status = virtq_start(&c->ctrl, &c->virtio, CTRL, CTRL_SLOTS, 3, 0);
    if (status == HV_OK && ctrl && c->ctrl.slots < CTRL_SLOTS)
        status = HV_EIO;
    if (!ctrl)
        c->virtio.features &= ~F_CTRL_RX;
    return status;
}

static enum hv_status fill_buffers(struct card *c)
{
    for (u16 i = 0; i < c->rx.slots; i++) {
        struct buffer *b = &c->buffers[i];
        b->card = c;
        b->slot = i;
        b->memory = dma_alloc(BUFFER);
        if (!b->memory)
            return HV_ENOMEM;
        post(b);
    }
    for (u16 i = 0; i < c->tx.slots; i++)
        c->free[c->free_count++] = i;
    return HV_OK;
}

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
    if (status == HV_OK)
        virtio_config_vector(&c->virtio, CONFIG_CHANGED);
    if (status == HV_OK)
        status = start_queues(c);
    if (status == HV_OK)
        status = fill_buffers(c);
    return status;
}

static enum hv_status probe(struct pci_device *pci)
{
    struct card *c = calloc(1, sizeof(*c));

    if (!c)
        return HV_ENOMEM;
    c->pci = pci;
    c->headers = dma_alloc(SLOTS * sizeof(struct header));
    c->orders = dma_alloc(CTRL_SLOTS * sizeof(struct order));
    c->more = (struct loop_timer){.fn = serve, .owner = c};
    c->link = (struct loop_timer){.fn = look_at_link, .owner = c};
    pci_interrupts(pci, VECTORS);
    enum hv_status status = c->headers && c->orders ? bring_up(c) : HV_ENOMEM;
    if (status != HV_OK)
        return status; /* what it may still write to stays its own: it is not used for anything else
                        */
    pci->state = c;
    describe(c);
    nic_register(&c->nic);
    pci_on_interrupt(pci, QUEUES, serve, c);
    if (pci->irq_mode == PCI_IRQ_MSIX && pci->vectors > CONFIG_CHANGED)
        pci_on_interrupt(pci, CONFIG_CHANGED, look_at_link, c);
    virtio_ready(&c->virtio);
    virtq_kick(&c->rx);
    look_at_link(c);
    serve(c);
    return HV_OK;
}

static void gone(struct pci_device *pci)
{
    struct card *c = pci->state;

    c->nic.gone = true;
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
