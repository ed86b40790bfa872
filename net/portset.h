/* A set of ports of one switch, as a bitmap.  Pure, inline: it is on the path of each frame. */
#pragma once

#include "kernel/abi/types.h"

#define PORTSET_PORTS 256u
#define PORTSET_WORDS (PORTSET_PORTS / 64)

struct portset {
    u64 word[PORTSET_WORDS];
};

static inline void portset_add(struct portset *s, u32 port)
{
    s->word[port / 64] |= BIT(port % 64);
}

static inline void portset_remove(struct portset *s, u32 port)
{
    s->word[port / 64] &= ~BIT(port % 64);
}

static inline bool portset_has(const struct portset *s, u32 port)
{
    return s->word[port / 64] >> (port % 64) & 1;
}

static inline bool portset_empty(const struct portset *s)
{
    u64 any = 0;

    for (u32 i = 0; i < PORTSET_WORDS; i++)
        any |= s->word[i];
    return !any;
}

static inline void portset_or(struct portset *to, const struct portset *s)
{
    for (u32 i = 0; i < PORTSET_WORDS; i++)
        to->word[i] |= s->word[i];
}

static inline bool portset_meet(const struct portset *a, const struct portset *b)
{
    u64 both = 0;

    for (u32 i = 0; i < PORTSET_WORDS; i++)
        both |= a->word[i] & b->word[i];
    return both;
}

/* The first port at or after `from`; PORTSET_PORTS when there is none. */
static inline u32 portset_next(const struct portset *s, u32 from)
{
    while (from < PORTSET_PORTS) {
        u64 rest = s->word[from / 64] >> (from % 64);

        if (rest)
            return from + (u32)__builtin_ctzll(rest);
        from = (from | 63) + 1;
    }
    return PORTSET_PORTS;
}

#define portset_each(p, set)                                                                       \
    for (u32 p = portset_next((set), 0); p < PORTSET_PORTS; p = portset_next((set), p + 1))
