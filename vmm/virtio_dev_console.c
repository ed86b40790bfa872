/* The console device; served at the doorbell, by typed input and by its timer.
 *
 * Output is paced: a turn writes at most what the scroll-back holds for a reader that keeps up, the
 * rest follows a millisecond later, so a flood costs the guest and nobody else. */
#include "vmm/virtio_dev_console.h"

#include <string.h>

#include "vmm/platform.h"
#include "vmm/vm.h"

enum { QUEUE_INPUT, QUEUE_OUTPUT, QUEUE_COUNT };

#define F_EMERG_WRITE BIT(2)
#define CONFIG_EMERG_WRITE 8
#define TURN (NS_PER_SEC / 1000)

struct console_state {
    u32 typed_len;
    u32 sent; /* bytes of the chain at the head of the output queue that are written already */
    u8 typed[VIRTIO_MODEL_STATE - 8];
};
_Static_assert(sizeof(struct console_state) <= VIRTIO_MODEL_STATE, "it has no more");

static struct virtio_chain chain; /* one thread, and never kept */

static void give_input(struct virtio_device *d)
{
    struct console_state *s = d->model_state;
    while (s->typed_len && virtio_dev_take(d, QUEUE_INPUT, &chain)) {
        u32 n = virtio_chain_write(&chain, 0, s->typed, s->typed_len);
        s->typed_len -= n;
        memmove(s->typed, s->typed + n, s->typed_len);
        d->state->bytes_in += n;
        virtio_dev_put(d, QUEUE_INPUT, &chain, n);
    }
    virtio_dev_signal(d, QUEUE_INPUT);
}

/* Part of a chain; true if that was all of it. */
static bool write_some(struct virtio_device *d, u32 *room)
{
    struct console_state *s = d->model_state;
    u8 bytes[256];
    u32 left = chain.readable_len > s->sent ? chain.readable_len - s->sent : 0;
    while (left && *room) {
        u32 n = MIN(MIN(left, *room), (u32)sizeof(bytes));
        n = virtio_chain_read(&chain, s->sent, bytes, n);
        platform_console_write(d->pci.vm, bytes, n);
        d->state->bytes_out += n;
        s->sent += n;
        left -= n;
        *room -= n;
    }
    return !left;
}

static void take_output(struct virtio_device *d)
{
    struct console_state *s = d->model_state;
    u32 room = platform_console_room(d->pci.vm), n;
    for (n = 0; n < d->model->queue_size && virtio_dev_take(d, QUEUE_OUTPUT, &chain); n++) {
        if (!write_some(d, &room)) {
            virtio_dev_untake(d, QUEUE_OUTPUT, &chain);
            break;
        }
        s->sent = 0;
        virtio_dev_put(d, QUEUE_OUTPUT, &chain, 0);
    }
    virtio_dev_signal(d, QUEUE_OUTPUT);
    if (!room || n == d->model->queue_size)
        virtio_dev_again(d, QUEUE_OUTPUT, platform_now() + TURN);
}

static void kick(struct virtio_device *d, u32 queue)
{
    if (queue == QUEUE_OUTPUT)
        take_output(d);
    else
        give_input(d);
}

u32 virtio_dev_console_input(struct virtio_device *d, const u8 *bytes, u32 len)
{
    struct console_state *s = d->model_state;
    u32 n = MIN(len, (u32)sizeof(s->typed) - s->typed_len);
    memcpy(s->typed + s->typed_len, bytes, n);
    s->typed_len += n;
    give_input(d);
    return n;
}

static void config_write(struct virtio_device *d, u32 offset, const void *src, u32 len)
{
    u32 value = 0;
    memcpy(&value, src, MIN(len, (u32)sizeof(value)));
    if (offset == CONFIG_EMERG_WRITE)
        platform_console_put(d->pci.vm, (u8)value);
}

static void reset(struct virtio_device *d)
{
    memset(d->model_state, 0, VIRTIO_MODEL_STATE);
}

static u32 queues(const struct virtio_device *d)
{
    (void)d;
    return QUEUE_COUNT;
}

const struct virtio_model virtio_dev_console_model = {
    .name = "virtio-console",
    .type = 3,
    .class = 0x078000, /* communication controller */
    .queue_size = 64,
    .config_len = 12,
    .features = F_EMERG_WRITE,
    .queues = queues,
    .config_write = config_write,
    .reset = reset,
    .kick = kick,
};
