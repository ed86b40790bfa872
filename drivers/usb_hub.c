/* USB hubs: USB 2.0 chapter 11, USB 3.2 chapter 10.  Called by usb_device.c; a fiber a hub looks
 * after its ports when its interrupt pipe tells of a change. */
#include "drivers/usb_hub.h"

#include <stdlib.h>

#include "control/rt/clock.h"
#include "control/rt/dma.h"
#include "control/rt/log.h"
#include "drivers/usb_device.h"

#define PORTS_MOST 15 /* of a route */
#define DESCRIPTOR 0x29u
#define DESCRIPTOR_SUPER 0x2au
#define SET_DEPTH 12u
#define KIND_INTERRUPT 3
enum feature { FEATURE_RESET = 4, FEATURE_POWER = 8, FEATURE_CHANGES = 16 };
#define STATUS_CONNECTED BIT(0)
#define STATUS_ENABLED BIT(1)
#define STATUS_LOW BIT(9)
#define STATUS_HIGH BIT(10)
#define CHANGE_CONNECTION BIT(16)
#define CHANGE_RESET BIT(20)
#define CHANGES 11 /* features from FEATURE_CHANGES on that stand for bits of the change word */
#define RESET_NS (500 * CLOCK_MS)
#define SETTLE_NS (100 * CLOCK_MS)

struct hub {
    struct usb_device *device;
    struct usb_pipe *pipe;
    u32 ports;
    u8 *bits; /* DMA memory: which ports changed */
    struct event changed;
};

static enum hv_status set_feature(struct usb_device *d, u32 port, u32 feature, bool on)
{
    return usb_control(d, USB_CLASS | USB_TO_OTHER, on ? USB_SET_FEATURE : USB_CLEAR_FEATURE,
                       feature, port, 0);
}

/* Status, then changes in the upper half; 0: it does not say. */
static u32 port_state(struct usb_device *d, u32 port)
{
    if (usb_control(d, USB_IN | USB_CLASS | USB_TO_OTHER, USB_GET_STATUS, 0, port, 4) != HV_OK)
        return 0;
    return d->scratch[0] | (u32)d->scratch[1] << 8 | (u32)d->scratch[2] << 16 |
           (u32)d->scratch[3] << 24;
}

static void take_changes(struct usb_device *d, u32 port, u32 state)
{
    for (u32 i = 0; i < CHANGES; i++)
        if (state >> (16 + i) & 1)
            (void)set_feature(d, port, FEATURE_CHANGES + i, false);
}

static bool reset_port(struct usb_device *d, u32 port, enum usb_speed *speed)
{
    u64 end = clock_after(RESET_NS);
    u32 state = 0;

    if (set_feature(d, port, FEATURE_RESET, true) != HV_OK)
        return false;
    while (!(state & CHANGE_RESET) && clock_tsc() < end && !d->gone) {
        fiber_sleep_until(clock_after(10 * CLOCK_MS));
        state = port_state(d, port);
    }
    take_changes(d, port, state & (u32)~CHANGE_CONNECTION);
    *speed = d->speed >= USB_SUPER ? USB_SUPER
             : state & STATUS_LOW  ? USB_LOW
             : state & STATUS_HIGH ? USB_HIGH
                                   : USB_FULL;
    return state & STATUS_ENABLED;
}

static void look_at(struct hub *h, u32 port)
{
    struct usb_device *d = h->device;
    u32 state = port_state(d, port);
    enum usb_speed speed;

    if (state & CHANGE_CONNECTION)
        usb_device_gone(d->x, d, port);
    take_changes(d, port, state);
    if ((state & STATUS_CONNECTED) && !d->gone && !usb_device_at(d->x, d, port) &&
        reset_port(d, port, &speed))
        (void)usb_device_attach(d->x, d, port, speed);
}

static void look_at_all(struct hub *h)
{
    for (u32 port = 1; port <= h->ports && !h->device->gone; port++)
        look_at(h, port);
}

static void wait_for_change(struct hub *h)
{
    usb_pipe_put(h->pipe, dma_address(h->bits), MIN(h->pipe->packet, 4u), 0, true);
    usb_pipe_start(h->pipe);
}

static void on_change(struct usb_pipe *p, u64 trb, u32 code, u32 left)
{
    struct hub *h = p->owner;

    (void)trb, (void)left;
    if (code != CODE_STOPPED)
        event_signal(&h->changed);
}

static void look_after(void *arg)
{
    struct hub *h = arg;
    struct usb_device *d = h->device;

    while (!d->gone) {
        wait_for_change(h);
        fiber_wait(&h->changed, LOOP_NEVER);
        if (d->gone)
            break;
        fiber_sleep_until(clock_after(SETTLE_NS)); /* and no faster, whatever the hub says */
        event_clear(&h->changed);
        look_at_all(h);
    }
    h->pipe->on_event = NULL;
    dma_free(h->bits, 64);
    free(h);
    d->users--;
}

static void on_gone(struct usb_device *d)
{
    struct hub *h = d->owner;

    event_signal(&h->changed);
}

static enum hv_status bring_up(struct hub *h, const struct usb_interface *i)
{
    struct usb_device *d = h->device;
    bool super = d->speed >= USB_SUPER;
    enum hv_status status = usb_configure(d, i);

    if (status == HV_OK && super)
        status = usb_control(d, USB_CLASS, SET_DEPTH, d->depth, 0, 0);
    if (status == HV_OK)
        status = usb_control(d, USB_IN | USB_CLASS, USB_GET_DESCRIPTOR,
                             (super ? DESCRIPTOR_SUPER : DESCRIPTOR) << 8, 0, super ? 12 : 9);
    if (status != HV_OK)
        return status;
    h->ports = MIN((u32)d->scratch[2], (u32)PORTS_MOST);
    u64 power_ns = 2 * CLOCK_MS * d->scratch[5];
    status = usb_set_hub(d, h->ports, d->scratch[3] >> 5 & 3);
    for (u32 port = 1; port <= h->ports && status == HV_OK; port++)
        status = set_feature(d, port, FEATURE_POWER, true);
    h->pipe = usb_pipe_find(d, i, KIND_INTERRUPT, true);
    if (status == HV_OK && !h->pipe)
        status = HV_ENOENT;
    fiber_sleep_until(clock_after(power_ns + SETTLE_NS));
    return status;
}

bool usb_hub_attach(struct usb_device *d, const struct usb_interface *i)
{
    struct hub *h = calloc(1, sizeof(*h));

    if (h && (h->bits = dma_alloc(64)) != NULL) {
        h->device = d;
        d->users++;
        if (bring_up(h, i) == HV_OK) {
            h->pipe->owner = h;
            h->pipe->on_event = on_change;
            look_at_all(h);
            if (fiber_spawn("usb hub", look_after, h)) {
                d->owner = h;
                d->on_gone = on_gone;
                if (d->gone)
                    on_gone(d);
                return true;
            }
            h->pipe->on_event = NULL;
        }
        d->users--;
        dma_free(h->bits, 64);
    }
    free(h);
    return false;
}
