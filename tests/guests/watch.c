/* The neighbour of a hostile guest: memory keeps its checksum, time goes forward, registers keep
 * what they held, and no interrupt comes but those of its own timer.  It counts as long as that
 * is so, and says "watch lost: ..." when it is not. */
#include "tests/guests/lib/apic.h"
#include "tests/guests/lib/cpu.h"
#include "tests/guests/lib/guest.h"

#define TIMER 0x40
#define MEMORY 0x400000ul
#define WORDS (0x200000ul / 8)
#define ROUND_WORDS (WORDS / 64)

static u64 last_tsc;
static u64 regs[16], vectors[4];

static u64 pattern(u64 i)
{
    return (i + 1) * 0x9e3779b97f4a7c15ull ^ i << 40;
}

#define lost(...) guest_fail("watch lost: " __VA_ARGS__)

/* A part of the memory each round; the whole of it every 64 rounds. */
static void check_memory(u64 round)
{
    const volatile u64 *at = (const volatile u64 *)MEMORY;
    u64 first = round % 64 * ROUND_WORDS;

    for (u64 i = first; i < first + ROUND_WORDS; i++)
        if (at[i] != pattern(i))
            lost("memory at %lx is %lx, not %lx", MEMORY + i * 8, at[i], pattern(i));
}

static void check_clock(void)
{
    u64 now = rdtsc();

    if (now <= last_tsc)
        lost("TSC went from %lx to %lx", last_tsc, now);
    last_tsc = now;
}

/* Every register that another guest might have left its own value in. */
static void take_registers(u64 *out)
{
    u64 n = 0, v;
#define DEBUG_REGISTER(r)                                                                          \
    asm volatile("mov %%" #r ", %0" : "=r"(v));                                                    \
    out[n++] = v;
    DEBUG_REGISTER(dr0)
    DEBUG_REGISTER(dr3)
    DEBUG_REGISTER(dr7)
    out[n++] = read_cr0();
    out[n++] = read_cr2();
    out[n++] = read_cr3();
    out[n++] = read_cr4();
    out[n++] = read_cr8();
    static const u32 msrs[] = {MSR_EFER, MSR_STAR,    MSR_LSTAR,          MSR_FMASK,
                               MSR_PAT,  MSR_TSC_AUX, MSR_KERNEL_GS_BASE, MSR_SYSENTER_EIP};
    for (unsigned i = 0; i < ARRAY_LEN(msrs); i++)
        out[n++] = rdmsr(msrs[i]);
}

static void check_registers(void)
{
    u64 now[ARRAY_LEN(regs)], x[4];

    take_registers(now);
    for (unsigned i = 0; i < ARRAY_LEN(now); i++)
        if (now[i] != regs[i])
            lost("register %u is %lx, not %lx", i, now[i], regs[i]);
    asm volatile("movdqu %%xmm0, %0; movdqu %%xmm15, %1"
                 : "=m"(*(u64(*)[2])x), "=m"(*(u64(*)[2])(x + 2)));
    for (unsigned i = 0; i < 4; i++)
        if (x[i] != vectors[i])
            lost("XMM word %u is %lx, not %lx", i, x[i], vectors[i]);
}

static void check_interrupts(u64 ticks)
{
    for (unsigned v = 0; v < 256; v++)
        if (v != TIMER && guest_count[v])
            lost("interrupt %u came", v);
    if (guest_count[TIMER] > ticks + 1)
        lost("%lu timer interrupts, %lu were due", guest_count[TIMER], ticks);
}

static void prepare(void)
{
    volatile u64 *at = (volatile u64 *)MEMORY;

    for (u64 i = 0; i < WORDS; i++)
        at[i] = pattern(i);
    for (unsigned i = 0; i < 4; i++)
        vectors[i] = pattern(i);
    write_cr4(read_cr4() | CR4_OSFXSR | CR4_OSXMMEXCPT);
    wrmsr(MSR_STAR, 0x0013001000000000ull);
    wrmsr(MSR_LSTAR, 0x123456789abcull);
    wrmsr(MSR_FMASK, 0x47700);
    wrmsr(MSR_KERNEL_GS_BASE, 0x7654321);
    wrmsr(MSR_SYSENTER_EIP, 0x13579b);
    wrmsr(MSR_TSC_AUX, 0x2468ace);
    asm volatile("mov %0, %%dr0; mov %1, %%dr3" : : "r"(0x111000ull), "r"(0x333000ull));
    asm volatile("movdqu %0, %%xmm0; movdqu %1, %%xmm15"
                 :
                 : "m"(*(u64(*)[2])vectors), "m"(*(u64(*)[2])(vectors + 2)));
    take_registers(regs);
    last_tsc = rdtsc();
}

void guest_main(void)
{
    apic_enable_x();
    u64 ticks_ms = tsc_per_ms(); /* the timer's input clock is the TSC */
    prepare();
    apic_write(APIC_TIMER_DIVIDE, 0xb);
    apic_write(APIC_LVT_TIMER, TIMER | APIC_TIMER_PERIODIC);
    u64 start = rdtsc();
    apic_write(APIC_TIMER_INITIAL, (u32)(5 * ticks_ms));
    for (u64 n = 1;; n++) {
        u64 seen = guest_count[TIMER];
        while (guest_count[TIMER] == seen)
            sti_hlt_cli();
        check_memory(n);
        check_clock();
        check_registers();
        check_interrupts((rdtsc() - start) / (5 * ticks_ms));
        if (n % 64 == 0)
            print("count %lu\n", n / 64);
    }
}
