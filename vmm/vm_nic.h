/* NICs of a VM that runs: put in, moved to another switch or VLAN; vm_plug.c takes them out. */
#pragma once

#include "net/switch.h"
#include "vmm/vm.h"

/* True if the two differ in what can change only while the VM is stopped: address, queues or
 * kind of a NIC that stays. */
bool vm_nic_needs_stop(const struct vm_nic *old, const struct vm_nic *new);
/* Neither waits.  E_NOENT, E_NOSPACE, E_EXIST: as at a start; E_NOENT: the guest has let it go. */
MUST_CHECK bool vm_nic_put_in(struct vm *vm, u32 n, const struct vm_nic *to, struct vm_error *e);
MUST_CHECK bool vm_nic_move(struct vm *vm, u32 n, const struct vm_nic *to, struct vm_error *e);

/* For switches_know_macs(): the address of a NIC of any VM, running or not, or of a card. */
bool vm_nic_mac_known(u64 mac);
/* For switches_watch(): NICs that waited for this switch are connected. */
void vm_nic_found(const struct net_switch *sw);
