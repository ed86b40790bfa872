/* Memory of frames that more than one may hold: the interface that made a frame and the card that
 * reads it, or the card's driver and the stack above.
 *
 * One thread.  A frame that names such a buffer (net_frame.buffer) may be kept after the call that
 * passed it: who keeps it holds the buffer and leaves its bytes as they are. */
#pragma once

#include "kernel/abi/types.h"

#define FRAME_BUFFER_SMALL 2048u
#define FRAME_BUFFER_LARGE 65536u

struct frame_buffer {
    u8 *bytes; /* memory that devices reach */
    u32 size, users;
    void (*release)(struct frame_buffer *b); /* nobody holds it any more */
    struct frame_buffer *next;               /* of those that are free */
};

/* One of at least `size` bytes, held once; NULL: none left, or no memory. */
MUST_CHECK struct frame_buffer *frame_buffer_get(u32 size);
static inline void frame_buffer_hold(struct frame_buffer *b)
{
    b->users++;
}
static inline void frame_buffer_drop(struct frame_buffer *b)
{
    if (--b->users == 0)
        b->release(b);
}
