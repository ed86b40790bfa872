/* What the fuzzing guest picks from: numbers and opcodes near which hypervisors have bugs. */
#pragma once

#include "kernel/abi/types.h"

struct fuzz_opcode {
    u32 bytes; /* first one lowest */
    u8 len;
    bool fatal; /* it may take the guest's own tables, or its mode, away */
};
extern const struct fuzz_opcode fuzz_opcodes[]; /* a ModRM byte and more may follow */
extern const u32 fuzz_opcode_count;
extern const struct fuzz_opcode fuzz_accesses[]; /* to [RDI], some with [RSI] and RCX */
extern const u32 fuzz_access_count;
extern const u8 fuzz_prefixes[13];

/* Bits of the option mask=: what QEMU 7.2's AMD-V does not survive, and no processor does. */
#define FUZZ_MASK_LTR 1      /* it takes a null selector, and aborts at the next vector */
#define FUZZ_MASK_CR0 2      /* MOV to it takes any value, and the next VMRUN refuses many */
#define FUZZ_MASK_RCX 4      /* RCX indexes the MSR map, ECX the MSR: a way to the host's MSRs */
#define FUZZ_MASK_LONG_BIG 8 /* it loads code segments with L and D, which VMRUN refuses */

/* Instructions that are made others: to LLDT, to MOV CR4. */
struct fuzz_deadly {
    u32 option;
    u32 mask, bytes; /* of four bytes of code, first one lowest */
    u32 flip;        /* makes it another instruction */
};
extern const struct fuzz_deadly fuzz_deadly[];
extern const u32 fuzz_deadly_count;

struct fuzz_range {
    u32 first, last;
};
extern const struct fuzz_range fuzz_msrs[], fuzz_ports[];
extern const u32 fuzz_msr_count, fuzz_port_count;
