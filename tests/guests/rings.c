/* Rings 1 and 2 in 64-bit mode, where SS may be null, with code segments of each privilege level,
 * conforming or not: what exits there goes on there. */
#include "tests/guests/lib/arena.h"
#include "tests/guests/lib/cpu.h"
#include "tests/guests/lib/guest.h"

#define CODE64 0x00af9b000000ffffull
#define CONFORMING BIT(42)
#define DPL(n) ((u64)(n) << 45)

static void enter(unsigned ring, unsigned dpl, bool conforming)
{
    static const u8 code[] = {
        0x0f, 0xa2, /* CPUID */
        0xe4, 0x80, /* IN: #GP but for IOPL */
        0x8c, 0xc8, /* MOV EAX, CS */
        0x0f, 0xa2, /* CPUID */
        0x0f, 0x0b, /* UD2 */
    };
    struct frame f = {.rip = ARENA_CODE,
                      .rflags = 2 | BITS(13, 12),
                      .rsp = ARENA_STACK,
                      .cs = ring | 4, /* slot 0 of the LDT */
                      .ss = ring};    /* null */
    u64 *ldt = (u64 *)ARENA_LDT;

    ldt[0] = CODE64 | DPL(dpl) | (conforming ? CONFORMING : 0);
    __builtin_memcpy((void *)ARENA_CODE, code, sizeof(code));
    u32 vector = arena_run(&f);
    if (vector != VECTOR_UD)
        guest_fail("ring %u, %s code of DPL %u ends in vector %u, not 6", ring,
                   conforming ? "conforming" : "other", dpl, vector);
}

void guest_main(void)
{
    arena_init();
    for (unsigned ring = 0; ring < 3; ring++) {
        enter(ring, ring, false);
        for (unsigned dpl = 0; dpl <= ring; dpl++)
            enter(ring, dpl, true);
    }
    guest_pass();
}
