/* A host controller: xHCI 1.2 chapters 4 and 5.  Called by pci.c, by usb_device.c, by its interrupt
 * on the loop; one fiber a controller looks after its ports. */
#include "drivers/xhci.h"

#include <stdlib.h>
#include <string.h>

#include "control/rt/clock.h"
#include "control/rt/dma.h"
#include "control/rt/log.h"
#include "control/rt/mmio.h"
#include "drivers/driver.h"
#include "drivers/usb_device.h"

enum capability { /* 5.3 */
                  HCSPARAMS1 = 0x04,
                  HCSPARAMS2 = 0x08,
                  HCCPARAMS1 = 0x10,
                  DBOFF = 0x14,
                  RTSOFF = 0x18,
};
enum operational { /* 5.4 */
                   USBCMD = 0x00,
                   USBSTS = 0x04,
                   PAGESIZE = 0x08,
                   CRCR = 0x18,
                   DCBAAP = 0x30,
                   CONFIG = 0x38,
                   PORTS = 0x400,
};
enum interrupter { /* 5.5.2, from the runtime registers */
                   IMAN = 0x20,
                   IMOD = 0x24,
                   ERSTSZ = 0x28,
                   ERSTBA = 0x30,
                   ERDP = 0x38,
};
#define PARAMS1_SLOTS BITS(7, 0)
#define PARAMS1_PORTS BITS(31, 24)
#define PARAMS2_SPARE_HIGH BITS(25, 21)
#define PARAMS2_SPARE_LOW BITS(31, 27)
#define PARAMS_64_BIT BIT(0)
#define PARAMS_WIDE BIT(2)
#define PARAMS_EXTENDED BITS(31, 16)
#define CMD_RUN 1u
#define CMD_RESET 2u
#define CMD_INTERRUPTS 4u
#define STS_HALTED 1u     /* also while it runs: somebody else has reset it */
#define STS_FATAL 0x1004u /* host system error, host controller error */
#define STS_INTERRUPT 8u
#define STS_NOT_READY 0x800u
#define ERDP_BUSY 8u

#define PORT_CONNECTED BIT(0)
#define PORT_ENABLED BIT(1)
#define PORT_RESET BIT(4)
#define PORT_POWER BIT(9)
#define PORT_SPEED BITS(13, 10)
#define PORT_CHANGED BIT(17)
#define PORT_RESET_DONE BIT(21)
#define PORT_CHANGES BITS(23, 17)
#define PORT_KEEP (PORT_POWER | BITS(15, 14) | BITS(27, 25)) /* what a write must not change */

#define LEGACY 1u /* extended capability, 7.1 */
#define LEGACY_BIOS BIT(16)
#define LEGACY_OS BIT(24)

#define SPARES_MOST 256
#define BUDGET 64
#define STOP_NS (100 * CLOCK_MS)
#define RESET_NS (1 * CLOCK_SECOND)
#define LEGACY_NS (1 * CLOCK_SECOND)
#define COMMAND_NS (5 * CLOCK_SECOND)
#define PORT_NS (500 * CLOCK_MS)
#define SETTLE_NS (100 * CLOCK_MS) /* of a connection: USB 2.0 7.1.7.3 */
#define RESETS_MOST 3u
#define RESETS_NS (60 * CLOCK_SECOND)

static volatile u8 *port_register(const struct xhci *x, u32 port)
{
    return x->operational + PORTS + 16 * port;
}

/* ---- rings ------------------------------------------------------------------------------------
 */
bool xhci_ring_make(struct xhci_ring *r)
{
    *r = (struct xhci_ring){.trbs = dma_alloc(XHCI_RING * sizeof(struct xhci_trb)), .cycle = 1};
    return r->trbs;
}

/* The control word last: with its cycle bit the TRB is the controller's. */
static void write_trb(struct xhci_trb *t, u64 parameter, u32 status, u32 control)
{
    t->parameter = parameter;
    t->status = status;
    __atomic_store_n(&t->control, control, __ATOMIC_RELEASE);
}

u64 xhci_put(struct xhci_ring *r, u64 parameter, u32 status, u32 control)
{
    struct xhci_trb *t = &r->trbs[r->at];

    write_trb(t, parameter, status, control | r->cycle);
    if (++r->at == XHCI_RING - 1) { /* a chain goes on over the link: 4.11.5.1 */
        write_trb(&r->trbs[r->at], dma_address(r->trbs), 0,
                  TRB_TYPE(TRB_LINK) | 2 | (control & TRB_CHAIN) | r->cycle);
        r->at = 0;
        r->cycle ^= 1;
    }
    return dma_address(t);
}

void xhci_bell(struct xhci *x, u32 slot, u32 target)
{
    mmio_barrier();
    if (!x->dead)
        mmio_write32(x->doorbells + 4 * slot, target);
}

static void die(struct xhci *x, const char *why)
{
    if (x->dead)
        return;
    log_error("%s: %s", x->pci->name, why);
    x->dead = true;
    event_signal(&x->command_over);
    for (struct usb_device *d = x->devices; d; d = d->next)
        event_signal(&d->control_over);
    event_signal(&x->changed);
}

enum hv_status xhci_command(struct xhci *x, u64 parameter, u32 control, struct xhci_trb *event)
{
    enum hv_status status = HV_EIO;

    while (x->locked)
        fiber_wait(&x->unlocked, LOOP_NEVER);
    if (!x->dead) {
        x->locked = true;
        event_clear(&x->command_over);
        x->command_event = (struct xhci_trb){0};
        x->command_trb = xhci_put(&x->commands, parameter, 0, control);
        xhci_bell(x, 0, 0);
        if (fiber_wait(&x->command_over, clock_after(COMMAND_NS)) != HV_OK)
            die(x, "a command is not answered");
        x->command_trb = 0;
        if (!x->dead && x->command_event.status >> 24 == CODE_SUCCESS)
            status = HV_OK;
        x->locked = false;
        event_signal(&x->unlocked);
    }
    if (event)
        *event = x->command_event;
    return status;
}

/* ---- events -----------------------------------------------------------------------------------
 */
static void on_event(struct xhci *x, const struct xhci_trb *e)
{
    u32 type = e->control >> 10 & 63, slot = e->control >> 24, index = e->control >> 16 & 31;

    if (type == TRB_COMMAND_EVENT && e->parameter == x->command_trb && x->command_trb) {
        x->command_event = *e;
        event_signal(&x->command_over);
    } else if (type == TRB_PORT_EVENT) {
        event_signal(&x->changed);
    } else if (type == TRB_TRANSFER_EVENT && slot <= XHCI_SLOTS && x->by_slot[slot] &&
               x->by_slot[slot]->pipes[index]) {
        struct usb_pipe *p = x->by_slot[slot]->pipes[index];
        if (p->on_event)
            p->on_event(p, e->parameter, e->status >> 24, e->status & 0xffffff);
    }
}

static void serve(void *owner)
{
    struct xhci *x = owner;
    u32 budget = BUDGET;

    if (x->dead)
        return;
    u32 status = mmio_read32(x->operational + USBSTS);
    if (status == ~0u || (status & (STS_FATAL | STS_HALTED))) {
        die(x, "the controller has failed");
        return;
    }
    mmio_write32(x->operational + USBSTS, STS_INTERRUPT);
    mmio_write32(x->runtime + IMAN, mmio_read32(x->runtime + IMAN)); /* pending: by writing 1 */
    while (budget && (__atomic_load_n(&x->events[x->event_at].control, __ATOMIC_ACQUIRE) & 1) ==
                         x->event_cycle) {
        struct xhci_trb e = x->events[x->event_at];
        if (++x->event_at == XHCI_RING) {
            x->event_at = 0;
            x->event_cycle ^= 1;
        }
        on_event(x, &e);
        budget--;
    }
    mmio_write64(x->runtime + ERDP, dma_address(&x->events[x->event_at]) | ERDP_BUSY);
    if (!budget)
        loop_timer_set(&x->more, clock_tsc());
}

void xhci_poll(struct xhci *x)
{
    serve(x);
}

/* ---- ports ------------------------------------------------------------------------------------
 */
static u32 port_state(const struct xhci *x, u32 port)
{
    return x->dead ? 0 : mmio_read32(port_register(x, port));
}

static void port_write(struct xhci *x, u32 port, u32 bits)
{
    if (!x->dead)
        mmio_write32(port_register(x, port), (u32)((port_state(x, port) & PORT_KEEP) | bits));
}

bool xhci_port_reset(struct xhci *x, u32 port, enum usb_speed *speed)
{
    u64 end = clock_after(PORT_NS);

    if (!(port_state(x, port) & PORT_CONNECTED))
        return false;
    port_write(x, port, PORT_RESET);
    while (!(port_state(x, port) & PORT_RESET_DONE) && clock_tsc() < end && !x->dead)
        fiber_sleep_until(clock_after(CLOCK_MS));
    port_write(x, port, PORT_CHANGES & ~PORT_CHANGED);
    fiber_sleep_until(clock_after(10 * CLOCK_MS)); /* recovery: USB 2.0 7.1.7.5 */
    *speed = (enum usb_speed)FIELD_GET(PORT_SPEED, port_state(x, port));
    return (port_state(x, port) & (PORT_CONNECTED | PORT_ENABLED)) ==
           (PORT_CONNECTED | PORT_ENABLED);
}

/* What hangs at a port that tells of a change is gone, even if something is there again. */
static void look_at(struct xhci *x, u32 port)
{
    u32 state = port_state(x, port);
    enum usb_speed speed;

    if (state & PORT_CHANGED)
        usb_device_gone(x, NULL, port);
    if (state & PORT_CHANGES)
        port_write(x, port, state & PORT_CHANGES);
    if (!(state & PORT_CONNECTED) || usb_device_at(x, NULL, port))
        return;
    if (xhci_port_reset(x, port, &speed) && !usb_device_attach(x, NULL, port, speed))
        log_info("%s port %u: what is attached is not used", x->pci->name, port + 1);
}

static void look_at_all(struct xhci *x)
{
    for (u32 i = 0; i < x->ports; i++)
        look_at(x, i);
}

/* ---- bringing up ------------------------------------------------------------------------------
 */
/* The firmware's driver lets go: 4.22.1. */
static void take_over(struct xhci *x, u64 len)
{
    u64 at = FIELD_GET(PARAMS_EXTENDED, mmio_read32(x->capability + HCCPARAMS1)) * 4;

    for (u32 i = 0; i < 64 && at && at + 8 <= len; i++) {
        u32 value = mmio_read32(x->capability + at);
        if ((value & 0xff) == LEGACY) {
            mmio_write32(x->capability + at, value | (u32)LEGACY_OS);
            if (pci_wait_register(x->capability + at, (u32)LEGACY_BIOS, 0, LEGACY_NS) != HV_OK)
                log_warn("%s: the firmware does not let go", x->pci->name);
            mmio_write32(x->capability + at + 4, 0xe0000000); /* no SMI, its causes cleared */
            return;
        }
        at = value >> 8 & 0xff ? at + (value >> 8 & 0xff) * 4 : 0;
    }
}

static enum hv_status halt(struct xhci *x)
{
    mmio_write32(x->operational + USBCMD, 0);
    enum hv_status status =
        pci_wait_register(x->operational + USBSTS, STS_HALTED, STS_HALTED, STOP_NS);
    if (status != HV_OK)
        return status;
    mmio_write32(x->operational + USBCMD, CMD_RESET);
    status = pci_wait_register(x->operational + USBCMD, CMD_RESET, 0, RESET_NS);
    if (status != HV_OK)
        return status;
    return pci_wait_register(x->operational + USBSTS, STS_NOT_READY, 0, RESET_NS);
}

/* After a reset, with memory that is as it was or new: 4.2. */
static void start(struct xhci *x)
{
    x->dead = true;
    memset(x->events, 0, XHCI_RING * sizeof(struct xhci_trb));
    memset(x->commands.trbs, 0, XHCI_RING * sizeof(struct xhci_trb));
    memset(x->contexts + 1, 0, XHCI_SLOTS * sizeof(u64));
    x->commands.at = x->event_at = 0;
    x->commands.cycle = x->event_cycle = 1;
    x->event_table[0] = dma_address(x->events);
    x->event_table[1] = XHCI_RING;
    mmio_write32(x->operational + CONFIG, x->slots);
    mmio_write64(x->operational + DCBAAP, dma_address(x->contexts));
    mmio_write64(x->operational + CRCR, dma_address(x->commands.trbs) | 1);
    mmio_write32(x->runtime + ERSTSZ, 1);
    mmio_write64(x->runtime + ERDP, dma_address(x->events));
    mmio_write64(x->runtime + ERSTBA, dma_address(x->event_table));
    mmio_write32(x->runtime + IMOD, 160); /* 40 us: in units of 250 ns */
    mmio_write32(x->runtime + IMAN, 3);
    x->silent = false;
    mmio_write32(x->operational + USBCMD, CMD_RUN | CMD_INTERRUPTS);
    enum hv_status status = pci_wait_register(x->operational + USBSTS, STS_HALTED, 0, STOP_NS);
    x->dead = status != HV_OK || x->pci->gone;
    for (u32 i = 0; i < x->ports; i++)
        if (!(port_state(x, i) & PORT_POWER))
            port_write(x, i, PORT_POWER);
    fiber_sleep_until(clock_after(SETTLE_NS));
}

/* Memory that the controller may still write to is not given back: what fails here is rare. */
static enum hv_status give_memory(struct xhci *x)
{
    u32 params = mmio_read32(x->capability + HCSPARAMS2);
    u32 spares =
        (u32)(FIELD_GET(PARAMS2_SPARE_HIGH, params) << 5 | FIELD_GET(PARAMS2_SPARE_LOW, params));

    x->event_table = dma_alloc(64);
    x->contexts = dma_alloc((XHCI_SLOTS + 1) * sizeof(u64));
    x->events = dma_alloc(XHCI_RING * sizeof(struct xhci_trb));
    if (!x->event_table || !x->contexts || !x->events || !xhci_ring_make(&x->commands))
        return HV_ENOMEM;
    if (spares > SPARES_MOST || !(mmio_read32(x->operational + PAGESIZE) & 1))
        return HV_ENOSYS;
    u64 *list = spares ? dma_alloc(spares * sizeof(u64)) : NULL;
    for (u32 i = 0; list && i < spares; i++) {
        void *page = dma_alloc(PAGE_SIZE);
        if (!page)
            return HV_ENOMEM;
        list[i] = dma_address(page);
    }
    x->contexts[0] = list ? dma_address(list) : 0;
    return spares && !list ? HV_ENOMEM : HV_OK;
}

/* Where the registers are, and whether all of them are within the base address. */
static enum hv_status find_registers(struct xhci *x)
{
    struct pci_device *pci = x->pci;
    enum hv_status status = pci_map(pci, 0, 0x20);

    if (status != HV_OK || !pci->bars[0].registers)
        return HV_ENOENT;
    pci_enable(pci);
    u64 len = pci->bars[0].len;
    x->capability = pci->bars[0].registers;
    u32 params = mmio_read32(x->capability + HCSPARAMS1), more;
    u64 bells = mmio_read32(x->capability + DBOFF) & ~3u;
    u64 runtime = mmio_read32(x->capability + RTSOFF) & ~31u;
    u64 operational = mmio_read8(x->capability);
    x->slots = MIN((u32)FIELD_GET(PARAMS1_SLOTS, params), (u32)XHCI_SLOTS);
    x->ports = (u32)FIELD_GET(PARAMS1_PORTS, params);
    more = mmio_read32(x->capability + HCCPARAMS1);
    x->context_len = more & PARAMS_WIDE ? 64 : 32;
    if (bells + 4 * (XHCI_SLOTS + 1) > len || runtime + 0x40 > len || !x->slots ||
        operational + PORTS + 16 * x->ports > len || !(more & PARAMS_64_BIT))
        return HV_ENOSYS;
    x->operational = x->capability + operational;
    x->runtime = x->capability + runtime;
    x->doorbells = x->capability + bells;
    take_over(x, len);
    return HV_OK;
}

/* ---- failures ----------------------------------------------------------------------------------
 * A controller that fails is reset: its devices are enumerated anew, their disks wait for that and
 * then send again what was not answered. */
static bool may_reset(struct xhci *x)
{
    if (x->pci->gone)
        return false;
    if (!x->resets || clock_tsc() - x->first_reset > clock_ticks(RESETS_NS)) {
        x->first_reset = clock_tsc();
        x->resets = 0;
    }
    return x->resets++ < RESETS_MOST;
}

static void recover(struct xhci *x)
{
    x->silent = may_reset(x) && halt(x) == HV_OK;
    bool again = x->silent && !x->pci->gone;
    for (struct usb_device *d = x->devices; d; d = d->next)
        d->returns = again;
    for (u32 i = 0; i < x->ports; i++)
        if (usb_device_at(x, NULL, i))
            usb_device_remove(usb_device_at(x, NULL, i));
    if (again && !x->pci->gone) {
        log_notice("%s: was reset, what is attached is looked for", x->pci->name);
        start(x);
        look_at_all(x);
    }
    if (x->dead && again && !x->pci->gone)
        return; /* once more */
    if (x->dead && !x->pci->gone)
        log_error("%s: is given up, its devices are gone", x->pci->name);
    usb_storage_miss(x);
    x->given_up = x->dead;
}

static void look_after(void *owner)
{
    struct xhci *x = owner;

    while (!x->given_up) {
        if (!x->dead)
            fiber_wait(&x->changed, LOOP_NEVER);
        fiber_sleep_until(clock_after(SETTLE_NS));
        event_clear(&x->changed);
        if (x->dead)
            recover(x);
        else
            look_at_all(x);
    }
}

static enum hv_status probe(struct pci_device *pci)
{
    struct xhci *x = calloc(1, sizeof(*x));

    if (!x)
        return HV_ENOMEM;
    x->pci = pci;
    pci->state = x;
    enum hv_status status = find_registers(x);
    if (status == HV_OK)
        status = halt(x);
    if (status == HV_OK)
        status = give_memory(x);
    if (status != HV_OK) {
        free(x);
        return status;
    }
    x->more.fn = serve;
    x->more.owner = x;
    pci_interrupts(pci, 1);
    pci_on_interrupt(pci, 0, serve, x);
    start(x);
    look_at_all(x);
    if (!fiber_spawn("xhci", look_after, x))
        log_warn("%s: no memory to look after its ports", pci->name);
    return HV_OK;
}

static void gone(struct pci_device *pci)
{
    die(pci->state, "it was pulled out");
}

static const struct driver_id ids[] = {
    {DRIVER_ANY, DRIVER_ANY, 0x0c0330, 0xffffff, "xHCI controller"},
    {0},
};
static const struct driver xhci = {.name = "xhci", .ids = ids, .probe = probe, .gone = gone};
DRIVER(xhci);
