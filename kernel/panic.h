/* The end: stop every core and say why, on the serial port.  panic() itself is in log.h. */
#pragma once

#include "kernel/abi/boot_info.h"
#include "kernel/cpu.h"
#include "kernel/log.h"

void panic_init(const struct boot_info *bi); /* boot CPU, after paging_early */
/* panic() with the registers of what was interrupted. */
void panic_at(const struct user_frame *f, const char *fmt, ...) PRINTF_LIKE(2, 3) NORETURN;
bool panic_stop(
    void); /* an NMI came: does not return if another core panics; true: this one does */
i64 panic_call(const u64 args[6]); /* SYS_CRASH */
