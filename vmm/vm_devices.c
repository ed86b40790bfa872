/* Makes a VM's virtio devices from its configuration; called by the life cycle in vm.c. */
#include "vmm/vm_devices.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "control/rt/log.h"
#include "vmm/pci_hotplug.h"
#include "vmm/virtio_dev_balloon.h"
#include "vmm/virtio_dev_blk.h"
#include "vmm/virtio_dev_console.h"
#include "vmm/virtio_dev_net.h"
#include "vmm/virtio_dev_pci.h"
#include "vmm/virtio_dev_rng.h"
#include "vmm/vm_disk.h"

struct device_row {
    const char *label;
    u32 index;
    u32 slot; /* on bus 0 */
    const struct virtio_model *model;
    bool (*wanted)(const struct vm_config *c, u32 index);
    /* NULL: it is connected to nothing */
    bool (*open)(struct virtio_device *d, struct vm_error *e);
    void (*close)(struct virtio_device *d);
};

static bool wants_console(const struct vm_config *c, u32 index)
{
    (void)index;
    return c->console == VM_CONSOLE_VIRTIO;
}

static bool wants_rng(const struct vm_config *c, u32 index)
{
    (void)index;
    return c->rng;
}

static bool wants_balloon(const struct vm_config *c, u32 index)
{
    (void)index;
    return c->balloon;
}

static bool wants_nic(const struct vm_config *c, u32 index)
{
    return c->nic[index].to_switch[0];
}

#define NIC(n)                                                                                     \
    {                                                                                              \
        "nic" #n, n, 4 + n, &virtio_dev_net_model, wants_nic, virtio_dev_net_open,                 \
            virtio_dev_net_close                                                                   \
    }

static bool wants_disk(const struct vm_config *c, u32 index)
{
    return vm_config_has_disk(c, index);
}

#define DISK(n)                                                                                    \
    {                                                                                              \
        "disk" #n, n, 8 + n, &virtio_dev_blk_model, wants_disk, virtio_dev_blk_open,               \
            virtio_dev_blk_close                                                                   \
    }

static const struct device_row rows[] = {
    {"console", 0, 2, &virtio_dev_console_model, wants_console, virtio_dev_console_open,
     virtio_dev_console_close},
    {"rng", 0, 3, &virtio_dev_rng_model, wants_rng, NULL, NULL},
    NIC(0),
    NIC(1),
    NIC(2),
    NIC(3),
    DISK(0),
    DISK(1),
    DISK(2),
    DISK(3),
    DISK(4),
    DISK(5),
    DISK(6),
    DISK(7),
    {"balloon", 0, 16, &virtio_dev_balloon_model, wants_balloon, virtio_dev_balloon_open,
     virtio_dev_balloon_close},
};

_Static_assert(ARRAY_LEN(rows) == VM_DEVICES, "vm_state.h has an area for each");

static bool is_nic(const struct device_row *row)
{
    return row->model == &virtio_dev_net_model;
}

static bool is_disk(const struct device_row *row)
{
    return row->model == &virtio_dev_blk_model;
}

static u32 wanted(const struct vm_config *c, bool nics)
{
    u32 count = 0;
    for (u32 i = 0; i < ARRAY_LEN(rows); i++)
        count += is_nic(&rows[i]) == nics && rows[i].wanted(c, rows[i].index);
    return count;
}

/* What has no device yet is for any that is put in while the VM runs. */
u32 vm_devices_count(const struct vm_config *c)
{
    return wanted(c, false) + (wanted(c, true) ? VM_NICS : 1);
}

void vm_devices_place(struct vm_state *s, const struct vm_config *c)
{
    u8 n = 0;
    for (u32 i = 0; i < ARRAY_LEN(rows); i++)
        s->area[i] = rows[i].wanted(c, rows[i].index) ? ++n : 0;
    for (u32 i = VM_DISKS; i > 0; i--)
        if (vm_config_has_disk(c, i - 1))
            s->boot_disk = (u8)i;
}

bool vm_devices_fit(const struct vm_state *s, const struct vm_config *c)
{
    u64 used = 0;
    for (u32 i = 0; i < ARRAY_LEN(rows); i++) {
        if (!s->area[i])
            continue;
        if (s->area[i] > s->device_count || (used & BIT(s->area[i])) ||
            !rows[i].wanted(c, rows[i].index))
            return false;
        used |= BIT(s->area[i]);
    }
    return true;
}

static bool attach(struct vm *vm, u32 n, const struct device_row *row, struct vm_error *e)
{
    struct virtio_device *d = &vm->devices[n];
    d->model = row->model;
    d->index = row->index;
    snprintf(d->label, sizeof(d->label), "%s", row->label);
    virtio_dev_pci_attach(d, vm, row->slot, vm_state_area(vm->state, n));
    d->close = row->close;
    if (!row->open || row->open(d, e))
        return true;
    virtio_dev_pci_detach(d);
    return false;
}

static bool is_on_bus(const struct vm *vm, const struct virtio_device *d)
{
    return d->model && vm->pci.slot[d->pci.slot] == &d->pci;
}

bool vm_devices_attach(struct vm *vm, struct vm_error *e)
{
    vm->pci = (struct pci_bus){0};
    vm->devices = NULL;
    if (!vm->state->device_count)
        return true;
    vm->devices = calloc(vm->state->device_count, sizeof(*vm->devices));
    if (!vm->devices)
        return vm_error(e, HV_ENOMEM, "E_NOMEM", "stop another VM",
                        "the control partition has no memory for the devices of %s",
                        vm->config.name);
    for (u32 i = 0; i < ARRAY_LEN(rows); i++)
        if (vm->state->area[i] && !attach(vm, vm->state->area[i] - 1u, &rows[i], e))
            return false;
    return true;
}

/* An area without a device; one that has left may still end what its driver began. */
static bool free_area(const struct vm *vm, u32 *n)
{
    for (*n = 0; vm->devices && *n < vm->state->device_count; ++*n) {
        const struct virtio_device *d = &vm->devices[*n];
        if (!is_on_bus(vm, d) && !d->backend)
            return true;
    }
    return false;
}

bool vm_devices_room(const struct vm *vm, const char *label, struct vm_error *e)
{
    u32 n;
    if (!vm->state->has_disks && label[0] == 'd')
        return vm_error(e, HV_EBUSY, "E_STATE", "vm stop first",
                        "VM %s was started without disks, home and firmware: it has no room for %s",
                        vm->config.name, label);
    return free_area(vm, &n) ||
           vm_error(e, HV_EBUSY, "E_STATE", "vm stop first",
                    "VM %s has room for %u devices while it runs, and has them: none for %s",
                    vm->config.name, vm->state->device_count, label);
}

struct virtio_device *vm_devices_plug(struct vm *vm, const char *label, struct vm_error *e)
{
    const struct device_row *row = rows;
    u32 n;
    if (!vm_devices_room(vm, label, e) || !free_area(vm, &n))
        return NULL;
    while (strcmp(row->label, label) != 0)
        row++;
    memset(vm_state_area(vm->state, n), 0, sizeof(struct virtio_area));
    memset(&vm->devices[n], 0, sizeof(vm->devices[n]));
    if (!attach(vm, n, row, e))
        return NULL;
    struct virtio_device *d = &vm->devices[n];
    d->pci.ops->reset(&d->pci);
    vm->state->area[row - rows] = (u8)(n + 1);
    pci_hotplug_came(vm, row->slot);
    platform_log(vm, "%s was put in", d->label);
    return d;
}

/* The guest says that it is done with it, asked or not.  Its settings stay: it is there again when
 * the VM is started the next time, unless a command has taken it out. */
static void let_go(struct vm *vm, const struct device_row *row, struct virtio_device *d)
{
    virtio_dev_reset(d);
    loop_timer_cancel(&d->timer);
    virtio_dev_pci_detach(d);
    vm->state->area[row - rows] = 0;
    platform_log(vm, "%s was taken out", d->label);
    if (!(vm->changing & vm_devices_bit(d->label)))
        log_notice("VM %s: its guest has let %s go, and no command waits for that: it has it again "
                   "at its next start. Try: vm set, to take it out for good",
                   vm->config.name, d->label);
    if (is_disk(row))
        vm_disk_left(d);
    else
        d->close(d);
}

void vm_devices_unplug(struct vm *vm, u32 slot)
{
    for (u32 i = 0; vm->devices && i < ARRAY_LEN(rows); i++) {
        const struct device_row *row = &rows[i];
        if (row->slot != slot || !vm->state->area[i] || !(is_nic(row) || is_disk(row)))
            continue;
        if (is_disk(row) && vm_devices_is_boot_disk(vm, row->index))
            platform_log(vm, "%s stays: the VM boots from it", row->label);
        else
            let_go(vm, row, &vm->devices[vm->state->area[i] - 1]);
    }
}

bool vm_devices_is_boot_disk(const struct vm *vm, u32 n)
{
    return n == 0 || (vm->state && vm->state->boot_disk == n + 1);
}

u32 vm_devices_bit(const char *label)
{
    u32 n = (u32)(label[strlen(label) - 1] - '0');
    return (u32)BIT(label[0] == 'd' ? VM_NICS + n : n);
}

void vm_devices_resume(struct vm *vm)
{
    for (u32 i = 0; vm->devices && i < vm->state->device_count; i++)
        if (is_on_bus(vm, &vm->devices[i]))
            virtio_dev_resume(&vm->devices[i]);
}

void vm_devices_detach(struct vm *vm)
{
    for (u32 i = 0; vm->devices && i < vm->state->device_count; i++) {
        struct virtio_device *d = &vm->devices[i];
        loop_timer_cancel(&d->timer);
        if (d->close && (is_on_bus(vm, d) || d->backend))
            d->close(d);
    }
    free(vm->devices);
    vm->devices = NULL;
    vm->pci = (struct pci_bus){0};
}

struct virtio_device *vm_devices_find(struct vm *vm, const char *label)
{
    for (u32 i = 0; vm->devices && i < vm->state->device_count; i++) {
        if (is_on_bus(vm, &vm->devices[i]) && strcmp(vm->devices[i].label, label) == 0)
            return &vm->devices[i];
    }
    return NULL;
}

bool vm_devices_at(const struct vm *vm, u32 slot, const char *kind)
{
    for (u32 i = 0; vm->devices && i < vm->state->device_count; i++) {
        const struct virtio_device *d = &vm->devices[i];
        if (is_on_bus(vm, d) && d->pci.slot == slot)
            return strncmp(d->label, kind, strlen(kind)) == 0;
    }
    return false;
}
