/* Network cards as uplinks of virtual switches.
 *
 * One thread.  Frames from the card go into the switch by reference; frames to it are copied into
 * memory that the card reaches. */
#pragma once

#include "drivers/nic.h"
#include "net/switch.h"

/* Gives the card `nic` to a switch.  HV_ENOENT: no such card; HV_EBUSY: another switch or other use
 * has it (uplink_owner() tells which switch); HV_E2BIG: the switch's team is full; HV_ENOMEM. */
enum hv_status uplink_add(struct net_switch *sw, const char *nic);
/* HV_ENOENT: that card is no uplink. */
enum hv_status uplink_remove(const char *nic);
/* The card behind an uplink's port. */
struct nic *uplink_nic(const struct switch_port *p);
