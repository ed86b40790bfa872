/* Ten million interrupts between vCPUs (the command line may have another number, in thousands),
 * none lost and none twice: ipi_storm's way of counting, with broadcasts and handlers of few
 * instructions, so that it takes seconds.
 *
 * A vCPU sends each vector of its own to all, itself too, and sends it again only when all have
 * taken it: nothing may merge, so what was received can be counted exactly. */
#include "tests/guests/lib/apic.h"
#include "tests/guests/lib/cpu.h"
#include "tests/guests/lib/guest.h"
#include "tests/guests/lib/platform.h"

#define FIRST 0x20
#define SENDERS 8
#define DEFAULT_THOUSANDS 10000
#define STUCK_MS 20000

u32 flood_received[SENDERS][256]; /* each vCPU counts what it takes itself */
u32 flood_owner[256];             /* sender of a vector */
volatile u32 flood_taken[SENDERS];
extern const u8 flood_stubs[];
static volatile u32 ready, done;
static volatile bool go;
static u32 rounds, cpus, each; /* vectors of a vCPU */

/* 16 bytes a vector.  The task register tells which vCPU this is (load_tables): 40H + 16 * index.
 */
asm(".balign 16\n"
    "flood_stubs:\n"
    ".set vector, 0\n"
    ".rept 256\n"
    ".balign 16\n"
    "push %rax\n"
    "mov $vector, %eax\n"
    "jmp flood_common\n"
    ".set vector, vector + 1\n"
    ".endr\n"
    "flood_common:\n"
    "push %rcx\n"
    "push %rdx\n"
    "str %ecx\n"
    "sub $0x40, %ecx\n"
    "shl $6, %ecx\n"
    "incl flood_received(%rcx,%rax,4)\n"
    "mov flood_owner(,%rax,4), %edx\n"
    "lock incl flood_taken(,%rdx,4)\n"
    "mov $0x80b, %ecx\n" /* EOI, x2APIC */
    "xor %eax, %eax\n"
    "xor %edx, %edx\n"
    "wrmsr\n"
    "pop %rdx\n"
    "pop %rcx\n"
    "pop %rax\n"
    "iretq\n");

static void flood(unsigned me)
{
    for (u32 round = 1; round <= rounds; round++) {
        for (u32 k = 0; k < each; k++)
            wrmsr(MSR_X2APIC + APIC_ICR / 16,
                  APIC_ICR_ALL | APIC_ICR_ASSERT | (FIRST + me * each + k));
        u64 start = rdtsc();
        while (flood_taken[me] != round * each * cpus) {
            pause();
            if (rdtsc() - start > STUCK_MS * tsc_per_ms())
                guest_fail("round %u: of %u interrupts by vCPU %u only %u were taken", round,
                           round * each * cpus, me, flood_taken[me]);
        }
    }
    __atomic_fetch_add(&done, 1, __ATOMIC_RELEASE);
}

static void other(unsigned index)
{
    apic_enable_x2();
    __atomic_fetch_add(&ready, 1, __ATOMIC_RELEASE);
    sti();
    while (!go)
        pause();
    flood(index);
    for (;;) /* the others may go on sending */
        asm volatile("sti; hlt");
}

void guest_main(void)
{
    apic_enable_x();
    cpus = MIN(guest_cpu_count(), (unsigned)SENDERS);
    check(cpus > 1, "one vCPU only");
    check(cpuid(1, 0).ecx & BIT(21), "x2APIC is not offered");
    each = (256 - FIRST) / cpus;
    u32 a_round = cpus * cpus * each;
    rounds = (platform_command_number(DEFAULT_THOUSANDS) * 1000 + a_round - 1) / a_round;
    for (unsigned v = FIRST; v < FIRST + cpus * each; v++) {
        flood_owner[v] = (v - FIRST) / each;
        guest_set_gate(v, (u64)flood_stubs + v * 16, 0, 0);
    }
    tsc_per_ms();
    guest_start_cpus(other);
    while (ready != cpus - 1)
        pause();
    apic_enable_x2();
    go = true;
    sti();
    u64 start = rdtsc();
    flood(0);
    while (done != cpus)
        pause();
    u64 ms = (rdtsc() - start) / tsc_per_ms();
    for (unsigned c = 0; c < cpus; c++)
        for (unsigned v = FIRST; v < FIRST + cpus * each; v++)
            check_equal(flood_received[c][v], rounds, "count of a vector");
    print("%u interrupts in %lu ms\n", rounds * a_round, ms);
}
