/* Rates in time: traffic shaping, storm control, and the delay and loss of an emulated link.
 *
 * Pure.  A bucket is kept as the time at which it would be full again (the virtual scheduling
 * form of the leaky bucket, ITU-T I.371 annex A): no timer fills it. */
#pragma once

#include "kernel/abi/types.h"

#define SHAPE_DROP (~0ull)
#define SHAPE_QUEUE_NS 200000000ull /* no frame waits longer for its turn */

struct shape {               /* one direction of one port; average 0: off */
    u64 average, peak;       /* bits a second; peak 0: no limit while the burst lasts */
    u64 burst;               /* bytes above the average */
    u64 average_at, peak_at; /* when each bucket is full again, ns */
};

void shape_set(struct shape *s, u64 average, u64 peak, u64 burst);
/* When a frame that comes at `now` may leave: now or later, at most SHAPE_QUEUE_NS later, else
 * SHAPE_DROP (and nothing is accounted). */
u64 shape_departure(struct shape *s, u32 len, u64 now);

struct storm { /* a limit in frames a second, a tenth of a second's worth at once; rate 0: off */
    u32 rate;
    u64 at;
};
bool storm_admit(struct storm *s, u64 now);

struct link_emulation {
    u64 delay;    /* ns */
    u32 loss_ppm; /* frames lost in a million */
};

/* The next number of a sequence that *state seeds; the same everywhere. */
u64 shape_random(u64 *state);
