/* Executes one decoded instruction whose memory operand is a device register.
 *
 * Pure: memory and devices are reached through what the caller hands in. */
#pragma once

#include "kernel/abi/types.h"
#include "kernel/abi/vcpu_page.h"
#include "vmm/guest_mem.h"
#include "vmm/guest_walk.h"
#include "vmm/insn.h"

struct mmio_bus { /* one access of 1, 2, 4 or 8 bytes that does not cross a page */
    void *ctx;
    u64 (*read)(void *ctx, u64 gpa, u8 size);
    void (*write)(void *ctx, u64 gpa, u8 size, u64 value);
};

struct mmio_emulate {
    const struct guest_mem *mem;
    struct guest_paging paging;
    struct mmio_bus bus;
    u64 gpa;                 /* the access that faulted */
    bool write;              /* it was a write */
    bool user;               /* the vCPU is in ring 3 */
    u64 seg_base[SEG_COUNT]; /* used by MOVS only */
    u64 *regs;               /* REG_COUNT, changed in place */
    u64 rflags;              /* changed in place */
    u64 fault_address;       /* EMULATE_FAULT: for CR2, with the error code */
    u32 fault_error;
};

enum emulate_result {
    EMULATE_DONE,  /* step over the instruction */
    EMULATE_AGAIN, /* registers have moved on; the guest executes it again (REP) */
    EMULATE_FAULT, /* inject #PF */
    EMULATE_BAD,   /* not possible on this memory */
};

MUST_CHECK enum emulate_result mmio_emulate(struct mmio_emulate *e, const struct insn *in);

/* Adds `delta` to a register under an address-size mask (string instructions). */
void mmio_emulate_step(u64 *reg, i64 delta, u8 addr_size);
