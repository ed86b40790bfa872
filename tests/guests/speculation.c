/* IA32_SPEC_CTRL, IA32_PRED_CMD and IA32_ARCH_CAPABILITIES: as CPUID offers them, else #GP. */
#include "tests/guests/lib/cpu.h"
#include "tests/guests/lib/guest.h"

#define SPEC_CTRL 0x48
#define PRED_CMD 0x49
#define ARCH_CAPABILITIES 0x10a
#define FLUSH_CMD 0x10b
#define STAR 0xc0000081 /* each write exits */
#define IBRS BIT(0)
#define STIBP BIT(1)
#define SSBD BIT(2)

static u64 read_fault(u32 msr)
{
    return fault_of("rdmsr", : : "c"(msr) : "rax", "rdx");
}

static u64 write_fault(u32 msr, u64 value)
{
    return fault_of("wrmsr", : : "c"(msr), "a"((u32)value), "d"((u32)(value >> 32)));
}

/* The value outlives exits of every kind. */
static void holds(u64 value, const char *name)
{
    check_equal(write_fault(SPEC_CTRL, value), NO_FAULT, name);
    for (u32 i = 0; i < 100; i++) {
        cpuid(1, 0);
        inb(0x61);
        check_equal(rdmsr(SPEC_CTRL), value, name);
    }
}

/* Of a write that changes nothing. */
static u64 least_ticks(u32 msr)
{
    u64 value = rdmsr(msr), least = ~0ull;

    for (u32 i = 0; i < 200; i++) {
        u64 start = rdtsc();
        wrmsr(msr, value);
        least = MIN(least, rdtsc() - start);
    }
    return least;
}

void guest_main(void)
{
    u32 edx = cpuid(7, 0).edx;
    bool stibp = edx & BIT(27), ssbd = edx & BIT(31);

    check(!(edx & BIT(28)), "L1D flush is offered: 7.EDX is %x", edx);
    if (!(edx & BIT(29)))
        check_equal(read_fault(ARCH_CAPABILITIES), VECTOR_GP, "ARCH_CAPABILITIES not offered");
    else
        check(rdmsr(ARCH_CAPABILITIES) & BIT(3), "the guest would flush the L1D itself");
    check_equal(write_fault(ARCH_CAPABILITIES, 0), VECTOR_GP, "write to ARCH_CAPABILITIES");
    check_equal(write_fault(FLUSH_CMD, 1), VECTOR_GP, "FLUSH_CMD not offered");
    if (!(edx & BIT(26))) {
        check_equal(read_fault(SPEC_CTRL), VECTOR_GP, "SPEC_CTRL not offered, read");
        check_equal(write_fault(SPEC_CTRL, 0), VECTOR_GP, "SPEC_CTRL not offered, written");
        check_equal(write_fault(PRED_CMD, 1), VECTOR_GP, "PRED_CMD not offered");
        print("not offered\n");
        return;
    }
    check_equal(rdmsr(SPEC_CTRL), 0, "SPEC_CTRL at first");
    holds(IBRS, "IBRS");
    if (stibp)
        holds(STIBP, "STIBP");
    if (ssbd)
        holds(IBRS | SSBD, "IBRS and SSBD");
    check_equal(write_fault(SPEC_CTRL, BIT(31)), VECTOR_GP, "reserved bit 31 of SPEC_CTRL");
    check_equal(write_fault(SPEC_CTRL, BIT(32)), VECTOR_GP, "reserved bit 32 of SPEC_CTRL");
    holds(0, "zero");
    u64 own = least_ticks(SPEC_CTRL), exits = least_ticks(STAR);
    check(own < exits / 2, "SPEC_CTRL takes %u ticks, an exit %u", (u32)own, (u32)exits);
    check_equal(write_fault(SPEC_CTRL, 0), NO_FAULT, "SPEC_CTRL cleared");
    check_equal(read_fault(PRED_CMD), VECTOR_GP, "PRED_CMD read");
    check_equal(write_fault(PRED_CMD, 1), NO_FAULT, "IBPB");
    check_equal(write_fault(PRED_CMD, 2), VECTOR_GP, "reserved bit of PRED_CMD");
    print("offered\n");
}
