/* The neighbour of avx_a: SSE and x87 alone, CR4.OSXSAVE never set; its registers stay its own. */
#include "tests/guests/lib/cpu.h"
#include "tests/guests/lib/guest.h"

static u8 area[512] __attribute__((aligned(64)));
static u8 saved[512] __attribute__((aligned(64)));

void guest_main(void)
{
    write_cr4(read_cr4() | CR4_OSFXSR | CR4_OSXMMEXCPT);
    u64 window = 400 * tsc_per_ms(), end = rdtsc() + window;
    u64 rounds = 0;
    for (; rdtsc() < end; rounds++) {
        u64 pattern = 0xfedcba9876543210 * (rounds + 1);
        asm volatile("fninit; fld1; fldpi; movq %0, %%xmm0; movq %0, %%xmm1; pshufd $0x11, %%xmm0,"
                     "%%xmm7; pshufd $0x44, %%xmm1, %%xmm15; movdqa %%xmm15, %%xmm8; fxsave64 (%1)"
                     :
                     : "r"(pattern), "r"(area)
                     : "memory");
        for (unsigned i = 0; i < 2000; i++)
            pause();
        if (rounds % 16 == 0)
            outb(0x80, 0);
        asm volatile("fxsave64 (%0)" : : "r"(saved) : "memory");
        for (u32 i = 0; i < 416; i++)
            check(area[i] == saved[i], "round %lu: byte %u of the state was %x, is %x", rounds, i,
                  area[i], saved[i]);
    }
    check(rounds > 10, "%lu rounds only", rounds);
}
