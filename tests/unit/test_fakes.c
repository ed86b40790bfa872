/* links: tests/unit/fakes.c */
/* The stand-ins themselves, and the sizes that the ABI headers promise. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <string.h>

#include <cmocka.h>

#include "kernel/abi/exit_class.h"
#include "kernel/abi/vcpu_page.h"
#include "kernel/abi/vm_policy.h"
#include "kernel/log.h"
#include "kernel/mem.h"
#include "tests/unit/fakes.h"

static void memory_comes_back_by_its_physical_address(void **state)
{
    (void)state;
    struct quota q = {.limit = 2 * PAGE_SIZE};
    fakes_mem_reset();
    hpa_t a = mem_alloc(&q, PAGE_SIZE);
    assert_true(hpa_valid(a));
    assert_int_equal(a.raw & ~BITS(51, 12), 0);
    memset(phys_to_virt(a), 0x55, PAGE_SIZE);
    assert_int_equal(virt_to_phys(phys_to_virt(a)).raw, a.raw);
    fakes_mem_fail_after(0);
    assert_false(hpa_valid(mem_alloc(&q, PAGE_SIZE)));
    fakes_mem_fail_after(-1);
    hpa_t b = mem_alloc(&q, PAGE_SIZE);
    assert_true(hpa_valid(b));
    assert_false(hpa_valid(mem_alloc(&q, PAGE_SIZE)));
    assert_int_equal(fakes_mem_live(), 2);
    mem_free(&q, a, PAGE_SIZE);
    mem_free(&q, b, PAGE_SIZE);
    assert_int_equal(fakes_mem_live_bytes(), 0);
    assert_int_equal(q.used, 0);
}

static void a_panic_is_caught(void **state)
{
    (void)state;
    assert_true(FAKES_PANICS(panic("number %d", 7)));
    assert_string_equal(fakes_panic_text, "number 7");
    assert_false(FAKES_PANICS(log_info("fine")));
    assert_string_equal(fakes_log_text, "fine");
}

static void bit_helpers(void **state)
{
    (void)state;
    assert_int_equal(BITS(3, 0), 0xf);
    assert_int_equal(BITS(63, 63), BIT(63));
    assert_int_equal(FIELD_GET(BITS(15, 8), 0x1234), 0x12);
    assert_int_equal(FIELD_PUT(BITS(15, 8), 0xab), 0xab00);
    assert_int_equal(ROUND_UP(PAGE_SIZE + 1, PAGE_SIZE), 2 * PAGE_SIZE);
}

static void tables_fit_their_pages(void **state)
{
    (void)state;
    assert_true(CLASS_COUNT <= VCPU_EXIT_COUNTERS);
    assert_true(sizeof(struct vcpu_page) <= PAGE_SIZE);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(memory_comes_back_by_its_physical_address),
        cmocka_unit_test(a_panic_is_caught),
        cmocka_unit_test(bit_helpers),
        cmocka_unit_test(tables_fit_their_pages),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
