/* links: kernel/lib/fmt.c */
/* The kernel's printf against the C library's. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <string.h>

#include <cmocka.h>

#include "kernel/lib/fmt.h"

#define SAME(...)                                                                                  \
    do {                                                                                           \
        char ours[128], theirs[128];                                                               \
        u64 n = fmt_snprintf(ours, sizeof(ours), __VA_ARGS__);                                     \
        assert_int_equal(n, snprintf(theirs, sizeof(theirs), __VA_ARGS__));                        \
        assert_string_equal(ours, theirs);                                                         \
    } while (0)

static void like_printf(void **state)
{
    (void)state;
    SAME("plain %% text");
    SAME("%d %d %u", -5, 2147483647, 4294967295u);
    SAME("%d", -2147483647 - 1);
    SAME("%ld %lu", INT64_MIN, UINT64_MAX);
    SAME("%lld %llx", -1ll, 0xfedcba9876543210ull);
    SAME("%zu", sizeof(int));
    SAME("[%5d] [%5d] [%05d] [%016lx]", 42, -42, 42, 0xbeeful);
    SAME("%x %08x %16lu|", 0xbeef, 0xbeef, 12ul);
    SAME("%s|%10s|%.2s|%.*s|%.8s", "abc", "abc", "abc", 1, "abc", "abc");
}

static void truncation(void **state)
{
    (void)state;
    char small[5] = "....";
    assert_int_equal(fmt_snprintf(small, sizeof(small), "%s", "abcdefgh"), 8);
    assert_string_equal(small, "abcd");
    assert_int_equal(fmt_snprintf(NULL, 0, "%d", 12345), 5);
    assert_int_equal(fmt_snprintf(small, 1, "x"), 1);
    assert_string_equal(small, "");
}

static void odd(void **state)
{
    (void)state;
    char text[64];
    const char *volatile none = NULL;
    fmt_snprintf(text, sizeof(text), "%s", none);
    assert_string_equal(text, "(null)");
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(like_printf),
        cmocka_unit_test(truncation),
        cmocka_unit_test(odd),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
