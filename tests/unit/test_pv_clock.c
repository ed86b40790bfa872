/* links: vmm/pv_clock.c vmm/guest_mem.c */
/* The clock of guests on AMD-V: rates, what is written into guest memory and what is not. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>

#include <cmocka.h>

#include "control/rt/clock.h"
#include "control/rt/sys.h"
#include "vmm/platform.h"
#include "vmm/pv_clock.h"
#include "vmm/vm.h"

static struct host_info info = {.tsc_hz = 2596123456};
static struct vcpu_page page;
static struct vm vm;
static u8 memory[8192];

const struct host_info *sys_host_info(void)
{
    return &info;
}

i64 sys_call(u64 n, u64 a, u64 b, u64 c, u64 d, u64 e)
{
    (void)a, (void)b, (void)c, (void)d, (void)e;
    assert_int_equal(n, SYS_VCPU_GET);
    page.full.tsc_offset = -1000ull * info.tsc_hz;
    return HV_OK;
}

u64 clock_tsc(void)
{
    return 1003 * info.tsc_hz; /* three seconds of the guest's */
}

u64 platform_unix_ns(void)
{
    return 1700000000ull * NS_PER_SEC + 500;
}

static u64 distance(u64 a, u64 b)
{
    return a > b ? a - b : b - a;
}

static void rates_hold_for_years(void **state)
{
    static const u64 rates[] = {1,          1000000,    999999999,  1000000000,
                                1000000001, 1999999999, 2000000000, 2000000001,
                                2596123456, 5000000000, 7777777777, 1u << 31};
    (void)state;
    for (u32 i = 0; i < sizeof(rates) / sizeof(*rates); i++) {
        struct pv_clock_rate r = pv_clock_rate(rates[i]);
        u64 seconds = rates[i] < 1000 ? 1000 : 100000000 / (rates[i] / 1000000000 + 1);
        u64 ns = pv_clock_ns(r, seconds * rates[i]);
        assert_true(r.mul >> 31);
        assert_true(distance(ns, seconds * NS_PER_SEC) <= seconds); /* 1 ns a second */
    }
}

static void write_msr(u32 msr, u64 value)
{
    page.regs[REG_RCX] = msr;
    page.regs[REG_RAX] = (u32)value | 0xabcull << 32; /* WRMSR ignores the upper half */
    page.regs[REG_RDX] = value >> 32;
    pv_clock_wrote(&vm, &page);
}

static void time_is_written(void **state)
{
    u32 mul;
    struct pv_clock_rate r = pv_clock_rate(info.tsc_hz);
    (void)state;
    memset(memory, 0xee, sizeof(memory));
    write_msr(PV_CLOCK_TIME_MSR, 0x40);
    assert_int_equal(memory[0x40], 0xee); /* not in use */
    write_msr(PV_CLOCK_TIME_MSR, 0x41);
    assert_int_equal(memory[0x40] & 1, 0); /* version */
    memcpy(&mul, memory + 0x40 + 24, sizeof(mul));
    assert_int_equal(mul, r.mul);
    assert_int_equal((i8)memory[0x40 + 28], r.shift);
    assert_int_equal(memory[0x40 + 29], 1);
    assert_int_equal(memory[0x40 + 32], 0xee);
}

static void time_of_day_is_written(void **state)
{
    u32 wall[3];
    (void)state;
    write_msr(PV_CLOCK_WALL_MSR, 0x100);
    memcpy(wall, memory + 0x100, sizeof(wall));
    assert_int_equal(wall[0] & 1, 0);
    assert_true(distance(wall[1] * NS_PER_SEC + wall[2], 1699999997ull * NS_PER_SEC + 500) < 10);
}

static void other_addresses_are_ignored(void **state)
{
    static const u64 bad[] = {sizeof(memory) - 30, sizeof(memory), 1ull << 40, ~0ull - 30, ~0ull};
    static u8 before[sizeof(memory)];
    (void)state;
    memcpy(before, memory, sizeof(memory));
    for (u32 i = 0; i < sizeof(bad) / sizeof(*bad); i++)
        write_msr(PV_CLOCK_TIME_MSR, bad[i] | 1);
    write_msr(PV_CLOCK_WALL_MSR, sizeof(memory) - 11);
    write_msr(PV_CLOCK_TIME_MSR + 1, 0x201);
    assert_memory_equal(before, memory, sizeof(memory));
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(rates_hold_for_years),
        cmocka_unit_test(time_is_written),
        cmocka_unit_test(time_of_day_is_written),
        cmocka_unit_test(other_addresses_are_ignored),
    };
    guest_mem_layout(&vm.mem, memory, sizeof(memory));
    return cmocka_run_group_tests(tests, NULL, NULL);
}
