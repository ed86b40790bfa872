/* The entropy device; its requests are served at the doorbell. */
#include "vmm/virtio_dev_rng.h"

#include "control/rt/random.h"
#include "vmm/platform.h"

#define REQUEST_MAX 4096 /* bytes given at a time: a driver asks again */

static void kick(struct virtio_device *d, u32 queue)
{
    static struct virtio_chain c;
    u8 bytes[256];
    u32 n;
    for (n = 0; n < d->model->queue_size && virtio_dev_take(d, queue, &c); n++) {
        u32 want = MIN(c.writable_len, (u32)REQUEST_MAX), done = 0;
        while (done < want) {
            u32 len = MIN(want - done, (u32)sizeof(bytes));
            random_bytes(bytes, len);
            done += virtio_chain_write(&c, done, bytes, len);
        }
        d->state->bytes_in += done;
        virtio_dev_put(d, queue, &c, done);
    }
    virtio_dev_signal(d, queue);
    if (n == d->model->queue_size)
        virtio_dev_again(d, queue, platform_now());
}

const struct virtio_model virtio_dev_rng_model = {
    .name = "virtio-rng",
    .type = 4,
    .class = 0x00ff00, /* unclassified */
    .queue_size = 8,
    .kick = kick,
};
