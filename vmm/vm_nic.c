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

/* NICs of *to that are to change: bit n. */
static u32 asked_for(const struct vm *vm, const struct vm_config *to)
{
    u32 asked = 0;
    for (u32 i = 0; i < VM_NICS; i++)
        if (memcmp(&vm->config.nic[i], &to->nic[i], sizeof(to->nic[i])) != 0)
            asked |= (u32)BIT(i);
    return asked;
}

bool vm_nic_may_change(const struct vm *vm, const struct vm_config *to, struct vm_error *e)
{
    u32 asked = asked_for(vm, to), busy = asked & vm->changing;
    if (busy)
        return vm_error(e, HV_EBUSY, "E_BUSY", "again, when that command has ended",
                        "another vm set of nic%u of VM %s is under way", (u32)__builtin_ctz(busy),
                        vm->config.name);
    if (asked && (vm->phase == PHASE_STARTING || vm->phase == PHASE_STOPPING))
        return vm_error(e, HV_EBUSY, "E_STATE", "again, in a moment", "VM %s is %s",
                        vm->config.name, vm_phase_name(vm));
    return true;
}

static void note(struct vm *vm, u32 n, const struct vm_nic *is)
{
    vm->config.nic[n] = *is;
    if (!there(is))
        memset(&vm->config.nic[n], 0, sizeof(vm->config.nic[n]));
    vm->edits++;
    if (vm->state)
        vm_state_set_config(vm->state, &vm->config);
}

static bool put_in(struct vm *vm, u32 n, const struct vm_nic *to, struct vm_error *e)
{
    vm->config.nic[n] = *to;
    if (vm_devices_plug_nic(vm, n, e)) {
        struct vm_nic is = vm->config.nic[n]; /* with an address, perhaps */
        note(vm, n, &is);
        return true;
    }
    memset(&vm->config.nic[n], 0, sizeof(vm->config.nic[n]));
    return false;
}

/* What a command asks of a NIC, and which run of which VM it began with. */
struct order {
    u64 id;
    u32 starts;
    u32 n;
    struct vm_nic was;
    const struct vm_nic *to;
};

/* The VM of the order, as it is now: nothing of before a wait is believed.  NULL: *e says why. */
static struct vm *look_again(const struct order *o, struct vm_error *e)
{
    struct vm *vm = inventory_by_id(o->id);
    if (!vm)
        vm_error(e, HV_ENOENT, "E_NOENT", "vm list", "the VM of nic%u is gone", o->n);
    else if (vm->phase == PHASE_STARTING || vm->starts != o->starts) {
        vm_error(e, HV_EBUSY, "E_STATE", "once more",
                 "VM %s was started again before nic%u changed", vm->config.name, o->n);
        vm = NULL;
    }
    return vm;
}

/* Until the guest has let it go, or the VM has stopped. */
static bool take_out(struct vm *vm, const struct order *o, struct vm_error *e)
{
    u64 deadline = clock_after(PATIENCE);
    if (device(vm, o->n))
        pci_hotplug_leave(vm, device(vm, o->n)->pci.slot);
    while (device(vm, o->n)) {
        if (clock_tsc() >= deadline)
            return vm_error(e, HV_ETIMEDOUT, "E_TIMEOUT", "once more, or vm stop",
                            "the guest has not let nic%u go", o->n);
        fiber_sleep_until(clock_after(10 * CLOCK_MS));
        vm = look_again(o, e);
        if (!vm)
            return false;
    }
    note(vm, o->n, o->to);
    return true;
}

static bool move(struct vm *vm, u32 n, const struct vm_nic *to, struct vm_error *e)
{
    struct vm_nic old = vm->config.nic[n];
    struct virtio_device *d = device(vm, n);
    bool other = switches_named(old.to_switch) != switches_named(to->to_switch);
    if (!d)
        return vm_error(e, HV_ENOENT, "E_NOENT", "once more", "the guest has let nic%u go", n);
    vm->config.nic[n] = *to;
    if (other && !virtio_dev_net_move(d, e)) {
        vm->config.nic[n] = old;
        return false;
    }
    if (!other)
        virtio_dev_net_vlan(d);
    note(vm, n, to);
    platform_log(vm, "%s is on switch %s, VLAN %u", d->label, to->to_switch, to->vlan);
    return true;
}

/* Those before it may have waited. */
static bool change_one(const struct order *o, struct vm_error *e)
{
    struct vm *vm = look_again(o, e);
    if (!vm)
        return false;
    if (there(&o->was) && !there(o->to))
        return take_out(vm, o, e);
    if (vm->phase == PHASE_STOPPED || !there(o->to)) {
        note(vm, o->n, o->to);
        return true;
    }
    if (vm->phase == PHASE_STOPPING)
        return vm_error(e, HV_EBUSY, "E_STATE", "again, in a moment", "VM %s is %s",
                        vm->config.name, vm_phase_name(vm));
    return there(&o->was) ? move(vm, o->n, o->to, e) : put_in(vm, o->n, o->to, e);
}

bool vm_nic_change(struct vm *vm, const struct vm_config *to, struct vm_error *e)
{
    u32 asked = asked_for(vm, to);
    u64 id = vm->id;
    struct order order[VM_NICS];
    bool ok = true;
    for (u32 i = 0; i < VM_NICS; i++)
        order[i] = (struct order){id, vm->starts, i, vm->config.nic[i], &to->nic[i]};
    vm->changing |= asked;
    for (u32 i = 0; i < VM_NICS && ok; i++)
        if (asked & BIT(i))
            ok = change_one(&order[i], e);
    vm = inventory_by_id(id);
    if (vm)
        vm->changing &= ~asked;
    return ok;
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
