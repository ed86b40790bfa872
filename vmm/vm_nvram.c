/* Keeping a guest's CMOS memory; called by starts and stops of VMs and from its clock's ports. */
#include "vmm/vm_nvram.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "control/rt/clock.h"
#include "control/rt/fiber.h"
#include "control/rt/log.h"
#include "storage/store.h"
#include "vmm/inventory.h"
#include "vmm/nvram_text.h"
#include "vmm/vm_disk.h"

static struct store *file_of(const struct vm *vm, char path[STORE_PATH_MAX])
{
    struct store *s;
    const char *dir;
    struct vm_error e;
    if (!vm->config.home[0] || !vm_disk_find(vm->config.home, &s, &dir, &e) ||
        snprintf(path, STORE_PATH_MAX, "%s/%s.nvram", dir, vm->config.name) >= STORE_PATH_MAX)
        return NULL;
    return s;
}

void vm_nvram_load(struct vm *vm)
{
    char path[STORE_PATH_MAX], *text;
    struct store *s = file_of(vm, path);
    u32 len;
    if (!s || store_get(s, path, &text, &len) != HV_OK)
        return;
    if (!nvram_text_read(text, &vm->state->rtc))
        log_notice("VM %s: %s is damaged: its CMOS memory begins empty", vm->config.name, path);
    free(text);
}

void vm_nvram_save(const struct vm *vm, struct rtc *r)
{
    char path[STORE_PATH_MAX], text[NVRAM_TEXT];
    struct store *s = r->changed ? file_of(vm, path) : NULL;
    if (!s)
        return;
    r->changed = false;
    nvram_text_write(r, text);
    struct store_change c = {
        .kind = STORE_PUT, .path = path, .text = text, .length = (u32)strlen(text)};
    if (store_apply(s, &c, 1) == HV_OK)
        return;
    r->changed = true;
    log_notice("VM %s: its CMOS memory is not kept: %s", vm->config.name, store_error(s));
}

void vm_nvram_keep(struct vm *vm)
{
    if (!vm->state)
        return;
    struct rtc copy = vm->state->rtc;
    vm->state->rtc.changed = false; /* what is changed while this waits is saved again */
    vm_nvram_save(vm, &copy);
    if (copy.changed && vm->state)
        vm->state->rtc.changed = true; /* at the latest when it stops */
}

/* By name: the VM may be gone when the fiber runs. */
static void save_fiber(void *arg)
{
    struct vm *vm = inventory_find(arg);
    free(arg);
    if (vm)
        vm_nvram_keep(vm);
}

static void on_timer(void *owner)
{
    const struct vm *vm = owner;
    char *name = strdup(vm->config.name);
    if (!name || !fiber_spawn("nvram", save_fiber, name))
        free(name);
}

void vm_nvram_changed(struct vm *vm)
{
    if (!vm->config.home[0] || vm->nvram_timer.armed)
        return;
    vm->nvram_timer.fn = on_timer;
    vm->nvram_timer.owner = vm;
    loop_timer_set(&vm->nvram_timer, clock_after(CLOCK_SECOND));
}
