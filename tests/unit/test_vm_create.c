/* links: kernel/vm.c kernel/vcpu.c kernel/pgtab.c kernel/policy.c kernel/vlapic.c kernel/vlapic_route.c kernel/vlapic_timer.c kernel/device.c kernel/vmx.c kernel/svm.c kernel/svm_vcpu.c tests/unit/vm_lab.c tests/unit/fakes.c */
/* Making a VM, its vCPUs, its memory and a device's memory: whichever allocation fails, the call
 * says so, what was there is as it was, a second try works, and the end frees every frame. */
#include "tests/unit/vm_lab.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>

#include <cmocka.h>

#include "kernel/control.h"
#include "kernel/device.h"
#include "kernel/vcpu.h"
#include "tests/unit/fakes.h"

#define STATE_SIZE (4 * PAGE_SIZE)

static struct vm *vm;
static u64 dma[2];

/* What a step that failed must have left alone: all but empty tables. */
struct seen {
    u64 ram_bytes, vcpu_count, used, control_used, window;
};

static struct seen look(void)
{
    struct seen s = {.control_used = control.quota.used - control.space.table_bytes};

    if (vm) {
        s.ram_bytes = vm->ram_bytes;
        s.vcpu_count = vm->vcpu_count;
        s.used = vm->quota.used - vm->npt.table_bytes - vm->window.table_bytes;
        s.window = pgtab_top_entry(&control.space, vm->slot + 1);
    }
    return s;
}

static i64 create(u64 unused)
{
    static const struct vm_create args = {
        .name = "test", .ram_limit = 64 * MIB, .state_size = STATE_SIZE};
    static const struct vm_policy policy = {.flags = 0};
    u32 slot;
    i64 st = vm_create(&args, &policy, &slot);

    (void)unused;
    if (st == HV_OK)
        assert_int_equal(vm_get(slot, &vm), HV_OK);
    else
        assert_int_equal(pgtab_top_entry(&control.space, 1), 0);
    return st;
}

static i64 add_vcpu(u64 index)
{
    i64 st = vcpu_create(vm, (u32)index);

    assert_true(!vm->vcpus[index] == (st != HV_OK));
    return st;
}

static i64 add_ram(u64 gpa)
{
    u64 len = gpa == PAGE_2M ? 3 * PAGE_2M + 5 * PAGE_SIZE : PAGE_SIZE, pa, size;
    u32 attr;
    i64 st = vm_add_ram(vm, gpa, len, 0);

    for (u64 at = gpa; at < gpa + len; at += PAGE_SIZE) {
        u64 va = VM_WINDOW(vm->slot) + VM_WINDOW_RAM + at;
        assert_true(pgtab_lookup(&vm->npt, at, &pa, &attr, &size) == (st == HV_OK));
        assert_true(pgtab_lookup(&vm->window, va, &pa, &attr, &size) == (st == HV_OK));
    }
    return st;
}

/* Where some is already. */
static i64 add_taken(u64 gpa)
{
    i64 st = vm_add_ram(vm, gpa, 2 * PAGE_2M, 0);

    assert_int_not_equal(st, HV_OK);
    return st == HV_EEXIST ? HV_OK : st;
}

static i64 take_written(u64 gpa)
{
    u64 written[8] = {0};
    i64 st = vm_written(vm, gpa, PAGE_2M, written);

    for (u32 i = 0; i < 8; i++) /* what is new counts as written, once it can be told */
        assert_int_equal(written[i], st == HV_OK ? ~0ull : 0);
    return st;
}

static i64 add_dma(u64 large)
{
    const u64 args[6] = {large ? PAGE_2M : PAGE_SIZE};
    i64 st = device_dma(args);

    if (st > 0)
        dma[large] = (u64)st;
    return st > 0 ? HV_OK : st;
}

static const struct {
    i64 (*make)(u64 argument);
    u64 argument;
} steps[] = {
    {create, 0},          {add_vcpu, 0},           {add_vcpu, 1},
    {add_ram, 0},         {add_ram, PAGE_2M},      {add_taken, PAGE_2M / 2},
    {add_ram, 0x2000000}, {take_written, PAGE_2M}, {add_dma, 0},
    {add_dma, 1},
};

/* Everything, with allocation `fails` from now not to be had; false: there are not so many. */
static bool all_steps(i64 fails)
{
    bool failed = false;

    fakes_mem_fail_after(fails);
    for (u32 i = 0; i < ARRAY_LEN(steps); i++) {
        struct seen before = look(), after;
        i64 st = steps[i].make(steps[i].argument);
        if (st == HV_OK)
            continue;
        assert_int_equal(st, HV_ENOMEM);
        assert_false(failed);
        failed = true;
        after = look();
        assert_memory_equal(&before, &after, sizeof(before));
        fakes_mem_fail_after(-1);
        i--; /* again */
    }
    return failed;
}

static void take_apart(void)
{
    vm_destroy(vm);
    vm = NULL;
    for (u32 i = 0; i < 2; i++)
        assert_int_equal(pgtab_free(&control.space, dma[i], i ? PAGE_2M : PAGE_SIZE), HV_OK);
}

static void each_failure(const struct hvm_ops *backend)
{
    i64 n = 0;
    bool more;

    do {
        lab_start(backend);
        u64 live = fakes_mem_live();
        more = all_steps(n++);
        take_apart();
        assert_true(fakes_mem_live() - live <= lab_tables());
        lab_end();
        assert_int_equal(fakes_mem_live(), 0);
        assert_int_equal(control.quota.used, 0);
    } while (more);
    assert_true(n > 40);
}

static void on_vtx(void **state)
{
    (void)state;
    each_failure(&lab_vmx);
}

static void on_amd_v(void **state)
{
    (void)state;
    each_failure(&hvm_svm);
}

/* A VM's own quota, which it may use up, does to it what memory that is used up does. */
static void quota_is_kept(void **state)
{
    u64 pages = 0;

    (void)state;
    lab_start(&lab_vmx);
    assert_int_equal(create(0), HV_OK);
    for (u32 i = 0; i < VM_VCPUS; i++)
        assert_int_equal(vcpu_create(vm, i), HV_OK);
    vm->quota.limit = vm->quota.used + 32 * PAGE_SIZE;
    while (vm_add_ram(vm, pages * PAGE_2M, PAGE_SIZE, 0) == HV_OK)
        pages++;
    assert_true(pages > 4 && pages < 32);
    assert_int_equal(vm->ram_bytes, pages * PAGE_SIZE);
    vm_destroy(vm);
    vm = NULL;
    lab_end();
    assert_int_equal(fakes_mem_live(), 0);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(on_vtx),
        cmocka_unit_test(on_amd_v),
        cmocka_unit_test(quota_is_kept),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
