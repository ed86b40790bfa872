/* The local APIC's registers in both modes: what they are after reset, what can be written, how
 * TPR, ISR and PPR go together for every class of vector, errors, and being switched off. */
#include "tests/guests/lib/apic.h"
#include "tests/guests/lib/cpu.h"
#include "tests/guests/lib/guest.h"

#define SVR_ENABLE 0x100
#define ESR_SEND_ILLEGAL 0x20
#define ESR_RECEIVE_ILLEGAL 0x40
#define ESR_ILLEGAL_REGISTER 0x80
#define RESERVED_REGISTER 0x90
#define ERROR_VECTOR 0x76 /* not one of vector_of() */
#define COM1 0x3f8
#define UART_PIN 4
#define CLASSES 16
#define LIMIT_MS 2000

static volatile u64 taken[CLASSES], depth, deepest;
static volatile u32 ppr_seen[CLASSES];
static volatile bool eoi_lost;

static u32 vector_of(u32 class)
{
    return class << 4 | 5;
}

static void self(u32 vector)
{
    apic_ipi(0, APIC_ICR_SELF | APIC_ICR_ASSERT | vector);
}

static void after_reset(void)
{
    /* SDM 3A 11.4.7.1; software-enabled by apic_enable_x(). */
    u32 version = apic_read(APIC_VERSION);
    check((version & 0xff) >= 0x10 && (version & 0xff) <= 0x15, "version %x", version);
    check((version >> 16 & 0xff) >= 3, "LVT entries: %u", (version >> 16 & 0xff) + 1);
    check_equal(apic_read(APIC_DFR), ~0u, "DFR");
    check_equal(apic_read(APIC_LDR), 0, "LDR");
    check_equal(apic_read(APIC_LVT_TIMER), APIC_LVT_MASKED, "timer's LVT");
    check_equal(apic_read(APIC_LVT_ERROR), APIC_LVT_MASKED, "error's LVT");
    check_equal(apic_read(APIC_TIMER_INITIAL), 0, "timer's initial count");
    for (u32 i = 0; i < 8; i++) {
        check_equal(apic_read(APIC_IRR + 16 * i), 0, "IRR");
        check_equal(apic_read(APIC_ISR + 16 * i), 0, "ISR");
    }
}

static void writable(void)
{
    static const struct {
        u32 reg, value, reads;
    } rows[] = {
        {APIC_LVT_TIMER, 0x30000 | 0xef, 0x30000 | 0xef},
        {APIC_LVT_LINT0, APIC_LVT_MASKED | 0xa7ef, APIC_LVT_MASKED | 0xa7ef},
        {APIC_LVT_LINT1, APIC_LVT_MASKED | 0x400, APIC_LVT_MASKED | 0x400},
        {APIC_LVT_ERROR, APIC_LVT_MASKED | 0xfe, APIC_LVT_MASKED | 0xfe},
        {APIC_TIMER_DIVIDE, 0xb, 0xb},
        {APIC_TIMER_DIVIDE, 0xa, 0xa},
    };
    for (unsigned i = 0; i < ARRAY_LEN(rows); i++) {
        u32 before = apic_read(rows[i].reg);
        apic_write(rows[i].reg, rows[i].value);
        u32 got = apic_read(rows[i].reg);
        check(got == rows[i].reads, "register %x reads %x after %x", rows[i].reg, got,
              rows[i].value);
        apic_write(rows[i].reg, before);
    }
    for (u32 tpr = 0; tpr < 0x100; tpr += 0x0f) {
        apic_write(APIC_TPR, tpr);
        check_equal(apic_read(APIC_TPR), tpr, "TPR");
        check_equal(read_cr8(), tpr >> 4, "CR8");
        check_equal(apic_read(APIC_PPR) & 0xf0, tpr & 0xf0, "PPR with nothing in service");
    }
    apic_write(APIC_TPR, 0);
}

/* ESR as a write shows it, with how many error interrupts came since the last time. */
static void expect_error(u32 esr, u64 interrupts, const char *what)
{
    static u64 before;
    u64 start = rdtsc();

    do /* a device may take its time */
        take_interrupts();
    while (guest_count[ERROR_VECTOR] - before < interrupts && !guest_late(start, LIMIT_MS));
    apic_write(APIC_ESR, 0);
    check_equal(apic_read(APIC_ESR), esr, what);
    check_equal(guest_count[ERROR_VECTOR] - before, interrupts, what);
    before = guest_count[ERROR_VECTOR];
}

/* SDM 3A 11.5.3: each error is an interrupt by the error's LVT, unless it is masked. */
static void error_interrupts(void)
{
    apic_write(APIC_LVT_ERROR, ERROR_VECTOR);
    apic_ipi(0, APIC_ICR_SELF | APIC_ICR_ASSERT | 8);
    expect_error(ESR_SEND_ILLEGAL, 1, "an illegal vector is sent");
    outb(COM1 + 4, 0x0b); /* OUT2 lets the interrupt out */
    ioapic_route(UART_PIN, 9, 0);
    outb(COM1 + 1, 2); /* its transmitter is empty: an edge */
    expect_error(ESR_RECEIVE_ILLEGAL, 1, "an illegal vector comes");
    outb(COM1 + 1, 0);
    ioapic_route(UART_PIN, APIC_LVT_MASKED, 0);
    if (!apic_is_x2()) {
        (void)apic_read(RESERVED_REGISTER);
        expect_error(ESR_ILLEGAL_REGISTER, 1, "a reserved register is read");
        apic_write(RESERVED_REGISTER, 1);
        expect_error(ESR_ILLEGAL_REGISTER, 1, "a reserved register is written");
        apic_write(APIC_LVT_ERROR, APIC_LVT_MASKED | ERROR_VECTOR);
        apic_write(RESERVED_REGISTER, 1);
        expect_error(ESR_ILLEGAL_REGISTER, 0, "a reserved register is written, masked");
    }
    apic_write(APIC_LVT_ERROR, APIC_LVT_MASKED);
    apic_ipi(0, APIC_ICR_SELF | APIC_ICR_ASSERT | 8);
    expect_error(ESR_SEND_ILLEGAL, 0, "an illegal vector is sent, masked");
    expect_error(0, 0, "no error");
}

/* SDM 3A 11.5.3: the illegal vector is noted, and read after a write to ESR. */
static void errors(void)
{
    apic_write(APIC_ESR, 0);
    apic_write(APIC_ESR, 0);
    check_equal(apic_read(APIC_ESR), 0, "ESR");
    if (guest_on_qemu()) /* which delivers it */
        return;
    apic_ipi(0, APIC_ICR_SELF | APIC_ICR_ASSERT | 8);
    apic_write(APIC_ESR, 0);
    u32 esr = apic_read(APIC_ESR);
    check(esr & ESR_SEND_ILLEGAL, "ESR is %x after an illegal vector", esr);
    apic_write(APIC_ESR, 0);
    check_equal(apic_read(APIC_ESR), 0, "ESR, cleared");
    check(!apic_bit(APIC_IRR, 8), "an illegal vector is requested");
    error_interrupts();
}

static void on_class(struct frame *f)
{
    u32 class = (f->vector & 0xff) >> 4;
    taken[class]++;
    if (++depth > deepest)
        deepest = depth;
    ppr_seen[class] = apic_read(APIC_PPR);
    if (taken[class] == 1) {
        self(vector_of(class + 1)); /* higher: comes at once */
        self(vector_of(class));     /* the same: waits for our EOI */
        u64 same = taken[class];
        take_interrupts();
        if (taken[class] != same)
            eoi_lost = true;
    }
    depth--;
    apic_eoi();
}

/* Each handler is interrupted by the next class, and not by its own. */
static void nesting(void)
{
    for (u32 class = 2; class < CLASSES; class ++) {
        guest_handlers[vector_of(class)] = on_class;
        taken[class] = ppr_seen[class] = 0;
    }
    deepest = depth = 0;
    eoi_lost = false;
    guest_handlers[vector_of(14)] = NULL; /* not more than the stack has room for */
    self(vector_of(10));
    take_interrupts();
    check(!eoi_lost, "an interrupt of the same class came before the EOI");
    for (u32 class = 10; class < 14; class ++) {
        check(taken[class] >= 1, "class %u never came", class);
        check_equal(ppr_seen[class] & 0xf0, class << 4, "PPR in its handler");
    }
    check(deepest >= 4, "nesting is %lu deep", deepest);
    /* What was sent while its own class was served is still to come. */
    for (unsigned i = 0; i < 64; i++)
        take_interrupts();
    for (u32 i = 0; i < 8; i++)
        check_equal(apic_read(APIC_ISR + 16 * i), 0, "ISR in the end");
    for (u32 class = 2; class < CLASSES; class ++)
        guest_handlers[vector_of(class)] = NULL;
}

/* Each TPR lets exactly the classes above it through, and the others stay requested. */
static void by_tpr(void)
{
    for (u32 tpr = 0; tpr < 16; tpr++) {
        write_cr8(tpr);
        for (u32 class = 2; class < CLASSES; class ++) {
            u64 before = guest_count[vector_of(class)];
            self(vector_of(class));
            take_interrupts();
            bool came = guest_count[vector_of(class)] != before;
            check(came == (class > tpr), "class %u %s with TPR %u", class,
                  came ? "comes" : "does not come", tpr);
            check(came != apic_bit(APIC_IRR, vector_of(class)), "IRR of class %u", class);
            if (!came) { /* taken now, so that the next TPR begins with nothing */
                write_cr8(0);
                take_interrupts();
                write_cr8(tpr);
            }
            check_equal(guest_count[vector_of(class)], before + 1, "interrupts");
        }
    }
    write_cr8(0);
}

/* SDM 3A 11.4.7.2: software-disabled, every LVT is masked and stays so; IRR and ISR remain. */
static void disabled(void)
{
    u64 before = guest_count[0x45];
    apic_write(APIC_LVT_TIMER, 0x45);
    apic_write(APIC_TIMER_DIVIDE, 0xb);
    self(0x55); /* requested, and interrupts are off */
    apic_write(APIC_SVR, 0xff);
    check(apic_read(APIC_LVT_TIMER) & APIC_LVT_MASKED, "timer's LVT of a disabled local APIC");
    apic_write(APIC_LVT_TIMER, 0x45);
    check(apic_read(APIC_LVT_TIMER) & APIC_LVT_MASKED, "a disabled local APIC's LVT is unmasked");
    apic_write(APIC_TIMER_INITIAL, 100);
    delay_ms(2);
    take_interrupts();
    check_equal(guest_count[0x45], before, "timer interrupts of a disabled local APIC");
    apic_write(APIC_SVR, SVR_ENABLE | 0xff);
    check(apic_read(APIC_LVT_TIMER) & APIC_LVT_MASKED, "timer's LVT, enabled again");
    apic_write(APIC_TIMER_INITIAL, 0);
    for (unsigned i = 0; i < 16; i++)
        take_interrupts();
    check(!apic_bit(APIC_IRR, 0x55), "a request from before is still there");
}

void guest_main(void)
{
    apic_enable_x();
    tsc_per_ms();
    after_reset();
    for (unsigned mode = 0; mode < 2; mode++) {
        if (mode == 1 && !(cpuid(1, 0).ecx & BIT(21)))
            break;
        if (mode == 1)
            apic_enable_x2();
        writable();
        errors();
        by_tpr();
        nesting();
        if (!guest_on_qemu()) /* which leaves them as they are */
            disabled();
    }
}
