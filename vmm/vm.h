/* A VM and its life cycle.
 *
 * All on the event loop's thread: calls come from shell fibers and from the exit handlers.  In a
 * fiber vm_start may wait (it yields between large pieces of work); nothing else does. */
#pragma once

#include "control/rt/loop.h"
#include "kernel/abi/status.h"
#include "kernel/abi/syscall.h"
#include "kernel/abi/types.h"
#include "kernel/abi/vcpu_page.h"
#include "vmm/guest_mem.h"
#include "vmm/pci.h"
#include "vmm/vm_cap.h"
#include "vmm/vm_config.h"
#include "vmm/vm_state.h"

enum vm_phase { PHASE_STOPPED, PHASE_STARTING, PHASE_RUNNING, PHASE_PAUSED, PHASE_STOPPING };

struct vm {
    struct vm *next; /* sorted by number */
    u64 id;          /* of no other VM before or after it: for who waits, inventory_by_id() */
    struct vm_config config;
    enum vm_phase phase;
    char stop_reason[96]; /* why it stopped or is paused; "" never ran, or by command */
    u32 starts;
    u32 edits;        /* changes of its configuration by commands */
    u32 changing;     /* bit n: a command works on nicN, or VM_NICS + n: diskN, and may wait */
    bool autostarted; /* autostart has looked at it */
    i64 old_told;     /* when the youngest snapshot was taken that was told to be old; unix time */

    /* While it has a slot (every phase but STOPPED): */
    u32 slot;
    struct vm_state *state;
    u8 *vcpu_pages; /* struct vcpu_page every PAGE_SIZE bytes */
    struct guest_mem mem;
    struct pci_bus pci;
    struct firmware_state *firmware; /* NULL: it has none */
    struct virtio_device *devices;   /* vm_state.device_count of them */
    bool storing;                    /* a command or task works on its directory */
    struct vm_disk_set *disks;       /* what is open for its virtio disks; NULL: it has none */

    struct vm_timer_slot {
        struct loop_timer timer;
        struct vm *vm;
        enum vm_timer which;
    } timers[VM_TIMER_COUNT];

    u8 reserved_cpu[VM_VCPUS]; /* the CPU that has a vCPU's reservation; VM_RESERVE_NONE */
    struct loop_timer cap_timer, power_timer, nvram_timer;
    struct vm_cap cap;

    u32 served;                /* vCPUs whose exits may be served: 0 until the machine is whole */
    u32 serving;               /* vCPU whose exit is being served */
    struct vcpu_page *answer;  /* takes interrupt messages: its page, or exits_nobody */
    bool hold;                 /* ... and that must wait before it goes on */
    bool keep_exit;            /* ... and that shall not be completed: the VM ends */
    enum platform_power power; /* asked for by the guest */
    const char *power_why;

    /* Of a live `vm console`; NULL: nobody looks. */
    void (*console_news)(struct vm *vm); /* the scroll-back has grown, or the VM has stopped */
    u64 console_pos;                     /* how far the scroll-back was shown */

    /* Copies of the rings after a stop. */
    u8 last_log[sizeof(struct text_ring) + VM_LOG_BYTES] __attribute__((aligned(8)));
    u8 last_scrollback[sizeof(struct text_ring) + VM_SCROLLBACK_BYTES] __attribute__((aligned(8)));
};

/* What went wrong, in the parts of an error line "E_CODE: text. Try: hint." */
struct vm_error {
    enum hv_status status;
    const char *code; /* "E_STATE" */
    char text[200];
    char hint[200];
};

/* Fills *e; returns false, so that a function can end with it. */
bool vm_error(struct vm_error *e, enum hv_status status, const char *code, const char *hint,
              const char *fmt, ...) PRINTF_LIKE(5, 6);

void vm_init(void); /* once, before the loop runs: registers the exit handler */
/* After a restart of the control partition, once the configuration is read: takes up the VMs that
 * the kernel still has. */
void vm_reattach_all(void);

const char *vm_phase_name(const struct vm *vm); /* "running", ... */

static inline struct vcpu_page *vm_vcpu(const struct vm *vm, u32 vcpu)
{
    return (struct vcpu_page *)(vm->vcpu_pages + vcpu * PAGE_SIZE);
}

/* Below: true if done; false: *e says why, nothing changed.
 * E_STATE: not in this phase. */

/* E_NO_VTX no hardware virtualisation; E_STATE it is not stopped; E_NOENT a file is not on the
 * boot medium; E_IMAGE a file is not what it should be; E_NOMEM; E_FULL its cpu.reserve does not
 * fit. */
MUST_CHECK bool vm_start(struct vm *vm, struct vm_error *e);
MUST_CHECK bool vm_stop(struct vm *vm, struct vm_error *e);     /* power cut */
MUST_CHECK bool vm_shutdown(struct vm *vm, struct vm_error *e); /* press the power button */
MUST_CHECK bool vm_reset(struct vm *vm, struct vm_error *e);
MUST_CHECK bool vm_pause(struct vm *vm, struct vm_error *e);
MUST_CHECK bool vm_resume(struct vm *vm, struct vm_error *e);
/* Registers of every vCPU into its log; it goes on afterwards if it ran. */
MUST_CHECK bool vm_dump(struct vm *vm, struct vm_error *e);
/* Hand weight and pinning of vm->config to the kernel, if it runs; and whether its exceptions are
 * noted, if that changed. */
void vm_apply(struct vm *vm, bool exceptions);

/* A running VM is paused until somebody resumes it; the reason is shown and logged. */
void vm_pause_for(struct vm *vm, const char *fmt, ...) PRINTF_LIKE(2, 3);
/* From exits.c: the VM cannot go on.  It is stopped after the exit at hand. */
void vm_fail(struct vm *vm, const char *fmt, ...) PRINTF_LIKE(2, 3);
/* Do what the guest has asked for (POWER_*); called after its exit was served. */
void vm_power(struct vm *vm);

/* TSC when the first VM of this instance was let run; 0: none was. */
extern u64 vm_first_run_tsc;

/* Log and scroll-back, of the running VM or of its last run. */
const struct text_ring *vm_log(const struct vm *vm);
const struct text_ring *vm_scrollback(const struct vm *vm);
