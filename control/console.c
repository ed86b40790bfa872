/* The host's console over drivers/console_uart.c.  Input comes on the loop, commands write in the
 * shell's fiber; one thread, no locks. */
#include "control/console.h"

#include <stdarg.h>
#include <stdio.h>
#include <string.h>

#include "control/rt/fiber.h"
#include "control/rt/log.h"
#include "control/rt/loop.h"
#include "control/rt/ring.h"
#include "control/rt/sys.h"
#include "drivers/console_uart.h"

#define CTRL_C 0x03

static u8 key_bytes[1024];
static struct ring keys; /* typed and not yet read by the shell */
static struct event key_event, left_event;
static void (*break_fn)(void);
static void (*editor_hide)(void), (*editor_show)(void);
static bool at_line_start = true;

static const struct console_raw *raw;
static bool raw_escape; /* Ctrl-] was typed */

static void end_raw(void)
{
    const struct console_raw *r = raw;

    if (!r)
        return;
    raw = NULL;
    raw_escape = false;
    event_signal(&left_event);
    if (r->left)
        r->left(r->owner);
}

/* Bytes of raw mode, but for the escape.  Returns how many were used: the rest is the shell's. */
static u32 feed_raw(const u8 *bytes, u32 len)
{
    u8 out[256];
    u32 n = 0, i;

    for (i = 0; i < len && raw && n + 2 <= sizeof(out); i++) {
        u8 byte = bytes[i];

        if (!raw_escape && byte == CONSOLE_ESCAPE) {
            raw_escape = true;
            continue;
        }
        if (raw_escape && byte == '.') {
            if (n)
                raw->input(raw->owner, out, n);
            end_raw();
            return i + 1;
        }
        if (raw_escape && byte != CONSOLE_ESCAPE)
            out[n++] = CONSOLE_ESCAPE;
        raw_escape = false;
        out[n++] = byte;
    }
    if (n && raw)
        raw->input(raw->owner, out, n);
    return i;
}

static void on_input(void *owner)
{
    u8 bytes[128];
    u32 len;

    (void)owner;
    while ((len = console_uart_read(bytes, sizeof(bytes)))) {
        u32 i = raw ? feed_raw(bytes, len) : 0;

        for (; i < len; i++) {
            if (break_fn && bytes[i] == CTRL_C)
                break_fn();
            else
                ring_put_byte(&keys, bytes[i]); /* a full ring: nobody reads what he types */
        }
    }
    if (ring_used(&keys))
        event_signal(&key_event);
}

enum hv_status console_init(void)
{
    const struct host_info *h = sys_host_info();

    ring_init(&keys, key_bytes, sizeof(key_bytes));
    if (!h->uart_port)
        return HV_EIO;
    return console_uart_init((u16)h->uart_port, h->uart_gsi, on_input, NULL);
}

int console_key(u64 deadline)
{
    for (;;) {
        int key = raw ? -1 : ring_get_byte(&keys);

        if (key >= 0)
            return key;
        if (fiber_wait(&key_event, deadline) == HV_ETIMEDOUT)
            return -1;
    }
}

void console_on_break(void (*fn)(void))
{
    break_fn = fn;
}

void console_set_editor(void (*hide)(void), void (*show)(void))
{
    editor_hide = hide;
    editor_show = show;
}

u32 console_write(const char *text, u32 len)
{
    u32 done = 0;

    if (len)
        at_line_start = text[len - 1] == '\n';
    while (done < len) {
        done += console_uart_write(text + done, len - done);
        if (done == len || !fiber_self())
            break;
        fiber_wait(console_uart_room_event(), LOOP_NEVER);
    }
    return done;
}

u32 console_room(void)
{
    return console_uart_room();
}

void console_print(const char *text)
{
    while (*text) {
        u32 n = (u32)strcspn(text, "\n");

        console_write(text, n);
        text += n;
        if (*text) {
            console_write("\r\n", 2);
            text++;
        }
    }
}

void console_flush(void)
{
    console_uart_flush();
}

void console_notice(const char *fmt, ...)
{
    char line[512];
    va_list ap;

    if (raw)
        return;
    va_start(ap, fmt);
    vsnprintf(line, sizeof(line) - 2, fmt, ap);
    va_end(ap);
    if (editor_hide)
        editor_hide();
    else if (!at_line_start)
        console_print("\n");
    strcat(line, "\n");
    console_print(line);
    if (editor_show)
        editor_show();
}

enum hv_status console_attach(const struct console_raw *r, const char *what)
{
    char line[160];

    if (raw)
        return HV_EBUSY;
    rt_assert(fiber_self());
    snprintf(line, sizeof(line),
             "Connected to %.64s. Leave with Ctrl-] . (Ctrl-] twice sends one)\n", what);
    console_print(line);
    event_clear(&left_event);
    raw = r;
    raw_escape = false;
    while (raw == r)
        fiber_wait(&left_event, LOOP_NEVER);
    snprintf(line, sizeof(line), "\nLeft %.64s.\n", what);
    console_print(line);
    return HV_OK;
}

void console_leave(void)
{
    end_raw();
}

bool console_is_raw(void)
{
    return raw != NULL;
}
