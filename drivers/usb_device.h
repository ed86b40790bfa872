/* A USB device: addressed, described, configured, given to the driver of its interface.
 *
 * All of it in fibers but usb_pipe_put().  A driver keeps d->users above 0 while it may use d after
 * it has waited; a device that was pulled out has d->gone set and fails what it is asked. */
#pragma once

#include "drivers/xhci.h"

/* ---- for those who find devices: xhci.c, usb_hub.c ---- */
/* What is attached at a port, after its reset: hub NULL: `port` of the controller, from 0; else of
 * that hub, from 1.  False: no driver has it. */
bool usb_device_attach(struct xhci *x, struct usb_device *hub, u32 port, enum usb_speed speed);
/* What is there; NULL: nothing that is used. */
struct usb_device *usb_device_at(struct xhci *x, const struct usb_device *hub, u32 port);
/* It was pulled out, with all that is behind it. */
void usb_device_gone(struct xhci *x, const struct usb_device *hub, u32 port);
void usb_device_remove(struct usb_device *d);

/* ---- for drivers of interfaces ---- */
/* One control transfer; its data is d->scratch, zeroed before it comes. */
MUST_CHECK enum hv_status usb_control(struct usb_device *d, u32 type, u32 request, u32 value,
                                      u32 index, u32 length);
/* Configures the device for that interface and makes pipes of its endpoints: d->pipes. */
MUST_CHECK enum hv_status usb_configure(struct usb_device *d, const struct usb_interface *i);
/* The first pipe of an interface of that kind and direction; NULL: none. */
struct usb_pipe *usb_pipe_find(struct usb_device *d, const struct usb_interface *i, u32 kind,
                               bool in);
/* Queues one TRB of a transfer; `left`: bytes of the transfer after this one; last: an event when
 * it is over.  Returns what on_event() will name.  usb_pipe_start() rings the bell. */
u64 usb_pipe_put(struct usb_pipe *p, u64 address, u32 len, u64 left, bool event);
void usb_pipe_start(struct usb_pipe *p);
/* What was queued is forgotten, a halt is over on both sides. */
MUST_CHECK enum hv_status usb_pipe_clear(struct usb_pipe *p);
/* Tells the controller that d is a hub. */
MUST_CHECK enum hv_status usb_set_hub(struct usb_device *d, u32 ports, u32 think_time);

/* True: it has the device; its on_gone is called later. */
bool usb_storage_attach(struct usb_device *d, const struct usb_interface *i);
/* In a fiber: disks of a controller that was reset, or is given up, which have not come again. */
void usb_storage_miss(struct xhci *x);
bool usb_hub_attach(struct usb_device *d, const struct usb_interface *i);
