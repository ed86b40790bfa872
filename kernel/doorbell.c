/* Doorbells of virtio devices, answered without ring 3 on the way; called by message.c on the
 * vCPU's own core. */
#include "kernel/doorbell.h"

#include "kernel/control.h"
#include "kernel/irq.h"
#include "kernel/timer.h"

/* Where no core is idle ring 3 runs when the guest leaves this one by itself, or after that time:
 * until then more may come together. */
#define WAITS_PER_SECOND 20000

static struct timer waits[CPU_MAX];

static void waited(struct timer *t)
{
    (void)t;
    if (control.page->events)
        control_wake();
}

/* Ring 3 sleeps and has news.  Once it is awake it looks again before it sleeps. */
static void summon(struct cpu *c)
{
    for (u32 i = 0; i < cpu_count; i++) {
        if (cpus[i]->idle) {
            __atomic_or_fetch(&cpus[i]->attention, ATTENTION_RESCHED, __ATOMIC_SEQ_CST);
            irq_kick(i);
            return;
        }
    }
    waits[c->id].fire = waited;
    timer_set(&waits[c->id], tsc_read() + tsc_hz / WAITS_PER_SECOND);
    __atomic_or_fetch(&c->attention, ATTENTION_KICK, __ATOMIC_RELAXED); /* a new deadline */
}

bool doorbell_ring(struct vcpu *v, struct exit_io io)
{
    u32 n = (io.port - DOORBELL_PORT) / 2;
    struct control_page *page = control.page;

    if (n >= DOORBELLS || io.port % 2 || io.size != 2 || io.in || io.string ||
        !(v->vm->doorbells[n / DOORBELL_GROUP] & BIT(n % DOORBELL_GROUP)))
        return false;
    /* The inner words first, as with exits.  Who finds a bit set finds its bell on the way. */
    u64 bit = BIT(n % 64), *word = (u64 *)&page->doorbells[v->vm->slot][n / 64];
    if (__atomic_fetch_or(word, bit, __ATOMIC_SEQ_CST) & bit)
        return true;
    __atomic_or_fetch(&page->vm_doorbells, BIT(v->vm->slot), __ATOMIC_SEQ_CST);
    if (!__atomic_fetch_or(&page->events, EVENT_DOORBELL, __ATOMIC_SEQ_CST) &&
        control.state == CONTROL_BLOCKED)
        summon(cpus[v->cpu]);
    return true;
}
