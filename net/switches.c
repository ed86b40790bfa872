/* The list of virtual switches; called by the shell, by the event loop and by guests' devices. */
#include "net/switches.h"

#include <string.h>

#include "net/mac_address.h"

static struct {
    struct net_switch *list[SWITCHES_MAX];
    u32 count;
    u64 random;
    void (*event)(void *owner, enum switch_event e, const struct switch_port *p);
    void (*watch)(const struct net_switch *sw);
    bool (*known)(u64 mac);
} host;

void switches_init(u64 seed)
{
    while (host.count)
        switch_destroy(host.list[--host.count]);
    host.random = seed;
}

void switches_tell(void (*event)(void *owner, enum switch_event e, const struct switch_port *p))
{
    host.event = event;
}

void switches_watch(void (*fn)(const struct net_switch *sw))
{
    host.watch = fn;
}

void switches_know_macs(bool (*known)(u64 mac))
{
    host.known = known;
}

static bool good_name(const char *name)
{
    u32 n = 0;

    for (; name[n]; n++) {
        char c = name[n];
        if (!((c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') || (c >= '0' && c <= '9') ||
              c == '-' || c == '_') ||
            n == SWITCH_NAME - 1)
            return false;
    }
    return n > 0;
}

struct net_switch *switches_named(const char *name)
{
    for (u32 i = 0; i < host.count; i++) {
        if (!strcmp(host.list[i]->name, name))
            return host.list[i];
    }
    return NULL;
}

struct net_switch *switches_at(u32 i)
{
    return i < host.count ? host.list[i] : NULL;
}

enum hv_status switches_add(const char *name, u32 mtu, struct net_switch **out)
{
    struct switch_config c = {.mtu = mtu};

    if (!good_name(name))
        return HV_EINVAL;
    if (switches_named(name))
        return HV_EEXIST;
    if (host.count == SWITCHES_MAX)
        return HV_E2BIG;
    strcpy(c.name, name);
    c.mac = switches_new_mac();
    c.seed = shape_random(&host.random);
    *out = switch_create(&c);
    if (!*out)
        return HV_ENOMEM;
    (*out)->event = host.event;
    (*out)->event_owner = *out;
    host.list[host.count++] = *out;
    if (host.watch)
        host.watch(*out);
    return HV_OK;
}

enum hv_status switches_remove(struct net_switch *sw)
{
    u32 at = 0;

    if (sw->port_count > sw->team.count)
        return HV_EBUSY;
    while (host.list[at] != sw)
        at++;
    memmove(&host.list[at], &host.list[at + 1], (host.count - at - 1) * sizeof(host.list[0]));
    host.count--;
    switch_destroy(sw);
    return HV_OK;
}

struct switch_port *switches_port(const char *name)
{
    for (u32 i = 0; i < host.count; i++) {
        struct switch_port *p = switch_port_named(host.list[i], name);
        if (p)
            return p;
    }
    return NULL;
}

struct net_switch *switches_uplink_owner(const char *nic)
{
    const struct switch_port *p = switches_port(nic);

    return p && p->type == PORT_UPLINK ? p->sw : NULL;
}

int switches_add_uplink(struct net_switch *sw, const char *nic, const struct switch_port_ops *ops,
                        void *owner, u8 can)
{
    struct switch_port_config c = {.type = PORT_UPLINK, .ops = ops, .owner = owner, .can = can};

    if (switches_uplink_owner(nic))
        return HV_EBUSY;
    if (strlen(nic) >= sizeof(c.name))
        return HV_EINVAL;
    strcpy(c.name, nic);
    return switch_port_add(sw, &c);
}

bool switches_mac_used(u64 mac)
{
    for (u32 i = 0; i < host.count; i++) {
        const struct net_switch *sw = host.list[i];

        if (sw->mac == mac)
            return true;
        for (u32 k = 0; k < PORTSET_PORTS; k++) {
            if (sw->ports[k] && (sw->ports[k]->mac == mac || sw->ports[k]->mac_now == mac))
                return true;
        }
    }
    return false;
}

static bool used(void *owner, u64 mac)
{
    (void)owner;
    return switches_mac_used(mac) || (host.known && host.known(mac));
}

u64 switches_new_mac(void)
{
    return mac_address_new(&host.random, used, NULL);
}

u64 switches_poll(u64 now)
{
    u64 next = ~0ull;

    for (u32 i = 0; i < host.count; i++)
        next = MIN(next, switch_poll(host.list[i], now));
    return next;
}
