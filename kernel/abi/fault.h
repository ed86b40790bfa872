/* Registers of ring 3 at a fault: what the kernel stores and, of a fault, hands back to ring 3. */
#pragma once

#include "kernel/abi/types.h"

struct user_frame { /* as kernel/vectors.S stores it; what IRET takes is last */
    u64 r15, r14, r13, r12, r11, r10, r9, r8, rbp, rdi, rsi, rdx, rcx, rbx, rax;
    u64 vector, error;
    u64 rip, cs, rflags, rsp, ss;
};

/* Where SYS_ON_FAULT wants it.  The handler is entered with this address in RDI and on the stack
 * that ends below it. */
struct fault_report {
    struct user_frame frame;
    u64 address; /* CR2 */
} __attribute__((aligned(16)));

/* "DE" for vector 0 and so on, SDM 3A table 7-1. */
#define FAULT_NAMES "DEDBNIBPOFBRUDNMDF??TSNPSSGPPF??MFACMCXMVECP????????????????????"
