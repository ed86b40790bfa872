/* What device models may ask of the machine they sit in: time, timers, interrupt lines, power.
 *
 * Implemented by vmm/platform.c over the event loop and the system calls; unit tests supply their
 * own.  All calls are made on the event loop's thread; none blocks. */
#pragma once

#include "kernel/abi/types.h"

struct vm;

#define NS_PER_SEC 1000000000ull
#define PLATFORM_NEVER (~0ull)

/* One deadline each in vm_state.deadline[]; the owner's *_timer() is called when it has passed. */
enum vm_timer { VM_TIMER_PIT, VM_TIMER_RTC, VM_TIMER_HOLD, VM_TIMER_COUNT };

u64 platform_now(void);     /* nanoseconds, monotonic, the same after a restart of control */
u64 platform_unix_ns(void); /* wall clock, nanoseconds since 1970 UTC */
/* Call the timer's owner once at `at` (nanoseconds of platform_now); PLATFORM_NEVER cancels. */
void platform_timer(struct vm *vm, enum vm_timer which, u64 at);

/* Calls virtio_dev_timer(d) once, at `at`: for work that is left over. */
struct virtio_device;
void platform_device_timer(struct virtio_device *d, u64 at);

/* The battery-backed memory of the VM's clock has changed. */
void platform_nvram(struct vm *vm);

/* Level of ISA line 0..15, as PIC and I/O APIC both see it. */
void platform_irq(struct vm *vm, u32 irq, bool level);
/* A message as the I/O APIC or a device sends it to the local APICs. */
void platform_msi(struct vm *vm, u32 address, u32 data);
/* INTR output of the PIC: LINT0 of vCPU 0. */
void platform_lint(struct vm *vm, bool level);

/* Asked for by the guest; done after the exit at hand has been served. */
enum platform_power { POWER_NONE, POWER_OFF, POWER_RESET };
void platform_power(struct vm *vm, enum platform_power what, const char *why);
/* Keep the vCPU whose exit is being served from running until its output may go on. */
void platform_hold(struct vm *vm);
u64 platform_held_until(struct vm *vm); /* ns of platform_now; 0: it may run */
/* A byte the guest wrote to its console. */
void platform_console_put(struct vm *vm, u8 byte);
/* The same for a device that can wait: how many bytes there is room for now, and the bytes. */
u32 platform_console_room(const struct vm *vm);
void platform_console_write(struct vm *vm, const u8 *bytes, u32 len);

/* One line for `vm log`; the time is put in front. */
void platform_log(struct vm *vm, const char *fmt, ...) PRINTF_LIKE(2, 3);
