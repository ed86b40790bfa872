/* AHCI controllers: Serial ATA AHCI 1.3.1.  Looks after the ports: disks come and go while it runs.
 * Called by pci.c, by its interrupt on the loop. */
#include "drivers/ahci.h"

#include <stdlib.h>

#include "control/rt/clock.h"
#include "control/rt/fiber.h"
#include "control/rt/log.h"
#include "control/rt/mmio.h"
#include "drivers/ahci_port.h"
#include "drivers/driver.h"
#include "drivers/pci.h"

#define PORTS 32
#define ABAR 5

enum ahci_register { /* 3.1, and 3.3 from 100H + port * 80H */
                     REG_CAP = 0x00,
                     REG_GHC = 0x04,
                     REG_IS = 0x08,
                     REG_PI = 0x0c,
                     REG_PORTS = 0x100,
                     PORT_SIZE = 0x80,
};
#define GHC_INTERRUPTS 2u
#define GHC_AHCI 0x80000000u

#define LOOK_EVERY CLOCK_SECOND    /* for controllers that do not tell of disks that come */
#define SETTLE_NS (100 * CLOCK_MS) /* contacts bounce */

struct controller {
    struct pci_device *pci;
    volatile u8 *registers;
    u32 cap;
    u32 present;                    /* ports */
    u32 unusable;                   /* of them: what is attached there was tried in vain */
    struct ahci_port *ports[PORTS]; /* NULL: nothing is attached that is used */
    struct event changed;           /* a link */
};

static volatile u8 *registers_of(const struct controller *c, u32 n)
{
    return c->registers + REG_PORTS + n * PORT_SIZE;
}

static void serve(void *owner)
{
    struct controller *c = owner;
    u32 is = mmio_read32(c->registers + REG_IS);

    if (is == ~0u)
        return;
    for (u32 left = is & c->present; left; left &= left - 1) {
        u32 n = (u32)__builtin_ctz(left);
        if (!c->ports[n]) {
            ahci_port_calm(registers_of(c, n));
            c->unusable &= ~(1u << n);
        }
        if (!c->ports[n] || ahci_port_serve(c->ports[n]))
            event_signal(&c->changed);
    }
    mmio_write32(c->registers + REG_IS, is); /* after the ports': 5.5.3 */
}

/* ---- what comes and goes ----------------------------------------------------------------------
 */
static void attach(struct controller *c, u32 n)
{
    struct ahci_port *p = ahci_port_new(c->pci, registers_of(c, n), c->cap, n);

    if (!p) {
        log_error("AHCI port %u: no memory for what is attached", n);
        return;
    }
    c->ports[n] = p; /* packet devices are asked by interrupts */
    if (ahci_port_attach(p))
        return;
    c->ports[n] = NULL;
    c->unusable |= 1u << n;
    ahci_port_release(p);
    ahci_port_watch(registers_of(c, n));
}

static void look_at(struct controller *c, u32 n)
{
    struct ahci_port *p = c->ports[n];
    bool linked = ahci_port_linked(registers_of(c, n));

    if (p && ahci_port_block(p)->gone && !ahci_port_block(p)->resetting) {
        c->ports[n] = NULL;
        ahci_port_release(p);
        ahci_port_watch(registers_of(c, n));
        event_signal(&c->changed); /* another one may be there */
    } else if (p && !linked) {
        block_stuck(ahci_port_block(p), "its link is down");
    } else if (!p && !linked) {
        c->unusable &= ~(1u << n);
    } else if (!p && !(c->unusable >> n & 1)) {
        attach(c, n);
    }
}

static void look(struct controller *c)
{
    for (u32 n = 0; n < PORTS && !c->pci->gone; n++)
        if (c->present >> n & 1)
            look_at(c, n);
}

static void look_after(void *owner)
{
    struct controller *c = owner;

    while (!c->pci->gone) {
        if (fiber_wait(&c->changed, clock_after(LOOK_EVERY)) == HV_OK)
            fiber_sleep_until(clock_after(SETTLE_NS));
        event_clear(&c->changed);
        look(c);
    }
}

static enum hv_status probe(struct pci_device *pci)
{
    enum hv_status status = pci_map(pci, ABAR, REG_PORTS + PORT_SIZE);
    u32 disks = 0;

    if (status != HV_OK || !pci->bars[ABAR].registers)
        return status != HV_OK ? status : HV_ENOENT;
    struct controller *c = calloc(1, sizeof(*c));
    if (!c)
        return HV_ENOMEM;
    pci->state = c;
    c->pci = pci;
    c->registers = pci->bars[ABAR].registers;
    pci_enable(pci);
    mmio_write32(c->registers + REG_GHC, GHC_AHCI);
    c->cap = mmio_read32(c->registers + REG_CAP);
    u64 ports = MIN((pci->bars[ABAR].len - REG_PORTS) / PORT_SIZE, (u64)PORTS);
    c->present = mmio_read32(c->registers + REG_PI) & (u32)((1ull << ports) - 1);
    u32 vectors = pci_interrupts(pci, 32 - (u32)__builtin_clz(c->present | 1)); /* a port's each */
    for (u32 n = 0; n < vectors; n++)
        pci_on_interrupt(pci, n, serve, c);
    mmio_write32(c->registers + REG_IS, ~0u);
    mmio_write32(c->registers + REG_GHC, GHC_AHCI | GHC_INTERRUPTS);
    look(c);
    for (u32 n = 0; n < PORTS; n++) {
        disks += c->ports[n] != NULL;
        if ((c->present >> n & 1) && !c->ports[n])
            ahci_port_watch(registers_of(c, n));
    }
    log_info("AHCI: %u disks", disks);
    if (!fiber_spawn("ahci", look_after, c))
        log_warn("%s: no memory to look after its ports", pci->name);
    return HV_OK;
}

static void gone(struct pci_device *pci)
{
    struct controller *c = pci->state;

    for (u32 n = 0; n < PORTS; n++)
        if (c->ports[n])
            block_stuck(ahci_port_block(c->ports[n]), "it was pulled out");
}

static const struct driver_id ids[] = {
    {DRIVER_ANY, DRIVER_ANY, 0x010601, 0xffffff, "AHCI controller"},
    {0},
};
static const struct driver ahci = {.name = "ahci", .ids = ids, .probe = probe, .gone = gone};
DRIVER(ahci);
