/* The pool of such buffers; called by interfaces when they send. */
#include "net/frame_buffer.h"

#include <stdlib.h>

#include "control/rt/dma.h"

static struct pool {
    const u32 size, most;
    u32 made;
    struct frame_buffer *free;
} pools[] = {{FRAME_BUFFER_SMALL, 1024, 0, NULL}, {FRAME_BUFFER_LARGE, 48, 0, NULL}};

static void give_back(struct frame_buffer *b)
{
    struct pool *p = &pools[b->size != FRAME_BUFFER_SMALL];

    b->next = p->free;
    p->free = b;
}

static struct frame_buffer *make(struct pool *p)
{
    struct frame_buffer *b = p->made < p->most ? calloc(1, sizeof(*b)) : NULL;

    if (!b)
        return NULL;
    *b = (struct frame_buffer){.bytes = dma_alloc(p->size), .size = p->size, .release = give_back};
    if (!b->bytes) {
        free(b);
        return NULL;
    }
    p->made++;
    return b;
}

struct frame_buffer *frame_buffer_get(u32 size)
{
    struct pool *p = &pools[size > FRAME_BUFFER_SMALL];
    struct frame_buffer *b = size <= p->size ? p->free : NULL;

    if (b)
        p->free = b->next;
    else if (size <= p->size)
        b = make(p);
    if (b)
        b->users = 1;
    return b;
}
