/* links: net/frame.c net/mac_table.c net/vlan.c net/policy.c net/shape.c net/delay.c net/igmp_snoop.c net/lacp.c net/team.c net/discovery.c net/lldp.c net/cdp.c net/switch.c net/switch_slow.c net/switch_port.c net/switch_clock.c net/offload.c net/checksum.c */
/* Any bytes as frames at any port of a switch that has everything switched on.  What comes out is
 * never longer than what went in and a tag, and no parser reads beyond its frame. */
#include <stdlib.h>
#include <string.h>

#include "net/offload.h"
#include "net/switch.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

#define LONGEST 1700u
static u32 longest;

static void take(void *owner, const struct switch_item *items, u32 count)
{
    static u8 out[FRAME_MAX + FRAME_TAG];

    (void)owner;
    for (u32 i = 0; i < count; i++) {
        u32 len = frame_copy(items[i].frame, items[i].tag, out, sizeof(out));
        if (!len || len > MAX(longest, 512u) + FRAME_TAG)
            abort();
        struct offload o;
        offload_start(&o, items[i].frame, items[i].tag);
        for (u32 n = 0; (len = offload_next(&o, out, sizeof(out))); n++) {
            if (n > longest)
                abort();
        }
    }
}
static const struct switch_port_ops ops = {.deliver = take};

static struct net_switch *make(void)
{
    struct switch_config c = {.name = "f", .mac_entries = 64, .mac = 0x064248000000ull, .seed = 1};
    struct net_switch *sw = switch_create(&c);
    struct vlan_port trunk;

    if (!sw)
        abort();
    sw->policy.choice[POLICY_FORGED] = POLICY_ACCEPT;
    sw->policy.choice[POLICY_DHCP_SERVER] = sw->policy.choice[POLICY_ROUTER] = POLICY_REJECT;
    sw->policy.storm[STORM_BROADCAST] = 100;
    vlan_trunk_all(&trunk, 10);
    for (u32 i = 0; i < 8; i++) {
        struct switch_port_config p = {.type = i < 5   ? PORT_VM
                                               : i < 7 ? PORT_UPLINK
                                                       : PORT_MIRROR,
                                       .mac = i < 5 ? 0x064248000001ull + i : 0,
                                       .name = {(char)('a' + i)},
                                       .ops = &ops};
        if (switch_port_add(sw, &p) != (int)i)
            abort();
        switch_link(sw, i, true, 0, 1);
    }
    switch_port_set_vlan(sw, 1, &trunk);
    switch_port_set_vlan(sw, 6, &trunk);
    if (switch_port_shape(sw, 2, false, 1000000, 2000000, 3000) ||
        switch_port_shape(sw, 3, true, 1000000, 2000000, 3000) ||
        switch_port_emulate(sw, 4, 1000, 1000) || switch_port_mirror(sw, 0, 7, true, true) ||
        switch_port_mirror(sw, 1, 7, true, true))
        abort();
    sw->discovery.mode[DISCOVERY_LLDP] = sw->discovery.mode[DISCOVERY_CDP] = DISCOVERY_BOTH;
    switch_set_team(sw, TEAM_LACP, true, true, true);
    return sw;
}

/* Records: port, flags, length (2 bytes), bytes.  Frames are copied to memory of just their size.
 */
int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    struct net_switch *sw = make();
    u64 now = 1000000000;

    longest = 0;
    while (size >= 4) {
        u32 port = data[0] % 8, flags = data[1], len = (data[2] | data[3] << 8) % LONGEST;

        data += 4;
        size -= 4;
        len = MIN(len, (u32)size);
        u8 *bytes = malloc(len ? len : 1);
        if (!bytes)
            abort();
        memcpy(bytes, data, len);
        longest = MAX(longest, len);
        struct net_frame f = {.data = bytes, .len = len, .gso_type = flags >> 6};
        f.gso_size = flags & 63;
        f.flags = f.gso_type || flags & 1 ? FRAME_CSUM_NEEDED : 0;
        f.csum_start = (u16)(flags * 2);
        f.csum_offset = 16;
        if (!offload_check(&f)) {
            f.gso_type = FRAME_GSO_NONE;
            f.flags = 0;
        }
        now += (u64)(flags & 63) * 50000000;
        if (flags % 7 == 0)
            switch_set_team(sw, (enum team_policy)(flags % TEAM_POLICIES), flags & 1, true, true);
        switch_input(sw, port, &f, 1, now);
        free(bytes);
        data += len;
        size -= len;
        switch_poll(sw, now);
    }
    switch_destroy(sw);
    return 0;
}
