/* links: kernel/doorbell.c */
/* Which accesses are doorbells, what they leave behind, and who is told. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "kernel/control.h"
#include "kernel/doorbell.h"
#include "kernel/irq.h"

#define SLOT 3

struct control control;
struct cpu *cpus[CPU_MAX];
u32 cpu_count;
u64 tsc_hz = 1000000000;

static struct control_page page;
static struct cpu cpu[3];
static struct vm vm;
static struct vcpu v;
static struct timer *armed;
static u32 kicked, kicks, wakes;

void timer_set(struct timer *t, u64 deadline)
{
    t->deadline = deadline;
    armed = t;
}
void irq_kick(u32 c)
{
    kicked = c;
    kicks++;
}
void control_wake(void)
{
    wakes++;
}

static int fresh(void **state)
{
    (void)state;
    memset(&page, 0, sizeof(page));
    memset(cpu, 0, sizeof(cpu));
    control.page = &page;
    control.state = CONTROL_BLOCKED;
    cpu_count = ARRAY_LEN(cpu);
    for (u32 i = 0; i < cpu_count; i++) {
        cpus[i] = &cpu[i];
        cpu[i].id = i;
    }
    vm = (struct vm){.slot = SLOT};
    vm.doorbells[0] = 1;
    vm.doorbells[5] = 0x8006;
    vm.doorbells[31] = 0xffff;
    v = (struct vcpu){.vm = &vm, .cpu = 1};
    armed = NULL;
    kicked = kicks = wakes = 0;
    return 0;
}

static struct exit_io out16(u32 doorbell)
{
    return (struct exit_io){.port = (u16)(DOORBELL_PORT + 2 * doorbell), .size = 2};
}

static u64 bits_set(void)
{
    u64 n = 0;
    for (u32 s = 0; s < VM_SLOTS; s++)
        for (u32 w = 0; w < DOORBELL_WORDS; w++)
            n += (u64)__builtin_popcountll(page.doorbells[s][w]);
    return n;
}

static void only_named_ports(void **state)
{
    u64 rung = 0;

    (void)state;
    control.state = CONTROL_RUNNING;
    for (u32 port = 0; port < 0x10000; port++) {
        struct exit_io io = {.port = (u16)port, .size = 2};
        u32 n = (port - DOORBELL_PORT) / 2, group = n / DOORBELL_GROUP;
        bool named =
            port % 2 == 0 && n < DOORBELLS && (vm.doorbells[group] >> n % DOORBELL_GROUP & 1);
        assert_int_equal(doorbell_ring(&v, io), named);
        rung += named;
        assert_int_equal(bits_set(), rung);
        if (named)
            assert_true(page.doorbells[SLOT][n / 64] >> n % 64 & 1);
    }
    assert_int_equal(rung, 1 + 3 + 16);
    assert_int_equal(page.vm_doorbells, BIT(SLOT));
    assert_int_equal(page.events, EVENT_DOORBELL);
    assert_int_equal(kicks, 0); /* it is awake */
    assert_null(armed);
}

static void only_writes_of_16_bits(void **state)
{
    (void)state;
    struct exit_io io = out16(0);
    io.size = 1;
    assert_false(doorbell_ring(&v, io));
    io.size = 4;
    assert_false(doorbell_ring(&v, io));
    io = out16(0);
    io.in = true;
    assert_false(doorbell_ring(&v, io));
    io = out16(0);
    io.string = true;
    assert_false(doorbell_ring(&v, io));
    io = out16(0);
    io.port++;
    assert_false(doorbell_ring(&v, io));
    assert_int_equal(bits_set() + page.events + page.vm_doorbells, 0);
    assert_true(doorbell_ring(&v, out16(0)));
    vm.doorbells[0] = 0; /* taken back */
    assert_false(doorbell_ring(&v, out16(0)));
}

static void an_idle_core_is_woken_once(void **state)
{
    (void)state;
    cpu[2].idle = true;
    assert_true(doorbell_ring(&v, out16(81)));
    assert_int_equal(kicks, 1);
    assert_int_equal(kicked, 2);
    assert_int_equal(cpu[2].attention, ATTENTION_RESCHED);
    assert_int_equal(cpu[1].attention, 0);
    assert_true(doorbell_ring(&v, out16(81)));
    assert_true(doorbell_ring(&v, out16(82)));
    assert_int_equal(kicks, 1);
    assert_null(armed);
}

static void without_one_it_waits_a_little(void **state)
{
    (void)state;
    u64 before = tsc_read();
    assert_true(doorbell_ring(&v, out16(81)));
    assert_non_null(armed);
    assert_true(armed->deadline >= before + tsc_hz / 20000);
    assert_int_equal(cpu[1].attention, ATTENTION_KICK);
    assert_int_equal(kicks, 0);
    armed->fire(armed);
    assert_int_equal(wakes, 1);
    page.events = 0; /* taken meanwhile */
    armed->fire(armed);
    assert_int_equal(wakes, 1);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup(only_named_ports, fresh),
        cmocka_unit_test_setup(only_writes_of_16_bits, fresh),
        cmocka_unit_test_setup(an_idle_core_is_woken_once, fresh),
        cmocka_unit_test_setup(without_one_it_waits_a_little, fresh),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
