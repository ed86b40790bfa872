/* links: vmm/virtio_ring.c vmm/guest_mem.c */
/* Any memory as a virtqueue: what is taken lies in RAM, and a queue is emptied in bounded work. */
#include <stdlib.h>
#include <string.h>

#include "vmm/virtio_ring.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

#define RAM 0x4000u

static void check(const struct virtio_chain *c, const u8 *ram)
{
    u64 in = 0, out = 0;
    if (c->readable + c->writable > VIRTIO_CHAIN_MAX)
        abort();
    for (u32 i = 0; i < c->readable + c->writable; i++) {
        const struct virtio_segment *s = &c->segment[i];
        if (s->at < ram || s->at >= ram + RAM || s->len > (u64)(ram + RAM - s->at))
            abort();
        *(i < c->readable ? &in : &out) += s->len;
    }
    if (in != c->readable_len || out != c->writable_len)
        abort();
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    static u8 ram[RAM] __attribute__((aligned(4096)));
    static struct virtio_chain c;
    struct virtio_queue q = {0};
    u8 head[8], bytes[64] = {0};
    if (size < sizeof(head))
        return 0;
    memcpy(head, data, sizeof(head));
    memset(ram, 0, sizeof(ram));
    for (size_t i = 0; i < sizeof(ram) && size > sizeof(head); i++)
        ram[i] = data[sizeof(head) + i % (size - sizeof(head))];
    struct guest_mem mem = {.base = ram, .count = 1, .range = {{0, RAM}}};
    struct virtio_ring r = {.mem = &mem,
                            .q = &q,
                            .packed = head[0] & 1,
                            .event_idx = head[0] & 2,
                            .indirect = head[0] & 4};
    q.size = head[1];
    q.desc = 16u * head[2];
    q.driver = 4u * head[3];
    q.device = 0x800 + 4u * head[4];
    virtio_ring_start(&q);
    if (!virtio_ring_open(&r))
        return 0;
    for (u32 n = 0; n < 2u * VIRTIO_QUEUE_MAX && virtio_ring_take(&r, &c) == RING_CHAIN; n++) {
        check(&c, ram);
        struct virtio_kept k = {0};
        if (!virtio_ring_keep(&r, c.id, c.slots, &k))
            virtio_ring_pass(&r, c.slots);
        else if (virtio_ring_take_kept(&r, &k, &c) != RING_CHAIN)
            break;
        else
            check(&c, ram);
        u32 written = virtio_chain_write(&c, head[5], bytes, sizeof(bytes));
        (void)virtio_chain_read(&c, head[6], bytes, sizeof(bytes));
        virtio_ring_put(&r, &c, written);
        (void)virtio_ring_wants_interrupt(&r);
        virtio_ring_want_doorbell(&r, head[7] & 1);
    }
    return 0;
}
