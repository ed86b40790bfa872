/* links: control/line_edit.c */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdio.h>
#include <string.h>

#include <cmocka.h>

#include "control/line_edit.h"

static struct line_edit e;
static char screen[262144];
static u32 screen_len, rows, columns;

static void on_write(void *owner, const char *text, u32 len)
{
    (void)owner;
    assert_true(screen_len + len < sizeof(screen));
    memcpy(screen + screen_len, text, len);
    screen_len += len;
    screen[screen_len] = 0;
}

static void on_complete(void *owner, const char *text, u32 len, struct completion *out)
{
    static const char *const words[] = {"start", "stop", "stats", "show"};
    u32 word = len;

    (void)owner;
    while (word && text[word - 1] != ' ')
        word--;
    out->partial = len - word;
    for (u32 i = 0; i < 4; i++) {
        if (!strncmp(words[i], text + word, len - word))
            strcpy(out->item[out->count++], words[i]);
    }
}

static void on_position(void *owner, u32 row, u32 column)
{
    (void)owner;
    rows = row;
    columns = column;
}

static const struct line_edit_ops ops = {
    .write = on_write, .complete = on_complete, .position = on_position};

static enum line_edit_result type(const char *keys)
{
    enum line_edit_result r = LINE_EDIT_MORE;

    for (; *keys; keys++)
        r = line_edit_feed(&e, (u8)*keys);
    return r;
}

static void expect_line(const char *keys, const char *line)
{
    line_edit_begin(&e);
    assert_int_equal(type(keys), LINE_EDIT_MORE);
    assert_int_equal(type("\r"), LINE_EDIT_DONE);
    assert_string_equal(e.text, line);
    screen_len = 0;
}

static int set_up(void **state)
{
    (void)state;
    line_edit_init(&e, &ops, "> ", 80);
    screen_len = 0;
    return 0;
}

static void edits(void **state)
{
    (void)state;
    expect_line("hello", "hello");
    expect_line("helo\x02l", "hello");           /* ^B */
    expect_line("ello\x01h\x05!", "hello!");     /* ^A ^E */
    expect_line("hello\x7f\x08p", "help");       /* DEL, BS */
    expect_line("xhello\x01\x04", "hello");      /* ^D deletes */
    expect_line("xhello\x1b[H\x1b[3~", "hello"); /* Home, Delete */
    expect_line("hell\x1b[D\x1b[D\x06\x1b[Fo", "hello");
    expect_line("one two  \x17three", "one three");
    expect_line("one two\x17\x17\x19", "one "); /* ^W ^W ^Y: the last kill */
    expect_line("drop\x15keep", "keep");
    expect_line("keepdrop\x02\x02\x02\x02\x0b", "keep");
    expect_line("ab\x1b[1;5Cc\x1bOD\x1b[99zd", "abdc");
    expect_line("\x02\x1b[D\x7f\x06", "");
}

static void echoes_only_what_changes(void **state)
{
    (void)state;
    line_edit_begin(&e);
    screen_len = 0;
    type("abc");
    assert_string_equal(screen, "abc");
    type("\r");
    assert_string_equal(screen, "abc\r\n");
}

static void has_a_history(void **state)
{
    (void)state;
    expect_line("one", "one");
    expect_line("two", "two");
    expect_line("two", "two"); /* kept once */
    expect_line("\x1b[A\x1b[A", "one");
    expect_line("draft\x1b[A\x1b[A\x1b[B\x1b[B\x1b[B", "draft");
    assert_string_equal(line_edit_history(&e, 0), "one");
    assert_string_equal(line_edit_history(&e, 1), "two");
    for (int i = 0; i < 200; i++) {
        char line[16];

        snprintf(line, sizeof(line), "line%d", i);
        expect_line(line, line);
    }
    assert_string_equal(line_edit_history(&e, 0), "line136");
    assert_null(line_edit_history(&e, 64));
    line_edit_begin(&e);
    for (int i = 0; i < 100; i++)
        type("\x10");
    assert_string_equal(e.text, "line136");
}

static void searches_backwards(void **state)
{
    (void)state;
    expect_line("vm start demo", "vm start demo");
    expect_line("host info", "host info");
    expect_line("vm stop demo", "vm stop demo");
    expect_line("\x12"
                "demo",
                "vm stop demo");
    expect_line("\x12"
                "demo\x12",
                "vm start demo");
    expect_line("\x12"
                "inf\x05!",
                "host info!");
    expect_line("\x12"
                "nothing like it\x07"
                "x",
                "x");
}

static void completes(void **state)
{
    (void)state;
    expect_line("vm sh\t", "vm show ");
    expect_line("vm st\tar\t", "vm start ");
    expect_line("vm x\t\t", "vm x");
    line_edit_begin(&e);
    type("vm st\t");
    screen_len = 0;
    type("\t");
    assert_non_null(strstr(screen, "start  stop   stats\r\n"));
}

static void survives_long_lines(void **state)
{
    char line[LINE_EDIT_MAX];

    (void)state;
    memset(line, 'x', sizeof(line));
    line[sizeof(line) - 1] = 0;
    expect_line(line, line);
    line_edit_begin(&e);
    for (u32 i = 0; i < 2 * LINE_EDIT_MAX; i++)
        type("y");
    assert_int_equal(e.len, LINE_EDIT_MAX - 1);
    type("\x01\x0b\x19\x19");
    assert_int_equal(e.len, LINE_EDIT_MAX - 1);
}

static void ends_and_cancels(void **state)
{
    (void)state;
    line_edit_begin(&e);
    assert_int_equal(type("abc\x03"), LINE_EDIT_CANCEL);
    line_edit_begin(&e);
    assert_int_equal(type("\x04"), LINE_EDIT_END);
    line_edit_begin(&e);
    assert_int_equal(type("a\r"), LINE_EDIT_DONE);
    line_edit_begin(&e);
    assert_int_equal(type("\n"), LINE_EDIT_MORE); /* of CR LF */
    assert_int_equal(type("b\n"), LINE_EDIT_DONE);
    assert_string_equal(e.text, "b");
}

static void hears_the_terminals_size(void **state)
{
    (void)state;
    line_edit_begin(&e);
    type("ab\x1b[50;132Rc");
    assert_int_equal(rows, 50);
    assert_int_equal(columns, 132);
    assert_string_equal(e.text, "abc");
}

static void is_put_aside_for_notices(void **state)
{
    (void)state;
    line_edit_begin(&e);
    type("abc");
    screen_len = 0;
    line_edit_hide(&e);
    assert_string_equal(screen, "\r\x1b[K");
    line_edit_show(&e);
    assert_string_equal(screen, "\r\x1b[K\r> abc\x1b[K");
}

#define TEST(name) cmocka_unit_test_setup(name, set_up)

int main(void)
{
    const struct CMUnitTest tests[] = {
        TEST(edits),
        TEST(echoes_only_what_changes),
        TEST(has_a_history),
        TEST(searches_backwards),
        TEST(completes),
        TEST(survives_long_lines),
        TEST(ends_and_cancels),
        TEST(hears_the_terminals_size),
        TEST(is_put_aside_for_notices),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
