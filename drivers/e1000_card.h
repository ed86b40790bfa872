/* What the parts of the driver for Intel's gigabit cards share; included by drivers/e1000*.c alone.
 *
 * Two generations of descriptors, each 16 bytes.  "SDM" is the PCI/PCI-X Family of Gigabit Ethernet
 * Controllers Software Developer's Manual (8254x); the 82574 takes the same ones.  82576, I210,
 * I211 and I350 take advanced ones (82576 datasheet 7.1.5 and 7.2.2), whose fields that matter here
 * lie in the same two words. */
#pragma once

#include "control/rt/loop.h"
#include "control/rt/mmio.h"
#include "drivers/nic.h"
#include "drivers/pci.h"

enum e1000_register { /* SDM table 13-2; 82576 datasheet table 8-5, of queue 0 by their old places
                       */
                      REG_CTRL = 0x0000,
                      REG_STATUS = 0x0008,
                      REG_EERD = 0x0014,
                      REG_CTRL_EXT = 0x0018,
                      REG_MDIC = 0x0020,
                      REG_ICR = 0x00c0,
                      REG_IMS = 0x00d0,
                      REG_IMC = 0x00d8,
                      REG_EIAC_82574 = 0x00dc,
                      REG_IVAR_82574 = 0x00e4,
                      REG_RCTL = 0x0100,
                      REG_TCTL = 0x0400,
                      REG_TIPG = 0x0410,
                      REG_GPIE = 0x1514,
                      REG_EIMS = 0x1524,
                      REG_EIAC = 0x152c,
                      REG_EIAM = 0x1530,
                      REG_IVAR = 0x1700,
                      REG_IVAR_MISC = 0x1740,
                      REG_RDBA = 0x2800,
                      REG_RDLEN = 0x2808,
                      REG_SRRCTL = 0x280c,
                      REG_RDH = 0x2810,
                      REG_RDT = 0x2818,
                      REG_TDBA = 0x3800,
                      REG_TDLEN = 0x3808,
                      REG_TDH = 0x3810,
                      REG_TDT = 0x3818,
                      REG_RXDCTL = 0x2828,
                      REG_TXDCTL = 0x3828,
                      REG_MPC = 0x4010,
                      REG_RXCSUM = 0x5000,
                      REG_RFCTL = 0x5008,
                      REG_MTA = 0x5200,
                      REG_RAL = 0x5400,
                      REG_RAH = 0x5404,
                      REGISTERS_LEN = 0x6000,
};

#define RING 256
#define POOL 512 /* buffers: the ring's, and as many that its user has */
#define BUFFER 2048
#define HEADERS 256u     /* of a packet to be cut, at most: the length has 8 bits */
#define PIECE_MOST 8192u /* of one descriptor; SDM 3.3.3 allows 16,288 */
#define TX_NEEDS (NIC_PIECES + NIC_FRAME_MOST / PIECE_MOST + 2) /* descriptors a frame, at most */

struct e1000_rx {
    u64 address;
    volatile u64 back; /* the card's answer; 0: none */
};

struct e1000_tx {
    u64 address;
    u32 len_type;         /* bytes, and what to do */
    volatile u32 options; /* and status: bit 0 when the card is done */
};
#define TX_DONE 1u
#define TX_END BIT(24) /* in len_type, of both generations */
#define TX_FCS BIT(25)
#define TX_REPORT BIT(27)

struct e1000;

/* What a generation does differently. */
struct e1000_family {
    bool queues;       /* each queue is switched on, and its vector assigned */
    u32 capabilities;  /* NIC_CAN_* */
    u32 plain;         /* what to do with a frame that is all done: e1000_tx.len_type */
    u64 rx_done;       /* bits of e1000_rx.back */
    u64 rx_checked;    /* these ... */
    u64 rx_whole;      /* ... are so of a frame that is whole and sound, */
    u64 rx_sum_looked; /* and these ... */
    u64 rx_sum_good;   /* ... so of one whose sums were looked at and are good */
    u32 rx_len_at;     /* first bit of its length, 16 of them */
    bool (*can_put)(const struct nic_frame *f);
    u32 (*put)(struct e1000 *c, const struct nic_frame *f); /* the last descriptor's number */
};

struct e1000_buffer {
    struct nic_frame frame;
    struct e1000_buffer *next; /* of those that are free */
    struct e1000 *card;
    u8 *bytes;
};

struct e1000 {
    struct nic nic;
    struct pci_device *pci;
    const struct e1000_family *family;
    volatile u8 *registers;
    struct e1000_rx *rx;
    struct e1000_tx *tx;
    u8 *headers; /* HEADERS bytes a descriptor: of packets to be cut, as the card wants them */
    struct e1000_buffer buffers[POOL], *in_ring[RING], *spare;
    u32 rx_next, rx_tail, tx_next, tx_oldest;
    bool rx_rest; /* the last descriptor was not its frame's last: nor is the next one a frame */
    struct nic_frame *sending[RING]; /* at the descriptor of its last piece */
    struct nic_filter filter;
    bool resetting;
    u32 rx_head, rx_stuck; /* at the last look; looks at which it received nothing */
    u64 last_sent;         /* TSC of the last progress in sending */
    struct loop_timer more, watch;
};

static inline u32 e1000_get(const struct e1000 *c, u32 at)
{
    return mmio_read32(c->registers + at);
}

static inline void e1000_put(const struct e1000 *c, u32 at, u32 value)
{
    mmio_write32(c->registers + at, value);
}
