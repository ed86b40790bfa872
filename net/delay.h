/* Frames that wait for their time: a first-in first-out line in memory of a fixed size.
 *
 * Pure.  The frame's bytes are copied in, since their owner wants them back.  Times never go
 * backwards within a line. */
#pragma once

#include "net/frame.h"

struct delay_line {
    u8 *bytes;
    u32 size;       /* a power of two */
    u32 head, tail; /* free-running */
    u32 count;      /* frames in it */
    u64 last;       /* when the newest is due */
};

void delay_init(struct delay_line *d, void *bytes, u32 size);
bool delay_room(const struct delay_line *d, u32 len);
/* `at`: ns; not earlier than what is in the line already, else it waits as long as that.
 * False: no room. */
bool delay_put(struct delay_line *d, const struct net_frame *f, u16 tag, u64 at);
/* The oldest one if it is due; its bytes stay where they are until delay_drop. */
bool delay_peek(const struct delay_line *d, u64 now, struct net_frame *f, u16 *tag);
void delay_drop(struct delay_line *d);
u64 delay_next(const struct delay_line *d); /* when the oldest is due; ~0: empty */
