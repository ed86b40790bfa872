/* 802.1Q on a port: which VLAN a frame belongs to, which frames a port sees and with which tag.
 *
 * Pure.  VLAN 0 is the network without a VLAN: untagged on trunks whose native VLAN is 0. */
#pragma once

#include "net/frame.h"

#define VLAN_MAX 4094u
#define VLAN_NONE 0xffffu /* as native VLAN: untagged frames are not taken */
#define VLAN_VID(tci) ((u16)((tci)&0xfffu))
#define VLAN_PRIORITY 0xf000u /* priority and drop-eligible bits of a TCI */

enum vlan_mode { VLAN_ACCESS, VLAN_TRUNK };

struct vlan_port {
    u8 mode;
    u16 vlan;        /* of an access port; the native one of a trunk, or VLAN_NONE */
    u64 allowed[64]; /* of a trunk, a bit a VLAN; its native VLAN is allowed in any case */
};

void vlan_access(struct vlan_port *v, u16 vlan);
void vlan_trunk_all(struct vlan_port *v, u16 native);
/* "10,20-29" or "all" into the allowed VLANs.  False: not that, or a VLAN outside 1..4094. */
MUST_CHECK bool vlan_parse_list(struct vlan_port *v, const char *list);
/* The reverse; at most len bytes with NUL, cut at a comma if it does not fit. */
void vlan_format_list(const struct vlan_port *v, char *buf, u32 len);

/* Sets f->vlan_tci.  False: the frame is not allowed in here. */
MUST_CHECK bool vlan_ingress(const struct vlan_port *v, struct net_frame *f);

static inline bool vlan_member(const struct vlan_port *v, u32 vlan)
{
    return v->vlan == vlan || (v->mode == VLAN_TRUNK && v->allowed[vlan / 64] >> (vlan % 64) & 1);
}

/* The tag a member port sends the frame with, a TCI or FRAME_UNTAGGED.  False: not at all. */
MUST_CHECK bool vlan_egress(const struct vlan_port *v, const struct net_frame *f, u16 *tag);
