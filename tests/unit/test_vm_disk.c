/* links: vmm/vm_disk.c vmm/vm_disk_image.c control/rt/fiber.c control/rt/fiber_switch.S control/rt/loop.c control/rt/clock.c control/rt/log.c control/rt/host/host.c */
/* Disks of a running VM whose guest lets one go, and whose VM stops, at every wait there is. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "control/rt/clock.h"
#include "control/rt/fiber.h"
#include "control/rt/loop.h"
#include "storage/chain.h"
#include "storage/partition.h"
#include "storage/ram_disk.h"
#include "storage/store.h"
#include "vmm/inventory.h"
#include "vmm/platform.h"
#include "vmm/virtio_dev_blk.h"
#include "vmm/vm_devices.h"
#include "vmm/vm_disk.h"

/* ---- stores, images and devices that wait, and are what a test says -------------------------- */

static struct vm vm;
static struct vm_state state;
static struct virtio_device devices[VM_DISKS]; /* diskN, for N of its own */
static bool on_bus[VM_DISKS], gone;
static u32 open_chains, grown, flushed, closed_devices;
static void (*during)(void); /* once, in the wait after so many others */
static u32 waits_before;

static void wait_a_while(void)
{
    void (*what)(void) = waits_before ? NULL : during;
    if (what)
        during = NULL;
    else if (during)
        waits_before--;
    fiber_sleep_until(clock_after(5 * CLOCK_MS));
    if (what)
        what();
    fiber_sleep_until(clock_after(5 * CLOCK_MS));
}

enum hv_status chain_open(struct store *s, const char *path, const char *format, bool read_only,
                          struct chain **out, char error[IMAGE_ERROR_MAX])
{
    struct chain *c = calloc(1, sizeof(*c));
    (void)s, (void)path, (void)format, (void)read_only, (void)error;
    assert_non_null(c);
    c->disk = calloc(1, sizeof(*c->disk));
    assert_non_null(c->disk);
    wait_a_while();
    open_chains++;
    *out = c;
    return HV_OK;
}
enum hv_status chain_close(struct chain *c)
{
    wait_a_while();
    free(c->disk);
    free(c);
    open_chains--;
    return HV_OK;
}
enum hv_status chain_grow(struct store *s, struct chain *c, u64 size, char error[IMAGE_ERROR_MAX])
{
    (void)s, (void)error;
    wait_a_while();
    c->disk->size = size;
    grown++;
    return HV_OK;
}
enum hv_status disk_flush(struct disk *d)
{
    (void)d;
    wait_a_while();
    flushed++;
    return HV_OK;
}
struct store *store_find(const char *name)
{
    (void)name;
    return (struct store *)&state;
}
const char *store_name(const struct store *s)
{
    (void)s;
    return "ds1";
}
const struct disk *store_device(const struct store *s)
{
    static const struct disk below = {.name = "vd0"};
    (void)s;
    return &below;
}
enum hv_status store_mount(struct disk *d, bool read_only, struct store **out,
                           char error[STORE_ERROR_MAX])
{
    (void)d, (void)read_only, (void)out, (void)error;
    return HV_ENOENT;
}
enum hv_status image_open(const char *name, const struct image_layer *layers, u32 count,
                          bool read_only, struct disk **out, char error[IMAGE_ERROR_MAX])
{
    (void)name, (void)layers, (void)count, (void)read_only, (void)out, (void)error;
    return HV_ENOENT;
}
const struct image_format *image_format(const char *name)
{
    (void)name;
    return NULL;
}
struct disk *partition_find(const char *name, char why[120])
{
    (void)name, (void)why;
    return NULL;
}
bool partition_is(const struct disk *d)
{
    (void)d;
    return false;
}
bool ram_disk_is(const struct disk *d)
{
    (void)d;
    return false;
}
struct disk *disk_find(const char *name)
{
    (void)name;
    return NULL;
}
enum hv_status disk_close(struct disk *d)
{
    (void)d;
    return HV_OK;
}
bool disk_paused(const struct disk *d)
{
    (void)d;
    return false;
}
void disk_resume(struct disk *d)
{
    (void)d;
}
void disk_give_up(struct disk *d)
{
    (void)d;
}
void disk_set_limits(struct disk *d, struct disk_limits limits)
{
    d->limits = limits;
}

/* Each checks that it is given a device that is there. */
static void known(const struct virtio_device *d)
{
    assert_true(d >= devices && d < devices + VM_DISKS);
    assert_non_null(d->backend);
}
void virtio_dev_blk_connect(struct virtio_device *d, struct disk *disk)
{
    known(d);
    (void)disk;
}
void virtio_dev_blk_hold(struct virtio_device *d, bool hold)
{
    known(d);
    (void)hold;
}
void virtio_dev_blk_drain(struct virtio_device *d)
{
    known(d);
    wait_a_while();
}
char *virtio_dev_blk_device_name(struct virtio_device *d)
{
    static char name[VM_DISK_DEVICE];
    known(d);
    return name;
}
static void close_device(struct virtio_device *d)
{
    d->backend = NULL;
    closed_devices++;
}
struct virtio_device *vm_devices_find(struct vm *v, const char *label)
{
    u32 n = (u32)(label[4] - '0');
    return v->state && on_bus[n] ? &devices[n] : NULL;
}
bool vm_devices_room(const struct vm *v, const char *label, struct vm_error *e)
{
    (void)v, (void)label, (void)e;
    return true;
}
struct virtio_device *vm_devices_plug(struct vm *v, const char *label, struct vm_error *e)
{
    u32 n = (u32)(label[4] - '0');
    (void)e;
    on_bus[n] = true;
    devices[n] =
        (struct virtio_device){.pci.vm = v, .index = n, .backend = &state, .close = close_device};
    return &devices[n];
}
struct vm *inventory_by_id(u64 id)
{
    return id == vm.id && !gone ? &vm : NULL;
}
struct vm *inventory_find(const char *name)
{
    (void)name;
    return &vm;
}
struct vm *inventory_slots[VM_SLOTS];
const char *vm_phase_name(const struct vm *v)
{
    (void)v;
    return "stopping";
}
void vm_pause_for(struct vm *v, const char *fmt, ...)
{
    (void)v, (void)fmt;
}
void platform_log(struct vm *v, const char *fmt, ...)
{
    (void)v, (void)fmt;
}
bool vm_error(struct vm_error *e, enum hv_status status, const char *code, const char *hint,
              const char *fmt, ...)
{
    (void)hint, (void)fmt;
    e->status = status;
    e->code = code;
    return false;
}

/* ---- what happens meanwhile ------------------------------------------------------------------ */

static void ejects(void)
{
    on_bus[1] = false;
    vm_disk_left(&devices[1]);
}

static void stop_fiber(void *arg)
{
    vm_disk_close_all(&vm);
    vm.state = NULL;
    vm.phase = PHASE_STOPPED;
    gone = arg != NULL;
}

static void stops(void)
{
    vm.phase = PHASE_STOPPING;
    assert_true(fiber_spawn("stop", stop_fiber, NULL));
}

static void stops_and_is_deleted(void)
{
    vm.phase = PHASE_STOPPING;
    assert_true(fiber_spawn("stop", stop_fiber, &vm));
}

/* ---- commands -------------------------------------------------------------------------------- */

static bool ok;
static struct vm_error err;

static void put_in(void *arg)
{
    struct vm_disk to = {.file = "ds1:web/more"};
    (void)arg;
    ok = vm_disk_put_in(&vm, 1, &to, &err);
}
static void grow(void *arg)
{
    (void)arg;
    ok = vm_disk_grow(&vm, 1, 2 * MIB, &err);
}
static void quiesce(void *arg)
{
    (void)arg;
    ok = vm_disk_quiesce(&vm, &err);
    if (ok)
        vm_disk_release(&vm);
}
static void snapshot(void *arg)
{
    (void)arg;
    ok = vm_disk_quiesce(&vm, &err);
    if (!ok)
        return;
    vm_disk_detach(&vm);
    wait_a_while();
    ok = vm_disk_reopen(&vm, 1, "ds1:web/over", 1, &err);
    vm_disk_release(&vm);
}

static void tick(void *owner)
{
    (void)owner;
}

static void run(void (*command)(void *arg), void (*meanwhile)(void))
{
    err.code = "";
    ok = false;
    during = meanwhile;
    assert_true(fiber_spawn("command", command, NULL));
    for (u32 i = 0; i < 10000 && fiber_count(); i++) {
        struct loop_timer t = {.fn = tick};
        loop_timer_set(&t, clock_after(CLOCK_MS));
        loop_step();
        loop_timer_cancel(&t);
    }
    assert_int_equal(fiber_count(), 0);
}

static int setup(void **test)
{
    (void)test;
    memset(&vm, 0, sizeof(vm));
    memset(&state, 0, sizeof(state));
    memset(on_bus, 0, sizeof(on_bus));
    gone = false;
    vm.id++;
    vm.phase = PHASE_RUNNING;
    vm.state = &state;
    open_chains = grown = flushed = closed_devices = 0;
    return 0;
}

static int setup_with_disk(void **test)
{
    setup(test);
    run(put_in, NULL);
    assert_true(ok);
    assert_int_equal(open_chains, 1);
    return 0;
}

static void clean_up(void)
{
    during = NULL;
    waits_before = 0;
    if (vm.state)
        run(quiesce, NULL);
    if (vm.state) {
        stops();
        run(quiesce, NULL);
    }
    assert_int_equal(open_chains, 0); /* whatever happened: what was opened is closed, once */
}

static int teardown(void **test)
{
    (void)test;
    clean_up();
    return 0;
}

/* The command, and at each of its waits in turn what happens meanwhile.  Returns how many. */
static u32 at_every_wait(int (*begin)(void **test), void (*command)(void *arg),
                         void (*meanwhile)(void), void (*then)(void))
{
    u32 n = 0;
    for (bool reached = true; reached; n += reached) {
        begin(NULL);
        waits_before = n;
        run(command, meanwhile);
        reached = !during;
        if (reached)
            then();
        clean_up();
    }
    return n;
}

/* ---- tests ----------------------------------------------------------------------------------- */

static void is_not_in(void)
{
    assert_false(ok);
    assert_string_equal(err.code, "E_STATE");
    assert_false(on_bus[1]);
    assert_false(vm_config_has_disk(&vm.config, 1));
    assert_int_equal(open_chains, 0);
}

static void a_vm_stops_while_a_disk_is_opened(void **test)
{
    (void)test;
    assert_int_equal(at_every_wait(setup, put_in, stops, is_not_in), 1);
}

static void what_a_guest_lets_go_is_flushed_and_closed(void **test)
{
    (void)test;
    run(quiesce, ejects);
    assert_true(ok);
    assert_int_equal(open_chains, 0);
    assert_int_equal(flushed, 2); /* of the snapshot that was, and the last */
    assert_int_equal(closed_devices, 1);
    assert_true(vm_config_has_disk(&vm.config, 1));
    run(put_in, NULL);
    assert_true(ok);
    assert_int_equal(open_chains, 1);
}

static void is_closed(void)
{
    assert_int_equal(open_chains, 0);
    assert_true(vm_config_has_disk(&vm.config, 1));
}

static void is_closed_and_free(void)
{
    is_closed();
    assert_int_equal(closed_devices, 1);
}

static void grew_or_not(void)
{
    is_closed_and_free();
    assert_true(ok == (grown == 1));
    run(grow, NULL);
    assert_false(ok);
    assert_string_equal(err.code, "E_BUSY");
}

static void a_disk_that_grows(void **test)
{
    (void)test;
    assert_int_equal(at_every_wait(setup_with_disk, grow, ejects, grew_or_not), 3);
    assert_int_equal(at_every_wait(setup_with_disk, grow, stops, is_closed), 3);
}

static void has_the_new_file(void)
{
    is_closed_and_free();
    assert_true(ok);
    assert_string_equal(vm.config.disk[1].file, "ds1:web/over"); /* when it is back */
}

static void a_disk_of_which_a_snapshot_is_taken(void **test)
{
    (void)test;
    assert_int_equal(at_every_wait(setup_with_disk, snapshot, ejects, has_the_new_file), 5);
    assert_int_equal(at_every_wait(setup_with_disk, snapshot, stops, is_closed), 5);
}

static void a_vm_that_is_deleted_meanwhile(void **test)
{
    (void)test;
    assert_int_equal(at_every_wait(setup_with_disk, quiesce, stops_and_is_deleted, is_closed), 2);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_teardown(a_vm_stops_while_a_disk_is_opened, teardown),
        cmocka_unit_test_setup_teardown(what_a_guest_lets_go_is_flushed_and_closed, setup_with_disk,
                                        teardown),
        cmocka_unit_test(a_disk_that_grows),
        cmocka_unit_test(a_disk_of_which_a_snapshot_is_taken),
        cmocka_unit_test(a_vm_that_is_deleted_meanwhile),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
