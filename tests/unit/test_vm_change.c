/* links: vmm/inventory.c vmm/vm_plug.c vmm/vm_nic.c vmm/vm_config.c control/rt/conf.c control/rt/fiber.c control/rt/fiber_switch.S control/rt/loop.c control/rt/clock.c control/rt/log.c control/rt/host/host.c */
/* Commands that change a running VM and wait for its guest, while other commands change, stop,
 * start and delete it. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdio.h>
#include <string.h>

#include <cmocka.h>

#include "control/rt/clock.h"
#include "control/rt/fiber.h"
#include "control/rt/loop.h"
#include "drivers/nic.h"
#include "net/switches.h"
#include "vmm/exits.h"
#include "vmm/inventory.h"
#include "vmm/pci_hotplug.h"
#include "vmm/virtio_dev_net.h"
#include "vmm/vm_devices.h"
#include "vmm/vm_disk.h"
#include "vmm/vm_nic.h"
#include "vmm/vm_sched.h"

/* ---- a machine that does what it is told ----------------------------------------------------- */

struct vcpu_page exits_nobody;
#define DEVICES (VM_NICS + VM_DISKS) /* nic0 to nic3, disk0 to disk7 */
static struct virtio_device cards[DEVICES];
static bool on_bus[DEVICES];
static u32 asked_to_leave;         /* bits of them */
static bool ejects_at_open;        /* the guest lets nic0 go while a disk is opened */
static bool cannot_flush, is_open; /* disk1 */
static struct vm_state state;

bool vm_error(struct vm_error *e, enum hv_status status, const char *code, const char *hint,
              const char *fmt, ...)
{
    va_list ap;
    e->status = status;
    e->code = code;
    snprintf(e->hint, sizeof(e->hint), "%s", hint);
    va_start(ap, fmt);
    vsnprintf(e->text, sizeof(e->text), fmt, ap);
    va_end(ap);
    return false;
}
const char *vm_phase_name(const struct vm *vm)
{
    return vm->phase == PHASE_STOPPED ? "stopped" : "not stopped";
}
void vm_apply(struct vm *vm, bool exceptions)
{
    (void)vm, (void)exceptions;
}
bool vm_sched_admit(const struct vm *vm, const struct vm_config *c, struct vm_error *e)
{
    (void)vm, (void)c, (void)e;
    return true;
}
void platform_log(struct vm *vm, const char *fmt, ...)
{
    (void)vm, (void)fmt;
}
struct net_switch *switches_named(const char *name)
{
    return (struct net_switch *)(uintptr_t)name[0];
}
struct nic *nic_first(void)
{
    return NULL;
}
bool virtio_dev_net_move(struct virtio_device *d, struct vm_error *e)
{
    (void)d, (void)e;
    return true;
}
void virtio_dev_net_vlan(struct virtio_device *d)
{
    (void)d;
}
void virtio_dev_net_found(struct virtio_device *d, const struct net_switch *sw)
{
    (void)d, (void)sw;
}
void pci_hotplug_leave(struct vm *vm, u32 slot)
{
    (void)vm;
    asked_to_leave |= (u32)BIT(slot - 4);
}
static u32 number_of(const char *label)
{
    return (u32)(label[0] == 'd' ? VM_NICS + label[4] - '0' : label[3] - '0');
}
struct virtio_device *vm_devices_find(struct vm *vm, const char *label)
{
    return vm->state && on_bus[number_of(label)] ? &cards[number_of(label)] : NULL;
}
struct virtio_device *vm_devices_plug(struct vm *vm, const char *label, struct vm_error *e)
{
    u32 n = number_of(label);
    if (n < VM_NICS && !strcmp(vm->config.nic[n].to_switch, "none")) {
        vm_error(e, HV_ENOENT, "E_NOENT", "net switch list", "there is no such switch");
        return NULL;
    }
    if (n < VM_NICS)
        vm->config.nic[n].mac = 0x64248000000 + n;
    on_bus[n] = true;
    return &cards[n];
}
bool vm_devices_is_boot_disk(const struct vm *vm, u32 n)
{
    (void)vm;
    return n == 0;
}

/* The guest lets it go, whether it was asked or not. */
static void eject(u32 n)
{
    on_bus[n] = false;
}

bool vm_disk_put_in(struct vm *vm, u32 n, const struct vm_disk *to, struct vm_error *e)
{
    fiber_sleep_until(clock_after(20 * CLOCK_MS));
    if (ejects_at_open)
        eject(0);
    if (strstr(to->file, "absent"))
        return vm_error(e, HV_ENOENT, "E_NOENT", "store ls", "there is no such file");
    vm->config.disk[n] = *to;
    on_bus[VM_NICS + n] = is_open = true;
    return true;
}
bool vm_disk_finish(struct vm *vm, u32 n, struct vm_error *e)
{
    (void)vm, (void)n;
    fiber_sleep_until(clock_after(20 * CLOCK_MS));
    is_open = false;
    return !cannot_flush || vm_error(e, HV_EIO, "E_IO", "host log", "it cannot be flushed");
}

/* ---- VMs and commands ------------------------------------------------------------------------ */

static void to_switch(struct vm_config *c, u32 n, const char *name)
{
    memset(&c->nic[n], 0, sizeof(c->nic[n]));
    snprintf(c->nic[n].to_switch, sizeof(c->nic[n].to_switch), "%s", name);
}

static void to_file(struct vm_config *c, u32 n, const char *name)
{
    snprintf(c->disk[n].file, sizeof(c->disk[n].file), "%s", name);
}

static void run(struct vm *vm)
{
    vm->state = &state;
    vm->phase = PHASE_RUNNING;
    vm->starts++;
    for (u32 i = 0; i < VM_NICS; i++)
        on_bus[i] = vm->config.nic[i].to_switch[0];
    for (u32 i = 0; i < VM_DISKS; i++)
        on_bus[VM_NICS + i] = vm_config_has_disk(&vm->config, i);
}

static void stop(struct vm *vm)
{
    vm->state = NULL;
    vm->phase = PHASE_STOPPED;
    memset(on_bus, 0, sizeof(on_bus));
}

static struct vm *vm_with_nics(u32 count)
{
    struct vm_config c;
    struct vm_error e;
    struct vm *vm;
    vm_config_default(&c);
    snprintf(c.name, sizeof(c.name), "web");
    snprintf(c.kernel, sizeof(c.kernel), "k");
    for (u32 i = 0; i < count; i++)
        to_switch(&c, i, "lan");
    assert_true(inventory_define(&c, &vm, &e));
    memset(&state, 0, sizeof(state));
    for (u32 i = 0; i < DEVICES; i++)
        cards[i].pci.slot = (u8)(4 + i);
    run(vm);
    asked_to_leave = 0;
    ejects_at_open = false;
    cannot_flush = is_open = false;
    return vm;
}

static int teardown(void **test)
{
    struct vm_error e;
    struct vm *vm = inventory_find("web");
    (void)test;
    if (!vm)
        return 0;
    stop(vm);
    return inventory_delete(vm, &e) ? 0 : -1;
}

struct command {
    u64 id;
    struct vm_config to;
    bool ended, ok;
    struct vm_error e;
};

static void change(void *arg)
{
    struct command *c = arg;
    c->ok = inventory_change(inventory_by_id(c->id), &c->to, &c->e);
    c->ended = true;
}

static void begin(struct command *c)
{
    c->ended = false;
    assert_true(fiber_spawn("vm set", change, c));
}

static struct command command_for(const struct vm *vm)
{
    return (struct command){.id = vm->id, .to = vm->config};
}

static void tick(void *owner)
{
    (void)owner;
}

static void step(void) /* an iteration that does not sleep for ever */
{
    struct loop_timer t = {.fn = tick};
    loop_timer_set(&t, clock_after(CLOCK_MS));
    loop_step();
    loop_timer_cancel(&t);
}

static void until_asked(u32 nics)
{
    for (u32 i = 0; i < 10000 && (asked_to_leave & nics) != nics; i++)
        step();
    assert_int_equal(asked_to_leave & nics, nics);
}

static void until_ended(const struct command *c)
{
    for (u32 i = 0; i < 10000 && !c->ended; i++)
        step();
    assert_true(c->ended);
}

static bool at_once(struct vm *vm, const struct vm_config *c, struct vm_error *e)
{
    return inventory_change(vm, c, e);
}

/* ---- tests ----------------------------------------------------------------------------------- */

static void what_others_set_meanwhile_stays(void **test)
{
    struct vm *vm = vm_with_nics(2);
    struct command leave = command_for(vm);
    struct vm_error e;
    (void)test;
    to_switch(&leave.to, 0, "");
    leave.to.cpu_cap = 50;
    begin(&leave);
    until_asked(1);
    assert_int_equal(vm->config.cpu_cap, 50); /* which waits for nobody */
    struct vm_config other = vm->config;
    other.cpu_weight = 700;
    other.nic[1].vlan = 7;
    other.cpu_cap = 80;
    assert_true(at_once(vm, &other, &e));
    eject(0);
    until_ended(&leave);
    assert_true(leave.ok);
    assert_int_equal(vm->config.cpu_weight, 700);
    assert_int_equal(vm->config.nic[1].vlan, 7);
    assert_int_equal(vm->config.cpu_cap, 80);
    assert_string_equal(vm->config.nic[0].to_switch, "");
}

static void the_same_nic_is_not_changed_twice_at_a_time(void **test)
{
    struct vm *vm = vm_with_nics(2);
    struct command leave = command_for(vm);
    struct vm_error e;
    (void)test;
    to_switch(&leave.to, 0, "");
    begin(&leave);
    until_asked(1);
    struct vm_config other = vm->config;
    other.nic[0].vlan = 7;
    other.cpu_weight = 700;
    assert_false(at_once(vm, &other, &e));
    assert_string_equal(e.code, "E_BUSY");
    assert_int_not_equal(vm->config.cpu_weight, 700);
    eject(0);
    until_ended(&leave);
    assert_true(leave.ok);
    other = vm->config;
    to_switch(&other, 0, "lan");
    assert_true(at_once(vm, &other, &e));
    assert_int_not_equal(vm->config.nic[0].mac, 0);
}

static void what_came_before_an_error_is_done(void **test)
{
    struct vm *vm = vm_with_nics(1);
    struct command c = command_for(vm);
    u32 edits = vm->edits;
    (void)test;
    c.to.cpu_weight = 300;
    to_switch(&c.to, 1, "lan");
    to_switch(&c.to, 2, "none");
    to_switch(&c.to, 3, "lan");
    begin(&c);
    until_ended(&c);
    assert_false(c.ok);
    assert_string_equal(c.e.code, "E_NOENT");
    assert_int_not_equal(vm->edits, edits);
    assert_int_equal(vm->config.cpu_weight, 300);
    assert_string_equal(vm->config.nic[1].to_switch, "lan");
    assert_string_equal(vm->config.nic[2].to_switch, "");
    assert_string_equal(vm->config.nic[3].to_switch, "");
    assert_int_equal(vm->changing, 0);
}

/* A NIC that the guest gives up while the command waits for another one is not put in again. */
static void a_guest_may_let_go_of_what_it_was_not_asked_for(void **test)
{
    struct vm *vm = vm_with_nics(2);
    struct command c = command_for(vm);
    (void)test;
    to_switch(&c.to, 0, "");
    c.to.nic[1].vlan = 9;
    begin(&c);
    until_asked(1);
    eject(1);
    eject(0);
    until_ended(&c);
    assert_false(c.ok);
    assert_string_equal(c.e.code, "E_NOENT");
    assert_false(on_bus[1]);
    assert_int_equal(vm->config.nic[1].vlan, 0);
    assert_string_equal(vm->config.nic[1].to_switch, "lan"); /* it has it at its next start */
    assert_string_equal(vm->config.nic[0].to_switch, "");
}

static void a_vm_that_is_stopped_meanwhile_gets_it_all(void **test)
{
    struct vm *vm = vm_with_nics(1);
    struct command c = command_for(vm);
    (void)test;
    to_switch(&c.to, 0, "");
    to_switch(&c.to, 1, "lan");
    begin(&c);
    until_asked(1);
    stop(vm);
    until_ended(&c);
    assert_true(c.ok);
    assert_string_equal(vm->config.nic[0].to_switch, "");
    assert_string_equal(vm->config.nic[1].to_switch, "lan");
    assert_false(on_bus[1]);
}

static void a_vm_that_is_started_again_keeps_what_it_has(void **test)
{
    struct vm *vm = vm_with_nics(1);
    struct command c = command_for(vm);
    (void)test;
    to_switch(&c.to, 0, "");
    begin(&c);
    until_asked(1);
    stop(vm);
    run(vm);
    until_ended(&c);
    assert_false(c.ok);
    assert_string_equal(c.e.code, "E_STATE");
    assert_string_equal(vm->config.nic[0].to_switch, "lan");
    assert_int_equal(vm->changing, 0);
}

static void a_vm_of_the_same_name_is_another(void **test)
{
    struct vm *vm = vm_with_nics(1);
    struct command c = command_for(vm);
    struct vm_error e;
    (void)test;
    to_switch(&c.to, 0, "");
    begin(&c);
    until_asked(1);
    stop(vm);
    assert_true(inventory_delete(vm, &e));
    vm = vm_with_nics(1);
    until_ended(&c);
    assert_false(c.ok);
    assert_string_equal(c.e.code, "E_NOENT");
    assert_string_equal(vm->config.nic[0].to_switch, "lan");
}

static void a_vm_on_whose_disks_a_task_works_is_not_deleted(void **test)
{
    struct vm *vm = vm_with_nics(0);
    struct vm_error e;
    (void)test;
    stop(vm);
    vm->storing = true;
    assert_false(inventory_delete(vm, &e));
    assert_string_equal(e.code, "E_BUSY");
    vm->storing = false;
    assert_true(inventory_delete(vm, &e));
}

static void a_disk_comes_and_goes(void **test)
{
    struct vm *vm = vm_with_nics(1);
    struct command in = command_for(vm), out;
    struct vm_error e;
    (void)test;
    to_file(&in.to, 1, "ds1:web/more");
    begin(&in);
    step();
    assert_false(vm_config_has_disk(&vm->config, 1)); /* not before it is in */
    struct vm_config other = vm->config;
    other.cpu_weight = 700;
    assert_true(at_once(vm, &other, &e));
    to_file(&other, 1, "ds1:web/other");
    assert_false(at_once(vm, &other, &e));
    assert_string_equal(e.code, "E_BUSY");
    until_ended(&in);
    assert_true(in.ok);
    assert_string_equal(vm->config.disk[1].file, "ds1:web/more");
    assert_int_equal(vm->config.cpu_weight, 700);
    other = vm->config;
    to_file(&other, 1, "ds1:web/other");
    assert_false(at_once(vm, &other, &e)); /* it is exchanged while stopped */
    assert_string_equal(e.code, "E_STATE");
    out = command_for(vm);
    to_file(&out.to, 1, "");
    begin(&out);
    until_asked(BIT(VM_NICS + 1));
    assert_true(vm_config_has_disk(&vm->config, 1));
    eject(VM_NICS + 1);
    until_ended(&out);
    assert_true(out.ok);
    assert_false(is_open);
    assert_false(vm_config_has_disk(&vm->config, 1));
}

static void a_disk_that_is_not_there_does_not_undo_the_one_before(void **test)
{
    struct vm *vm = vm_with_nics(1);
    struct command c = command_for(vm);
    (void)test;
    to_file(&c.to, 1, "ds1:web/more");
    to_file(&c.to, 2, "ds1:web/absent");
    ejects_at_open = true;
    begin(&c);
    until_ended(&c);
    assert_false(c.ok);
    assert_string_equal(c.e.code, "E_NOENT");
    assert_true(vm_config_has_disk(&vm->config, 1));
    assert_false(vm_config_has_disk(&vm->config, 2));
    assert_string_equal(vm->config.nic[0].to_switch, "lan");
    assert_int_equal(vm->changing, 0);
}

static void the_disk_it_boots_from_stays(void **test)
{
    struct vm *vm = vm_with_nics(0);
    struct vm_config c = vm->config;
    struct vm_error e;
    (void)test;
    to_file(&c, 0, "ds1:web/boot");
    c.cpu_weight = 700;
    assert_false(at_once(vm, &c, &e));
    assert_string_equal(e.code, "E_STATE");
    assert_int_not_equal(vm->config.cpu_weight, 700);
    stop(vm);
    assert_true(at_once(vm, &c, &e));
    run(vm);
    to_file(&c, 0, "");
    assert_false(at_once(vm, &c, &e));
    assert_string_equal(e.code, "E_STATE");
    assert_int_equal(asked_to_leave, 0);
}

/* It is gone all the same: only its last writes are in doubt. */
static void a_flush_that_fails_is_told(void **test)
{
    struct vm *vm = vm_with_nics(0);
    struct command c = command_for(vm);
    (void)test;
    to_file(&c.to, 1, "ds1:web/more");
    begin(&c);
    until_ended(&c);
    to_file(&c.to, 1, "");
    cannot_flush = true;
    begin(&c);
    until_asked(BIT(VM_NICS + 1));
    eject(VM_NICS + 1);
    until_ended(&c);
    assert_false(c.ok);
    assert_string_equal(c.e.code, "E_IO");
    assert_false(vm_config_has_disk(&vm->config, 1));
}

#define test(name) cmocka_unit_test_teardown(name, teardown)

int main(void)
{
    const struct CMUnitTest tests[] = {
        test(what_others_set_meanwhile_stays),
        test(the_same_nic_is_not_changed_twice_at_a_time),
        test(what_came_before_an_error_is_done),
        test(a_guest_may_let_go_of_what_it_was_not_asked_for),
        test(a_vm_that_is_stopped_meanwhile_gets_it_all),
        test(a_vm_that_is_started_again_keeps_what_it_has),
        test(a_vm_of_the_same_name_is_another),
        test(a_vm_on_whose_disks_a_task_works_is_not_deleted),
        test(a_disk_comes_and_goes),
        test(a_disk_that_is_not_there_does_not_undo_the_one_before),
        test(the_disk_it_boots_from_stays),
        test(a_flush_that_fails_is_told),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
