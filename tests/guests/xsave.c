/* XSAVE: XCR0 takes valid sets only, CPUID follows it, and state survives a round through memory.
 */
#include "tests/guests/lib/cpu.h"
#include "tests/guests/lib/guest.h"

static u8 area[8192] __attribute__((aligned(64)));

static u64 read_xcr0(void)
{
    u32 lo, hi;
    asm volatile("xgetbv" : "=a"(lo), "=d"(hi) : "c"(0));
    return (u64)hi << 32 | lo;
}

static u64 set_xcr0(u64 v)
{
    return fault_of("xsetbv", : : "a"((u32)v), "d"((u32)(v >> 32)), "c"(0));
}

void guest_main(void)
{
    if (!(cpuid(1, 0).ecx & BIT(26))) {
        print("no XSAVE\n");
        return;
    }
    check_equal(set_xcr0(1), VECTOR_UD, "XSETBV without CR4.OSXSAVE");
    write_cr4(read_cr4() | CR4_OSXSAVE | CR4_OSFXSR | CR4_OSXMMEXCPT);
    check_equal(read_xcr0(), 1, "XCR0 after reset");
    struct cpuid d = cpuid(0xd, 0);
    u64 offered = (u64)d.edx << 32 | d.eax;
    check((offered & 3) == 3, "x87 and SSE are not offered: %lx", offered);
    check_equal(d.ebx, 576, "size with x87 only");

    check_equal(set_xcr0(0), VECTOR_GP, "XCR0 without x87");
    check_equal(set_xcr0(5), VECTOR_GP, "XCR0 with AVX and without SSE");
    check_equal(set_xcr0(BIT(62) | 1), VECTOR_GP, "XCR0 with a bit that nobody offers");
    check_equal(fault_of("xsetbv", : : "a"(1), "d"(0), "c"(1)), VECTOR_GP, "XSETBV of register 1");
    for (unsigned bit = 2; bit < 63; bit++)
        if (!(offered & BIT(bit)))
            check(guest_is_tcg() || set_xcr0(3 | BIT(bit)) == VECTOR_GP,
                  "XCR0 takes bit %u, which is not offered", bit);
    check_equal(read_xcr0(), 1, "XCR0 after refused writes");

    check_equal(set_xcr0(offered & 7), NO_FAULT, "XCR0 with all that is offered");
    check_equal(read_xcr0(), offered & 7, "XCR0");
    u32 size = cpuid(0xd, 0).ebx;
    if (offered & 4) {
        struct cpuid avx = cpuid(0xd, 2);
        check_equal(size, avx.ebx + avx.eax, "size with AVX");
        asm volatile("vpcmpeqd %%xmm5, %%xmm5, %%xmm5; vinsertf128 $1, %%xmm5, %%ymm5, %%ymm5;"
                     "xsave (%0); vzeroall; xrstor (%0); vextractf128 $1, %%ymm5, (%1)"
                     :
                     : "r"(area), "r"(area + 4096), "a"(7), "d"(0)
                     : "memory");
        check_equal(*(u64 *)(area + 4096), ~0ull, "upper half of YMM5 after XRSTOR");
        check_equal(*(u64 *)(area + 512) & 4, 4, "XSTATE_BV");
    }
    check(size <= cpuid(0xd, 0).ecx, "size in use is above the largest");
    check_equal(set_xcr0(1), NO_FAULT, "XCR0 back to x87");
    if (offered & 4)
        check_fault(VECTOR_UD, "vaddps %%ymm0, %%ymm0, %%ymm0", :);
}
