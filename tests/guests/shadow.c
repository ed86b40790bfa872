/* What exits or faults right after STI, MOV SS or POP SS, where interrupts and single-step traps
 * wait: with and without TF, INT1 to HLT.  VM entry checks that pending traps agree with TF, so a
 * hypervisor that forgets them cannot go on. */
#include "tests/guests/lib/arena.h"
#include "tests/guests/lib/cpu.h"
#include "tests/guests/lib/guest.h"

#define TF BIT(8)
#define IF BIT(9)

struct code {
    const char *name;
    u8 bytes[4];
    u8 len;
    u8 vector;  /* what it ends in without TF; 0: goes on to UD2 */
    bool traps; /* with TF: #DB after it, unless it ends in another exception */
};

static const struct code shadows[] = {
    {"nothing", {0x90}, 1, 0, true}, /* NOP */
    {"STI", {0xfb}, 1, 0, true},
    {"MOV SS", {0x8e, 0xd3}, 2, 0, false}, /* from BX */
    {"POP SS", {0x17}, 1, 0, false},       /* compatibility mode only */
};

static const struct code followers[] = {
    {"INT1", {0xf1}, 1, VECTOR_DB, true},
    {"INT3", {0xcc}, 1, VECTOR_BP, false},
    {"INT 4", {0xcd, 4}, 2, VECTOR_OF, false},
    {"UD2", {0x0f, 0x0b}, 2, VECTOR_UD, false},
    {"CPUID", {0x0f, 0xa2}, 2, 0, true},
    {"RDMSR of none", {0x0f, 0x32}, 2, VECTOR_GP, false},
    {"VMCALL", {0x0f, 0x01, 0xc1}, 3, 0, true},
    {"MOV from DR0", {0x0f, 0x21, 0xc0}, 3, 0, true},
    {"MOV to CR0", {0x0f, 0x22, 0xc6}, 3, 0, true}, /* from SI */
    {"IN", {0xe4, 0x80}, 2, 0, true},
    {"WBINVD", {0x0f, 0x09}, 2, 0, true},
    {"PAUSE", {0xf3, 0x90}, 2, 0, true},
};

/* QEMU's CPU knows no VMCALL, INT1 or MSR that is not there, and traps neither after STI nor after
 * PAUSE. */
static bool left_out(const struct code *shadow, const struct code *c, bool tf)
{
    return guest_is_tcg() && (c->bytes[0] == 0xf1 || c->bytes[1] == 1 || c->bytes[1] == 0x32 ||
                              c->bytes[0] == 0xf3 || (tf && shadow->bytes[0] == 0xfb));
}

static void run(const struct code *shadow, const struct code *after, u64 flags, bool long_mode)
{
    u8 *code = (u8 *)ARENA_CODE;
    struct frame f = {.rip = ARENA_CODE,
                      .rflags = 2 | flags,
                      .rsp = ARENA_STACK,
                      .ss = GUEST_DATA,
                      .cs = long_mode ? GUEST_CODE64 : GUEST_CODE32,
                      .rbx = GUEST_DATA,
                      .rsi = read_cr0(),
                      .rcx = 0xc0001234};
    u32 want = after->vector ? after->vector : VECTOR_UD;

    if (flags & TF)
        want = shadow->traps ? VECTOR_DB : after->traps ? VECTOR_DB : want;
    *(u64 *)ARENA_STACK = GUEST_DATA;
    __builtin_memset(code, 0x90, 64);
    __builtin_memcpy(code, shadow->bytes, shadow->len);
    __builtin_memcpy(code + shadow->len, after->bytes, after->len);
    code[shadow->len + after->len] = 0x0f;
    code[shadow->len + after->len + 1] = 0x0b;
    u32 got = arena_run(&f);
    if (got != want)
        guest_fail("%s after %s with flags %lx ends in vector %u, not %u", after->name,
                   shadow->name, flags, got, want);
}

void guest_main(void)
{
    arena_init();
    for (unsigned s = 0; s < ARRAY_LEN(shadows); s++)
        for (unsigned a = 0; a < ARRAY_LEN(followers); a++)
            for (unsigned flags = 0; flags < 4; flags++) {
                if (!left_out(&shadows[s], &followers[a], flags & 1))
                    run(&shadows[s], &followers[a], (flags & 1 ? TF : 0) | (flags & 2 ? IF : 0),
                        shadows[s].bytes[0] != 0x17);
            }
    guest_pass();
}
