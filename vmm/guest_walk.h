/* The guest's own page tables, walked in software: for instruction bytes and string I/O.
 *
 * Pure over guest_mem.  Modes: paging off, 32-bit, PAE, 4-level (SDM 3A chapter 4); 5-level is
 * refused (CR4.LA57 is never offered to a guest). */
#pragma once

#include "kernel/abi/types.h"
#include "kernel/abi/x86_bits.h"
#include "vmm/guest_mem.h"

/* Page-fault error code (SDM 3A 4.7) and kind of access. */
#define WALK_PRESENT BIT(0)
#define WALK_WRITE BIT(1)
#define WALK_USER BIT(2)
#define WALK_RSVD BIT(3)
#define WALK_FETCH BIT(4)

struct guest_paging { /* of one vCPU, copied from its exit message */
    u64 cr0, cr3, cr4, efer, rflags;
};

enum walk_result {
    WALK_OK,
    WALK_FAULT, /* *error: the #PF error code the guest must get */
    WALK_BAD,   /* tables outside RAM or an unsupported mode */
};

/* Translate the linear address `gla`.  access: WALK_WRITE, WALK_USER, WALK_FETCH of the access;
 * sets accessed and dirty bits as the processor would.  *gpa is valid up to the end of its 4 KiB
 * page. */
MUST_CHECK enum walk_result guest_walk(const struct guest_mem *m, const struct guest_paging *p,
                                       u64 gla, u32 access, gpa_t *gpa, u32 *error);

/* Copies up to len instruction bytes at gla, as the vCPU (which has just fetched them) sees them.
 * Number of bytes read; fewer at an unmapped page. */
u32 guest_fetch(const struct guest_mem *m, const struct guest_paging *p, u64 gla, u8 *buf, u32 len);

/* Copies len bytes from (or to) linear memory; WALK_FAULT: *fault is the address, for CR2. */
MUST_CHECK enum walk_result guest_linear_copy(const struct guest_mem *m,
                                              const struct guest_paging *p, u64 gla, void *buf,
                                              u32 len, u32 access, u64 *fault, u32 *error);
