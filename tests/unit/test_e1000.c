/* links: drivers/e1000.c drivers/e1000_interrupt.c drivers/e1000_send.c drivers/nic.c tests/unit/pci_lab.c */
/* Both generations of Intel's gigabit cards in front of a model of their rings: frames both ways,
 * what is left to the card, descriptors that make no sense, and a card that hangs and is reset. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>
#include <sys/mman.h>

#include "control/rt/clock.h"
#include "control/rt/dma.h"
#include "control/rt/fiber.h"
#include "control/rt/log.h"
#include "drivers/driver.h"
#include "drivers/e1000_card.h"
#include "tests/unit/pci_lab.h"

extern const struct driver *const __start_drivers[];

#define MEMORY (16 * MIB)
#define RINGS 256u

static struct {
    u32 registers[REGISTERS_LEN / 4];
    bool hangs, advanced, dead;                    /* dead: a reset does not end */
    u32 resets, frames, contexts, len, context[4]; /* what was sent last */
    u32 unmasked;                                  /* causes whose message is sent */
} card;
static u64 tsc, dma_used_to;
static struct loop_timer *timers[4];
static void (*spawned)(void *arg);
static void *spawned_arg;

/* ---- what the runtime gives otherwise -------------------------------------------------------- */
u64 clock_tsc(void)
{
    return tsc;
}

u64 clock_after(u64 ns)
{
    return tsc + ns;
}

u64 clock_ticks(u64 ns)
{
    return ns;
}

void loop_timer_set(struct loop_timer *t, u64 deadline)
{
    u32 i = 0;

    while (timers[i] && timers[i] != t)
        i++;
    timers[i] = t;
    t->deadline = deadline;
    t->armed = true;
}

void fiber_sleep_until(u64 deadline)
{
    tsc = MAX(tsc, deadline);
}

struct fiber *fiber_spawn(const char *name, void (*fn)(void *arg), void *arg)
{
    (void)name;
    spawned = fn;
    spawned_arg = arg;
    return (struct fiber *)&card;
}

void *dma_alloc(u64 len)
{
    u64 at = dma_used_to;

    dma_used_to += (len + 63) & ~63ull;
    assert_true(dma_used_to <= MEMORY);
    return memset(dma_pointer(at), 0, len);
}

void dma_free(void *p, u64 len)
{
    (void)p, (void)len;
}

void log_write(enum log_level level, const char *fmt, ...)
{
    (void)level;
    (void)fmt;
}

void log_assert_failed(const char *file, int line, const char *what)
{
    fail_msg("%s:%d: %s", file, line, what);
    abort();
}

/* ---- the card ----------------------------------------------------------------------------------
 */
static u32 offset_of(const volatile void *at)
{
    return (u32)((const volatile u8 *)at - (const volatile u8 *)card.registers);
}

static u32 *reg(u32 at)
{
    return &card.registers[at / 4];
}

static void restart(void)
{
    card.unmasked = 0;
    memset(card.registers, 0, sizeof(card.registers));
    *reg(REG_STATUS) = 0x83; /* 1,000 Mbit/s, link, both ways */
    *reg(REG_RAL) = 0x12005452;
    *reg(REG_RAH) = 0x80005634;
    card.hangs = false;
    card.resets++;
}

static void transmit(void)
{
    struct e1000_tx *ring =
        dma_pointer(*reg(REG_TDBA) | (u64)card.registers[REG_TDBA / 4 + 1] << 32);

    for (u32 *head = reg(REG_TDH); *head != *reg(REG_TDT); *head = (*head + 1) % RINGS) {
        struct e1000_tx *d = &ring[*head];
        u32 type = d->len_type >> 20 & 15;
        bool extended = d->len_type & BIT(29);

        assert_true(!extended || type == (card.advanced ? 2u : 0u) ||
                    type == (card.advanced ? 3u : 1u));
        assert_true(extended || !card.advanced);
        if (extended && type == (card.advanced ? 2u : 0u)) {
            card.contexts++;
            memcpy(card.context, d, sizeof(card.context));
            continue;
        }
        card.len += d->len_type & 0xffff;
        if (d->len_type & TX_END)
            card.frames++;
        if (d->len_type & TX_REPORT)
            d->options |= TX_DONE;
    }
    *reg(REG_ICR) |= 1;
}

u32 mmio_read32(const volatile void *at)
{
    u32 where = offset_of(at), value = card.registers[where / 4];

    if (where == REG_ICR)
        *reg(REG_ICR) = 0;
    return value;
}

void mmio_write32(volatile void *at, u32 value)
{
    u32 where = offset_of(at);

    if (where == REG_CTRL && value & BIT(26)) {
        if (card.dead)
            card.registers[where / 4] = value;
        else
            restart();
        return;
    }
    if (pci_lab_has_msix && where == (card.advanced ? REG_EIMS : REG_IMS))
        card.unmasked |= value;
    if (where == REG_ICR || where == REG_IMS || where == REG_IMC || where == REG_EIMS)
        return;
    card.registers[where / 4] = value;
    if (where == REG_TDT && !card.hangs)
        transmit();
}

/* Of the receive queue, if it is not masked; which it is then. */
static void message(void)
{
    u32 cause = card.advanced ? 1 : (u32)BIT(20);
    bool sent = card.unmasked & cause;

    /* both directions have vector 0 */
    assert_int_equal(card.advanced ? *reg(REG_IVAR) : *reg(REG_IVAR_82574) & 0x7ffffffful,
                     card.advanced ? 0x8080 : 0x80808);
    assert_true(*reg(card.advanced ? REG_EIAC : REG_EIAC_82574) & cause);
    card.unmasked &= ~cause;
    if (sent)
        pci_lab_interrupt();
}

/* A frame comes: as the generation's descriptor has it. */
static void arrive(u32 len, bool whole)
{
    struct e1000_rx *ring =
        dma_pointer(*reg(REG_RDBA) | (u64)card.registers[REG_RDBA / 4 + 1] << 32);
    u32 *head = reg(REG_RDH);
    struct e1000_rx *d = &ring[*head];

    assert_int_not_equal(*head, *reg(REG_RDT));
    memset(dma_pointer(d->address), 0x5a, MIN(len, 2048u));
    d->back =
        card.advanced ? 1 | (whole ? 2 : 0) | (u64)len << 32 : (1ull | (whole ? 2 : 0)) << 32 | len;
    *head = (*head + 1) % RINGS;
    if (!pci_lab_has_msix) {
        *reg(REG_ICR) |= 0x80;
        pci_lab_interrupt();
    } else {
        message();
    }
}

/* ---- its user ----------------------------------------------------------------------------------
 */
static u32 received, received_len, released;

static void receive(void *owner, struct nic_frame *const *frames, u32 count)
{
    (void)owner;
    for (u32 i = 0; i < count; i++) {
        received_len = frames[i]->len;
        assert_int_equal(frames[i]->data[received_len - 1], 0x5a);
        nic_release(frames[i]);
    }
    received += count;
}

static void nothing(void *owner)
{
    (void)owner;
}
static const struct nic_user user = {.receive = receive, .room = nothing, .link = nothing};

static void back(struct nic_frame *f)
{
    (void)f;
    released++;
}

static struct pci_device *pci; /* brought up last */

static struct nic *bring_up(u16 device)
{
    static struct pci_device functions[16];
    static u32 used;
    static const struct driver_id id = {0x8086, 0, 0, 0, "test"};
    struct pci_device *d = pci = &functions[used++];
    struct nic *last = NULL;

    if (!dma_used_to) {
        void *at = mmap((void *)DMA_BASE, MEMORY, PROT_READ | PROT_WRITE,
                        MAP_PRIVATE | MAP_ANONYMOUS | MAP_FIXED_NOREPLACE, -1, 0);
        assert_ptr_equal(at, (void *)DMA_BASE);
        dma_used_to = 64;
    }
    memset(&card, 0, sizeof(card));
    pci_lab_window = (volatile u8 *)card.registers;
    pci_lab_len = sizeof(card.registers);
    memset(timers, 0, sizeof(timers));
    received = released = 0;
    card.advanced = device == 0x10c9 || device == 0x1533;
    d->device = device;
    d->id = &id;
    assert_int_equal(__start_drivers[0]->probe(d), HV_OK);
    for (struct nic *n = nic_first(); n; n = n->next)
        last = n;
    assert_int_equal(last->mac[0], 0x52);
    assert_int_equal(last->link_mbps, 1000);
    assert_int_equal(nic_open(last, &user), HV_OK);
    return last;
}

static void send_one(struct nic *n, u32 len, struct nic_frame about)
{
    static struct nic_frame f[64];
    static u32 next;
    struct nic_frame *p = &f[next++ % 64];

    *p = about;
    p->data = dma_alloc(len);
    p->data[12] = 8; /* IPv4 */
    p->data[14] = 0x45;
    p->len = len;
    p->release = back;
    card.frames = card.contexts = card.len = 0;
    assert_int_equal(nic_send(n, &p, 1), 1);
}

/* The watch is called as its time comes; a reset that it starts is run. */
static void seconds_pass(u32 seconds)
{
    while (seconds--) {
        tsc += CLOCK_SECOND;
        for (u32 i = 0; i < 4 && timers[i]; i++)
            if (timers[i]->armed && timers[i]->deadline <= tsc) {
                timers[i]->armed = false;
                timers[i]->fn(timers[i]->owner);
            }
        if (spawned) {
            void (*fn)(void *arg) = spawned;
            spawned = NULL;
            fn(spawned_arg);
        }
    }
}

static void works(struct nic *n)
{
    u32 sent = released;

    send_one(n, 60, (struct nic_frame){0});
    assert_int_equal(card.frames, 1);
    assert_int_equal(card.contexts, 0);
    assert_int_equal(card.len, 60);
    pci_lab_interrupt();
    assert_int_equal(released, sent + 1);
    received = 0;
    for (u32 i = 0; i < 600; i++) { /* more than once round the ring */
        arrive(60 + i, true);
        assert_int_equal(received_len, 60 + i);
        *reg(REG_RDT) = (*reg(REG_RDH) + RINGS - 1) % RINGS;
    }
    assert_int_equal(received, 600);
}

static void frames(u16 device)
{
    struct nic *n = bring_up(device);
    u64 errors = n->stats.rx_errors;

    works(n);
    received = 0;
    arrive(60, false);
    arrive(0, true);
    arrive(13, true);
    arrive(2049, true);
    assert_int_equal(received, 0);
    assert_int_equal(n->stats.rx_errors, errors + 4);
    nic_close(n);
}

static void both_ways(void **unused)
{
    (void)unused;
    frames(0x100e);
    frames(0x10c9);
}

static const struct nic_frame sum_udp = {
    .flags = NIC_CSUM_NEEDED, .csum_start = 34, .csum_offset = 6};
static const struct nic_frame cut = {.flags = NIC_CSUM_NEEDED | NIC_GSO_TCP4,
                                     .csum_start = 34,
                                     .csum_offset = 16,
                                     .header_len = 54,
                                     .gso_size = 1000};

/* By messages that mask themselves: each is followed by an unmasking, at once or when the last
 * frame was taken; nothing is left behind, also not after a reset. */
static void msix_of(u16 device)
{
    struct nic *n;
    u64 interrupts;

    pci_lab_has_msix = true;
    n = bring_up(device);
    interrupts = n->stats.interrupts;
    works(n);
    assert_int_equal(n->stats.interrupts, interrupts + 601);
    u32 unmasked = card.unmasked;
    card.unmasked = 0;
    received = 0;
    for (u32 i = 0; i < 100; i++) /* more than one look takes */
        arrive(60, true);
    assert_int_equal(received, 0);
    pci_lab_interrupt();
    assert_in_range(received, 1, 99);
    assert_int_equal(card.unmasked, 0);
    seconds_pass(1);
    assert_int_equal(received, 100);
    assert_int_equal(card.unmasked, unmasked);
    assert_int_equal(n->stats.interrupts, interrupts + 602);
    assert_int_equal(n->ops->reset(n), HV_OK);
    card.unmasked = 0;
    seconds_pass(1);
    assert_int_equal(card.unmasked, unmasked);
    works(n);
    nic_close(n);
    pci_lab_has_msix = false;
}

static void by_msix(void **unused)
{
    (void)unused;
    msix_of(0x10d3);
    msix_of(0x10c9);
}

static void sums_and_segments(void **unused)
{
    struct nic *n = bring_up(0x10d3);

    (void)unused;
    send_one(n, 100, sum_udp);
    assert_int_equal(card.contexts, 1);
    assert_int_equal(card.len, 100);
    assert_int_equal(card.context[1], 34 | 40 << 8); /* SDM 3.3.6 */
    assert_int_equal(card.context[2] & BIT(24), 0);  /* UDP */
    send_one(n, 3054, cut);
    assert_int_equal(card.len, 3054);
    assert_int_equal(card.context[2] & 0xfffff, 3000);
    assert_int_equal(card.context[3], 54 << 8 | 1000 << 16);
    nic_close(n);
    n = bring_up(0x1533);
    send_one(n, 100, sum_udp);
    assert_int_equal(card.context[0], 20 | 14 << 9); /* 82576 datasheet 7.2.2.2 */
    assert_int_equal(card.context[2], 2u << 20 | BIT(29) | BIT(10));
    send_one(n, 3054, cut);
    assert_int_equal(card.len, 3054);
    assert_int_equal(card.context[2], 2u << 20 | BIT(29) | BIT(11) | BIT(10));
    assert_int_equal(card.context[3], 20 << 8 | 1000u << 16);
    nic_close(n);
}

static void hang_of(u16 device)
{
    struct nic *n = bring_up(device);
    u32 resets = card.resets;

    works(n);
    card.hangs = true;
    released = 0;
    for (u32 i = 0; i < 3; i++)
        send_one(n, 60 + i, i == 1 ? sum_udp : (struct nic_frame){0});
    seconds_pass(2);
    assert_int_equal(card.resets, resets);
    assert_int_equal(released, 0);
    seconds_pass(3);
    assert_int_equal(card.resets, resets + 1);
    assert_int_equal(n->stats.resets, 1);
    assert_int_equal(released, 3); /* nobody's buffer is lost */
    assert_false(n->gone);
    works(n);
    seconds_pass(10); /* no other reset */
    assert_int_equal(card.resets, resets + 1);
    nic_close(n);
}

static void a_hang_ends_in_a_reset(void **unused)
{
    (void)unused;
    hang_of(0x100e);
    hang_of(0x10d3);
    hang_of(0x10c9);
}

/* The link goes while frames wait: they come back, and when it is there again all is well. */
static void without_link(void **unused)
{
    struct nic *n = bring_up(0x100e);
    u32 resets = card.resets;

    (void)unused;
    card.hangs = true;
    released = 0;
    for (u32 i = 0; i < 3; i++)
        send_one(n, 60 + i, (struct nic_frame){0});
    *reg(REG_STATUS) = 0x81;
    seconds_pass(1);
    assert_false(n->link_up);
    assert_int_equal(released, 0);
    seconds_pass(4);
    assert_int_equal(card.resets, resets + 1);
    assert_int_equal(released, 3);
    *reg(REG_STATUS) = 0x83;
    seconds_pass(10);
    assert_int_equal(card.resets, resets + 1);
    works(n);
    nic_close(n);
}

/* Its registers read as ones: what it had comes back once, and nothing more is sent. */
static void pulled_out(void **unused)
{
    struct nic *n = bring_up(0x10d3);

    (void)unused;
    card.hangs = true;
    released = 0;
    for (u32 i = 0; i < 3; i++)
        send_one(n, 60 + i, i == 1 ? sum_udp : (struct nic_frame){0});
    memset(card.registers, 0xff, sizeof(card.registers));
    __start_drivers[0]->gone(pci);
    assert_int_equal(released, 3);
    assert_true(n->gone);
    assert_false(n->link_up);
    pci_lab_interrupt();
    seconds_pass(10);
    assert_int_equal(released, 3);
    assert_int_equal(n->stats.resets, 0);
    nic_close(n);
}

/* It is still there, but no reset ends: what it had comes back once it can not be read any more. */
static void never_comes_back(void **unused)
{
    struct nic *n = bring_up(0x10d3);
    u32 silenced = pci_lab_silenced;

    (void)unused;
    card.hangs = true;
    released = 0;
    for (u32 i = 0; i < 3; i++)
        send_one(n, 60 + i, (struct nic_frame){0});
    card.dead = true;
    seconds_pass(20);
    assert_true(n->gone);
    assert_int_equal(pci_lab_silenced, silenced + 1);
    assert_int_equal(released, 3);
    assert_int_equal(n->stats.resets, 1);
    nic_close(n);
}

/* Frames are missed though descriptors are free, second after second: a reset.  An idle wire, a
 * full ring, and one that still moves are none. */
static void receiving_stops(void **unused)
{
    struct nic *n = bring_up(0x100e);
    u32 resets = card.resets, tail;

    (void)unused;
    seconds_pass(20);
    for (u32 i = 0; i < 10; i++) { /* it misses some and takes others */
        *reg(REG_MPC) = 5;
        arrive(100, true);
        seconds_pass(1);
    }
    *reg(REG_MPC) = 5;
    tail = *reg(REG_RDT);
    *reg(REG_RDT) = *reg(REG_RDH); /* full */
    seconds_pass(10);
    *reg(REG_RDT) = tail;
    assert_int_equal(card.resets, resets);
    *reg(REG_MPC) = 0;
    seconds_pass(1);
    *reg(REG_MPC) = 5;
    seconds_pass(2);
    assert_int_equal(card.resets, resets);
    seconds_pass(1);
    assert_int_equal(card.resets, resets + 1);
    assert_int_equal(n->stats.resets, 1);
    works(n);
    seconds_pass(10);
    assert_int_equal(card.resets, resets + 1);
    nic_close(n);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(both_ways),         cmocka_unit_test(by_msix),
        cmocka_unit_test(sums_and_segments), cmocka_unit_test(a_hang_ends_in_a_reset),
        cmocka_unit_test(without_link),      cmocka_unit_test(pulled_out),
        cmocka_unit_test(never_comes_back),  cmocka_unit_test(receiving_stops),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
