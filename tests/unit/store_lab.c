/* Datastores for tests: made, mounted and checked; a problem fails the test. */
#include "tests/unit/store_lab.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>

#include <cmocka.h>

#include "tests/unit/image_lab.h"

struct disk *store_lab_device(u64 size)
{
    struct disk *d = lab_file("device");

    assert_int_equal(disk_resize(d, size), HV_OK);
    d->block_size = 512;
    d->growable = false;
    return d;
}

struct store *store_lab_mount(struct disk *d)
{
    char error[STORE_ERROR_MAX];
    struct store *s = NULL;
    enum hv_status status = store_mount(d, false, &s, error);

    if (status != HV_OK)
        print_message("mount: %s\n", error);
    assert_int_equal(status, HV_OK);
    return s;
}

struct store *store_lab_fresh(struct disk *d)
{
    char error[STORE_ERROR_MAX];
    enum hv_status status = store_format(d, "ds1", error);

    if (status != HV_OK)
        print_message("format: %s\n", error);
    assert_int_equal(status, HV_OK);
    return store_lab_mount(d);
}

static void on_problem(void *arg, const char *what)
{
    (void)arg;
    print_message("check: %s\n", what);
}

void store_lab_check(struct store *s)
{
    u64 problems = 1;

    assert_int_equal(store_check(s, on_problem, NULL, &problems), HV_OK);
    assert_int_equal(problems, 0);
}
