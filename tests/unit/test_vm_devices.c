/* links: vmm/vm_devices.c vmm/pci_hotplug.c */
/* Which areas of a VM's state its devices have, as they come, and go whenever the guest likes; what
 * of that a restart of the control partition finds. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "control/rt/log.h"
#include "vmm/pci_hotplug.h"
#include "vmm/virtio_dev_balloon.h"
#include "vmm/virtio_dev_blk.h"
#include "vmm/virtio_dev_console.h"
#include "vmm/virtio_dev_net.h"
#include "vmm/virtio_dev_pci.h"
#include "vmm/virtio_dev_rng.h"
#include "vmm/vm_devices.h"
#include "vmm/vm_disk.h"

/* ---- models that only note ------------------------------------------------------------------- */

const struct virtio_model virtio_dev_console_model, virtio_dev_rng_model, virtio_dev_balloon_model;
const struct virtio_model virtio_dev_net_model = {.name = "net"};
const struct virtio_model virtio_dev_blk_model = {.name = "blk"};
static struct vm vm;
static char backend;
static u32 left, notices, events;
static bool refuses;

static void no_reset(struct pci_device *d)
{
    (void)d;
}
static const struct pci_ops ops = {.reset = no_reset};

static bool open_any(struct virtio_device *d, struct vm_error *e)
{
    if (refuses)
        return vm_error(e, HV_ENOENT, "E_NOENT", "", "no");
    d->backend = &backend;
    return true;
}
static void close_any(struct virtio_device *d)
{
    d->backend = NULL;
}
bool virtio_dev_console_open(struct virtio_device *d, struct vm_error *e)
{
    return open_any(d, e);
}
bool virtio_dev_balloon_open(struct virtio_device *d, struct vm_error *e)
{
    return open_any(d, e);
}
bool virtio_dev_net_open(struct virtio_device *d, struct vm_error *e)
{
    return open_any(d, e);
}
bool virtio_dev_blk_open(struct virtio_device *d, struct vm_error *e)
{
    return open_any(d, e);
}
void virtio_dev_console_close(struct virtio_device *d)
{
    close_any(d);
}
void virtio_dev_balloon_close(struct virtio_device *d)
{
    close_any(d);
}
void virtio_dev_net_close(struct virtio_device *d)
{
    close_any(d);
}
void virtio_dev_blk_close(struct virtio_device *d)
{
    close_any(d);
}
void virtio_dev_pci_attach(struct virtio_device *d, struct vm *v, u32 slot,
                           struct virtio_area *area)
{
    d->pci = (struct pci_device){&ops, &area->pci, v, (u8)slot};
    d->state = &area->virtio;
    v->pci.slot[slot] = &d->pci;
}
void virtio_dev_pci_detach(struct virtio_device *d)
{
    d->pci.vm->pci.slot[d->pci.slot] = NULL;
}
void virtio_dev_reset(struct virtio_device *d)
{
    (void)d;
}
void virtio_dev_resume(struct virtio_device *d)
{
    (void)d;
}
void loop_timer_cancel(struct loop_timer *t)
{
    (void)t;
}
void vm_disk_left(struct virtio_device *d)
{
    (void)d;
    left++;
}
void acpi_pm_event(struct vm *v, u32 gpe)
{
    (void)v, (void)gpe;
    events++;
}
void platform_log(struct vm *v, const char *fmt, ...)
{
    (void)v, (void)fmt;
}
void log_write(enum log_level level, const char *fmt, ...)
{
    (void)level, (void)fmt;
    notices++;
}
bool vm_error(struct vm_error *e, enum hv_status status, const char *code, const char *hint,
              const char *fmt, ...)
{
    (void)hint, (void)fmt;
    e->status = status;
    e->code = code;
    return false;
}

/* ---- a VM ------------------------------------------------------------------------------------ */

static void start(void)
{
    struct vm_error e;
    u32 count = vm_devices_count(&vm.config);
    bool disks = vm_state_has_disks(&vm.config);
    vm.state = calloc(1, vm_state_size(count, disks));
    assert_non_null(vm.state);
    vm.state->device_count = count;
    vm.state->has_disks = disks;
    vm_devices_place(vm.state, &vm.config);
    assert_true(vm_devices_attach(&vm, &e));
    left = notices = events = 0;
    refuses = false;
}

static int stop(void **test)
{
    (void)test;
    if (vm.state)
        vm_devices_detach(&vm);
    free(vm.state);
    memset(&vm, 0, sizeof(vm));
    return 0;
}

static void wants_nics(u32 count)
{
    for (u32 i = 0; i < count; i++)
        snprintf(vm.config.nic[i].to_switch, VM_SWITCH_NAME, "lan");
}

static void wants_disk(u32 n)
{
    snprintf(vm.config.disk[n].file, VM_DISK_FILE, "ds1:d%u", n);
}

static void ejects(u32 slot)
{
    pci_hotplug_out(&vm, PCI_HOTPLUG_PORT + 8, 4, (u32)BIT(slot));
}

/* ---- tests ----------------------------------------------------------------------------------- */

static void areas_are_shared_by_what_comes(void **test)
{
    struct vm_error e;
    (void)test;
    wants_nics(1);
    wants_disk(0);
    start();
    assert_int_equal(vm.state->device_count, 5); /* as before disks could come */
    wants_disk(3);
    struct virtio_device *d = vm_devices_plug(&vm, "disk3", &e);
    assert_non_null(d);
    assert_ptr_equal(d->state, &vm_state_area(vm.state, 2)->virtio);
    assert_int_equal(events, 1);
    assert_int_equal(pci_hotplug_in(&vm, PCI_HOTPLUG_PORT, 4), BIT(11));
    assert_non_null(vm_devices_plug(&vm, "nic2", &e));
    assert_non_null(vm_devices_plug(&vm, "disk7", &e));
    assert_null(vm_devices_plug(&vm, "nic1", &e));
    assert_string_equal(e.code, "E_STATE");
    ejects(6);
    assert_null(vm_devices_find(&vm, "nic2"));
    assert_non_null(vm_devices_plug(&vm, "nic1", &e));
}

static void the_area_of_a_disk_is_free_once_it_is_closed(void **test)
{
    struct vm_error e;
    (void)test;
    wants_disk(0);
    start();
    assert_int_equal(vm.state->device_count, 2);
    wants_disk(1);
    struct virtio_device *d = vm_devices_plug(&vm, "disk1", &e);
    assert_non_null(d);
    ejects(9);
    ejects(9); /* nothing is there */
    assert_int_equal(left, 1);
    assert_null(vm_devices_find(&vm, "disk1"));
    assert_null(vm_devices_plug(&vm, "disk2", &e)); /* requests may be in flight */
    d->close(d);
    assert_non_null(vm_devices_plug(&vm, "disk2", &e));
}

static void the_boot_disk_stays(void **test)
{
    (void)test;
    wants_disk(2);
    wants_disk(4);
    start();
    assert_true(vm_devices_is_boot_disk(&vm, 0));
    assert_false(vm_devices_is_boot_disk(&vm, 1));
    assert_true(vm_devices_is_boot_disk(&vm, 2));
    ejects(10);
    assert_non_null(vm_devices_find(&vm, "disk2"));
    ejects(12);
    assert_null(vm_devices_find(&vm, "disk4"));
    pci_hotplug_out(&vm, PCI_HOTPLUG_PORT + 8, 4, ~0u);
    assert_non_null(vm_devices_find(&vm, "disk2"));
    assert_int_equal(left, 1);
}

static void only_what_nobody_asked_for_is_told(void **test)
{
    (void)test;
    wants_nics(2);
    start();
    vm.changing = vm_devices_bit("nic0");
    ejects(4);
    assert_int_equal(notices, 0);
    ejects(5);
    assert_int_equal(notices, 1);
    assert_string_equal(vm.config.nic[1].to_switch, "lan"); /* until a command says else */
    assert_int_equal(vm_devices_bit("nic3"), 8);
    assert_int_equal(vm_devices_bit("disk0"), 16);
}

static void a_restart_finds_what_was_on_the_bus(void **test)
{
    struct vm_error e;
    (void)test;
    wants_nics(1);
    wants_disk(0);
    wants_disk(1);
    start();
    wants_disk(5);
    const struct virtio_device *d = vm_devices_plug(&vm, "disk5", &e);
    assert_non_null(d);
    const struct virtio_state *kept = d->state;
    ejects(9);
    vm_devices_detach(&vm);
    assert_true(vm_devices_fit(vm.state, &vm.config));
    assert_true(vm_devices_attach(&vm, &e));
    assert_null(vm_devices_find(&vm, "disk1"));
    assert_ptr_equal(vm_devices_find(&vm, "disk5")->state, kept);
    struct vm_config other = vm.config;
    memset(&other.disk[5], 0, sizeof(other.disk[5]));
    assert_false(vm_devices_fit(vm.state, &other));
    vm.state->area[0] = (u8)(vm.state->device_count + 1);
    assert_false(vm_devices_fit(vm.state, &vm.config));
    vm.state->area[0] = 0;
}

static void there_is_no_room_for_settings_of_disks(void **test)
{
    struct vm_error e;
    (void)test;
    wants_nics(1);
    start();
    assert_null(vm_devices_plug(&vm, "disk1", &e));
    assert_string_equal(e.code, "E_STATE");
    assert_true(vm_devices_room(&vm, "nic1", &e));
    refuses = true;
    assert_null(vm_devices_plug(&vm, "nic1", &e));
    assert_string_equal(e.code, "E_NOENT");
    assert_null(vm_devices_find(&vm, "nic1"));
    assert_int_equal(events, 0);
}

#define test(name) cmocka_unit_test_teardown(name, stop)

int main(void)
{
    const struct CMUnitTest tests[] = {
        test(areas_are_shared_by_what_comes),
        test(the_area_of_a_disk_is_free_once_it_is_closed),
        test(the_boot_disk_stays),
        test(only_what_nobody_asked_for_is_told),
        test(a_restart_finds_what_was_on_the_bus),
        test(there_is_no_room_for_settings_of_disks),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
