/* One page a vCPU, shared by kernel and control partition: general registers, the exit message
 * and its reply, and statistics.
 *
 * Life of an exit message: FREE -> (kernel) PENDING -> (control) PROCESSING -> (control) COMPLETE
 * -> (kernel) FREE.  From PENDING to COMPLETE the vCPU does not run.  After a restart of the
 * control partition the kernel turns PROCESSING back into PENDING, so a handler must tolerate to
 * be run again.  The kernel reads nothing here that it trusts: registers are the guest's anyway,
 * `action` bits outside the known ones are ignored. */
#pragma once

#include "kernel/abi/types.h"

/* Order of the x86 encoding (SDM 2, table 2-2), so a decoded register number is an index. */
/* clang-format off */
enum vcpu_reg {
    REG_RAX, REG_RCX, REG_RDX, REG_RBX, REG_RSP, REG_RBP, REG_RSI, REG_RDI,
    REG_R8, REG_R9, REG_R10, REG_R11, REG_R12, REG_R13, REG_R14, REG_R15,
    REG_COUNT
};
/* clang-format on */

enum exit_state { EXIT_FREE, EXIT_PENDING, EXIT_PROCESSING, EXIT_COMPLETE };

enum exit_kind {
    EXIT_NONE,
    EXIT_IO,           /* io: one IN/OUT, or one element of INS/OUTS */
    EXIT_MMIO,         /* mmio: access to a guest-physical page without memory; undecoded */
    EXIT_EOI,          /* eoi: the guest ended a level-triggered interrupt */
    EXIT_EXTINT,       /* the vCPU can take an ExtINT: reply reply_vector (PIC INTA cycle) */
    EXIT_MSR,          /* WRMSR of a row that is told: ECX, EDX:EAX; it is done */
    EXIT_TRIPLE_FAULT, /* stop: shutdown state */
    EXIT_ENTRY_FAILED, /* stop: the CPU refused the state */
    EXIT_UNHANDLED,    /* stop: an exit or instruction the kernel does not support */
    EXIT_KIND_COUNT
};

/* vcpu_page.failure: why a vCPU was stopped, and what failure_value is. */
enum exit_failure {
    FAILURE_NONE,
    FAILURE_TRIPLE_FAULT,
    FAILURE_EXIT,      /* an exit that is not supported */
    FAILURE_EXCEPTION, /* an exception that should not exit: vector */
    FAILURE_EVENT,     /* event delivery touched memory that is not there: guest-physical address */
    FAILURE_TABLE,     /* a page table lies where no memory is: guest-physical address */
    FAILURE_APIC_PAGE, /* the local APIC's page as code or stack */
    FAILURE_CR,        /* an access to a control register: its number */
    FAILURE_FETCH,     /* the instruction at RIP cannot be read */
    FAILURE_REPLY,     /* the control partition's reply held an invalid state */
    FAILURE_ENTRY,     /* VM entry failed: low half the VM-instruction error, 0: none; high half
                        * the event to be injected, as in hw_intr_info */
    FAILURE_COUNT
};

struct vcpu_segment {
    u16 selector;
    u16 pad;
    u32 access; /* VMX access-rights format, SDM 3C 25.4.1; bit 16 unusable */
    u32 limit;
    u32 pad2;
    u64 base;
};

/* clang-format off */
enum vcpu_segment_index {
    SEG_ES, SEG_CS, SEG_SS, SEG_DS, SEG_FS, SEG_GS, SEG_LDTR, SEG_TR, SEG_COUNT
};
/* clang-format on */

/* Everything else that makes a vCPU: read and written as a whole by SYS_VCPU_GET / SYS_VCPU_SET
 * while the vCPU does not run. */
struct vcpu_state {
    u64 rip, rflags;
    u64 cr0, cr2, cr3, cr4, cr8, xcr0, efer, pat;
    struct vcpu_segment seg[SEG_COUNT];
    u64 gdtr_base, idtr_base;
    u32 gdtr_limit, idtr_limit;
    u64 dr[8];
    u64 star, lstar, cstar, fmask, kernel_gs_base;
    u64 sysenter_cs, sysenter_esp, sysenter_eip;
    u64 tsc_offset, tsc_aux;
    u64 apic_base;
    u32 interruptibility; /* SDM 3C table 25-3 */
    u32 activity;         /* enum vcpu_activity */
    u32 exceptions;       /* vectors that exit, are noted in the page and go on to the guest */
    u32 pad;
};

enum vcpu_activity { VCPU_ACTIVE, VCPU_HALTED, VCPU_WAIT_SIPI, VCPU_SHUTDOWN };

/* Bits of vcpu_page.action, set by the control partition with EXIT_COMPLETE. */
#define REPLY_ADVANCE BIT(0)   /* skip insn_len bytes and clear STI/MOV-SS blocking */
#define REPLY_EXTINT BIT(1)    /* inject reply_vector as external interrupt (EXIT_EXTINT) */
#define REPLY_EXCEPTION BIT(2) /* inject exception reply_vector, error code reply_error */
#define REPLY_STATE BIT(3)     /* load `full` before resuming */

#define REPLY_MSIS 4

#define VCPU_EXIT_COUNTERS 80
#define VCPU_EXCEPTIONS 16 /* a power of two */

/* An exception of the guest that was to exit: vcpu_state.exceptions. */
struct vcpu_exception {
    u64 rip, address; /* address: of a #PF */
    u32 vector, error;
};

struct vcpu_stats {    /* written by the kernel only; read by anyone */
    u64 run_ticks;     /* TSC ticks spent in guest mode and in handling its exits */
    u64 steal_ticks;   /* runnable but not running */
    u64 running_since; /* TSC when it was last put on a CPU; 0: not on one.  Add now - this */
    u64 entries;       /* times the scheduler gave it a CPU */
    u64 exits[VCPU_EXIT_COUNTERS]; /* by enum exit_class in kernel/abi/exit_class.h */
    u64 forwarded;                 /* exits that went to the control partition */
    u64 injected;                  /* interrupts delivered */
    u64 exceptions;                /* noted; the last ones: */
    struct vcpu_exception exception[VCPU_EXCEPTIONS]; /* by (number of it) % VCPU_EXCEPTIONS */
    u32 by_vector[32];
};

struct vcpu_page {
    u64 regs[REG_COUNT]; /* general registers; live while the vCPU is not running */

    volatile u32 state; /* enum exit_state */
    u32 kind;           /* enum exit_kind */

    /* Filled with every message, but EXIT_IO without `string` fills only rip and insn_len (other
     * fields are slow to read when Bulkhead itself runs nested). */
    u64 rip, rflags, cr0, cr3, cr4, efer;
    u32 cs_access, ss_access; /* for mode and privilege of the decoder */
    u64 cs_base;
    u32 insn_len;  /* 0: unknown, the decoder must find it */
    u32 hw_reason; /* raw exit reason / EXITCODE, for messages */
    u64 hw_qualification;
    u64 hw_intr_info; /* interruption information, low 32; error code, high 32 */

    union {
        struct {
            u16 port;
            u8 size;   /* 1, 2, 4 */
            u8 in;     /* 1: IN, reply in `data` */
            u8 string; /* INS/OUTS: memory operand at `gla`; the control partition moves the data,
                        * updates RSI/RDI/RCX and sets REPLY_ADVANCE when the last is done */
            u8 rep;
            u8 addr_size; /* string: 2, 4, 8; 0 unknown */
            u8 pad;
            u32 data; /* OUT: value; IN: the reply, zero-extended by the kernel as the CPU does */
            u32 pad2;
            u64 gla; /* string forms: linear address */
        } io;
        struct {
            u64 gpa;
            u64 gla;
            u8 write, fetch, gla_valid, pad[5];
        } mmio;
        struct {
            u32 vector;
        } eoi;
    };
    u32 failure; /* enum exit_failure */
    u32 failure_pad;
    u64 failure_value;

    /* Reply. */
    u32 action; /* REPLY_* */
    u32 reply_vector;
    u32 reply_error;
    /* Interrupt messages that go with the reply, as SYS_VM_MSI takes them: sent before the vCPU
     * goes on.  The kernel sets the count back to 0. */
    u32 msi_count;
    struct {
        u32 address, data;
    } msi[REPLY_MSIS];

    struct vcpu_state full; /* SYS_VCPU_GET / SYS_VCPU_SET / REPLY_STATE */
    struct vcpu_stats stats;
};

_Static_assert(sizeof(struct vcpu_page) <= PAGE_SIZE, "one page a vCPU");
