/* What is set at ports of VMs: such a port is there only while its VM runs, the settings stay.
 *
 * Each command that sets something at a port goes through port_settings_run().  What it set at a
 * NIC of a VM is remembered as keys and values, set again whenever the NIC gets a port, and kept
 * by control/saved.c.  One thread, no locks; nothing here waits. */
#pragma once

#include "control/schema.h"

/* Runs the command; `key` names the argument that has the port.  While the NIC has no port, the
 * command runs at one that stands in for it: its values are checked, and remembered. */
enum hv_status port_settings_run(const struct schema_args *args, struct out *out, const char *key,
                                 enum hv_status (*run)(const struct schema_args *, struct out *));
/* `net mac remove`: that address is no setting any more.  True: it was one. */
bool port_settings_forget_mac(const char *sw, u64 mac, u32 vlan);
/* `vm set NAME nicN.vlan=` counts from now on, whatever `net port set` said before. */
void port_settings_vlan(const char *vm, u32 nic);
/* For virtio_dev_net_watch(): the NIC has a port now. */
void port_settings_joined(const char *port);
/* Drops those of NICs that are configured no more. */
void port_settings_prune(void);
