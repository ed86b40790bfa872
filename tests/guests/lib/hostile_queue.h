/* A split ring (virtio 1.2, section 2.7) for drivers that break the rules: every field may be
 * written. */
#pragma once

#include "kernel/abi/types.h"

#define HOSTILE_ENTRIES 8u        /* of a queue */
#define HOSTILE_NEEDS_RESET 0x40u /* of the device status: 2.1 */

enum { DESC_NEXT = 1, DESC_WRITE = 2, DESC_INDIRECT = 4 };

struct descriptor {
    u64 addr;
    u32 len;
    u16 flags, next;
};

struct hostile_queue {
    struct descriptor desc[HOSTILE_ENTRIES], table[HOSTILE_ENTRIES]; /* table: for indirect ones */
    struct {
        u16 flags, idx, ring[HOSTILE_ENTRIES], event;
    } avail;
    struct {
        u16 flags, idx;
        struct {
            u32 id, len;
        } ring[HOSTILE_ENTRIES];
        u16 event;
    } used __attribute__((aligned(4)));
};
