/* links: drivers/console_uart.c control/rt/loop.c control/rt/fiber.c control/rt/fiber_switch.S control/rt/clock.c control/rt/log.c control/rt/ring.c */
/* The console driver against a 16550 that is made of a few variables, and a clock that is one. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "control/rt/clock.h"
#include "control/rt/loop.h"
#include "control/rt/port.h"
#include "control/rt/stack.h"
#include "control/rt/sys.h"
#include "drivers/console_uart.h"

#define PORT 0x2f8

static struct {
    bool absent, stuck, no_interrupt;
    u8 ier, lcr, mcr, scratch;
    u32 fifo;         /* bytes in the transmitter */
    const char *type; /* what comes in */
    char sent[40000];
    u32 sent_len, overruns;
} uart;
static struct control_page page;
static struct host_info info;
static u64 now = 1000;

u64 sys_tsc(void)
{
    return now += 1000;
}

struct control_page *sys_control_page(void)
{
    return &page;
}

const struct host_info *sys_host_info(void)
{
    return &info;
}

void *sys_vm_window(u32 slot)
{
    (void)slot;
    return NULL;
}

void *stack_alloc(u64 size)
{
    return aligned_alloc(4096, size);
}

/* A wait lets the transmitter send what it has, and jumps to the deadline if nothing happens. */
i64 sys_call(u64 n, u64 a, u64 b, u64 c, u64 d, u64 e)
{
    (void)b, (void)c, (void)d, (void)e;
    if (n == SYS_IRQ_BIND)
        return uart.no_interrupt ? HV_ENOENT : HV_OK;
    if (n != SYS_WAIT)
        return HV_OK;
    uart.fifo = 0;
    if (((uart.ier & 2) || ((uart.ier & 1) && uart.type && *uart.type)) && !uart.no_interrupt) {
        page.irq_pending |= BIT(CONSOLE_UART_IRQ);
        page.events |= EVENT_IRQ;
    } else if (a != ~0ull && a > now) {
        now = a;
    }
    return HV_OK;
}

u8 port_in8(u16 port)
{
    if (uart.absent)
        return 0xff;
    switch (port - PORT) {
    case 0:
        return uart.stuck ? 0 : uart.type && *uart.type ? (u8)*uart.type++ : 0;
    case 2:
        return 1;
    case 5:
        return (u8)((uart.stuck || (uart.type && *uart.type) ? 1 : 0) | (uart.fifo ? 0 : 0x60));
    case 7:
        return uart.scratch;
    default:
        return 0;
    }
}

void port_out8(u16 port, u8 value)
{
    switch (port - PORT) {
    case 0:
        uart.overruns += ++uart.fifo > 16;
        uart.sent[uart.sent_len++] = (char)value;
        break;
    case 1:
        uart.ier = value;
        break;
    case 3:
        uart.lcr = value;
        break;
    case 4:
        uart.mcr = value;
        break;
    case 7:
        uart.scratch = value;
        break;
    default:
        break;
    }
}

static u32 inputs;

static void on_input(void *owner)
{
    (void)owner;
    inputs++;
}

static int set_up(void **state)
{
    (void)state;
    memset(&uart, 0, sizeof(uart));
    info.tsc_hz = 1000000000;
    clock_init();
    inputs = 0;
    return 0;
}

static void finds_no_chip(void **state)
{
    (void)state;
    uart.absent = true;
    assert_int_equal(console_uart_init(PORT, 3, on_input, NULL), HV_EIO);
}

static void sends_a_fifo_at_a_time(void **state)
{
    char text[1000];

    (void)state;
    assert_int_equal(console_uart_init(PORT, 3, on_input, NULL), HV_OK);
    assert_int_equal(uart.lcr, 3);
    assert_int_equal(uart.mcr, 0xb);
    assert_int_equal(uart.ier, 1);
    memset(text, 'x', sizeof(text));
    assert_int_equal(console_uart_write(text, sizeof(text)), sizeof(text));
    assert_int_equal(uart.sent_len, 16);
    assert_int_equal(uart.ier, 3);
    for (int i = 0; i < 200 && uart.ier == 3; i++)
        loop_step();
    assert_int_equal(uart.sent_len, 1000);
    assert_int_equal(uart.overruns, 0);
    assert_int_equal(uart.ier, 1);
}

static void takes_what_fits_and_wakes_the_writer(void **state)
{
    static char text[40000];

    (void)state;
    assert_int_equal(console_uart_init(PORT, 3, on_input, NULL), HV_OK);
    u32 taken = console_uart_write(text, sizeof(text));
    assert_int_equal(taken, 16384);
    assert_int_equal(console_uart_room(), 16);
    console_uart_flush();
    assert_int_equal(uart.sent_len, 16); /* a transmitter that never empties: given up in time */
    for (int i = 0; i < 3000 && uart.ier == 3; i++)
        loop_step();
    assert_int_equal(uart.sent_len, 16384);
}

static void receives(void **state)
{
    char got[64];

    (void)state;
    assert_int_equal(console_uart_init(PORT, 3, on_input, NULL), HV_OK);
    uart.type = "hello";
    page.irq_pending = BIT(CONSOLE_UART_IRQ);
    loop_step();
    assert_int_equal(inputs, 1);
    assert_int_equal(console_uart_read(got, sizeof(got)), 5);
    assert_memory_equal(got, "hello", 5);
    assert_int_equal(console_uart_read(got, sizeof(got)), 0);
}

static void a_stuck_line_does_not_hold_the_loop(void **state)
{
    (void)state;
    assert_int_equal(console_uart_init(PORT, 3, on_input, NULL), HV_OK);
    uart.stuck = true;
    page.irq_pending = BIT(CONSOLE_UART_IRQ);
    loop_step();
    assert_int_equal(inputs, 1);
}

static void polls_without_an_interrupt(void **state)
{
    char text[100] = "", got[8];

    (void)state;
    uart.no_interrupt = true;
    assert_int_equal(console_uart_init(PORT, 3, on_input, NULL), HV_OK);
    assert_int_equal(console_uart_write(text, sizeof(text)), sizeof(text));
    uart.type = "a";
    for (int i = 0; i < 50; i++)
        loop_step();
    assert_int_equal(uart.sent_len, 100);
    assert_int_equal(console_uart_read(got, sizeof(got)), 1);
    assert_int_equal(uart.ier, 0);
}

#define TEST(name) cmocka_unit_test_setup(name, set_up)

int main(void)
{
    const struct CMUnitTest tests[] = {
        TEST(finds_no_chip),
        TEST(sends_a_fifo_at_a_time),
        TEST(takes_what_fits_and_wakes_the_writer),
        TEST(receives),
        TEST(a_stuck_line_does_not_hold_the_loop),
        TEST(polls_without_an_interrupt),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
