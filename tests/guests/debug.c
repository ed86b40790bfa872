/* Debug registers, breakpoints, watchpoints and single-stepping, also over emulated instructions.
 */
#include "tests/guests/lib/cpu.h"
#include "tests/guests/lib/guest.h"

#define TF BIT(8)
#define RF BIT(16)
#define DR6_BS BIT(14)

static volatile u64 hits, last_dr6, last_rip, steps[16];
static volatile u64 watched;

#define DEBUG_REGISTER(n)                                                                          \
    static u64 read_dr##n(void)                                                                    \
    {                                                                                              \
        u64 v;                                                                                     \
        asm volatile("mov %%dr" #n ", %0" : "=r"(v));                                              \
        return v;                                                                                  \
    }                                                                                              \
    static void write_dr##n(u64 v)                                                                 \
    {                                                                                              \
        asm volatile("mov %0, %%dr" #n : : "r"(v));                                                \
    }
DEBUG_REGISTER(0)
DEBUG_REGISTER(3)
DEBUG_REGISTER(6)
DEBUG_REGISTER(7)

static void on_debug(struct frame *f)
{
    last_dr6 = read_dr6();
    last_rip = f->rip;
    if (hits < ARRAY_LEN(steps))
        steps[hits] = f->rip;
    hits++;
    write_dr6(0xffff0ff0);
    f->rflags |= RF;
}

static void step_over(void)
{
    hits = 0;
    u64 before, after;
    /* POPF's TF traps after the next instruction; CPUID, IN and RDMSR are the hypervisor's. */
    asm volatile("lea 1f(%%rip), %0\n\t"
                 "pushfq; orq $0x100, (%%rsp); popfq\n"
                 "1: nop\n"
                 "2: xor %%eax, %%eax\n"
                 "3: cpuid\n"
                 "4: mov $0xe80, %%edx\n"
                 "5: inb %%dx, %%al\n"
                 "6: mov $0xc0000080, %%ecx\n"
                 "7: rdmsr\n"
                 "8: pushfq; andq $~0x100, (%%rsp); popfq\n"
                 "9: lea 9b(%%rip), %1"
                 : "=&r"(before), "=&r"(after)
                 :
                 : "rax", "rbx", "rcx", "rdx", "cc", "memory");
    /* nop xor cpuid mov in mov rdmsr pushf and popf: nine traps, each after its instruction */
    u64 n = hits;
    check(n == 10 || n == 9, "%lu traps, not ten", n);
    check_equal(steps[0], before + 1, "RIP of the first trap");
    check_equal(steps[2], before + 1 + 2 + 2, "RIP of the trap after CPUID");
    check_equal(steps[4], before + 1 + 2 + 2 + 5 + 1, "RIP of the trap after IN");
    check(last_dr6 & DR6_BS, "DR6.BS is clear: %lx", last_dr6);
    check(last_rip <= after, "trap after TF went off");
}

static void breakpoints(void)
{
    write_dr0((u64)&watched);
    check_equal(read_dr0(), (u64)&watched, "DR0");
    write_dr7(0x400 | 1 | 1 << 16 | 3 << 18); /* write, 8 bytes (10b) is not 3; 4 bytes */
    hits = 0;
    watched = 5;
    check_equal(hits, 1, "watchpoint hits");
    check_equal(last_dr6 & 0xf, 1, "DR6 after a watchpoint");
    check_equal(watched, 5, "what was written");
    write_dr7(0x400);
    watched = 6;
    check_equal(hits, 1, "watchpoint hits after it went off");

    hits = 0;
    u64 at;
    asm volatile("lea 1f(%%rip), %0; mov %0, %%dr3; mov %1, %%dr7\n1: nop"
                 : "=&r"(at)
                 : "r"(0x400ull | 1 << 6)
                 : "memory");
    write_dr3(at);
    check_equal(hits, 1, "breakpoint hits");
    check_equal(last_rip, at, "RIP of a breakpoint");
    check_equal(last_dr6 & 0xf, 8, "DR6 after a breakpoint");
    check_equal(read_dr3(), at, "DR3");
    write_dr7(0x400);
}

void guest_main(void)
{
    guest_handlers[VECTOR_DB] = on_debug;
    check_equal(read_dr7(), 0x400, "DR7 at the start");
    breakpoints();
    step_over();
    /* DR4 is DR6 without CR4.DE, and gone with it. */
    write_cr4(read_cr4() | CR4_DE);
    check_fault(VECTOR_UD, "mov %%dr4, %%rax", : : : "rax");
    write_cr4(read_cr4() & ~CR4_DE);
    check_fault(NO_FAULT, "mov %%dr4, %%rax", : : : "rax");
    check_fault(VECTOR_GP, "mov %0, %%dr7", : : "r"(BIT(33)));
}
