/* Start of a test guest in C: descriptor tables, output, verdict, interrupts and other vCPUs. */
#include "tests/guests/lib/guest.h"

#include <stdarg.h>

#include "tests/guests/lib/apic.h"
#include "tests/guests/lib/cpu.h"

#define COM1 0x3f8
#define COM1_LSR (COM1 + 5)
#define LSR_THRE 0x20

struct gate {
    u16 offset_low, selector;
    u8 ist, type;
    u16 offset_middle;
    u32 offset_high, zero;
};
struct __attribute__((packed)) tss {
    u32 reserved0;
    u64 rsp[3];
    u64 reserved1;
    u64 ist[7];
    u64 reserved2;
    u16 reserved3, io_map;
};

extern char interrupt_entries[], sipi_start[], sipi_end[];
extern u64 boot_gdt_tss[];
extern volatile u32 sipi_count;

guest_handler guest_handlers[256];
volatile u64 guest_count[256];
volatile struct guest_fault guest_fault;
volatile u64 guest_resume;

static struct gate idt[256] __attribute__((aligned(16)));
static struct tss tss[GUEST_CPUS] __attribute__((aligned(16)));
static u8 ring0_stack[4096] __attribute__((aligned(16)));
static void (*ap_entry)(unsigned index);
static volatile u32 ap_arrived;
static volatile u32 print_lock;

static void put(char c)
{
    if (c == '\n')
        put('\r');
    while (!(inb(COM1_LSR) & LSR_THRE))
        pause();
    outb(COM1, (u8)c);
}

static void put_number(u64 v, unsigned base, bool negative, unsigned width, char fill)
{
    char digits[24];
    unsigned n = 0;
    do {
        digits[n++] = "0123456789abcdef"[v % base];
        v /= base;
    } while (v);
    if (negative)
        digits[n++] = '-';
    for (unsigned i = n; i < width; i++)
        put(fill);
    while (n)
        put(digits[--n]);
}

static void vprint(const char *fmt, va_list args)
{
    for (; *fmt; fmt++) {
        if (*fmt != '%') {
            put(*fmt);
            continue;
        }
        fmt++;
        char fill = *fmt == '0' ? '0' : ' ';
        unsigned width = 0, longs = 0;
        while (*fmt >= '0' && *fmt <= '9')
            width = width * 10 + (unsigned)(*fmt++ - '0');
        while (*fmt == 'l') {
            longs++;
            fmt++;
        }
        if (*fmt == 's') {
            for (const char *s = va_arg(args, const char *); *s; s++)
                put(*s);
        } else if (*fmt == 'c') {
            put((char)va_arg(args, int));
        } else if (*fmt == 'd') {
            i64 v = longs ? va_arg(args, i64) : va_arg(args, int);
            put_number(v < 0 ? -(u64)v : (u64)v, 10, v < 0, width, fill);
        } else if (*fmt == 'u' || *fmt == 'x') {
            u64 v = longs ? va_arg(args, u64) : va_arg(args, unsigned);
            put_number(v, *fmt == 'x' ? 16 : 10, false, width, fill);
        } else {
            put('%');
        }
    }
}

void print(const char *fmt, ...)
{
    while (__atomic_exchange_n(&print_lock, 1, __ATOMIC_ACQUIRE))
        pause();
    va_list args;
    va_start(args, fmt);
    vprint(fmt, args);
    va_end(args);
    __atomic_store_n(&print_lock, 0, __ATOMIC_RELEASE);
}

void guest_pass(void)
{
    print("VERDICT pass %s\n", GUEST_NAME);
    guest_power_off();
}

void guest_fail(const char *fmt, ...)
{
    cli();
    /* No lock: the one who holds it may be the one who failed. */
    va_list args;
    va_start(args, fmt);
    put('\n');
    const char *head = "VERDICT fail " GUEST_NAME ": ";
    while (*head)
        put(*head++);
    vprint(fmt, args);
    put('\n');
    va_end(args);
    guest_power_off();
}

void guest_set_gate(unsigned vector, u64 handler, unsigned dpl, unsigned ist)
{
    idt[vector] = (struct gate){
        .offset_low = (u16)handler,
        .selector = GUEST_CODE64,
        .ist = (u8)ist,
        .type = (u8)(0x8e | dpl << 5),
        .offset_middle = (u16)(handler >> 16),
        .offset_high = (u32)(handler >> 32),
    };
}

void guest_set_ist(unsigned cpu, unsigned ist, u64 stack_top)
{
    tss[cpu].ist[ist - 1] = stack_top;
}

static void load_tables(unsigned cpu)
{
    u64 base = (u64)&tss[cpu], limit = sizeof(tss[cpu]) - 1;
    tss[cpu].io_map = sizeof(tss[cpu]);
    tss[cpu].rsp[0] = (u64)(ring0_stack + sizeof(ring0_stack));
    boot_gdt_tss[2 * cpu] = FIELD_PUT(BITS(15, 0), limit) | FIELD_PUT(BITS(39, 16), base) |
                            0x89ull << 40 | FIELD_PUT(BITS(63, 56), base >> 24);
    boot_gdt_tss[2 * cpu + 1] = base >> 32;
    asm volatile("ltr %w0" : : "r"(0x40 + 16 * cpu));
    struct table_pointer p = {sizeof(idt) - 1, (u64)idt};
    asm volatile("lidt %0" : : "m"(p));
}

void guest_interrupt(struct frame *f);
void guest_interrupt(struct frame *f)
{
    u64 vector = f->vector & 0xff; /* the entries push a sign-extended byte */
    if (guest_handlers[vector]) {
        guest_handlers[vector](f);
        return;
    }
    if (vector >= 32 || vector == VECTOR_NMI) {
        guest_count[vector]++;
        if (vector >= 32)
            apic_eoi();
        return;
    }
    if (!guest_resume)
        guest_fail("exception %u error %lx at %lx, cr2 %lx", (unsigned)vector, f->error, f->rip,
                   read_cr2());
    guest_fault.vector = vector;
    guest_fault.error = f->error;
    guest_fault.rip = f->rip;
    guest_fault.cr2 = read_cr2();
    f->rip = guest_resume;
    guest_resume = 0;
}

void guest_start(void);
void guest_start(void)
{
    for (unsigned i = 0; i < 256; i++)
        guest_set_gate(i, (u64)(interrupt_entries + 16 * i),
                       i == VECTOR_BP || i == VECTOR_OF ? 3 : 0, 0);
    load_tables(0);
    outb(0x21, 0xff); /* firmware may have left the PICs on, with vectors of exceptions */
    outb(0xa1, 0xff);
    guest_main();
    guest_pass();
}

void guest_start_ap(unsigned index);
void guest_start_ap(unsigned index)
{
    load_tables(index);
    __atomic_fetch_add(&ap_arrived, 1, __ATOMIC_RELEASE);
    ap_entry(index);
}

void guest_send_sipi(u32 apic_id)
{
    apic_ipi(apic_id, APIC_ICR_INIT | APIC_ICR_ASSERT);
    delay_ms(1);
    for (unsigned i = 0; i < 2; i++) { /* the second is ignored once the first was taken */
        apic_ipi(apic_id, APIC_ICR_STARTUP | APIC_ICR_ASSERT | 8);
        delay_ms(1);
    }
}

void guest_set_entry(void (*entry)(unsigned index))
{
    ap_entry = entry;
}

void guest_start_cpus(void (*entry)(unsigned index))
{
    ap_entry = entry;
    u8 *to = (u8 *)0x8000;
    for (char *from = sipi_start; from < sipi_end; from++)
        *to++ = (u8)*from;
    unsigned others = 0;
    for (unsigned i = 0; i < guest_cpu_count() && i < GUEST_CPUS; i++) {
        if (guest_apic_id_of(i) == apic_id())
            continue;
        guest_send_sipi(guest_apic_id_of(i));
        others++;
        for (unsigned ms = 0; ap_arrived < others; ms++) {
            check(ms < 2000, "vCPU with APIC id %x did not start", guest_apic_id_of(i));
            delay_ms(1);
        }
    }
}
