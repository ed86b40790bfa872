/* What the fuzzing guest picks from: numbers and opcodes near which hypervisors have bugs. */
#ifndef BULKHEAD_TESTS_GUESTS_LIB_FUZZ_TABLES_H
#define BULKHEAD_TESTS_GUESTS_LIB_FUZZ_TABLES_H

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

struct fuzz_range {
    u32 first, last;
};
extern const struct fuzz_range fuzz_msrs[], fuzz_ports[];
extern const u32 fuzz_msr_count, fuzz_port_count;

#endif
