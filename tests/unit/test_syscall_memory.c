/* links: kernel/syscall.c kernel/sys_vm.c kernel/control.c kernel/space.c kernel/vm.c kernel/vcpu.c kernel/runq.c kernel/pgtab.c kernel/policy.c kernel/vlapic.c kernel/vlapic_route.c kernel/vlapic_timer.c kernel/timer.c kernel/device.c kernel/vtd.c kernel/vmx.c kernel/svm.c kernel/svm_vcpu.c tests/unit/vm_lab.c tests/unit/machine.c tests/unit/fakes.c */
/* Every system call that may need memory, with each of its allocations failing in turn: the call
 * says so, nothing is mapped or charged that was not before, a second try works, and in the end no
 * frame is without an owner.  tests/check_calls.py looks that none is missing in calls[]. */
#include "tests/unit/vm_lab.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>

#include <cmocka.h>

#include "kernel/control.h"
#include "kernel/vcpu.h"
#include "tests/unit/fakes.h"
#include "tests/unit/machine.h"

#define STATE_SIZE (4 * PAGE_SIZE)
/* Of ring 3's stack, where calls have their arguments and results. */
#define AT_REQUEST (USER_STACK_TOP - USER_STACK_SIZE)
#define AT_POLICY (AT_REQUEST + PAGE_SIZE)
#define AT_RESULT (AT_POLICY + 2 * PAGE_SIZE)
#define HEAP (2 * PAGE_2M + 5 * PAGE_SIZE)
#define ALL_HEAP (USER_HEAP_BASE), (4 * PAGE_2M)
#define RAM_2M PAGE_2M, (3 * PAGE_2M + 5 * PAGE_SIZE)

/* In this order, each in what those before have made. */
static const struct {
    u64 number;
    u64 args[6];
    i64 status; /* 0: any that is no error */
    bool free;  /* it needs none: it works where there is no memory at all */
} calls[] = {
    {SYS_MEM_MAP, {HEAP}, 0, false},
    {SYS_MEM_UNMAP, {USER_HEAP_BASE + MIB, PAGE_2M}, 0, false}, /* both ends in large pages */
    {SYS_MEM_MAP, {PAGE_SIZE}, 0, false},
    {SYS_DEV_CLAIM, {MACHINE_FUNCTION, MACHINE_FUNCTION}, 0, false},
    {SYS_DEV_BAR, {MACHINE_FUNCTION, 0, AT_RESULT}, 0, false},
    {SYS_DMA_MAP, {PAGE_SIZE}, 0, false},
    {SYS_DMA_MAP, {PAGE_2M}, 0, false},
    {SYS_VM_CREATE, {AT_REQUEST}, 0, false},
    {SYS_VCPU_CREATE, {0, 0}, 0, false},
    {SYS_VCPU_CREATE, {0, 1}, 0, false},
    {SYS_VM_MEM, {0, 0, PAGE_SIZE, 0}, 0, false},
    {SYS_VM_MEM, {0, RAM_2M, 0}, 0, false},
    {SYS_VM_MEM, {0, MIB, 2 * PAGE_2M, 0}, HV_EEXIST, false}, /* some is there */
    {SYS_VM_MEM, {0, 32 * MIB, PAGE_SIZE, VM_MEM_READONLY}, 0, false},
    {SYS_VM_MEM, {0, PAGE_2M + PAGE_SIZE, PAGE_SIZE, VM_MEM_TAKE}, 0, false}, /* of large pages */
    {SYS_VM_MEM, {0, PAGE_2M + PAGE_SIZE, PAGE_SIZE, VM_MEM_TAKE}, HV_ENOENT, false},
    {SYS_VM_MEM, {0, PAGE_2M, PAGE_2M, VM_MEM_TAKE}, HV_EINVAL, false},
    {SYS_VM_MEM, {0, PAGE_2M + PAGE_SIZE, PAGE_SIZE, 0}, 0, false},
    {SYS_VM_WRITTEN, {0, PAGE_2M, PAGE_2M, AT_RESULT}, 0, false},
    {SYS_VM_DESTROY, {0}, 0, true},
    {SYS_VM_CREATE, {AT_REQUEST}, 0, false}, /* outlives the instance */
    {SYS_VM_MEM, {0, RAM_2M, 0}, 0, false},
    {SYS_MEM_UNMAP, {ALL_HEAP}, 0, true},
    {SYS_MEM_MAP, {HEAP}, 0, false},
    {SYS_EXIT, {0}, 0, true},
    {SYS_VM_DESTROY, {0}, 0, true},
};

/* What is mapped where, page by page, and charged to whom, but for tables, which may stay. */
struct seen {
    u64 control, guest;           /* sums over all pages of address, frame, attributes */
    u64 control_used, guest_used; /* bytes */
    u64 ram_bytes, vcpu_count;
};

static u64 sum(const struct pgtab *t, u64 end)
{
    u64 total = 0, pa, size;
    u32 attr;

    for (u64 va = 0; va < end; va = ROUND_DOWN(va, size) + size)
        if (pgtab_lookup(t, va, &pa, &attr, &size))
            for (u64 at = 0; at < size; at += PAGE_SIZE)
                total += ((va + at) * 3 + (pa + at) * 5 + attr) * 0x9e3779b97f4a7c15 >> 8;
    return total;
}

static struct seen look(void)
{
    struct seen s = {.control = sum(&control.space, USER_END),
                     .control_used = control.quota.used - control.space.table_bytes};
    const struct vm *vm = vms[0];

    if (vm) {
        s.guest = sum(&vm->npt, VM_RAM_GPA_END);
        s.guest_used = vm->quota.used - vm->npt.table_bytes - vm->window.table_bytes;
        s.ram_bytes = vm->ram_bytes;
        s.vcpu_count = vm->vcpu_count;
    }
    return s;
}

/* Every frame is charged to somebody who is there. */
static void assert_owned(void)
{
    u64 guests = vms[0] ? vms[0]->quota.used : 0;

    assert_int_equal(fakes_mem_live_bytes(), quota_kernel.used + control.quota.used + guests);
}

static void write_request(void)
{
    static const struct vm_policy policy = {.flags = 0};
    const struct vm_create request = {.name = "test",
                                      .ram_limit = 64 * MIB,
                                      .state_size = STATE_SIZE,
                                      .policy = (const void *)AT_POLICY};

    assert_int_equal(user_write(AT_REQUEST, &request, sizeof(request)), HV_OK);
    assert_int_equal(user_write(AT_POLICY, &policy, sizeof(policy)), HV_OK);
}

static bool worked(u32 i, i64 status)
{
    return calls[i].status ? status == calls[i].status : status >= 0;
}

/* Call i, whose allocation `fails` is not to be had, if it has so many; true: it had. */
static bool one_call(u32 i, i64 *fails)
{
    struct seen before = look(), after;

    fakes_mem_fail_after(calls[i].free ? 0 : *fails);
    i64 status = lab_call(calls[i].number, calls[i].args);
    i64 left = fakes_mem_left();
    fakes_mem_fail_after(-1);
    assert_owned();
    if (!calls[i].free && left >= 0)
        *fails = left;
    if (worked(i, status))
        return !calls[i].free && left < 0; /* smaller blocks did as well */
    if (status != HV_ENOMEM || calls[i].free)
        fail_msg("call %lu, row %u: %ld", calls[i].number, i, status);
    after = look();
    assert_memory_equal(&before, &after, sizeof(before));
    if (!worked(i, status = lab_call(calls[i].number, calls[i].args)))
        fail_msg("call %lu, row %u, again: %ld", calls[i].number, i, status);
    assert_owned();
    return true;
}

/* All of them, with allocation `fails` from now not to be had; false: there are not so many. */
static bool all_calls(i64 fails)
{
    bool failed = false;

    for (u32 i = 0; i < ARRAY_LEN(calls); i++) {
        if (calls[i].number == SYS_VM_CREATE)
            write_request();
        if (failed)
            assert_true(worked(i, lab_call(calls[i].number, calls[i].args)));
        else
            failed = one_call(i, &fails);
    }
    return failed;
}

static void each_failure(const struct hvm_ops *backend)
{
    u64 kernel = 0;
    i64 n = 0;
    bool more;

    lab_start(backend);
    struct seen start = look();
    assert_false(all_calls(1000000)); /* as it is when nothing fails */
    kernel = quota_kernel.used;
    do {
        lab_start(backend);
        start = look();
        more = all_calls(n++);
        struct seen end = look();
        assert_memory_equal(&start, &end, sizeof(start));
        assert_owned();
        assert_int_equal(quota_kernel.used, kernel);
    } while (more);
    assert_true(n > 80);
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
    write_request();
    assert_int_equal(lab_call(SYS_VM_CREATE, (u64[6]){AT_REQUEST}), 0);
    for (u32 i = 0; i < VM_VCPUS; i++)
        assert_int_equal(lab_call(SYS_VCPU_CREATE, (u64[6]){0, i}), HV_OK);
    vms[0]->quota.limit = vms[0]->quota.used + 32 * PAGE_SIZE;
    while (lab_call(SYS_VM_MEM, (u64[6]){0, pages * PAGE_2M, PAGE_SIZE}) == HV_OK)
        pages++;
    assert_true(pages > 4 && pages < 32);
    assert_int_equal(vms[0]->ram_bytes, pages * PAGE_SIZE);
    assert_int_equal(lab_call(SYS_VM_DESTROY, (u64[6]){0}), HV_OK);
    assert_owned();
}

/* What was the last instance's is not seen by the next one, and its own is as at the start. */
static void restart_is_clean(void **state)
{
    const u64 places[] = {AT_REQUEST, USER_IMAGE_BASE + PAGE_SIZE, USER_STACK_TOP - 8};
    u64 value = 1;

    (void)state;
    lab_start(&lab_vmx);
    assert_int_equal(lab_call(SYS_MEM_MAP, (u64[6]){PAGE_SIZE}), USER_HEAP_BASE);
    for (u32 i = 0; i < ARRAY_LEN(places); i++)
        assert_int_equal(user_write(places[i], &value, sizeof(value)), HV_OK);
    assert_int_equal(user_write(USER_IMAGE_BASE, &value, sizeof(value)), HV_EFAULT);
    assert_int_equal(lab_call(SYS_EXIT, (u64[6]){0}), HV_OK);
    for (u32 i = 0; i < ARRAY_LEN(places); i++) {
        assert_int_equal(user_read(&value, places[i], sizeof(value)), HV_OK);
        assert_int_equal(value, 0);
    }
    assert_int_equal(user_read(&value, USER_HEAP_BASE, sizeof(value)), HV_EFAULT);
    assert_int_equal(control.restarts, 1);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(on_vtx),
        cmocka_unit_test(on_amd_v),
        cmocka_unit_test(quota_is_kept),
        cmocka_unit_test(restart_is_clean),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
