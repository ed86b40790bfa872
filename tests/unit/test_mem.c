/* links: kernel/mem.c */
/* Frames: memory maps with holes, blocks of each size, quotas, everything comes back. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>

#include <cmocka.h>

#include "kernel/health.h"
#include "kernel/log.h"
#include "kernel/mem.h"

static jmp_buf panic_target;
static bool panic_expected;

void panic(const char *fmt, ...)
{
    (void)fmt;
    if (panic_expected)
        longjmp(panic_target, 1);
    abort();
}

void health_alive(void)
{
}

static struct boot_info bi;
static struct quota quota;

static void region(u64 base, u64 end, u32 type)
{
    bi.regions[bi.region_count++] =
        (struct boot_region){.base = base, .len = end - base, .type = type};
    if (type == BOOT_MEM_FREE || type == BOOT_MEM_LOADER) {
        void *at = phys_to_virt(HPA(base));
        void *got = mmap(at, end - base, PROT_READ | PROT_WRITE,
                         MAP_PRIVATE | MAP_ANONYMOUS | MAP_FIXED | MAP_NORESERVE, -1, 0);
        assert_ptr_equal(got, at);
        memset(got, 0x77, MIN(end - base, 4096)); /* not zero, as after firmware */
    }
}

static int setup(void **state)
{
    (void)state;
    memset(&bi, 0, sizeof(bi));
    quota = (struct quota){.limit = ~0ull};
    return 0;
}

static bool is_zero(hpa_t at, u64 len)
{
    const u64 *p = phys_to_virt(at);
    for (u64 i = 0; i < len / 8; i++)
        if (p[i])
            return false;
    return true;
}

static void holes_are_never_given_out(void **state)
{
    (void)state;
    region(0x1000, 0x9f000, BOOT_MEM_FREE);
    region(0x100000, 0x1ff000, BOOT_MEM_FREE); /* ends inside chunk 0 */
    region(0x1ff000, 0x201000, BOOT_MEM_RESERVED);
    region(0x201000, 0x5a7000, BOOT_MEM_FREE); /* part, whole, part */
    region(0x5a7000, 0x5a9000, BOOT_MEM_FIRMWARE);
    region(0x5a9000, 0x800000, BOOT_MEM_FREE);
    mem_init(&bi);

    u64 frames = 0;
    for (;; frames++) {
        hpa_t h = mem_alloc(&quota, PAGE_SIZE);
        if (!hpa_valid(h))
            break;
        bool inside = false;
        for (u32 i = 1; i < bi.region_count; i++)
            if (bi.regions[i].type == BOOT_MEM_FREE && h.raw >= bi.regions[i].base &&
                h.raw + PAGE_SIZE <= bi.regions[i].base + bi.regions[i].len)
                inside = true;
        assert_true(inside);
        assert_true(is_zero(h, PAGE_SIZE));
        memset(phys_to_virt(h), 0xee, PAGE_SIZE); /* twice the same frame would not be zero */
    }
    assert_int_equal(mem_free_bytes(), 0);
    assert_int_equal(frames * PAGE_SIZE + quota_kernel.used, mem_total());
    assert_int_equal(mem_total(), 0xff000 + 0x3a6000 + 0x257000);
}

static void everything_comes_back(void **state)
{
    (void)state;
    region(0x100000, 0x3000000, BOOT_MEM_FREE);
    mem_init(&bi);
    u64 free = mem_free_bytes(), chunks = mem_free_chunks();
    static hpa_t at[3000];
    u64 n = 0;

    for (; n < 3000; n++)
        at[n] = mem_alloc(&quota, PAGE_SIZE);
    hpa_t big = mem_alloc(&quota, PAGE_2M);
    assert_true(hpa_valid(big) && is_zero(big, PAGE_2M) && big.raw % PAGE_2M == 0);
    assert_int_equal(quota.used, 3000 * PAGE_SIZE + PAGE_2M);
    mem_free(&quota, big, PAGE_2M);
    for (u64 i = 0; i < n; i++) /* not in order */
        mem_free(&quota, at[i * 1201 % n], PAGE_SIZE);
    assert_int_equal(quota.used, 0);
    assert_int_equal(mem_free_bytes(), free);
    assert_int_equal(mem_free_chunks(), chunks);
}

static void quota_stops(void **state)
{
    (void)state;
    region(0x100000, 0x3000000, BOOT_MEM_FREE);
    mem_init(&bi);
    quota.limit = PAGE_2M + PAGE_SIZE;
    hpa_t a = mem_alloc(&quota, PAGE_SIZE), b = mem_alloc(&quota, PAGE_2M);
    assert_true(hpa_valid(a) && hpa_valid(b));
    assert_false(hpa_valid(mem_alloc(&quota, PAGE_SIZE)));
    mem_free(&quota, b, PAGE_2M);
    assert_false(hpa_valid(mem_alloc(&quota, PAGE_1G)));
    assert_true(hpa_valid(mem_alloc(&quota, PAGE_SIZE)));
}

static void gigabytes(void **state)
{
    (void)state;
    region(0x100000, 0x40000000, BOOT_MEM_FREE);
    region(0x100000000, 0x1c0000000, BOOT_MEM_FREE); /* 3 GiB above 4 GiB */
    mem_init(&bi);
    hpa_t first = mem_alloc(&quota, PAGE_2M);
    assert_true(first.raw < GIB);
    u64 before = mem_free_chunks();
    /* Taken from above, where all are whole; zeroing 1 GiB costs the host real memory, so one. */
    hpa_t big = mem_alloc(&quota, PAGE_1G);
    assert_int_equal(big.raw, 0x100000000);
    assert_int_equal(mem_free_chunks(), before - 512);
    mem_free(&quota, big, PAGE_1G);
    assert_int_equal(mem_free_chunks(), before);
    munmap(phys_to_virt(HPA(0x100000000)), 3 * GIB);
}

static void loader_memory_is_reclaimed(void **state)
{
    (void)state;
    region(0x100000, 0x400000, BOOT_MEM_FREE);
    region(0x400000, 0x412000, BOOT_MEM_LOADER);
    region(0x412000, 0x600000, BOOT_MEM_FREE);
    mem_init(&bi);
    u64 free = mem_free_bytes(), chunks = mem_free_chunks();
    mem_reclaim(&bi);
    assert_int_equal(mem_free_bytes(), free + 0x12000);
    assert_int_equal(mem_free_chunks(), chunks + 1); /* joined */
    assert_int_equal(mem_total(), 0x500000);
}

static void broken_block_goes_back_by_frames(void **state)
{
    (void)state;
    region(0x100000, 0x1000000, BOOT_MEM_FREE);
    mem_init(&bi);
    u64 free = mem_free_bytes();
    hpa_t big = mem_alloc(&quota, PAGE_2M);
    mem_break(big);
    for (u64 i = 0; i < 512; i++)
        mem_free(&quota, HPA(big.raw + i * PAGE_SIZE), PAGE_SIZE);
    assert_int_equal(mem_free_bytes(), free);
    assert_int_equal(quota.used, 0);
}

static void double_free_is_caught(void **state)
{
    (void)state;
    region(0x100000, 0x1000000, BOOT_MEM_FREE);
    mem_init(&bi);
    assert_true(hpa_valid(mem_alloc(&quota, PAGE_SIZE)));
    hpa_t h = mem_alloc(&quota, PAGE_SIZE);
    mem_free(&quota, h, PAGE_SIZE);
    panic_expected = true;
    if (setjmp(panic_target) == 0) {
        mem_free(&quota, h, PAGE_SIZE);
        fail();
    }
    panic_expected = false;
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup(holes_are_never_given_out, setup),
        cmocka_unit_test_setup(everything_comes_back, setup),
        cmocka_unit_test_setup(quota_stops, setup),
        cmocka_unit_test_setup(gigabytes, setup),
        cmocka_unit_test_setup(loader_memory_is_reclaimed, setup),
        cmocka_unit_test_setup(broken_block_goes_back_by_frames, setup),
        cmocka_unit_test_setup(double_free_is_caught, setup),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
