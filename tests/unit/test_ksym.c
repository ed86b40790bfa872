/* links: kernel/lib/ksym.c */
/* Names of addresses. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>

#include <cmocka.h>

#include "kernel/lib/ksym.h"

#define BASE 0x400000ull
static struct {
    struct image_symbols head;
    u32 words[6];
    char strings[24];
} table;

static int setup(void **state)
{
    (void)state;
    memset(&table, 0, sizeof(table));
    table.head = (struct image_symbols){.magic = IMAGE_SYMBOLS_MAGIC,
                                        .count = 3,
                                        .base = BASE,
                                        .strings_size = sizeof(table.strings)};
    const u32 words[6] = {0x10, 0x20, 0x100, 0, 6, 11};
    memcpy(table.words, words, sizeof(words));
    memcpy(table.strings, "first\0next\0last_one", 20);
    return 0;
}

static void expect(u64 address, const char *want, u64 want_offset)
{
    u64 offset = 1;
    assert_string_equal(ksym_name(&table.head, address, &offset), want);
    assert_int_equal(offset, want_offset);
}

static void names(void **state)
{
    (void)state;
    expect(BASE + 0x10, "first", 0);
    expect(BASE + 0x1f, "first", 0xf);
    expect(BASE + 0x20, "next", 0);
    expect(BASE + 0x1234, "last_one", 0x1134);
    expect(BASE + 0xf, "?", 0);
    expect(BASE - 1, "?", 0);
    expect(~0ull, "last_one", ~0ull - BASE - 0x100);
    table.head.count = 0; /* as in the first pass of the link */
    expect(BASE + 0x20, "?", 0);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup(names, setup),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
