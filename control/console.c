/* The host's consoles over drivers/console_uart.c and drivers/serial.c.  Input comes on the loop;
 * one thread, no locks. */
#include "control/console.h"

#include <stdarg.h>
#include <stdio.h>
#include <string.h>

#include "control/rt/sys.h"
#include "control/shell.h"
#include "drivers/console_uart.h"
#include "drivers/serial.h"

static struct terminal terminal, second;
static enum hv_status status = HV_EIO; /* of the first one */
static struct serial *line;            /* the second one's; NULL: there is none, or not yet */
static bool second_wanted;
static char early[4096];

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
    if (h->uart_port)
        status = console_uart_init((u16)h->uart_port, h->uart_gsi, on_input, NULL);
    return status;
}

/* ---- the second one ----------------------------------------------------------------------------
 */
static u32 line_write(void *owner, const char *text, u32 len)
{
    return serial_write(owner, text, len);
}

static struct event *line_room(void *owner)
{
    return serial_room_event(owner);
}

static void line_input(void *owner, const u8 *bytes, u32 len)
{
    terminal_input(owner, bytes, len);
}

static void line_gone(void *owner)
{
    terminal_end(owner);
}

static const struct serial_user *take(struct serial *s)
{
    static const struct terminal_ops line_ops = {.write = line_write, .room = line_room};
    static const struct serial_user user = {
        .input = line_input, .gone = line_gone, .owner = &second};

    if (!second_wanted && status == HV_OK)
        return NULL;
    terminal_init(&second, &line_ops, s);
    line = s;
    terminal_print(&second, early);
    shell_start(&second, serial_name(s));
    return &user;
}

void console_second(bool wanted)
{
    second_wanted = wanted;
    serial_offer(take);
}

const char *console_second_name(void)
{
    return line ? serial_name(line) : NULL;
}

/* ---- both --------------------------------------------------------------------------------------
 */
struct terminal *console_terminal(void)
{
    return &terminal;
}

/* What is said before the second one is found. */
static void keep(const char *text)
{
    u64 used = strlen(early);

    if (!line)
        snprintf(early + used, sizeof(early) - used, "%s", text);
}

void console_print(const char *text)
{
    terminal_print(&terminal, text);
    if (line)
        terminal_print(&second, text);
    keep(text);
}

void console_flush(void)
{
    console_uart_flush();
    if (line)
        serial_flush(line);
}

void console_notice(const char *fmt, ...)
{
    char text[512];
    va_list ap;

    va_start(ap, fmt);
    vsnprintf(text, sizeof(text), fmt, ap);
    va_end(ap);
    terminal_notice(&terminal, text);
    if (line)
        terminal_notice(&second, text);
}
