/* links: kernel/pgtab.c tests/unit/fakes.c */
/* The table builder: leaf sizes, splitting, refusals, every out-of-memory point, and a long random
 * run against a plain array. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "kernel/pgtab.h"
#include "tests/unit/fakes.h"

static struct quota quota;
static struct pgtab table;

static void begin(const struct pgtab_format *f, bool use_2m, bool use_1g)
{
    fakes_mem_reset();
    quota = (struct quota){.limit = ~0ull};
    assert_int_equal(pgtab_init(&table, f, &quota, use_2m, use_1g), HV_OK);
}

static void end(void)
{
    pgtab_fini(&table);
    assert_int_equal(fakes_mem_live(), 0);
    assert_int_equal(quota.used, 0);
}

/* The size of the leaf at va, which must map to pa with attr; 0: nothing is there. */
static u64 leaf_size(u64 va, u64 pa, u32 attr)
{
    u64 got_pa, size;
    u32 got_attr;
    if (!pgtab_lookup(&table, va, &got_pa, &got_attr, &size))
        return 0;
    assert_int_equal(got_pa, pa);
    assert_int_equal(got_attr, attr);
    return size;
}

static void largest_leaves_that_alignment_allows(void **state)
{
    (void)state;
    u32 attr = PG_R | PG_W | PG_X;
    begin(&pgtab_ept, true, true);
    assert_int_equal(pgtab_map(&table, PAGE_1G - PAGE_2M - PAGE_SIZE,
                               3 * PAGE_1G - PAGE_2M - PAGE_SIZE, PAGE_1G + 2 * PAGE_2M + PAGE_SIZE,
                               attr),
                     HV_OK);
    u64 shift = 2 * PAGE_1G;
    assert_int_equal(leaf_size(PAGE_1G - PAGE_2M - 1, shift + PAGE_1G - PAGE_2M - 1, attr),
                     PAGE_SIZE);
    assert_int_equal(leaf_size(PAGE_1G - 1, shift + PAGE_1G - 1, attr), PAGE_2M);
    assert_int_equal(leaf_size(PAGE_1G, shift + PAGE_1G, attr), PAGE_1G);
    assert_int_equal(leaf_size(2 * PAGE_1G + 5, shift + 2 * PAGE_1G + 5, attr), PAGE_2M);
    assert_int_equal(leaf_size(2 * PAGE_1G + PAGE_2M, 0, 0), 0);
    assert_int_equal(leaf_size(PAGE_1G - PAGE_2M - PAGE_SIZE - 1, 0, 0), 0);
    end();
    /* Misaligned to each other: small pages only. */
    begin(&pgtab_host, true, true);
    assert_int_equal(pgtab_map(&table, PAGE_1G, PAGE_1G + PAGE_SIZE, PAGE_1G, PG_R), HV_OK);
    assert_int_equal(leaf_size(PAGE_1G, PAGE_1G + PAGE_SIZE, PG_R), PAGE_SIZE);
    end();
    begin(&pgtab_host, true, false);
    assert_int_equal(pgtab_map(&table, 0, 0, PAGE_1G, PG_R | PG_W | PG_GLOBAL), HV_OK);
    assert_int_equal(leaf_size(123, 123, PG_R | PG_W | PG_GLOBAL), PAGE_2M);
    end();
    begin(&pgtab_ept, false, true);
    assert_int_equal(pgtab_map(&table, 0, 0, PAGE_2M, PG_R), HV_OK);
    assert_int_equal(leaf_size(0, 0, PG_R), PAGE_SIZE);
    end();
}

static void encodings(void **state)
{
    (void)state;
    /* SDM 3C table 29-5: write-back is 6 in bits 5:3, bit 6 ignores the PAT, bit 7 is a big page;
     * 8 and 9: accessed and dirty. */
    assert_int_equal(pgtab_leaf(&pgtab_ept, 0x200000, PG_R | PG_W | PG_X, true), 0x2003f7);
    assert_int_equal(pgtab_leaf(&pgtab_ept, 0xfec00000, PG_R | PG_UC, false) & 0x3f, 0x01);
    /* SDM 3A table 4-19. */
    assert_int_equal(pgtab_leaf(&pgtab_host, 0x1000, PG_R | PG_X, false) & ~0x60ull, 0x1001);
    assert_int_equal(pgtab_leaf(&pgtab_host, 0x1000, PG_R | PG_W, false) & ~0x60ull,
                     BIT(63) | 0x1003);
    assert_int_equal(pgtab_leaf(&pgtab_host, 0x200000, PG_R | PG_W | PG_USER | PG_UC, true) &
                         ~0x60ull,
                     BIT(63) | 0x20009f);
    const struct pgtab_format *formats[] = {&pgtab_host, &pgtab_ept};
    for (u32 f = 0; f < 2; f++)
        for (u32 attr = PG_R; attr < 32; attr += 2) {
            u32 keep = f ? attr & (PG_R | PG_W | PG_X | PG_UC) : attr;
            u64 entry = pgtab_leaf(formats[f], 0x40000000, attr, true);
            assert_true(entry & formats[f]->present);
            assert_true(entry & formats[f]->big);
            assert_int_equal(pgtab_attr(formats[f], entry), keep);
        }
}

static void refusals(void **state)
{
    (void)state;
    begin(&pgtab_ept, true, true);
    assert_int_equal(pgtab_map(&table, 1, 0, PAGE_SIZE, PG_R), HV_EINVAL);
    assert_int_equal(pgtab_map(&table, 0, 1, PAGE_SIZE, PG_R), HV_EINVAL);
    assert_int_equal(pgtab_map(&table, 0, 0, PAGE_SIZE + 1, PG_R), HV_EINVAL);
    assert_int_equal(pgtab_map(&table, 0, 0, 0, PG_R), HV_EINVAL);
    assert_int_equal(pgtab_map(&table, 1ull << 48, 0, PAGE_SIZE, PG_R), HV_EINVAL);
    assert_int_equal(pgtab_map(&table, (1ull << 48) - PAGE_SIZE, 0, 2 * PAGE_SIZE, PG_R),
                     HV_EINVAL);
    assert_int_equal(pgtab_map(&table, ~0ull << 12, 0, 2 * PAGE_SIZE, PG_R), HV_EINVAL);
    assert_int_equal(pgtab_map(&table, 0, 1ull << 52, PAGE_SIZE, PG_R), HV_EINVAL);
    assert_int_equal(pgtab_unmap(&table, 0, 5), HV_EINVAL);
    assert_int_equal(pgtab_map(&table, PAGE_2M, 0, PAGE_2M, PG_R), HV_OK);
    assert_int_equal(pgtab_map(&table, 0, 0, 2 * PAGE_2M, PG_R), HV_EEXIST);
    assert_int_equal(pgtab_map(&table, PAGE_2M + PAGE_SIZE, 0, PAGE_SIZE, PG_R), HV_EEXIST);
    assert_int_equal(leaf_size(0, 0, 0), 0); /* nothing of it was done */
    end();
    begin(&pgtab_host, true, true);
    assert_int_equal(pgtab_map(&table, 0x0000800000000000, 0, PAGE_SIZE, PG_R), HV_EINVAL);
    assert_int_equal(pgtab_map(&table, 0x00007ffffffff000, 0, 2 * PAGE_SIZE, PG_R), HV_EINVAL);
    assert_int_equal(pgtab_map(&table, 0xffff800000000000, 0, PAGE_SIZE, PG_R), HV_OK);
    assert_int_equal(pgtab_map(&table, 0xfffffffffffff000, 0x5000, PAGE_SIZE, PG_R), HV_OK);
    assert_int_equal(leaf_size(0xffffffffffffffff, 0x5fff, PG_R), PAGE_SIZE);
    end();
}

static void every_allocation_may_fail(void **state)
{
    (void)state;
    /* From the middle of one gigabyte into the middle of another: tables at each level. */
    u64 va = (1ull << 39) - PAGE_1G - PAGE_2M - PAGE_SIZE, len = 2 * PAGE_1G + 2 * PAGE_2M;
    for (i64 n = 0;; n++) {
        begin(&pgtab_ept, true, true);
        fakes_mem_fail_after(n);
        enum hv_status status = pgtab_map(&table, va, PAGE_SIZE, len, PG_R);
        fakes_mem_fail_after(-1);
        if (status == HV_OK) {
            assert_true(n >= 4);
            assert_int_equal(fakes_mem_live_bytes(), table.table_bytes);
            assert_int_equal(pgtab_unmap(&table, va, len), HV_OK);
            assert_int_equal(leaf_size(va, 0, 0), 0);
            end();
            break;
        }
        assert_int_equal(status, HV_ENOMEM);
        assert_int_equal(fakes_mem_live_bytes(), table.table_bytes); /* empty tables stay */
        for (u64 done = 0; done < len; done += PAGE_SIZE)
            assert_int_equal(leaf_size(va + done, 0, 0), 0);
        end();
    }
    /* Cutting a hole into a gigabyte needs two tables. */
    for (i64 n = 0; n < 3; n++) {
        begin(&pgtab_ept, true, true);
        assert_int_equal(pgtab_map(&table, 0, 0, PAGE_1G, PG_R | PG_X), HV_OK);
        fakes_mem_fail_after(n);
        enum hv_status status = pgtab_unmap(&table, 5 * PAGE_2M + PAGE_SIZE, PAGE_SIZE);
        fakes_mem_fail_after(-1);
        assert_int_equal(status, n < 2 ? HV_ENOMEM : HV_OK);
        u64 hole = 5 * PAGE_2M + PAGE_SIZE;
        /* The first table splits the gigabyte, the second 2 MiB of it: the same is mapped. */
        u64 around = n == 0 ? PAGE_1G : n == 1 ? PAGE_2M : PAGE_SIZE;
        assert_int_equal(leaf_size(hole, hole, PG_R | PG_X), n < 2 ? around : 0);
        assert_int_equal(leaf_size(hole - 1, hole - 1, PG_R | PG_X), around);
        assert_int_equal(leaf_size(7 * PAGE_2M, 7 * PAGE_2M, PG_R | PG_X),
                         n < 1 ? PAGE_1G : PAGE_2M);
        end();
    }
}

#define PAGES 4096u      /* 16 MiB: eight 2 MiB leaves */
static u64 model[PAGES]; /* pa + 1, 0 when not mapped */

static void agrees_with_an_array(void **state)
{
    (void)state;
    u64 base = PAGE_1G - 8 * PAGE_SIZE * 512 / 2; /* across a gigabyte */
    srandom(1);
    memset(model, 0, sizeof(model));
    begin(&pgtab_ept, true, true);
    for (u32 round = 0; round < 800; round++) {
        u64 from = (u64)random() % PAGES, count = 1 + (u64)random() % (random() % 4 ? 16 : 1500);
        if (random() % 3 == 0)
            from &= ~511ull;
        count = MIN(count, PAGES - from);
        bool map = random() % 2, free = true;
        if (map) {
            u64 pa = random() % 2 ? base + from * PAGE_SIZE : (u64)random() % 100000 * PAGE_SIZE;
            for (u64 i = 0; i < count; i++)
                free = free && !model[from + i];
            enum hv_status status =
                pgtab_map(&table, base + from * PAGE_SIZE, pa, count * PAGE_SIZE, PG_R | PG_W);
            assert_int_equal(status, free ? HV_OK : HV_EEXIST);
            for (u64 i = 0; free && i < count; i++)
                model[from + i] = pa + i * PAGE_SIZE + 1;
        } else {
            assert_int_equal(pgtab_unmap(&table, base + from * PAGE_SIZE, count * PAGE_SIZE),
                             HV_OK);
            memset(model + from, 0, count * sizeof(model[0]));
        }
        for (u64 i = 0; i < PAGES; i++) {
            u64 pa, size;
            u32 attr;
            bool there = pgtab_lookup(&table, base + i * PAGE_SIZE, &pa, &attr, &size);
            assert_int_equal(there ? pa + 1 : 0, model[i]);
        }
    }
    end();
}

static void a_shared_top_entry(void **state)
{
    (void)state;
    begin(&pgtab_host, true, true);
    struct pgtab other;
    assert_int_equal(pgtab_init(&other, &pgtab_host, &quota, true, true), HV_OK);
    assert_int_equal(pgtab_map(&table, 3ull << 39, 0x7000, PAGE_SIZE, PG_R | PG_USER), HV_OK);
    pgtab_set_top_entry(&other, 3, pgtab_top_entry(&table, 3));
    u64 pa, size;
    u32 attr;
    assert_true(pgtab_lookup(&other, 3ull << 39, &pa, &attr, &size));
    assert_int_equal(pa, 0x7000);
    pgtab_set_top_entry(&other, 3, 0);
    pgtab_fini(&other);
    end();
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(largest_leaves_that_alignment_allows),
        cmocka_unit_test(encodings),
        cmocka_unit_test(refusals),
        cmocka_unit_test(every_allocation_may_fail),
        cmocka_unit_test(agrees_with_an_array),
        cmocka_unit_test(a_shared_top_entry),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
