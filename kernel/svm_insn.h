/* Length of the few instructions that AMD-V intercepts, for CPUs that do not tell the next RIP, and
 * the register of a MOV to a control register, for CPUs without decode assists.
 *
 * Pure; the bytes are the guest's.  APM 3, 1.2 (prefixes) and appendix A. */
#pragma once

#include "kernel/abi/types.h"

#define SVM_INSN_MAX 15u

/* Bytes of the instruction, 0: none that is intercepted here, or cut off.  *reg: the general
 * register (enum vcpu_reg) of MOV CRn, else 0. */
u32 svm_insn_length(const u8 *bytes, u32 count, bool mode64, u32 *reg);
