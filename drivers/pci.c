/* Scan, match, base addresses, interrupts.  Called by main.c, by drivers and by the loop. */
#include "drivers/pci.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "control/rt/clock.h"
#include "control/rt/log.h"
#include "control/rt/mmio.h"
#include "control/rt/sys.h"
#include "drivers/pci_bridge.h"

#define COMMAND_ON 0x007u /* ports, memory, bus mastering */
#define COMMAND_MASTER 0x004u
#define COMMAND_NO_LINE 0x400u
#define MSI_ENABLE 1u
#define MSI_64_BIT 0x80u
#define MSIX_ENABLE 0x8000u
#define MSIX_MASK_ALL 0x4000u
#define MSIX_ENTRY 16
#define FIRST_BIT 8 /* of irq_pending; those below are for what is no PCI function */
#define POLL_EVERY (1 * CLOCK_MS)
#define PRESENT_EVERY (1 * CLOCK_SECOND)
#define ABSENT_LOOKS 2 /* a function may not answer for a moment after a reset: PCIe 2.3.2 */

extern const struct driver *const __start_drivers[] __attribute__((weak));
extern const struct driver *const __stop_drivers[] __attribute__((weak));

static struct pci_device *devices, **devices_end = &devices;
static struct pci_handler *lines[LOOP_IRQS]; /* by bit: who shares it */
static u8 line_of[LOOP_IRQS];                /* the line's GSI; 0: a message */
static u32 next_bit = FIRST_BIT;
static bool ready;
static struct event ready_event;
static struct loop_timer present_timer;

u8 pci_read8(const struct pci_device *d, u32 at)
{
    return (u8)sys_pci_read(d->function, at, 1);
}

u16 pci_read16(const struct pci_device *d, u32 at)
{
    return (u16)sys_pci_read(d->function, at, 2);
}

u32 pci_read32(const struct pci_device *d, u32 at)
{
    return (u32)sys_pci_read(d->function, at, 4);
}

void pci_write8(const struct pci_device *d, u32 at, u8 value)
{
    (void)sys_pci_write(d->function, at, 1, value);
}

void pci_write16(const struct pci_device *d, u32 at, u16 value)
{
    (void)sys_pci_write(d->function, at, 2, value);
}

void pci_write32(const struct pci_device *d, u32 at, u32 value)
{
    (void)sys_pci_write(d->function, at, 4, value);
}

u32 pci_capability(const struct pci_device *d, u8 id, u32 from)
{
    if (!(pci_read16(d, PCI_STATUS) & PCI_STATUS_CAPABILITIES))
        return 0;
    u32 at = pci_read8(d, from ? from + 1 : PCI_CAPABILITIES) & 0xfcu;
    for (u32 i = 0; at >= 0x40 && i < 48; i++) { /* a list may be a ring */
        if (pci_read8(d, at) == id)
            return at;
        at = pci_read8(d, at + 1) & 0xfcu;
    }
    return 0;
}

enum hv_status pci_map(struct pci_device *d, u32 n, u64 least)
{
    struct dev_bar bar;

    if (n >= PCI_BARS)
        return HV_EINVAL;
    if (!d->bars[n].len) {
        i64 status = sys_dev_bar(d->function, n, &bar);
        if (status != HV_OK)
            return (enum hv_status)status;
        d->bars[n] = (struct pci_bar){.len = bar.len};
        if (bar.is_port)
            d->bars[n].port = (u16)bar.address;
        else
            d->bars[n].registers = (volatile u8 *)bar.address;
    }
    return d->bars[n].len < least ? HV_E2BIG : HV_OK;
}

void pci_enable(struct pci_device *d)
{
    pci_write16(d, PCI_COMMAND, pci_read16(d, PCI_COMMAND) | COMMAND_ON);
}

void pci_silence(struct pci_device *d)
{
    pci_write16(d, PCI_COMMAND, pci_read16(d, PCI_COMMAND) & ~COMMAND_MASTER);
}

static void call(struct pci_handler *h)
{
    h->count++;
    if (h->fn)
        h->fn(h->owner);
}

static void on_bit(void *owner)
{
    u32 bit = (u32)(u64)owner;

    for (struct pci_handler *h = lines[bit]; h; h = h->next)
        call(h);
    if (line_of[bit])
        sys_irq_unmask(bit);
}

void pci_poll(struct pci_device *d)
{
    for (u32 i = 0; i < d->vectors; i++)
        call(&d->handlers[i]);
}

static void on_poll(void *owner)
{
    struct pci_device *d = owner;

    pci_poll(d);
    loop_timer_set(&d->poll, clock_after(POLL_EVERY));
}

/* A bit for one message; 0: none left or the kernel refuses. */
static u32 bind_message(struct pci_device *d, u32 n, struct irq_message *m)
{
    u32 bit = next_bit;

    if (bit == LOOP_IRQS || sys_irq_bind(IRQ_MSI | d->function, bit, m) != HV_OK)
        return 0;
    next_bit++;
    d->handlers[n].bit = bit;
    d->handlers[n].next = NULL;
    lines[bit] = &d->handlers[n];
    loop_on_irq(bit, on_bit, (void *)(u64)bit);
    return bit;
}

static u32 use_msix(struct pci_device *d, u32 want)
{
    u32 at = pci_capability(d, PCI_CAP_MSIX, 0), n = 0;

    if (!at)
        return 0;
    u32 control = pci_read16(d, at + 2), table = pci_read32(d, at + 4);
    u64 offset = table & ~7u;
    want = MIN(want, (control & 0x7ff) + 1);
    if (pci_map(d, table & 7, offset + want * MSIX_ENTRY) != HV_OK || !d->bars[table & 7].registers)
        return 0;
    pci_write16(d, at + 2, (u16)(control | MSIX_ENABLE | MSIX_MASK_ALL));
    for (; n < want; n++) { /* address, data, unmasked: PCI 3.0 section 6.8.2 */
        volatile u8 *entry = d->bars[table & 7].registers + offset + n * MSIX_ENTRY;
        struct irq_message m;
        if (!bind_message(d, n, &m))
            break;
        mmio_write64(entry, m.address);
        mmio_write32(entry + 8, m.data);
        mmio_write32(entry + 12, 0);
    }
    pci_write16(d, at + 2,
                (u16)((control & ~MSIX_MASK_ALL & ~MSIX_ENABLE) | (n ? MSIX_ENABLE : 0)));
    return n;
}

static u32 use_msi(struct pci_device *d)
{
    u32 at = pci_capability(d, PCI_CAP_MSI, 0);
    struct irq_message m;

    if (!at || !bind_message(d, 0, &m))
        return 0;
    u32 control = pci_read16(d, at + 2) & ~0x70u; /* one message */
    pci_write32(d, at + 4, (u32)m.address);
    if (control & MSI_64_BIT)
        pci_write32(d, at + 8, (u32)(m.address >> 32));
    pci_write16(d, at + (control & MSI_64_BIT ? 12 : 8), (u16)m.data);
    pci_write16(d, at + 2, (u16)(control | MSI_ENABLE));
    return 1;
}

static void share_line(struct pci_device *d, u32 n, u32 bit)
{
    d->handlers[n].bit = bit;
    d->handlers[n].next = lines[bit];
    lines[bit] = &d->handlers[n];
}

/* The line that vector n uses: lines are known by number, so one bit serves all who share it. */
static bool use_line(struct pci_device *d, u32 n, u32 gsi)
{
    for (u32 bit = FIRST_BIT; bit < next_bit; bit++)
        if (line_of[bit] == gsi) {
            share_line(d, n, bit);
            return true;
        }
    if (gsi == 0 || gsi >= 0xff || next_bit == LOOP_IRQS)
        return false;
    u32 bit = next_bit;
    loop_on_irq(bit, on_bit, (void *)(u64)bit);
    line_of[bit] = (u8)gsi;
    share_line(d, n, bit);
    if (sys_irq_bind(gsi, bit, NULL) != HV_OK) {
        line_of[bit] = 0;
        lines[bit] = NULL;
        return false;
    }
    next_bit++;
    return true;
}

static void use_poll(struct pci_device *d)
{
    d->irq_mode = PCI_IRQ_POLL;
    d->poll.fn = on_poll;
    d->poll.owner = d;
    loop_timer_set(&d->poll, clock_after(POLL_EVERY));
}

u32 pci_interrupts(struct pci_device *d, u32 want)
{
    u16 command = pci_read16(d, PCI_COMMAND);

    want = MIN(want, (u32)PCI_VECTORS);
    pci_write16(d, PCI_COMMAND, command | COMMAND_NO_LINE);
    d->irq_mode = PCI_IRQ_MSIX;
    d->vectors = use_msix(d, want);
    if (!d->vectors) {
        d->irq_mode = PCI_IRQ_MSI;
        d->vectors = use_msi(d);
    }
    if (d->vectors)
        return d->vectors;
    pci_write16(d, PCI_COMMAND, command & (u16)~COMMAND_NO_LINE);
    d->vectors = 1;
    d->irq_mode = PCI_IRQ_LINE;
    if (use_line(d, 0, pci_read8(d, PCI_LINE)))
        return 1;
    use_poll(d);
    return 1;
}

void pci_fixed_lines(struct pci_device *d, const u32 *gsi, u32 count)
{
    d->irq_mode = PCI_IRQ_LINE;
    d->vectors = count;
    for (u32 n = 0; n < count; n++)
        if (!use_line(d, n, gsi[n]) && d->irq_mode == PCI_IRQ_LINE)
            use_poll(d);
}

void pci_on_interrupt(struct pci_device *d, u32 n, void (*fn)(void *owner), void *owner)
{
    d->handlers[n].fn = fn;
    d->handlers[n].owner = owner;
}

enum hv_status pci_wait_register(const volatile void *at, u32 mask, u32 want, u64 ns)
{
    u64 end = clock_after(ns);

    for (u32 i = 0;; i++) {
        u32 now = mmio_read32(at);
        if ((now & mask) == want)
            return HV_OK;
        if (now == ~0u)
            return HV_EIO;
        if (clock_tsc() > end)
            return HV_ETIMEDOUT;
        if (i > 16)
            fiber_sleep_until(clock_after(100 * CLOCK_US));
    }
}

static const struct driver_id *match(const struct driver *driver, const struct pci_device *d)
{
    for (const struct driver_id *id = driver->ids; id->name; id++)
        if ((id->vendor == DRIVER_ANY || id->vendor == d->vendor) &&
            (id->device == DRIVER_ANY || id->device == d->device) &&
            (d->class_code & id->class_mask) == id->class_code)
            return id;
    return NULL;
}

static void find_driver(struct pci_device *d)
{
    for (const struct driver *const *p = __start_drivers; p < __stop_drivers && !d->id; p++) {
        d->id = match(*p, d);
        if (d->id)
            d->driver = *p;
    }
}

static void look_at(u32 function)
{
    u32 id = (u32)sys_pci_read(function, PCI_ID, 4);
    struct pci_device *d = calloc(1, sizeof(*d));

    if (!d)
        return;
    d->function = (u16)function;
    d->vendor = (u16)id;
    d->device = (u16)(id >> 16);
    d->revision = pci_read8(d, PCI_REVISION);
    d->class_code = pci_read32(d, PCI_REVISION) >> 8;
    if ((pci_read8(d, PCI_HEADER) & 0x7f) == 0)
        d->subsystem = pci_read32(d, PCI_SUBSYSTEM);
    find_driver(d);
    *devices_end = d;
    devices_end = &d->next;
}

static bool present(u32 function)
{
    return (sys_pci_read(function, PCI_ID, 4) & 0xffff) != 0xffff;
}

/* Every bus number: those behind a second root are reached no other way without ACPI's help. */
static void scan(void)
{
    for (u32 slot = 0; slot < 256 * 32; slot++) {
        u32 function = slot * 8;
        if (slot % 32 == 31)
            fiber_yield();
        if (!present(function))
            continue;
        look_at(function);
        if (sys_pci_read(function, PCI_HEADER, 1) & PCI_HEADER_MULTI)
            for (u32 i = 1; i < 8; i++)
                if (present(function + i))
                    look_at(function + i);
    }
}

static void probe(struct pci_device *d)
{
    static u32 numbers[32];
    u32 n = 0;

    i64 status = sys_dev_claim(d->function, pci_bridge_source(d->function));
    if (status == HV_OK) {
        d->claimed = true;
        for (const struct driver *const *p = __start_drivers; *p != d->driver; p++)
            n++;
        snprintf(d->name, sizeof(d->name), "%s%u", d->driver->name, numbers[n % 32]);
        status = d->driver->probe(d);
    }
    if (status == HV_OK) {
        numbers[n % 32]++;
        d->running = true;
        return;
    }
    d->name[0] = 0;
    pci_write16(d, PCI_COMMAND, 0);
    snprintf(d->why, sizeof(d->why), "%s refuses it: status %d", d->driver->name, (int)status);
    log_warn("%02x:%02x.%u %04x:%04x: %s", d->function >> 8, d->function >> 3 & 31, d->function & 7,
             d->vendor, d->device, d->why);
}

static void pulled_out(struct pci_device *d)
{
    log_error("%02x:%02x.%u %s: it was pulled out", d->function >> 8, d->function >> 3 & 31,
              d->function & 7, d->name);
    snprintf(d->why, sizeof(d->why), "it was pulled out");
    d->gone = true;
    loop_timer_cancel(&d->poll);
    if (d->driver->gone)
        d->driver->gone(d);
}

/* A function that is idle when it goes would be missed only at its next use. */
static void look_who_is_there(void *owner)
{
    (void)owner;
    for (struct pci_device *d = devices; d; d = d->next) {
        if (!d->running || d->gone)
            continue;
        d->absent = present(d->function) ? 0 : (u8)(d->absent + 1);
        if (d->absent == ABSENT_LOOKS)
            pulled_out(d);
    }
    loop_timer_set(&present_timer, clock_after(PRESENT_EVERY));
}

static void bring_up(void *arg)
{
    (void)arg;
    scan();
    for (struct pci_device *d = devices; d; d = d->next)
        if (d->driver)
            probe(d);
    ready = true;
    event_signal(&ready_event);
    present_timer.fn = look_who_is_there;
    loop_timer_set(&present_timer, clock_after(PRESENT_EVERY));
}

void pci_start(void)
{
    if (!fiber_spawn("pci", bring_up, NULL))
        log_error("no memory to look for devices");
}

bool pci_ready(void)
{
    return ready;
}

enum hv_status pci_wait_ready(u64 deadline)
{
    while (!ready) {
        if (fiber_wait(&ready_event, deadline) == HV_ETIMEDOUT)
            return HV_ETIMEDOUT;
    }
    return HV_OK;
}

struct pci_device *pci_first(void)
{
    return devices;
}

const char *pci_class_name(u32 class_code)
{
    static const struct {
        u32 code, mask;
        const char *name;
    } names[] = {
        {0x010802, 0xffffff, "NVMe controller"}, {0x010601, 0xffffff, "AHCI controller"},
        {0x010100, 0xffff00, "IDE controller"},  {0x010000, 0xff0000, "storage"},
        {0x020000, 0xffff00, "Ethernet"},        {0x020000, 0xff0000, "network"},
        {0x030000, 0xff0000, "display"},         {0x040000, 0xff0000, "multimedia"},
        {0x060000, 0xffff00, "host bridge"},     {0x060100, 0xffff00, "ISA bridge"},
        {0x060400, 0xffff00, "PCI bridge"},      {0x060000, 0xff0000, "bridge"},
        {0x070000, 0xffff00, "serial port"},     {0x080000, 0xff0000, "system"},
        {0x0c0330, 0xffffff, "xHCI controller"}, {0x0c0300, 0xffff00, "USB controller"},
        {0x0c0500, 0xffff00, "SMBus"},
    };

    for (u32 i = 0; i < ARRAY_LEN(names); i++)
        if ((class_code & names[i].mask) == names[i].code)
            return names[i].name;
    return "other";
}

const char *pci_irq_name(enum pci_irq_mode mode)
{
    static const char *const names[] = {[PCI_IRQ_NONE] = "-",
                                        [PCI_IRQ_MSIX] = "MSI-X",
                                        [PCI_IRQ_MSI] = "MSI",
                                        [PCI_IRQ_LINE] = "line",
                                        [PCI_IRQ_POLL] = "polled"};

    return names[mode];
}
