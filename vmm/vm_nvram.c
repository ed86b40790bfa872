/* Keeping a guest's CMOS memory; called by starts and stops of VMs and from its clock's ports. */
#include "vmm/vm_nvram.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "control/rt/clock.h"
#include "control/rt/fiber.h"
#include "control/rt/log.h"
#include "storage/store.h"
#include "vmm/firmware.h"
#include "vmm/flash_text.h"
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
    const char *rest;
    struct store *s = file_of(vm, path);
    u32 len, vars;
    u8 *flash = firmware_vars(vm, &vars);
    if (!s || store_get(s, path, &text, &len) != HV_OK)
        return;
    if (!nvram_text_read(text, &vm->state->rtc, &rest))
        log_notice("VM %s: %s is damaged: its CMOS memory begins empty", vm->config.name, path);
    else if (flash && *rest && !flash_text_read(rest, flash, vars))
        log_notice("VM %s: %s has no variables for this firmware: they begin anew", vm->config.name,
                   path);
    free(text);
}

char *vm_nvram_text(struct vm *vm)
{
    struct rtc *r = &vm->state->rtc;
    u32 vars;
    u8 *flash = firmware_vars(vm, &vars);
    bool changed = r->changed || (flash && vm->firmware->flash.changed);
    if (!changed || !vm->config.home[0])
        return NULL;
    char *text = malloc(NVRAM_TEXT + (flash ? FLASH_TEXT(vars) : 0));
    if (!text)
        return NULL;
    r->changed = false;
    nvram_text_write(r, text);
    if (flash) {
        struct flash *f = &vm->firmware->flash;
        u8 status = flash[f->shown_at]; /* which the guest may be looking at */
        f->changed = 0;
        if (f->shown)
            flash[f->shown_at] = f->hidden;
        flash_text_write(flash, vars, text + strlen(text));
        if (f->shown)
            flash[f->shown_at] = status;
    }
    return text;
}

bool vm_nvram_save(const struct vm *vm, char *text)
{
    char path[STORE_PATH_MAX];
    struct store *s = text ? file_of(vm, path) : NULL;
    bool done = true;
    if (s) {
        struct store_change c = {
            .kind = STORE_PUT, .path = path, .text = text, .length = (u32)strlen(text)};
        done = store_apply(s, &c, 1) == HV_OK;
    }
    if (!done)
        log_notice("VM %s: its CMOS memory and variables are not kept: %s", vm->config.name,
                   store_error(s));
    free(text);
    return done;
}

void vm_nvram_keep(struct vm *vm)
{
    if (!vm->state)
        return;
    if (!vm_nvram_save(vm, vm_nvram_text(vm)) && vm->state)
        vm->state->rtc.changed = true; /* once more, at the latest when it stops */
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
