/* LLDP and CDP on the uplinks of a switch: what we say about ourselves, what neighbours say.
 *
 * Pure.  lldp.c and cdp.c know the formats; here are modes, timers and the neighbour table. */
#pragma once

#include "kernel/abi/types.h"

#define DISCOVERY_NEIGHBOURS 16u /* of a switch */
#define DISCOVERY_FRAME 512u
#define DISCOVERY_TEXT 64u
#define DISCOVERY_OFF 0u
#define DISCOVERY_LISTEN 1u
#define DISCOVERY_ADVERTISE 2u
#define DISCOVERY_BOTH 3u

enum discovery_protocol { DISCOVERY_LLDP, DISCOVERY_CDP, DISCOVERY_PROTOCOLS };

struct discovery_info {          /* what a frame says; texts are printable and terminated */
    u64 mac;                     /* chassis; 0: given as text only */
    char device[DISCOVERY_TEXT]; /* system name or device ID */
    char port[DISCOVERY_TEXT];
    char port_description[DISCOVERY_TEXT];
    char platform[DISCOVERY_TEXT]; /* LLDP: system description */
    char version[DISCOVERY_TEXT];
    u8 address[4];   /* management, IPv4; zero: none */
    u16 native_vlan; /* 0: not said */
    u16 ttl;         /* seconds; 0: the neighbour says good-bye */
    u32 mtu;         /* 0: not said */
};

struct discovery_neighbour {
    bool used;
    u8 protocol;
    u16 port;  /* of our switch */
    u64 until; /* ns */
    struct discovery_info info;
};

struct discovery {
    u8 mode[DISCOVERY_PROTOCOLS];
    u64 next[DISCOVERY_PROTOCOLS]; /* when to advertise */
    struct discovery_info self;    /* device, platform, version, address, mac */
    struct discovery_neighbour neighbours[DISCOVERY_NEIGHBOURS];
    u64 bad[DISCOVERY_PROTOCOLS]; /* malformed frames */
};

/* Copies text that came from outside: unprintable bytes become '?'. */
void discovery_text(char to[DISCOVERY_TEXT], const u8 *from, u32 len);

/* A frame of that protocol from a port; true when a neighbour is new or said good-bye. */
bool discovery_receive(struct discovery *d, enum discovery_protocol p, u16 port, const u8 *frame,
                       u32 len, u64 now);
/* True when it is time to send on all uplinks (and sets the next time). */
bool discovery_due(struct discovery *d, enum discovery_protocol p, u64 now);
/* Forgets neighbours whose time has passed; true if there were any. */
bool discovery_expire(struct discovery *d, u64 now);
void discovery_forget_port(struct discovery *d, u16 port);
/* Our own frame for a port: length, 0 when it does not fit. */
u32 discovery_frame(const struct discovery *d, enum discovery_protocol p, const char *port_name,
                    u64 port_mac, u16 native_vlan, u32 mtu, bool last, u8 frame[DISCOVERY_FRAME]);
