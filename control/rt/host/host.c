/* System calls, shared pages, a 16550 on standard input and output, and fiber stacks, over Linux.
 * Linked into host programs in place of control/rt/stack.c and the inline calls of sys.h. */
#include "control/rt/host/host.h"

#include <poll.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <termios.h>
#include <time.h>
#include <unistd.h>

#include "control/rt/dma.h"
#include "control/rt/heap.h"
#include "control/rt/mmio.h"
#include "control/rt/port.h"
#include "control/rt/seam.h"
#include "control/rt/stack.h"
#include "control/rt/sys.h"

#define UART 0x3f8
#define LOG_RECORDS 256

static struct control_page control_page;
static struct host_info info;
static struct termios saved_terminal;
static bool started, terminal_changed;

static struct {
    char text[240];
    u32 level;
    u64 tsc;
} records[LOG_RECORDS];
static u64 next_record = 1;

static int uart_bit = -1; /* of irq_pending, once bound */
static u8 uart_ier, uart_lcr, uart_scratch;
static bool input_ended;

static u64 monotonic_ns(void)
{
    struct timespec t;

    clock_gettime(CLOCK_MONOTONIC, &t);
    return (u64)t.tv_sec * 1000000000ull + (u64)t.tv_nsec;
}

u64 sys_tsc(void)
{
    return monotonic_ns();
}

static void restore_terminal(void)
{
    if (terminal_changed)
        tcsetattr(0, TCSANOW, &saved_terminal);
}

/* The file that BULKHEAD_CONF names stands for module 0. */
static void load_config(void)
{
    static char text[128 * KIB];
    const char *path = getenv("BULKHEAD_CONF");
    FILE *f = path ? fopen(path, "r") : NULL;

    if (!f)
        return;
    size_t len = fread(text, 1, sizeof(text), f);
    fclose(f);
    host_add_module("bulkhead.conf", text, len);
}

static void start(void)
{
    if (started)
        return;
    started = true;
    info.version = HOST_INFO_VERSION;
    info.size = sizeof(info);
    info.tsc_hz = 1000000000ull;
    info.boot_tsc = monotonic_ns();
    info.boot_unix_time = time(NULL);
    strcpy(info.tsc_source, "host clock");
    strcpy(info.loader, "none");
    strcpy(info.firmware, "none");
    info.hvm_problem = HOST_HVM_REFUSED; /* a Linux program runs no guests */
    info.cpu_count = 1;
    info.cpus[0].online = 1;
    info.uart_port = UART;
    info.uart_gsi = 4;
    load_config();
    if (isatty(0) && tcgetattr(0, &saved_terminal) == 0) {
        struct termios raw = saved_terminal;

        cfmakeraw(&raw);
        terminal_changed = tcsetattr(0, TCSANOW, &raw) == 0;
        atexit(restore_terminal);
    }
}

struct host_info *host_info_mutable(void)
{
    start();
    return &info;
}

void host_add_module(const char *name, const void *bytes, u64 len)
{
    start();
    struct host_module *m = &info.modules[info.module_count++];
    snprintf(m->name, sizeof(m->name), "%s", name);
    m->vaddr = (u64)bytes;
    m->len = len;
}

struct control_page *sys_control_page(void)
{
    return &control_page;
}

const struct host_info *sys_host_info(void)
{
    start();
    return &info;
}

void *sys_vm_window(u32 slot)
{
    (void)slot;
    return NULL;
}

struct heap_use heap_use(enum heap_owner owner)
{
    (void)owner;
    return (struct heap_use){0};
}

void *stack_alloc(u64 size)
{
    u8 *at =
        mmap(NULL, size + PAGE_SIZE, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);

    if (at == MAP_FAILED || mprotect(at, PAGE_SIZE, PROT_NONE) != 0)
        return NULL;
    return at + PAGE_SIZE;
}

static bool input_ready(void)
{
    struct pollfd p = {.fd = 0, .events = POLLIN};

    return !input_ended && poll(&p, 1, 0) == 1;
}

__attribute__((weak)) u8 port_in8(u16 port)
{
    u8 byte = 0;

    switch (port - UART) {
    case 0:
        if (uart_lcr & 0x80)
            return 1;
        if (input_ready() && read(0, &byte, 1) != 1)
            input_ended = true;
        return byte;
    case 1:
        return uart_ier;
    case 2:
        return 0xc1;
    case 3:
        return uart_lcr;
    case 5:
        return (u8)(0x60 | input_ready());
    case 7:
        return uart_scratch;
    default:
        return 0;
    }
}

__attribute__((weak)) void port_out8(u16 port, u8 value)
{
    switch (port - UART) {
    case 0:
        if (!(uart_lcr & 0x80) && write(1, &value, 1) != 1)
            exit(1);
        break;
    case 1:
        if (!(uart_lcr & 0x80))
            uart_ier = value;
        break;
    case 3:
        uart_lcr = value;
        break;
    case 7:
        uart_scratch = value;
        break;
    default:
        break;
    }
}

__attribute__((weak)) u16 port_in16(u16 port)
{
    (void)port;
    return 0xffff;
}

__attribute__((weak)) u32 port_in32(u16 port)
{
    (void)port;
    return ~0u;
}

__attribute__((weak)) void port_out16(u16 port, u16 value)
{
    (void)port, (void)value;
}

__attribute__((weak)) void port_out32(u16 port, u32 value)
{
    (void)port, (void)value;
}

/* Linux has sockets of its own. */
void seam_set_sockets(const struct seam_sockets *s)
{
    (void)s;
}

/* Registers are memory here. */
__attribute__((weak)) u8 mmio_read8(const volatile void *at)
{
    return *(const volatile u8 *)at;
}

__attribute__((weak)) u16 mmio_read16(const volatile void *at)
{
    return *(const volatile u16 *)at;
}

__attribute__((weak)) u32 mmio_read32(const volatile void *at)
{
    return *(const volatile u32 *)at;
}

__attribute__((weak)) void mmio_write8(volatile void *at, u8 value)
{
    *(volatile u8 *)at = value;
}

__attribute__((weak)) void mmio_write16(volatile void *at, u16 value)
{
    *(volatile u16 *)at = value;
}

__attribute__((weak)) void mmio_write32(volatile void *at, u32 value)
{
    *(volatile u32 *)at = value;
}

static i64 host_wait(u64 deadline)
{
    struct pollfd p = {.fd = 0, .events = POLLIN};
    u64 now = monotonic_ns();
    int timeout = -1;

    if (deadline != ~0ull)
        timeout = deadline <= now ? 0 : (int)MIN((deadline - now) / 1000000 + 1, 60000ull);
    if (control_page.events)
        timeout = 0;
    if ((uart_ier & 2) && uart_bit >= 0) { /* always room to send */
        timeout = 0;
        control_page.irq_pending |= BIT(uart_bit);
        control_page.events |= EVENT_IRQ;
    }
    if (input_ended && timeout != 0)
        exit(0); /* nothing more can happen */
    bool listening = !input_ended && uart_bit >= 0 && (uart_ier & 1);
    if (poll(&p, listening ? 1 : 0, timeout) == 1) {
        control_page.irq_pending |= BIT(uart_bit);
        control_page.events |= EVENT_IRQ;
    }
    return HV_OK;
}

static i64 host_log_write(u32 level, const char *text, u64 len)
{
    u64 at = next_record++ % LOG_RECORDS;

    len = MIN(len, sizeof(records[at].text) - 1);
    memcpy(records[at].text, text, len);
    records[at].text[len] = 0;
    records[at].level = level;
    records[at].tsc = monotonic_ns();
    if (level <= LOG_NOTICE)
        control_page.events |= EVENT_LOG;
    return HV_OK;
}

static i64 host_log_read(struct log_cursor *c, char *buf, u64 len)
{
    u64 oldest = next_record > LOG_RECORDS ? next_record - LOG_RECORDS : 1;

    if (c->seq < oldest) {
        c->lost += c->seq ? oldest - c->seq : 0;
        c->seq = oldest;
    }
    if (c->seq >= next_record)
        return 0;
    u64 at = c->seq++ % LOG_RECORDS;
    c->tsc = records[at].tsc;
    c->level = records[at].level;
    c->cpu = 0;
    snprintf(buf, len, "%s", records[at].text);
    return (i64)strlen(buf);
}

static i64 host_mem_map(u64 len)
{
    void *at = mmap(NULL, len, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);

    return at == MAP_FAILED ? HV_ENOMEM : (i64)at;
}

static i64 host_dma_map(u64 len)
{
    static u64 next;
    u64 at = ROUND_UP(DMA_BASE + next, len);

    if (mmap((void *)at, len, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS | MAP_FIXED, -1,
             0) == MAP_FAILED)
        return HV_ENOMEM;
    next = at + len - DMA_BASE;
    return (i64)at;
}

i64 sys_call(u64 n, u64 a, u64 b, u64 c, u64 d, u64 e)
{
    (void)e;
    start();
    switch (n) {
    case SYS_NULL:
    case SYS_ON_FAULT:
    case SYS_SET_TLS:
        return HV_OK;
    case SYS_WAIT:
        return host_wait(a);
    case SYS_EXIT:
        exit((int)a);
    case SYS_LOG_WRITE:
        return host_log_write((u32)a, (const char *)b, c);
    case SYS_LOG_READ:
        return host_log_read((struct log_cursor *)a, (char *)b, c);
    case SYS_MEM_MAP:
        return host_mem_map(a);
    case SYS_MEM_UNMAP:
        return munmap((void *)a, b) == 0 ? HV_OK : HV_EINVAL;
    case SYS_MEM_STAT:
        *(struct mem_stat *)a = (struct mem_stat){.total = GIB, .free = GIB / 2};
        return HV_OK;
    case SYS_IRQ_BIND:
        uart_bit = (int)b;
        return HV_OK;
    case SYS_DMA_MAP:
        return host_dma_map(a);
    case SYS_PCI_CONFIG:
        return d ? HV_EPERM : (i64)BITS(8 * c - 1, 0); /* there is nothing */
    case SYS_HOST_RESET:
        exit(0);
    case SYS_SPECULATION: /* a Linux program has no guests to be guarded against */
        return a ? HV_EINVAL : HV_OK;
    case SYS_CPU_STAT:
        if (a >= info.cpu_count)
            return HV_EINVAL;
        *(struct cpu_stat *)b = (struct cpu_stat){.idle = 1, .online = 1};
        return HV_OK;
    case SYS_MOVE:
        return a < info.cpu_count ? HV_OK : HV_ENOENT;
    case SYS_VM_INFO:
        return HV_ENOENT;
    default:
        return HV_ENOHVM;
    }
}
