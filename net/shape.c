/* Shaping, storm control and link emulation; called by the switch for the ports that have them. */
#include "net/shape.h"

#define SECOND 1000000000ull

void shape_set(struct shape *s, u64 average, u64 peak, u64 burst)
{
    *s = (struct shape){.average = average, .peak = peak, .burst = burst};
}

/* bits * 10^9 stays below 2^64 for bursts under 2 GiB: longer ones count as that. */
static u64 cost(u64 bytes, u64 rate)
{
    return MIN(bytes, 2 * GIB - 1) * 8 * SECOND / rate;
}

u64 shape_departure(struct shape *s, u32 len, u64 now)
{
    u64 tolerance = cost(s->burst, s->average), at = now;

    if (s->average_at > tolerance)
        at = MAX(at, s->average_at - tolerance);
    if (s->peak)
        at = MAX(at, s->peak_at);
    if (at - now > SHAPE_QUEUE_NS)
        return SHAPE_DROP;
    s->average_at = MAX(s->average_at, at) + cost(len, s->average);
    if (s->peak)
        s->peak_at = MAX(s->peak_at, at) + cost(len, s->peak);
    return at;
}

bool storm_admit(struct storm *s, u64 now)
{
    u64 interval;

    if (!s->rate)
        return true;
    interval = SECOND / s->rate;
    if (s->at > now + SECOND / 10)
        return false;
    s->at = MAX(s->at, now) + interval;
    return true;
}

u64 shape_random(u64 *state)
{
    u64 z = *state += 0x9e3779b97f4a7c15ull; /* splitmix64 */

    z = (z ^ z >> 30) * 0xbf58476d1ce4e5b9ull;
    z = (z ^ z >> 27) * 0x94d049bb133111ebull;
    return z ^ z >> 31;
}
