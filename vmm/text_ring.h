/* A ring of bytes that forgets the oldest: a VM's log and the scroll-back of its console.
 *
 * Pure.  No pointers inside: it lies in the VM's state area. */
#pragma once

#include "kernel/abi/types.h"

struct text_ring {
    u64 written; /* bytes ever put; the last MIN(written, size) are there */
    u32 size;    /* bytes of data[] */
    u32 pad;
    u8 data[];
};

void text_ring_init(struct text_ring *r, u32 size);
void text_ring_put(struct text_ring *r, const void *bytes, u32 len);
/* Position of the oldest byte still there. */
u64 text_ring_oldest(const struct text_ring *r);
/* Copies bytes from *pos on into buf and advances *pos; skips what was overwritten.  Number of
 * bytes copied, 0 at the end. */
u32 text_ring_read(const struct text_ring *r, u64 *pos, void *buf, u32 len);
static inline void text_ring_putc(struct text_ring *r, u8 byte)
{
    r->data[r->written++ % r->size] = byte;
}
