/* links: drivers/e1000.c drivers/e1000_interrupt.c drivers/e1000_send.c drivers/nic.c net/frame.c net/mac_table.c net/vlan.c net/policy.c net/shape.c net/delay.c net/igmp_snoop.c net/lacp.c net/team.c net/discovery.c net/lldp.c net/cdp.c net/switch.c net/switch_slow.c net/switch_port.c net/switch_clock.c net/switches.c net/mac_address.c net/checksum.c net/stack.c net/kif.c net/kif_join.c net/kif_send.c net/frame_buffer.c net/route.c net/isn.c net/servers.c net/ping.c net/offload.c net/uplink.c net/uplink_pieces.c tests/unit/net_lab.c tests/unit/pci_lab.c tests/unit/nic_fuzz.c tests/unit/nic_fuzz_frames.c */
/* A million broken frames through Intel's gigabit cards, half of them by each generation's
 * descriptors, up to lwIP: the model writes descriptors that claim what cannot be, that are done
 * before their time, that are one frame in several; between them the host answers. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>

#include <cmocka.h>

#include "control/rt/clock.h"
#include "control/rt/dma.h"
#include "drivers/driver.h"
#include "drivers/e1000_card.h"
#include "tests/unit/net_lab.h"
#include "tests/unit/nic_fuzz.h"
#include "tests/unit/pci_lab.h"

extern const struct driver *const __start_drivers[];

#define ANSWERS_EVERY 1000u /* frames */
#define CONNECTS_EVERY 50000u
#define RESETS_EVERY 20000u
#define TRAP_MOST 128u /* bytes of a trap */

static struct {
    u32 registers[REGISTERS_LEN / 4];
    bool advanced, lazy; /* lazy: it sends when it is looked at, not when it is told */
    u8 sending[NIC_FRAME_MOST + 64];
    u32 len, skip; /* skip: of a frame that it cuts */
} card;
static struct nic *nic;
static u32 fed, odd_bits, in_pieces, traps;

/* ---- the card ---------------------------------------------------------------------------------
 */
static u32 *reg(u32 at)
{
    return &card.registers[at / 4];
}

static void *ring(u32 at)
{
    return dma_pointer(*reg(at) | (u64)*reg(at + 4) << 32);
}

static void restart(void)
{
    memset(card.registers, 0, sizeof(card.registers));
    *reg(REG_STATUS) = 0x83;
    *reg(REG_RAL) = 0x12005452;
    *reg(REG_RAH) = 0x80005634;
    card.len = 0;
}

/* What a data descriptor names is appended; the last one's frame is heard. */
static void send_piece(const struct e1000_tx *d)
{
    u32 len = d->len_type & 0xffff;
    const u8 *at = dma_pointer(d->address);

    assert_true(dma_reaches(at, len));
    assert_true(len <= sizeof(card.sending) - card.len);
    memcpy(card.sending + card.len, at, len);
    card.len += len;
    if (!(d->len_type & TX_END))
        return;
    assert_true(card.len >= NIC_FRAME_LEAST);
    nic_fuzz_heard(card.sending, card.len);
    card.len = 0;
}

static void transmit(void)
{
    struct e1000_tx *tx = ring(REG_TDBA);
    u32 context = card.advanced ? 2 : 0;

    for (u32 *head = reg(REG_TDH); *head != *reg(REG_TDT); *head = (*head + 1) % RING) {
        struct e1000_tx *d = &tx[*head];
        if ((d->len_type & BIT(29)) && (d->len_type >> 20 & 15) == context)
            continue;
        send_piece(d);
        if (d->len_type & TX_REPORT)
            d->options |= TX_DONE;
    }
    *reg(REG_ICR) |= 1;
}

static u32 offset_of(const volatile void *at)
{
    return (u32)((const volatile u8 *)at - (const volatile u8 *)card.registers);
}

u32 mmio_read32(const volatile void *at)
{
    u32 where = offset_of(at), value = *reg(where);

    if (where == REG_ICR || where == REG_MPC)
        *reg(where) = 0;
    return value;
}

void mmio_write32(volatile void *at, u32 value)
{
    u32 where = offset_of(at);

    if (where == REG_CTRL && value & BIT(26)) {
        restart();
        return;
    }
    if (where == REG_ICR || where == REG_IMS || where == REG_IMC)
        return;
    assert_true(where != REG_RDT || value < RING);
    *reg(where) = value;
    if (where == REG_TDT && !card.lazy)
        transmit();
}

/* The driver may have taken some that were done before their turn: the card goes on behind them. */
static void interrupt(u32 cause)
{
    u32 ahead;

    *reg(REG_ICR) |= cause;
    pci_lab_interrupt();
    ahead = (*reg(REG_RDT) + 1 - *reg(REG_RDH)) % RING;
    if (ahead < 8)
        *reg(REG_RDH) = (*reg(REG_RDH) + ahead) % RING;
}

void nic_fuzz_card_runs(void)
{
    transmit();
    interrupt(0x80);
}

/* ---- receiving --------------------------------------------------------------------------------
 */
static u32 room(void)
{
    return (*reg(REG_RDT) + RING - *reg(REG_RDH)) % RING;
}

/* The next descriptor has these bytes, and says so, or what else `back` is not 0 for. */
static void put(const u8 *bytes, u32 len, bool last, u64 back)
{
    struct e1000_rx *rx = ring(REG_RDBA);
    u32 *head = reg(REG_RDH);
    struct e1000_rx *d = &rx[*head];
    u64 status = 1 | (last ? 2 : 0);

    assert_true(dma_reaches(dma_pointer(d->address), BUFFER));
    memset(dma_pointer(d->address), 0, TRAP_MOST); /* of one that was there before */
    memcpy(dma_pointer(d->address), bytes, MIN(len, (u32)BUFFER));
    d->back = back ? back : card.advanced ? status | (u64)len << 32 : status << 32 | len;
    *head = (*head + 1) % RING;
}

/* One frame in as many descriptors as it takes. */
static void put_all(const u8 *bytes, u32 len, u64 marks)
{
    for (; len > BUFFER && room() > 1; bytes += BUFFER, len -= BUFFER)
        put(bytes, BUFFER, false, 0);
    u64 status = 3, back = card.advanced ? status | (u64)MIN(len, (u32)BUFFER) << 32
                                         : status << 32 | MIN(len, (u32)BUFFER);
    put(bytes, len, true, back | marks);
}

void nic_fuzz_deliver(const u8 *frame, u32 len)
{
    while (room() < 2) /* it is told what is done with */
        nic_fuzz_card_runs();
    put(frame, 0, true, 0); /* the end of what it may have begun before */
    put_all(frame, len, 0);
    interrupt(0x80);
}

/* Sums that were looked at, packets that were filtered, VLANs: marks of frames that are sound. */
static u64 some_marks(void)
{
    static const u64 old[] = {BIT(34), BIT(37),        BIT(37) | BIT(38),
                              BIT(35), 0xfffull << 48, BIT(46)},
                     new[] = {BIT(4), BIT(5), BIT(5) | BIT(6), BIT(3), 0xfffull << 48, BIT(29)};

    return nic_fuzz_random(3) ? 0 : (card.advanced ? new : old)[nic_fuzz_random(6)];
}

static u64 nonsense(u32 len)
{
    u64 claimed[] = {0, 13, BUFFER + 1, 0x4000, 0xffff, len}, which = nic_fuzz_random(8);
    u64 sound = card.advanced ? 3 : 3ull << 32, done = card.advanced ? 1 : 1ull << 32;

    if (which < 6)
        return sound | claimed[which] << (card.advanced ? 32 : 0) | (which == 5 ? some_marks() : 0);
    if (which == 6) /* the CRC, the symbols, the length... */
        return sound | len | (card.advanced ? BIT(31) : BIT(40 + nic_fuzz_random(5)));
    return done | nic_fuzz_random(~0ull);
}

/* The last piece of a frame that is longer than a buffer would be a sound frame by itself. */
static void put_trap(const u8 *frame, u32 len)
{
    u8 trap[TRAP_MOST];
    u32 trap_len = nic_fuzz_trap(trap);

    put(frame, MIN(len, (u32)BUFFER), false, 0);
    if (nic_fuzz_random(2))
        put(frame, MIN(len, (u32)BUFFER), false, 0);
    put(trap, trap_len, true, 0);
    traps++;
}

static void feed_one(void)
{
    static u8 frame[NIC_FUZZ_LONGEST];
    u32 len = nic_fuzz_frame(frame);
    u64 how = nic_fuzz_random(100);

    in_pieces += len > BUFFER;
    if (how < 88)
        put_all(frame, len, some_marks());
    else if (how < 98)
        put(frame, len, true, nonsense(len));
    else
        put_trap(frame, len);
    fed++;
}

/* A descriptor says that it is done before its turn. */
static void odd_done_bit(void)
{
    struct e1000_rx *rx = ring(REG_RDBA);

    if (room() < 8) /* it would be one that was filled before */
        return;
    struct e1000_rx *d = &rx[(*reg(REG_RDH) + nic_fuzz_random(4)) % RING];
    memset(dma_pointer(d->address), 0, TRAP_MOST);
    d->back = nic_fuzz_random(2) ? nonsense(60) : ~0ull;
    odd_bits++;
}

static void feed_some(u32 until)
{
    u32 batch = 1 + (u32)nic_fuzz_random(64);

    for (u32 i = 0; i < batch && fed < until && room() > NIC_FUZZ_LONGEST / BUFFER + 1; i++)
        feed_one();
    *reg(REG_MPC) = (u32)nic_fuzz_random(2);
    if (nic_fuzz_random(16) == 0)
        odd_done_bit();
    card.lazy = nic_fuzz_random(2);
    interrupt(nic_fuzz_random(8) ? 0x80 : (u32)nic_fuzz_random(1u << 25));
    if (nic_fuzz_random(3)) /* else the next ones wait behind these */
        nic_fuzz_pass(nic_fuzz_random(200) ? nic_fuzz_random(5 * CLOCK_MS) : 5 * CLOCK_SECOND);
}

/* The link goes and comes, the card is reset: frames under way are lost, no more. */
static void disturb(void)
{
    *reg(REG_STATUS) ^= 2;
    interrupt(4);
    nic_fuzz_pass(2 * CLOCK_SECOND);
    *reg(REG_STATUS) |= 2;
    nic_fuzz_pass(2 * CLOCK_SECOND);
    assert_int_equal(nic_reset(nic), HV_OK);
    nic_fuzz_pass(CLOCK_SECOND);
}

static void bring_up(u16 device)
{
    static struct pci_device functions[2];
    static u32 used;
    static const struct driver_id id = {0x8086, 0, 0, 0, "test"};
    struct pci_device *d = &functions[used++];

    memset(&card, 0, sizeof(card));
    pci_lab_window = (volatile u8 *)card.registers;
    pci_lab_len = sizeof(card.registers);
    card.advanced = device == 0x1533;
    d->device = device;
    d->id = &id;
    assert_int_equal(__start_drivers[0]->probe(d), HV_OK);
    for (nic = nic_first(); nic->next; nic = nic->next)
        ;
}

/* Its user has none: those that are not in the ring are spare. */
static u32 spare_buffers(void)
{
    u32 n = 0;

    for (const struct e1000_buffer *b = ((struct e1000 *)nic->driver)->spare; b; b = b->next)
        n++;
    return n;
}

static void frames(u16 device, u32 until)
{
    u64 kept = net_lab_dma_used, seen;
    static u64 all_kept;

    bring_up(device);
    all_kept += net_lab_dma_used - kept;
    nic_fuzz_attach(nic);
    for (u32 next = fed; fed < until;) {
        feed_some(until);
        if (fed < next)
            continue;
        nic_fuzz_answers();
        if (next % CONNECTS_EVERY == 0)
            nic_fuzz_connects();
        if (next % RESETS_EVERY == 0)
            disturb();
        next += ANSWERS_EVERY;
    }
    nic_fuzz_answers();
    nic_fuzz_connects();
    nic_fuzz_detach(nic);
    seen = nic->stats.rx_frames + nic->stats.rx_errors + nic->stats.rx_dropped;
    print_message("%s: %llu descriptors, %llu frames taken, %llu refused, %llu resets\n", nic->name,
                  (unsigned long long)seen, (unsigned long long)nic->stats.rx_frames,
                  (unsigned long long)nic->stats.rx_errors, (unsigned long long)nic->stats.resets);
    assert_true(seen > until / 2);
    assert_true(nic->stats.rx_frames > until / 4);
    assert_int_equal(spare_buffers(), POOL - RING);
    if (until == NIC_FUZZ_FRAMES)
        nic_fuzz_end(all_kept);
}

static void a_million_frames(void **unused)
{
    (void)unused;
    nic_fuzz_start();
    frames(0x100e, NIC_FUZZ_FRAMES / 2);
    frames(0x1533, NIC_FUZZ_FRAMES);
    assert_int_equal(fed, 1000000);
    assert_true(odd_bits > 100 && in_pieces > 1000 && traps > 1000);
    print_message("%u frames: %u longer than a buffer, %u traps, %u odd done bits\n", fed,
                  in_pieces, traps, odd_bits);
}

int main(void)
{
    const struct CMUnitTest tests[] = {cmocka_unit_test(a_million_frames)};

    return cmocka_run_group_tests(tests, NULL, NULL);
}
