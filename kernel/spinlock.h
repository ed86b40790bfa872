/* Ticket lock.  IF is 0 everywhere in the kernel, so no interrupt variant exists. */
#pragma once

#include "kernel/abi/types.h"

struct spinlock {
    volatile u32 next, owner;
};

static inline void spin_lock(struct spinlock *l)
{
    u32 me = __atomic_fetch_add(&l->next, 1, __ATOMIC_RELAXED);
    while (__atomic_load_n(&l->owner, __ATOMIC_ACQUIRE) != me)
        __builtin_ia32_pause();
}

static inline void spin_unlock(struct spinlock *l)
{
    __atomic_store_n(&l->owner, l->owner + 1, __ATOMIC_RELEASE);
}
