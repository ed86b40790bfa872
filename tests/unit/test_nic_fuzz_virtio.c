/* links: drivers/virtio.c drivers/virtio_net.c drivers/nic.c drivers/nic_flow.c net/frame.c net/mac_table.c net/vlan.c net/policy.c net/shape.c net/delay.c net/igmp_snoop.c net/lacp.c net/team.c net/discovery.c net/lldp.c net/cdp.c net/switch.c net/switch_slow.c net/switch_port.c net/switch_clock.c net/switches.c net/mac_address.c net/checksum.c net/stack.c net/kif.c net/kif_join.c net/kif_send.c net/frame_buffer.c net/route.c net/isn.c net/servers.c net/ping.c net/offload.c net/uplink.c net/uplink_pieces.c tests/unit/net_lab.c tests/unit/pci_lab.c tests/unit/nic_fuzz.c tests/unit/nic_fuzz_frames.c */
/* A million entries of used rings through the driver of virtio network cards up to lwIP: broken
 * frames, lengths and numbers of buffers that cannot be; between them the host answers.  Now and
 * then a card says what makes the driver leave it alone, and another one takes its place, with
 * other features. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "control/rt/clock.h"
#include "control/rt/dma.h"
#include "control/rt/mmio.h"
#include "drivers/driver.h"
#include "drivers/virtio.h"
#include "tests/unit/net_lab.h"
#include "tests/unit/nic_fuzz.h"
#include "tests/unit/pci_lab.h"

extern const struct driver *const __start_drivers[];

#define ENTRIES NIC_FUZZ_FRAMES
#define ANSWERS_EVERY 1000u /* entries */
#define CONNECTS_EVERY 50000u
#define RESETS_EVERY 5000u
#define CARDS 50u
#define QUEUES 9u /* four pairs and that of orders */
#define SIZE 256u
#define BUFFER 2048u
#define HEADER 12u

/* virtio 1.2, 5.1.3. */
#define F_CSUM BIT(0)
#define F_MTU BIT(3)
#define F_MAC BIT(5)
#define F_HOST_TSO4 BIT(11)
#define F_MERGEABLE BIT(15)
#define F_STATUS BIT(16)
#define F_CTRL_VQ BIT(17)
#define F_CTRL_RX BIT(18)
#define F_MQ BIT(22)

enum { COMMON = 0, NOTIFY = 0x1000, ISR = 0x2000, DEVICE = 0x3000, WINDOW = 0x4000 };
enum { /* 4.1.4.3 */
       DEVICE_SELECT = 0x00,
       DEVICE_FEATURES = 0x04,
       DRIVER_SELECT = 0x08,
       DRIVER_FEATURES = 0x0c,
       NUM_QUEUES = 0x12,
       STATUS = 0x14,
       QUEUE_SELECT = 0x16,
       QUEUE_SIZE = 0x18,
       QUEUE_ENABLE = 0x1c,
       QUEUE_NOTIFY = 0x1e,
       QUEUE_DESC = 0x20,
       QUEUE_AVAIL = 0x28,
       QUEUE_USED = 0x30
};

struct queue {
    u64 desc, avail, used; /* as the driver wrote them */
    u16 seen, given;       /* of the available ring, of the used one */
    bool on;
};
static struct {
    u8 window[WINDOW];
    u64 offered, accepted;
    struct queue queues[QUEUES];
    u8 sending[NIC_FRAME_MOST + 64];
    u8 status;
    u32 pairs;
    bool lazy; /* it sends when it is looked at, not when it is told */
} card;
static struct nic *nic;
static u32 entries, merged, refused_cards, resets;

/* ---- configuration space: four capabilities, 4.1.4 --------------------------------------------
 */
static const struct {
    u8 type;
    u32 at, len;
} regions[] = {{1, COMMON, 0x38}, {2, NOTIFY, 0x100}, {3, ISR, 4}, {4, DEVICE, 16}};

u32 pci_capability(const struct pci_device *d, u8 id, u32 from)
{
    (void)d;
    return id != PCI_CAP_VENDOR || from == 0x40 + 0x20 * 3 ? 0 : from ? from + 0x20 : 0x40;
}

u8 pci_read8(const struct pci_device *d, u32 at)
{
    (void)d;
    return at % 0x20 == 3 ? regions[(at - 0x40) / 0x20].type : 0; /* base address 0 */
}

u32 pci_read32(const struct pci_device *d, u32 at)
{
    u32 n = (at - 0x40) / 0x20;

    (void)d;
    return at % 0x20 == 8 ? regions[n].at : at % 0x20 == 12 ? regions[n].len : 4;
}

/* ---- rings ------------------------------------------------------------------------------------
 */
static volatile u16 *avail_of(const struct queue *q)
{
    return dma_pointer(q->avail);
}

static volatile u16 *used_of(const struct queue *q)
{
    return dma_pointer(q->used);
}

/* The next chain that the driver has made available; false: none. */
static bool take(struct queue *q, u32 *head)
{
    volatile u16 *avail = avail_of(q);

    if (!q->on || avail[1] == q->seen)
        return false;
    assert_true((u16)(avail[1] - q->seen) <= SIZE);
    *head = avail[2 + q->seen++ % SIZE];
    assert_true(*head < SIZE);
    return true;
}

/* The entry is there, but not told of yet. */
static void put_used(struct queue *q, u32 id, u32 len)
{
    volatile u32 *entry = (volatile u32 *)(used_of(q) + 2) + 2u * (q->given++ % SIZE);

    entry[0] = id;
    entry[1] = len;
}

static void tell_used(struct queue *q)
{
    used_of(q)[1] = q->given;
}

/* The bytes of what a chain has to be read; returns how many. */
static u32 gather(const struct queue *q, u32 head, u8 *to, u32 size, u8 **answer)
{
    const struct virtq_desc *table = dma_pointer(q->desc), *d = &table[head];
    u32 len = 0, steps = 0;

    if (d->flags & VIRTQ_INDIRECT) {
        assert_true(card.accepted & VIRTIO_F_INDIRECT);
        assert_true(dma_reaches(dma_pointer(d->address), d->len));
        table = d = dma_pointer(d->address);
    }
    for (;; d = &table[d->next]) {
        u8 *at = dma_pointer(d->address);
        assert_true(dma_reaches(at, d->len) && steps++ < SIZE);
        if (d->flags & VIRTQ_WRITE) {
            *answer = at;
        } else {
            assert_true(d->len <= size - len);
            memcpy(to + len, at, d->len);
            len += d->len;
        }
        if (!(d->flags & VIRTQ_NEXT))
            return len;
    }
}

static void send_all(struct queue *q)
{
    u32 head, len;
    u8 *unused;

    while (take(q, &head)) {
        len = gather(q, head, card.sending, sizeof(card.sending), &unused);
        assert_true(len >= HEADER + NIC_FRAME_LEAST);
        nic_fuzz_heard(card.sending + HEADER, len - HEADER);
        put_used(q, head, 0);
        tell_used(q);
    }
}

static void obey(struct queue *q)
{
    u8 order[16], *answer = NULL;
    u32 head;

    while (take(q, &head)) {
        assert_in_range(gather(q, head, order, sizeof(order), &answer), 3, 4);
        *answer = nic_fuzz_random(8) == 0; /* some it refuses */
        put_used(q, head, 1);
        tell_used(q);
    }
}

static void run_queue(u32 n)
{
    if (n == 2 * card.pairs)
        obey(&card.queues[n]);
    else if (n % 2)
        send_all(&card.queues[n]);
}

/* ---- registers --------------------------------------------------------------------------------
 */
static u32 offset_of(const volatile void *at)
{
    return (u32)((const volatile u8 *)at - (const volatile u8 *)card.window);
}

static struct queue *selected(void)
{
    static struct queue none;
    u32 n = card.window[QUEUE_SELECT];

    return n < QUEUES ? &card.queues[n] : &none;
}

u8 mmio_read8(const volatile void *at)
{
    u32 where = offset_of(at);
    u8 value = where == STATUS ? card.status : card.window[where];

    if (where == ISR)
        card.window[ISR] = 0;
    return value;
}

u16 mmio_read16(const volatile void *at)
{
    u32 where = offset_of(at);

    if (where == QUEUE_SIZE)
        return SIZE;
    if (where == QUEUE_NOTIFY)
        return card.window[QUEUE_SELECT];
    return (u16)(card.window[where] | card.window[where + 1] << 8);
}

u32 mmio_read32(const volatile void *at)
{
    u32 where = offset_of(at);

    assert_int_equal(where, DEVICE_FEATURES);
    return (u32)(card.offered >> (card.window[DEVICE_SELECT] ? 32 : 0));
}

void mmio_write8(volatile void *at, u8 value)
{
    assert_int_equal(offset_of(at), STATUS);
    card.status = value;
    if (!value)
        memset(card.queues, 0, sizeof(card.queues));
}

void mmio_write16(volatile void *at, u16 value)
{
    u32 where = offset_of(at);

    if (where >= NOTIFY && where < ISR) {
        assert_true(value < QUEUES && where == NOTIFY + 4u * value);
        if (!card.lazy || value == 2 * card.pairs)
            run_queue(value);
        return;
    }
    memcpy(card.window + where, &value, 2);
    if (where == QUEUE_ENABLE)
        selected()->on = true;
}

void mmio_write32(volatile void *at, u32 value)
{
    u32 where = offset_of(at), part = where & 4;
    struct queue *q = selected();

    memcpy(card.window + where, &value, 4);
    if (where == DRIVER_FEATURES)
        card.accepted = card.window[DRIVER_SELECT] ? (u32)card.accepted | (u64)value << 32
                                                   : (card.accepted & ~0xffffffffull) | value;
    else if (where >= QUEUE_DESC)
        memcpy((u8 *)(where < QUEUE_AVAIL  ? &q->desc
                      : where < QUEUE_USED ? &q->avail
                                           : &q->used) +
                   part,
               &value, 4);
}

static void interrupt(void)
{
    card.window[ISR] |= 1;
    pci_lab_interrupt();
}

void nic_fuzz_card_runs(void)
{
    for (u32 n = 0; n < QUEUES; n++)
        run_queue(n);
    interrupt();
}

/* ---- receiving --------------------------------------------------------------------------------
 */
static u32 free_buffers(const struct queue *q)
{
    return q->on ? (u16)(avail_of(q)[1] - q->seen) : 0;
}

/* One entry; claimed: the length that it says, 0: the true one. */
static void put(struct queue *q, const u8 *bytes, u32 len, u32 claimed)
{
    const struct virtq_desc *table = dma_pointer(q->desc);
    u32 head = 0;

    assert_true(take(q, &head));
    assert_int_equal(table[head].flags, VIRTQ_WRITE);
    assert_true(dma_reaches(dma_pointer(table[head].address), BUFFER));
    memcpy(dma_pointer(table[head].address), bytes, MIN(len, BUFFER));
    put_used(q, head, claimed ? claimed : MIN(len, BUFFER));
    entries++;
}

/* A frame in as many buffers as it takes, up to what is left to be told; one, if they are not
 * merged.  `buffers`: what the header says, 0: the truth. */
static void put_frame(struct queue *q, const u8 *frame, u32 len, u16 buffers, u32 left)
{
    static u8 whole[NIC_FUZZ_LONGEST + HEADER];
    u32 all = len + HEADER, most = card.accepted & F_MERGEABLE ? MIN(left, free_buffers(q)) : 1;
    u16 count = (u16)MIN((all + BUFFER - 1) / BUFFER, most);

    memset(whole, 0, HEADER);
    whole[0] = (u8)(nic_fuzz_random(4) ? 0 : nic_fuzz_random(256));
    whole[1] = (u8)(nic_fuzz_random(8) ? 0 : nic_fuzz_random(256));
    memcpy(whole + 10, buffers ? &buffers : &count, 2);
    memcpy(whole + HEADER, frame, len);
    merged += count > 1;
    for (u32 i = 0; i < count; i++)
        put(q, whole + i * BUFFER, all - i * BUFFER, 0);
}

void nic_fuzz_deliver(const u8 *frame, u32 len)
{
    struct queue *q = &card.queues[0];
    u32 counted = entries;

    assert_true(free_buffers(q));
    put_frame(q, frame, len, 0, 1);
    entries = counted; /* not one of those that are broken */
    tell_used(q);
    interrupt();
}

static void feed_one(struct queue *q, u32 left)
{
    static const u16 wrong[] = {2, 3, 31, 32, 33, 0x100, 0xffff};
    static const u32 lengths[] = {1, 11, 12, 13, 25, 26, BUFFER};
    static u8 frame[NIC_FUZZ_LONGEST];
    u32 len = nic_fuzz_frame(frame);
    u64 how = nic_fuzz_random(100);

    if (how < 90)
        put_frame(q, frame, len, 0, left);
    else if (how < 95)
        put_frame(q, frame, len, wrong[nic_fuzz_random(ARRAY_LEN(wrong))], left);
    else if (how < 97)
        put(q, frame, len, 0); /* its first bytes are the header */
    else
        put(q, frame, len, lengths[nic_fuzz_random(ARRAY_LEN(lengths))]);
}

/* What the driver must have taken by now, as it says itself where it is asked to. */
static void is_taken(const struct queue *q)
{
    if (card.accepted & VIRTIO_F_EVENT_IDX)
        assert_int_equal(avail_of(q)[2 + SIZE], q->given);
}

static void feed_some(u32 until)
{
    struct queue *q = &card.queues[2 * nic_fuzz_random(card.pairs)];
    u32 batch = 1 + (u32)nic_fuzz_random(64), end = MIN(entries + batch, until);

    q = q->on ? q : &card.queues[0];
    while (entries < end && free_buffers(q) > 16)
        feed_one(q, end - entries);
    tell_used(q);
    card.lazy = nic_fuzz_random(2);
    if (nic_fuzz_random(64) == 0)
        card.window[ISR] = (u8)nic_fuzz_random(256);
    interrupt();
    if (nic_fuzz_random(3)) /* else the next ones wait behind these */
        nic_fuzz_pass(nic_fuzz_random(200) ? nic_fuzz_random(5 * CLOCK_MS) : 5 * CLOCK_SECOND);
}

/* The link goes and comes, the card is reset or asks for it: what is under way is lost, no more. */
static void disturb(void)
{
    card.window[DEVICE + 6] = 0;
    card.window[ISR] |= 2;
    interrupt();
    nic_fuzz_pass(2 * CLOCK_SECOND);
    card.window[DEVICE + 6] = 1;
    nic_fuzz_pass(2 * CLOCK_SECOND);
    if (nic_fuzz_random(2))
        assert_int_equal(nic_reset(nic), HV_OK);
    else
        card.status |= 0x40; /* DEVICE_NEEDS_RESET */
    nic_fuzz_pass(3 * CLOCK_SECOND);
    assert_false(nic->gone);
    resets++;
}

/* ---- cards that are not used any more ----------------------------------------------------------
 */
/* An entry that cannot be: the last of this card that the driver takes. */
static void lie(void)
{
    static const u8 sound[60] = {[10] = 1};
    struct queue *q = &card.queues[0], *tx = &card.queues[1];

    u64 how = nic_fuzz_random(6), frames = nic->stats.rx_frames;

    card.lazy = false;
    nic_fuzz_card_runs(); /* nothing is under way */
    switch (how) {
    case 5: /* more than there can be: what the ring has is old */
        q->given = (u16)(q->given + SIZE + 1 + nic_fuzz_random(0xffff - SIZE - 1));
        break;
    case 0: /* no such buffer */
        put_used(q, (u32)(SIZE + nic_fuzz_random(~0u - SIZE)), 100);
        break;
    case 1: /* longer than it was */
        put(q, (const u8 *)"", 1, (u32)(BUFFER + 1 + nic_fuzz_random(~0u - BUFFER - 1)));
        entries--;
        break;
    case 2: /* twice the same one */
        put(q, sound, sizeof(sound), sizeof(sound));
        put_used(q, *(volatile u32 *)(used_of(q) + 2 + 4 * ((q->given - 1) % SIZE)), 60);
        entries--;
        break;
    case 3: /* sent what it was not given */
        put_used(tx, (u32)nic_fuzz_random(SIZE), 0);
        break;
    default:
        put_used(tx, (u32)(SIZE + nic_fuzz_random(1000)), 0);
    }
    entries++; /* this one */
    tell_used(q);
    tell_used(tx);
    interrupt();
    nic_fuzz_pass(2 * CLOCK_SECOND);
    assert_true(nic->gone);
    assert_int_equal(card.status, 0); /* it was told to let go of memory */
    if (how == 5)
        assert_int_equal(nic->stats.rx_frames, frames);
    refused_cards++;
}

static void bring_up(void)
{
    static const u64 maybe[] = {F_CSUM,    F_HOST_TSO4,       F_MERGEABLE,
                                F_CTRL_RX, VIRTIO_F_INDIRECT, VIRTIO_F_EVENT_IDX};
    static const struct driver_id id = {VIRTIO_VENDOR, 0x1041, 0, 0, "test"};
    static struct pci_device functions[CARDS];
    static u32 used;
    struct pci_device *d = &functions[used++];

    memset(&card, 0, sizeof(card));
    pci_lab_window = card.window;
    pci_lab_len = WINDOW;
    card.offered = VIRTIO_F_VERSION_1 | F_MAC | F_STATUS | F_CTRL_VQ | F_MTU;
    for (u32 i = 0; i < ARRAY_LEN(maybe); i++)
        card.offered |= nic_fuzz_random(4) ? maybe[i] : 0;
    card.pairs = 1;
    if (nic_fuzz_random(2)) {
        card.offered |= F_MQ;
        card.pairs = 1 + (u32)nic_fuzz_random(4);
    }
    memcpy(card.window + DEVICE, "\x52\x54\0\x12\x34\x56\1\0", 8);
    card.window[DEVICE + 8] = (u8)card.pairs;
    card.window[DEVICE + 10] = 0xdc; /* an MTU of 1,500 */
    card.window[DEVICE + 11] = 5;
    card.window[NUM_QUEUES] = (u8)(2 * card.pairs + 1);
    d->id = &id;
    assert_int_equal(__start_drivers[0]->probe(d), HV_OK);
    for (nic = nic_first(); nic->next; nic = nic->next)
        ;
    assert_true(card.queues[0].on && card.queues[1].on);
}

/* Every buffer of the card is with it again. */
static void has_all_buffers(void)
{
    for (u32 n = 0; n < 2 * card.pairs; n += 2)
        if (card.queues[n].on) {
            is_taken(&card.queues[n]);
            assert_int_equal((u16)(avail_of(&card.queues[n])[1] - card.queues[n].given), SIZE);
        }
}

static void one_card(u32 until)
{
    u32 answers = entries, connects = entries + CONNECTS_EVERY / 4, reset = entries + RESETS_EVERY;

    while (entries < until) {
        feed_some(until);
        if (entries >= answers) {
            nic_fuzz_answers();
            answers += ANSWERS_EVERY;
        }
        if (entries >= connects) {
            nic_fuzz_connects();
            connects += CONNECTS_EVERY;
        }
        if (entries >= reset) {
            disturb();
            reset += RESETS_EVERY;
        }
    }
    nic_fuzz_answers();
}

static void a_million_entries(void **unused)
{
    u64 kept = 0, frames = 0;

    (void)unused;
    nic_fuzz_start();
    for (u32 n = 1; n <= CARDS; n++) {
        u64 before = net_lab_dma_used;
        bring_up();
        kept += net_lab_dma_used - before;
        nic_fuzz_attach(nic);
        one_card(ENTRIES / CARDS * n - 1);
        if (n % 2) { /* while the host uses it */
            lie();
            nic_fuzz_detach(nic);
        } else {
            nic_fuzz_detach(nic);
            has_all_buffers();
            lie();
        }
        frames += nic->stats.rx_frames;
    }
    nic_fuzz_end(kept);
    print_message("%u entries, %llu frames taken, %u in several buffers, %u cards left alone, %u "
                  "resets\n",
                  entries, (unsigned long long)frames, merged, refused_cards, resets);
    assert_int_equal(entries, 1000000);
    assert_int_equal(refused_cards, CARDS);
    assert_true(merged > 1000 && frames > ENTRIES / 4);
}

int main(void)
{
    const struct CMUnitTest tests[] = {cmocka_unit_test(a_million_entries)};

    return cmocka_run_group_tests(tests, NULL, NULL);
}
