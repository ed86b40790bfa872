/* Intel gigabit cards: PCI/PCI-X Family of Gigabit Ethernet Controllers Software Developer's Manual
 * ("SDM", 8254x), 82574 datasheet.  Legacy descriptors, which all of them have, and for checksums
 * and segmentation the context and data descriptors of 8254x and 82574.  Called by pci.c and nic.c,
 * by its interrupt on the loop.  One file: its two rings and the reset that empties both share the
 * card. */
#include "drivers/e1000.h"

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
#include "drivers/pci.h"

enum e1000_register { /* SDM table 13-2 */
                      REG_CTRL = 0x0000,
                      REG_STATUS = 0x0008,
                      REG_EERD = 0x0014,
                      REG_ICR = 0x00c0,
                      REG_IMS = 0x00d0,
                      REG_IMC = 0x00d8,
                      REG_RCTL = 0x0100,
                      REG_TCTL = 0x0400,
                      REG_TIPG = 0x0410,
                      REG_RDBA = 0x2800,
                      REG_RDLEN = 0x2808,
                      REG_RDH = 0x2810,
                      REG_RDT = 0x2818,
                      REG_TDBA = 0x3800,
                      REG_TDLEN = 0x3808,
                      REG_TDH = 0x3810,
                      REG_TDT = 0x3818,
                      REG_RXDCTL = 0x2828,
                      REG_TXDCTL = 0x3828,
                      REG_RXCSUM = 0x5000,
                      REG_MTA = 0x5200,
                      REG_RAL = 0x5400,
                      REG_RAH = 0x5404,
                      REGISTERS_LEN = 0x6000,
};
#define CTRL_ASDE 0x20u
#define CTRL_LINK_UP 0x40u
#define CTRL_CLEAR 0x80000088u /* PHY reset, invert loss of signal, link reset */
#define CTRL_RESET 0x04000000u
#define STATUS_DUPLEX 1u
#define STATUS_LINK 2u
#define INT_TX_DONE 0x01u
#define INT_LINK 0x04u
#define INT_RX_LOW 0x10u
#define INT_RX_OVERRUN 0x40u
#define INT_RX 0x80u
#define INT_WANTED (INT_TX_DONE | INT_LINK | INT_RX_LOW | INT_RX_OVERRUN | INT_RX)
#define RCTL_ON 0x02u
#define RCTL_ALL_UNICAST 0x08u
#define RCTL_ALL_MULTICAST 0x10u
#define RCTL_BROADCAST 0x8000u
#define RCTL_NO_CRC 0x04000000u
#define TCTL_ON 0x0004010au     /* enabled, short frames padded, collisions as in 13.4.33 */
#define TIPG_COPPER 0x00602008u /* 13.4.34 */
#define QUEUE_ON                                                                                   \
    BIT(25) /* 82576 and later, of RXDCTL and TXDCTL: 82576 datasheet 8.10.9, 8.12.15 */
#define TXDCTL_COUNT BIT(22) /* 82574: must be set */
#define RXCSUM_IP_TCP 0x300u
#define RAH_VALID 0x80000000u
#define EERD_START 0x01u /* 8254x; the word's number in bits 15:8, its value in 31:16 */
#define EERD_DONE 0x10u

struct rx_desc { /* SDM 3.2.3 */
    u64 address;
    u16 len, checksum;
    volatile u8 status;
    u8 errors;
    u16 special;
};
#define RX_DONE 0x01u
#define RX_END 0x02u
#define RX_NO_CSUM 0x04u
#define RX_TCP_CHECKED 0x20u
#define RX_BAD_TCP 0x20u
#define RX_BAD_IP 0x40u
#define RX_BAD_FRAME 0x97u /* CRC, symbol, sequence, carrier extension, data */

struct tx_desc { /* SDM 3.3.3 */
    u64 address;
    u16 len;
    u8 csum_offset, command;
    volatile u8 status;
    u8 csum_start;
    u16 special;
};
#define TX_END 0x01u
#define TX_FCS 0x02u
#define TX_REPORT 0x08u
#define TX_DONE 0x01u

struct tx_context { /* SDM 3.3.6: what the card does with the data descriptors that follow */
    u8 ip_start, ip_sum;
    u16 ip_end;
    u8 sum_start, sum_at;
    u16 sum_end;  /* 0: to the end of the packet */
    u32 len_type; /* bits 19:0: payload of a packet to be cut; 23:20: 0; 31:24: command */
    u8 status, header_len;
    u16 segment;
};
#define CONTEXT_TCP BIT(24)
#define CONTEXT_IP4 BIT(25)
#define CONTEXT_CUT BIT(26)
#define CONTEXT_EXTENDED BIT(29)

struct tx_data { /* SDM 3.3.7 */
    u64 address;
    u32 len_type; /* bits 19:0: bytes; 23:20: 1; 31:24: command */
    volatile u8 status;
    u8 options;
    u16 special;
};
#define DATA_EXTENDED (BIT(20) | BIT(29))
#define DATA_CUT BIT(26)
#define DATA_IP_SUM 0x01u
#define DATA_TCP_SUM 0x02u

#define RING 256
#define POOL 512 /* buffers: the ring's, and as many that its user has */
#define BUFFER 2048
#define HEADERS 256u     /* of a packet to be cut, at most: the length has 8 bits */
#define PIECE_MOST 8192u /* of one descriptor; SDM 3.3.3 allows 16,288 */
#define TX_NEEDS (NIC_PIECES + NIC_FRAME_MOST / PIECE_MOST + 2) /* descriptors a frame, at most */
#define BUDGET 64
#define RESET_NS (10 * CLOCK_MS)
#define HANGS_AFTER (3 * CLOCK_SECOND)

struct card;

struct buffer {
    struct nic_frame frame;
    struct buffer *next; /* of those that are free */
    struct card *card;
};

struct card {
    struct nic nic;
    struct pci_device *pci;
    volatile u8 *registers;
    struct rx_desc *rx;
    struct tx_desc *tx;
    u8 *headers; /* HEADERS bytes a descriptor: of packets to be cut, as the card wants them */
    struct buffer buffers[POOL], *in_ring[RING], *spare;
    u8 *memory[POOL];
    u32 rx_next, rx_tail, tx_next, tx_oldest;
    struct nic_frame *sending[RING]; /* at the descriptor of its last piece */
    struct nic_filter filter;
    bool resetting;
    u64 last_sent; /* TSC of the last progress in sending */
    struct loop_timer more, watch;
};

static u32 get(const struct card *c, u32 at)
{
    return mmio_read32(c->registers + at);
}

static void put(const struct card *c, u32 at, u32 value)
{
    mmio_write32(c->registers + at, value);
}

/* ---- receiving ----------------------------------------------------------------------------------
 */
static void release(struct nic_frame *f)
{
    struct buffer *b = f->owner;

    b->next = b->card->spare;
    b->card->spare = b;
}

static void arm_rx(struct card *c, u32 i, struct buffer *b)
{
    c->in_ring[i] = b;
    c->rx[i] = (struct rx_desc){.address = dma_address(c->memory[b - c->buffers])};
}

/* The frame of descriptor i, which is replaced; NULL: it is dropped, its buffer serves again. */
static struct nic_frame *take_frame(struct card *c, u32 i)
{
    const struct rx_desc d = c->rx[i];
    struct buffer *b = c->in_ring[i], *fresh = c->spare;
    bool whole = (d.status & RX_END) && d.len >= NIC_FRAME_LEAST && d.len <= BUFFER;

    if (!whole || (d.errors & RX_BAD_FRAME) || !fresh) {
        if (whole && !(d.errors & RX_BAD_FRAME))
            c->nic.stats.rx_dropped++;
        else
            c->nic.stats.rx_errors++;
        arm_rx(c, i, b);
        return NULL;
    }
    c->spare = fresh->next;
    arm_rx(c, i, fresh);
    bool good = (d.status & (RX_NO_CSUM | RX_TCP_CHECKED)) == RX_TCP_CHECKED &&
                !(d.errors & (RX_BAD_TCP | RX_BAD_IP));
    b->frame = (struct nic_frame){.data = c->memory[b - c->buffers],
                                  .len = d.len,
                                  .flags = good ? NIC_CSUM_GOOD : 0,
                                  .release = release,
                                  .owner = b};
    return &b->frame;
}

static u32 receive(struct card *c)
{
    struct nic_frame *batch[NIC_BATCH];
    u32 seen = 0, n = 0;

    for (; seen < BUDGET && (c->rx[c->rx_next].status & RX_DONE); seen++) {
        __atomic_thread_fence(__ATOMIC_ACQUIRE);
        struct nic_frame *f = take_frame(c, c->rx_next);
        c->rx_tail = c->rx_next; /* the card may use all before this one */
        c->rx_next = (c->rx_next + 1) % RING;
        if (f)
            batch[n++] = f;
    }
    if (seen) {
        mmio_barrier();
        put(c, REG_RDT, c->rx_tail);
    }
    if (n)
        nic_received(&c->nic, batch, n);
    return seen;
}

/* ---- sending ------------------------------------------------------------------------------------
 */
static u32 tx_room(const struct card *c)
{
    return (c->tx_oldest + RING - 1 - c->tx_next) % RING;
}

static void reclaim(struct card *c)
{
    while (c->tx_oldest != c->tx_next) {
        u32 last = c->tx_oldest;
        while (!c->sending[last] && last != c->tx_next)
            last = (last + 1) % RING;
        if (last == c->tx_next || !(c->tx[last].status & TX_DONE))
            return;
        struct nic_frame *f = c->sending[last];
        c->sending[last] = NULL;
        c->tx_oldest = (last + 1) % RING;
        c->last_sent = clock_tsc();
        nic_release(f);
    }
}

static struct tx_desc *next_desc(struct card *c)
{
    struct tx_desc *d = &c->tx[c->tx_next];

    c->tx_next = (c->tx_next + 1) % RING;
    return d;
}

static u32 descriptor(struct card *c, const void *at, u32 len, u32 command, u8 options)
{
    u32 i = c->tx_next;
    struct tx_data *d = (struct tx_data *)next_desc(c);

    *d = (struct tx_data){
        .address = dma_address(at), .len_type = len | command | TX_FCS << 24, .options = options};
    return i;
}

/* The bytes of a frame from `skip` on; the last descriptor's number. */
static u32 put_data(struct card *c, const struct nic_frame *f, u32 skip, u32 command, u8 options)
{
    u32 last = c->tx_next;

    for (const struct nic_frame *p = f; p; p = p->more) {
        u32 at = MIN(skip, p->len);
        skip -= at;
        for (u32 len; at < p->len; at += len) {
            len = MIN(p->len - at, PIECE_MOST);
            last = descriptor(c, p->data + at, len, command, options);
        }
    }
    return last;
}

static void put_context(struct card *c, const struct tx_context *context)
{
    memcpy(next_desc(c), context, sizeof(*context));
}

static u32 put_plain(struct card *c, const struct nic_frame *f)
{
    return put_data(c, f, 0, 0, 0);
}

/* The sum field has the pseudo header's sum already, as virtio has it. */
static u32 put_summed(struct card *c, const struct nic_frame *f)
{
    put_context(c, &(struct tx_context){.sum_start = (u8)f->csum_start,
                                        .sum_at = (u8)(f->csum_start + f->csum_offset),
                                        .len_type = (u32)(CONTEXT_EXTENDED | CONTEXT_TCP)});
    return put_data(c, f, 0, (u32)DATA_EXTENDED, DATA_TCP_SUM);
}

static void copy_headers(u8 *to, const struct nic_frame *f)
{
    for (u32 left = f->header_len; left; f = f->more) {
        u32 len = MIN(left, f->len);
        memcpy(to, f->data, len);
        to += len;
        left -= len;
    }
}

/* Where IP begins: after one VLAN tag at most. */
static u32 ip_offset(const u8 *headers)
{
    return headers[12] == 0x81 && headers[13] == 0x00 ? 18 : 14;
}

/* SDM 3.5.6: lengths are zero in the headers that the card repeats, and the pseudo header's sum is
 * without the length; so it has headers of its own. */
static u32 put_cut(struct card *c, const struct nic_frame *f)
{
    u8 *headers = c->headers + c->tx_next * HEADERS;
    u32 payload = nic_frame_len(f) - f->header_len, sum, tcp = f->csum_start;

    copy_headers(headers, f);
    u32 ip = ip_offset(headers), at = tcp + f->csum_offset;
    memset(headers + ip + 2, 0, 2);
    memset(headers + ip + 10, 0, 2);
    sum = (u32)headers[at] << 8 | headers[at + 1];
    sum += 0xffff - (payload + f->header_len - tcp) % 0xffff; /* less the length: RFC 1071 */
    sum = (sum & 0xffff) + (sum >> 16);
    sum = (sum & 0xffff) + (sum >> 16);
    headers[at] = (u8)(sum >> 8);
    headers[at + 1] = (u8)sum;
    struct tx_context context = {
        .ip_start = (u8)ip,
        .ip_sum = (u8)(ip + 10),
        .ip_end = (u16)(tcp - 1),
        .sum_start = (u8)tcp,
        .sum_at = (u8)at,
        .len_type = payload | (u32)(CONTEXT_EXTENDED | CONTEXT_CUT | CONTEXT_TCP | CONTEXT_IP4),
        .header_len = (u8)f->header_len,
        .segment = f->gso_size,
    };
    u8 options = DATA_IP_SUM | DATA_TCP_SUM;
    put_context(c, &context);
    descriptor(c, headers, f->header_len, (u32)(DATA_EXTENDED | DATA_CUT), options);
    return put_data(c, f, f->header_len, (u32)(DATA_EXTENDED | DATA_CUT), options);
}

/* Offsets have 8 bits in a context; no headers that are whole are longer. */
static bool can_put(const struct nic_frame *f)
{
    u32 sum_at = f->csum_start + f->csum_offset;

    if (!(f->flags & NIC_CSUM_NEEDED))
        return true;
    if (sum_at > 0xff || (f->flags & NIC_GSO_ECN))
        return false;
    return !(f->flags & NIC_GSO_TCP4) ||
           (f->header_len < HEADERS && f->csum_start >= 34 && sum_at + 2u <= f->header_len);
}

static void send_one(struct card *c, struct nic_frame *f)
{
    u32 last;

    if (!can_put(f)) {
        c->nic.stats.tx_errors++;
        nic_release(f);
        return;
    }
    c->nic.stats.tx_frames++;
    c->nic.stats.tx_bytes += nic_frame_len(f);
    if (f->flags & NIC_GSO_TCP4)
        last = put_cut(c, f);
    else if (f->flags & NIC_CSUM_NEEDED)
        last = put_summed(c, f);
    else
        last = put_plain(c, f);
    c->tx[last].command |= TX_END | TX_REPORT;
    c->sending[last] = f;
}

static u32 send(struct nic *n, struct nic_frame *const *frames, u32 count)
{
    struct card *c = n->driver;
    u32 sent = 0;

    if (c->resetting)
        return 0;
    reclaim(c);
    if (c->tx_oldest == c->tx_next)
        c->last_sent = clock_tsc();
    while (sent < count && tx_room(c) >= TX_NEEDS)
        send_one(c, frames[sent++]);
    if (sent) {
        mmio_barrier();
        put(c, REG_TDT, c->tx_next);
    }
    return sent;
}

/* ---- link, filter, reset ------------------------------------------------------------------------
 */
static void look_at_link(struct card *c)
{
    static const u32 mbps[] = {10, 100, 1000, 1000};
    u32 status = get(c, REG_STATUS);
    bool up = status != ~0u && (status & STATUS_LINK);

    nic_link(&c->nic, up, up ? mbps[status >> 6 & 3] : 0, status & STATUS_DUPLEX);
}

static void apply_filter(struct card *c)
{
    const struct nic_filter *f = &c->filter;

    put(c, REG_RCTL,
        RCTL_ON | RCTL_BROADCAST | RCTL_NO_CRC | (f->promiscuous ? RCTL_ALL_UNICAST : 0) |
            (f->promiscuous || f->all_multicast || f->multicast_count ? RCTL_ALL_MULTICAST : 0));
}

static void set_filter(struct nic *n, const struct nic_filter *f)
{
    struct card *c = n->driver;

    c->filter = *f;
    apply_filter(c);
}

static void empty_rings(struct card *c)
{
    for (u32 i = 0; i < RING; i++) {
        if (c->sending[i])
            nic_release(c->sending[i]);
        c->sending[i] = NULL;
        arm_rx(c, i, c->in_ring[i]);
    }
    memset(c->tx, 0, RING * sizeof(*c->tx));
    c->rx_next = c->tx_next = c->tx_oldest = 0;
}

/* The 82576 and its successors keep the old registers of queue 0 as aliases and still take legacy
 * descriptors, but have each queue switched on; bit 22 of TXDCTL is reserved there. */
static bool has_queues(const struct card *c)
{
    u16 device = c->pci->device;

    return device == 0x10c9 || device == 0x1533 || device == 0x1539 || device == 0x1521;
}

static void start_queues(struct card *c)
{
    if (has_queues(c)) {
        put(c, REG_TXDCTL, get(c, REG_TXDCTL) | (u32)QUEUE_ON);
        put(c, REG_RXDCTL, get(c, REG_RXDCTL) | (u32)QUEUE_ON);
    } else {
        put(c, REG_TXDCTL, get(c, REG_TXDCTL) | (u32)TXDCTL_COUNT);
    }
}

/* SDM 14.3 to 14.5.  In a fiber. */
static enum hv_status start(struct card *c)
{
    put(c, REG_IMC, ~0u);
    put(c, REG_RCTL, 0);
    put(c, REG_TCTL, 0);
    put(c, REG_CTRL, get(c, REG_CTRL) | CTRL_RESET);
    fiber_sleep_until(clock_after(RESET_NS));
    enum hv_status status = pci_wait_register(c->registers + REG_CTRL, CTRL_RESET, 0, CLOCK_SECOND);
    if (status != HV_OK)
        return status;
    put(c, REG_IMC, ~0u);
    (void)get(c, REG_ICR);
    empty_rings(c);
    put(c, REG_CTRL, (get(c, REG_CTRL) & ~CTRL_CLEAR) | CTRL_LINK_UP | CTRL_ASDE);
    for (u32 i = 0; i < 128; i++)
        put(c, REG_MTA + 4 * i, 0);
    mmio_write64(c->registers + REG_RDBA, dma_address(c->rx));
    put(c, REG_RDLEN, RING * sizeof(*c->rx));
    put(c, REG_RDH, 0);
    put(c, REG_RXCSUM, RXCSUM_IP_TCP);
    mmio_write64(c->registers + REG_TDBA, dma_address(c->tx));
    put(c, REG_TDLEN, RING * sizeof(*c->tx));
    put(c, REG_TDH, 0);
    put(c, REG_TDT, 0);
    start_queues(c);
    put(c, REG_TIPG, TIPG_COPPER);
    put(c, REG_TCTL, TCTL_ON);
    apply_filter(c);
    put(c, REG_RDT, RING - 1);
    put(c, REG_IMS, INT_WANTED);
    return HV_OK;
}

static void serve(void *owner)
{
    struct card *c = owner;
    u32 cause = get(c, REG_ICR); /* reading clears; the 82574 under MSI wants it written, too */

    if (c->resetting || cause == ~0u)
        return;
    put(c, REG_ICR, cause);
    c->nic.stats.interrupts += cause != 0;
    if (cause & INT_LINK)
        look_at_link(c);
    bool more = receive(c) == BUDGET;
    reclaim(c);
    if (tx_room(c) >= TX_NEEDS)
        nic_room(&c->nic);
    if (more)
        loop_timer_set(&c->more, clock_tsc());
}

static void reset(void *arg)
{
    struct card *c = arg;

    c->nic.stats.resets++;
    c->nic.stats.tx_errors++;
    if (start(c) != HV_OK) {
        log_error("%s: does not come back from a reset", c->nic.name);
        c->nic.gone = true;
        nic_link(&c->nic, false, 0, false);
        return;
    }
    c->resetting = false;
    nic_room(&c->nic);
}

static void watch(void *owner)
{
    struct card *c = owner;

    loop_timer_set(&c->watch, clock_after(CLOCK_SECOND));
    if (c->resetting || c->nic.gone)
        return;
    serve(c);
    look_at_link(c);
    if (c->nic.link_up && c->tx_oldest != c->tx_next &&
        clock_tsc() - c->last_sent > clock_ticks(HANGS_AFTER)) {
        log_warn("%s: sends nothing any more; it is reset", c->nic.name);
        c->resetting = fiber_spawn("reset", reset, c) != NULL;
    }
}

static const struct nic_ops ops = {.send = send, .set_filter = set_filter};

static bool allocate(struct card *c)
{
    c->rx = dma_alloc(RING * sizeof(*c->rx));
    c->tx = dma_alloc(RING * sizeof(*c->tx));
    c->headers = dma_alloc(RING * HEADERS);
    for (u32 i = 0; i < POOL; i++) {
        struct buffer *b = &c->buffers[i];
        b->card = c;
        b->frame.owner = b;
        if (!(c->memory[i] = dma_alloc(BUFFER)))
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
static enum hv_status load_mac(struct card *c)
{
    u32 word[3];

    for (u32 i = 0; i < 3; i++) {
        put(c, REG_EERD, i << 8 | EERD_START);
        enum hv_status status =
            pci_wait_register(c->registers + REG_EERD, EERD_DONE, EERD_DONE, 10 * CLOCK_MS);
        if (status != HV_OK)
            return status;
        word[i] = get(c, REG_EERD) >> 16;
    }
    put(c, REG_RAL, word[0] | word[1] << 16);
    put(c, REG_RAH, word[2] | RAH_VALID);
    return HV_OK;
}

static enum hv_status read_mac(struct card *c)
{
    enum hv_status status = get(c, REG_RAH) & RAH_VALID ? HV_OK : load_mac(c);
    u32 low = get(c, REG_RAL), high = get(c, REG_RAH);

    if (status != HV_OK)
        return status;
    for (u32 i = 0; i < NIC_MAC_LEN; i++)
        c->nic.mac[i] = (u8)((u64)low >> (8 * i) | ((u64)high << 32) >> (8 * i));
    return (high & RAH_VALID) && !(c->nic.mac[0] & 1) ? HV_OK : HV_EIO;
}

static enum hv_status probe(struct pci_device *pci)
{
    enum hv_status status = pci_map(pci, 0, REGISTERS_LEN);
    struct card *c = calloc(1, sizeof(*c));

    if (!c || status != HV_OK || !pci->bars[0].registers) {
        free(c);
        return !c ? HV_ENOMEM : status != HV_OK ? status : HV_ENOENT;
    }
    c->pci = pci;
    c->registers = pci->bars[0].registers;
    pci_enable(pci);
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
    c->nic.capabilities = NIC_CAN_RX_CSUM | (has_queues(c) ? 0 : NIC_CAN_CSUM | NIC_CAN_TSO4);
    pci_interrupts(pci, 0);
    nic_register(&c->nic);
    pci_on_interrupt(pci, 0, serve, c);
    watch(c);
    return HV_OK;
}

static void gone(struct pci_device *pci)
{
    struct card *c = pci->state;

    c->nic.gone = true;
    look_at_link(c);
}

static const struct driver_id ids[] = {
    {0x8086, 0x100e, 0, 0, "Intel 82540EM"},
    {0x8086, 0x100f, 0, 0, "Intel 82545EM"},
    {0x8086, 0x1026, 0, 0, "Intel 82545GM"},
    {0x8086, 0x10d3, 0, 0, "Intel 82574L"},
    /* By their datasheets alone: nothing here emulates them. */
    {0x8086, 0x10c9, 0, 0, "Intel 82576"},
    {0x8086, 0x1533, 0, 0, "Intel I210"},
    {0x8086, 0x1539, 0, 0, "Intel I211"},
    {0x8086, 0x1521, 0, 0, "Intel I350"},
    {0},
};
static const struct driver e1000 = {.name = "e1000", .ids = ids, .probe = probe, .gone = gone};
DRIVER(e1000);
