/* links: kernel/ksym.c kernel/lib/fmt.c */
/* Names of addresses, from sound tables and from hostile ones. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>

#include <cmocka.h>

#include "kernel/ksym.h"

#define BASE 0x400000ull
#define TABLE 0x1000ull

static struct {
    struct image_symbols head;
    u32 words[6];
    char strings[24];
} __attribute__((packed)) table;
static u64 table_len;

static bool read_table(void *to, u64 from, u64 len)
{
    if (from < TABLE || len > table_len || from - TABLE > table_len - len)
        return false;
    memcpy(to, (const u8 *)&table + (from - TABLE), len);
    return true;
}

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
    table_len = sizeof(table);
    return 0;
}

static void expect(u64 address, const char *want)
{
    char text[KSYM_TEXT];
    ksym_name(read_table, TABLE, table_len, address, text);
    assert_string_equal(text, want);
}

static void names(void **state)
{
    (void)state;
    expect(BASE + 0x10, "first+0x0");
    expect(BASE + 0x1f, "first+0xf");
    expect(BASE + 0x20, "next+0x0");
    expect(BASE + 0x1234, "last_one+0x1134");
    expect(BASE + 0xf, "?");
    expect(BASE - 1, "?");
    expect(~0ull, "?");
}

static void hostile_tables(void **state)
{
    (void)state;
    table.head.count = ~0u;
    expect(BASE + 0x20, "?");
    table.head.count = 3;
    table.words[3] = ~0u;
    expect(BASE + 0x10, "?");
    table.words[3] = 6 + sizeof(table.strings); /* behind the end */
    expect(BASE + 0x10, "?");
    table.words[3] = 0;
    memset(table.strings, 'x', sizeof(table.strings)); /* no NUL anywhere */
    expect(BASE + 0x10, "?");
    table.strings[0] = 27; /* no escape reaches the terminal */
    table.strings[1] = 0;
    expect(BASE + 0x10, "?+0x0");
    table_len = 8;
    expect(BASE + 0x10, "?");
    table_len = 0;
    expect(BASE + 0x10, "?");
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup(names, setup),
        cmocka_unit_test_setup(hostile_tables, setup),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
