/* links: net/frame.c net/mac_table.c net/vlan.c net/policy.c net/shape.c net/delay.c net/igmp_snoop.c net/lacp.c net/team.c net/discovery.c net/lldp.c net/cdp.c net/switch.c net/switch_slow.c net/switch_port.c net/switch_clock.c net/switches.c net/mac_address.c net/checksum.c net/stack.c net/isn.c net/kif.c net/kif_join.c net/kif_send.c net/frame_buffer.c net/route.c net/servers.c net/ping.c net/offload.c tests/unit/net_lab.c */
/* Any bytes as frames for a kernel interface with lwIP on it, while it asks for DHCP, has a
 * listening TCP port and pings. */
#include <stdlib.h>
#include <string.h>

#include <lwip/tcp.h>

#include "net/kif.h"
#include "net/ping.h"
#include "net/stack.h"
#include "net/switches.h"
#include "tests/unit/net_lab.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static struct net_switch *sw;
static struct kif *kif;
static u32 port;

static void hear(void *owner, const struct switch_item *items, u32 count)
{
    (void)owner;
    (void)items;
    (void)count;
}
static const struct switch_port_ops ops = {.deliver = hear};

static err_t on_accept(void *owner, struct tcp_pcb *pcb, err_t e)
{
    (void)owner;
    (void)pcb;
    return e;
}

static void set_up(void)
{
    struct switch_port_config c = {
        .name = "p", .type = PORT_VM, .mac = 0x020000000001, .ops = &ops};
    struct tcp_pcb *pcb;

    stack_init();
    switches_init(1);
    if (switches_add("s", 0, &sw))
        abort();
    sw->policy.choice[POLICY_FORGED] = POLICY_ACCEPT;
    port = (u32)switch_port_add(sw, &c);
    if (kif_add("k0", sw, 0, &kif))
        abort();
    pcb = tcp_new();
    tcp_bind(pcb, IP_ANY_TYPE, 80);
    tcp_accept(tcp_listen(pcb), on_accept);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    ip4_addr_t address = {PP_HTONL(0x0a000002)}, mask = {PP_HTONL(0xffffff00)}, none = {0};

    if (!sw)
        set_up();
    kif_set_static(kif, address, mask, none);
    if (size && data[0] & 1)
        kif_set_dhcp(kif);
    while (size >= 3) {
        u32 len = MIN((u32)(data[1] | data[2] << 8) % 1600 + 12, (u32)size - 3 + 12);
        u8 *bytes = malloc(len);
        struct net_frame f = {.data = bytes, .len = len};

        if (!bytes)
            abort();
        for (u32 i = 0; i < 6; i++)
            bytes[i] = (u8)(kif->port->mac >> (40 - 8 * i));
        if (data[0] & 2)
            memset(bytes, 0xff, 6);
        memcpy(bytes + 6, "\2\0\0\0\0\1", 6);
        memcpy(bytes + 12, data + 3, len - 12);
        net_lab_now += (u64)(data[0] >> 2) * 20000000;
        switch_input(sw, port, &f, 1, net_lab_now);
        free(bytes);
        while (!(data[0] & 0x80) && kif_run()) /* else the next one waits behind it */
            ;
        stack_poll();
        data += 3 + len - 12;
        size -= 3 + len - 12;
    }
    while (kif_run())
        ;
    return 0;
}
