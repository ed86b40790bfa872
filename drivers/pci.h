/* PCI functions of segment 0: found, offered to drivers, their capabilities and interrupts.
 *
 * The kernel owns the configuration space and the base addresses (docs/architecture.md, "Devices").
 * One thread.  What pci_start() begins goes on in a fiber. */
#pragma once

#include "control/rt/fiber.h"
#include "control/rt/loop.h"
#include "drivers/driver.h"
#include "kernel/abi/status.h"
#include "kernel/abi/types.h"

#define PCI_BARS 6
#define PCI_VECTORS 8 /* a function, at most */
#define PCI_NAME 16
#define PCI_WHY 64

/* Configuration header, PCI 3.0 section 6.1; capabilities, appendix H. */
enum {
    PCI_ID = 0x00,
    PCI_COMMAND = 0x04,
    PCI_STATUS = 0x06,
    PCI_REVISION = 0x08,
    PCI_HEADER = 0x0e,
    PCI_SUBSYSTEM = 0x2c,
    PCI_CAPABILITIES = 0x34,
    PCI_LINE = 0x3c,
    PCI_PIN = 0x3d,
    PCI_CAP_MSI = 0x05,
    PCI_CAP_VENDOR = 0x09,
    PCI_CAP_MSIX = 0x11,
};

#define PCI_HEADER_MULTI 0x80u
#define PCI_STATUS_CAPABILITIES 0x10u

struct pci_bar {
    volatile u8 *registers; /* NULL: ports */
    u16 port;
    u64 len; /* 0: not mapped */
};

enum pci_irq_mode { PCI_IRQ_NONE, PCI_IRQ_MSIX, PCI_IRQ_MSI, PCI_IRQ_LINE, PCI_IRQ_POLL };

struct pci_handler {
    void (*fn)(void *owner);
    void *owner;
    u64 count;                /* calls */
    struct pci_handler *next; /* of the same line */
    u32 bit;                  /* of irq_pending */
};

struct pci_device {
    struct pci_device *next;
    u16 function; /* bus << 8 | device << 3 | function */
    u16 vendor, device;
    u32 class_code, subsystem;
    u8 revision;
    bool claimed;
    bool running;                /* probed: the driver works with it */
    bool gone;                   /* pulled out while it did */
    u8 absent;                   /* looks in a row that found nothing there */
    const struct driver *driver; /* NULL: none for it */
    const struct driver_id *id;
    void *state;         /* the driver's */
    char name[PCI_NAME]; /* "nvme0" once the driver has it */
    char why[PCI_WHY];   /* why the driver does not have it */
    struct pci_bar bars[PCI_BARS];
    enum pci_irq_mode irq_mode;
    u32 vectors;
    struct pci_handler handlers[PCI_VECTORS];
    struct loop_timer poll; /* PCI_IRQ_POLL */
};

void pci_start(void); /* scans and probes, in a fiber */
bool pci_ready(void); /* every device was offered to its driver */
/* In a fiber: until pci_ready(), at most that long (TSC). */
enum hv_status pci_wait_ready(u64 deadline);
struct pci_device *pci_first(void); /* by number; ->next */
const char *pci_class_name(u32 class_code);
const char *pci_irq_name(enum pci_irq_mode mode);

/* ---- for drivers ------------------------------------------------------------------------------
 */
u8 pci_read8(const struct pci_device *d, u32 at);
u16 pci_read16(const struct pci_device *d, u32 at);
u32 pci_read32(const struct pci_device *d, u32 at);
void pci_write8(const struct pci_device *d, u32 at, u8 value);
void pci_write16(const struct pci_device *d, u32 at, u16 value);
void pci_write32(const struct pci_device *d, u32 at, u32 value);

/* Offset of the next capability with that id after `from` (0: the first); 0: none. */
u32 pci_capability(const struct pci_device *d, u8 id, u32 from);
/* d->bars[n], mapped on the first call.  HV_ENOENT: not there; HV_E2BIG: shorter than `least`. */
MUST_CHECK enum hv_status pci_map(struct pci_device *d, u32 n, u64 least);
/* Decoding and bus mastering on; after a reset that the driver knows to be safe. */
void pci_enable(struct pci_device *d);
/* Bus mastering off: a device that did not come back from its reset reads and writes nothing more.
 */
void pci_silence(struct pci_device *d);
/* At most `want` interrupts: MSI-X, else one MSI, else the line, else a timer of 1 ms that calls
 * the handlers.  Returns how many: at least 1.  Sets d->irq_mode. */
u32 pci_interrupts(struct pci_device *d, u32 want);
/* The same for functions whose lines no register tells (IDE): vector n is the line gsi[n]. */
void pci_fixed_lines(struct pci_device *d, const u32 *gsi, u32 count);
/* What vector n calls, on the loop.  A line may be shared: calls for nothing happen. */
void pci_on_interrupt(struct pci_device *d, u32 n, void (*fn)(void *owner), void *owner);
/* Calls every handler, as if all interrupts had come: for one that got lost. */
void pci_poll(struct pci_device *d);
/* In a fiber: waits until (mmio_read32(at) & mask) == want.  HV_ETIMEDOUT; HV_EIO: it reads as all
 * ones, so the device has gone. */
MUST_CHECK enum hv_status pci_wait_register(const volatile void *at, u32 mask, u32 want, u64 ns);
