/* Devices that come and go under a running guest; called by inventory_change(). */
#include "vmm/vm_plug.h"

#include <stdio.h>
#include <string.h>

#include "control/rt/clock.h"
#include "control/rt/fiber.h"
#include "vmm/inventory.h"
#include "vmm/pci_hotplug.h"
#include "vmm/vm_devices.h"
#include "vmm/vm_disk.h"
#include "vmm/vm_nic.h"

#define PATIENCE (30 * CLOCK_SECOND) /* for the guest to let a device go */
#define DEVICES (VM_NICS + VM_DISKS) /* NICs first: the bits of vm->changing */

static bool is_disk(u32 i)
{
    return i >= VM_NICS;
}

static const char *label_of(u32 i, char label[16])
{
    snprintf(label, 16, is_disk(i) ? "disk%u" : "nic%u", is_disk(i) ? i - VM_NICS : i);
    return label;
}

static bool there(const struct vm_config *c, u32 i)
{
    return is_disk(i) ? vm_config_has_disk(c, i - VM_NICS) : c->nic[i].to_switch[0] != 0;
}

static struct virtio_device *device(struct vm *vm, u32 i)
{
    char label[16];
    return vm_devices_find(vm, label_of(i, label));
}

/* A disk's limits and its error policy need no change of the device. */
u32 vm_plug_asked(const struct vm *vm, const struct vm_config *to)
{
    u32 asked = 0;
    for (u32 i = 0; i < DEVICES; i++) {
        bool differs = is_disk(i)
                           ? there(&vm->config, i) != there(to, i)
                           : memcmp(&vm->config.nic[i], &to->nic[i], sizeof(to->nic[i])) != 0;
        asked |= differs ? (u32)BIT(i) : 0;
    }
    return asked;
}

u32 vm_plug_let_go(struct vm *vm)
{
    u32 gone = 0;
    for (u32 i = 0; vm->devices && i < DEVICES; i++)
        gone |= there(&vm->config, i) && !device(vm, i) ? (u32)BIT(i) : 0;
    return gone;
}

void vm_plug_keep(struct vm_config *c, const struct vm_config *from, u32 asked)
{
    for (u32 i = 0; i < DEVICES; i++) {
        if (!(asked & BIT(i)))
            continue;
        if (is_disk(i))
            c->disk[i - VM_NICS] = from->disk[i - VM_NICS];
        else
            c->nic[i] = from->nic[i];
    }
}

bool vm_plug_may_change(const struct vm *vm, const struct vm_config *to, struct vm_error *e)
{
    u32 asked = vm_plug_asked(vm, to), busy = asked & vm->changing;
    char label[16];
    if (busy)
        return vm_error(e, HV_EBUSY, "E_BUSY", "again, when that command has ended",
                        "another vm set of %s of VM %s is under way",
                        label_of((u32)__builtin_ctz(busy), label), vm->config.name);
    if (asked && (vm->phase == PHASE_STARTING || vm->phase == PHASE_STOPPING))
        return vm_error(e, HV_EBUSY, "E_STATE", "again, in a moment", "VM %s is %s",
                        vm->config.name, vm_phase_name(vm));
    for (u32 n = 0; vm->phase != PHASE_STOPPED && n < VM_DISKS; n++)
        if ((asked & BIT(VM_NICS + n)) && vm_devices_is_boot_disk(vm, n))
            return vm_error(e, HV_EBUSY, "E_STATE", "vm stop first, or another disk, to disk7",
                            "VM %s boots from disk%u, which does not come or go while it runs",
                            vm->config.name, n);
    return true;
}

/* What a command asks of a device, and which run of which VM it began with. */
struct order {
    u64 id;
    u32 starts;
    u32 i;
    bool was;
    const struct vm_config *to;
};

/* The VM of the order, as it is now: nothing of before a wait is believed.  NULL: *e says why. */
static struct vm *look_again(const struct order *o, struct vm_error *e)
{
    struct vm *vm = inventory_by_id(o->id);
    char label[16];
    if (!vm) {
        vm_error(e, HV_ENOENT, "E_NOENT", "vm list", "the VM of %s is gone", label_of(o->i, label));
    } else if (vm->phase == PHASE_STARTING || vm->starts != o->starts) {
        vm_error(e, HV_EBUSY, "E_STATE", "once more", "VM %s was started again before %s changed",
                 vm->config.name, label_of(o->i, label));
        vm = NULL;
    }
    return vm;
}

/* It is done: the configuration has it, or no longer, here and over a restart of this program. */
static bool note(struct vm *vm, const struct order *o)
{
    static const struct vm_disk no_disk;
    static const struct vm_nic no_nic;
    u32 i = o->i;
    if (is_disk(i))
        vm->config.disk[i - VM_NICS] = there(o->to, i) ? o->to->disk[i - VM_NICS] : no_disk;
    else
        vm->config.nic[i] = there(o->to, i) ? o->to->nic[i] : no_nic;
    vm->edits++;
    if (vm->state)
        vm_state_set_config(vm->state, &vm->config);
    return true;
}

/* Until the guest has let it go, or the VM has stopped. */
static bool take_out(struct vm *vm, const struct order *o, struct vm_error *e)
{
    u64 deadline = clock_after(PATIENCE);
    char label[16];
    if (device(vm, o->i))
        pci_hotplug_leave(vm, device(vm, o->i)->pci.slot);
    while (device(vm, o->i)) {
        if (clock_tsc() >= deadline)
            return vm_error(e, HV_ETIMEDOUT, "E_TIMEOUT", "once more, or vm stop",
                            "the guest has not let %s go", label_of(o->i, label));
        fiber_sleep_until(clock_after(10 * CLOCK_MS));
        vm = look_again(o, e);
        if (!vm)
            return false;
    }
    bool whole = !is_disk(o->i) || vm_disk_finish(vm, o->i - VM_NICS, e);
    struct vm_error gone;
    vm = look_again(o, whole ? e : &gone);
    return vm && note(vm, o) && whole;
}

static bool put_in(struct vm *vm, const struct order *o, struct vm_error *e)
{
    if (is_disk(o->i)) {
        if (!vm_disk_put_in(vm, o->i - VM_NICS, &o->to->disk[o->i - VM_NICS], e))
            return false;
        vm->edits++; /* nothing has waited since it was in */
        return true;
    }
    if (!vm_nic_put_in(vm, o->i, &o->to->nic[o->i], e))
        return false;
    vm->edits++;
    vm_state_set_config(vm->state, &vm->config); /* with its address, which it may have got now */
    return true;
}

/* Those before it may have waited. */
static bool change_one(const struct order *o, struct vm_error *e)
{
    struct vm *vm = look_again(o, e);
    if (!vm)
        return false;
    if (o->was && !there(o->to, o->i))
        return take_out(vm, o, e);
    if (vm->phase == PHASE_STOPPED)
        return note(vm, o);
    if (vm->phase == PHASE_STOPPING)
        return vm_error(e, HV_EBUSY, "E_STATE", "again, in a moment", "VM %s is %s",
                        vm->config.name, vm_phase_name(vm));
    if (o->was)
        return vm_nic_move(vm, o->i, &o->to->nic[o->i], e) && note(vm, o);
    return there(o->to, o->i) ? put_in(vm, o, e) : note(vm, o);
}

bool vm_plug_change(struct vm *vm, const struct vm_config *to, struct vm_error *e)
{
    u32 asked = vm_plug_asked(vm, to);
    struct order order[DEVICES];
    u64 id = vm->id;
    bool ok = true;
    for (u32 i = 0; i < DEVICES; i++)
        order[i] = (struct order){id, vm->starts, i, there(&vm->config, i), to};
    vm->changing |= asked;
    for (u32 i = 0; i < DEVICES && ok; i++)
        if (asked & BIT(i))
            ok = change_one(&order[i], e);
    vm = inventory_by_id(id);
    if (vm)
        vm->changing &= ~asked;
    return ok;
}
