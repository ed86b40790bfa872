/* NICs of a VM that runs: put in, taken out, moved to another switch or VLAN.
 *
 * In a fiber: a NIC leaves when the guest lets it go, which is waited for. */
#pragma once

#include "net/switch.h"
#include "vmm/vm.h"

/* True if the two differ in what can change only while the VM is stopped: address, queues or
 * kind of a NIC that stays. */
bool vm_nic_needs_stop(const struct vm_nic *old, const struct vm_nic *new);
/* E_BUSY: another command works on a NIC that *to would change.  E_STATE: the VM starts or stops.
 */
MUST_CHECK bool vm_nic_may_change(const struct vm *vm, const struct vm_config *to,
                                  struct vm_error *e);
/* Makes those of vm->config.nic that differ what *to has, one after the other, without any other
 * setting; nothing has waited since vm_nic_may_change().  Afterwards vm may be gone.
 * E_NOENT, E_NOSPACE, E_EXIST: as at a start, or the VM is gone.  E_TIMEOUT: the guest keeps it.
 * E_STATE: the VM was started again meanwhile.  At an error the NICs before that one have changed.
 */
MUST_CHECK bool vm_nic_change(struct vm *vm, const struct vm_config *to, struct vm_error *e);

/* For switches_know_macs(): the address of a NIC of any VM, running or not, or of a card. */
bool vm_nic_mac_known(u64 mac);
/* For switches_watch(): NICs that waited for this switch are connected. */
void vm_nic_found(const struct net_switch *sw);
