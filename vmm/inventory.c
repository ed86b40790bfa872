/* The list of VMs; called by the shell, the configuration reader and the exit handlers, on the
 * event loop's thread. */
#include "vmm/inventory.h"

#include <stdlib.h>
#include <string.h>

#include "vmm/exits.h"

#include "control/rt/sys.h"
#include "vmm/vm_nic.h"
#include "vmm/vm_plug.h"
#include "vmm/vm_sched.h"

static struct vm *first;
struct vm *inventory_slots[VM_SLOTS];

struct vm *inventory_first(void)
{
    return first;
}

void inventory_set_slot(u32 slot, struct vm *vm)
{
    inventory_slots[slot] = vm;
}

struct vm *inventory_by_id(u64 id)
{
    struct vm *vm = first;
    while (vm && vm->id != id)
        vm = vm->next;
    return vm;
}

static struct vm *by_number(u64 number)
{
    for (struct vm *vm = first; vm; vm = vm->next) {
        if (vm->config.number == number)
            return vm;
    }
    return NULL;
}

struct vm *inventory_find(const char *name_or_number)
{
    u64 number;
    /* Names start with a letter, so there is no doubt. */
    if (conf_parse_number(conf_span_of(name_or_number), &number))
        return by_number(number);
    for (struct vm *vm = first; vm; vm = vm->next) {
        if (strcmp(vm->config.name, name_or_number) == 0)
            return vm;
    }
    return NULL;
}

const char *inventory_name(u32 i)
{
    struct vm *vm = first;
    while (vm && i--)
        vm = vm->next;
    return vm ? vm->config.name : NULL;
}

static u32 free_number(void)
{
    u32 number = VM_NUMBER_MIN;
    while (number <= VM_NUMBER_MAX && by_number(number))
        number++;
    return number;
}

static bool config_fits(const struct vm_config *c, struct vm_error *e)
{
    struct conf_error why = {0};
    if (!vm_config_name_valid(c->name, (u32)strnlen(c->name, sizeof(c->name))))
        return vm_error(e, HV_EINVAL, "E_CONFIG", "letters, digits, - _ . and a letter first",
                        "'%.40s' is not a name for a VM", c->name);
    if (!vm_config_check(c, &why))
        return vm_error(e, HV_EINVAL, "E_CONFIG", why.hint, "%s: %s", why.key, why.text);
    return true;
}

bool inventory_define(const struct vm_config *c, struct vm **out, struct vm_error *e)
{
    if (!config_fits(c, e))
        return false;
    static u64 last_id;
    u32 number = c->number ? c->number : free_number();
    struct vm *other = by_number(number);
    if (other || inventory_find(c->name))
        return vm_error(e, HV_EEXIST, "E_EXIST", "vm list", "there is already a VM %s",
                        other ? other->config.name : c->name);
    if (number > VM_NUMBER_MAX)
        return vm_error(e, HV_ENOMEM, "E_NOMEM", "vm delete", "all numbers are taken");
    struct vm *vm = calloc(1, sizeof(*vm));
    if (!vm)
        return vm_error(e, HV_ENOMEM, "E_NOMEM", "vm delete",
                        "the control partition has no memory left");
    vm->id = ++last_id;
    vm->answer = &exits_nobody;
    vm->config = *c;
    vm->config.number = number;
    struct vm **at = &first;
    while (*at && (*at)->config.number < number)
        at = &(*at)->next;
    vm->next = *at;
    *at = vm;
    *out = vm;
    return true;
}

/* Do the two differ in more than what can change under a running VM? */
static bool needs_stop(const struct vm_config *old, const struct vm_config *new)
{
    struct vm_config same = *old;
    same.cpu_weight = new->cpu_weight;
    same.cpu_pin = new->cpu_pin;
    same.cpu_cap = new->cpu_cap;
    same.cpu_reserve = new->cpu_reserve;
    same.autostart = new->autostart;
    same.trace_exceptions = new->trace_exceptions;
    same.mem_balloon = new->mem_balloon;
    for (u32 i = 0; i < VM_DISKS; i++) {
        if (!vm_config_has_disk(old, i) || !vm_config_has_disk(new, i)) /* it comes or goes */
            same.disk[i] = new->disk[i];
        same.disk[i].iops = new->disk[i].iops;
        same.disk[i].bw = new->disk[i].bw;
        same.disk[i].error = new->disk[i].error;
    }
    for (u32 i = 0; i < VM_NICS; i++) {
        if (!vm_nic_needs_stop(&old->nic[i], &new->nic[i]))
            same.nic[i] = new->nic[i];
    }
    return memcmp(&same, new, sizeof(same)) != 0;
}

bool inventory_change(struct vm *vm, const struct vm_config *c, struct vm_error *e)
{
    struct vm *other = by_number(c->number);
    if (!config_fits(c, e))
        return false;
    if (strcmp(c->name, vm->config.name) != 0 || (other && other != vm))
        return vm_error(e, HV_EEXIST, "E_EXIST", "vm list", "name or number belongs to another VM");
    if (vm->phase != PHASE_STOPPED && needs_stop(&vm->config, c))
        return vm_error(
            e, HV_EBUSY, "E_STATE",
            "vm stop, or change only cpu.weight, cpu.pin, cpu.cap, cpu.reserve, "
            "mem.balloon, diskN.iops, diskN.bw, nicN.switch and nicN.vlan, or whole NICs and disks",
            "VM %s is %s; this can change only while it is stopped", vm->config.name,
            vm_phase_name(vm));
    if (!vm_plug_may_change(vm, c, e) || (vm->phase != PHASE_STOPPED && !vm_sched_admit(vm, c, e)))
        return false;
    struct vm_config *old = malloc(sizeof(*old));
    if (!old)
        return vm_error(e, HV_ENOMEM, "E_NOMEM", "stop a VM", "no memory");
    *old = vm->config;
    u32 later = vm->phase == PHASE_STOPPED ? 0 : vm_plug_asked(vm, c);
    bool exceptions = c->trace_exceptions != vm->config.trace_exceptions;
    vm->config = *c;
    vm_plug_keep(&vm->config, old, later);
    free(old);
    vm->edits++;
    vm_apply(vm, exceptions);
    return !later || vm_plug_change(vm, c, e);
}

bool inventory_delete(struct vm *vm, struct vm_error *e)
{
    if (vm->phase != PHASE_STOPPED)
        return vm_error(e, HV_EBUSY, "E_STATE", "vm stop first", "VM %s is %s", vm->config.name,
                        vm_phase_name(vm));
    if (vm->storing)
        return vm_error(e, HV_EBUSY, "E_BUSY", "task list", "a task works on the disks of VM %s",
                        vm->config.name);
    struct vm **at = &first;
    while (*at && *at != vm)
        at = &(*at)->next;
    if (*at)
        *at = vm->next;
    free(vm);
    return true;
}
