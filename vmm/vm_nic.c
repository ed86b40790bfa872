/* A running guest's NICs: called by vm_plug.c and for what happens to switches. */
#include "vmm/vm_nic.h"

#include <stdio.h>
#include <string.h>

#include "drivers/nic.h"
#include "net/switches.h"
#include "vmm/inventory.h"
#include "vmm/virtio_dev_net.h"
#include "vmm/vm_devices.h"

static bool there(const struct vm_nic *n)
{
    return n->to_switch[0];
}

bool vm_nic_needs_stop(const struct vm_nic *old, const struct vm_nic *new)
{
    return there(old) && there(new) &&
           (old->mac != new->mac || old->queues != new->queues || old->mirror != new->mirror);
}

static struct virtio_device *device(struct vm *vm, u32 n)
{
    char label[8];
    snprintf(label, sizeof(label), "nic%u", n);
    return vm_devices_find(vm, label);
}

bool vm_nic_put_in(struct vm *vm, u32 n, const struct vm_nic *to, struct vm_error *e)
{
    struct vm_nic none = vm->config.nic[n];
    char label[8];
    snprintf(label, sizeof(label), "nic%u", n);
    vm->config.nic[n] = *to;
    if (vm_devices_plug(vm, label, e))
        return true;
    vm->config.nic[n] = none;
    vm_state_set_config(vm->state, &vm->config); /* what opens it has put it there */
    return false;
}

bool vm_nic_move(struct vm *vm, u32 n, const struct vm_nic *to, struct vm_error *e)
{
    struct vm_nic old = vm->config.nic[n];
    struct virtio_device *d = device(vm, n);
    bool other = switches_named(old.to_switch) != switches_named(to->to_switch);
    if (!d)
        return vm_error(e, HV_ENOENT, "E_NOENT", "take it out and put it in, or vm stop first",
                        "the guest has let nic%u go", n);
    vm->config.nic[n] = *to;
    if (other && !virtio_dev_net_move(d, e)) {
        vm->config.nic[n] = old;
        return false;
    }
    if (!other)
        virtio_dev_net_vlan(d);
    platform_log(vm, "%s is on switch %s, VLAN %u", d->label, to->to_switch, to->vlan);
    return true;
}

static u64 card_mac(const struct nic *n)
{
    u64 mac = 0;
    for (u32 i = 0; i < NIC_MAC_LEN; i++)
        mac = mac << 8 | n->mac[i];
    return mac;
}

bool vm_nic_mac_known(u64 mac)
{
    for (const struct vm *vm = inventory_first(); vm; vm = vm->next)
        for (u32 i = 0; i < VM_NICS; i++)
            if (there(&vm->config.nic[i]) && vm->config.nic[i].mac == mac)
                return true;
    for (const struct nic *n = nic_first(); n; n = n->next)
        if (card_mac(n) == mac)
            return true;
    return false;
}

void vm_nic_found(const struct net_switch *sw)
{
    for (struct vm *vm = inventory_first(); vm; vm = vm->next) {
        for (u32 i = 0; vm->state && i < VM_NICS; i++) {
            struct virtio_device *d = device(vm, i);
            if (d)
                virtio_dev_net_found(d, sw);
        }
    }
}
