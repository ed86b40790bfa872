/* What a port may send: forged addresses, servers' messages that only servers send, storms.
 *
 * Pure.  A switch has a policy, each port may override parts of it; policy_effective() makes of
 * both the one that the forwarding path looks at. */
#pragma once

#include "net/frame.h"
#include "net/shape.h"

enum policy_choice { POLICY_INHERIT, POLICY_REJECT, POLICY_ACCEPT };

enum policy_item {
    POLICY_PROMISCUOUS, /* the port sees every frame of its VLANs */
    POLICY_MAC_CHANGES, /* a guest may receive under an address it chose itself */
    POLICY_FORGED,      /* a guest may send from addresses that are not its own */
    POLICY_DHCP_SERVER, /* it may send what DHCP servers send */
    POLICY_ROUTER,      /* it may send IPv6 router advertisements and redirects */
    POLICY_ITEMS,
};

enum storm_class { STORM_BROADCAST, STORM_MULTICAST, STORM_UNKNOWN, STORM_CLASSES };

#define STORM_INHERIT (~0u)

struct policy {
    u8 choice[POLICY_ITEMS];  /* enum policy_choice */
    u32 storm[STORM_CLASSES]; /* frames a second, 0: no limit, STORM_INHERIT */
};

extern const char *const policy_names[POLICY_ITEMS]; /* "promisc", "macchange", ... */

/* A new switch: the first three rejected, servers allowed, no storm limit. */
void policy_default(struct policy *p);
void policy_inherit(struct policy *p); /* a new port */
void policy_effective(const struct policy *of_switch, const struct policy *of_port,
                      struct policy *out);
static inline bool policy_accepts(const struct policy *effective, enum policy_item item)
{
    return effective->choice[item] == POLICY_ACCEPT;
}

/* Whether the frame is one that DHCP (RFC 2131, RFC 8415) servers or IPv6 routers (RFC 4861) send,
 * also behind VLAN tags and extension headers. */
bool policy_from_dhcp_server(const struct net_frame *f);
bool policy_from_router(const struct net_frame *f);
