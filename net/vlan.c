/* VLAN rules of a port; called by the switch for each frame and by the shell to set them. */
#include "net/vlan.h"

#include <stdio.h>
#include <string.h>

void vlan_access(struct vlan_port *v, u16 vlan)
{
    *v = (struct vlan_port){.mode = VLAN_ACCESS, .vlan = vlan};
}

void vlan_trunk_all(struct vlan_port *v, u16 native)
{
    *v = (struct vlan_port){.mode = VLAN_TRUNK, .vlan = native};
    memset(v->allowed, 0xff, sizeof(v->allowed));
    v->allowed[0] &= ~1ull;
    v->allowed[63] &= ~BIT(63); /* VID 4095 is reserved */
}

static const char *number(const char *at, u32 *value)
{
    const char *from = at;

    *value = 0;
    while (*at >= '0' && *at <= '9' && at - from < 5)
        *value = *value * 10 + (u32)(*at++ - '0');
    return at == from || *value < 1 || *value > VLAN_MAX ? NULL : at;
}

bool vlan_parse_list(struct vlan_port *v, const char *list)
{
    u64 allowed[64] = {0};

    if (!strcmp(list, "all")) {
        vlan_trunk_all(v, v->vlan);
        return true;
    }
    for (;;) {
        u32 first, last;

        list = number(list, &first);
        if (!list)
            return false;
        last = first;
        if (*list == '-' && !(list = number(list + 1, &last)))
            return false;
        for (u32 i = first; i <= last; i++)
            allowed[i / 64] |= BIT(i % 64);
        if (first > last || (*list && *list != ','))
            return false;
        if (!*list++)
            break;
    }
    memcpy(v->allowed, allowed, sizeof(allowed));
    return true;
}

static bool allows(const struct vlan_port *v, u32 vlan)
{
    return vlan <= VLAN_MAX && v->allowed[vlan / 64] >> (vlan % 64) & 1;
}

void vlan_format_list(const struct vlan_port *v, char *buf, u32 len)
{
    u32 used = 0, count = 0;

    buf[0] = 0;
    for (u32 i = 1; i <= VLAN_MAX; i++)
        count += allows(v, i);
    if (count == VLAN_MAX) {
        snprintf(buf, len, "all");
        return;
    }
    for (u32 i = 1; i <= VLAN_MAX; i++) {
        char item[16];
        u32 last = i;

        if (!allows(v, i))
            continue;
        while (allows(v, last + 1))
            last++;
        snprintf(item, sizeof(item), last > i ? "%s%u-%u" : "%s%u", used ? "," : "", i, last);
        if (used + strlen(item) >= len)
            return;
        strcpy(buf + used, item);
        used += (u32)strlen(item);
        i = last;
    }
}

bool vlan_ingress(const struct vlan_port *v, struct net_frame *f)
{
    u32 id = VLAN_VID(f->tci);

    if (__builtin_expect(v->mode == VLAN_ACCESS, 1)) {
        /* A tag inside would come out where ours is taken off: 802.1Q networks are hopped so. */
        if (id || f->inner_tag)
            return false;
        f->vlan_tci = (u16)((f->tci & VLAN_PRIORITY) | v->vlan);
        return true;
    }
    if (!id) {
        if (v->vlan == VLAN_NONE)
            return false;
        f->vlan_tci = (u16)((f->tci & VLAN_PRIORITY) | v->vlan);
        return true;
    }
    f->vlan_tci = f->tci;
    return id <= VLAN_MAX && vlan_member(v, id);
}

bool vlan_egress(const struct vlan_port *v, const struct net_frame *f, u16 *tag)
{
    *tag = FRAME_UNTAGGED;
    if (__builtin_expect(v->mode == VLAN_ACCESS, 1))
        return !f->inner_tag;
    if (v->vlan != VLAN_VID(f->vlan_tci)) {
        *tag = f->vlan_tci;
        return VLAN_VID(f->vlan_tci) !=
               0; /* the network without VLAN has no number to be sent with */
    }
    /* The native VLAN goes untagged, but for a tag inside, which must not become the outer one,
     * and for priority bits in the network without VLAN, where nothing else can carry them. */
    if ((f->tagged && f->inner_tag) || (!v->vlan && f->vlan_tci & VLAN_PRIORITY))
        *tag = f->vlan_tci;
    return true;
}
