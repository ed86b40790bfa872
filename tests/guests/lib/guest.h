/* What every test guest may use: output, verdicts, caught faults, interrupts, other vCPUs.
 *
 * A guest is one file with guest_main(); it proves one behaviour and ends by guest_pass() or a
 * failed check().  Its verdict is one line on COM1: "VERDICT pass NAME" or
 * "VERDICT fail NAME: why".  Then it powers off.  The same file runs on any hypervisor that can
 * load a PVH kernel, so each is checked on a machine that is not ours as well. */
#pragma once

#include "kernel/abi/types.h"
#include "kernel/abi/x86_bits.h"

#define GUEST_CODE32 0x08
#define GUEST_CODE64 0x10
#define GUEST_DATA 0x18
#define GUEST_USER_CODE 0x23
#define GUEST_USER_DATA 0x2b
#define GUEST_CODE16 0x30
#define GUEST_DATA16 0x38
#define GUEST_CPUS 9 /* boot CPU and eight more */

#ifndef GUEST_NAME /* the build sets it to the name of the guest */
#define GUEST_NAME "guest"
#endif

void guest_main(void); /* the guest's own */

/* Output: %d %u %x (with l or ll), %s, %c, width and leading zero. */
void print(const char *fmt, ...) PRINTF_LIKE(1, 2);
void guest_pass(void) NORETURN;
void guest_fail(const char *fmt, ...) PRINTF_LIKE(1, 2) NORETURN;
#define check(condition, ...)                                                                      \
    do {                                                                                           \
        if (!(condition))                                                                          \
            guest_fail(__VA_ARGS__);                                                               \
    } while (0)
/* The two values are equal, or the guest fails and prints both. */
#define check_equal(got, want, what)                                                               \
    do {                                                                                           \
        u64 got_ = (u64)(got), want_ = (u64)(want);                                                \
        if (got_ != want_)                                                                         \
            guest_fail("%s is %lx, not %lx", what, got_, want_);                                   \
    } while (0)

/* ---- faults and interrupts ---- */
struct frame { /* as common: in start.S pushes it */
    u64 r15, r14, r13, r12, r11, r10, r9, r8, rdi, rsi, rbp, rbx, rdx, rcx, rax;
    u64 vector, error;
    u64 rip, cs, rflags, rsp, ss;
};

/* Called for `vector` instead of counting it; ends an interrupt itself if one must be ended. */
typedef void (*guest_handler)(struct frame *f);
extern guest_handler guest_handlers[256];
extern volatile u64 guest_count[256]; /* interrupts and exceptions without a handler, by vector */

/* The last exception that fault_of() caught. */
struct guest_fault {
    u64 vector, error, rip, cr2;
};
extern volatile struct guest_fault guest_fault;
extern volatile u64 guest_resume; /* where a caught exception goes on; 0: it is not expected */
#define NO_FAULT 0xff
/* Runs an instruction; the vector of the exception it raised, NO_FAULT when it ran. */
#define fault_of(instruction, ...)                                                                 \
    ({                                                                                             \
        guest_fault.vector = NO_FAULT;                                                             \
        asm volatile("movq $1f, guest_resume\n\t" instruction                                      \
                     "\n1: movq $0, guest_resume" __VA_ARGS__);                                    \
        guest_fault.vector;                                                                        \
    })
#define check_fault(want, instruction, ...)                                                        \
    do {                                                                                           \
        u64 vector_ = fault_of(instruction, __VA_ARGS__);                                          \
        if (vector_ != (want))                                                                     \
            guest_fail("%s: exception %lu, not %lu", #instruction, vector_, (u64)(want));          \
    } while (0)
void guest_set_gate(unsigned vector, u64 handler, unsigned dpl, unsigned ist);
void guest_set_ist(unsigned cpu, unsigned ist, u64 stack_top);

/* ---- other vCPUs ---- */
unsigned guest_cpu_count(void);       /* enabled in the MADT; 1 without one */
u32 guest_apic_id_of(unsigned index); /* by MADT order */
/* INIT and SIPI to every other vCPU of the MADT, through the local APIC in its present mode; each
 * runs entry(index), index from 1 in order of arrival.  Waits until all have arrived. */
void guest_start_cpus(void (*entry)(unsigned index));
void guest_send_sipi(u32 apic_id);
void guest_set_entry(void (*entry)(unsigned index)); /* for vCPUs that a SIPI starts from now on */

/* ---- platform ---- */
/* QEMU's emulated CPU, which lets some things pass that a CPU refuses: those checks are left out.
 * Below another hypervisor there the command line "tcg" says so. */
bool guest_is_tcg(void);
bool guest_on_qemu(void);                     /* the machine, too, is QEMU's: the reference run */
const void *acpi_find(const char *signature); /* NULL: none */
void guest_power_off(void) NORETURN;          /* ACPI S5, else halts for good */
bool acpi_s5(u16 *port, u16 *value);          /* what to write to which PM1a control port */

/* Waits about that many milliseconds by the PIT's channel 2. */
void delay_ms(unsigned ms);
/* TSC ticks of a delay: the least of five, since a vCPU may be held up in one. */
u64 tsc_of_delay(unsigned ms);
u64 tsc_per_ms(void); /* measured once */
/* Whether `ms` milliseconds have passed since the TSC was `start`; ten times as many on QEMU, whose
 * clock is that of a machine that may be loaded. */
bool guest_late(u64 start, u32 ms);
