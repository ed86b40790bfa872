/* The clock of guests on AMD-V; called by exits.c when a guest names a place for it. */
#include "vmm/pv_clock.h"

#include "control/rt/clock.h"
#include "control/rt/sys.h"
#include "vmm/platform.h"
#include "vmm/vm.h"

#define TIME_ENABLED BIT(0)
#define TSC_STABLE BIT(0)
/* Even: whole.  Nothing changes later, since a guest's TSC keeps its rate. */
#define VERSION 2

struct vcpu_time {
    u32 version, pad;
    u64 tsc, ns; /* ns at that TSC */
    u32 mul;
    i8 shift;
    u8 flags, pad2[2];
};
_Static_assert(sizeof(struct vcpu_time) == 32, "as in memory");

struct wall_clock { /* when the vCPUs' clocks were 0, since 1970 */
    u32 version, seconds, ns;
};

/* The largest multiplier of 32 bits, so the smallest error. */
struct pv_clock_rate pv_clock_rate(u64 hz)
{
    u64 mul = (NS_PER_SEC << 34) / hz;
    struct pv_clock_rate r = {.shift = -2};
    for (; mul >> 32; mul >>= 1)
        r.shift++;
    r.mul = (u32)mul;
    return r;
}

u64 pv_clock_ns(struct pv_clock_rate r, u64 ticks)
{
    ticks = r.shift < 0 ? ticks >> -r.shift : ticks << r.shift;
    return (u64)((unsigned __int128)ticks * r.mul >> 32);
}

static void put_time(struct vm *vm, u64 gpa)
{
    struct pv_clock_rate r = pv_clock_rate(sys_host_info()->tsc_hz);
    struct vcpu_time t = {.version = VERSION, .mul = r.mul, .shift = r.shift, .flags = TSC_STABLE};
    (void)!guest_write(&vm->mem, GPA(gpa), &t, sizeof(t));
}

static void put_wall(struct vm *vm, const struct vcpu_page *p, u64 gpa)
{
    if (sys_vcpu_get(vm->slot, vm->serving) != HV_OK)
        return;
    struct pv_clock_rate r = pv_clock_rate(sys_host_info()->tsc_hz);
    u64 at_zero = platform_unix_ns() - pv_clock_ns(r, clock_tsc() + p->full.tsc_offset);
    struct wall_clock w = {VERSION, (u32)(at_zero / NS_PER_SEC), (u32)(at_zero % NS_PER_SEC)};
    (void)!guest_write(&vm->mem, GPA(gpa), &w, sizeof(w));
}

void pv_clock_wrote(struct vm *vm, struct vcpu_page *p)
{
    u64 value = (u32)p->regs[REG_RAX] | p->regs[REG_RDX] << 32;
    u32 msr = (u32)p->regs[REG_RCX];
    if (msr == PV_CLOCK_WALL_MSR)
        put_wall(vm, p, value);
    else if (msr == PV_CLOCK_TIME_MSR && (value & TIME_ENABLED))
        put_time(vm, value & ~TIME_ENABLED);
}
