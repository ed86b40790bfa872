/* The device's end of a virtqueue, split and packed: the only place that reads or writes rings and
 * descriptors.
 *
 * Pure over guest memory.  The driver may change anything at any time: every descriptor is copied
 * once, the copy is checked, and what comes out is a chain of host pointers whose lengths are
 * bounded.  A ring that breaks a rule of the specification is RING_BROKEN, which the caller turns
 * into DEVICE_NEEDS_RESET.  Virtio 1.2, sections 2.7 (split) and 2.8 (packed). */
#pragma once

#include "kernel/abi/types.h"
#include "vmm/guest_mem.h"

#define VIRTIO_QUEUE_MAX 256 /* entries of a queue */
#define VIRTIO_CHAIN_MAX 130 /* segments of a chain: 128 of data, a header and a status */

/* What of a queue survives a restart of the control partition; no pointers. */
struct virtio_queue {
    u64 desc, driver, device;  /* guest-physical: descriptors, driver area, device area */
    u16 size;                  /* entries; split: a power of two */
    u16 vector;                /* MSI-X */
    u16 next_avail, next_used; /* split: free-running; packed: 0..size-1 */
    u16 unsignalled;           /* entries used since the driver was last told or asked not to be */
    u8 avail_wrap, used_wrap;  /* packed */
    u8 enabled;
    u8 resume_wrap;
    u16 resume; /* as next_avail: the oldest chain that was taken, and neither kept nor passed */
    u8 pad[2];
};

/* A chain that later ones have overtaken: enough to find it again without its place in the ring,
 * which may be somebody else's by then.  Survives a restart too. */
struct virtio_kept {
    u64 addr; /* packed: its one descriptor, as the driver wrote it */
    u32 len;
    u16 flags, id;
    u8 used, device, queue; /* the last two are the device's */
    u8 pad;
} __attribute__((packed, aligned(4)));

/* A queue in use: its areas are checked once and kept as pointers, and its size with them. */
struct virtio_ring {
    const struct guest_mem *mem;
    struct virtio_queue *q;
    bool packed, event_idx, indirect; /* as negotiated */
    u16 size;                         /* by virtio_ring_open(), as the rest */
    u16 seen;                         /* split: the driver's index at virtio_ring_news() */
    u8 *desc, *driver, *device;       /* desc NULL: closed */
};

struct virtio_segment {
    u8 *at;
    u32 len;
};

/* Segments the device may read, then those it may write. */
struct virtio_chain {
    u16 id;    /* what virtio_ring_put names it by */
    u16 slots; /* ring entries it takes */
    u32 readable, writable;
    u32 readable_len, writable_len; /* bytes */
    struct virtio_segment segment[VIRTIO_CHAIN_MAX];
};

enum ring_result { RING_EMPTY, RING_CHAIN, RING_BROKEN };

/* Empty queue positions, as after a reset or when the driver enables it. */
void virtio_ring_start(struct virtio_queue *q);
/* For a ring with its first five members set.  True if size, alignment and place of all three areas
 * are allowed; only then the calls below may be made. */
MUST_CHECK bool virtio_ring_open(struct virtio_ring *r);
/* Is a byte of an open ring's areas in the page at `gpa`? */
bool virtio_ring_uses(const struct virtio_ring *r, u64 gpa);
/* Takes the next chain the driver made available; *c is valid only for RING_CHAIN. */
MUST_CHECK enum ring_result virtio_ring_take(const struct virtio_ring *r, struct virtio_chain *c);
/* Takes back the last virtio_ring_take of this queue; nothing was put since. */
void virtio_ring_untake(const struct virtio_ring *r, const struct virtio_chain *c);
/* Gives a chain back with `written` bytes in its writable segments. */
void virtio_ring_put(const struct virtio_ring *r, const struct virtio_chain *c, u32 written);
/* The same by what virtio_ring_take() left in id and slots. */
void virtio_ring_put_id(const struct virtio_ring *r, u16 id, u16 slots, u32 written);
/* Gives back `count` chains in order, with written[i] bytes; the driver sees all of them at once.
 */
void virtio_ring_put_all(const struct virtio_ring *r, const struct virtio_chain *c,
                         const u32 *written, u32 count);
/* For a device that shall find again, after a restart, what it had taken and not put.  It treats
 * its chains in the order of the takes: each is passed when it is put, or kept in *k, which is its
 * own from then on, so that later ones may be put.  False: neither; a packed chain of several
 * descriptors has to be put first. */
void virtio_ring_pass(const struct virtio_ring *r, u16 slots);
MUST_CHECK bool virtio_ring_keep(const struct virtio_ring *r, u16 id, u16 slots,
                                 struct virtio_kept *k);
/* The chain of *k, as virtio_ring_take() gave it. */
MUST_CHECK enum ring_result virtio_ring_take_kept(const struct virtio_ring *r,
                                                  const struct virtio_kept *k,
                                                  struct virtio_chain *c);
/* Takes back all that was taken and neither passed nor kept. */
void virtio_ring_rewind(struct virtio_queue *q);
/* Does the driver want an interrupt for what was put since it was last asked? */
MUST_CHECK bool virtio_ring_wants_interrupt(const struct virtio_ring *r);
/* Has the driver made chains available since this was asked last?  Packed: is one not taken? */
bool virtio_ring_news(struct virtio_ring *r);
/* Ask the driver to (not) ring the doorbell.  After asking for it the ring must be looked at once
 * more: what came in between rang none. */
void virtio_ring_want_doorbell(const struct virtio_ring *r, bool want);

/* Bytes from the readable segments, starting `offset` bytes in; returns how many were there. */
u32 virtio_chain_read(const struct virtio_chain *c, u32 offset, void *dst, u32 len);
/* Bytes to the writable segments; returns how many fitted. */
u32 virtio_chain_write(const struct virtio_chain *c, u32 offset, const void *src, u32 len);
