/* Stackful fibers, switched by control/rt/fiber_switch.S; one thread, no locks.
 * The ready queue is a list in order of waking; fiber_run_ready() is called by the loop. */
#include "control/rt/fiber.h"

#include <string.h>

#include "control/rt/clock.h"
#include "control/rt/log.h"
#include "control/rt/loop.h"
#include "control/rt/stack.h"

void fiber_switch(void **save_rsp, void *load_rsp);

struct fiber {
    void *rsp;
    struct fiber *next; /* in the ready queue, an event's waiters or the free list */
    struct event *waiting_on;
    struct loop_timer timer;
    bool timed_out, cancellable;
    const char *name;
    void (*fn)(void *arg);
    void *arg;
    void *data; /* fiber_data() */
    bool live;
    u64 ticks, runs, longest;
    struct fiber *made_next; /* all stacks, in order of creation */
};

static struct fiber *current;
static struct fiber *ready_head, *ready_tail;
static struct fiber *idle; /* ended: their stacks serve again */
static void *loop_rsp;
static struct fiber *made, **made_end = &made;
static u32 live;

static void make_ready(struct fiber *f)
{
    f->next = NULL;
    if (ready_tail)
        ready_tail->next = f;
    else
        ready_head = f;
    ready_tail = f;
}

static void leave(void) /* back to the loop; returns when someone runs this fiber again */
{
    struct fiber *f = current;

    fiber_switch(&f->rsp, loop_rsp);
}

static void trampoline(void)
{
    for (;;) { /* a reused fiber starts over here */
        struct fiber *f = current;

        f->fn(f->arg);
        live--;
        f->live = false;
        f->next = idle;
        idle = f;
        leave();
    }
}

/* The struct lies at the top of its own stack: one allocation, no second list. */
static struct fiber *new_fiber(void)
{
    u8 *low = stack_alloc(FIBER_STACK_SIZE);

    if (!low)
        return NULL;
    struct fiber *f = (void *)(low + FIBER_STACK_SIZE - ROUND_UP(sizeof(*f), 64));
    memset(f, 0, sizeof(*f));
    /* As fiber_switch leaves it: six registers, then where to go.  At trampoline's first
     * instruction rsp must be 16 n + 8, as after a call (psABI 3.2.2). */
    void **sp = (void **)f - 1;
    *sp = NULL; /* trampoline's return address: ends a backtrace */
    *--sp = (void *)trampoline;
    sp -= 6;
    memset(sp, 0, 6 * sizeof(*sp));
    f->rsp = sp;
    *made_end = f;
    made_end = &f->made_next;
    return f;
}

struct fiber *fiber_spawn(const char *name, void (*fn)(void *arg), void *arg)
{
    struct fiber *f = idle;

    if (f)
        idle = f->next;
    else if (!(f = new_fiber()))
        return NULL;
    f->name = name;
    f->fn = fn;
    f->arg = arg;
    f->data = NULL;
    f->waiting_on = NULL;
    f->ticks = f->runs = f->longest = 0;
    f->live = true;
    live++;
    make_ready(f);
    return f;
}

struct fiber *fiber_self(void)
{
    return current;
}

const char *fiber_name(const struct fiber *f)
{
    return f ? f->name : "loop";
}

void *fiber_data(void)
{
    return current ? current->data : NULL;
}

void fiber_set_data(void *data)
{
    rt_assert(current);
    current->data = data;
}

void fiber_yield(void)
{
    rt_assert(current);
    make_ready(current);
    leave();
}

static void unlink_waiter(struct event *e, struct fiber *f)
{
    for (struct fiber **at = &e->waiters; *at; at = &(*at)->next) {
        if (*at == f) {
            *at = f->next;
            return;
        }
    }
}

static void on_timeout(void *owner)
{
    struct fiber *f = owner;

    if (f->waiting_on)
        unlink_waiter(f->waiting_on, f);
    f->waiting_on = NULL;
    f->timed_out = true;
    make_ready(f);
}

void fiber_sleep_until(u64 deadline)
{
    struct event never = {0};

    fiber_wait(&never, deadline);
}

enum hv_status fiber_wait(struct event *e, u64 deadline)
{
    struct fiber *f = current;

    rt_assert(f);
    if (e->signalled) {
        e->signalled = false;
        return HV_OK;
    }
    f->timed_out = false;
    f->waiting_on = e;
    f->next = NULL;
    struct fiber **at = &e->waiters; /* first come, first served */
    while (*at)
        at = &(*at)->next;
    *at = f;
    if (deadline != LOOP_NEVER) {
        f->timer.fn = on_timeout;
        f->timer.owner = f;
        loop_timer_set(&f->timer, deadline);
    }
    leave();
    loop_timer_cancel(&f->timer);
    return f->timed_out ? HV_ETIMEDOUT : HV_OK;
}

enum hv_status fiber_wait_cancellable(struct event *e, u64 deadline)
{
    struct fiber *f = current;

    rt_assert(f);
    f->cancellable = true;
    enum hv_status status = fiber_wait(e, deadline);
    f->cancellable = false;
    return status;
}

void fiber_cancel(struct fiber *f)
{
    if (!f->cancellable || !f->waiting_on)
        return;
    loop_timer_cancel(&f->timer);
    on_timeout(f);
}

void event_signal(struct event *e)
{
    struct fiber *f = e->waiters;

    if (!f) {
        e->signalled = true;
        return;
    }
    e->waiters = NULL;
    while (f) {
        struct fiber *next = f->next;

        loop_timer_cancel(&f->timer);
        f->waiting_on = NULL;
        make_ready(f);
        f = next;
    }
}

void event_clear(struct event *e)
{
    e->signalled = false;
}

bool fiber_run_ready(void)
{
    struct fiber *f = ready_head;

    ready_head = ready_tail = NULL; /* those that become ready now have to wait for the next turn */
    u64 then = f ? clock_tsc() : 0, now;
    while (f) {
        struct fiber *next = f->next;

        current = f;
        f->runs++;
        fiber_switch(&loop_rsp, f->rsp);
        current = NULL;
        now = clock_tsc();
        f->ticks += now - then;
        f->longest = MAX(f->longest, now - then);
        then = now;
        f = next;
    }
    return ready_head != NULL;
}

/* Stacks begin zeroed: the deepest word that is not zero tells. */
static u32 stack_used(const struct fiber *f)
{
    u64 end = (u64)f + ROUND_UP(sizeof(*f), 64);
    const u64 *at = (const u64 *)(end - FIBER_STACK_SIZE);

    while (at < (const u64 *)f && !*at)
        at++;
    return (u32)(end - (u64)at);
}

bool fiber_report(u32 i, struct fiber_report *out)
{
    const struct fiber *f = made;

    while (f && i--)
        f = f->made_next;
    if (!f)
        return false;
    *out = (struct fiber_report){.name = f->name,
                                 .live = f->live,
                                 .ticks = f->ticks,
                                 .runs = f->runs,
                                 .longest = f->longest,
                                 .stack_used = stack_used(f)};
    return true;
}

bool fiber_any_ready(void)
{
    return ready_head != NULL;
}

u32 fiber_count(void)
{
    return live;
}
