/* links: boot/memmap.c */
/* The loader's memory map: sorted, merged, page granular, the stricter type wins. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>

#include <cmocka.h>

#include "boot/memmap.h"

#define R(b, l, t)                                                                                 \
    {                                                                                              \
        .base = (b), .len = (l), .type = BOOT_MEM_##t                                              \
    }

static void check(const struct boot_region *in, u32 n, const struct boot_region *want, u32 want_n)
{
    struct boot_region out[32];
    u32 count = 0;

    assert_true(memmap_normalise(in, n, out, ARRAY_LEN(out), &count));
    assert_int_equal(count, want_n);
    for (u32 i = 0; i < want_n; i++) {
        assert_int_equal(out[i].base, want[i].base);
        assert_int_equal(out[i].len, want[i].len);
        assert_int_equal(out[i].type, want[i].type);
    }
}

static void sorts_and_merges(void **state)
{
    (void)state;
    struct boot_region in[] = {R(0x5000, 0x1000, FREE), R(0x1000, 0x2000, FREE),
                               R(0x3000, 0x1000, FREE), R(0x9000, 0x1000, MMIO)};
    struct boot_region want[] = {R(0x1000, 0x3000, FREE), R(0x5000, 0x1000, FREE),
                                 R(0x9000, 0x1000, MMIO)};
    check(in, ARRAY_LEN(in), want, ARRAY_LEN(want));
}

static void stricter_type_wins(void **state)
{
    (void)state;
    struct boot_region in[] = {R(0, 0x100000, LOADER), R(0x10000, 0x2000, IMAGE),
                               R(0x11000, 0x2000, RESERVED), R(0x20000, 0, MMIO)};
    struct boot_region want[] = {R(0, 0x10000, LOADER), R(0x10000, 0x1000, IMAGE),
                                 R(0x11000, 0x2000, RESERVED), R(0x13000, 0xed000, LOADER)};
    check(in, ARRAY_LEN(in), want, ARRAY_LEN(want));
}

static void keeps_whole_pages(void **state)
{
    (void)state;
    struct boot_region in[] = {R(0x1800, 0x2000, FREE), R(0x5800, 0x100, FIRMWARE),
                               R(0x7100, 0x200, FREE)};
    struct boot_region want[] = {R(0x2000, 0x1000, FREE), R(0x5000, 0x1000, FIRMWARE)};
    check(in, ARRAY_LEN(in), want, ARRAY_LEN(want));
}

static void survives_the_end_of_the_address_space(void **state)
{
    (void)state;
    struct boot_region in[] = {R(~0ull - 0x1fff, ~0ull, RESERVED), R(0x1000, 0x1000, FREE)};
    struct boot_region out[4];
    u32 count = 0;

    assert_true(memmap_normalise(in, ARRAY_LEN(in), out, ARRAY_LEN(out), &count));
    assert_true(count >= 1 && out[0].base == 0x1000 && out[0].len == 0x1000);
}

static void reports_too_many(void **state)
{
    (void)state;
    struct boot_region in[] = {R(0x1000, 0x1000, FREE), R(0x5000, 0x1000, FREE)};
    struct boot_region out[1];
    u32 count = 0;

    assert_false(memmap_normalise(in, ARRAY_LEN(in), out, 1, &count));
}

/* Random spans: each page of the result has the type that a plain array of pages says. */
static void agrees_with_a_page_array(void **state)
{
    (void)state;
    enum { PAGES = 64, SPANS = 12 };
    srand(1);
    for (int round = 0; round < 2000; round++) {
        struct boot_region in[SPANS], out[2 * SPANS + 1];
        u8 model[PAGES] = {0}, got[PAGES] = {0};
        u32 count = 0;
        for (int i = 0; i < SPANS; i++) {
            u64 first = (u64)rand() % PAGES, len = (u64)rand() % (PAGES - first + 1);
            u32 type = 1 + (u32)rand() % 6;
            in[i] = (struct boot_region){.base = first * PAGE_SIZE, .len = len * PAGE_SIZE};
            in[i].type = type;
            for (u64 p = first; p < first + len; p++)
                model[p] = (u8)MAX(model[p], type);
        }
        assert_true(memmap_normalise(in, SPANS, out, ARRAY_LEN(out), &count));
        for (u32 i = 0; i < count; i++) {
            assert_true(i == 0 || out[i].base >= out[i - 1].base + out[i - 1].len);
            for (u64 p = out[i].base / PAGE_SIZE; p < (out[i].base + out[i].len) / PAGE_SIZE; p++)
                got[p] = (u8)out[i].type;
        }
        assert_memory_equal(model, got, PAGES);
    }
}

static void knows_firmware_types(void **state)
{
    (void)state;
    assert_int_equal(memmap_type(7), BOOT_MEM_FREE);
    assert_int_equal(memmap_type(3), BOOT_MEM_FREE);
    assert_int_equal(memmap_type(9), BOOT_MEM_FIRMWARE);
    assert_int_equal(memmap_type(14), BOOT_MEM_RESERVED);
    assert_int_equal(memmap_type(0x80000000u), BOOT_MEM_RESERVED);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(sorts_and_merges),
        cmocka_unit_test(stricter_type_wins),
        cmocka_unit_test(keeps_whole_pages),
        cmocka_unit_test(survives_the_end_of_the_address_space),
        cmocka_unit_test(reports_too_many),
        cmocka_unit_test(agrees_with_a_page_array),
        cmocka_unit_test(knows_firmware_types),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
