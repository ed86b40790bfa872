/* Makes a VM's virtio devices from its configuration; called by the life cycle in vm.c. */
#include "vmm/vm_devices.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "vmm/pci_hotplug.h"
#include "vmm/virtio_dev_balloon.h"
#include "vmm/virtio_dev_blk.h"
#include "vmm/virtio_dev_console.h"
#include "vmm/virtio_dev_net.h"
#include "vmm/virtio_dev_pci.h"
#include "vmm/virtio_dev_rng.h"

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

static bool is_nic(const struct device_row *row)
{
    return row->model == &virtio_dev_net_model;
}

static u32 wanted(const struct vm_config *c, bool nics)
{
    u32 count = 0;
    for (u32 i = 0; i < ARRAY_LEN(rows); i++)
        count += is_nic(&rows[i]) == nics && rows[i].wanted(c, rows[i].index);
    return count;
}

/* The areas of network cards are behind all others, and more than there are cards, which may come
 * while the VM runs. */
u32 vm_devices_count(const struct vm_config *c)
{
    return wanted(c, false) + (wanted(c, true) ? VM_NICS : 1);
}

bool vm_devices_fit(const struct vm_config *c, u32 count)
{
    u32 others = wanted(c, false);
    bool fit = count > others && count <= others + VM_NICS;
    for (u32 i = 0; i < VM_NICS; i++)
        fit = fit && (!wants_nic(c, i) || others + i < count);
    return fit;
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
    u32 n = 0, nics = wanted(&vm->config, false);
    vm->pci = (struct pci_bus){0};
    vm->devices = NULL;
    if (!vm->state->device_count)
        return true;
    vm->devices = calloc(vm->state->device_count, sizeof(*vm->devices));
    if (!vm->devices)
        return vm_error(e, HV_ENOMEM, "E_NOMEM", "stop another VM",
                        "the control partition has no memory for the devices of %s",
                        vm->config.name);
    for (u32 i = 0; i < ARRAY_LEN(rows); i++) {
        const struct device_row *row = &rows[i];
        if (row->wanted(&vm->config, row->index) &&
            !attach(vm, is_nic(row) ? nics + row->index : n++, row, e))
            return false;
    }
    return true;
}

bool vm_devices_plug_nic(struct vm *vm, u32 index, struct vm_error *e)
{
    const struct device_row *row = rows;
    u32 n = wanted(&vm->config, false) + index;
    if (n >= vm->state->device_count)
        return vm_error(e, HV_EBUSY, "E_STATE", "nic0, or stop the VM first",
                        "a VM that was started without network cards has room for nic0 alone");
    while (!is_nic(row) || row->index != index)
        row++;
    memset(vm_state_area(vm->state, n), 0, sizeof(struct virtio_area));
    if (!attach(vm, n, row, e))
        return false;
    struct virtio_device *d = &vm->devices[n];
    d->pci.ops->reset(&d->pci);
    pci_hotplug_came(vm, row->slot);
    platform_log(vm, "%s was put in", d->label);
    return true;
}

void vm_devices_unplug(struct vm *vm, u32 slot)
{
    for (u32 i = 0; vm->devices && i < vm->state->device_count; i++) {
        struct virtio_device *d = &vm->devices[i];
        if (!is_on_bus(vm, d) || d->pci.slot != slot || d->model != &virtio_dev_net_model)
            continue;
        virtio_dev_reset(d);
        loop_timer_cancel(&d->timer);
        virtio_dev_pci_detach(d);
        d->close(d);
        memset(&vm->config.nic[d->index], 0, sizeof(vm->config.nic[d->index]));
        vm_state_set_config(vm->state, &vm->config);
        platform_log(vm, "%s was taken out", d->label);
    }
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
        if (d->close && is_on_bus(vm, d))
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
