/* The scheduler: weighted fair sharing of each core among its vCPUs, with ring 3 before them all.
 *
 * A vCPU's virtual run time grows by its real run time divided by its weight; the core runs the
 * one that has least.  Run queues are a core's own; other cores only add to them.  Everything
 * here runs with IF=0. */
#include "kernel/sched.h"

#include "kernel/control.h"
#include "kernel/hvm.h"
#include "kernel/irq.h"
#include "kernel/message.h"
#include "kernel/timer.h"
#include "kernel/vcpu.h"

/* With two vCPUs of unequal weight on a core, the error of a share is at most a slice in the
 * time looked at. */
#define SLICES_PER_SECOND 100
/* How far ahead of the queue's head the vCPU that ran last may be and still go on: saves VMPTRLD
 * and a cold cache on every short block. */
#define KEEPS_PER_SECOND 1000

static struct timer slice_timers[CPU_MAX];

static void slice_over(struct timer *t)
{
    (void)t;
    __atomic_or_fetch(&this_cpu()->attention, ATTENTION_RESCHED, __ATOMIC_RELAXED);
}

/* runq_lock held, v queued.  v->on_cpu is set before in_runq is cleared, so that whoever sees it
 * off the queue also sees why. */
static void queue_take(struct cpu *c, struct vcpu *v)
{
    runq_remove(&c->runq, v);
    __atomic_store_n(&v->on_cpu, true, __ATOMIC_RELEASE);
    __atomic_store_n(&v->in_runq, false, __ATOMIC_RELEASE);
}

void sched_enqueue(struct vcpu *v)
{
    struct cpu *c = cpus[v->cpu];
    u64 bonus = tsc_hz / SLICES_PER_SECOND;
    bool look;

    v->ready_since = tsc_read();
    spin_lock(&c->runq_lock);
    runq_wake(&c->runq, v, bonus);
    runq_insert(&c->runq, v);
    v->in_runq = true;
    look = c != this_cpu() || c->runq.head == v;
    spin_unlock(&c->runq_lock);

    if (!look)
        return;
    __atomic_or_fetch(&c->attention, ATTENTION_RESCHED, __ATOMIC_SEQ_CST);
    if (c != this_cpu())
        irq_kick(c->id);
}

void sched_dequeue(struct vcpu *v)
{
    struct cpu *c;

    /* The home changes only while the vCPU is off the queue; look again if it did. */
    for (;;) {
        c = cpus[v->cpu];
        spin_lock(&c->runq_lock);
        if (c == cpus[v->cpu])
            break;
        spin_unlock(&c->runq_lock);
    }
    if (runq_remove(&c->runq, v))
        __atomic_store_n(&v->in_runq, false, __ATOMIC_RELEASE);
    spin_unlock(&c->runq_lock);
}

/* Puts a vCPU that was taken off a queue back on one, unless something blocked it meanwhile. */
static void release(struct vcpu *v)
{
    spin_lock(&v->lock);
    __atomic_store_n(&v->on_cpu, false, __ATOMIC_RELEASE);
    if (!v->blocked)
        sched_enqueue(v);
    spin_unlock(&v->lock);
}

static bool may_use(const struct vcpu *v, const struct cpu *c)
{
    return c->hvm_enabled && (v->cpu_mask & BIT(c->id));
}

/* Own core is the old home; v is off its queue with on_cpu set. */
static void move_home(struct vcpu *v, struct cpu *to)
{
    vcpu_let_go(v);
    runq_transfer(&this_cpu()->runq, &to->runq, v);
    v->cpu = to->id;
    release(v);
}

static struct cpu *find_idle(const struct vcpu *v)
{
    for (u32 i = 0; i < cpu_count; i++)
        if (cpus[i] != this_cpu() && cpus[i]->idle && !cpus[i]->runq.count && may_use(v, cpus[i]))
            return cpus[i];
    return NULL;
}

struct cpu *sched_place(const struct vcpu *v)
{
    static u32 turn;
    struct cpu *best = NULL;
    /* Start at another core each time, so that equals spread. */
    u32 first = __atomic_fetch_add(&turn, 1, __ATOMIC_RELAXED);

    for (u32 i = 0; i < cpu_count; i++) {
        struct cpu *c = cpus[(first + i) % cpu_count];
        if (may_use(v, c) && (!best || c->runq.count < best->runq.count))
            best = c;
    }
    return best ? best : this_cpu();
}

void sched_balance(void)
{
    struct cpu *c = this_cpu();

    for (;;) {
        struct vcpu *v = NULL;
        struct cpu *to = NULL;
        spin_lock(&c->runq_lock);
        for (v = c->runq.head; v; v = v->runq_next) {
            to = may_use(v, c) ? find_idle(v) : sched_place(v);
            if (to && to != c) {
                queue_take(c, v);
                break;
            }
        }
        spin_unlock(&c->runq_lock);
        if (!v)
            return;
        move_home(v, to);
    }
}

/* The vCPU to run now, with on_cpu set and nothing blocking it; NULL: none. */
static struct vcpu *pick(struct cpu *c)
{
    u64 keep = tsc_hz / KEEPS_PER_SECOND;

    for (;;) {
        spin_lock(&c->runq_lock);
        struct vcpu *v = runq_choose(&c->runq, c->last, keep);
        if (v)
            queue_take(c, v);
        spin_unlock(&c->runq_lock);
        if (!v)
            return NULL;

        spin_lock(&v->lock);
        bool runs = !v->blocked;
        if (!runs)
            __atomic_store_n(&v->on_cpu, false, __ATOMIC_RELEASE);
        spin_unlock(&v->lock);
        if (runs)
            return v;
    }
}

static NORETURN void enter_guest(struct cpu *c, struct vcpu *v)
{
    u64 now = tsc_read();
    struct timer *slice = &slice_timers[c->id];

    runq_started(&c->runq, v);
    if (v->timer_moving) {
        v->timer_moving = false;
        timer_set(&v->apic_timer, v->apic_timer.deadline);
    }
    if (c->runq.count) {
        slice->fire = slice_over;
        timer_set(slice, now + tsc_hz / SLICES_PER_SECOND);
    } else if (slice->armed) {
        timer_cancel(slice);
    }
    v->page->stats.steal_ticks += now - v->ready_since;
    c->last = v;
    v->page->stats.entries++;
    v->page->stats.running_since = c->started = now;
    c->running = v;
    cpu_account(c, CPU_GUEST, now);
    if (__atomic_fetch_and(&v->requests, ~REQUEST_REPLY, __ATOMIC_ACQ_REL) & REQUEST_REPLY)
        message_complete(v);
    hvm_run(v);
}

/* The running vCPU gives up this core. */
static void leave(struct cpu *c, struct vcpu *v, u64 now)
{
    struct vcpu_stats *stats = &v->page->stats;
    u64 ran = now - c->started;

    /* The page is shared and its figures are only shown; what is decided on is kept here. */
    stats->run_ticks += ran;
    stats->running_since = 0;
    runq_charge(v, ran, 2 * tsc_hz / SLICES_PER_SECOND);
    c->running = NULL;
    release(v);
}

void sched_spins(struct vcpu *v)
{
    struct cpu *c = this_cpu();

    spin_lock(&c->runq_lock);
    if (c->runq.head)
        v->vruntime = MAX(v->vruntime, c->runq.head->vruntime);
    spin_unlock(&c->runq_lock);
    c->last = NULL;
}

void sched_end_handoff(void)
{
    struct cpu *c = this_cpu();
    struct vcpu *v = c->handoff;

    if (!v)
        return;
    c->handoff = NULL;
    vcpu_block(v, BLOCK_EXIT);
    leave(c, v, tsc_read());
}

void sched_resume_handoff(struct vcpu *v, u64 now)
{
    struct cpu *c = this_cpu();

    c->handoff = NULL;
    cpu_account(c, CPU_GUEST, now);
    message_complete(v);
    hvm_run(v);
}

static void idle(struct cpu *c)
{
    cpu_account(c, CPU_IDLE, tsc_read());
    c->idle = true;
    __atomic_thread_fence(__ATOMIC_SEQ_CST);
    timer_arm_hardware();
    /* STI takes effect after HLT has started, so a kick between the test and HLT still wakes. */
    if (!c->attention && !c->runq.count)
        asm volatile("sti; hlt; cli" ::: "memory");
    c->idle = false;
    cpu_account(c, CPU_KERNEL, tsc_read());
}

static bool control_wants(const struct cpu *c)
{
    return control.state == CONTROL_READY + c->id;
}

static NORETURN void enter_control(struct cpu *c, u64 now, u64 result)
{
    cpu_account(c, CPU_CONTROL, now);
    timer_arm_hardware();
    control_enter(result);
}

void sched_run(void)
{
    struct cpu *c = this_cpu();

    c->running = NULL;
    for (;;) {
        __atomic_store_n(&c->attention, 0, __ATOMIC_SEQ_CST);
        if (tsc_read() >= c->deadline)
            timer_run();
        if (control.page && control.page->events) /* doorbells do not always wake it */
            control_wake();
        if (c->runq.count > (control_wants(c) ? 0u : 1u) && cpu_count > 1)
            sched_balance();
        if (control_wants(c)) {
            control.state = CONTROL_RUNNING;
            enter_control(c, tsc_read(), HV_OK);
        }
        struct vcpu *v = pick(c);
        if (v && !may_use(v, c))
            move_home(v, sched_place(v));
        else if (v)
            enter_guest(c, v);
        else
            idle(c);
    }
}

void sched_leave_guest(struct vcpu *v)
{
    struct cpu *c = this_cpu();
    u64 now = tsc_read();

    if (now >= c->deadline)
        timer_run();
    if (c->handoff == v) /* ring 3 was taken for it and runs next, whatever else there is */
        enter_control(c, now, v->handle);
    leave(c, v, now);
    cpu_account(c, CPU_KERNEL, now);
    sched_run();
}
