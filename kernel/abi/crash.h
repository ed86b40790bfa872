/* What a panic leaves in memory: its text, in pages that a warm reset does not clear.  The loader
 * keeps the pages at the same address in each boot; a sound record in them is handed over as the
 * module CRASH_MODULE, until SYS_CRASH clears it or the next panic takes its place. */
#pragma once

#include "kernel/abi/types.h"

#define CRASH_MODULE "crash-record"
#define CRASH_BYTES (32 * KIB)
#define CRASH_MAGIC 0x6873617263646842ull /* "Bhdcrash" */

struct crash_record {
    u64 magic;
    u64 len;       /* of the text, in bytes */
    u64 sum;       /* crash_sum() of the text */
    i64 unix_time; /* seconds UTC; 0: unknown */
    char text[CRASH_BYTES - 32];
};
_Static_assert(sizeof(struct crash_record) == CRASH_BYTES, "whole pages");

#define CRASH_SUM 0xcbf29ce484222325ull /* of nothing */
/* The sum of a text and of what follows it: FNV-1a. */
static inline u64 crash_sum(u64 sum, const char *text, u64 len)
{
    for (u64 i = 0; i < len; i++)
        sum = (sum ^ (u8)text[i]) * 0x100000001b3ull;
    return sum;
}

/* SYS_CRASH.  The last two end what runs, so they want CRASH_KEY besides. */
enum crash_call {
    CRASH_CLEAR,
    CRASH_RESET_AFTER, /* seconds: the machine is reset so long after a panic; 0: never */
    CRASH_PANIC,
    CRASH_HANG, /* this CPU, in the kernel: what the watchdog is for */
};
#define CRASH_KEY 0x706f747364616544ull
