/* links: vmm/guest_walk.c vmm/guest_mem.c */
/* The software walk of guest page tables: modes, rights, error codes, accessed and dirty bits. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>

#include <cmocka.h>

#include "vmm/guest_walk.h"

static u8 ram[0x400000] __attribute__((aligned(4096)));
static struct guest_mem mem = {.base = ram, .count = 1, .range = {{0, sizeof(ram)}}};

static u64 *entry64(u64 table, u64 index)
{
    return (u64 *)(ram + table + index * 8);
}
static u32 *entry32(u64 table, u64 index)
{
    return (u32 *)(ram + table + index * 4);
}

static int clear(void **state)
{
    (void)state;
    memset(ram, 0, sizeof(ram));
    return 0;
}

static const struct guest_paging long_mode = {CR0_PE | CR0_PG | CR0_WP, 0x1000, CR4_PAE,
                                              EFER_LME | EFER_LMA | EFER_NXE, 2};

static void map_4k(u64 leaf)
{
    *entry64(0x1000, 511) = 0x2007;
    *entry64(0x2000, 510) = 0x3007;
    *entry64(0x3000, 1) = 0x4007;
    *entry64(0x4000, 2) = leaf;
}
#define GLA 0xffffffff80202123ull

static void four_levels(void **state)
{
    gpa_t gpa;
    u32 error;
    (void)state;
    map_4k(0x5003);
    assert_int_equal(guest_walk(&mem, &long_mode, GLA, WALK_WRITE, &gpa, &error), WALK_OK);
    assert_int_equal(gpa.raw, 0x5123);
    assert_int_equal(*entry64(0x4000, 2), 0x5063); /* A and D */
    assert_int_equal(*entry64(0x3000, 1), 0x4027); /* A only */
    assert_int_equal(guest_walk(&mem, &long_mode, GLA + 0x1000, 0, &gpa, &error), WALK_FAULT);
    assert_int_equal(error, 0);
    assert_int_equal(guest_walk(&mem, &long_mode, GLA, WALK_USER, &gpa, &error), WALK_FAULT);
    assert_int_equal(error, WALK_PRESENT | WALK_USER);
    *entry64(0x3000, 1) = 0x200000 | 0x87; /* 2 MiB */
    assert_int_equal(guest_walk(&mem, &long_mode, GLA, WALK_USER, &gpa, &error), WALK_OK);
    assert_int_equal(gpa.raw, 0x202123);
    *entry64(0x2000, 510) = 0x40000087; /* 1 GiB */
    assert_int_equal(guest_walk(&mem, &long_mode, GLA, 0, &gpa, &error), WALK_OK);
    assert_int_equal(gpa.raw, 0x40202123);
    struct guest_paging la57 = long_mode;
    la57.cr4 |= CR4_LA57;
    assert_int_equal(guest_walk(&mem, &la57, GLA, 0, &gpa, &error), WALK_BAD);
}

static void rights(void **state)
{
    struct guest_paging p = long_mode;
    gpa_t gpa;
    u32 error;
    (void)state;
    map_4k(0x5005); /* user, read-only */
    assert_int_equal(guest_walk(&mem, &p, GLA, WALK_WRITE, &gpa, &error), WALK_FAULT);
    assert_int_equal(error, WALK_PRESENT | WALK_WRITE);
    p.cr0 &= ~CR0_WP;
    assert_int_equal(guest_walk(&mem, &p, GLA, WALK_WRITE, &gpa, &error), WALK_OK);
    assert_int_equal(guest_walk(&mem, &p, GLA, WALK_WRITE | WALK_USER, &gpa, &error), WALK_FAULT);
    p.cr4 |= CR4_SMAP;
    assert_int_equal(guest_walk(&mem, &p, GLA, 0, &gpa, &error), WALK_FAULT);
    p.rflags |= RFLAGS_AC;
    assert_int_equal(guest_walk(&mem, &p, GLA, 0, &gpa, &error), WALK_OK);
    map_4k(0x5007 | BIT(63));
    assert_int_equal(guest_walk(&mem, &p, GLA, WALK_FETCH | WALK_USER, &gpa, &error), WALK_FAULT);
    assert_int_equal(error, WALK_PRESENT | WALK_USER | WALK_FETCH);
}

static void two_and_three_levels(void **state)
{
    struct guest_paging p = {CR0_PE | CR0_PG, 0x1000, CR4_PSE, 0, 2};
    gpa_t gpa;
    u32 error;
    (void)state;
    *entry32(0x1000, 0x300) = 0x2007;
    *entry32(0x2000, 5) = 0x3007;
    assert_int_equal(guest_walk(&mem, &p, 0xc0005678, 0, &gpa, &error), WALK_OK);
    assert_int_equal(gpa.raw, 0x3678);
    *entry32(0x1000, 0x300) = 0x00400087 | 1 << 13; /* 4 MiB at 4 GiB + 4 MiB */
    assert_int_equal(guest_walk(&mem, &p, 0xc0005678, 0, &gpa, &error), WALK_OK);
    assert_int_equal(gpa.raw, 0x100405678);
    p.cr4 = CR4_PAE;
    *entry64(0x1000, 3) = 0x2001; /* PDPTE: no rights */
    *entry64(0x2000, 0) = 0x4007;
    *entry64(0x4000, 5) = 0x6007;
    assert_int_equal(guest_walk(&mem, &p, 0xffffffffc0005678, WALK_USER, &gpa, &error), WALK_OK);
    assert_int_equal(gpa.raw, 0x6678);
    p.cr0 = CR0_PE;
    assert_int_equal(guest_walk(&mem, &p, 0x1c0005678, 0, &gpa, &error), WALK_OK);
    assert_int_equal(gpa.raw, 0xc0005678);
}

static void tables_outside_memory(void **state)
{
    struct guest_paging p = long_mode;
    gpa_t gpa;
    u32 error;
    (void)state;
    p.cr3 = 0x7ffffffffffff000;
    assert_int_equal(guest_walk(&mem, &p, GLA, 0, &gpa, &error), WALK_BAD);
    map_4k(0x5007);
    *entry64(0x3000, 1) = 0x400007; /* first byte behind RAM */
    assert_int_equal(guest_walk(&mem, &long_mode, GLA, 0, &gpa, &error), WALK_BAD);
}

static void copies_across_pages(void **state)
{
    u8 buf[16];
    u64 fault;
    u32 error;
    (void)state;
    map_4k(0x5007);
    *entry64(0x4000, 3) = 0x9007;
    memcpy(ram + 0x5ffd, "abc", 3);
    memcpy(ram + 0x9000, "def", 3);
    u64 at = (GLA & ~0xfffull) + 0xffd;
    assert_int_equal(guest_fetch(&mem, &long_mode, at, buf, 6), 6);
    assert_memory_equal(buf, "abcdef", 6);
    assert_int_equal(
        guest_linear_copy(&mem, &long_mode, at, "UVWXYZ", 6, WALK_WRITE, &fault, &error), WALK_OK);
    assert_memory_equal(ram + 0x9000, "XYZ", 3);
    *entry64(0x4000, 3) = 0;
    assert_int_equal(guest_fetch(&mem, &long_mode, at, buf, 6), 3);
    assert_int_equal(guest_linear_copy(&mem, &long_mode, at, buf, 6, 0, &fault, &error),
                     WALK_FAULT);
    assert_int_equal(fault, at + 3);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup(four_levels, clear),
        cmocka_unit_test_setup(rights, clear),
        cmocka_unit_test_setup(two_and_three_levels, clear),
        cmocka_unit_test_setup(tables_outside_memory, clear),
        cmocka_unit_test_setup(copies_across_pages, clear),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
