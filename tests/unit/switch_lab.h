/* A virtual switch whose ports note what they get; for unit tests of the switch. */
#pragma once

#include "net/switches.h"

#define SECOND 1000000000ull
#define MS 1000000ull
#define OUTSIDE 0x001122334455ull
#define GUEST(n) (0x064248000000ull + (n))

struct switch_lab_log { /* of one port */
    u64 count, bytes;
    u32 len;
    u8 last[2000]; /* the last frame, as it would be on a wire */
};
extern struct switch_lab_log switch_lab_logs[16]; /* by index of the port */
extern u64 switch_lab_now;                        /* ns */
extern u32 switch_lab_events[16];                 /* how often, by enum switch_event */
extern const struct switch_port_ops switch_lab_ops;
void switch_lab_event(void *owner, enum switch_event e, const struct switch_port *p);

/* A new "vsw0", the only switch; nothing is noted any more. */
struct net_switch *switch_lab_start(void);
/* A port, of which guests' have the address GUEST(index) and uplinks have link; its index.
 * Forgets what was noted. */
u32 switch_lab_add(struct net_switch *sw, enum switch_port_type type, const char *name);
/* A frame: addresses, then `rest` from the type on; 60 bytes at least. */
void switch_lab_send(struct net_switch *sw, u32 port, u64 dst, u64 src, const void *rest, u32 len);
/* One of `len` bytes that says IPv4. */
void switch_lab_send_len(struct net_switch *sw, u32 port, u64 dst, u64 src, u32 len);
u64 switch_lab_drops(struct net_switch *sw, u32 port, enum switch_drop why);
