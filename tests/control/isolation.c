/* A control partition that attacks: a freestanding ring-3 image in place of control.elf.
 *
 * System calls with bad arguments must be refused; after that each instance tries one forbidden
 * thing, which must crash it, and the restart counter picks the next.  Verdicts go to the console
 * UART, which ring 3 may use: one "CASE ..." line each, "VERDICT ..." at the end. */
#include "kernel/abi/control_page.h"
#include "kernel/abi/layout.h"
#include "kernel/abi/status.h"
#include "tests/control/ring3.h"

void _start(void);

static u64 data_word = 0x9090c3; /* writable: "ret; nop; nop" */
static const u64 constant = 1;

static void print_number(i64 n)
{
    char text[24];
    int at = 23;
    bool negative = n < 0;
    u64 v = negative ? -(u64)n : (u64)n;
    text[at] = 0;
    do {
        text[--at] = (char)('0' + v % 10);
        v /= 10;
    } while (v);
    if (negative)
        text[--at] = '-';
    ring3_print(text + at);
}

static u64 peek(u64 at)
{
    return *(volatile u64 *)at;
}

static void poke(u64 at)
{
    *(volatile u64 *)at = 0;
}

static void read_kernel_image(void)
{
    peek(KERNEL_IMAGE_BASE);
}
static void read_physmap(void)
{
    peek(PHYSMAP_BASE + 0x100000);
}
static void read_kernel_stack(void)
{
    peek(KERNEL_CPU_BASE + 0x12000);
}
static void read_null(void)
{
    peek(0);
}
static void read_window(void) /* of a VM that does not exist */
{
    peek(VM_WINDOW(0));
}
static void write_text(void)
{
    poke((u64)_start);
}
static void write_constant(void)
{
    poke((u64)&constant);
}
static void write_module(void)
{
    poke(host->modules[0].vaddr);
}
static void write_host_info(void)
{
    poke(USER_HOST_INFO);
}
static void run_data(void)
{
    ((void (*)(void))(u64)&data_word)();
}
static void run_stack(void)
{
    u8 code[1] = {0xc3};
    ((void (*)(void))(u64)code)();
}
static void run_heap(void)
{
    i64 at = ring3_call(SYS_MEM_MAP, PAGE_SIZE, 0, 0, 0, 0);
    *(volatile u8 *)at = 0xc3;
    ((void (*)(void))at)();
}
static void below_stack(void)
{
    poke(USER_STACK_TOP - USER_STACK_SIZE - 8);
}
static void do_cli(void)
{
    asm volatile("cli");
}
static void do_hlt(void)
{
    asm volatile("hlt");
}
static void do_wrmsr(void)
{
    asm volatile("wrmsr" : : "c"(0xc0000082), "a"(0), "d"(0));
}
static void do_rdmsr(void)
{
    u32 lo, hi;
    asm volatile("rdmsr" : "=a"(lo), "=d"(hi) : "c"(0xc0000080));
}
static void read_cr3(void)
{
    u64 v;
    asm volatile("mov %%cr3, %0" : "=r"(v));
}
static void in_foreign(void)
{
    inb(0x60);
}
static void out_foreign(void)
{
    outb(0xcf9, 6);
}
static void out_high(void) /* beyond the I/O permission map */
{
    inb(0x8900);
}
static void far_selector(void) /* behind the GDT's end, where a VM exit's limit would reach */
{
    asm volatile("mov %0, %%ds" : : "r"(0x1003));
}
static void unmapped_after_unmap(void)
{
    i64 at = ring3_call(SYS_MEM_MAP, 2 * PAGE_SIZE, 0, 0, 0, 0);
    poke((u64)at);
    ring3_call(SYS_MEM_UNMAP, (u64)at, PAGE_SIZE, 0, 0, 0);
    poke((u64)at + PAGE_SIZE); /* still there */
    poke((u64)at);
}
static void interrupt_gate(void)
{
    asm volatile("int $0xf1");
}
static void system_call_instruction(void) /* its MSRs are a guest's */
{
    asm volatile("syscall" : : "a"(SYS_NULL) : "rcx", "r11", "memory");
}
static void end_by_exit(void)
{
    ring3_call(SYS_EXIT, 7, 0, 0, 0, 0);
}

static const struct {
    const char *name;
    void (*attack)(void);
} attacks[] = {
    {"read kernel image", read_kernel_image},
    {"read physmap", read_physmap},
    {"read kernel stack", read_kernel_stack},
    {"read address 0", read_null},
    {"read a VM window", read_window},
    {"write text", write_text},
    {"write constant", write_constant},
    {"write module", write_module},
    {"write host info", write_host_info},
    {"run data", run_data},
    {"run stack", run_stack},
    {"run heap", run_heap},
    {"below the stack", below_stack},
    {"cli", do_cli},
    {"hlt", do_hlt},
    {"wrmsr", do_wrmsr},
    {"rdmsr", do_rdmsr},
    {"read cr3", read_cr3},
    {"in from port 60h", in_foreign},
    {"out to port cf9h", out_foreign},
    {"in from port 8900h", out_high},
    {"selector behind the GDT", far_selector},
    {"use after unmap", unmapped_after_unmap},
    {"int f1h", interrupt_gate},
    {"syscall", system_call_instruction},
    {"exit", end_by_exit},
};

static unsigned failures;

static void expect(const char *name, i64 got, i64 want)
{
    ring3_print("CASE ");
    ring3_print(name);
    if (got == want) {
        ring3_print(": passed\n");
        return;
    }
    ring3_print(": FAILED, got ");
    print_number(got);
    ring3_print("\n");
    failures++;
}

static void bad_calls(void)
{
    u64 kernel = KERNEL_IMAGE_BASE, physmap = PHYSMAP_BASE + 0x100000;
    struct log_cursor cursor = {0};

    expect("null", ring3_call(SYS_NULL, 0, 0, 0, 0, 0), 0);
    expect("unknown call", ring3_call(SYS_COUNT, 0, 0, 0, 0, 0), HV_ENOSYS);
    expect("huge call number", ring3_call(~0ull, 0, 0, 0, 0, 0), HV_ENOSYS);
    expect("stat into kernel image", ring3_call(SYS_MEM_STAT, kernel, 0, 0, 0, 0), HV_EFAULT);
    expect("stat into physmap", ring3_call(SYS_MEM_STAT, physmap, 0, 0, 0, 0), HV_EFAULT);
    expect("stat into own text", ring3_call(SYS_MEM_STAT, (u64)_start, 0, 0, 0, 0), HV_EFAULT);
    expect("stat into address 0", ring3_call(SYS_MEM_STAT, 0, 0, 0, 0, 0), HV_EFAULT);
    expect("stat across the end", ring3_call(SYS_MEM_STAT, USER_END - 8, 0, 0, 0, 0), HV_EFAULT);
    expect("stat to -1", ring3_call(SYS_MEM_STAT, ~0ull, 0, 0, 0, 0), HV_EFAULT);
    expect("stat into host info", ring3_call(SYS_MEM_STAT, USER_HOST_INFO, 0, 0, 0, 0), HV_EFAULT);
    expect("log text from kernel", ring3_call(SYS_LOG_WRITE, LOG_INFO, kernel, 16, 0, 0),
           HV_EFAULT);
    expect("log text from host info", ring3_call(SYS_LOG_WRITE, LOG_INFO, USER_HOST_INFO, 16, 0, 0),
           HV_OK);
    expect("log level", ring3_call(SYS_LOG_WRITE, LOG_LEVELS, (u64) "x", 1, 0, 0), HV_EINVAL);
    expect("log as panic", ring3_call(SYS_LOG_WRITE, LOG_PANIC, (u64) "x", 1, 0, 0), HV_EINVAL);
    expect("log read into text", ring3_call(SYS_LOG_READ, (u64)&cursor, (u64)_start, 100, 0, 0),
           HV_EFAULT);
    expect("map nothing", ring3_call(SYS_MEM_MAP, 0, 0, 0, 0, 0), HV_EINVAL);
    expect("map all", ring3_call(SYS_MEM_MAP, ~0ull, 0, 0, 0, 0), HV_EINVAL);
    expect("map over the quota", ring3_call(SYS_MEM_MAP, 60ull << 30, 0, 0, 0, 0), HV_ENOMEM);
    expect("unmap text", ring3_call(SYS_MEM_UNMAP, USER_IMAGE_BASE, PAGE_SIZE, 0, 0, 0), HV_EINVAL);
    expect("unmap kernel", ring3_call(SYS_MEM_UNMAP, kernel, PAGE_SIZE, 0, 0, 0), HV_EINVAL);
    expect("foreign interrupt", ring3_call(SYS_IRQ_BIND, 9, 0, 0, 0, 0), HV_EPERM);
    expect("interrupt bit 64", ring3_call(SYS_IRQ_BIND, host->uart_gsi, 64, 0, 0, 0), HV_EINVAL);
    expect("kernel TLS", ring3_call(SYS_SET_TLS, kernel, 0, 0, 0, 0), HV_EINVAL);
    expect("stat of cpu 64", ring3_call(SYS_CPU_STAT, 64, (u64)&cursor, 0, 0, 0), HV_ENOENT);
    expect("VM 99", ring3_call(SYS_VM_RUN, 99, 0, 0, 0, 0), HV_ENOENT);
    expect("reset kind", ring3_call(SYS_HOST_RESET, 2, 0, 0, 0, 0), HV_EINVAL);
}

static void heap(void)
{
    struct mem_stat before, after;
    ring3_call(SYS_MEM_STAT, (u64)&before, 0, 0, 0, 0);
    i64 big = ring3_call(SYS_MEM_MAP, 5 * MIB, 0, 0, 0, 0);
    i64 small = ring3_call(SYS_MEM_MAP, 3 * PAGE_SIZE, 0, 0, 0, 0);
    expect("heap is zeroed", (i64)(peek((u64)big) | peek((u64)big + 5 * MIB - 8)), 0);
    poke((u64)big + 5 * MIB - 8);
    expect("unmap inside a big page",
           ring3_call(SYS_MEM_UNMAP, (u64)big + 4 * PAGE_SIZE, 8 * PAGE_SIZE, 0, 0, 0), HV_OK);
    poke((u64)big);
    expect("unmap the rest", ring3_call(SYS_MEM_UNMAP, (u64)big, 5 * MIB, 0, 0, 0), HV_OK);
    expect("unmap small", ring3_call(SYS_MEM_UNMAP, (u64)small, 3 * PAGE_SIZE, 0, 0, 0), HV_OK);
    ring3_call(SYS_MEM_STAT, (u64)&after, 0, 0, 0, 0);
    /* Tables stay, for the next time. */
    expect("heap comes back", after.control_used - before.control_used <= 8 * PAGE_SIZE, 1);
}

static void waiting(void)
{
    struct control_page *page = (struct control_page *)USER_CONTROL_PAGE;
    u64 start, end;
    u32 lo, hi;
    asm volatile("rdtsc" : "=a"(lo), "=d"(hi));
    start = (u64)hi << 32 | lo;
    u64 deadline = start + host->tsc_hz / 100;
    page->events = 0;
    expect("wait", ring3_call(SYS_WAIT, deadline, 0, 0, 0, 0), HV_OK);
    asm volatile("rdtsc" : "=a"(lo), "=d"(hi));
    end = (u64)hi << 32 | lo;
    expect("wait lasts", end >= deadline, 1);
    expect("wait ends", end - deadline < host->tsc_hz, 1);
    u64 kept = 0x123456789abcdef;
    asm volatile("movq %0, %%xmm7" : : "r"(kept));
    ring3_call(SYS_WAIT, end + host->tsc_hz / 1000, 0, 0, 0, 0);
    asm volatile("movq %%xmm7, %0" : "=r"(kept));
    expect("FPU registers last", kept == 0x123456789abcdef, 1);
    u64 moved = 0, now;
    for (u64 cpu = 0; cpu < host->cpu_count; cpu++) {
        asm volatile("movq %0, %%xmm7" : : "r"(++kept));
        moved += ring3_call(SYS_MOVE, cpu, 0, 0, 0, 0) == HV_OK;
        asm volatile("movq %%xmm7, %0" : "=r"(now));
        moved -= now != kept;
    }
    expect("move, with FPU registers", moved == host->cpu_count, 1);
    expect("move to the next", ring3_call(SYS_MOVE, host->cpu_count, 0, 0, 0, 0), HV_ENOENT);
    expect("move to 2^32", ring3_call(SYS_MOVE, BIT(32), 0, 0, 0, 0), HV_ENOENT);
    page->events = EVENT_LOG;
    expect("wait with news", ring3_call(SYS_WAIT, ~0ull, 0, 0, 0, 0), HV_OK);
    page->events = 0;
}

/* The first word of the last attack's instance: it came through, which it must not. */
static void survived(const char *name)
{
    ring3_print("CASE ");
    ring3_print(name);
    ring3_print(": FAILED, nothing stopped it\nVERDICT failed\n");
    for (;;)
        ring3_call(SYS_WAIT, ~0ull, 0, 0, 0, 0);
}

void _start(void)
{
    asm volatile("and $-16, %rsp");
    u32 turn = host->restart_count;

    if (turn == 0) {
        bad_calls();
        heap();
        waiting();
    } else {
        ring3_print("CASE ");
        ring3_print(attacks[turn - 1].name);
        ring3_print(": passed\n"); /* the one before ended in a restart */
    }
    if (failures || turn == ARRAY_LEN(attacks)) {
        ring3_print(failures ? "VERDICT failed\n" : "VERDICT passed\n");
        for (;;)
            ring3_call(SYS_WAIT, ~0ull, 0, 0, 0, 0);
    }
    ring3_call(SYS_WAIT, 0, 0, 0, 0, 0); /* a crash after the first wait is no failure to start */
    attacks[turn].attack();
    survived(attacks[turn].name);
}
