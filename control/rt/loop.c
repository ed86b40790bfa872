/* The event loop; every handler runs here, on one thread and the loop's own stack. */
#include "control/rt/loop.h"

#include "control/rt/clock.h"
#include "control/rt/fiber.h"
#include "control/rt/log.h"
#include "control/rt/sys.h"

static struct {
    void (*fn)(void *owner);
    void *owner;
} irqs[LOOP_IRQS];
static bool (*exit_fn)(u32 vm, u32 vcpu);
static void (*doorbell_fn)(u32 vm, u32 doorbell);
static void (*log_fn)(void);
static bool (*poll_fn)(void);

#define SETTLES_PER_SECOND 1000
#define YIELDS_PER_SECOND 20000
static u32 poll_cpu = LOOP_NO_CPU;
static u64 settle_at; /* TSC */

static struct loop_load loads[LOOP_PARTS];

static struct loop_timer *timers; /* armed, earliest first */

/* The exit handed over by the last SYS_WAIT, and the one whose answer goes with the next; 0: none.
 */
static u64 handed, answered;

void loop_timer_cancel(struct loop_timer *t)
{
    if (!t->armed)
        return;
    if (t->prev)
        t->prev->next = t->next;
    else
        timers = t->next;
    if (t->next)
        t->next->prev = t->prev;
    t->armed = false;
    t->next = t->prev = NULL;
}

void loop_timer_set(struct loop_timer *t, u64 deadline)
{
    loop_timer_cancel(t);
    struct loop_timer *prev = NULL, *next = timers;
    while (next && next->deadline <= deadline) {
        prev = next;
        next = next->next;
    }
    t->deadline = deadline;
    t->prev = prev;
    t->next = next;
    t->armed = true;
    if (prev)
        prev->next = t;
    else
        timers = t;
    if (next)
        next->prev = t;
}

void loop_on_irq(u32 bit, void (*fn)(void *owner), void *owner)
{
    rt_assert(bit < LOOP_IRQS);
    irqs[bit].fn = fn;
    irqs[bit].owner = owner;
}

void loop_on_exit(bool (*fn)(u32 vm, u32 vcpu))
{
    exit_fn = fn;
}

void loop_on_doorbell(void (*fn)(u32 vm, u32 doorbell))
{
    doorbell_fn = fn;
}

void loop_on_log(void (*fn)(void))
{
    log_fn = fn;
}

void loop_on_poll(bool (*fn)(void))
{
    poll_fn = fn;
}

void loop_poll(u32 cpu)
{
    poll_cpu = cpu;
    settle_at = 0;
}

void loop_complete(u32 vm, u32 vcpu)
{
    struct control_page *page = sys_control_page();

    if (handed == VCPU_HANDLE(vm, vcpu)) {
        answered = handed;
        return;
    }
    __atomic_or_fetch(&page->vcpu_complete[vm], BIT(vcpu), __ATOMIC_RELEASE);
    __atomic_or_fetch(&page->vm_complete, BIT(vm), __ATOMIC_RELEASE);
}

struct loop_load loop_load(enum loop_part part)
{
    return loads[part];
}

/* A handler ended that began at `then`; returns the time now. */
static u64 charge(enum loop_part part, u64 then)
{
    struct loop_load *l = &loads[part];
    u64 now = clock_tsc();

    l->ticks += now - then;
    l->longest = MAX(l->longest, now - then);
    l->count++;
    return now;
}

static u64 take(volatile u64 *word)
{
    return *word ? __atomic_exchange_n(word, 0, __ATOMIC_ACQ_REL) : 0;
}

static void serve_vcpus(struct control_page *page)
{
    u64 vms = take(&page->vm_pending);

    for (; vms; vms &= vms - 1) {
        u32 vm = (u32)__builtin_ctzll(vms);

        if (vm >= VM_SLOTS)
            break;
        for (u64 vcpus = take(&page->vcpu_pending[vm]); vcpus; vcpus &= vcpus - 1) {
            u32 vcpu = (u32)__builtin_ctzll(vcpus);

            if (exit_fn(vm, vcpu))
                loop_complete(vm, vcpu);
        }
    }
}

static void serve_doorbells(struct control_page *page)
{
    u64 vms = take(&page->vm_doorbells), then = clock_tsc();

    for (; vms; vms &= vms - 1) {
        u32 vm = (u32)__builtin_ctzll(vms);

        for (u32 word = 0; vm < VM_SLOTS && word < DOORBELL_WORDS; word++) {
            u64 bits = take(&page->doorbells[vm][word]);

            for (; bits; bits &= bits - 1)
                doorbell_fn(vm, 64 * word + (u32)__builtin_ctzll(bits));
        }
    }
    charge(LOOP_DOORBELLS, then);
}

static void serve_irqs(struct control_page *page)
{
    u64 bits = take(&page->irq_pending), then = bits ? clock_tsc() : 0;

    for (; bits; bits &= bits - 1) {
        u32 bit = (u32)__builtin_ctzll(bits);

        if (irqs[bit].fn)
            irqs[bit].fn(irqs[bit].owner);
        then = charge(LOOP_INTERRUPTS, then);
    }
}

/* A timer that is set again from its own handler waits for the next iteration: its deadline is
 * compared with the time read before. */
static void serve_timers(void)
{
    if (!timers)
        return;
    u64 now = clock_tsc(), then = now;
    for (u32 budget = 64; timers && timers->deadline <= now && budget; budget--) {
        struct loop_timer *t = timers;

        loop_timer_cancel(t);
        t->fn(t->owner);
        then = charge(LOOP_TIMERS, then);
    }
}

/* Sleeps, and serves the exit that SYS_WAIT may bring.  True: it did. */
static bool wait_once(u64 deadline)
{
    u64 done = answered;

    answered = 0;
    handed = (u64)sys_wait(deadline, done);
    if (!handed)
        return false;
    if (exit_fn(VCPU_HANDLE_VM(handed), VCPU_HANDLE_VCPU(handed)))
        answered = handed;
    return true;
}

/* A vCPU that was at home here before, or was put here when it was made, leaves only when the
 * kernel chooses the next for this CPU: so let it, for a moment.  Ring 3 may wake up elsewhere. */
static void settle(void)
{
    u64 hz = sys_host_info()->tsc_hz;
    struct cpu_stat s = {0};

    (void)sys_move(poll_cpu);
    if (sys_cpu_stat(poll_cpu, &s) == HV_OK && s.runnable) {
        wait_once(clock_tsc() + hz / YIELDS_PER_SECOND);
        (void)sys_move(poll_cpu);
    }
    settle_at = clock_tsc() + hz / SETTLES_PER_SECOND;
}

static void poll(const struct control_page *page)
{
    u64 then = clock_tsc();

    if (poll_fn && poll_fn())
        charge(LOOP_DOORBELLS, then);
    else
        __builtin_ia32_pause();
    if (then >= settle_at)
        settle();
    if (answered || page->vm_complete)
        wait_once(0);
}

void loop_step(void)
{
    struct control_page *page = sys_control_page();
    u64 events = take(&page->events);

    /* The words are looked at whatever EVENT_VCPU and EVENT_IRQ say: they are what counts, and
     * SYS_WAIT does not sleep while one of them is set. */
    if (events & EVENT_DOORBELL)
        serve_doorbells(page);
    serve_vcpus(page);
    serve_irqs(page);
    if ((events & EVENT_LOG) && log_fn)
        log_fn();
    serve_timers();
    bool more = fiber_any_ready() && fiber_run_ready();
    if (poll_cpu != LOOP_NO_CPU)
        poll(page);
    else if (more)
        wait_once(0); /* more to do: only hand over the completions */
    else
        while (wait_once(timers ? timers->deadline : LOOP_NEVER) && !fiber_any_ready())
            ; /* exits handed over directly come one at a time; the kernel ends that for other news
               */
}

void loop_run(void)
{
    for (;;)
        loop_step();
}
