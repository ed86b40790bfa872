/* Network cards as their drivers offer them: frames in and out, in batches.
 *
 * net/ uses these.  One thread, no locks; every call here is on the loop or in a fiber.  A driver
 * embeds a struct nic, fills what describes it and calls nic_register().  A frame is a chain of
 * pieces; whoever is done with one gives it back by nic_release(). */
#pragma once

#include "kernel/abi/status.h"
#include "kernel/abi/types.h"

#define NIC_NAME_MAX 16
#define NIC_MAC_LEN 6
#define NIC_BATCH 64     /* frames of one call of receive() or nic_send(), at most */
#define NIC_PIECES 19    /* of one frame sent, at most: 64 KiB in pages, and both headers */
#define NIC_MULTICAST 64 /* addresses a filter holds; more: all multicast */
#define NIC_FRAME_LEAST 14
#define NIC_FRAME_MOST (64 * 1024)

/* nic_frame.flags of the first piece. */
#define NIC_CSUM_NEEDED BIT(0) /* send: sum from csum_start to the end, stored at + csum_offset */
#define NIC_CSUM_GOOD BIT(1)   /* received: the card checked the TCP or UDP checksum */
#define NIC_GSO_TCP4 BIT(2)    /* send: cut into segments of gso_size; received: was put together */
#define NIC_GSO_TCP6 BIT(3)
#define NIC_GSO_ECN BIT(4) /* with one of them: CWR only in the first segment */

struct nic_frame {
    u8 *data; /* first byte of this piece; that of the first piece is the destination MAC */
    u32 len;  /* bytes in this piece */
    u32 flags;
    u16 csum_start, csum_offset;          /* from the first byte of the frame */
    u16 gso_size, header_len;             /* with NIC_GSO_*: payload a segment, bytes of headers */
    struct nic_frame *more;               /* the next piece of this frame */
    void (*release)(struct nic_frame *f); /* takes back this piece */
    void *owner;                          /* of release */
};

/* Gives back every piece of a frame. */
static inline void nic_release(struct nic_frame *f)
{
    while (f) {
        struct nic_frame *more = f->more;

        f->more = NULL;
        f->release(f);
        f = more;
    }
}

static inline u32 nic_frame_len(const struct nic_frame *f)
{
    u32 len = 0;

    for (; f; f = f->more)
        len += f->len;
    return len;
}

struct nic_stats {
    u64 rx_frames, rx_bytes, tx_frames, tx_bytes;
    u64 rx_dropped; /* nobody listened, or no buffer was left */
    u64 rx_errors;  /* the card says the frame is broken, or what it says is */
    u64 tx_dropped; /* refused by the door, or the link was down */
    u64 tx_errors;  /* the card failed */
    u64 interrupts, resets;
};

/* A queue to receive and one to send, of a card that has several. */
#define NIC_PAIRS 4
struct nic_pair_stats {
    u64 rx_frames, tx_frames, interrupts;
};

struct nic_filter {
    bool promiscuous, all_multicast;
    u32 multicast_count;
    u8 multicast[NIC_MULTICAST][NIC_MAC_LEN];
};

/* What a card does by itself. */
#define NIC_CAN_CSUM BIT(0) /* NIC_CSUM_NEEDED */
#define NIC_CAN_TSO4 BIT(1) /* NIC_GSO_TCP4; implies NIC_CAN_CSUM */
#define NIC_CAN_TSO6 BIT(2)
#define NIC_CAN_RX_CSUM BIT(3) /* sets NIC_CSUM_GOOD */
#define NIC_CAN_JUMBO BIT(4)   /* an mtu above 1500 */

struct nic;

struct nic_ops {
    /* Queues the first of `count` frames for as long as there is room and rings the bell once;
     * each is released when the card has read it.  Returns how many were taken. */
    u32 (*send)(struct nic *n, struct nic_frame *const *frames, u32 count);
    void (*set_filter)(struct nic *n, const struct nic_filter *f);
    /* NULL: fixed. */
    enum hv_status (*set_mtu)(struct nic *n, u32 mtu);
    enum hv_status (*set_mac)(struct nic *n, const u8 mac[NIC_MAC_LEN]);
    /* Begins what a card that hangs gets, too: frames under way are lost.  NULL: cannot. */
    enum hv_status (*reset)(struct nic *n);
};

struct nic_user { /* who has the card; at most one */
    /* Frames that came; they are the user's now, to be released soon: they are the card's buffers.
     */
    void (*receive)(void *owner, struct nic_frame *const *frames, u32 count);
    void (*room)(void *owner); /* after nic_send() took less than it was given; may be NULL */
    void (*link)(void *owner); /* nic->link_up or link_mbps changed, or the card is gone */
    void *owner;
};

struct nic {
    char name[NIC_NAME_MAX]; /* "nic0" */
    const char *kind;        /* "virtio", "Intel 82574" */
    const struct nic_ops *ops;
    u8 mac[NIC_MAC_LEN];
    u32 mtu, mtu_most; /* payload of a frame: without Ethernet header */
    u32 capabilities;  /* NIC_CAN_* */
    bool link_up, full_duplex;
    u32 link_mbps; /* 0: unknown */
    struct nic_stats stats;
    u32 pairs; /* in use; 0: one, which nothing is told of */
    struct nic_pair_stats pair[NIC_PAIRS];
    void *driver; /* the driver's */

    /* The layer's. */
    struct nic *next;
    const struct nic_user *user;
    bool starved; /* the user waits for room */
    bool gone;
};

/* ---- for those who use cards ------------------------------------------------------------------
 */
struct nic *nic_first(void); /* in order of registration; ->next */
struct nic *nic_find(const char *name);
/* The card gets that name, "nic" and a number of up to four digits; one that had it gets the
 * card's. HV_EBUSY: somebody uses one of them. */
MUST_CHECK enum hv_status nic_rename(struct nic *n, const char *name);
/* HV_EBUSY: another has it. */
MUST_CHECK enum hv_status nic_open(struct nic *n, const struct nic_user *user);
void nic_close(struct nic *n);
/* The door.  Frames that are malformed (no byte, too long, offload the card has not) or meet a
 * link that is down are counted and released; data outside of dma_alloc() memory is copied. Returns
 * how many of the frames were taken or dropped: the rest is the caller's still, and
 * user->room() follows. */
MUST_CHECK u32 nic_send(struct nic *n, struct nic_frame *const *frames, u32 count);
void nic_set_filter(struct nic *n, const struct nic_filter *f);
MUST_CHECK enum hv_status nic_set_mtu(struct nic *n, u32 mtu);
/* HV_ENOSYS: its driver cannot; HV_EBUSY: one is under way; HV_ENOENT: it is gone. */
MUST_CHECK enum hv_status nic_reset(struct nic *n);
/* Told of cards that come, and at once of those that are there. */
void nic_watch(void (*fn)(struct nic *n));

/* ---- for drivers ------------------------------------------------------------------------------
 */
void nic_register(struct nic *n); /* filled in; named nic0, nic1... */
/* At most NIC_BATCH frames; without a user they are dropped. */
void nic_received(struct nic *n, struct nic_frame *const *frames, u32 count);
void nic_room(struct nic *n); /* room again after a send that took less than it was given */
void nic_link(struct nic *n, bool up, u32 mbps, bool full_duplex); /* logs a change */
