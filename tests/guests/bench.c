/* What one operation costs, in TSC ticks: the command line "OPERATION COUNT" says which, each is
 * run COUNT times.  Prints "BENCH OPERATION min N p99 N"; `make bench` reads that and the counters
 * of `vm stats`.  With "none" it does nothing, which tells what start and end cost.
 * Then it stays halted. */
#include "tests/guests/lib/apic.h"
#include "tests/guests/lib/cpu.h"
#include "tests/guests/lib/guest.h"
#include "tests/guests/lib/platform.h"
#include "tests/guests/lib/virtio.h"

#define SAMPLES 1024
#define VECTOR 0x60
#define QUIET 60000000 /* ticks: longer than it takes to attach its console */
#define COM1_IER 0x3f9
#define COM1_IIR 0x3fa

static u64 samples[SAMPLES];
static unsigned count;
static u64 nothing;          /* ticks of an empty run */
static volatile u64 arrived; /* TSC in the interrupt handler */
static volatile u64 told;

/* A #GP handler that skips a two-byte instruction and costs next to nothing. */
asm(".text\n.globl skip_two\nskip_two: add $8, %rsp; addq $2, (%rsp); iretq\n");
extern char skip_two[];

/* One row a kind of operation: body runs once and returns its ticks. */
#define TIMED(name, ...)                                                                           \
    static u64 name(void)                                                                          \
    {                                                                                              \
        u64 start_ = rdtsc();                                                                      \
        __VA_ARGS__;                                                                               \
        return rdtsc() - start_;                                                                   \
    }
TIMED(op_nothing, barrier())
TIMED(op_cpuid, asm volatile("cpuid" : : "a"(0), "c"(0) : "rbx", "rdx", "memory"))
TIMED(op_msr, asm volatile("rdmsr" : : "c"(MSR_TSC_ADJUST) : "rax", "rdx", "memory"))
TIMED(op_msr_unknown, asm volatile("rdmsr" : : "c"(0x1234) : "rax", "rdx", "memory"))
TIMED(op_hypercall, asm volatile("vmcall" : : "a"(0) : "rcx", "rdx", "rbx", "memory"))
TIMED(op_vmmcall, asm volatile("vmmcall" : : "a"(0) : "rcx", "rdx", "rbx", "memory"))
TIMED(op_port, asm volatile("outb %%al, $0x80" : : "a"(0)))
TIMED(op_mmio, asm volatile("movl (%0), %%eax" : : "r"(0xd0000000ull) : "rax", "memory"))
TIMED(op_eoi, wrmsr(0x80b, 0))
TIMED(op_tpr, wrmsr(0x808, 0))
TIMED(op_deadline, wrmsr(MSR_TSC_DEADLINE, start_ + (1ull << 40)))

static u64 until_arrival(u64 start)
{
    while (!arrived)
        asm volatile("" : : : "memory");
    return arrived - start;
}

static void handler(struct frame *f)
{
    (void)f;
    arrived = rdtsc();
    wrmsr(0x80b, 0); /* the library's would read the mode first */
}

static u64 op_self_ipi(void)
{
    arrived = 0;
    u64 start = rdtsc();
    wrmsr(0x83f, VECTOR);
    return until_arrival(start);
}

/* How late the interrupt comes while the vCPU computes. */
static u64 op_timer(void)
{
    arrived = 0;
    u64 deadline = rdtsc() + 20000;
    wrmsr(MSR_TSC_DEADLINE, deadline);
    return until_arrival(deadline);
}

/* The same out of HLT. */
static u64 op_timer_halted(void)
{
    arrived = 0;
    cli();
    u64 deadline = rdtsc() + 20000;
    wrmsr(MSR_TSC_DEADLINE, deadline);
    while (!arrived)
        sti_hlt_cli();
    sti();
    return arrived - deadline;
}

/* A device model in the control partition raises an interrupt while it serves a port access. */
static u64 op_inject(void)
{
    arrived = 0;
    u64 start = rdtsc();
    outb(COM1_IER, 2); /* the transmitter is empty */
    u64 took = until_arrival(start);
    (void)inb(COM1_IIR);
    outb(COM1_IER, 0);
    return took;
}

/* The same access without the interrupt. */
TIMED(op_inject_base, outb(COM1_IER, 0))

static void answer(struct frame *f)
{
    (void)f;
    arrived = rdtsc();
    wrmsr(0x80b, 0); /* the library's would read the mode first */
    told = 1;
}

static void peer(unsigned index)
{
    (void)index;
    apic_enable_x2();
    for (;;) {
        while (!told)
            sti_hlt_cli();
        told = 0;
        wrmsr(0x830, (u64)guest_apic_id_of(0) << 32 | APIC_ICR_ASSERT | (VECTOR + 1));
    }
}

/* To the handler on a halted vCPU that shares this CPU, which then wakes us. */
static u64 op_ipi(void)
{
    u64 before = guest_count[VECTOR + 1];
    arrived = 0;
    cli();
    u64 start = rdtsc();
    wrmsr(0x830, (u64)guest_apic_id_of(1) << 32 | APIC_ICR_ASSERT | VECTOR);
    while (guest_count[VECTOR + 1] == before)
        sti_hlt_cli();
    sti();
    return arrived - start;
}

/* ---- sharing a CPU ---- */

static volatile u64 stamp;  /* TSC when either vCPU last ran */
static volatile u32 runner; /* and which one */

static u64 until_mine(u32 me)
{
    for (;;) {
        u64 now = rdtsc(), before = stamp;
        u32 who = runner;
        stamp = now;
        runner = me;
        if (who != me)
            return now - before;
    }
}

static void compete(unsigned index)
{
    for (;;)
        (void)until_mine(index);
}

/* From the last instruction of one busy vCPU to the first of the other, when its time is up. */
static u64 op_switch(void)
{
    return until_mine(0);
}

static void prepare_switch(void)
{
    guest_start_cpus(compete);
    delay_ms(1);
}

#define AWAY 5000 /* ticks that no exit takes: it did not have the CPU */
#define TURNS 100

/* This vCPU's share of the CPU in so many turns, in 1/10000, whoever has the rest. */
static u64 op_share(void)
{
    u64 last = rdtsc(), begin = 0, away = 0;

    for (u32 turns = 0; turns <= TURNS;) {
        u64 now = rdtsc();
        if (now - last > AWAY) {
            if (turns++)
                away += now - last;
            else
                begin = now;
        }
        last = now;
    }
    return (last - begin - away) * 10000 / (last - begin) + nothing;
}

/* The doorbell of the entropy device, whose queue is empty; the control partition, asleep before,
 * has looked at it and sleeps again when this returns. */
static struct virtio rng;

static u64 ring(void (*kick)(const struct virtio *d, u32 queue))
{
    u64 start = rdtsc();
    kick(&rng, 0);
    u64 took = rdtsc() - start;
    while (rdtsc() - start < 40000)
        ;
    return took;
}

static u64 op_doorbell(void)
{
    return ring(virtio_kick);
}

static u64 op_doorbell_memory(void)
{
    return ring(virtio_kick_memory);
}

static void prepare_doorbell(void)
{
    check(virtio_open(&rng, 4, 1, 0, 0), "there is no entropy device");
}

static void prepare_ipi(void)
{
    guest_handlers[VECTOR] = answer;
    guest_start_cpus(peer);
    delay_ms(1);
}

static void prepare_inject(void)
{
    outb(0x3fc, 0x0b);
    ioapic_route(4, VECTOR, apic_id());
}

static void prepare_deadline(void)
{
    apic_write(APIC_LVT_TIMER, VECTOR | APIC_TIMER_DEADLINE);
}

static void prepare_skip(void)
{
    guest_set_gate(VECTOR_GP, (u64)skip_two, 0, 0);
}

static const struct operation {
    const char *name;
    u64 (*run)(void);
    void (*prepare)(void);
} operations[] = {
    {"cpuid", op_cpuid, NULL},
    {"msr", op_msr, NULL},
    {"msr-unknown", op_msr_unknown, prepare_skip},
    {"hypercall", op_hypercall, prepare_skip},
    {"vmmcall", op_vmmcall, prepare_skip},
    {"port", op_port, NULL},
    {"mmio", op_mmio, NULL},
    {"eoi", op_eoi, NULL},
    {"tpr", op_tpr, NULL},
    {"self-ipi", op_self_ipi, NULL},
    {"deadline", op_deadline, prepare_deadline},
    {"timer", op_timer, prepare_deadline},
    {"timer-halted", op_timer_halted, prepare_deadline},
    {"inject", op_inject, prepare_inject},
    {"inject-base", op_inject_base, prepare_inject},
    {"ipi", op_ipi, prepare_ipi},
    {"switch", op_switch, prepare_switch},
    {"share", op_share, NULL},
    {"doorbell", op_doorbell, prepare_doorbell},
    {"doorbell-memory", op_doorbell_memory, prepare_doorbell},
};

static void sort(void)
{
    for (unsigned gap = count / 2; gap; gap /= 2)
        for (unsigned i = gap; i < count; i++) {
            u64 v = samples[i];
            unsigned at = i;
            for (; at >= gap && samples[at - gap] > v; at -= gap)
                samples[at] = samples[at - gap];
            samples[at] = v;
        }
}

static bool starts_with(const char *text, const char *word)
{
    while (*word && *text == *word)
        text++, word++;
    return !*word && (*text == ' ' || !*text);
}

static void measure(const struct operation *o)
{
    nothing = ~0ull;
    for (unsigned i = 0; i < 16; i++)
        nothing = MIN(nothing, op_nothing());
    if (o->prepare)
        o->prepare();
    /* What the host says about our start goes out first, an interrupt a character. */
    for (u64 quiet = rdtsc() + QUIET; rdtsc() < quiet;)
        ;
    sti();
    for (unsigned i = 0; i < count; i++) {
        u64 ticks = o->run();
        samples[i] = ticks > nothing ? ticks - nothing : 0;
    }
    cli();
    sort();
    print("BENCH %s min %lu p99 %lu\n", o->name, samples[0], samples[count * 99 / 100]);
}

void guest_main(void)
{
    print("first instruction at %lu\n", rdtsc());
    guest_handlers[VECTOR] = handler;
    apic_enable_x2();
    const char *line = platform_command_line();
    const char *number = line;
    while (*number && *number++ != ' ')
        ;
    for (; *number >= '0' && *number <= '9'; number++)
        count = count * 10 + (unsigned)(*number - '0');
    if (!count || count > SAMPLES)
        count = SAMPLES;
    for (unsigned i = 0; i < ARRAY_LEN(operations); i++)
        if (starts_with(line, operations[i].name))
            measure(&operations[i]);
    print("BENCH done\n");
    for (;;)
        asm volatile("cli; hlt");
}
