/* NICs that come, go and move under a running guest; called by inventory_change(). */
#include "vmm/vm_nic.h"

#include <stdio.h>
#include <string.h>

#include "control/rt/clock.h"
#include "control/rt/fiber.h"
#include "drivers/nic.h"
#include "net/switches.h"
#include "vmm/inventory.h"
#include "vmm/pci_hotplug.h"
#include "vmm/virtio_dev_net.h"
#include "vmm/vm_devices.h"

#define PATIENCE (30 * CLOCK_SECOND) /* for the guest to let a NIC go */

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

static bool put_in(struct vm *vm, u32 n, const struct vm_nic *to, struct vm_error *e)
{
    vm->config.nic[n] = *to;
    if (vm_devices_plug_nic(vm, n, e))
        return true;
    memset(&vm->config.nic[n], 0, sizeof(vm->config.nic[n]));
    return false;
}

static bool take_out(struct vm *vm, u32 n, struct vm_error *e)
{
    char name[VM_CONFIG_NAME];
    const struct virtio_device *d = device(vm, n);
    u64 deadline = clock_after(PATIENCE);
    if (!d)
        return true;
    snprintf(name, sizeof(name), "%s", vm->config.name);
    pci_hotplug_leave(vm, d->pci.slot);
    /* While this waits, the VM may be stopped, and then deleted. */
    while (inventory_find(name) == vm && vm->state && device(vm, n)) {
        if (clock_tsc() >= deadline)
            return vm_error(e, HV_ETIMEDOUT, "E_TIMEOUT", "once more, or vm stop",
                            "the guest has not let nic%u go", n);
        fiber_sleep_until(clock_after(10 * CLOCK_MS));
    }
    return inventory_find(name) == vm ||
           vm_error(e, HV_ENOENT, "E_NOENT", "vm list", "VM %s is gone", name);
}

static bool move(struct vm *vm, u32 n, const struct vm_nic *to, struct vm_error *e)
{
    struct vm_nic old = vm->config.nic[n];
    struct virtio_device *d = device(vm, n);
    bool other = switches_named(old.to_switch) != switches_named(to->to_switch);
    if (!d)
        return true;
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

bool vm_nic_change(struct vm *vm, struct vm_config *to, struct vm_error *e)
{
    for (u32 i = 0; i < VM_NICS; i++) {
        const struct vm_nic *old = &vm->config.nic[i], *new = &to->nic[i];
        bool ok = true;
        if (vm->phase == PHASE_STOPPED)
            return true; /* meanwhile */
        if (!memcmp(old, new, sizeof(*old)))
            continue;
        if (!there(old) && there(new))
            ok = put_in(vm, i, new, e);
        else if (there(old) && !there(new))
            ok = take_out(vm, i, e);
        else if (there(old))
            ok = move(vm, i, new, e);
        if (!ok)
            return false;
        to->nic[i] = vm->config.nic[i];
        if (!there(new))
            memset(&to->nic[i], 0, sizeof(to->nic[i]));
    }
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
