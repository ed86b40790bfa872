/* links: boot/paging.c */
/* The loader's page tables: sizes of pages, rights, and that nothing mapped is mapped over. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "boot/memory.h"
#include "boot/paging.h"

#define RW (BOOT_SEG_R | BOOT_SEG_W)
#define RX (BOOT_SEG_R | BOOT_SEG_X)

static void *pools[64];
static u32 pool_count, pools_allowed;

void *memory_alloc(u64 len, u32 type, bool align_2m)
{
    assert_int_equal(type, BOOT_MEM_LOADER);
    assert_false(align_2m);
    if (pool_count == pools_allowed)
        return NULL;
    void *pool = aligned_alloc(PAGE_SIZE, len);
    assert_non_null(pool);
    memset(pool, 0, len);
    return pools[pool_count++] = pool;
}

static int start(void **state)
{
    (void)state;
    pool_count = 0;
    pools_allowed = ARRAY_LEN(pools);
    return 0;
}

static int finish(void **state)
{
    (void)state;
    while (pool_count)
        free(pools[--pool_count]);
    return 0;
}

/* The leaf entry for va, and its level; 0: not mapped. */
static u64 walk(const struct paging *p, u64 va, u32 *level)
{
    const u64 *table = p->root;

    for (*level = 4;; (*level)--) {
        u64 entry = table[va >> (12 + 9 * (*level - 1)) & 511];
        if (!(entry & 1))
            return 0;
        if (*level == 1 || entry & BIT(7))
            return entry;
        table = (const u64 *)(entry & BITS(51, 12));
    }
}

static void check_page(const struct paging *p, u64 va, u64 pa, u32 level, bool writable, bool nx)
{
    u32 got;
    u64 entry = walk(p, va, &got);

    assert_int_equal(got, level);
    assert_int_equal(entry & BITS(51, 12), pa);
    assert_int_equal(entry >> 1 & 1, writable);
    assert_int_equal(entry >> 63, nx);
}

static void uses_the_largest_pages(void **state)
{
    struct paging p;

    (void)state;
    assert_true(paging_init(&p, true, true));
    assert_true(paging_map(&p, PAGE_2M - PAGE_SIZE, PAGE_2M - PAGE_SIZE, 2 * PAGE_1G, RW));
    check_page(&p, PAGE_2M - PAGE_SIZE, PAGE_2M - PAGE_SIZE, 1, true, true);
    check_page(&p, PAGE_2M, PAGE_2M, 2, true, true);
    check_page(&p, PAGE_1G, PAGE_1G, 3, true, true);
    check_page(&p, 2 * PAGE_1G, 2 * PAGE_1G, 1, true, true);
    u32 level;
    assert_int_equal(walk(&p, 2 * PAGE_1G + PAGE_2M - PAGE_SIZE, &level), 0);
}

static void copes_with_an_old_cpu(void **state)
{
    struct paging p;

    (void)state;
    assert_true(paging_init(&p, false, false));
    assert_true(paging_map(&p, PAGE_1G, PAGE_1G, PAGE_1G, RW));
    check_page(&p, PAGE_1G + 5 * PAGE_2M, PAGE_1G + 5 * PAGE_2M, 2, true, false);
}

static void keeps_what_is_mapped(void **state)
{
    struct paging p;
    u64 page = 5 * PAGE_2M + 7 * PAGE_SIZE;

    (void)state;
    assert_true(paging_init(&p, true, true));
    assert_true(paging_map(&p, page, page, PAGE_SIZE, RX));
    assert_true(paging_map(&p, 0, 0, PAGE_1G, RW));
    check_page(&p, page, page, 1, false, false);
    check_page(&p, page + PAGE_SIZE, page + PAGE_SIZE, 1, true, true);
    check_page(&p, page - PAGE_SIZE, page - PAGE_SIZE, 1, true, true);
    check_page(&p, 4 * PAGE_2M, 4 * PAGE_2M, 2, true, true);
    assert_true(paging_map(&p, 4 * PAGE_2M, 4 * PAGE_2M, PAGE_SIZE, RX));
    check_page(&p, 4 * PAGE_2M, 4 * PAGE_2M, 2, true, true);
}

static void maps_memory_and_image(void **state)
{
    const struct boot_region regions[] = {
        {.base = 0x1000, .len = 0x9f000, .type = BOOT_MEM_FREE},
        {.base = 0x7f000000, .len = 0x123000, .type = BOOT_MEM_FIRMWARE},
        {.base = 0xe0000000, .len = 0x1000, .type = BOOT_MEM_MMIO},
        {.base = 0xfd00000000, .len = 0x300000000, .type = BOOT_MEM_RESERVED},
    };
    const struct boot_image image = {
        .segment_count = 2,
        .segments = {{KERNEL_IMAGE_BASE, 0x600000, 0x1001, RX, 0},
                     {KERNEL_IMAGE_BASE + 0x2000, 0x602000, 0x10, RW, 0}},
    };
    struct paging p;
    u32 level;

    (void)state;
    assert_true(paging_init(&p, true, true));
    assert_true(paging_map_memory(&p, regions, ARRAY_LEN(regions)));
    assert_true(paging_map_image(&p, &image));
    check_page(&p, 0, 0, 2, true, true);
    check_page(&p, 0x7f000000, 0x7f000000, 2, true, true);
    assert_int_equal(walk(&p, 0xe0000000, &level), 0);
    assert_int_equal(walk(&p, 0xfd00000000, &level), 0);
    check_page(&p, KERNEL_IMAGE_BASE + 0x1000, 0x601000, 1, false, false);
    check_page(&p, KERNEL_IMAGE_BASE + 0x2000, 0x602000, 1, true, true);
    assert_int_equal(walk(&p, KERNEL_IMAGE_BASE + 0x3000, &level), 0);
}

static void says_when_memory_is_out(void **state)
{
    struct paging p;

    (void)state;
    pools_allowed = 1;
    assert_true(paging_init(&p, true, false));
    assert_false(paging_map(&p, 0, 0, 512 * PAGE_1G, RW));
    pools_allowed = 0;
    pool_count = 0;
    free(pools[0]);
    assert_false(paging_init(&p, true, false));
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup_teardown(uses_the_largest_pages, start, finish),
        cmocka_unit_test_setup_teardown(copes_with_an_old_cpu, start, finish),
        cmocka_unit_test_setup_teardown(keeps_what_is_mapped, start, finish),
        cmocka_unit_test_setup_teardown(maps_memory_and_image, start, finish),
        cmocka_unit_test_setup_teardown(says_when_memory_is_out, start, finish),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
