/* The flash memory that a guest's firmware lies in: array reads go by without us, since the guest
 * has the bytes mapped read-only; each write is a command.
 *
 * Pure over the bytes.  The command set is Intel's (JEDEC JESD68.01, command set 0001h), as far as
 * firmware uses it.  The guest is hostile: an offset is checked by who calls. */
#pragma once

#include "kernel/abi/types.h"

#define FLASH_BLOCK 4096u /* what one erase command clears */

struct flash {
    u32 len;  /* bytes, a power of two; 0: there is none */
    u32 vars; /* the first so many may be written */
    u8 mode;  /* enum in flash.c: what the next write means */
    u8 status;
    u8 shown; /* the byte at `shown_at` is the status; `hidden` is what belongs there */
    u8 hidden;
    u32 shown_at;
    u32 left;    /* writes of a buffer that are still to come */
    u32 changed; /* the variables are not what was saved last */
};

/* As after a reset: all reads are those of the array. */
void flash_reset(struct flash *f, u8 *bytes);
/* A write of 1 to 8 bytes at `at`, all inside. */
void flash_write(struct flash *f, u8 *bytes, u32 at, u8 size, u64 value);
