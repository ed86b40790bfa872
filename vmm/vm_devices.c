/* Makes a VM's virtio devices from its configuration; called by the life cycle in vm.c. */
#include "vmm/vm_devices.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "vmm/virtio_dev_console.h"
#include "vmm/virtio_dev_pci.h"
#include "vmm/virtio_dev_rng.h"

struct device_row {
    const char *label;
    u32 slot; /* on bus 0 */
    const struct virtio_model *model;
    bool (*wanted)(const struct vm_config *c);
};

static bool wants_console(const struct vm_config *c)
{
    return c->console == VM_CONSOLE_VIRTIO;
}

static bool wants_rng(const struct vm_config *c)
{
    return c->rng;
}

static const struct device_row rows[] = {
    {"console", 2, &virtio_dev_console_model, wants_console},
    {"rng", 3, &virtio_dev_rng_model, wants_rng},
};

u32 vm_devices_count(const struct vm_config *c)
{
    u32 count = 0;
    for (u32 i = 0; i < ARRAY_LEN(rows); i++)
        count += rows[i].wanted(c);
    return count;
}

bool vm_devices_attach(struct vm *vm, struct vm_error *e)
{
    u32 n = 0;
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
        struct virtio_device *d = &vm->devices[n];
        if (!rows[i].wanted(&vm->config))
            continue;
        d->model = rows[i].model;
        snprintf(d->label, sizeof(d->label), "%s", rows[i].label);
        virtio_dev_pci_attach(d, vm, rows[i].slot, vm_state_area(vm->state, n++));
    }
    return true;
}

void vm_devices_resume(struct vm *vm)
{
    for (u32 i = 0; vm->devices && i < vm->state->device_count; i++)
        virtio_dev_resume(&vm->devices[i]);
}

void vm_devices_detach(struct vm *vm)
{
    free(vm->devices);
    vm->devices = NULL;
    vm->pci = (struct pci_bus){0};
}

struct virtio_device *vm_devices_find(struct vm *vm, const char *label)
{
    for (u32 i = 0; vm->devices && i < vm->state->device_count; i++) {
        if (strcmp(vm->devices[i].label, label) == 0)
            return &vm->devices[i];
    }
    return NULL;
}
