/* Queue of runnable vCPUs of one core, by virtual run time.  Called by sched.c, lock held. */
#include "kernel/runq.h"

#include "kernel/vcpu.h"

void runq_insert(struct runq *q, struct vcpu *v)
{
    struct vcpu **at = &q->head;

    while (*at && (*at)->vruntime <= v->vruntime)
        at = &(*at)->runq_next;
    v->runq_next = *at;
    *at = v;
    q->count++;
}

bool runq_remove(struct runq *q, struct vcpu *v)
{
    for (struct vcpu **at = &q->head; *at; at = &(*at)->runq_next) {
        if (*at != v)
            continue;
        *at = v->runq_next;
        v->runq_next = NULL;
        q->count--;
        return true;
    }
    return false;
}

struct vcpu *runq_choose(const struct runq *q, struct vcpu *last, u64 keep)
{
    if (!q->head || !last || last->vruntime > q->head->vruntime + keep)
        return q->head;
    for (struct vcpu *v = q->head; v; v = v->runq_next)
        if (v == last)
            return v;
    return q->head;
}

void runq_charge(struct vcpu *v, u64 ticks, u64 most)
{
    v->vruntime += MIN(ticks, most) * RUNQ_WEIGHT_NORMAL / v->weight;
}

void runq_wake(const struct runq *q, struct vcpu *v, u64 bonus)
{
    if (v->vruntime + bonus < q->floor)
        v->vruntime = q->floor - bonus;
}

void runq_started(struct runq *q, const struct vcpu *v)
{
    q->floor = MAX(q->floor, v->vruntime);
}

void runq_transfer(const struct runq *from, const struct runq *to, struct vcpu *v)
{
    u64 lead = v->vruntime - MIN(v->vruntime, from->floor);

    v->vruntime = to->floor + lead;
}
