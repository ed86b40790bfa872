/* links: vmm/vm_reserve.c */
/* cpu.reserve: what fits is placed, what does not is refused, and the weights give each its
 * percentage, whatever the others' weights are. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>

#include <cmocka.h>

#include "vmm/vm_reserve.h"

#define ANY 0xffffffffffffffffull
#define R(mask_, percent_, weight_)                                                                \
    {                                                                                              \
        .mask = mask_, .percent = percent_, .weight = weight_, .cpu = VM_RESERVE_NONE              \
    }

static void full(void **state)
{
    struct vm_reserve list[] = {R(ANY, 50, 100), R(ANY, 50, 100), R(ANY, 50, 100)};
    (void)state;
    assert_false(vm_reserve_place(list, 3, 2));
    assert_int_equal(list[0].cpu, VM_RESERVE_NONE);
    assert_true(vm_reserve_place(list, 2, 2));
    assert_int_not_equal(list[0].cpu, list[1].cpu);
    assert_int_equal(vm_reserve_on(list, 2, 0), 50);
    list[2].percent = 40;
    assert_true(vm_reserve_place(list, 3, 2));
    list[2].percent = 41;
    assert_false(vm_reserve_place(list, 3, 2));
    list[2].percent = 0;
    assert_true(vm_reserve_place(list, 3, 2));
    assert_int_equal(list[2].cpu, VM_RESERVE_NONE);
}

static void places_are_kept(void **state)
{
    struct vm_reserve list[] = {R(ANY, 40, 100), R(ANY, 40, 100), R(1, 60, 100)};
    (void)state;
    assert_true(vm_reserve_place(list, 1, 2));
    u8 first = list[0].cpu;
    assert_true(vm_reserve_place(list, 2, 2));
    assert_int_equal(list[0].cpu, first);
    /* The third needs all of CPU 0, so one has to move. */
    assert_true(vm_reserve_place(list, 3, 2));
    assert_int_equal(list[2].cpu, 0);
    assert_int_equal(list[0].cpu, 1);
    assert_int_equal(list[1].cpu, 1);
    list[1].mask = 1;
    assert_false(vm_reserve_place(list, 3, 2));
}

static void masks(void **state)
{
    struct vm_reserve list[] = {R(2, 90, 1), R(ANY, 90, 1), R(4, 90, 1)};
    (void)state;
    assert_true(vm_reserve_place(list, 3, 3));
    assert_int_equal(list[0].cpu, 1);
    assert_int_equal(list[1].cpu, 0);
    assert_int_equal(list[2].cpu, 2);
    list[0].percent = 91;
    assert_false(vm_reserve_place(list, 3, 3));
    list[0].percent = 90;
    list[0].mask = 8; /* there are three CPUs */
    assert_false(vm_reserve_place(list, 3, 3));
}

/* Its share in percent if everything that may use its CPU is busy there. */
static double share(const struct vm_reserve *list, u32 count, u32 index)
{
    double all = 0;
    for (u32 i = 0; i < count; i++) {
        bool here =
            list[i].percent ? list[i].cpu == list[index].cpu : list[i].mask >> list[index].cpu & 1;
        all += here ? list[i].given : 0;
    }
    return list[index].given * 100 / all;
}

static void weights(void **state)
{
    (void)state;
    srand(1);
    for (u32 round = 0; round < 2000; round++) {
        struct vm_reserve list[24];
        u32 count = 1 + (u32)rand() % 24, cpus = 1 + (u32)rand() % 4;
        for (u32 i = 0; i < count; i++) {
            list[i] = (struct vm_reserve)R(ANY, 0, 50 + (u32)rand() % 200);
            if (rand() % 2) {
                list[i].percent = 1 + (u32)rand() % 40;
                if (!vm_reserve_place(list, i + 1, cpus))
                    list[i].percent = 0;
            }
        }
        assert_true(vm_reserve_place(list, count, cpus));
        vm_reserve_weigh(list, count);
        for (u32 i = 0; i < count; i++) {
            assert_in_range(list[i].given, 1, VM_RESERVE_WEIGHT_MAX);
            if (list[i].percent)
                assert_true(share(list, count, i) >= list[i].percent * 0.98);
        }
        for (u32 cpu = 0; cpu < cpus; cpu++)
            assert_true(vm_reserve_on(list, count, cpu) <= VM_RESERVE_LIMIT);
    }
}

static void without_reservations(void **state)
{
    struct vm_reserve list[] = {R(ANY, 0, 1), R(ANY, 0, 10000), R(ANY, 10, 300)};
    (void)state;
    assert_true(vm_reserve_place(list, 2, 1));
    vm_reserve_weigh(list, 2);
    assert_int_equal(list[0].given, 1);
    assert_int_equal(list[1].given, 10000);
    /* A weight that gives more than the reservation stays. */
    list[1].weight = 100;
    assert_true(vm_reserve_place(list, 3, 1));
    vm_reserve_weigh(list, 3);
    assert_int_equal(list[2].given, 300);
    /* Alone: anything. */
    list[0] = list[2];
    vm_reserve_weigh(list, 1);
    assert_true(list[0].given >= 1);
}

int main(void)
{
    const struct CMUnitTest tests[] = {cmocka_unit_test(full), cmocka_unit_test(places_are_kept),
                                       cmocka_unit_test(masks), cmocka_unit_test(weights),
                                       cmocka_unit_test(without_reservations)};
    return cmocka_run_group_tests(tests, NULL, NULL);
}
