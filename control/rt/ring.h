/* A byte ring in memory of the caller; one thread, no locks.  Pure. */
#pragma once

#include "kernel/abi/types.h"

struct ring {
    u8 *bytes;
    u32 size;       /* a power of two */
    u32 head, tail; /* free-running; head - tail bytes are stored */
};

void ring_init(struct ring *r, void *bytes, u32 size);
u32 ring_used(const struct ring *r);
u32 ring_room(const struct ring *r);
u32 ring_put(struct ring *r, const void *src, u32 len); /* bytes stored, as many as fit */
u32 ring_get(struct ring *r, void *dst, u32 len);       /* bytes taken */
bool ring_put_byte(struct ring *r, u8 byte);            /* false: full */
int ring_get_byte(struct ring *r);                      /* -1: empty */
/* The newest `len` bytes or fewer, oldest first, without taking them. */
u32 ring_peek_newest(const struct ring *r, void *dst, u32 len);
/* Stores all of it; the oldest bytes give way.  len may exceed the ring. */
void ring_push(struct ring *r, const void *src, u32 len);
