/* Intel gigabit cards: 8254x and 82574 ("SDM" and descriptors: e1000_card.h), 82576 and its
 * successors.  Receiving, link, filter and the reset that empties both rings.  Called by pci.c and
 * nic.c, by its interrupt on the loop. */
#include "drivers/e1000.h"

#include <stdlib.h>
#include <string.h>

#include "control/rt/clock.h"
#include "control/rt/dma.h"
#include "control/rt/fiber.h"
#include "control/rt/log.h"
#include "drivers/driver.h"
#include "drivers/e1000_card.h"
#include "drivers/e1000_interrupt.h"
#include "drivers/e1000_send.h"

#define CTRL_ASDE 0x20u
#define CTRL_LINK_UP 0x40u
#define CTRL_CLEAR 0x80000088u /* PHY reset, invert loss of signal, link reset */
#define CTRL_RESET 0x04000000u
#define STATUS_DUPLEX 1u
#define STATUS_LINK 2u
#define RCTL_ON 0x02u
#define RCTL_ALL_UNICAST 0x08u
#define RCTL_ALL_MULTICAST 0x10u
#define RCTL_BROADCAST 0x8000u
#define RCTL_NO_CRC 0x04000000u
#define TCTL_ON 0x0004010au     /* enabled, short frames padded, collisions as in 13.4.33 */
#define TIPG_COPPER 0x00602008u /* 13.4.34 */
#define TXDCTL_COUNT BIT(22)    /* 82574: must be set */
#define RXCSUM_IP_TCP 0x300u
#define RAH_VALID 0x80000000u
#define EERD_START 0x01u /* 8254x; the word's number in bits 15:8, its value in 31:16 */
#define EERD_DONE 0x10u

/* 82576 datasheet 8.10.9, 8.12.15: of RXDCTL and TXDCTL; 8.10.2: advanced descriptors of one
 * buffer, in KiB; 8.8.15: both directions of queue 0 have vector 0; 8.2.4: the PHY's registers. */
#define QUEUE_ON BIT(25)
#define SRRCTL_ADVANCED (BIT(25) | BUFFER / 1024)
#define IVAR_QUEUE_0 0x8080u
#define MDIC_READY BIT(28)
#define MDIC_WRITE BIT(26)
#define MDIC_PHY (1u << 21)
#define PHY_START 0x1200u /* IEEE 802.3, 22.2.4.1: negotiate, from the beginning */
#define PHY_NS (10 * CLOCK_MS)

#define BUDGET 64
#define RESET_NS (10 * CLOCK_MS)
#define HANGS_AFTER (3 * CLOCK_SECOND)
#define STUCK_LOOKS 3u /* in a row */

/* SDM 3.2.3: length, checksum, status and errors, from bit 0 on; 82576 datasheet 7.1.5.2: status
 * and errors, length. */
#define OLD_STATUS(bit) BIT(32 + (bit))
#define OLD_ERROR(bit) BIT(40 + (bit))
static const struct e1000_family old = {
    .capabilities = NIC_CAN_RX_CSUM | NIC_CAN_CSUM | NIC_CAN_TSO4,
    .rx_done = OLD_STATUS(0),
    .rx_checked = OLD_STATUS(1) | 0x97ull
                                      << 40, /* CRC, symbol, sequence, carrier extension, data */
    .rx_whole = OLD_STATUS(1),
    .rx_sum_looked = OLD_STATUS(2) | OLD_STATUS(5) | OLD_ERROR(5) | OLD_ERROR(6),
    .rx_sum_good = OLD_STATUS(5),
    .rx_len_at = 0,
    .can_put = e1000_send_old_can,
    .put = e1000_send_old,
};
static const struct e1000_family advanced = {
    .queues = true,
    .capabilities = NIC_CAN_RX_CSUM | NIC_CAN_CSUM | NIC_CAN_TSO4 | NIC_CAN_TSO6,
    .plain = (u32)E1000_SEND_ADVANCED,
    .rx_done = BIT(0),
    .rx_checked = BIT(1) | BIT(31),
    .rx_whole = BIT(1),
    .rx_sum_looked = BIT(5) | BIT(29) | BIT(30),
    .rx_sum_good = BIT(5),
    .rx_len_at = 32,
    .can_put = e1000_send_advanced_can,
    .put = e1000_send_advanced,
};

/* ---- receiving ----------------------------------------------------------------------------------
 */
static void release(struct nic_frame *f)
{
    struct e1000_buffer *b = f->owner;

    b->next = b->card->spare;
    b->card->spare = b;
}

static void arm_rx(struct e1000 *c, u32 i, struct e1000_buffer *b)
{
    c->in_ring[i] = b;
    c->rx[i] = (struct e1000_rx){.address = dma_address(b->bytes)};
}

/* The frame of descriptor i, which is replaced; NULL: it is dropped, its buffer serves again. */
static struct nic_frame *take_frame(struct e1000 *c, u32 i, u64 back)
{
    const struct e1000_family *family = c->family;
    struct e1000_buffer *b = c->in_ring[i], *fresh = c->spare;
    u32 len = (u16)(back >> family->rx_len_at);
    bool rest = c->rx_rest; /* of a frame that began in the buffer before */

    c->rx_rest = !(back & family->rx_whole);
    if (rest || (back & family->rx_checked) != family->rx_whole ||
        len - NIC_FRAME_LEAST > BUFFER - NIC_FRAME_LEAST) {
        c->nic.stats.rx_errors++;
        arm_rx(c, i, b);
        return NULL;
    }
    if (!fresh) {
        c->nic.stats.rx_dropped++;
        arm_rx(c, i, b);
        return NULL;
    }
    c->spare = fresh->next;
    arm_rx(c, i, fresh);
    b->frame.data = b->bytes;
    b->frame.len = len;
    b->frame.flags = (back & family->rx_sum_looked) == family->rx_sum_good ? NIC_CSUM_GOOD : 0;
    return &b->frame;
}

static u32 receive(struct e1000 *c)
{
    struct nic_frame *batch[NIC_BATCH];
    u64 back, done = c->family->rx_done;
    u32 seen = 0, n = 0;

    for (; seen < BUDGET && ((back = c->rx[c->rx_next].back) & done); seen++) {
        struct nic_frame *f = take_frame(c, c->rx_next, back);
        c->rx_tail = c->rx_next; /* the card may use all before this one */
        c->rx_next = (c->rx_next + 1) % RING;
        if (f)
            batch[n++] = f;
    }
    if (seen) {
        mmio_barrier();
        e1000_put(c, REG_RDT, c->rx_tail);
    }
    if (n)
        nic_received(&c->nic, batch, n);
    return seen;
}

/* ---- link, filter, reset ------------------------------------------------------------------------
 */
static void look_at_link(struct e1000 *c)
{
    static const u32 mbps[] = {10, 100, 1000, 1000};
    u32 status = e1000_get(c, REG_STATUS);
    bool up = status != ~0u && (status & STATUS_LINK);

    nic_link(&c->nic, up, up ? mbps[status >> 6 & 3] : 0, status & STATUS_DUPLEX);
}

static void apply_filter(struct e1000 *c)
{
    const struct nic_filter *f = &c->filter;

    e1000_put(
        c, REG_RCTL,
        RCTL_ON | RCTL_BROADCAST | RCTL_NO_CRC | (f->promiscuous ? RCTL_ALL_UNICAST : 0) |
            (f->promiscuous || f->all_multicast || f->multicast_count ? RCTL_ALL_MULTICAST : 0));
}

static void set_filter(struct nic *n, const struct nic_filter *f)
{
    struct e1000 *c = n->driver;

    c->filter = *f;
    apply_filter(c);
}

/* What is being sent is lost: the card is gone, or was reset. */
static void give_back(struct e1000 *c)
{
    for (u32 i = 0; i < RING; i++) {
        struct nic_frame *f = c->sending[i];

        c->sending[i] = NULL;
        nic_release(f);
    }
    c->tx_oldest = c->tx_next;
}

static void empty_rings(struct e1000 *c)
{
    give_back(c);
    for (u32 i = 0; i < RING; i++)
        arm_rx(c, i, c->in_ring[i]);
    memset(c->tx, 0, RING * sizeof(*c->tx));
    c->rx_next = c->tx_next = c->tx_oldest = 0;
    c->rx_rest = false;
}

/* The PHY of the 82576 and later may wait to be told to look for a partner. */
static enum hv_status wake_phy(struct e1000 *c)
{
    if (e1000_get(c, REG_STATUS) & STATUS_LINK)
        return HV_OK;
    e1000_put(c, REG_MDIC, (u32)MDIC_WRITE | MDIC_PHY | PHY_START); /* its register 0 */
    return pci_wait_register(c->registers + REG_MDIC, (u32)MDIC_READY, (u32)MDIC_READY, PHY_NS);
}

/* 82576 datasheet 4.5.9 and 4.5.10: a queue's tail is moved once the queue is on. */
static enum hv_status start_queues(struct e1000 *c)
{
    enum hv_status status;

    e1000_put(c, REG_IVAR, IVAR_QUEUE_0);
    e1000_put(c, REG_TXDCTL, e1000_get(c, REG_TXDCTL) | (u32)QUEUE_ON);
    e1000_put(c, REG_RXDCTL, e1000_get(c, REG_RXDCTL) | (u32)QUEUE_ON);
    status = pci_wait_register(c->registers + REG_RXDCTL, (u32)QUEUE_ON, (u32)QUEUE_ON, PHY_NS);
    return status == HV_OK ? wake_phy(c) : status;
}

/* SDM 14.3 to 14.5.  In a fiber. */
static enum hv_status start(struct e1000 *c)
{
    e1000_put(c, REG_IMC, ~0u);
    e1000_put(c, REG_RCTL, 0);
    e1000_put(c, REG_TCTL, 0);
    e1000_put(c, REG_CTRL, e1000_get(c, REG_CTRL) | CTRL_RESET);
    fiber_sleep_until(clock_after(RESET_NS));
    enum hv_status status = pci_wait_register(c->registers + REG_CTRL, CTRL_RESET, 0, CLOCK_SECOND);
    if (status != HV_OK)
        return status;
    e1000_put(c, REG_IMC, ~0u);
    (void)e1000_get(c, REG_ICR);
    empty_rings(c);
    e1000_put(c, REG_CTRL, (e1000_get(c, REG_CTRL) & ~CTRL_CLEAR) | CTRL_LINK_UP | CTRL_ASDE);
    for (u32 i = 0; i < 128; i++)
        e1000_put(c, REG_MTA + 4 * i, 0);
    mmio_write64(c->registers + REG_RDBA, dma_address(c->rx));
    e1000_put(c, REG_RDLEN, RING * sizeof(*c->rx));
    e1000_put(c, REG_RDH, 0);
    e1000_put(c, REG_RXCSUM, RXCSUM_IP_TCP);
    mmio_write64(c->registers + REG_TDBA, dma_address(c->tx));
    e1000_put(c, REG_TDLEN, RING * sizeof(*c->tx));
    e1000_put(c, REG_TDH, 0);
    e1000_put(c, REG_TDT, 0);
    if (c->family->queues) {
        e1000_put(c, REG_SRRCTL, (u32)SRRCTL_ADVANCED);
    } else {
        e1000_put(c, REG_TXDCTL, e1000_get(c, REG_TXDCTL) | (u32)TXDCTL_COUNT);
        e1000_put(c, REG_TIPG, TIPG_COPPER);
    }
    e1000_put(c, REG_TCTL, TCTL_ON);
    apply_filter(c);
    if (c->family->queues && (status = start_queues(c)) != HV_OK)
        return status;
    e1000_put(c, REG_RDT, RING - 1);
    e1000_interrupts_start(c);
    return HV_OK;
}

/* Reading clears the causes; the 82574 wants them written, too. */
static void serve(void *owner)
{
    struct e1000 *c = owner;
    u32 cause = e1000_get(c, REG_ICR);
    bool msix = e1000_uses_msix(c);

    if (c->resetting || cause == ~0u)
        return;
    e1000_put(c, REG_ICR, cause);
    c->nic.stats.interrupts += cause && !msix;
    if (cause & E1000_INT_LINK)
        look_at_link(c);
    bool more = receive(c) == BUDGET;
    e1000_send_reclaim(c);
    if (e1000_send_room(c) >= TX_NEEDS)
        nic_room(&c->nic);
    if (more)
        loop_timer_set(&c->more, clock_tsc());
    else if (msix)
        e1000_interrupts_unmask(c);
}

/* Of MSI-X: the card may have cleared the causes. */
static void on_message(void *owner)
{
    struct e1000 *c = owner;

    c->nic.stats.interrupts++;
    serve(c);
}

static void reset(void *arg)
{
    struct e1000 *c = arg;

    c->nic.stats.resets++;
    if (start(c) != HV_OK) {
        log_error("%s: does not come back from a reset", c->nic.name);
        c->nic.gone = true;
        pci_silence(c->pci);
        give_back(c);
        nic_link(&c->nic, false, 0, false);
        return;
    }
    c->resetting = false;
    nic_room(&c->nic);
}

static enum hv_status begin_reset(struct nic *n)
{
    struct e1000 *c = n->driver;

    if (c->resetting)
        return HV_EBUSY;
    c->resetting = fiber_spawn("reset", reset, c) != NULL;
    return c->resetting ? HV_OK : HV_ENOMEM;
}

/* Frames came since the last look, and not one of them into a descriptor, though some were free;
 * and so it was at the looks before.  MPC counts frames that were missed, and is cleared when read.
 */
static bool receives_nothing(struct e1000 *c)
{
    u32 missed = e1000_get(c, REG_MPC), head = e1000_get(c, REG_RDH);
    bool stuck = missed && missed != ~0u && head == c->rx_head && head != e1000_get(c, REG_RDT);

    c->rx_head = head;
    c->rx_stuck = stuck ? c->rx_stuck + 1 : 0;
    return c->rx_stuck >= STUCK_LOOKS;
}

/* Once a second.  A card without link is looked at, too: those above wait for their frames. */
static void watch(void *owner)
{
    struct e1000 *c = owner;
    bool sends = true;

    loop_timer_set(&c->watch, clock_after(CLOCK_SECOND));
    if (c->resetting || c->nic.gone)
        return;
    serve(c);
    look_at_link(c);
    if (c->tx_oldest != c->tx_next && clock_tsc() - c->last_sent > clock_ticks(HANGS_AFTER)) {
        c->nic.stats.tx_errors++;
        sends = false;
    }
    bool receives = !receives_nothing(c);
    if (sends && receives)
        return;
    c->nic.stats.rx_errors += !receives;
    log_warn("%s: %s nothing any more; it is reset", c->nic.name, sends ? "receives" : "sends");
    c->rx_stuck = 0;
    (void)begin_reset(&c->nic);
}

static const struct nic_ops ops = {
    .send = e1000_send, .set_filter = set_filter, .reset = begin_reset};

static bool allocate(struct e1000 *c)
{
    c->rx = dma_alloc(RING * sizeof(*c->rx));
    c->tx = dma_alloc(RING * sizeof(*c->tx));
    c->headers = dma_alloc(RING * HEADERS);
    for (u32 i = 0; i < POOL; i++) {
        struct e1000_buffer *b = &c->buffers[i];
        b->card = c;
        b->frame = (struct nic_frame){.release = release, .owner = b};
        b->bytes = dma_alloc(BUFFER);
        if (!b->bytes)
            return false;
        if (i < RING)
            c->in_ring[i] = b;
        else
            release(&b->frame);
    }
    return c->rx && c->tx && c->headers;
}

/* The address that the card should have taken from its EEPROM at the reset (SDM 5.6.1), as Bochs'
 * does not. */
static enum hv_status load_mac(struct e1000 *c)
{
    u32 word[3];

    for (u32 i = 0; i < 3; i++) {
        e1000_put(c, REG_EERD, i << 8 | EERD_START);
        enum hv_status status =
            pci_wait_register(c->registers + REG_EERD, EERD_DONE, EERD_DONE, 10 * CLOCK_MS);
        if (status != HV_OK)
            return status;
        word[i] = e1000_get(c, REG_EERD) >> 16;
    }
    e1000_put(c, REG_RAL, word[0] | word[1] << 16);
    e1000_put(c, REG_RAH, word[2] | RAH_VALID);
    return HV_OK;
}

static enum hv_status read_mac(struct e1000 *c)
{
    enum hv_status status = e1000_get(c, REG_RAH) & RAH_VALID ? HV_OK : load_mac(c);
    u32 low = e1000_get(c, REG_RAL), high = e1000_get(c, REG_RAH);

    if (status != HV_OK)
        return status;
    for (u32 i = 0; i < NIC_MAC_LEN; i++)
        c->nic.mac[i] = (u8)((u64)low >> (8 * i) | ((u64)high << 32) >> (8 * i));
    return (high & RAH_VALID) && !(c->nic.mac[0] & 1) ? HV_OK : HV_EIO;
}

static const struct e1000_family *family_of(const struct pci_device *pci)
{
    switch (pci->device) {
    case 0x10c9: /* 82576 */
    case 0x1521: /* I350 */
    case 0x1533: /* I210 */
    case 0x1539: /* I211 */
        return &advanced;
    default:
        return &old;
    }
}

static enum hv_status probe(struct pci_device *pci)
{
    enum hv_status status = pci_map(pci, 0, REGISTERS_LEN);
    struct e1000 *c = calloc(1, sizeof(*c));

    if (!c || status != HV_OK || !pci->bars[0].registers) {
        free(c);
        return !c ? HV_ENOMEM : status != HV_OK ? status : HV_ENOENT;
    }
    c->pci = pci;
    c->family = family_of(pci);
    c->registers = pci->bars[0].registers;
    pci_enable(pci);
    pci_interrupts(pci, 1);
    status = allocate(c) ? start(c) : HV_ENOMEM;
    if (status == HV_OK)
        status = read_mac(c);
    if (status != HV_OK)
        return status; /* what it may still write to stays its own */
    pci->state = c;
    c->more = (struct loop_timer){.fn = serve, .owner = c};
    c->watch = (struct loop_timer){.fn = watch, .owner = c};
    c->nic.kind = pci->id->name;
    c->nic.ops = &ops;
    c->nic.driver = c;
    c->nic.mtu = c->nic.mtu_most = 1500;
    c->nic.capabilities = c->family->capabilities;
    nic_register(&c->nic);
    pci_on_interrupt(pci, 0, e1000_uses_msix(c) ? on_message : serve, c);
    watch(c);
    return HV_OK;
}

static void gone(struct pci_device *pci)
{
    struct e1000 *c = pci->state;

    c->nic.gone = true;
    give_back(c);
    look_at_link(c);
}

static const struct driver_id ids[] = {
    {0x8086, 0x100e, 0, 0, "Intel 82540EM"},
    {0x8086, 0x100f, 0, 0, "Intel 82545EM"},
    {0x8086, 0x10d3, 0, 0, "Intel 82574L"},
    {0x8086, 0x10c9, 0, 0, "Intel 82576"},
    /* By their datasheets alone: nothing here emulates them. */
    {0x8086, 0x1026, 0, 0, "Intel 82545GM"},
    {0x8086, 0x1533, 0, 0, "Intel I210"},
    {0x8086, 0x1539, 0, 0, "Intel I211"},
    {0x8086, 0x1521, 0, 0, "Intel I350"},
    {0},
};
static const struct driver e1000 = {.name = "e1000", .ids = ids, .probe = probe, .gone = gone};
DRIVER(e1000);
