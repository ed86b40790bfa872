/* The virtual switch: a frame in at one port, out at a set of ports.
 *
 * Owners of ports (guests' network devices, kernel interfaces, NIC drivers) call switch_input()
 * with frames and get frames through their ops, all on the thread of the control partition.
 * Pure: time (ns) and the seed of all randomness are passed in, no allocation after set-up, frames
 * by reference.  Several files implement this header: switch.c forwards, switch_port.c holds
 * what the administrator sets, switch_clock.c what time and the other switches bring about. */
#pragma once

#include "kernel/abi/status.h"
#include "net/delay.h"
#include "net/discovery.h"
#include "net/frame.h"
#include "net/igmp_snoop.h"
#include "net/mac_table.h"
#include "net/policy.h"
#include "net/portset.h"
#include "net/shape.h"
#include "net/team.h"
#include "net/vlan.h"

#define SWITCH_NAME 16u
#define SWITCH_PORT_NAME 32u
#define SWITCH_BATCH 32u /* frames that are forwarded together */
#define SWITCH_MTU 1500u
#define SWITCH_MTU_MAX 9216u
#define SWITCH_AGE_NS 300000000000ull
#define SWITCH_NO_PORT 0xffffu

/* What a card does for frames by itself. */
enum {
    SWITCH_CAN_SUM = BIT(0),
    SWITCH_CAN_CUT4 = BIT(1), /* long TCP segments, IPv4 */
    SWITCH_CAN_CUT6 = BIT(2),
};

enum switch_port_type { PORT_VM, PORT_KIF, PORT_UPLINK, PORT_MIRROR, PORT_TYPES };
extern const char *const switch_type_names[PORT_TYPES];

enum switch_drop { /* why a frame went no further */
                   DROP_NONE,
                   DROP_RUNT,       /* shorter than its headers */
                   DROP_OVERSIZE,   /* longer than the MTU */
                   DROP_SOURCE,     /* from a group address or from zero */
                   DROP_RESERVED,   /* to an address that bridges do not forward (802.1Q table 8-1),
                                       or Cisco's */
                   DROP_VLAN,       /* tagged at an access port, or VLAN not on the trunk's list */
                   DROP_FORGED,     /* policy: not the port's own address, or another port's */
                   DROP_MAC_CHANGE, /* policy: the guest took another address, it receives nothing
                                     */
                   DROP_STORM,      /* policy: over the limit of its class */
                   DROP_DHCP,       /* policy: from a DHCP server */
                   DROP_ROUTER,     /* policy: from an IPv6 router */
                   DROP_STANDBY,    /* came in on an uplink that does not carry */
                   DROP_REFLECTED,  /* our own frame, come back from outside */
                   DROP_SHAPED,     /* no room in the shaper's queue */
                   DROP_LOST,       /* by link emulation */
                   DROP_OFFLOAD,   /* its sender asks for a sum or a cut that its bytes do not allow
                                    */
                   DROP_DOWN,      /* the port's link is down */
                   DROP_NOWHERE,   /* no port to go out at */
                   DROP_NO_BUFFER, /* the guest has too few receive buffers */
                   DROP_REASONS,
};
extern const char *const switch_drop_names[DROP_REASONS];

struct switch_counters { /* `in`: from the port into the switch */
    u64 in_frames, in_bytes, in_broadcast, in_multicast;
    u64 out_frames, out_bytes, out_broadcast, out_multicast;
    u64 drop[DROP_REASONS]; /* in and out */
};

struct switch_item { /* a frame to be sent or received by the owner of a port */
    const struct net_frame *frame;
    u16 tag; /* TCI of the tag it must have, or FRAME_UNTAGGED; frame_copy() applies it */
};

struct switch_port_ops {
    /* Frames for the port, SWITCH_BATCH at most; the bytes are good during the call only.  It may
     * call switch_input() for another port, but not add or remove ports. */
    void (*deliver)(void *owner, const struct switch_item *items, u32 count);
    void (*link)(void *owner); /* NULL, or: the port went up or down by switch_link() */
};

struct net_switch;

struct switch_port {
    struct net_switch *sw;
    u16 index;
    u8 type;
    bool up, isolated;
    bool learns;            /* stations may be behind it that are not its own */
    bool takes_unknown;     /* gets frames for unknown stations */
    bool blocked;           /* MAC-change policy: receives nothing */
    bool slow_in, slow_out; /* shaped, delayed or lossy */
    u64 mac;                /* its assigned address */
    u64 mac_now;            /* the one its guest uses */
    u64 source;             /* the one it may send from */
    struct vlan_port vlan;
    const struct switch_port_ops *ops;
    void *owner;
    struct policy policy, effective;
    struct storm storm[STORM_CLASSES];
    struct shape shape_in, shape_out;
    struct link_emulation emulation;
    struct delay_line delay_in, delay_out;
    u16 mirror_to; /* SWITCH_NO_PORT: not mirrored */
    bool mirror_in, mirror_out;
    u32 mac_limit; /* learned addresses it may have */
    u64 speed;     /* bits a second of an uplink; 0: not known */
    u8 can;        /* of an uplink: SWITCH_CAN_* */
    struct switch_counters counters;
    char name[SWITCH_PORT_NAME];
};

enum switch_event {
    SWITCH_LINK_UP,
    SWITCH_LINK_DOWN,
    SWITCH_FAILOVER,  /* `port` no longer carries or carries again; addresses were announced */
    SWITCH_FORGED,    /* first forged frame of a port */
    SWITCH_STORM,     /* first frame over the limit */
    SWITCH_MAC_FULL,  /* first address that found no place */
    SWITCH_NEIGHBOUR, /* a neighbour at `port` came or went */
};

struct switch_config {
    char name[SWITCH_NAME];
    u32 mtu;         /* 0: SWITCH_MTU */
    u32 mac_entries; /* rounded up to a power of two of at least 64; 0: 4,096 */
    u64 age_ns;      /* 0: SWITCH_AGE_NS */
    u64 mac;         /* the switch's own, for LACP, LLDP and CDP */
    u64 seed;        /* of hashes and of link emulation's losses */
};

struct switch_tap { /* `net capture`: sees frames of `ports` as they come in and go out */
    struct portset ports;
    bool in, out;
    void (*frame)(void *owner, const struct switch_port *p, bool out, const struct net_frame *f,
                  u16 tag, u64 now);
    void *owner;
};

struct net_switch {
    char name[SWITCH_NAME];
    u32 mtu;
    u64 mac;
    struct switch_port *ports[PORTSET_PORTS];
    struct portset up; /* ports with link that take part in forwarding */
    struct portset uplinks;
    struct portset promiscuous; /* VM and kif ports that see everything */
    struct portset isolated;
    struct portset slow;  /* ports with delay lines */
    bool any_trunk_guest; /* there are own addresses that hold for all VLANs */
    bool any_mirror, snooping;
    u8 can; /* SWITCH_CAN_* that all uplinks have; without uplinks all of them */
    u32 port_count, sweep;
    struct mac_table macs;
    struct snoop snoop;
    struct team team;
    struct policy policy;
    struct discovery discovery;
    struct switch_tap tap;
    u64 random;
    u64 now;                     /* the latest that was passed in */
    struct switch_counters gone; /* of ports removed */
    u64 flooded;                 /* frames to unknown stations */
    bool told_full;
    u32 announce_left; /* how often addresses are still to be announced */
    u64 announce_at, sweep_at;
    void (*event)(void *owner, enum switch_event e, const struct switch_port *p);
    void *event_owner;
};

/* ---- switch_port.c ---- */
/* NULL: no memory. */
struct net_switch *switch_create(const struct switch_config *c);
void switch_destroy(struct net_switch *sw); /* removes its ports */

struct switch_port_config {
    char name[SWITCH_PORT_NAME]; /* "web:0", "k0", "nic0" */
    enum switch_port_type type;
    u64 mac; /* of VM and kif ports; must be a single station's */
    const struct switch_port_ops *ops;
    void *owner;
    u8 can; /* of an uplink: SWITCH_CAN_* */
};
/* Index of the new port, or HV_EEXIST (name or address taken on this switch), HV_EINVAL (address),
 * HV_E2BIG (no port or uplink left), HV_ENOMEM.  A new port is an access port without VLAN, an
 * uplink a trunk of all; both link up but for uplinks. */
int switch_port_add(struct net_switch *sw, const struct switch_port_config *c);
void switch_port_remove(struct net_switch *sw, u32 port);
struct switch_port *switch_port_named(struct net_switch *sw, const char *name);

void switch_port_set_vlan(struct net_switch *sw, u32 port, const struct vlan_port *v);
/* A change of the administrator; policy NULL: the switch's own policy. */
void switch_set_policy(struct net_switch *sw, struct switch_port *port, const struct policy *p);
/* The address that a guest gave its device.  Not accepted by policy: it receives nothing. */
void switch_port_guest_mac(struct net_switch *sw, u32 port, u64 mac);
void switch_port_isolate(struct net_switch *sw, u32 port, bool on);
/* average 0: off.  HV_ENOMEM: no memory for the queue. */
enum hv_status switch_port_shape(struct net_switch *sw, u32 port, bool in, u64 average, u64 peak,
                                 u64 burst);
/* Delay (each way, at most 10 s) and loss. */
enum hv_status switch_port_emulate(struct net_switch *sw, u32 port, u64 delay_ns, u32 loss_ppm);
/* Copies what goes in or out at `port` to `to`, a port of type mirror; SWITCH_NO_PORT ends it. */
enum hv_status switch_port_mirror(struct net_switch *sw, u32 port, u16 to, bool in, bool out);
void switch_set_team(struct net_switch *sw, enum team_policy policy, bool failback,
                     bool lacp_active, bool lacp_fast);
/* An address that stays at a port.  HV_EEXIST, HV_E2BIG. */
enum hv_status switch_mac_add(struct net_switch *sw, u64 mac, u32 vlan, u32 port);
void switch_total(const struct net_switch *sw, struct switch_counters *out);

/* ---- switch.c ---- */
/* Where a frame from `port` goes.  DROP_NONE: the ports are in *out and f->vlan_tci is set. */
enum switch_drop switch_route(struct net_switch *sw, struct switch_port *in, struct net_frame *f,
                              u64 now, struct portset *out);
/* Forwards frames that came in at `port`; they are parsed and annotated, their bytes not written.
 */
void switch_input(struct net_switch *sw, u32 port, struct net_frame *frames, u32 count, u64 now);
/* Sends one frame of the switch's own out at a port, in a VLAN. */
void switch_send(struct net_switch *sw, struct switch_port *p, const u8 *data, u32 len, u16 vlan);
/* Counts a frame that the owner of `port` could not make one of. */
void switch_refuse(struct net_switch *sw, u32 port, enum switch_drop why);
void switch_tell(struct net_switch *sw, enum switch_event e, const struct switch_port *p);
/* For switch_clock.c: what has waited in a port's line of incoming or outgoing frames. */
void switch_release(struct net_switch *sw, struct switch_port *p, u64 now);

/* ---- switch_clock.c ---- */
/* Link of an uplink (or of a guest's port, set by the administrator). */
void switch_link(struct net_switch *sw, u32 port, bool up, u64 speed, u64 now);
/* A frame to the switch itself (LACP, LLDP, CDP), from an uplink. */
void switch_control_frame(struct net_switch *sw, struct switch_port *in, const struct net_frame *f,
                          u64 now);
/* Stations have moved here: tell the switches outside, at the next switch_poll(). */
void switch_announce(struct net_switch *sw);
/* Recomputes who carries, and announces what moved. */
void switch_team_changed(struct net_switch *sw, u64 now);
/* Does what is due; returns when it wants to be called next (ns). */
u64 switch_poll(struct net_switch *sw, u64 now);
