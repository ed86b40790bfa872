/* Policies of switches and ports; called by the switch. */
#include "net/policy.h"

enum { IP_UDP = 17, IP_ICMPV6 = 58, DHCP4_SERVER = 67, DHCP6_SERVER = 547 };

const char *const policy_names[POLICY_ITEMS] = {
    [POLICY_PROMISCUOUS] = "promisc", [POLICY_MAC_CHANGES] = "macchange",
    [POLICY_FORGED] = "forged",       [POLICY_DHCP_SERVER] = "dhcpserver",
    [POLICY_ROUTER] = "router",
};

void policy_default(struct policy *p)
{
    *p = (struct policy){.choice = {
                             [POLICY_PROMISCUOUS] = POLICY_REJECT,
                             [POLICY_MAC_CHANGES] = POLICY_REJECT,
                             [POLICY_FORGED] = POLICY_REJECT,
                             [POLICY_DHCP_SERVER] = POLICY_ACCEPT,
                             [POLICY_ROUTER] = POLICY_ACCEPT,
                         }};
}

void policy_inherit(struct policy *p)
{
    *p = (struct policy){.storm = {STORM_INHERIT, STORM_INHERIT, STORM_INHERIT}};
}

void policy_effective(const struct policy *of_switch, const struct policy *of_port,
                      struct policy *out)
{
    *out = *of_port;
    for (u32 i = 0; i < POLICY_ITEMS; i++) {
        if (out->choice[i] == POLICY_INHERIT)
            out->choice[i] = of_switch->choice[i];
    }
    for (u32 i = 0; i < STORM_CLASSES; i++) {
        if (out->storm[i] == STORM_INHERIT)
            out->storm[i] = of_switch->storm[i];
    }
}

bool policy_from_dhcp_server(const struct net_frame *f)
{
    struct frame_ip ip;

    if (!frame_ip(f, &ip) || ip.protocol != IP_UDP || ip.len < 8)
        return false;
    return frame_be16(f->data + ip.offset) == (ip.version == 4 ? DHCP4_SERVER : DHCP6_SERVER);
}

bool policy_from_router(const struct net_frame *f)
{
    struct frame_ip ip;

    if (!frame_ip(f, &ip) || ip.version != 6 || ip.protocol != IP_ICMPV6 || ip.len < 1)
        return false;
    return f->data[ip.offset] == 134 || f->data[ip.offset] == 137;
}
