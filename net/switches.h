/* All virtual switches of the host: names, addresses and which switch has which NIC.
 *
 * One thread: the control partition's. */
#pragma once

#include "net/switch.h"

#define SWITCHES_MAX 32u

/* The seed of generated addresses and hashes. */
void switches_init(u64 seed);
/* Who hears of events of switches added from now on; the owner is the switch. */
void switches_tell(void (*event)(void *owner, enum switch_event e, const struct switch_port *p));
/* Told of each switch that is made. */
void switches_watch(void (*fn)(const struct net_switch *sw));
/* HV_EEXIST, HV_EINVAL (name), HV_E2BIG, HV_ENOMEM. */
enum hv_status switches_add(const char *name, u32 mtu, struct net_switch **out);
/* HV_EBUSY: it has ports that are not uplinks. */
enum hv_status switches_remove(struct net_switch *sw);
struct net_switch *switches_named(const char *name);
struct net_switch *switches_at(u32 i); /* NULL past the last */
/* The switch that has this NIC as an uplink; NULL: it is free. */
struct net_switch *switches_uplink_owner(const char *nic);
/* Gives a NIC to a switch: the port's index, or HV_EBUSY when another switch has it (the shell's
 * E_UPLINK_IN_USE), or what switch_port_add() says. */
int switches_add_uplink(struct net_switch *sw, const char *nic, const struct switch_port_ops *ops,
                        void *owner, u8 can);
/* A port by its name on any switch; names of ports are unique in the host. */
struct switch_port *switches_port(const char *name);
/* A new address for a guest or kernel interface, unlike any in use; 0: none found. */
u64 switches_new_mac(void);
bool switches_mac_used(u64 mac); /* of a switch or a port */
/* Who knows of addresses that new ones must differ from though they are at no port now. */
void switches_know_macs(bool (*known)(u64 mac));
/* switch_poll() of all; when the earliest wants to be called again. */
u64 switches_poll(u64 now);
