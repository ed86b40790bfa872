/* Slots, contexts, control transfers and pipes of USB devices: xHCI 1.2 chapters 4 and 6, USB 2.0
 * chapter 9.  Called by xhci.c and the drivers of interfaces; in fibers, its events on the loop. */
#include "drivers/usb_device.h"

#include <stdlib.h>
#include <string.h>

#include "control/rt/clock.h"
#include "control/rt/dma.h"
#include "control/rt/log.h"

#define CONTEXTS 33 /* with the one that says which others count: 6.2.5 */
#define CONTROL_NS (5 * CLOCK_SECOND)
#define SET_ADDRESS_NS (10 * CLOCK_MS)
#define LANGUAGE 0x0409u
#define ENDPOINT_HALT 0u
#define DEPTH_MOST 5u
#define DEVICES_MOST 31u

/* 6.2.3: states and types of endpoints. */
enum { ENDPOINT_RUNNING = 1, ENDPOINT_HALTED = 2 };
enum { TYPE_CONTROL = 4, TYPE_IN = 4 /* added to the kind */ };

static u32 *input_context(const struct usb_device *d, u32 n) /* 0: control, 1: slot, 2..: pipes */
{
    return (u32 *)(void *)(d->input + n * d->x->context_len);
}

static u32 endpoint_state(const struct usb_pipe *p)
{
    const volatile u32 *c =
        (const volatile u32 *)(void *)(p->device->output + p->index * p->device->x->context_len);

    return c[0] & 7;
}

/* ---- contexts ---------------------------------------------------------------------------------
 */
/* 6.2.2; add: which contexts count. */
static void fill_input(struct usb_device *d, u32 add)
{
    u32 *slot = input_context(d, 1);

    memset(d->input, 0, CONTEXTS * d->x->context_len);
    input_context(d, 0)[1] = add;
    slot[0] = d->route | (u32)d->speed << 20 | d->entries << 27;
    slot[1] = (d->port + 1) << 16;
    struct usb_device *tt = d;
    u32 tt_port = 0;
    while (tt->hub && (d->speed == USB_FULL || d->speed == USB_LOW) &&
           (tt == d || tt->speed != USB_HIGH)) {
        tt_port = tt->hub_port;
        tt = tt->hub;
    }
    if (tt != d && tt->speed == USB_HIGH) /* who splits transactions for it */
        slot[2] = tt->slot | tt_port << 8;
}

static void fill_pipe(struct usb_device *d, const struct usb_pipe *p, u32 type, u32 interval,
                      u32 burst)
{
    u32 *c = input_context(d, p->index + 1);
    u64 dequeue = dma_address(&p->ring.trbs[p->ring.at]) | p->ring.cycle;

    c[0] = interval << 16;
    c[1] = 3u << 1 | type << 3 | burst << 8 | p->packet << 16; /* three tries */
    c[2] = (u32)dequeue;
    c[3] = (u32)(dequeue >> 32);
    c[4] = type == TYPE_CONTROL ? 8 : p->packet;
}

static struct usb_pipe *new_pipe(struct usb_device *d, u32 index, u32 packet)
{
    struct usb_pipe *p = calloc(1, sizeof(*p));

    if (!p || !xhci_ring_make(&p->ring)) {
        free(p);
        return NULL;
    }
    p->device = d;
    p->index = index;
    p->packet = packet;
    d->pipes[index] = p;
    d->entries = MAX(d->entries, index);
    return p;
}

static u32 command_for(const struct usb_device *d, u32 type)
{
    return TRB_TYPE(type) | TRB_SLOT(d->slot);
}

/* ---- control transfers ------------------------------------------------------------------------
 */
static void on_control(struct usb_pipe *p, u64 trb, u32 code, u32 left)
{
    struct usb_device *d = p->device;

    (void)left;
    if ((code == CODE_SUCCESS || code == CODE_SHORT) && trb != d->control_trb)
        return;
    d->control_code = code;
    event_signal(&d->control_over);
}

static bool usable(const struct usb_device *d)
{
    return !d->gone && !d->x->dead && d->slot;
}

/* On the controller's side only. */
static enum hv_status forget_queued(struct usb_pipe *p)
{
    struct usb_device *d = p->device;
    u32 state = endpoint_state(p);
    enum hv_status status = HV_OK;

    if (!usable(d))
        return HV_EIO;
    if (state == ENDPOINT_HALTED || state == ENDPOINT_RUNNING)
        status = xhci_command(
            d->x, 0,
            command_for(d, state == ENDPOINT_HALTED ? TRB_RESET_ENDPOINT : TRB_STOP_ENDPOINT) |
                TRB_ENDPOINT(p->index),
            NULL);
    if (status != HV_OK && endpoint_state(p) == ENDPOINT_HALTED) /* by itself, meanwhile */
        status = xhci_command(d->x, 0, command_for(d, TRB_RESET_ENDPOINT) | TRB_ENDPOINT(p->index),
                              NULL);
    if (status != HV_OK || !usable(d))
        return HV_EIO;
    return xhci_command(d->x, dma_address(&p->ring.trbs[p->ring.at]) | p->ring.cycle,
                        command_for(d, TRB_SET_DEQUEUE) | TRB_ENDPOINT(p->index), NULL);
}

static enum hv_status transfer(struct usb_device *d, u64 setup, u32 length)
{
    struct usb_pipe *p = d->pipes[1];
    bool in = setup & USB_IN;
    u32 kind = !length ? 0 : in ? 3u << 16 : 2u << 16; /* 6.4.1.2.1 */

    event_clear(&d->control_over);
    d->control_code = 0;
    if (in)
        memset(d->scratch, 0, USB_CONFIG_MAX);
    xhci_put(&p->ring, setup, 8, TRB_TYPE(TRB_SETUP) | TRB_IMMEDIATE | kind);
    if (length)
        xhci_put(&p->ring, dma_address(d->scratch), length,
                 TRB_TYPE(TRB_DATA) | (in ? TRB_DIR_IN : 0));
    d->control_trb =
        xhci_put(&p->ring, 0, 0, TRB_TYPE(TRB_STATUS) | TRB_IOC | (in && length ? 0 : TRB_DIR_IN));
    xhci_bell(d->x, d->slot, 1);
    enum hv_status status = fiber_wait(&d->control_over, clock_after(CONTROL_NS));
    if (!usable(d))
        return HV_EIO;
    if (status == HV_OK && (d->control_code == CODE_SUCCESS || d->control_code == CODE_SHORT))
        return HV_OK;
    if (forget_queued(p) != HV_OK)
        return HV_EIO;
    return status == HV_OK ? HV_EIO : status;
}

enum hv_status usb_control(struct usb_device *d, u32 type, u32 request, u32 value, u32 index,
                           u32 length)
{
    u64 setup = type | request << 8 | (u64)value << 16 | (u64)index << 32 | (u64)length << 48;

    while (d->controlling && usable(d))
        fiber_wait(&d->uncontrolled, LOOP_NEVER);
    if (!usable(d) || length > USB_CONFIG_MAX)
        return HV_EIO;
    d->controlling = true;
    enum hv_status status = transfer(d, setup, length);
    d->controlling = false;
    event_signal(&d->uncontrolled);
    return status;
}

/* ---- pipes ------------------------------------------------------------------------------------
 */
u64 usb_pipe_put(struct usb_pipe *p, u64 address, u32 len, u64 left, bool event)
{
    u64 packets = (left + p->packet - 1) / p->packet; /* 4.11.2.4 */

    return xhci_put(&p->ring, address, len | (u32)MIN(packets, 31ull) << 17,
                    TRB_TYPE(TRB_NORMAL) | (left ? TRB_CHAIN : 0) | (event ? TRB_IOC : 0));
}

void usb_pipe_start(struct usb_pipe *p)
{
    xhci_bell(p->device->x, p->device->slot, p->index);
}

enum hv_status usb_pipe_clear(struct usb_pipe *p)
{
    u32 address = p->index >> 1 | (p->index & 1 ? USB_IN : 0);
    enum hv_status status = forget_queued(p);

    if (status == HV_OK)
        status =
            usb_control(p->device, USB_TO_ENDPOINT, USB_CLEAR_FEATURE, ENDPOINT_HALT, address, 0);
    return status;
}

static u32 index_of(const struct usb_endpoint *e)
{
    return 2u * (e->address & 15) + (e->address >> 7);
}

struct usb_pipe *usb_pipe_find(struct usb_device *d, const struct usb_interface *i, u32 kind,
                               bool in)
{
    for (u32 n = 0; n < i->endpoint_count; n++)
        if (i->endpoints[n].kind == kind && (i->endpoints[n].address >> 7) == in)
            return d->pipes[index_of(&i->endpoints[n])];
    return NULL;
}

/* In units of 125 us, as an exponent: 6.2.3.6. */
static u32 interval_of(const struct usb_device *d, const struct usb_endpoint *e)
{
    u32 n = 3;

    if (e->kind != 3)
        return 0;
    if (d->speed >= USB_HIGH)
        return e->interval ? MIN(e->interval - 1u, 15u) : 0;
    while (n < 10 && (2u << n) <= e->interval * 8u)
        n++;
    return n;
}

enum hv_status usb_configure(struct usb_device *d, const struct usb_interface *i)
{
    u32 add = 1;

    for (u32 n = 0; n < i->endpoint_count; n++) {
        const struct usb_endpoint *e = &i->endpoints[n];
        if (e->kind < 2 || d->pipes[index_of(e)])
            continue;
        if (!new_pipe(d, index_of(e), e->packet))
            return HV_ENOMEM;
        add |= 1u << index_of(e);
    }
    fill_input(d, add);
    for (u32 n = 0; n < i->endpoint_count; n++) {
        const struct usb_endpoint *e = &i->endpoints[n];
        struct usb_pipe *p = d->pipes[index_of(e)];
        if (p && e->kind >= 2)
            fill_pipe(d, p, e->kind + (e->address & USB_IN ? TYPE_IN : 0), interval_of(d, e),
                      d->speed >= USB_SUPER ? e->burst : 0);
    }
    enum hv_status status =
        xhci_command(d->x, dma_address(d->input), command_for(d, TRB_CONFIGURE), NULL);
    if (status == HV_OK)
        status = usb_control(d, 0, USB_SET_CONFIGURATION, i->configuration, 0, 0);
    if (status == HV_OK && i->alternate)
        status = usb_control(d, USB_TO_INTERFACE, USB_SET_INTERFACE, i->alternate, i->number, 0);
    return status;
}

enum hv_status usb_set_hub(struct usb_device *d, u32 ports, u32 think_time)
{
    fill_input(d, 1);
    input_context(d, 1)[0] |= 1u << 26;
    input_context(d, 1)[1] |= ports << 24;
    input_context(d, 1)[2] |= think_time << 16;
    return xhci_command(d->x, dma_address(d->input), command_for(d, TRB_CONFIGURE), NULL);
}

/* ---- coming and going -------------------------------------------------------------------------
 */
static void free_device(struct usb_device *d)
{
    u32 len = d->x->context_len;
    bool kept = false;

    if (d->slot) {
        kept =
            xhci_command(d->x, 0, command_for(d, TRB_DISABLE_SLOT), NULL) != HV_OK && !d->x->silent;
        d->x->by_slot[d->slot] = NULL;
    }
    d->slot = 0;
    for (u32 i = 0; i < XHCI_PIPES; i++)
        if (d->pipes[i]) {
            if (!kept) /* else the controller may still write to it */
                dma_free(d->pipes[i]->ring.trbs, XHCI_RING * sizeof(struct xhci_trb));
            free(d->pipes[i]);
        }
    if (!kept) {
        dma_free(d->input, CONTEXTS * len);
        dma_free(d->output, (CONTEXTS - 1) * len);
        dma_free(d->scratch, USB_CONFIG_MAX);
    }
    free(d);
}

void usb_device_remove(struct usb_device *d)
{
    struct usb_device **link = &d->x->devices;

    d->gone = true;
    if (d->on_gone)
        d->on_gone(d);
    event_signal(&d->control_over);
    event_signal(&d->uncontrolled);
    while (d->users)
        fiber_sleep_until(clock_after(10 * CLOCK_MS));
    for (struct usb_device *child = d->x->devices, *next; child; child = next) {
        next = child->next;
        if (child->hub == d) {
            usb_device_remove(child);
            next = d->x->devices; /* the list is another one now */
        }
    }
    while (*link != d)
        link = &(*link)->next;
    *link = d->next;
    free_device(d);
}

struct usb_device *usb_device_at(struct xhci *x, const struct usb_device *hub, u32 port)
{
    struct usb_device *d = x->devices;

    while (d && (d->hub != hub || (hub ? d->hub_port : d->port) != port))
        d = d->next;
    return d;
}

void usb_device_gone(struct xhci *x, const struct usb_device *hub, u32 port)
{
    struct usb_device *d = usb_device_at(x, hub, port);

    if (d) {
        log_notice("%s port %u: a device was pulled out", x->pci->name, d->port + 1);
        usb_device_remove(d);
    }
}

static enum hv_status get_descriptor(struct usb_device *d, u32 type, u32 index, u32 length)
{
    return usb_control(d, USB_IN, USB_GET_DESCRIPTOR, type << 8 | index,
                       type == USB_STRING ? LANGUAGE : 0, length);
}

/* A slot, an address: 4.3. */
static enum hv_status address(struct usb_device *d)
{
    static const u16 packets[] = {
        [USB_FULL] = 8, [USB_LOW] = 8, [USB_HIGH] = 64, [USB_SUPER] = 512};
    struct xhci *x = d->x;
    struct xhci_trb e;

    if (!new_pipe(d, 1, packets[d->speed]))
        return HV_ENOMEM;
    d->pipes[1]->on_event = on_control;
    enum hv_status status = xhci_command(x, 0, TRB_TYPE(TRB_ENABLE_SLOT), &e);
    u32 slot = e.control >> 24;
    if (status != HV_OK || !slot || slot > x->slots || x->by_slot[slot])
        return HV_EIO;
    d->slot = slot;
    x->by_slot[slot] = d;
    x->contexts[slot] = dma_address(d->output);
    fill_input(d, 3);
    fill_pipe(d, d->pipes[1], TYPE_CONTROL, 0, 0);
    status = xhci_command(x, dma_address(d->input), command_for(d, TRB_ADDRESS), NULL);
    fiber_sleep_until(clock_after(SET_ADDRESS_NS));
    return status;
}

/* The packet size of the control pipe is known only after its first use. */
static enum hv_status identify(struct usb_device *d)
{
    enum hv_status status = get_descriptor(d, USB_DEVICE, 0, 8);

    if (status == HV_OK)
        status = usb_parse_device(&d->identity, d->scratch, 8, d->speed);
    if (status == HV_OK && d->identity.packet != d->pipes[1]->packet) {
        d->pipes[1]->packet = d->identity.packet;
        fill_input(d, 2);
        fill_pipe(d, d->pipes[1], TYPE_CONTROL, 0, 0);
        status = xhci_command(d->x, dma_address(d->input), command_for(d, TRB_EVALUATE), NULL);
    }
    if (status == HV_OK)
        status = get_descriptor(d, USB_DEVICE, 0, 18);
    if (status == HV_OK)
        status = usb_parse_device(&d->identity, d->scratch, 18, d->speed);
    return status;
}

/* Offers the interfaces of the first configuration to the drivers there are. */
static bool find_driver(struct usb_device *d)
{
    struct usb_interface i;
    u8 *config = d->scratch;

    if (get_descriptor(d, USB_CONFIG, 0, 9) != HV_OK)
        return false;
    u32 len = MIN((u32)(config[2] | config[3] << 8), (u32)USB_CONFIG_MAX);
    if (get_descriptor(d, USB_CONFIG, 0, len) != HV_OK)
        return false;
    if (usb_find_interface(&i, config, len, 8, 6, 0x50) == HV_OK)
        return usb_storage_attach(d, &i);
    if (usb_find_interface(&i, config, len, 9, 0xff, 0xff) == HV_OK)
        return usb_hub_attach(d, &i);
    return false;
}

static struct usb_device *new_device(struct xhci *x)
{
    struct usb_device *d = calloc(1, sizeof(*d));

    if (!d)
        return NULL;
    d->x = x;
    d->input = dma_alloc(CONTEXTS * x->context_len);
    d->output = dma_alloc((CONTEXTS - 1) * x->context_len);
    d->scratch = dma_alloc(USB_CONFIG_MAX);
    d->next = x->devices;
    x->devices = d;
    return d;
}

bool usb_device_attach(struct xhci *x, struct usb_device *hub, u32 port, enum usb_speed speed)
{
    if (speed < USB_FULL || (hub && hub->depth >= DEPTH_MOST))
        return false;
    struct usb_device *d = new_device(x);
    if (!d)
        return false;
    d->speed = MIN(speed, USB_SUPER); /* SuperSpeedPlus is as good as SuperSpeed here */
    d->hub = hub;
    d->port = hub ? hub->port : port;
    if (hub) {
        d->hub_port = port;
        d->depth = hub->depth + 1;
        d->route = hub->route | MIN(port, 15u) << (4 * hub->depth);
    }
    enum hv_status status = d->input && d->output && d->scratch ? address(d) : HV_ENOMEM;
    if (status == HV_OK)
        status = identify(d);
    if (status == HV_OK && find_driver(d))
        return true;
    if (status != HV_OK)
        log_warn("%s port %u: a device does not tell what it is (status %d)", x->pci->name,
                 d->port + 1, status);
    usb_device_remove(d);
    return false;
}
