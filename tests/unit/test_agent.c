/* links: vmm/guest_agent_reply.c */
/* What a guest's agent answers: as qemu-ga writes it, and hostile. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "vmm/guest_agent_reply.h"

static struct guest_agent_reply r;

static void read_line(const char *line)
{
    guest_agent_read_reply(line, (u32)strlen(line), &r);
}

static void answers_of_qemu_ga(void **state)
{
    (void)state;
    read_line("\xff{\"return\": 123456789}");
    assert_int_equal(r.kind, GUEST_AGENT_RETURN);
    assert_true(r.is_number);
    assert_int_equal(r.number, 123456789);
    read_line("{\"return\":-3}");
    assert_true(r.is_number);
    assert_int_equal(r.number, -3);
    read_line("{\"return\": {}}");
    assert_int_equal(r.kind, GUEST_AGENT_RETURN);
    assert_false(r.is_number);
    read_line(
        "{\"error\": {\"class\": \"GenericError\", \"desc\": \"this feature \\\"x\\\" is off\"}}");
    assert_int_equal(r.kind, GUEST_AGENT_ERROR);
    assert_string_equal(r.text, "this feature \\\"x\\\" is off");
    read_line("{\"error\": {\"desc\": \"a\x01"
              "b\"}}");
    assert_string_equal(r.text, "a?b");
}

static void what_is_none(void **state)
{
    static const char *const lines[] = {
        "",
        "\xff",
        "{",
        "{\"return\"",
        "{\"return\" 3}",
        "login: ",
        "{return:3}",
        "{\"event\": 1}",
        "[\"return\"]",
        "{\"\\",
        "{\"error\\\"",
    };

    (void)state;
    for (u32 i = 0; i < ARRAY_LEN(lines); i++) {
        read_line(lines[i]);
        assert_int_equal(r.kind, GUEST_AGENT_OTHER);
    }
    read_line("{\"return\": 12x}");
    assert_false(r.is_number);
    read_line("{\"return\": 99999999999999999999999}");
    assert_false(r.is_number);
}

/* Each prefix and each changed byte of a long line, in memory of its exact length. */
static void damaged_lines(void **state)
{
    static const char line[] =
        "\xff{\"error\": {\"class\": \"G\", \"desc\": \"no\", \"more\": \"x\"}}";

    (void)state;
    for (u32 len = 0; len < sizeof(line); len++)
        for (u32 at = 0; at < len; at++)
            for (u32 c = 0; c < 256; c += c == '"' ? 58 : 17) {
                char *copy = malloc(len);

                memcpy(copy, line, len);
                copy[at] = (char)c;
                guest_agent_read_reply(copy, len, &r);
                assert_true(strlen(r.text) < sizeof(r.text));
                free(copy);
            }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(answers_of_qemu_ga),
        cmocka_unit_test(what_is_none),
        cmocka_unit_test(damaged_lines),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
