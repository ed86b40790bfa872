/* Symbol table that tools/ embeds in kernel.elf and control.elf at link time, so that a panic
 * or a crash of the control partition prints function names without any file at hand.
 *
 * Layout in .rodata, symbol `image_symbols`: struct image_symbols, then `count` u32 offsets from
 * `base` in ascending order, then `count` u32 offsets into the string area that follows. */
#pragma once

#include "kernel/abi/types.h"

#define IMAGE_SYMBOLS_MAGIC 0x4d595342u /* "BSYM" */

struct image_symbols {
    u32 magic;
    u32 count;
    u64 base;         /* virtual address the offsets count from */
    u32 strings_size; /* bytes; every string NUL terminated */
    u32 pad;
    u32 offsets[]; /* count function offsets, then count name offsets, then strings */
};

extern const struct image_symbols image_symbols; /* each image's own; made by tools/gensyms.c */
