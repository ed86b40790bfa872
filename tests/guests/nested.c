/* Exceptions that meet: which pairs make a double fault and which are taken one after the other
 * (SDM 3A table 6-5), what is pushed when the delivery of an INT n, an interrupt or an NMI fails,
 * and an INT n that is executed again after the page fault in its way. */
#include "tests/guests/lib/apic.h"
#include "tests/guests/lib/cpu.h"
#include "tests/guests/lib/guest.h"

#define SOFT 0x90
#define EXTERNAL 0x91
#define ABSENT_STACK 0x1c0000000ull
#define ERROR_IDT 2u
#define ERROR_EXTERNAL 1u

enum first { FIRST_UD, FIRST_GP, FIRST_PF, FIRST_SOFT };
enum second { BY_GATE, BY_STACK }; /* #NP, as the gate is absent; #PF, as its stack is */

extern u64 directories[];
static u8 df_stack[4096] __attribute__((aligned(16)));
static u8 retry_page[8192] __attribute__((aligned(4096)));
static u64 small_table[512] __attribute__((aligned(4096)));
static volatile u64 hits, page_faults, soft_rip;

static u8 *gate(unsigned vector)
{
    struct table_pointer idt;
    asm volatile("sidt %0" : "=m"(idt));
    return (u8 *)(idt.base + 16 * vector);
}

static void gate_present(unsigned vector, bool on)
{
    u8 *g = gate(vector);
    g[5] = on ? g[5] | 0x80 : g[5] & 0x7f;
}

static void gate_ist(unsigned vector, unsigned ist)
{
    gate(vector)[4] = (u8)ist;
}

static u64 raise(enum first first)
{
    switch (first) {
    case FIRST_UD:
        return fault_of("ud2", :);
    case FIRST_GP:
        return fault_of("movw %w0, %%ds", : : "r"(0x1008));
    case FIRST_PF:
        return fault_of("movq (%0), %%rax", : : "r"(0x1a0000000ull) : "rax");
    default:
        return fault_of("int $0x90", : : : "memory");
    }
}

static void pairs(void)
{
    static const struct {
        enum first first;
        unsigned vector;
        enum second second;
        u64 want, error;
    } rows[] = {
        {FIRST_UD, VECTOR_UD, BY_GATE, VECTOR_NP, VECTOR_UD << 3 | ERROR_IDT | ERROR_EXTERNAL},
        {FIRST_UD, VECTOR_UD, BY_STACK, VECTOR_PF, 2},
        {FIRST_GP, VECTOR_GP, BY_GATE, VECTOR_DF, 0},
        {FIRST_GP, VECTOR_GP, BY_STACK, VECTOR_PF, 2},
        {FIRST_PF, VECTOR_PF, BY_GATE, VECTOR_DF, 0},
        {FIRST_PF, VECTOR_PF, BY_STACK, VECTOR_DF, 0},
        {FIRST_SOFT, SOFT, BY_GATE, VECTOR_NP, SOFT << 3 | ERROR_IDT},
        {FIRST_SOFT, SOFT, BY_STACK, VECTOR_PF, 2},
    };
    bool tcg = guest_is_tcg(); /* which says twice the vector, and never EXT */
    guest_set_ist(0, 1, ABSENT_STACK);
    guest_set_ist(0, 2, (u64)(df_stack + sizeof(df_stack)));
    gate_ist(VECTOR_DF, 2);
    for (unsigned i = 0; i < ARRAY_LEN(rows); i++) {
        if (rows[i].second == BY_GATE)
            gate_present(rows[i].vector, false);
        else
            gate_ist(rows[i].vector, 1);
        u64 got = raise(rows[i].first), error = guest_fault.error;
        gate_present(rows[i].vector, true);
        gate_ist(rows[i].vector, 0);
        check(got == rows[i].want, "pair %u: exception %lu, not %lu", i, got, rows[i].want);
        check(error == rows[i].error || tcg, "pair %u: error code %lx, not %lx", i, error,
              rows[i].error);
        if (rows[i].want == VECTOR_PF)
            check(guest_fault.cr2 >= ABSENT_STACK - 64 && guest_fault.cr2 < ABSENT_STACK,
                  "pair %u: CR2 is %lx", i, guest_fault.cr2);
    }
    gate_ist(VECTOR_DF, 0);
}

static void note_soft(struct frame *f)
{
    hits++;
    soft_rip = f->rip;
}

/* INT n beyond the IDT's limit, and one that ring 0 may not use has no privilege check here. */
static void beyond_the_limit(void)
{
    struct table_pointer idt, shorter;
    asm volatile("sidt %0" : "=m"(idt));
    shorter = idt;
    shorter.limit = 16 * SOFT - 1;
    asm volatile("lidt %0" : : "m"(shorter));
    u64 vector = fault_of("int $0x90", : : : "memory");
    u64 error = guest_fault.error;
    asm volatile("lidt %0" : : "m"(idt));
    check_equal(vector, VECTOR_GP, "INT n beyond the IDT's limit");
    if (!guest_is_tcg())
        check_equal(error, SOFT << 3 | ERROR_IDT, "its error code");
}

/* The RIP that is pushed when an INT n fails is the INT n's; one that works pushes the next. */
static void soft_interrupt_again(void)
{
    u64 at, after, stack = (u64)retry_page + 4096;
    u64 *entry = &small_table[((u64)retry_page / PAGE_SIZE) % 512];
    u64 base = ROUND_DOWN((u64)retry_page, PAGE_2M);

    for (unsigned i = 0; i < 512; i++)
        small_table[i] = (base + i * PAGE_SIZE) | 0x67;
    directories[base / PAGE_2M] = (u64)small_table | 0x67;
    write_cr3(read_cr3());
    guest_set_ist(0, 1, stack);
    gate_ist(SOFT, 1);
    guest_handlers[SOFT] = note_soft;
    for (unsigned round = 0; round < 3; round++) {
        *entry &= ~BIT(0);
        invlpg((u64)retry_page);
        hits = 0;
        u64 vector = fault_of("2: int $0x90; 3: nop; lea 2b(%%rip), %0; lea 3b(%%rip), %1",
                              "\n lea 2b(%%rip), %0; lea 3b(%%rip), %1"
                              : "=&r"(at), "=&r"(after)
                              :
                              : "memory");
        check_equal(vector, VECTOR_PF, "INT n whose stack is absent");
        check_equal(guest_fault.rip, at, "RIP pushed by its page fault");
        check_equal(hits, 0, "deliveries of an INT n that failed");
        *entry |= BIT(0);
        invlpg((u64)retry_page);
        asm volatile("2: int $0x90; 3: lea 3b(%%rip), %0" : "=&r"(after) : : "memory");
        check_equal(hits, 1, "deliveries of an INT n");
        check_equal(soft_rip, after, "RIP pushed by INT n");
    }
    gate_ist(SOFT, 0);
    guest_handlers[SOFT] = NULL;
}

static void mend_and_return(struct frame *f)
{
    page_faults++;
    soft_rip = f->rip;
    small_table[((u64)retry_page / PAGE_SIZE) % 512] |= BIT(0);
    invlpg((u64)retry_page);
}

/* The local APIC has handed it over: it is in service, and lost to the handler.  QEMU 7.2 delivers
 * a virtual interrupt (AMD APM 2, 15.21.4) once more, unless the fault was an exit. */
static void end_failed(u64 before)
{
    take_interrupts();
    if (guest_is_tcg() && guest_count[EXTERNAL] == before + 1)
        return;
    check_equal(guest_count[EXTERNAL], before, "interrupts whose delivery failed");
    check(apic_bit(APIC_ISR, EXTERNAL), "an interrupt whose delivery failed is not in service");
    apic_eoi();
}

/* The page fault is mended and returns: the INT n runs again, an interrupt is still pending. */
static void mended(void)
{
    u64 *entry = &small_table[((u64)retry_page / PAGE_SIZE) % 512];
    u64 at;

    guest_handlers[SOFT] = note_soft;
    guest_handlers[VECTOR_PF] = mend_and_return;
    gate_ist(SOFT, 1);
    for (unsigned round = 0; round < 3; round++) {
        hits = page_faults = 0;
        *entry &= ~BIT(0);
        invlpg((u64)retry_page);
        asm volatile("2: int $0x90; lea 2b(%%rip), %0" : "=&r"(at) : : "memory");
        check_equal(page_faults, 1, "page faults on the way of an INT n");
        check_equal(hits, 1, "INT n after its page fault was mended");
    }
    gate_ist(SOFT, 0);

    gate_ist(EXTERNAL, 1);
    for (unsigned round = 0; round < 3; round++) {
        u64 before = guest_count[EXTERNAL];
        page_faults = 0;
        *entry &= ~BIT(0);
        invlpg((u64)retry_page);
        apic_ipi(apic_id(), EXTERNAL | APIC_ICR_ASSERT);
        take_interrupts();
        check_equal(page_faults, 1, "page faults on the way of an interrupt");
        end_failed(before);
    }
    gate_ist(EXTERNAL, 0);
    guest_handlers[VECTOR_PF] = guest_handlers[SOFT] = NULL;
}

static void fail_in_gate(struct frame *f)
{
    hits++;
    guest_fault.error = f->error;
    gate_present(EXTERNAL, true);
}

/* An interrupt and an NMI through a gate that is not there: #NP with EXT set. */
static void external_without_gate(void)
{
    guest_handlers[VECTOR_NP] = fail_in_gate;
    u64 before = guest_count[EXTERNAL];
    hits = 0;
    gate_present(EXTERNAL, false);
    apic_ipi(apic_id(), EXTERNAL | APIC_ICR_ASSERT);
    take_interrupts();
    check_equal(hits, 1, "#NP for an interrupt without a gate");
    if (!guest_is_tcg())
        check_equal(guest_fault.error, EXTERNAL << 3 | ERROR_IDT | ERROR_EXTERNAL,
                    "its error code");
    end_failed(before);

    hits = 0;
    gate_present(VECTOR_NMI, false);
    apic_ipi(apic_id(), APIC_ICR_NMI | APIC_ICR_ASSERT);
    u64 start = rdtsc();
    while (!hits && !guest_late(start, 100))
        pause();
    gate_present(VECTOR_NMI, true);
    check_equal(hits, 1, "#NP for an NMI without a gate");
    if (!guest_is_tcg())
        check_equal(guest_fault.error, VECTOR_NMI << 3 | ERROR_IDT | ERROR_EXTERNAL,
                    "its error code");
    guest_handlers[VECTOR_NP] = NULL;
}

void guest_main(void)
{
    apic_enable_x();
    tsc_per_ms();
    pairs();
    beyond_the_limit();
    soft_interrupt_again();
    mended();
    external_without_gate();
}
