/* Stand-ins for the parts of the kernel that pure code reaches on the host: physical memory,
 * panic and the log.  A test that wants them names tests/unit/fakes.c in its links line. */
#pragma once

#include <setjmp.h>

#include "kernel/abi/types.h"

/* Physical memory, from 1 GiB on.  What was freed is filled with 0xdd and out of bounds. */
void fakes_mem_reset(void);           /* forget counters and failures; frees nothing */
void fakes_mem_forget(void);          /* that, and no memory was ever allocated */
void fakes_mem_fail_after(i64 count); /* allocation `count` from now (0 = next) fails; -1 none */
i64 fakes_mem_left(void); /* allocations until it fails; -1: it has failed, or none will */
u64 fakes_mem_live(void); /* allocations that were not freed */
u64 fakes_mem_live_bytes(void);
extern u64 fakes_mem_broken; /* calls of mem_break() */

/* panic() and assert() inside FAKES_PANICS(...) end it and make it true. */
extern jmp_buf fakes_panic_target;
extern bool fakes_panic_expected;
extern char fakes_panic_text[256];
#define FAKES_PANICS(...)                                                                          \
    (fakes_panic_expected = true, setjmp(fakes_panic_target) ? true : fakes_no_panic(({            \
         __VA_ARGS__;                                                                              \
         0;                                                                                        \
     })))
bool fakes_no_panic(int ignored);

/* The last record written to the log, and how many there were. */
extern char fakes_log_text[512];
extern u64 fakes_log_count;
