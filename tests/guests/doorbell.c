/* Doorbells of a virtio device (the entropy device): each of many is heard, by port and in memory,
 * also where the driver has moved the ports to; and what only resembles one does no harm. */
#include "tests/guests/lib/apic.h"
#include "tests/guests/lib/cpu.h"
#include "tests/guests/lib/guest.h"
#include "tests/guests/lib/virtio.h"

#define RNG 4
#define TURNS 300
#define VECTOR 0x50

static struct virtio rng;
static u8 bytes[64];

/* One request, told by `ring`; waits for its answer. */
static void request(void (*ring)(const struct virtio *d, u32 queue), const char *how)
{
    u32 len = 0, spins = 0;

    virtio_put(&rng, 0, 0, bytes, sizeof(bytes), true);
    ring(&rng, 0);
    while (virtio_take(&rng, 0, &len) == ~0u) {
        pause();
        check(++spins < 100000000, "%s: no answer", how);
    }
    check_equal(len, sizeof(bytes), how);
}

static void other_port(u32 bar)
{
    u32 command = pci_config_read(rng.slot, 4);

    pci_config_write(rng.slot, 4, command & ~1u);
    pci_config_write(rng.slot, 0x10, bar);
    pci_config_write(rng.slot, 4, command);
    rng.ports = (u16)(bar & ~3u);
}

static bool answered(void)
{
    u32 len;
    return virtio_take(&rng, 0, &len) != ~0u;
}

/* None of these is a doorbell of a queue that is there. */
static void near_misses(u16 ports)
{
    virtio_put(&rng, 0, 0, bytes, sizeof(bytes), true);
    for (u32 port = ports + 2; port < ports + 32u; port++)
        outw((u16)port, 0);
    (void)inw(ports);
    (void)inb(ports);
    outw((u16)(ports - 2), 0);
    outw(0xbffe, 0);
    outw(0xbfff, 0);
    outw(0xffff, 0);
    for (u32 i = 0; i < 20000; i++)
        pause();
    check(!answered(), "an answer that nobody asked for");
    virtio_kick(&rng, 0);
    while (!answered())
        pause();
}

/* Interrupts come although the vCPU sleeps at once. */
static void with_interrupts(void)
{
    u64 before = guest_count[VECTOR];
    u32 len;

    check(virtio_open(&rng, RNG, 1, 0, VECTOR), "the device is gone");
    for (u32 i = 0; i < TURNS; i++) {
        virtio_put(&rng, 0, 0, bytes, sizeof(bytes), true);
        cli();
        virtio_kick(&rng, 0);
        while (virtio_take(&rng, 0, &len) == ~0u)
            sti_hlt_cli();
        sti();
    }
    check(guest_count[VECTOR] > before, "no interrupt came");
}

void guest_main(void)
{
    apic_enable_x2();
    check(virtio_open(&rng, RNG, 1, 0, 0), "there is no entropy device");
    u32 bar = pci_config_read(rng.slot, 0x10);
    u16 home = rng.ports;

    for (u32 i = 0; i < TURNS; i++)
        request(virtio_kick, "port");
    for (u32 i = 0; i < 20; i++)
        request(virtio_kick_memory, "memory");
    near_misses(home);
    other_port(0xf000 | 1);
    request(virtio_kick, "ports that were moved");
    virtio_put(&rng, 0, 0, bytes, sizeof(bytes), true);
    outw(home, 0);
    for (u32 i = 0; i < 20000; i++)
        pause();
    check(!answered(), "the port that was left is still heard");
    virtio_kick(&rng, 0);
    while (!answered())
        pause();
    other_port(bar);
    for (u32 i = 0; i < TURNS; i++)
        request(virtio_kick, "ports that came back");
    check(virtio_open(&rng, RNG, 1, VIRTIO_F_EVENT_IDX, 0), "the device is gone");
    for (u32 i = 0; i < TURNS; i++) {
        u16 before = rng.queue[0].avail.index;
        u32 len, spins = 0;
        virtio_put(&rng, 0, 0, bytes, sizeof(bytes), true);
        if (virtio_wants_kick(&rng, 0, before))
            virtio_kick(&rng, 0);
        while (virtio_take(&rng, 0, &len) == ~0u) {
            pause();
            check(++spins < 100000000, "with event index: no answer to request %u", i);
        }
    }
    with_interrupts();
    guest_pass();
}
