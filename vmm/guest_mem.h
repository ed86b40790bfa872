/* Guest RAM as the control partition sees it: the only door from a guest-physical address to a
 * pointer.
 *
 * Pure over the ranges it is given.  The guest's other CPUs may write at any time, so callers copy
 * once and check the copy. */
#pragma once

#include "kernel/abi/types.h"

#define GUEST_RANGES 4

struct guest_range {
    u64 gpa, len;
};

struct guest_mem {
    u8 *base; /* pointer = base + gpa */
    u32 count;
    struct guest_range range[GUEST_RANGES]; /* no overlap */
    u64 quick;              /* bytes of the first range of which no page is missing; 0: unknown */
    struct guest_range rom; /* firmware: nobody writes there, so guest_ptr() has no pointer to it */
    /* NULL, or asked before a pointer is given out: are the pages there (again)? */
    bool (*fill)(void *owner, u64 gpa, u64 len);
    void *owner;
};

/* Where `mem` bytes of RAM lie: below GUEST_LOW_END, the rest from 4 GiB on.  Page aligned. */
#define GUEST_LOW_END 0xc0000000ull
void guest_mem_layout(struct guest_mem *m, u8 *base, u64 mem);

/* Pointer to [gpa, gpa+len) if it lies wholly in one RAM range; else NULL.  len 0: NULL.  It is
 * good as long as the VM is there, since RAM does not move: who looks at the same bytes often keeps
 * it. */
MUST_CHECK void *guest_ptr_search(const struct guest_mem *m, gpa_t gpa, u64 len);
/* Inline for what is mostly asked for: each descriptor comes through here. */
MUST_CHECK static inline void *guest_ptr(const struct guest_mem *m, gpa_t gpa, u64 len)
{
    u64 at = gpa.raw - m->range[0].gpa, room = m->quick;
    if (__builtin_expect(at < room && len - 1 < room - at, 1))
        return m->base + gpa.raw;
    return guest_ptr_search(m, gpa, len);
}
/* Is it RAM, whether its pages are there or not? */
bool guest_mem_has(const struct guest_mem *m, u64 gpa, u64 len);
/* From RAM or firmware. */
MUST_CHECK bool guest_read_code(const struct guest_mem *m, gpa_t gpa, void *dst, u64 len);
/* False, and nothing done, if the range is not RAM. */
MUST_CHECK bool guest_read(const struct guest_mem *m, gpa_t gpa, void *dst, u64 len);
MUST_CHECK bool guest_write(const struct guest_mem *m, gpa_t gpa, const void *src, u64 len);
MUST_CHECK bool guest_zero(const struct guest_mem *m, gpa_t gpa, u64 len);
