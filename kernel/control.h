/* The control partition: one ring-3 process with one thread, which runs on whichever core last
 * gave it work.  It is scheduled before any vCPU, since every exit it serves blocks one. */
#pragma once

#include "kernel/abi/control_page.h"
#include "kernel/cpu.h"
#include "kernel/pgtab.h"

/* control.state; READY has the number of the CPU added on which it must run next. */
enum control_state { CONTROL_BLOCKED, CONTROL_RUNNING, CONTROL_READY };

struct control {
    /* Registers while not in ring 3: the callee-saved ones and what IRET takes, after a system
     * call; all of them after an interrupt.  The CPU's stack for ring 0 begins at its end. */
    struct user_frame frame __attribute__((aligned(16)));
    volatile u32 state; /* BLOCKED to READY or RUNNING: by whoever is first */
    u64 fs_base;
    u64 wait_deadline;
    struct control_page *page; /* physmap address */
    struct pgtab space;        /* root is every CPU's CR3, for good: only the lower half ever
                                * changes, so HOST_CR3 is written once */
    struct quota quota;
    u64 space_generation;       /* counts removals from the lower half */
    void *xsave;                /* FPU/SSE state while not RUNNING */
    u64 on_fault, fault_report; /* of SYS_ON_FAULT; on_fault 0: none, or used up */
    u64 heap_from;              /* no hole in the heap lies below */
    u64 started;                /* TSC when this instance began */
    bool waited;                /* it has called SYS_WAIT */
    u32 quick_crashes;          /* in a row: soon after the start and before any SYS_WAIT */
    u32 restarts;
};
extern struct control control;

/* Ring 3 sleeps no more; false: it was not asleep.  Any core. */
static inline bool control_take(u32 state)
{
    u32 asleep = CONTROL_BLOCKED;
    return __atomic_compare_exchange_n(&control.state, &asleep, state, false, __ATOMIC_SEQ_CST,
                                       __ATOMIC_RELAXED);
}

void control_init(const struct boot_info *bi); /* build the first instance */
/* Make it runnable here if it sleeps (called after an event bit was set).  Any core. */
void control_wake(void);
/* Set EVENT_* bits in the control page, then control_wake().  Any core, control.lock not held. */
void control_post(u64 events);
/* After mappings of the lower half were removed and before their frames are given back: flushes
 * here now, and on any other core before it runs ring 3 again (only ring 3 uses them). */
void control_space_changed(void);
/* Enter ring 3 on this CPU; state must be RUNNING.  The result is that of its SYS_WAIT. */
void control_enter(u64 result) NORETURN;
/* A fault in ring 3, whose registers are control.frame.  Returns if ring 3 has a handler, which
 * then is what the frame enters; else reports it, builds a fresh instance and schedules. */
void control_fault(void);

/* SYS_WAIT: takes completions, then returns, or sleeps and resumes ring 3 later. */
i64 control_wait(u64 deadline, u64 answered);
i64 control_exit(const u64 args[6]); /* SYS_EXIT; does not return */
i64 control_move(const u64 args[6]); /* SYS_MOVE */
/* SYS_MEM_MAP, SYS_MEM_UNMAP.  HV_ENOMEM from the latter: a big page could not be split; all is
 * there as before. */
i64 control_heap_map(const u64 args[6]);
i64 control_heap_unmap(const u64 args[6]);

/* The only ways a user pointer is used: checked against the lower half's page tables. */
MUST_CHECK enum hv_status user_read(void *dst, u64 user, u64 len);
MUST_CHECK enum hv_status user_write(u64 user, const void *src, u64 len);
