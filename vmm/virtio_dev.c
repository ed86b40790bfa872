/* What all virtio devices share: status, features, queues and their failures; called by the
 * transport for the driver and by the models. */
#include "vmm/virtio_dev.h"

#include <string.h>

#include "control/rt/log.h"
#include "vmm/platform.h"
#include "vmm/virtio_dev_pci.h"
#include "vmm/vm.h"

#define TRANSPORT_FEATURES                                                                         \
    (VIRTIO_F_INDIRECT_DESC | VIRTIO_F_EVENT_IDX | VIRTIO_F_VERSION_1 | VIRTIO_F_RING_PACKED)

static bool polled; /* all queues of all devices: their doorbells are not wanted */

u64 virtio_dev_features(const struct virtio_device *d)
{
    return TRANSPORT_FEATURES | d->model->features |
           (d->model->more_features ? d->model->more_features(d) : 0);
}

u32 virtio_dev_queue_count(const struct virtio_device *d)
{
    return d->model->queues ? d->model->queues(d) : 1;
}

bool virtio_dev_live(const struct virtio_device *d)
{
    return (d->state->status & (VIRTIO_STATUS_DRIVER_OK | VIRTIO_STATUS_NEEDS_RESET)) ==
               VIRTIO_STATUS_DRIVER_OK &&
           !d->state->resetting;
}

/* The queue for use; NULL: the driver has not made it ready, or the device is broken or resetting.
 */
static const struct virtio_ring *usable(const struct virtio_device *d, u32 queue)
{
    return queue < VIRTIO_QUEUES && d->ring[queue].desc ? &d->ring[queue] : NULL;
}

static bool open_ring(struct virtio_device *d, u32 queue)
{
    struct virtio_ring *r = &d->ring[queue];
    *r = (struct virtio_ring){.mem = &d->pci.vm->mem,
                              .q = &d->state->queue[queue],
                              .packed = virtio_dev_has(d, VIRTIO_F_RING_PACKED),
                              .event_idx = virtio_dev_has(d, VIRTIO_F_EVENT_IDX),
                              .indirect = virtio_dev_has(d, VIRTIO_F_INDIRECT_DESC)};
    if (!virtio_ring_open(r)) {
        virtio_dev_broken(d, "a queue outside its memory");
        return false;
    }
    return true;
}

static void close_rings(struct virtio_device *d)
{
    memset(d->ring, 0, sizeof(d->ring));
}

static __attribute__((noinline)) bool take_last(struct virtio_device *d,
                                                const struct virtio_ring *r, struct virtio_chain *c,
                                                enum ring_result result)
{
    if (result == RING_EMPTY && polled) {
        virtio_ring_want_doorbell(r, false);
    } else if (result == RING_EMPTY && r->event_idx) {
        virtio_ring_want_doorbell(r, true); /* 2.7.10: for the entry after the last */
        result = virtio_ring_take(r, c);
    }
    if (result == RING_BROKEN)
        virtio_dev_broken(d, "a descriptor chain that is not allowed");
    d->state->chains += result == RING_CHAIN;
    return result == RING_CHAIN;
}

bool virtio_dev_take(struct virtio_device *d, u32 queue, struct virtio_chain *c)
{
    const struct virtio_ring *r = usable(d, queue);
    if (!r)
        return false;
    enum ring_result result = virtio_ring_take(r, c);
    if (__builtin_expect(result != RING_CHAIN, 0))
        return take_last(d, r, c, result);
    d->state->chains++;
    return true;
}

void virtio_dev_untake(struct virtio_device *d, u32 queue, const struct virtio_chain *c)
{
    const struct virtio_ring *r = usable(d, queue);
    if (!r)
        return;
    d->state->chains--;
    virtio_ring_untake(r, c);
}

void virtio_dev_put(struct virtio_device *d, u32 queue, const struct virtio_chain *c, u32 written)
{
    const struct virtio_ring *r = usable(d, queue);
    if (r) /* else the driver has reset the device meanwhile */
        virtio_ring_put_id(r, c->id, c->slots, written);
}

void virtio_dev_put_id(struct virtio_device *d, u32 queue, u16 id, u16 slots, u32 written,
                       bool pass)
{
    const struct virtio_ring *r = usable(d, queue);
    if (!r)
        return;
    if (pass)
        virtio_ring_pass(r, slots);
    virtio_ring_put_id(r, id, slots, written);
}

void virtio_dev_put_all(struct virtio_device *d, u32 queue, const struct virtio_chain *c,
                        const u32 *written, u32 count)
{
    const struct virtio_ring *r = usable(d, queue);
    if (r)
        virtio_ring_put_all(r, c, written, count);
}

bool virtio_dev_keep(struct virtio_device *d, u32 queue, u16 id, u16 slots, struct virtio_kept *k)
{
    const struct virtio_ring *r = usable(d, queue);
    return r && virtio_ring_keep(r, id, slots, k);
}

bool virtio_dev_take_kept(struct virtio_device *d, u32 queue, const struct virtio_kept *k,
                          struct virtio_chain *c)
{
    const struct virtio_ring *r = usable(d, queue);
    if (!r)
        return false;
    if (virtio_ring_take_kept(r, k, c) == RING_CHAIN)
        return true;
    virtio_dev_broken(d, "a descriptor chain that was changed in flight");
    return false;
}

void virtio_dev_rewind(struct virtio_device *d, u32 queue)
{
    virtio_ring_rewind(&d->state->queue[queue]);
}

bool virtio_dev_uses(const struct virtio_device *d, u64 gpa)
{
    for (u32 i = 0; i < VIRTIO_QUEUES; i++)
        if (virtio_ring_uses(&d->ring[i], gpa))
            return true;
    return false;
}

void virtio_dev_drained(struct virtio_device *d)
{
    if (d->state->resetting)
        virtio_dev_reset(d);
}

void virtio_dev_signal(struct virtio_device *d, u32 queue)
{
    const struct virtio_ring *r = usable(d, queue);
    if (r && virtio_ring_wants_interrupt(r))
        virtio_dev_pci_interrupt(d, d->state->queue[queue].vector, VIRTIO_ISR_QUEUE);
}

void virtio_dev_config_changed(struct virtio_device *d)
{
    d->state->generation++;
    if (d->state->status & VIRTIO_STATUS_DRIVER_OK)
        virtio_dev_pci_interrupt(d, d->state->config_vector, VIRTIO_ISR_CONFIG);
}

void virtio_dev_broken(struct virtio_device *d, const char *why)
{
    if (d->state->status & VIRTIO_STATUS_NEEDS_RESET)
        return;
    d->state->status |= VIRTIO_STATUS_NEEDS_RESET; /* 2.1.2 */
    close_rings(d);
    platform_log(d->pci.vm, "%s: the driver is wrong: %s; the device waits for its reset", d->label,
                 why);
    if (!d->told) /* once: a guest must not fill the host's log */
        log_notice("VM %s: the driver of %s is wrong: %s; the device waits for its reset",
                   d->pci.vm->config.name, d->label, why);
    d->told = true;
    virtio_dev_config_changed(d);
}

void virtio_dev_reset(struct virtio_device *d)
{
    struct virtio_state *s = d->state;
    u64 chains = s->chains, in = s->bytes_in, out = s->bytes_out;
    close_rings(d);
    memset(s, 0, sizeof(*s));
    s->chains = chains;
    s->bytes_in = in;
    s->bytes_out = out;
    s->config_vector = PCI_MSIX_NONE;
    for (u32 i = 0; i < VIRTIO_QUEUES; i++) {
        s->queue[i].size = d->model->queue_size;
        s->queue[i].vector = PCI_MSIX_NONE;
    }
    if (d->model->reset)
        d->model->reset(d);
    pci_intx(&d->pci, false);
}

void virtio_dev_set_status(struct virtio_device *d, u8 status)
{
    struct virtio_state *s = d->state;
    u8 news = status & (u8)~s->status;
    if (!status) { /* 4.1.4.3.1: reads as 0 when the reset is done */
        s->resetting = d->model->busy && d->model->busy(d);
        close_rings(d);
        if (!s->resetting)
            virtio_dev_reset(d);
        return;
    }
    if (s->resetting)
        return;
    if (news & VIRTIO_STATUS_FEATURES_OK) {
        /* 3.1.1 step 6: the bit stays clear if the subset is not acceptable. */
        if ((s->driver_features & ~virtio_dev_features(d)) ||
            !virtio_dev_has(d, VIRTIO_F_VERSION_1))
            status &= (u8)~VIRTIO_STATUS_FEATURES_OK;
    }
    if ((news & VIRTIO_STATUS_DRIVER_OK) && !((s->status | status) & VIRTIO_STATUS_FEATURES_OK))
        status &= (u8)~VIRTIO_STATUS_DRIVER_OK;
    s->status |= status & (u8)~VIRTIO_STATUS_NEEDS_RESET;
    if ((news & VIRTIO_STATUS_DRIVER_OK) && virtio_dev_live(d))
        virtio_dev_resume(d);
}

void virtio_dev_enable_queue(struct virtio_device *d, u32 queue)
{
    struct virtio_state *s = d->state;
    if (queue >= virtio_dev_queue_count(d) || s->queue[queue].enabled ||
        !(s->status & VIRTIO_STATUS_FEATURES_OK))
        return;
    virtio_ring_start(&s->queue[queue]);
    if (!open_ring(d, queue))
        return;
    s->queue[queue].enabled = 1;
    if (!virtio_dev_live(d))
        d->ring[queue].desc = NULL; /* until DRIVER_OK */
}

void virtio_dev_kick(struct virtio_device *d, u32 queue)
{
    if (usable(d, queue))
        d->model->kick(d, queue);
}

void virtio_dev_polls(bool on)
{
    polled = on;
}

void virtio_dev_mute(struct virtio_device *d)
{
    for (u32 i = 0; i < VIRTIO_QUEUES; i++)
        if (usable(d, i))
            virtio_ring_want_doorbell(&d->ring[i], !polled);
}

bool virtio_dev_poll(struct virtio_device *d)
{
    bool any = false;
    for (u32 i = 0; i < VIRTIO_QUEUES; i++) {
        if (!usable(d, i) || !virtio_ring_news(&d->ring[i]))
            continue;
        d->model->kick(d, i);
        any = true;
    }
    return any;
}

void virtio_dev_again(struct virtio_device *d, u32 queue, u64 at)
{
    d->again |= (u32)BIT(queue);
    platform_device_timer(d, at);
}

void virtio_dev_timer(struct virtio_device *d)
{
    u32 queues = d->again;
    d->again = 0;
    for (; queues; queues &= queues - 1)
        virtio_dev_kick(d, (u32)__builtin_ctz(queues));
}

void virtio_dev_resume(struct virtio_device *d)
{
    virtio_dev_drained(d);
    if (!virtio_dev_live(d))
        return;
    for (u32 i = 0; i < virtio_dev_queue_count(d); i++)
        if (d->state->queue[i].enabled && !open_ring(d, i))
            return;
    if (d->model->start)
        d->model->start(d);
    virtio_dev_mute(d); /* an instance before this one may have polled */
    for (u32 i = 0; i < virtio_dev_queue_count(d); i++)
        virtio_dev_kick(d, i); /* a driver may have filled it before it set DRIVER_OK */
}
