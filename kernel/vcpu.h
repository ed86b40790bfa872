/* A virtual CPU: its run state, its exit page, and what the vendor keeps. */
#pragma once

#include "kernel/abi/vcpu_page.h"
#include "kernel/cpu.h"
#include "kernel/timer.h"
#include "kernel/vm.h"

/* Why a vCPU does not run; several may hold.  0: runnable. */
#define BLOCK_PAUSED BIT(0)  /* its VM is paused */
#define BLOCK_EXIT BIT(1)    /* waits for the control partition's reply */
#define BLOCK_HLT BIT(2)     /* halted, nothing to deliver */
#define BLOCK_SIPI BIT(3)    /* INIT received, waits for SIPI */
#define BLOCK_STOPPED BIT(4) /* triple fault or entry failure: for good, until reset */

/* Requests from other cores, taken before the next entry (after a kick if it runs). */
#define REQUEST_INIT BIT(0)
#define REQUEST_SIPI BIT(1)
#define REQUEST_NMI BIT(2)
#define REQUEST_EVENT BIT(3) /* the local APIC has something new */
#define REQUEST_FLUSH BIT(4) /* EPT changed: INVEPT before entry */
#define REQUEST_REPLY                                                                              \
    BIT(5) /* the control partition answered; sched.c calls message_complete()                     \
            */

struct vlapic; /* vlapic.h */
struct control_page;

/* MSRs the kernel keeps for a guest in software; exit_msr.c owns them. */
struct vcpu_msrs {
    u64 tsc_offset, tsc_adjust;
    u64 star, lstar, cstar, fmask, tsc_aux; /* switched by the backend */
    u64 spec_ctrl;                          /* switched by speculation.c and speculation_exit.S */
    u64 spec_live; /* the guest has used it: from then on without an exit */
    u64 pv_eoi;    /* MSR_PV_EOI, where the policy has it: on AMD-V */
};

struct vcpu {
    struct vm *vm;
    u32 index;
    u64 handle;             /* VCPU_HANDLE */
    struct vcpu_page *page; /* physmap address of the shared page */
    volatile u32 blocked;   /* BLOCK_*; atomic */
    volatile u32 requests;  /* REQUEST_*; atomic */
    volatile bool on_cpu;   /* its guest state is loaded and may be executing */
    bool in_runq;
    u32 cpu;              /* home: run queue, loaded state and timers live there */
    struct spinlock lock; /* blocked/runq transitions */
    struct vcpu *runq_next;
    u64 vruntime;
    u32 weight;   /* 100 = normal */
    u64 cpu_mask; /* physical CPUs it may use */
    u64 ready_since;

    struct vlapic *lapic;
    struct timer apic_timer;
    bool timer_moving; /* apic_timer was armed on the old home: arm it on the new one */
    u32 sipi_vector;
    bool extint_line; /* LINT0 from the PIC */
    bool nmi_pending;
    u32 raised;     /* a vector just accepted, of which the backend has not told the CPU; 0: none */
    bool look;      /* something may have to be injected: message_prepare() before the next entry */
    u32 activity;   /* enum vcpu_activity; the hardware is always told: active */
    u32 exceptions; /* vectors that exit, are noted and then delivered */

    /* The message the control partition is answering, as it was asked. */
    u32 asked;  /* enum exit_kind */
    u8 io_size; /* bytes of an IN or OUT that is no string */
    bool io_in;

    /* Vendor-neutral cached state. */
    u64 xcr0;
    u64 xcr0_ever; /* every component ever enabled: what XSAVE must keep */
    struct vcpu_msrs msrs;
    u64 stored_msr[VM_STORED_MSRS];
    void *xsave;  /* FPU/AVX state while not loaded */
    void *block;  /* a frame for the VMCS or VMCB */
    void *vendor; /* VMCS and friends */
};

/* Where struct vcpu and struct vm leave room in their frames for what a backend keeps: v->vendor
 * and vm->vendor point there, zeroed, from before vcpu_init and vm_init on. */
#define VENDOR_OFFSET 2048u
#define VENDOR_SIZE 2048u
_Static_assert(sizeof(struct vcpu) <= VENDOR_OFFSET && sizeof(struct vm) <= VENDOR_OFFSET,
               "the backend's part of the frame starts behind");

/* HV_ENOENT. */
MUST_CHECK enum hv_status vcpu_find(u64 slot, u64 index, struct vcpu **out);

/* On the control partition's core, VM lock not held: */
MUST_CHECK enum hv_status vcpu_create(struct vm *vm, u32 index);
void vcpu_destroy(struct vcpu *v); /* must not be on a CPU or queue */
/* Make this core its home, so that hvm->get_state and the like may be called.  HV_EBUSY: it may
 * run. */
MUST_CHECK enum hv_status vcpu_pull(struct vcpu *v);
/* Its home core, if that is this one, keeps nothing of it: another one may run it. */
void vcpu_let_go(void *vcpu);
/* Move every completion announced in the control page to its vCPU: SYS_WAIT. */
void vcpu_take_completions(struct control_page *page);
/* The control partition answered the exit of v, or says so: ignored unless v waits for that. */
void vcpu_complete(struct vcpu *v);
/* A new instance of the control partition must see every unanswered exit again. */
void vcpu_replay_exits(struct control_page *page);

/* For exit handlers, on the vCPU's own core: */
/* Its page is PENDING and ring 3 busy: block it, set the bits, wake whoever sleeps by now. */
void vcpu_announce(struct vcpu *v);
void vcpu_block(struct vcpu *v, u32 reason); /* then return EXIT_RESCHED */
/* From any core: */
void vcpu_unblock(struct vcpu *v, u32 reason);  /* enqueue if nothing else blocks it */
void vcpu_request(struct vcpu *v, u32 request); /* set, unblock HLT/SIPI as fits, kick */
