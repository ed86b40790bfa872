/* links: control/terminal.c control/rt/ring.c control/rt/fiber.c control/rt/fiber_switch.S control/rt/loop.c control/rt/clock.c control/rt/log.c control/rt/host/host.c */
/* Who gets what is typed when a terminal is handed to a VM's console and back. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <string.h>

#include <cmocka.h>

#include "control/terminal.h"

#define TYPE(t, text) terminal_input((t), (const u8 *)(text), sizeof(text) - 1)

static struct terminal terminal;
static struct event room_event;
static u32 room; /* bytes that the line takes */
static char raw_got[256], said[512];
static bool ended;

static u32 line_write(void *owner, const char *text, u32 len)
{
    u32 n = MIN(len, room);

    (void)owner;
    strncat(said, text, n);
    room -= n;
    return n;
}

static struct event *line_room(void *owner)
{
    (void)owner;
    return &room_event;
}

static const struct terminal_ops ops = {line_write, line_room};

static void on_raw(void *owner, const u8 *bytes, u32 len)
{
    (void)owner;
    strncat(raw_got, (const char *)bytes, len);
}

static void attach(void *arg)
{
    static const struct terminal_raw raw = {on_raw, NULL};

    (void)arg;
    assert_int_equal(terminal_attach(&terminal, &raw, "VM x"), HV_OK);
    ended = true;
}

static void run(void)
{
    for (u32 i = 0; i < 8; i++)
        fiber_run_ready();
}

static void begin(u32 bytes)
{
    terminal_init(&terminal, &ops, NULL);
    memset(raw_got, 0, sizeof(raw_got));
    memset(said, 0, sizeof(said));
    room = bytes;
    ended = false;
}

static void more_room(void)
{
    room = sizeof(said) / 2;
    event_signal(&room_event);
    run();
}

static const char *left_for_shell(void)
{
    static char keys[64];
    u32 n = ring_get(&terminal.keys, keys, sizeof(keys) - 1);

    keys[n] = 0;
    return keys;
}

/* The line is slow: the user sees "Connected" before the fiber that says so is done. */
static void typed_while_the_line_is_full(void **state)
{
    (void)state;
    begin(9);
    fiber_spawn("attach", attach, NULL);
    run();
    assert_string_equal(said, "Connected");
    TYPE(&terminal, "uname\r");
    assert_string_equal(raw_got, "uname\r");
    more_room();
    TYPE(&terminal, "\x1d.");
    run();
    assert_true(ended);
    assert_string_equal(left_for_shell(), "");
}

static void typed_ahead_goes_along(void **state)
{
    (void)state;
    begin(sizeof(said) / 2);
    TYPE(&terminal, "one\rtwo\x1d.vm list\r");
    fiber_spawn("attach", attach, NULL);
    run();
    assert_true(ended);
    assert_string_equal(raw_got, "one\rtwo");
    assert_string_equal(left_for_shell(), "vm list\r");
    assert_non_null(strstr(said, "Left VM x."));
}

static void left_while_the_line_is_full(void **state)
{
    (void)state;
    begin(4);
    fiber_spawn("attach", attach, NULL);
    run();
    TYPE(&terminal, "a\x1d.b");
    assert_false(ended);
    more_room();
    assert_true(ended);
    assert_string_equal(raw_got, "a");
    assert_string_equal(left_for_shell(), "b");
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(typed_while_the_line_is_full),
        cmocka_unit_test(typed_ahead_goes_along),
        cmocka_unit_test(left_while_the_line_is_full),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
