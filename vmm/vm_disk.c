/* Opens and closes what a VM's virtio disks are connected to; called by the life cycle in vm.c and
 * by commands, in fibers. */
#include "vmm/vm_disk.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "control/rt/clock.h"
#include "control/rt/log.h"
#include "storage/chain.h"
#include "storage/store.h"
#include "vmm/inventory.h"
#include "vmm/platform.h"
#include "vmm/virtio_dev_blk.h"
#include "vmm/vm_devices.h"
#include "vmm/vm_disk_image.h"

#define COMEBACK (60 * CLOCK_SECOND) /* for disks, after a restart of the control partition */
#define COMEBACK_STEP (50 * CLOCK_MS)

struct vm_disk_set {
    struct open_disk open[VM_DISKS];
    u64 serial; /* of no other set */
    bool locked;
    struct event unlocked;
    bool missing; /* one could not be opened again */
};

/* While it is locked its VM does not stop, and so is not deleted; but its guest may let a device
 * go, so none is known over a wait.  False: the VM has stopped meanwhile, `vm` may be gone. */
static bool lock(struct vm *vm)
{
    u64 id = vm->id, serial = vm->disks ? vm->disks->serial : 0;
    while (vm->disks && vm->disks->serial == serial && vm->disks->locked) {
        fiber_wait(&vm->disks->unlocked, LOOP_NEVER);
        vm = inventory_by_id(id);
        if (!vm)
            return false;
    }
    if (!vm->disks || vm->disks->serial != serial)
        return false;
    vm->disks->locked = true;
    return true;
}

static void unlock(struct vm *vm)
{
    vm->disks->locked = false;
    if (vm->disks->unlocked.waiters)
        event_signal(&vm->disks->unlocked);
}

/* On the bus; NULL: it is not there. */
static struct virtio_device *device(struct vm *vm, u32 n)
{
    char label[16];
    snprintf(label, sizeof(label), "disk%u", n);
    return vm_devices_find(vm, label);
}

/* What the open disk n is connected to, which may have left the bus. */
static struct virtio_device *behind(const struct vm *vm, u32 n)
{
    return vm->disks->open[n].disk->owner;
}

struct disk *vm_disk_of(const struct vm *vm, u32 n)
{
    return vm->disks ? vm->disks->open[n].disk : NULL;
}

/* ---- connecting one ---------------------------------------------------------------------------
 */

static void on_pause(struct disk *disk, enum hv_status why)
{
    struct virtio_device *d = disk->owner;
    const struct vm_disk *c = &d->pci.vm->config.disk[d->index];
    const char *of = c->file[0] ? c->file : c->device;
    if (why == HV_ENOSPC)
        vm_pause_for(d->pci.vm, "E_NOSPACE: %s, %s: the store is full", d->label, of);
    else
        vm_pause_for(d->pci.vm, "E_IO: %s, %s: a request failed (%d)", d->label, of, why);
}

static void apply(struct disk *disk, const struct vm_disk *c)
{
    static const enum disk_on_error policies[] = {[VM_DISK_PAUSE_FULL] = DISK_PAUSE_FULL,
                                                  [VM_DISK_PAUSE] = DISK_PAUSE,
                                                  [VM_DISK_REPORT] = DISK_REPORT,
                                                  [VM_DISK_RETRY] = DISK_RETRY};
    disk->on_error = policies[c->error];
    disk_set_limits(disk, (struct disk_limits){.iops = c->iops, .bandwidth = c->bw});
}

/* Does not wait. */
static void connect(struct vm *vm, u32 n, const struct open_disk *open, struct virtio_device *d,
                    const char *device_name)
{
    vm->disks->open[n] = *open;
    snprintf(virtio_dev_blk_device_name(d), VM_DISK_DEVICE, "%s", device_name);
    snprintf(open->disk->name, sizeof(open->disk->name), "%s:disk%u", vm->config.name, n);
    open->disk->owner = d;
    open->disk->on_pause = on_pause;
    apply(open->disk, &vm->config.disk[n]);
    virtio_dev_blk_connect(d, open->disk);
}

/* A disk that the guest has let go, before this or meanwhile, needs none. */
static bool open_one(struct vm *vm, u32 n, struct vm_error *e)
{
    struct vm_disk c = vm->config.disk[n];
    struct open_disk open = {0};
    char device_name[VM_DISK_DEVICE] = "";
    if (!device(vm, n))
        return true;
    if (!vm_disk_image_open(&c, n, &open, device_name, e))
        return false;
    struct virtio_device *d = device(vm, n);
    if (d)
        connect(vm, n, &open, d, device_name);
    else
        (void)vm_disk_image_close(vm, n, &open);
    return true;
}

static enum hv_status close_one(struct vm *vm, u32 n)
{
    struct open_disk open = vm->disks->open[n];
    if (!open.disk)
        return HV_OK;
    struct virtio_device *d = behind(vm, n);
    virtio_dev_blk_connect(d, NULL);
    enum hv_status status = vm_disk_image_close(vm, n, &open);
    vm->disks->open[n] = (struct open_disk){0};
    if (d != device(vm, n)) { /* its area is free from now on */
        loop_timer_cancel(&d->timer);
        d->close(d);
    }
    return status;
}

/* Those that are not open. */
static bool open_missing(struct vm *vm, struct vm_error *e)
{
    for (u32 i = 0; i < VM_DISKS; i++) {
        if (vm_config_has_disk(&vm->config, i) && !vm->disks->open[i].disk && !open_one(vm, i, e))
            return false;
    }
    return true;
}

/* ---- all of a VM ------------------------------------------------------------------------------
 */

static bool make_set(struct vm *vm)
{
    static u64 serial;
    if (!vm->disks)
        vm->disks = calloc(1, sizeof(*vm->disks));
    if (vm->disks && !vm->disks->serial)
        vm->disks->serial = ++serial;
    return vm->disks;
}

bool vm_disk_open_all(struct vm *vm, struct vm_error *e)
{
    if (!vm_config_has_disks(&vm->config))
        return true;
    if (!make_set(vm))
        return vm_error(e, HV_ENOMEM, "E_NOMEM", "stop another VM", "no memory for disks");
    return open_missing(vm, e);
}

static void hold(struct vm *vm, bool held)
{
    for (u32 i = 0; i < VM_DISKS; i++) {
        struct virtio_device *d = device(vm, i);
        if (d && d->backend)
            virtio_dev_blk_hold(d, held);
    }
}

/* Nothing is in flight afterwards; what is held or has to wait for its limits is hurried up. */
static void drain_one(struct vm *vm, u32 n)
{
    struct disk *disk = vm->disks->open[n].disk;
    if (!disk)
        return;
    disk->on_error = DISK_REPORT;
    disk_set_limits(disk, (struct disk_limits){0});
    disk_give_up(disk);
    virtio_dev_blk_drain(behind(vm, n));
}

static void drain(struct vm *vm)
{
    hold(vm, true);
    for (u32 i = 0; i < VM_DISKS; i++)
        drain_one(vm, i);
}

void vm_disk_close_all(struct vm *vm)
{
    if (!vm->disks || !lock(vm))
        return;
    drain(vm);
    for (u32 i = 0; i < VM_DISKS; i++)
        (void)close_one(vm, i);
    unlock(vm);
    free(vm->disks);
    vm->disks = NULL;
}

void vm_disk_drain(struct vm *vm)
{
    if (!vm->disks || !lock(vm))
        return;
    drain(vm);
    vm_disk_apply(vm);
    unlock(vm);
}

void vm_disk_apply(struct vm *vm)
{
    for (u32 i = 0; vm->disks && i < VM_DISKS; i++) {
        if (vm->disks->open[i].disk)
            apply(vm->disks->open[i].disk, &vm->config.disk[i]);
    }
}

void vm_disk_release(struct vm *vm)
{
    if (!vm->disks)
        return;
    hold(vm, false);
    if (vm->disks->missing)
        vm_pause_for(vm, "E_NO_DISK: a disk cannot be opened");
}

/* ---- under the feet of a running guest --------------------------------------------------------
 */

bool vm_disk_quiesce(struct vm *vm, struct vm_error *e)
{
    enum hv_status status = HV_OK;
    if (!vm->disks)
        return true;
    for (u32 i = 0; i < VM_DISKS; i++) {
        struct disk *disk = vm->disks->open[i].disk;
        if (disk && disk_paused(disk))
            return vm_error(e, HV_EBUSY, "E_STATE", "vm resume, when that is mended",
                            "VM %s is paused: %s", vm->config.name, vm->stop_reason);
    }
    if (!lock(vm))
        return vm_error(e, HV_EBUSY, "E_STATE", "vm list", "the VM was stopped meanwhile");
    hold(vm, true);
    for (u32 i = 0; i < VM_DISKS && status == HV_OK; i++) {
        struct disk *disk = vm->disks->open[i].disk;
        if (!disk)
            continue;
        virtio_dev_blk_drain(behind(vm, i));
        status = disk_flush(disk);
        if (status != HV_OK)
            vm_disk_failed(e, i, disk->name, status, "what was written cannot be flushed");
    }
    unlock(vm);
    if (status != HV_OK)
        hold(vm, false);
    return status == HV_OK;
}

void vm_disk_detach(struct vm *vm)
{
    if (!vm->disks || !lock(vm))
        return;
    for (u32 i = 0; i < VM_DISKS; i++)
        if (vm->disks->open[i].chain)
            (void)close_one(vm, i);
    unlock(vm);
}

bool vm_disk_reopen(struct vm *vm, u32 n, const char *file, u32 format, struct vm_error *e)
{
    struct vm_disk old = vm->config.disk[n], *c = &vm->config.disk[n];
    struct vm_error ignored;
    bool on = vm->disks && lock(vm);
    if (on)
        (void)close_one(vm, n);
    snprintf(c->file, sizeof(c->file), "%s", file);
    c->format = format;
    bool ok = !on || open_one(vm, n, e);
    if (!ok) {
        *c = old;
        vm->disks->missing = !open_one(vm, n, &ignored);
    }
    if (vm->state)
        vm_state_set_config(vm->state, &vm->config);
    if (on)
        unlock(vm);
    return ok;
}

/* Locked, nothing is in flight.  Its guest may have let it go until now, and until it has grown. */
static enum hv_status grow_locked(struct vm *vm, u32 n, u64 size, char *error, struct vm_error *e)
{
    struct chain *c = vm->disks->open[n].chain;
    struct store *store;
    const char *path;
    if (!c || !device(vm, n)) {
        snprintf(error, IMAGE_ERROR_MAX, "it is not open now");
        return HV_EBUSY;
    }
    if (!vm_disk_find(vm->config.disk[n].file, &store, &path, e)) {
        snprintf(error, IMAGE_ERROR_MAX, "its store is not there");
        return e->status;
    }
    enum hv_status status = chain_grow(store, c, size, error);
    virtio_dev_blk_connect(behind(vm, n), c->disk); /* tells the driver */
    return status;
}

static bool grow_open(struct vm *vm, u32 n, u64 size, struct vm_error *e)
{
    char error[IMAGE_ERROR_MAX] = "";
    if (!vm_disk_quiesce(vm, e))
        return false;
    if (!vm->disks || !lock(vm))
        return vm_disk_failed(e, n, "none", HV_EBUSY, "the VM was stopped meanwhile");
    enum hv_status status = grow_locked(vm, n, size, error, e);
    unlock(vm);
    vm_disk_release(vm);
    return status == HV_OK ? true : vm_disk_failed(e, n, vm->config.disk[n].file, status, error);
}

bool vm_disk_grow(struct vm *vm, u32 n, u64 size, struct vm_error *e)
{
    const struct vm_disk *d = &vm->config.disk[n];
    struct store *store;
    const char *path;
    char error[IMAGE_ERROR_MAX] = "";
    struct chain *c;
    if (!vm_config_has_disk(&vm->config, n))
        return vm_disk_failed(e, n, "none", HV_ENOENT, "the VM has no such disk");
    if (!d->file[0])
        return vm_disk_failed(e, n, d->device, HV_ENOSYS, "a physical disk has the size it has");
    if (vm->state)
        return grow_open(vm, n, size, e);
    if (!vm_disk_find(d->file, &store, &path, e))
        return false;
    enum hv_status status = chain_open(store, path, vm_disk_format(d), false, &c, error);
    if (status == HV_OK) {
        status = chain_grow(store, c, size, error);
        enum hv_status closed = chain_close(c);
        status = status == HV_OK ? closed : status;
    }
    return status == HV_OK ? true : vm_disk_failed(e, n, d->file, status, error);
}

/* ---- put in and taken out while the guest runs ------------------------------------------------
 */

/* Locked.  A disk whose device has left the bus is closed. */
static enum hv_status finish_leaving(struct vm *vm, u32 n)
{
    if (!vm->disks->open[n].disk || device(vm, n))
        return HV_OK;
    drain_one(vm, n);
    enum hv_status flushed = disk_flush(vm->disks->open[n].disk), closed = close_one(vm, n);
    return flushed == HV_OK ? closed : flushed;
}

bool vm_disk_put_in(struct vm *vm, u32 n, const struct vm_disk *to, struct vm_error *e)
{
    struct vm_disk c = *to;
    struct open_disk open = {0};
    char label[16], device_name[VM_DISK_DEVICE] = "";
    snprintf(label, sizeof(label), "disk%u", n);
    if (!vm_devices_room(vm, label, e))
        return false;
    if (!make_set(vm))
        return vm_error(e, HV_ENOMEM, "E_NOMEM", "stop another VM", "no memory for disks");
    if (!lock(vm))
        return vm_disk_failed(e, n, "none", HV_EBUSY, "the VM was stopped meanwhile");
    (void)finish_leaving(vm, n);
    bool ok = vm_disk_image_open(&c, n, &open, device_name, e);
    struct virtio_device *d = NULL;
    if (ok && vm->phase != PHASE_RUNNING && vm->phase != PHASE_PAUSED)
        vm_error(e, HV_EBUSY, "E_STATE", "once more", "VM %s is %s", vm->config.name,
                 vm_phase_name(vm));
    else if (ok)
        d = vm_devices_plug(vm, label, e);
    if (d) {
        vm->config.disk[n] = c;
        connect(vm, n, &open, d, device_name);
        vm_state_set_config(vm->state, &vm->config);
    } else if (ok) {
        (void)vm_disk_image_close(vm, n, &open);
    }
    unlock(vm);
    return d;
}

bool vm_disk_finish(struct vm *vm, u32 n, struct vm_error *e)
{
    if (!vm->disks || !lock(vm))
        return true; /* it was stopped: that has closed it */
    enum hv_status status = finish_leaving(vm, n);
    unlock(vm);
    return status == HV_OK ||
           vm_disk_failed(e, n, "taken out", status, "what was written last may not be on it");
}

struct left {
    u64 vm;
    u32 n;
};

static void left_fiber(void *arg)
{
    struct left left = *(struct left *)arg;
    struct vm *vm = inventory_by_id(left.vm);
    struct vm_error e;
    free(arg);
    if (vm && !vm_disk_finish(vm, left.n, &e))
        log_error("%s: %s", e.code, e.text);
}

static void spawn_left(void *owner)
{
    struct virtio_device *d = owner;
    struct left *left = malloc(sizeof(*left));
    if (left) {
        *left = (struct left){d->pci.vm->id, d->index};
        if (fiber_spawn("disk leaves", left_fiber, left))
            return;
    }
    free(left);
    d->timer.fn = spawn_left;
    d->timer.owner = d;
    loop_timer_set(&d->timer, clock_after(10 * CLOCK_MS));
}

void vm_disk_left(struct virtio_device *d)
{
    if (vm_disk_of(d->pci.vm, d->index))
        spawn_left(d);
    else
        d->close(d); /* its image is being exchanged, or could not be opened */
}

/* ---- coming back ------------------------------------------------------------------------------
 */

/* After a restart nobody has mounted the stores yet, perhaps. */
static void mount_store(struct vm *vm, u32 n)
{
    const char *device_name = virtio_dev_blk_device_name(device(vm, n));
    struct disk *d = device_name[0] ? disk_find(device_name) : NULL;
    char error[STORE_ERROR_MAX];
    struct store *s;
    struct vm_error e;
    const char *path;
    if (!d || d->users || !vm->config.disk[n].file[0] ||
        vm_disk_find(vm->config.disk[n].file, &s, &path, &e))
        return;
    if (store_mount(d, false, &s, error) == HV_OK)
        log_notice("store %s on %s is mounted again", store_name(s), d->name);
}

static void come_back_one(struct vm *vm)
{
    u64 deadline = clock_after(COMEBACK);
    struct vm_error e;
    bool ok;
    if (!vm->disks || !lock(vm))
        return;
    for (;;) {
        for (u32 i = 0; i < VM_DISKS; i++) {
            if (device(vm, i) && !vm->disks->open[i].disk)
                mount_store(vm, i);
        }
        ok = open_missing(vm, &e);
        if (ok || vm->phase == PHASE_STOPPING || clock_tsc() > deadline)
            break;
        fiber_sleep_until(clock_after(COMEBACK_STEP));
    }
    vm->disks->missing = !ok;
    unlock(vm);
    if (!ok && vm->phase != PHASE_STOPPING)
        vm_pause_for(vm, "%s: %.80s", e.code, e.text);
}

static void come_back(void *arg)
{
    struct vm *vm = inventory_find(arg);
    free(arg);
    if (vm && vm->state)
        come_back_one(vm);
}

/* By name: the VM may be gone when the fiber runs. */
static void spawn(struct vm *vm)
{
    char *name = strdup(vm->config.name);
    if (name && fiber_spawn("disks come back", come_back, name))
        return;
    free(name);
    vm->disks->missing = true;
    vm_pause_for(vm, "E_NOMEM: no memory to open its disks");
}

void vm_disk_restart(void)
{
    for (u32 slot = 0; slot < VM_SLOTS; slot++) {
        struct vm *vm = inventory_by_slot(slot);
        if (!vm || !vm_config_has_disks(&vm->config))
            continue;
        if (make_set(vm))
            spawn(vm);
        else
            log_error("VM %s: no memory for its disks", vm->config.name);
    }
}

void vm_disk_resume(struct vm *vm)
{
    for (u32 i = 0; vm->disks && i < VM_DISKS; i++) {
        if (vm->disks->open[i].disk)
            disk_resume(vm->disks->open[i].disk);
    }
    if (vm->disks && vm->disks->missing)
        spawn(vm);
}
