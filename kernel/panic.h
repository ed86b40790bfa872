/* The end: stop every core and say why, on the serial port.  panic() itself is in log.h. */
#ifndef BULKHEAD_KERNEL_PANIC_H
#define BULKHEAD_KERNEL_PANIC_H

#include "kernel/cpu.h"
#include "kernel/log.h"

/* An exception in the kernel itself. */
void panic_exception(const struct user_frame *f) NORETURN;
/* Every NMI, from the IDT or a guest exit.  Does not return if another core panics. */
void panic_nmi(void);

#endif
