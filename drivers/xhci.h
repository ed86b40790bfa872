/* xHCI 1.2: controllers, their rings and the USB devices behind their ports.
 *
 * xhci.c brings up a controller and moves TRBs, usb_device.c addresses and configures devices;
 * drivers of interfaces (usb_storage.c, usb_hub.c) see struct usb_device and struct usb_pipe.  One
 * thread; what waits is in a fiber.  Addresses, slots and endpoints that the controller names are
 * checked before they are used. */
#pragma once

#include "control/rt/fiber.h"
#include "control/rt/loop.h"
#include "drivers/pci.h"
#include "drivers/usb.h"
#include "kernel/abi/types.h"

#define XHCI_SLOTS 32
#define XHCI_RING 256 /* TRBs, a page; the last one links to the first */
#define XHCI_PIPES 32 /* a device: by device context index, 4.5.1 */
#define XHCI_PORTS 255

struct xhci_trb { /* 4.11.1 */
    u64 parameter;
    u32 status, control;
};
enum xhci_trb_type { /* table 6-91 */
                     TRB_NORMAL = 1,
                     TRB_SETUP = 2,
                     TRB_DATA = 3,
                     TRB_STATUS = 4,
                     TRB_LINK = 6,
                     TRB_ENABLE_SLOT = 9,
                     TRB_DISABLE_SLOT = 10,
                     TRB_ADDRESS = 11,
                     TRB_CONFIGURE = 12,
                     TRB_EVALUATE = 13,
                     TRB_RESET_ENDPOINT = 14,
                     TRB_STOP_ENDPOINT = 15,
                     TRB_SET_DEQUEUE = 16,
                     TRB_TRANSFER_EVENT = 32,
                     TRB_COMMAND_EVENT = 33,
                     TRB_PORT_EVENT = 34,
};
#define TRB_TYPE(type) ((u32)(type) << 10)
#define TRB_CYCLE 0x01u
#define TRB_CHAIN 0x10u
#define TRB_IOC 0x20u
#define TRB_IMMEDIATE 0x40u
#define TRB_DIR_IN 0x10000u
#define TRB_SLOT(slot) ((u32)(slot) << 24)
#define TRB_ENDPOINT(dci) ((u32)(dci) << 16)
enum xhci_code {
    CODE_SUCCESS = 1,
    CODE_BABBLE = 3,
    CODE_TRANSACTION = 4,
    CODE_STALL = 6,
    CODE_SHORT = 13,
    CODE_STOPPED = 26
}; /* table 6-90 */

struct xhci_ring {
    struct xhci_trb *trbs; /* DMA memory, a page */
    u32 at;
    u32 cycle;
};

struct xhci;
struct usb_device;

struct usb_pipe {
    struct usb_device *device;
    u32 index; /* device context index: 1 control, 2 * endpoint + in */
    u32 packet;
    struct xhci_ring ring;
    /* An event of a TRB of this pipe, on the loop: its device address, enum xhci_code and the bytes
     * that did not move. */
    void (*on_event)(struct usb_pipe *p, u64 trb, u32 code, u32 left);
    void *owner;
};

struct usb_device {
    struct xhci *x;
    u32 slot;         /* 0: it has none any more */
    u32 port;         /* of the controller, from 0 */
    u32 route, depth; /* through hubs: 8.9 of USB 3.2; depth 0: at the controller */
    enum usb_speed speed;
    struct usb_device *hub; /* NULL: at the controller */
    u32 hub_port;           /* from 1 */
    struct usb_device *next;
    u8 *input, *output; /* DMA memory: contexts to tell the controller, and those it keeps */
    u8 *scratch;        /* DMA memory, USB_CONFIG_MAX bytes: control transfers' data */
    u32 users;          /* fibers that are about to use it: it is not freed */
    u32 entries;        /* the highest index of a pipe */
    struct usb_identity identity;
    struct usb_pipe *pipes[XHCI_PIPES];
    bool controlling; /* one control transfer at a time */
    struct event control_over, uncontrolled;
    u32 control_code;
    u64 control_trb;
    bool gone;
    bool returns; /* gone only until its controller was reset */
    /* The interface's driver. */
    void (*on_gone)(struct usb_device *d);
    void *owner;
};

struct xhci {
    struct pci_device *pci;
    volatile u8 *capability, *operational, *runtime, *doorbells;
    u32 ports, slots, context_len; /* 32 or 64 */
    struct xhci_ring commands;
    struct xhci_trb *events;
    u32 event_at, event_cycle;
    u64 *contexts; /* the array of device contexts */
    struct usb_device *by_slot[XHCI_SLOTS + 1], *devices;
    /* The one command that is out. */
    bool locked;
    struct event unlocked, command_over;
    u64 command_trb;
    struct xhci_trb command_event;
    struct event changed; /* ports; wakes the fiber that looks */
    struct loop_timer more;
    u64 *event_table; /* one segment: 6.5 */
    bool dead;        /* nothing is asked of it, until it was reset if at all */
    bool given_up;    /* dead for good */
    bool silent;      /* dead, and writes to memory no more */
    u32 resets;       /* within RESETS_NS */
    u64 first_reset;  /* TSC of the first of them */
};

/* ---- xhci.c ---- */
bool xhci_ring_make(struct xhci_ring *r);
/* The next TRB; control without its cycle bit.  Returns its device address. */
u64 xhci_put(struct xhci_ring *r, u64 parameter, u32 status, u32 control);
void xhci_bell(struct xhci *x, u32 slot, u32 target);
/* In a fiber: one command; its event.  HV_EIO: it failed or the controller is dead. */
MUST_CHECK enum hv_status xhci_command(struct xhci *x, u64 parameter, u32 control,
                                       struct xhci_trb *event);
/* Takes what events there are: for an interrupt that was lost. */
void xhci_poll(struct xhci *x);
/* In a fiber: the port at the controller is reset.  False: nothing is attached there any more. */
bool xhci_port_reset(struct xhci *x, u32 port, enum usb_speed *speed);
