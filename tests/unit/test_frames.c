/* links: net/frame.c net/mac_table.c net/vlan.c net/policy.c net/shape.c net/delay.c net/igmp_snoop.c net/lacp.c net/team.c net/discovery.c net/lldp.c net/cdp.c net/switch.c net/switch_port.c net/switch_clock.c net/switches.c net/mac_address.c net/checksum.c net/stack.c net/kif.c net/route.c net/ping.c net/uplink.c drivers/nic.c drivers/e1000.c control/rt/dma.c control/rt/random.c control/rt/fiber.c control/rt/fiber_switch.S control/rt/loop.c control/rt/clock.c control/rt/log.c control/rt/host/host.c */
/* A million broken frames through the driver of an Intel card, the switch and lwIP: truncated,
 * oversized, with bad checksums, of random bytes, and descriptors that no card would write. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>
#include <lwip/tcp.h>

#include "control/rt/clock.h"
#include "control/rt/dma.h"
#include "control/rt/loop.h"
#include "control/rt/mmio.h"
#include "drivers/nic.h"
#include "drivers/pci.h"
#include "net/checksum.h"
#include "net/kif.h"
#include "net/net.h"
#include "net/stack.h"
#include "net/switches.h"
#include "net/uplink.h"

#define FRAMES 1000000u
#define BURST 50u
#define RING 256u
#define BUFFER 2048u

/* ---- the card: registers and rings, as far as the driver looks ------------------------------ */
enum {
    REG_CTRL = 0x0000,
    REG_STATUS = 0x0008,
    REG_ICR = 0x00c0,
    REG_RDBA = 0x2800,
    REG_RDT = 0x2818,
    REG_TDBA = 0x3800,
    REG_TDT = 0x3818,
    REG_RAL = 0x5400,
    REG_RAH = 0x5404,
};
struct descriptor {
    u64 address;
    u16 len, checksum;
    u8 status, errors;
    u16 special;
};

static u8 registers[0x6000];
static u32 rx_head, tx_head;
static u64 sent;
static void (*interrupt)(void *owner);
static void *interrupt_owner;
static const struct driver_id id = {0x8086, 0x100e, 0, 0, "Intel 82540EM"};
static struct pci_device device = {.id = &id};
static struct kif *kif;

static u32 *reg(u32 at)
{
    return (u32 *)(registers + at);
}

u32 mmio_read32(const volatile void *at)
{
    u32 offset = (u32)((const volatile u8 *)at - registers), value = *reg(offset);

    if (offset == REG_ICR)
        *reg(REG_ICR) = 0;
    return value;
}

static struct descriptor *ring(u32 base)
{
    return dma_pointer(*reg(base));
}

static void transmit(void)
{
    for (; tx_head != *reg(REG_TDT); tx_head = (tx_head + 1) % RING) {
        struct descriptor *d = &ring(REG_TDBA)[tx_head];

        sent += d->len > 0 && *(const u8 *)dma_pointer(d->address) != 0xee;
        d->status |= 1;
    }
}

void mmio_write32(volatile void *at, u32 value)
{
    u32 offset = (u32)((volatile u8 *)at - registers);

    *reg(offset) = offset == REG_CTRL ? value & ~0x04000000u : value;
    if (offset == REG_ICR)
        *reg(offset) = 0;
    if (offset == REG_TDT)
        transmit();
}

/* False: the ring is full. */
static bool inject(const u8 *frame, u32 len, u8 status, u8 errors)
{
    struct descriptor *d = &ring(REG_RDBA)[rx_head];

    if (rx_head == *reg(REG_RDT))
        return false;
    memcpy(dma_pointer(d->address), frame, MIN(len, BUFFER));
    d->len = (u16)len;
    d->errors = errors;
    d->status = status;
    rx_head = (rx_head + 1) % RING;
    *reg(REG_ICR) |= 0x80;
    return true;
}

enum hv_status pci_map(struct pci_device *dev, u32 bar, u64 least)
{
    assert_true(least <= sizeof(registers));
    dev->bars[bar] = (struct pci_bar){.registers = registers, .len = sizeof(registers)};
    return HV_OK;
}

void pci_enable(struct pci_device *dev)
{
    dev->claimed = true;
}

u32 pci_interrupts(struct pci_device *dev, u32 wanted)
{
    (void)wanted;
    dev->irq_mode = PCI_IRQ_LINE;
    return 1;
}

void pci_on_interrupt(struct pci_device *dev, u32 vector, void (*fn)(void *owner), void *owner)
{
    (void)dev, (void)vector;
    interrupt = fn;
    interrupt_owner = owner;
}

enum hv_status pci_wait_register(const volatile void *at, u32 mask, u32 value, u64 ns)
{
    (void)ns;
    return (mmio_read32(at) & mask) == value ? HV_OK : HV_ETIMEDOUT;
}

void net_wake(void)
{
}

/* ---- frames ---------------------------------------------------------------------------------- */
static u64 seed = 5;

static u32 draw(u32 below)
{
    return (u32)(shape_random(&seed) % below);
}

static u16 sum_of(const u8 *at, u32 len)
{
    return (u16)~checksum_sum(at, (int)len);
}

static void put16(u8 *at, u32 value)
{
    at[0] = (u8)(value >> 8);
    at[1] = (u8)value;
}

/* A frame that is sound: its length.  `kind` picks protocol and ports. */
static u32 sound(u8 *f, u32 kind)
{
    static const u8 protocols[] = {1, 6, 17, 17, 17, 2};
    static const u16 ports[][2] = {{0, 0}, {4711, 80}, {67, 68}, {53, 53}, {123, 123}, {0, 0}};
    u32 which = kind % ARRAY_LEN(protocols), payload = 8 + draw(400);

    memset(f, 0, BUFFER);
    for (u32 i = 0; i < 6; i++)
        f[i] = kind & 64 ? 0xff : (u8)(kif->port->mac >> (40 - 8 * i));
    memcpy(f + 6, "\2\0\0\0\0\7", 6);
    if (kind % 16 == 15) { /* ARP */
        memcpy(f + 12, "\x08\x06\0\1\x08\0\6\4\0\1\2\0\0\0\0\7\x0a\0\0\7\0\0\0\0\0\0\x0a\0\0\2",
               30);
        return 60;
    }
    if (kind % 16 >= 12) { /* ICMPv6 */
        memcpy(f + 12, "\x86\xdd\x60", 3);
        put16(f + 18, payload);
        f[20] = 58;
        f[21] = 255;
        memcpy(f + 22, "\xfe\x80\0\0\0\0\0\0\0\0\0\0\0\0\0\7\xff\2\0\0\0\0\0\0\0\0\0\0\0\0\0\1",
               32);
        f[54] = (u8)(128 + draw(10));
        return 54 + payload;
    }
    memcpy(f + 12, "\x08\0\x45", 3);
    put16(f + 16, 20 + payload);
    f[22] = 64;
    f[23] = protocols[which];
    memcpy(f + 26, "\x0a\0\0\7\x0a\0\0\2", 8);
    put16(f + 34, ports[which][0] ? ports[which][0] : 0x0800);
    put16(f + 36, ports[which][1]);
    put16(f + 38, protocols[which] == 17 ? payload : 0);
    f[46] = 0x50;
    f[47] = (u8)draw(64);
    u16 sum = sum_of(f + 14, 20);
    memcpy(f + 24, &sum, 2);
    return 34 + payload;
}

/* One that is not. */
static u32 broken(u8 *f, u32 number)
{
    u32 len = sound(f, number), edits = draw(6);

    switch (number / 7 % 4) {
    case 0: /* cut off */
        return 1 + draw(len);
    case 1: /* longer than its headers say */
        return MIN(len + draw(1600), BUFFER);
    case 2: /* a few bytes of it are others, so sums are wrong */
        while (edits--)
            f[14 + draw(MIN(len, 80u))] = (u8)draw(256);
        return len;
    default: /* nonsense behind a header */
        for (u32 at = 14 + draw(40); at < len; at++)
            f[at] = (u8)shape_random(&seed);
        return len;
    }
}

static void run(void)
{
    interrupt(interrupt_owner);
    while (kif_run())
        ;
    stack_poll();
}

static void step(void *owner)
{
    (void)owner;
}

/* The loop, for the driver's probe, which waits. */
static void drive(void)
{
    struct loop_timer t = {.fn = step};

    for (u32 i = 0; i < 1000 && fiber_count(); i++) {
        loop_timer_set(&t, clock_after(CLOCK_MS));
        loop_step();
    }
    loop_timer_cancel(&t);
}

extern const struct driver *const __start_drivers[], *const __stop_drivers[];

static void probe(void *arg)
{
    assert_int_equal(__start_drivers[0]->probe(arg), HV_OK);
}

static err_t on_accept(void *owner, struct tcp_pcb *pcb, err_t e)
{
    (void)owner;
    (void)pcb;
    return e;
}

static void set_up(void)
{
    ip4_addr_t address = {PP_HTONL(0x0a000002)}, mask = {PP_HTONL(0xffffff00)}, none = {0};
    struct net_switch *sw;
    struct tcp_pcb *pcb;

    clock_init();
    *reg(REG_STATUS) = 0x82; /* link, 1000 Mbit/s */
    *reg(REG_RAL) = 0x12005452;
    *reg(REG_RAH) = 0x80005634;
    fiber_spawn("probe", probe, &device);
    drive();
    assert_non_null(nic_find("nic0"));
    stack_init();
    switches_init(1);
    assert_int_equal(switches_add("s", 0, &sw), HV_OK);
    assert_int_equal(uplink_add(sw, "nic0"), HV_OK);
    assert_int_equal(kif_add("k0", sw, 0, &kif), HV_OK);
    kif_set_static(kif, address, mask, none);
    pcb = tcp_new();
    tcp_bind(pcb, IP_ANY_TYPE, 80);
    tcp_accept(tcp_listen(pcb), on_accept);
}

/* An echo request that is sound gets its answer. */
static void is_alive(void)
{
    u8 f[BUFFER];
    u64 before = sent;
    u32 len = sound(f, 15);

    assert_true(inject(f, len, 3, 0)); /* ARP: who asks is known then */
    run();
    len = sound(f, 0);
    memset(f + 34, 0, len - 34);
    f[34] = 8;
    put16(f + 36, 0xf7ff);
    assert_true(inject(f, len, 3, 0));
    run();
    assert_true(sent >= before + 2);
}

static void a_million_broken_frames(void **state)
{
    u8 frame[BUFFER];

    (void)state;
    set_up();
    is_alive();
    for (u32 n = 0; n < FRAMES;) {
        for (u32 i = 0; i < BURST && n < FRAMES; i++, n++) {
            u32 len = broken(frame, n);
            bool odd = n % 97 == 0; /* what the card says of it is nonsense, too */

            if (!inject(frame, odd ? draw(65536) : len, odd ? (u8)(draw(256) | 1) : 3,
                        odd ? (u8)draw(256) : 0))
                break;
        }
        run();
        if (n % 100000 < BURST)
            kif_set_static(kif, *netif_ip4_addr(&kif->netif), *netif_ip4_netmask(&kif->netif),
                           (ip4_addr_t){0});
    }
    is_alive();
    const struct nic *nic = nic_find("nic0");
    assert_true(nic->stats.rx_frames > FRAMES * 9ull / 10);
    printf("%llu frames taken, %llu refused by the driver, %llu answers\n",
           (unsigned long long)nic->stats.rx_frames, (unsigned long long)nic->stats.rx_errors,
           (unsigned long long)sent);
}

/* However many wait, one wake takes a bounded number of them. */
static void one_wake_does_a_bounded_share(void **state)
{
    const struct nic *nic = nic_find("nic0");
    u64 before = nic->stats.rx_frames;
    u8 frame[BUFFER];

    (void)state;
    for (u32 i = 0; i < 200; i++)
        assert_true(inject(frame, sound(frame, 15), 3, 0));
    interrupt(interrupt_owner);
    assert_true(nic->stats.rx_frames - before <= NIC_BATCH);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(a_million_broken_frames),
        cmocka_unit_test(one_wake_does_a_bounded_share),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
