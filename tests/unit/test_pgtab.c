/* links: kernel/pgtab.c tests/unit/fakes.c */
/* Page tables: leaf sizes, splitting, both formats, and no allocation failure changes anything. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>

#include <cmocka.h>

#include "kernel/pgtab.h"
#include "tests/unit/fakes.h"

static struct pgtab t;
static struct quota quota;

static int setup(void **state)
{
    (void)state;
    fakes_mem_reset();
    quota = (struct quota){.limit = ~0ull};
    assert_int_equal(pgtab_init(&t, &pgtab_ept, &quota, true, true), HV_OK);
    return 0;
}

static int teardown(void **state)
{
    (void)state;
    pgtab_fini(&t);
    assert_int_equal(fakes_mem_live(), 0);
    assert_int_equal(quota.used, 0);
    assert_int_equal(t.table_bytes, 0);
    return 0;
}

static void expect_leaf(u64 va, u64 pa, u32 attr, u64 size)
{
    u64 got_pa = 0, got_size = 0;
    u32 got_attr = 0;
    assert_true(pgtab_lookup(&t, va, &got_pa, &got_attr, &got_size));
    assert_int_equal(got_pa, pa);
    assert_int_equal(got_attr, attr);
    assert_int_equal(got_size, size);
}

static void expect_hole(u64 va)
{
    u64 pa, size;
    u32 attr;
    assert_false(pgtab_lookup(&t, va, &pa, &attr, &size));
}

#define RWX (PG_R | PG_W | PG_X)

static void largest_leaves(void **state)
{
    (void)state;
    /* 4 KiB up to 2 MiB, 2 MiB up to 1 GiB, 1 GiB, then down again. */
    u64 start = GIB - 2 * PAGE_2M - 3 * PAGE_SIZE, len = GIB + 5 * PAGE_2M + 7 * PAGE_SIZE;
    assert_int_equal(pgtab_map(&t, start, start + 4 * GIB, len, RWX), HV_OK);
    expect_leaf(start, start + 4 * GIB, RWX, PAGE_SIZE);
    expect_leaf(GIB - 2 * PAGE_2M, 5 * GIB - 2 * PAGE_2M, RWX, PAGE_2M);
    expect_leaf(GIB + 0x12345, 5 * GIB + 0x12345, RWX, PAGE_1G);
    expect_leaf(2 * GIB, 6 * GIB, RWX, PAGE_2M);
    expect_leaf(start + len - 1, start + len - 1 + 4 * GIB, RWX, PAGE_SIZE);
    expect_hole(start - 1);
    expect_hole(start + len);
}

static void sizes_not_allowed_are_not_used(void **state)
{
    (void)state;
    t.use_1g = false;
    assert_int_equal(pgtab_map(&t, 0, 0, GIB, RWX), HV_OK);
    expect_leaf(0, 0, RWX, PAGE_2M);
    t.use_2m = false;
    assert_int_equal(pgtab_map(&t, GIB, GIB, PAGE_2M, RWX), HV_OK);
    expect_leaf(GIB, GIB, RWX, PAGE_SIZE);
}

static void unaligned_target_uses_small_leaves(void **state)
{
    (void)state;
    assert_int_equal(pgtab_map(&t, PAGE_2M, PAGE_2M + PAGE_SIZE, PAGE_2M, RWX), HV_OK);
    expect_leaf(PAGE_2M, PAGE_2M + PAGE_SIZE, RWX, PAGE_SIZE);
}

static void arguments_are_checked(void **state)
{
    (void)state;
    assert_int_equal(pgtab_map(&t, 1, 0, PAGE_SIZE, RWX), HV_EINVAL);
    assert_int_equal(pgtab_map(&t, 0, 1, PAGE_SIZE, RWX), HV_EINVAL);
    assert_int_equal(pgtab_map(&t, 0, 0, 0, RWX), HV_EINVAL);
    assert_int_equal(pgtab_map(&t, 0, 0, 100, RWX), HV_EINVAL);
    assert_int_equal(pgtab_map(&t, 1ull << 48, 0, PAGE_SIZE, RWX), HV_EINVAL);
    assert_int_equal(pgtab_map(&t, (1ull << 48) - PAGE_SIZE, 0, 2 * PAGE_SIZE, RWX), HV_EINVAL);
    assert_int_equal(pgtab_map(&t, ~0xfffull, 0, 2 * PAGE_SIZE, RWX), HV_EINVAL);
    assert_int_equal(pgtab_unmap(&t, 1, PAGE_SIZE), HV_EINVAL);
    t.address_limit = GIB;
    assert_int_equal(pgtab_map(&t, GIB - PAGE_SIZE, 0, 2 * PAGE_SIZE, RWX), HV_EINVAL);
    assert_int_equal(pgtab_map(&t, GIB - PAGE_SIZE, 0, PAGE_SIZE, RWX), HV_OK);
}

static void nothing_is_mapped_twice(void **state)
{
    (void)state;
    assert_int_equal(pgtab_map(&t, 5 * PAGE_2M, 0, PAGE_2M, RWX), HV_OK);
    u64 used = quota.used;
    assert_int_equal(pgtab_map(&t, 0, 0, 10 * PAGE_2M, RWX), HV_EEXIST);
    assert_int_equal(pgtab_map(&t, 5 * PAGE_2M + PAGE_SIZE, 0, PAGE_SIZE, RWX), HV_EEXIST);
    expect_hole(0);
    expect_hole(4 * PAGE_2M);
    assert_true(quota.used <= used + 2 * PAGE_SIZE); /* an empty table may stay */
}

static void unmapping_splits(void **state)
{
    (void)state;
    assert_int_equal(pgtab_map(&t, 0, 8 * GIB, 2 * GIB, PG_R | PG_X), HV_OK);
    u64 from = PAGE_2M + PAGE_SIZE, len = GIB + PAGE_2M;
    assert_int_equal(pgtab_unmap(&t, from, len), HV_OK);
    expect_leaf(0, 8 * GIB, PG_R | PG_X, PAGE_2M);
    expect_leaf(PAGE_2M, 8 * GIB + PAGE_2M, PG_R | PG_X, PAGE_SIZE);
    expect_hole(from);
    expect_hole(GIB);
    expect_hole(from + len - PAGE_SIZE);
    expect_leaf(from + len, 8 * GIB + from + len, PG_R | PG_X, PAGE_SIZE);
    expect_leaf(2 * GIB - 1, 10 * GIB - 1, PG_R | PG_X, PAGE_2M);
    /* And again over holes. */
    assert_int_equal(pgtab_unmap(&t, 0, 4 * GIB), HV_OK);
    expect_hole(0);
    expect_hole(2 * GIB - 1);
    /* Into the tables that stayed. */
    assert_int_equal(pgtab_map(&t, 0, 0, GIB, RWX), HV_OK);
    expect_leaf(123 * PAGE_SIZE, 123 * PAGE_SIZE, RWX, PAGE_2M);
}

static void map_fails_whole(void **state)
{
    (void)state;
    u64 start = 512 * GIB - PAGE_2M - PAGE_SIZE;
    i64 n = 0;
    for (;; n++) {
        fakes_mem_fail_after(n);
        enum hv_status status = pgtab_map(&t, start, 0x7000, 2 * PAGE_2M, RWX);
        if (status == HV_OK)
            break;
        assert_int_equal(status, HV_ENOMEM);
        assert_int_equal(t.table_bytes, (1 + n) * PAGE_SIZE); /* empty tables stay */
        assert_int_equal(quota.used, t.table_bytes);
        for (u64 va = start; va < start + 2 * PAGE_2M; va += PAGE_SIZE)
            expect_hole(va);
        fakes_mem_fail_after(-1);
        pgtab_fini(&t);
        assert_int_equal(pgtab_init(&t, &pgtab_ept, &quota, true, true), HV_OK);
    }
    fakes_mem_fail_after(-1);
    assert_int_equal(n, 7); /* two of level 3, two of level 2, three of level 1 */
    expect_leaf(start, 0x7000, RWX, PAGE_SIZE);
}

static void unmap_fails_whole(void **state)
{
    (void)state;
    i64 n = 0;
    for (;; n++) {
        assert_int_equal(pgtab_map(&t, 0, 0, 2 * GIB, RWX), HV_OK);
        fakes_mem_fail_after(n);
        enum hv_status status = pgtab_unmap(&t, PAGE_SIZE, 2 * GIB - 2 * PAGE_SIZE);
        fakes_mem_fail_after(-1);
        if (status == HV_OK)
            break;
        assert_int_equal(status, HV_ENOMEM);
        for (u64 va = 0; va < 2 * GIB; va += PAGE_2M - PAGE_SIZE) { /* maybe in smaller leaves */
            u64 pa, size;
            u32 attr;
            assert_true(pgtab_lookup(&t, va, &pa, &attr, &size));
            assert_int_equal(pa, va);
            assert_int_equal(attr, RWX);
        }
        pgtab_fini(&t);
        assert_int_equal(pgtab_init(&t, &pgtab_ept, &quota, true, true), HV_OK);
    }
    assert_int_equal(n, 4); /* both gigabytes, and a 2 MiB page in each */
    expect_leaf(0, 0, RWX, PAGE_SIZE);
    expect_hole(PAGE_SIZE);
    expect_hole(2 * GIB - 2 * PAGE_SIZE);
    expect_leaf(2 * GIB - PAGE_SIZE, 2 * GIB - PAGE_SIZE, RWX, PAGE_SIZE);
}

/* A block of frames below a table that stayed is mapped, and will be freed, by small leaves. */
static void kept_table_breaks_block(void **state)
{
    (void)state;
    u64 used = quota.used;
    assert_int_equal(pgtab_map(&t, PAGE_2M, 0, PAGE_SIZE, RWX), HV_OK);
    assert_int_equal(pgtab_unmap(&t, PAGE_2M, PAGE_SIZE), HV_OK);
    used = quota.used;
    u64 before = fakes_mem_broken;
    assert_int_equal(pgtab_alloc(&t, 2 * PAGE_2M, PAGE_2M, RWX, PAGE_2M), HV_OK);
    assert_int_equal(fakes_mem_broken, before);
    assert_int_equal(pgtab_alloc(&t, PAGE_2M, PAGE_2M, RWX, PAGE_2M), HV_OK);
    assert_int_equal(fakes_mem_broken, before + 1);
    assert_int_equal(quota.used, used + 2 * PAGE_2M);
    assert_int_equal(pgtab_free(&t, PAGE_2M, 2 * PAGE_2M), HV_OK);
    assert_int_equal(quota.used, used);
}

/* Blocks as large as fit; all or nothing; what is freed is what was allocated. */
static void allocation(void **state)
{
    (void)state;
    u64 from = PAGE_2M - PAGE_SIZE, len = PAGE_2M + 3 * PAGE_SIZE, pa, size;
    u32 attr;
    assert_int_equal(pgtab_map(&t, from, 0, PAGE_SIZE, RWX), HV_OK); /* the tables are there now */
    assert_int_equal(pgtab_map(&t, 2 * PAGE_2M, 0, PAGE_SIZE, RWX), HV_OK);
    u64 used = quota.used;
    assert_int_equal(pgtab_alloc(&t, from, len, RWX, PAGE_1G), HV_EEXIST);
    assert_int_equal(pgtab_unmap(&t, from, PAGE_SIZE), HV_OK);
    assert_int_equal(pgtab_alloc(&t, from, len, RWX, PAGE_1G), HV_EEXIST); /* its end */
    assert_int_equal(quota.used, used);
    expect_hole(from);
    expect_hole(PAGE_2M);
    assert_int_equal(pgtab_unmap(&t, 2 * PAGE_2M, PAGE_SIZE), HV_OK);
    for (i64 n = 0; n < 4; n++) {
        fakes_mem_fail_after(n);
        enum hv_status status = pgtab_alloc(&t, 8 * PAGE_2M, 4 * PAGE_SIZE, RWX, PAGE_SIZE);
        fakes_mem_fail_after(-1);
        assert_int_equal(status, HV_ENOMEM);
        expect_hole(8 * PAGE_2M);
    }
    used = quota.used - t.table_bytes;
    assert_int_equal(used, 0);
    assert_int_equal(pgtab_alloc(&t, from, len, RWX, PAGE_1G), HV_OK);
    assert_int_equal(quota.used - t.table_bytes, len);
    assert_true(pgtab_lookup(&t, from, &pa, &attr, &size) && size == PAGE_SIZE);
    assert_int_equal(pgtab_free(&t, 0, 4 * PAGE_2M), HV_OK); /* and holes */
    assert_int_equal(quota.used, t.table_bytes);
    expect_hole(from);
    expect_hole(from + len - PAGE_SIZE);
}

/* Both ends lie in large leaves, and neither can be split: nothing is gone. */
static void free_is_all_or_nothing(void **state)
{
    const u64 from = PAGE_2M / 2, end = from + 2 * PAGE_2M, all = 3 * PAGE_2M;
    u64 pa, size;
    u32 attr;

    (void)state;
    assert_int_equal(pgtab_alloc(&t, 0, all, RWX, PAGE_2M), HV_OK);
    for (i64 n = 0; n < 3; n++) {
        fakes_mem_fail_after(n < 2 ? n : -1);
        assert_int_equal(pgtab_free(&t, from, end - from), n < 2 ? HV_ENOMEM : HV_OK);
        fakes_mem_fail_after(-1);
        for (u64 va = 0; va < all; va += PAGE_SIZE)
            assert_true(pgtab_lookup(&t, va, &pa, &attr, &size) ==
                        (n < 2 || va < from || va >= end));
        assert_int_equal(quota.used - t.table_bytes, n < 2 ? all : all - (end - from));
    }
    assert_int_equal(pgtab_free(&t, 0, all), HV_OK);
}

static void quota_counts(void **state)
{
    (void)state;
    quota.limit = quota.used + 2 * PAGE_SIZE;
    assert_int_equal(pgtab_map(&t, 0, 0, PAGE_SIZE, RWX), HV_ENOMEM);
    quota.limit += PAGE_SIZE;
    assert_int_equal(pgtab_map(&t, 0, 0, PAGE_SIZE, RWX), HV_OK);
    assert_int_equal(quota.used, t.table_bytes);
}

static void ept_entries(void **state)
{
    (void)state;
    assert_int_equal(pgtab_leaf(&pgtab_ept, 0x1000, RWX, false),
                     0x1000 | 7 | 6 << 3 | 1 << 6 | 0x300);
    assert_int_equal(pgtab_leaf(&pgtab_ept, PAGE_2M, PG_R, true),
                     PAGE_2M | 1 | 6 << 3 | 1 << 6 | 1 << 7 | 0x300);
    assert_int_equal(pgtab_leaf(&pgtab_ept, 0x1000, PG_R | PG_W | PG_UC, false),
                     0x1000 | 3 | 0x300);
    assert_int_equal(pgtab_ept.table, 7);
    assert_int_equal(pgtab_attr(&pgtab_ept, pgtab_leaf(&pgtab_ept, 0, PG_R | PG_UC, false)),
                     PG_R | PG_UC);
    assert_true(pgtab_ept.present & 4); /* execute-only */
}

static void host_entries(void **state)
{
    (void)state;
    struct pgtab h;
    struct quota q = {.limit = ~0ull};
    u64 pa, size;
    u32 attr, want = PG_R | PG_W | PG_USER | PG_UC | PG_GLOBAL;

    assert_int_equal(pgtab_leaf(&pgtab_host, 0x1000, PG_R, false), 0x1000 | 0x61 | 1ull << 63);
    assert_int_equal(pgtab_leaf(&pgtab_host, PAGE_2M, PG_R | PG_W | PG_X | PG_USER, true),
                     PAGE_2M | 0xe7);
    assert_int_equal(pgtab_init(&h, &pgtab_host, &q, true, false), HV_OK);
    /* Both ends of the canonical upper half; across the hole never. */
    assert_int_equal(pgtab_map(&h, ~0ull << 47, 0, PAGE_SIZE, want), HV_OK);
    assert_int_equal(pgtab_map(&h, ~0xfffull, 0x9000, PAGE_SIZE, want), HV_OK);
    assert_true(pgtab_lookup(&h, ~0ull, &pa, &attr, &size));
    assert_int_equal(pa, 0x9fff);
    assert_int_equal(attr, want);
    assert_int_equal(pgtab_map(&h, 1ull << 47, 0, PAGE_SIZE, want), HV_EINVAL);
    assert_int_equal(pgtab_map(&h, (1ull << 47) - PAGE_SIZE, 0, 2 * PAGE_SIZE, want), HV_EINVAL);
    /* Sharing a top-level entry shares what is below. */
    struct pgtab other;
    assert_int_equal(pgtab_init(&other, &pgtab_host, &q, true, false), HV_OK);
    pgtab_set_top_entry(&other, 511, pgtab_top_entry(&h, 511));
    assert_true(pgtab_lookup(&other, ~0xfffull, &pa, &attr, &size));
    pgtab_set_top_entry(&other, 511, 0);
    pgtab_fini(&other);
    pgtab_fini(&h);
    assert_int_equal(q.used, 0);
}

#define TEST(name) cmocka_unit_test_setup_teardown(name, setup, teardown)

/* What was written is told once, page by page, whatever the leaves were; holes are not written. */
static void written(void **state)
{
    (void)state;
    u64 bits[16] = {0}, va = PAGE_1G - PAGE_2M;
    assert_int_equal(pgtab_map(&t, va, va, PAGE_2M + PAGE_1G, RWX), HV_OK);
    assert_int_equal(pgtab_map(&t, va - 2 * PAGE_SIZE, 0, PAGE_SIZE, RWX), HV_OK);
    /* Two pages below (one mapped), the end of a 2 MiB leaf and the start of a 1 GiB leaf. */
    assert_int_equal(pgtab_take_written(&t, va - 2 * PAGE_SIZE, 3 * PAGE_SIZE, bits), HV_OK);
    assert_int_equal(bits[0], 5);
    memset(bits, 0, sizeof(bits));
    assert_int_equal(pgtab_take_written(&t, PAGE_1G - 66 * PAGE_SIZE, 130 * PAGE_SIZE, bits),
                     HV_OK);
    assert_int_equal(bits[0] & bits[1], ~0ull);
    assert_int_equal(bits[2], 3);
    expect_leaf(PAGE_1G, PAGE_1G, RWX, PAGE_SIZE);
    expect_leaf(PAGE_1G + PAGE_2M, PAGE_1G + PAGE_2M, RWX, PAGE_2M);
    memset(bits, 0, sizeof(bits));
    assert_int_equal(pgtab_take_written(&t, PAGE_1G - 66 * PAGE_SIZE, 130 * PAGE_SIZE, bits),
                     HV_OK);
    assert_int_equal(bits[0] | bits[1] | bits[2], 0);
    t.no_dirty = true;
    for (int i = 0; i < 2; i++) {
        bits[0] = 0;
        assert_int_equal(pgtab_take_written(&t, PAGE_1G + PAGE_2M, 3 * PAGE_SIZE, bits), HV_OK);
        assert_int_equal(bits[0], 7);
    }
    assert_int_equal(pgtab_take_written(&t, 1, PAGE_SIZE, bits), HV_EINVAL);
    fakes_mem_fail_after(0);
    bits[0] = 0;
    assert_int_equal(pgtab_take_written(&t, PAGE_1G + 4 * PAGE_2M, PAGE_SIZE, bits), HV_ENOMEM);
    assert_int_equal(bits[0], 0);
    fakes_mem_fail_after(-1);
    expect_leaf(PAGE_1G + 4 * PAGE_2M, PAGE_1G + 4 * PAGE_2M, RWX, PAGE_2M);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup_teardown(written, setup, teardown),
        TEST(largest_leaves),
        TEST(sizes_not_allowed_are_not_used),
        TEST(unaligned_target_uses_small_leaves),
        TEST(arguments_are_checked),
        TEST(nothing_is_mapped_twice),
        TEST(unmapping_splits),
        TEST(map_fails_whole),
        TEST(unmap_fails_whole),
        TEST(kept_table_breaks_block),
        TEST(allocation),
        TEST(free_is_all_or_nothing),
        TEST(quota_counts),
        TEST(ept_entries),
        TEST(host_entries),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
