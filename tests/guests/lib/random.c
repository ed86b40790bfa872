/* SplitMix64: one word of state, so that action N can be made again without its predecessors. */
#include "tests/guests/lib/random.h"

#include "tests/guests/lib/platform.h"

static u64 state;

u64 random_next(void)
{
    u64 z = state += 0x9e3779b97f4a7c15ull;
    z = (z ^ z >> 30) * 0xbf58476d1ce4e5b9ull;
    z = (z ^ z >> 27) * 0x94d049bb133111ebull;
    return z ^ z >> 31;
}

void random_start(u64 seed, u64 action)
{
    state = seed * 0xd1342543de82ef95ull + action;
    state = random_next();
}

u32 random_below(u32 n)
{
    return (u32)(random_next() >> 32) % n;
}

bool random_chance(u32 one_in)
{
    return random_below(one_in) == 0;
}

u64 random_value(void)
{
    u64 v = random_next();

    switch (v & 7) {
    case 0:
        return 0;
    case 1:
        return ~0ull;
    case 2:
        return v >> 58;
    case 3:
        return BIT(v >> 58);
    case 4:
        return v >> 32;
    case 5:
        return v >> 48;
    default:
        return v;
    }
}

u64 random_option(const char *name, u64 otherwise)
{
    const char *at = platform_command_line();

    for (; *at; at++) {
        unsigned n = 0;
        while (name[n] && at[n] == name[n])
            n++;
        if (name[n] || at[n] != '=')
            continue;
        u64 value = 0;
        for (at += n + 1; *at >= '0' && *at <= '9'; at++)
            value = value * 10 + (u64)(*at - '0');
        return value;
    }
    return otherwise;
}
