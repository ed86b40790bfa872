/* What a driver is: one const struct a driver, found by PCI identity.
 *
 * A driver's file ends with DRIVER(object), which puts it in a linker section; drivers/pci.c offers
 * it every function whose identity is in its table.  All of it runs on the control partition's
 * one thread: probe in a fiber (it may wait), interrupts and timers on the loop.  A device that is
 * pulled out reads as all ones, does not come back from a reset, and fails what it is asked then.
 * Nothing a device says is trusted: indices and lengths it writes are checked. */
#pragma once

#include "kernel/abi/status.h"
#include "kernel/abi/types.h"

struct pci_device; /* drivers/pci.h */

#define DRIVER_ANY 0xffffu

/* A row matches when vendor and device do (DRIVER_ANY: whatever) and (class & mask) == class_code,
 * where the class is base class << 16 | subclass << 8 | programming interface. */
struct driver_id {
    u16 vendor, device;
    u32 class_code, class_mask;
    const char *name; /* of the hardware, for `host pci list`; NULL ends the table */
};

struct driver {
    const char *name; /* "nvme"; devices are named after it: nvme0, nvme1 */
    const struct driver_id *ids;
    /* Brings the device up and registers what it offers (block.h, nic.h); it is claimed already
     * and dev->state is the driver's.  An error: nothing of it is left, pci.c logs it. */
    enum hv_status (*probe)(struct pci_device *dev);
    /* It was pulled out: the configuration space of a probed function reads as all ones for good
     * (its registers may read as anything, zeros in QEMU).  On the loop, once, with dev->gone set.
     * NULL: nothing is to be done at once. */
    void (*gone)(struct pci_device *dev);
};

#define DRIVER(object)                                                                             \
    static const struct driver *const object##_entry __attribute__((section("drivers"), used)) =   \
        &(object)
