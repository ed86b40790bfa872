/* The FPU's whole state stays this guest's own while another guest runs beside it: with AVX, and
 * with AVX-512 where offered. */
#include "tests/guests/lib/cpu.h"
#include "tests/guests/lib/guest.h"

static u8 area[8192] __attribute__((aligned(64)));
static u8 saved[8192] __attribute__((aligned(64)));

#define EACH(f)                                                                                    \
    f(0) f(1) f(2) f(3) f(4) f(5) f(6) f(7) f(8) f(9) f(10) f(11) f(12) f(13) f(14) f(15)
#define FILL_Y(n)                                                                                  \
    asm volatile("vmovq %0, %%xmm" #n "; vpshufd $0x44, %%xmm" #n ", %%xmm" #n                     \
                 "; vinsertf128 $1, %%xmm" #n ", %%ymm" #n ", %%ymm" #n                            \
                 :                                                                                 \
                 : "r"(pattern + n));
#define FILL_Z(n)                                                                                  \
    asm volatile("vpbroadcastq %0, %%zmm" #n : : "r"(pattern + n));                                \
    asm volatile("vpbroadcastq %0, %%zmm1" #n : : "r"(pattern - n));

static void fill(u64 pattern, u64 mask)
{
    asm volatile("fninit; fldpi");
    EACH(FILL_Y)
    if (mask & BIT(6)) {
        FILL_Z(6)
        FILL_Z(7)
        asm volatile("vpbroadcastq %0, %%zmm31; kmovw %k0, %%k1; kmovw %k0, %%k7" : : "r"(pattern));
    }
}

static void save(u8 *to, u64 mask)
{
    asm volatile("xsave (%0)" : : "r"(to), "a"((u32)mask), "d"((u32)(mask >> 32)) : "memory");
}

void guest_main(void)
{
    if (!(cpuid(1, 0).ecx & BIT(26))) {
        print("no XSAVE\n");
        return;
    }
    write_cr4(read_cr4() | CR4_OSXSAVE | CR4_OSFXSR | CR4_OSXMMEXCPT);
    struct cpuid d = cpuid(0xd, 0);
    u64 mask = d.eax & 0xe7;
    if ((mask & 0xe0) != 0xe0)
        mask &= 7;
    if (!(mask & 4)) {
        print("no AVX\n");
        return;
    }
    asm volatile("xsetbv" : : "a"((u32)mask), "d"(0), "c"(0));
    u32 size = cpuid(0xd, 0).ebx;
    check(size <= sizeof(area), "%u bytes of state", size);
    print("state components %lx, %u bytes\n", mask, size);

    u64 window = 400 * tsc_per_ms(), end = rdtsc() + window;
    u64 rounds = 0;
    for (; rdtsc() < end; rounds++) {
        fill(0x0123456789abcdef * (rounds + 1), mask);
        save(area, mask);
        for (unsigned i = 0; i < 2000; i++)
            pause();
        if (rounds % 4 == 0)
            (void)cpuid(0, 0);
        if (rounds % 16 == 0)
            outb(0x80, 0); /* to the control partition and back */
        save(saved, mask);
        for (u32 i = 0; i < size; i++)
            check(area[i] == saved[i], "round %lu: byte %u of the state was %x, is %x", rounds, i,
                  area[i], saved[i]);
    }
    check(rounds > 10, "%lu rounds only", rounds);
}
