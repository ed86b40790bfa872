/* The host's console over drivers/console_uart.c.  Input comes on the loop; one thread, no locks.
 */
#include "control/console.h"

#include <stdarg.h>
#include <stdio.h>

#include "control/rt/sys.h"
#include "drivers/console_uart.h"

static struct terminal terminal;

static u32 uart_write(void *owner, const char *text, u32 len)
{
    (void)owner;
    return console_uart_write(text, len);
}

static struct event *uart_room(void *owner)
{
    (void)owner;
    return console_uart_room_event();
}

static const struct terminal_ops ops = {.write = uart_write, .room = uart_room};

static void on_input(void *owner)
{
    u8 bytes[128];
    u32 len;

    (void)owner;
    while ((len = console_uart_read(bytes, sizeof(bytes))))
        terminal_input(&terminal, bytes, len);
}

enum hv_status console_init(void)
{
    const struct host_info *h = sys_host_info();

    terminal_init(&terminal, &ops, NULL);
    if (!h->uart_port)
        return HV_EIO;
    return console_uart_init((u16)h->uart_port, h->uart_gsi, on_input, NULL);
}

struct terminal *console_terminal(void)
{
    return &terminal;
}

void console_print(const char *text)
{
    terminal_print(&terminal, text);
}

void console_flush(void)
{
    console_uart_flush();
}

void console_notice(const char *fmt, ...)
{
    char line[512];
    va_list ap;

    va_start(ap, fmt);
    vsnprintf(line, sizeof(line), fmt, ap);
    va_end(ap);
    terminal_notice(&terminal, line);
}
