/* Random numbers that a seed makes again, and numbers out of the command line. */
#pragma once

#include "kernel/abi/types.h"

/* Starts the sequence of one action: it depends on these two numbers only. */
void random_start(u64 seed, u64 action);
u64 random_next(void);
u32 random_below(u32 n);        /* 0 to n - 1 */
bool random_chance(u32 one_in); /* true once in so many */
/* A value as bugs like it: zero, small, all ones, one bit, anything. */
u64 random_value(void);
/* "name=NUMBER" of the guest's command line; otherwise without it. */
u64 random_option(const char *name, u64 otherwise);
