/* A guest's PCI bus 0: configuration space by CF8h/CFCh and ECAM, BARs, INTx and MSI-X.
 *
 * On the event loop.  A device is a struct pci_device with a const struct pci_ops; what it must
 * remember across a restart of the control partition is its struct pci_state, in the VM's state.
 * PCI Local Bus Specification 3.0; PCI Firmware Specification 3.2 for ECAM. */
#pragma once

#include "kernel/abi/doorbell.h"
#include "kernel/abi/types.h"

struct vm;

#define PCI_SLOTS 32
#define PCI_CONFIG_SIZE 256
#define PCI_BARS 6
#define PCI_MSIX_MAX 12

/* What the ACPI tables and the DSDT tell the guest.  Slot n is given its own piece of both
 * windows at reset, so a guest that takes the addresses as they are needs no allocator. */
#define PCI_MEM_FIRST 0x80000000u /* firmware of guests may put devices from here on */
#define PCI_MEM_BASE 0xc0000000u
#define PCI_MEM_END 0xdfffffffu
#define PCI_MEM_SLOT 0x10000u /* memory a slot */
#define PCI_ECAM_BASE 0xe0000000ull
#define PCI_ECAM_END 0xe00fffffull
#define PCI_IO_BASE DOORBELL_PORT
#define PCI_IO_END 0xffffu
#define PCI_IO_SLOT (2 * DOORBELL_GROUP) /* ports a slot */

/* Slot n's INTA# is I/O APIC pin PCI_PIN_BASE + n % PCI_PINS. */
#define PCI_PIN_BASE 16
#define PCI_PINS 4

#define PCI_VENDOR_ID 0x00
#define PCI_DEVICE_ID 0x02
#define PCI_COMMAND 0x04
#define PCI_COMMAND_IO BIT(0)
#define PCI_COMMAND_MEMORY BIT(1)
#define PCI_COMMAND_MASTER BIT(2)
#define PCI_COMMAND_NO_INTX BIT(10)
#define PCI_STATUS 0x06
#define PCI_STATUS_INTX BIT(3)
#define PCI_STATUS_CAPS BIT(4)
#define PCI_REVISION 0x08
#define PCI_CLASS 0x09
#define PCI_BAR0 0x10
#define PCI_BAR_IO BIT(0)
#define PCI_SUBSYSTEM_VENDOR 0x2c
#define PCI_SUBSYSTEM_ID 0x2e
#define PCI_CAP_POINTER 0x34
#define PCI_INT_LINE 0x3c
#define PCI_INT_PIN 0x3d
#define PCI_CAP_FIRST 0x40

#define PCI_CAP_VENDOR 0x09
#define PCI_CAP_MSIX 0x11

#define PCI_MSIX_NONE 0xffffu

struct pci_state {
    u8 config[PCI_CONFIG_SIZE];
    struct pci_msix {
        u64 address;
        u32 data;
        u32 control; /* bit 0: masked */
    } msix[PCI_MSIX_MAX];
    u16 msix_pending;
    u8 msix_cap;          /* offset of the capability; 0: none */
    u8 intx;              /* level the device asks for */
    u8 open_at, open_len; /* a part of configuration space that is the guest's to write */
    u32 bar_size[PCI_BARS];
};

struct pci_device;

struct pci_ops {
    /* An access to BAR `bar`, `offset` + size within it; size 1, 2, 4 or 8. */
    u64 (*read)(struct pci_device *d, u32 bar, u32 offset, u8 size);
    void (*write)(struct pci_device *d, u32 bar, u32 offset, u8 size, u64 value);
    /* NULL, or called before a read and after a write in the open part. */
    void (*config_read)(struct pci_device *d, u32 offset, u8 size);
    void (*config_wrote)(struct pci_device *d, u32 offset, u8 size);
    void (*moved)(struct pci_device *d); /* NULL, or: COMMAND or a BAR may be another */
    void (*reset)(struct pci_device *d); /* power-on state; config space was set up before */
};

struct pci_device {
    const struct pci_ops *ops;
    struct pci_state *state;
    struct vm *vm;
    u8 slot;
};

struct pci_bus {
    struct pci_device *slot[PCI_SLOTS];
    struct pci_device *doorbells[DOORBELL_GROUPS]; /* whose ports each group is */
};

struct pci_identity {
    u16 vendor, device, subsystem;
    u32 class; /* base class, subclass, interface */
    u8 revision;
};

void pci_attach(struct pci_bus *bus, struct pci_device *d);
void pci_detach(struct pci_bus *bus, struct pci_device *d);
/* Power-on state of the host bridge's registers. */
void pci_reset(struct vm *vm);

/* For a device's reset(): an empty configuration space, then BARs and capabilities one by one.
 * A BAR's size is a power of two; it lies at its slot's place in the window, `at` bytes in. */
void pci_config_init(struct pci_device *d, const struct pci_identity *id);
void pci_config_bar(struct pci_device *d, u32 bar, u32 size, bool io, u32 at);
u8 pci_config_cap(struct pci_device *d, u8 id, u8 len); /* its offset; the body is zero */
/* MSI-X with `vectors` entries; table at 0 and PBA at 800h of memory BAR `bar`. */
void pci_config_msix(struct pci_device *d, u32 vectors, u32 bar);

u16 pci_get16(const struct pci_state *s, u32 offset);
u32 pci_get32(const struct pci_state *s, u32 offset);
void pci_put16(struct pci_state *s, u32 offset, u16 value);
void pci_put32(struct pci_state *s, u32 offset, u32 value);

/* Interrupts.  pci_msix returns false if the device has to use INTx. */
bool pci_msix(struct pci_device *d, u32 vector);
void pci_intx(struct pci_device *d, bool level);
u64 pci_msix_read(struct pci_device *d, u32 offset, u8 size);
void pci_msix_write(struct pci_device *d, u32 offset, u8 size, u64 value);

/* Rows of exits.c. */
u32 pci_config_in(struct vm *vm, u16 port, u8 size); /* cf8h..cffh but cf9h */
void pci_config_out(struct vm *vm, u16 port, u8 size, u32 value);
u32 pci_port_in(struct vm *vm, u16 port, u8 size); /* PCI_IO_* */
void pci_port_out(struct vm *vm, u16 port, u8 size, u32 value);
u64 pci_mem_read(struct vm *vm, u64 gpa, u8 size); /* PCI_MEM_* */
void pci_mem_write(struct vm *vm, u64 gpa, u8 size, u64 value);
u64 pci_ecam_read(struct vm *vm, u64 gpa, u8 size);
void pci_ecam_write(struct vm *vm, u64 gpa, u8 size, u64 value);
