/* A place where a guest can run any code in any state and get its own back.
 *
 * While such code runs, only the arena is writable: the guest's code, tables and data are mapped
 * read-only, for ring 0.  Whatever exception, interrupt or NMI comes first ends it, on a stack of
 * its own, with control registers, tables and segments put right again. */
#pragma once

#include "tests/guests/lib/guest.h"

#define ARENA_BASE 0x800000ull
#define ARENA_SIZE 0x10000ull
#define ARENA_CODE (ARENA_BASE + 0x8000)
#define ARENA_CODE_END (ARENA_BASE + 0xf000)
#define ARENA_STACK (ARENA_BASE + 0x4000)
#define ARENA_LDT (ARENA_BASE + 0xf000) /* 64 descriptors, writable by what runs */
/* 512 pages whose entries the caller makes: arena_window(). */
#define ARENA_WINDOW 0x80000000ull

/* Selectors beside the library's; ring 3 has 3 added. */
#define ARENA_CODE16 0x40
#define ARENA_DATA16 0x48
#define ARENA_USER32 0x53 /* code */
#define ARENA_LDT_SELECTOR 0x60

void arena_init(void); /* once; interrupts stay off outside of the arena */
/* Runs from f->rip with the registers, flags and segments of f until something ends it; returns
 * the vector that did.  It depends on f alone what becomes of the arena. */
u32 arena_run(const struct frame *f);
/* Outside of the arena IF is 0: an interrupt there is wrong. */
extern u64 arena_stray_interrupts;
extern struct frame arena_stray;             /* the first */
void arena_window(unsigned page, u64 entry); /* one page-table entry, from now on */
