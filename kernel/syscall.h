/* The door from ring 3: the gate and the table of calls. */
#pragma once

#include "kernel/abi/types.h"

/* From syscall_entry.S on this CPU's stack; what it returns goes to ring 3's rax. */
i64 syscall_main(u64 number, const u64 args[6]);

/* syscall_entry.S */
void syscall_entry(void);
/* Enter ring 3 with the registers in control.frame and this rax. */
void syscall_resume(i64 result) __attribute__((noreturn));
