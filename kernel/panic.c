/* Panic: the first core in stops the others by NMI, then prints everything polled, and into the
 * crash record as well.  Takes no lock and trusts no state that it can do without. */
#include "kernel/panic.h"

#include "kernel/abi/crash.h"
#include "kernel/abi/status.h"
#include "kernel/apic.h"
#include "kernel/host.h"
#include "kernel/lib/fmt.h"
#include "kernel/lib/ksym.h"
#include "kernel/mem.h"
#include "kernel/string.h"
#include "kernel/timer.h"
#include "kernel/uart.h"
#include "kernel/x86.h"

#define BACKTRACE_DEPTH 32
#define TAIL_RECORDS 24

extern const char image_text_start[], image_text_end[];

static volatile u32 panicking;      /* 1 + id of the core that does */
static struct crash_record *record; /* NULL: no place for one */
static u64 reset_after;             /* seconds; 0: never */

static void print(const char *fmt, ...) PRINTF_LIKE(1, 2);
static void print(const char *fmt, ...)
{
    char line[320];
    va_list ap;
    va_start(ap, fmt);
    u64 n = fmt_vsnprintf(line, sizeof(line), fmt, ap);
    va_end(ap);
    n = MIN(n, sizeof(line) - 1);
    uart_write(line, n);
    if (!record || n > sizeof(record->text) - record->len)
        return;
    memcpy(record->text + record->len, line, n);
    record->len += n;
    record->sum = crash_sum(record->sum, line, n);
}

static void halt(void) NORETURN;
static void halt(void)
{
    for (;;)
        asm volatile("cli\n\thlt");
}

static void print_code(u64 address)
{
    u64 offset;
    const char *name = ksym_name(&image_symbols, address, &offset);
    print("  %016lx %s+0x%lx\n", address, name, offset);
}

/* Frame pointers are followed upwards only, within one stack's distance. */
static void backtrace(u64 rip, u64 rbp)
{
    print("backtrace:\n");
    print_code(rip);
    for (int i = 0; i < BACKTRACE_DEPTH; i++) {
        if (rbp % 8 || rbp < PHYSMAP_BASE)
            return;
        const u64 *frame = (const u64 *)rbp;
        if (frame[1] < (u64)image_text_start || frame[1] >= (u64)image_text_end)
            return;
        print_code(frame[1] - 1); /* inside the call */
        if (frame[0] <= rbp || frame[0] - rbp > 16 * KIB)
            return;
        rbp = frame[0];
    }
}

static void print_registers(const struct user_frame *f)
{
    print("rax %016lx rbx %016lx rcx %016lx rdx %016lx\n", f->rax, f->rbx, f->rcx, f->rdx);
    print("rsi %016lx rdi %016lx rbp %016lx rsp %016lx\n", f->rsi, f->rdi, f->rbp, f->rsp);
    print("r8  %016lx r9  %016lx r10 %016lx r11 %016lx\n", f->r8, f->r9, f->r10, f->r11);
    print("r12 %016lx r13 %016lx r14 %016lx r15 %016lx\n", f->r12, f->r13, f->r14, f->r15);
    print("rip %016lx rflags %08lx cs %lx ss %lx\n", f->rip, f->rflags, f->cs, f->ss);
    print("cr0 %08lx cr2 %016lx cr3 %010lx cr4 %08lx\n", read_cr0(), read_cr2(), read_cr3(),
          read_cr4());
}

static void print_cpus(void)
{
    for (u32 i = 0; i < CPU_MAX; i++) {
        const struct cpu *c = cpus[i];
        if (c && c->last_exit_rip)
            print("cpu %u: last exit reason %lu qualification %lx at guest rip %lx\n", i,
                  c->last_exit_reason, c->last_exit_qualification, c->last_exit_rip);
    }
}

static void print_log(void)
{
    struct log_cursor c = {0};
    char text[256];

    log_break_lock();
    u64 next = log_next();
    c.seq = next > TAIL_RECORDS ? next - TAIL_RECORDS : 0;
    print("log:\n");
    while (log_read(&c, text, sizeof(text)))
        print("  [%16lu] cpu %u: %s\n", c.tsc, c.cpu, text);
}

static void begin(void)
{
    u32 me = this_cpu()->id + 1, nobody = 0;
    if (!__atomic_compare_exchange_n(&panicking, &nobody, me, false, __ATOMIC_SEQ_CST,
                                     __ATOMIC_SEQ_CST)) {
        if (nobody == me)
            print("\npanic while printing a panic\n");
        halt();
    }
    apic_stop_others();
    if (!record)
        return;
    record->len = 0;
    record->sum = CRASH_SUM;
    record->magic = CRASH_MAGIC;
    record->unix_time = host_now();
}

static void end(void) NORETURN;
static void end(void)
{
    print_cpus();
    print_log();
    print(
        "Bulkhead has stopped. Try: note the lines above, then reset the machine; host crash show "
        "has them after a warm reset.\n");
    asm volatile("wbinvd" ::: "memory"); /* a reset empties the caches without writing them back */
    if (!reset_after)
        halt();
    print("The machine is reset in %lu s.\n", reset_after);
    timer_delay(reset_after * 1000000);
    host_reset((u64[6]){0});
    halt();
}

/* f: registers of what was interrupted; NULL: none are known. */
static NORETURN void report(const struct user_frame *f, u64 rip, u64 rbp, const char *text)
{
    begin();
    print("\nPANIC on cpu %u: %s\n", this_cpu()->id, text);
    if (f)
        print_registers(f);
    backtrace(rip, rbp);
    end();
}

#define FORMAT(text, fmt)                                                                          \
    do {                                                                                           \
        va_list ap;                                                                                \
        va_start(ap, fmt);                                                                         \
        fmt_vsnprintf(text, sizeof(text), fmt, ap);                                                \
        va_end(ap);                                                                                \
    } while (0)

void panic(const char *fmt, ...)
{
    char text[256];

    FORMAT(text, fmt);
    report(NULL, (u64)__builtin_return_address(0), *(const u64 *)__builtin_frame_address(0), text);
}

void panic_at(const struct user_frame *f, const char *fmt, ...)
{
    char text[256];

    FORMAT(text, fmt);
    report(f, f->rip, f->rbp, text);
}

bool panic_stop(void)
{
    if (panicking && panicking != this_cpu()->id + 1)
        halt();
    return panicking;
}

void panic_init(const struct boot_info *bi)
{
    if (bi->crash_record)
        record = phys_to_virt(HPA(bi->crash_record));
}

i64 panic_call(const u64 args[6])
{
    bool meant = args[1] == CRASH_KEY;

    if (args[0] == CRASH_CLEAR && record)
        record->magic = 0;
    else if (args[0] == CRASH_RESET_AFTER && args[1] <= 3600)
        reset_after = args[1];
    else if (args[0] == CRASH_PANIC && meant)
        panic("asked for by the control partition");
    else if (args[0] != CRASH_HANG || !meant)
        return HV_EINVAL;
    while (args[0] == CRASH_HANG)
        cpu_relax();
    return HV_OK;
}
