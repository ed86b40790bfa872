/* What one vCPU changes for the others: a page's frame, its permissions, and code.  After they have
 * answered an interrupt in which they invalidated (or serialised), they see the new state and only
 * that. */
#include "tests/guests/lib/apic.h"
#include "tests/guests/lib/cpu.h"
#include "tests/guests/lib/guest.h"

#define VECTOR 0x70
#define REMAPS 400
#define PERMISSIONS 100
#define CODES 200
#define FRAMES 4

enum phase { REMAP, PERMISSION, CODE };

extern u64 directories[]; /* 2 MiB entries of the one-to-one map */
static u64 table[512] __attribute__((aligned(4096)));
static u64 frames[FRAMES][512] __attribute__((aligned(4096)));
static u8 code[4096] __attribute__((aligned(4096)));

static volatile u32 arrived, acks, phase;
/* The generation that all have answered for; 0 while it changes. */
static volatile u32 stable;
static volatile u32 looked[GUEST_CPUS];
static u32 cpus, rounds; /* in hundredths */

/* Some address far from everything else, below 1 GiB so that the boot tables cover it. */
#define PAGE_AT 0x3fc00000ull

static void on_shootdown(struct frame *f)
{
    u32 eax = 0;
    (void)f;
    invlpg(PAGE_AT);
    asm volatile("cpuid" : "+a"(eax) : : "rbx", "rcx", "rdx", "memory"); /* serialises */
    __atomic_fetch_add(&acks, 1, __ATOMIC_SEQ_CST);
    apic_eoi();
}

static void shoot(void)
{
    u64 start = rdtsc();

    acks = 0;
    apic_ipi(0, APIC_ICR_OTHERS | APIC_ICR_ASSERT | VECTOR);
    while (acks != cpus - 1) {
        pause();
        check(!guest_late(start, 5000), "%u of %u vCPUs answered", acks, cpus - 1);
    }
}

static u64 marker(u32 generation)
{
    return 0x1000 + generation % FRAMES;
}

static u32 call_code(void)
{
    u32 value;
    asm volatile("call *%1" : "=a"(value) : "r"(code) : "memory");
    return value;
}

/* What this vCPU sees now, in the phase's own terms. */
static u64 see(u32 now)
{
    if (now == REMAP)
        return *(volatile u64 *)PAGE_AT;
    return call_code();
}

static u64 expected(u32 now, u32 generation)
{
    return now == REMAP ? marker(generation) : generation;
}

static void enable(void)
{
    if (cpuid(1, 0).ecx & BIT(21))
        apic_enable_x2();
    else
        apic_enable_x();
}

static void other(unsigned index)
{
    enable();
    __atomic_fetch_add(&arrived, 1, __ATOMIC_SEQ_CST);
    sti();
    for (;;) {
        u32 now = phase, before = stable;
        if (now == PERMISSION || !before) {
            pause();
            continue;
        }
        u64 seen = see(now);
        barrier();
        if (stable == before && phase == now) {
            check(seen == expected(now, before), "vCPU %u, phase %u, generation %u: %lx", index,
                  now, before, seen);
            looked[index]++;
        }
        pause();
    }
}

/* The others have looked at this generation, now and then. */
static void let_look(u32 generation)
{
    u64 start = rdtsc();

    if (generation % 16)
        return;
    for (u32 i = 1; i < cpus; i++) {
        u32 before = looked[i];
        while (looked[i] == before) {
            pause();
            check(!guest_late(start, 5000), "vCPU %u does not look", i);
        }
    }
}

static void remap(void)
{
    for (u32 g = 1; g <= REMAPS * rounds / 100; g++) {
        stable = 0;
        __atomic_thread_fence(__ATOMIC_SEQ_CST);
        table[0] = (u64)frames[g % FRAMES] | 0x63;
        invlpg(PAGE_AT);
        shoot();
        stable = g;
        check_equal(*(volatile u64 *)PAGE_AT, marker(g), "the remapped page here");
        let_look(g);
    }
    stable = 0;
}

/* Dirty and accessed bits, too, are written by each vCPU's own walk. */
static void permissions(void)
{
    phase = PERMISSION;
    for (u32 g = 0; g < PERMISSIONS * rounds / 100; g++) {
        table[0] = (u64)frames[0] | (g & 1 ? 0x01 : 0x03);
        invlpg(PAGE_AT);
        shoot();
        u64 vector = fault_of("movq $1, 8(%0)", : : "r"(PAGE_AT) : "memory");
        check_equal(vector, g & 1 ? VECTOR_PF : NO_FAULT, "a write");
        if (g & 1)
            check_equal(guest_fault.error, 3, "its error code");
        else
            check(table[0] & BIT(5) && table[0] & BIT(6),
                  "no accessed and dirty bit after a write");
    }
}

static void put_code(u32 value)
{
    code[0] = 0xb8; /* MOV EAX, value; RET */
    for (unsigned i = 0; i < 4; i++)
        code[1 + i] = (u8)(value >> 8 * i);
    code[5] = 0xc3;
}

/* Cross-modifying code, SDM 3A 9.1.3. */
static void change_code(void)
{
    for (u32 g = 1; g <= CODES; g++) {
        stable = 0;
        __atomic_thread_fence(__ATOMIC_SEQ_CST);
        /* The new bytes differ in one: whoever runs them meanwhile runs old or new ones. */
        put_code(g);
        shoot();
        stable = g;
        check_equal(call_code(), g, "the code here");
        phase = CODE;
        let_look(g);
    }
    stable = 0;
}

void guest_main(void)
{
    /* QEMU's CPUs are threads, which wait long for each other and lose changed code
     * (docs/testing.md); in the reference run they share one. */
    bool threads = guest_is_tcg() && !guest_on_qemu();

    rounds = threads ? 20 : 100;
    apic_enable_x();
    cpus = guest_cpu_count();
    check(cpus > 1, "one vCPU only");
    guest_handlers[VECTOR] = on_shootdown;
    for (u32 i = 0; i < FRAMES; i++)
        frames[i][0] = marker(i);
    table[0] = (u64)frames[0] | 0x63;
    directories[PAGE_AT / PAGE_2M] = (u64)table | 0x63;
    write_cr3(read_cr3());
    put_code(1);
    tsc_per_ms();
    guest_start_cpus(other);
    while (arrived != cpus - 1)
        pause();
    enable();
    remap();
    permissions();
    if (!threads)
        change_code();
}
