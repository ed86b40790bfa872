/* Stackful fibers over the event loop: code that waits reads straight down.
 *
 * All fibers and the loop share one thread and switch only inside the calls below, so no locks.
 * Only the waiting calls need a fiber; fiber_spawn and event_signal work on the loop's stack. */
#pragma once

#include "kernel/abi/status.h"
#include "kernel/abi/types.h"

#define FIBER_STACK_SIZE (64 * KIB)

struct fiber;

struct event { /* zeroed = not signalled, nobody waits */
    struct fiber *waiters;
    bool signalled;
};

/* Starts fn(arg) at the loop's next iteration.  The stack has an unmapped page below it and is
 * reused after fn returns.  NULL: no memory.  `name` must outlive the fiber. */
struct fiber *fiber_spawn(const char *name, void (*fn)(void *arg), void *arg);

struct fiber *fiber_self(void); /* NULL on the loop's own stack */
const char *fiber_name(const struct fiber *f);
/* A pointer of the running fiber's own, NULL at its start and on the loop's stack. */
void *fiber_data(void);
void fiber_set_data(void *data);

void fiber_yield(void);               /* let the others run once */
void fiber_sleep_until(u64 deadline); /* TSC */
/* Waits until the event is signalled (and takes the signal) or `deadline` (TSC, LOOP_NEVER for
 * none) has passed.  HV_OK or HV_ETIMEDOUT. */
enum hv_status fiber_wait(struct event *e, u64 deadline);

/* The same, and fiber_cancel() ends it as if `deadline` had come. */
enum hv_status fiber_wait_cancellable(struct event *e, u64 deadline);
/* Ends such a wait of that fiber; harmless while it runs or waits otherwise. */
void fiber_cancel(struct fiber *f);

void event_signal(struct event *e); /* wakes all waiters; kept for one later wait if none */
void event_clear(struct event *e);

/* For loop.c: runs each fiber that is ready now, once.  True if some are ready again. */
bool fiber_run_ready(void);
bool fiber_any_ready(void);
u32 fiber_count(void);

/* What `host top` shows of a stack and of the fiber that has it, or had it last. */
struct fiber_report {
    const char *name;
    bool live;
    u64 ticks, runs, longest; /* TSC ticks of that fiber in all and in its longest run */
    u32 stack_used;           /* bytes, the most that any fiber used of this stack */
};
/* The i-th stack that was made, from 0.  False: there are no more. */
MUST_CHECK bool fiber_report(u32 i, struct fiber_report *out);
