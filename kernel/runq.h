/* The order in which vCPUs get a core: a queue sorted by virtual run time.  Pure.
 *
 * Virtual run time is real run time times RUNQ_WEIGHT_NORMAL / weight, so equal virtual times are
 * shares in proportion to the weights.  The caller holds the lock of the core's queue. */
#pragma once

#include "kernel/abi/types.h"

struct vcpu;

#define RUNQ_WEIGHT_NORMAL 100

struct runq {
    struct vcpu *head; /* least virtual run time first; equals in order of arrival */
    u32 count;
    u64 floor; /* virtual run time of what ran last; never falls */
};

void runq_insert(struct runq *q, struct vcpu *v);
/* Takes v off if it is on; false: it was not. */
bool runq_remove(struct runq *q, struct vcpu *v);
/* The vCPU to run next, still on the queue: the head, or `last` while it is queued and at most
 * `keep` ahead of the head.  NULL: empty. */
struct vcpu *runq_choose(const struct runq *q, struct vcpu *last, u64 keep);
/* v ran for `ticks`. What is more than `most` it ran alone: others must not have that in return. */
void runq_charge(struct vcpu *v, u64 ticks, u64 most);
/* v wakes: it keeps its place unless it slept so long that it would claim more than `bonus`. */
void runq_wake(const struct runq *q, struct vcpu *v, u64 bonus);
/* v is about to run. */
void runq_started(struct runq *q, const struct vcpu *v);
/* v goes from one core to another, whose virtual times have nothing in common but their floors. */
void runq_transfer(const struct runq *from, const struct runq *to, struct vcpu *v);
