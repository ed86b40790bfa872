/* links: storage/disk.c storage/disk_wait.c storage/iov.c storage/ram_disk.c storage/sector_disk.c control/rt/fiber.c control/rt/fiber_switch.S control/rt/loop.c control/rt/clock.c control/rt/log.c control/rt/host/host.c */
/* The block layer over a backend that does as it is told. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <string.h>

#include <cmocka.h>

#include "control/rt/clock.h"
#include "control/rt/fiber.h"
#include "control/rt/loop.h"
#include "storage/disk.h"
#include "storage/iov.h"
#include "storage/ram_disk.h"
#include "storage/sector_disk.h"

/* A backend that keeps requests until told what to answer. */
static struct disk d;
static struct disk_io *kept[64];
static u32 kept_count, done_count;
static enum hv_status last_status;

static void keep(struct disk *disk, struct disk_io *io)
{
    (void)disk;
    kept[kept_count++] = io;
}

static enum hv_status close_it(struct disk *disk)
{
    disk_fini(disk);
    return HV_OK;
}

static const struct disk_ops keep_ops = {.name = "keep", .submit = keep, .close = close_it};

static void count_done(struct disk_io *io)
{
    done_count++;
    last_status = io->status;
}

static int setup(void **state)
{
    (void)state;
    disk_init(&d, &keep_ops, "kept", MIB, 512);
    kept_count = done_count = 0;
    return 0;
}

static int teardown(void **state)
{
    (void)state;
    return disk_close(&d) == HV_OK ? 0 : -1;
}

static void nothing(void *owner)
{
    (void)owner;
}

static void step(void) /* an iteration that does not sleep for ever */
{
    struct loop_timer alarm = {.fn = nothing};

    loop_timer_set(&alarm, clock_after(CLOCK_MS));
    loop_step();
    loop_timer_cancel(&alarm);
}

static u8 data[4096];

static struct disk_io request(enum disk_op op, u64 offset, u64 length, const struct disk_iov *iov,
                              u32 count)
{
    return (struct disk_io){.op = op,
                            .offset = offset,
                            .length = length,
                            .iov = iov,
                            .iov_count = count,
                            .done = count_done};
}

static void the_door_refuses_what_does_not_fit(void **state)
{
    const struct disk_iov one = {data, 512}, big = {data, ~0ull},
                          wraps[] = {{data, 1024}, {data, ~0ull - 511}};
    const struct {
        struct disk_io io;
        enum hv_status status;
    } cases[] = {
        {request(DISK_READ, MIB, 512, &one, 1), HV_EINVAL},
        {request(DISK_READ, MIB - 256, 512, &one, 1), HV_EINVAL},
        {request(DISK_READ, ~0ull - 511, 512, &one, 1), HV_EINVAL},
        {request(DISK_READ, ~0ull - 511, 1024, &one, 1), HV_EINVAL},
        {request(DISK_READ, 0, 1024, &one, 1), HV_EINVAL},
        {request(DISK_READ, 0, 0, &one, 1), HV_EINVAL},
        {request(DISK_READ, 256, 512, &one, 1), HV_EINVAL},
        {request(DISK_READ, 0, ~0ull, &big, 1), HV_EINVAL},
        {request(DISK_READ, 0, 512, wraps, 2), HV_EINVAL},
        {request(DISK_READ, 0, 512, &one, DISK_IOV_MAX + 1), HV_EINVAL},
        {request(DISK_WRITE, MIB, 512, &one, 1), HV_EINVAL},
        {request(DISK_DISCARD, 512, MIB, NULL, 0), HV_EINVAL},
        {request(DISK_ZERO, 1, 1, NULL, 0), HV_EINVAL},
        {request(DISK_RESIZE, ~0ull - 511, 0, NULL, 0), HV_EINVAL},
        {request((enum disk_op)77, 0, 0, NULL, 0), HV_EINVAL},
    };

    (void)state;
    for (u32 i = 0; i < ARRAY_LEN(cases); i++) {
        struct disk_io io = cases[i].io;

        disk_submit(&d, &io);
        assert_int_equal(done_count, i + 1);
        assert_int_equal(last_status, cases[i].status);
    }
    assert_int_equal(kept_count, 0);
    assert_int_equal(d.stats.refused, ARRAY_LEN(cases));
    d.read_only = true;
    static const enum disk_op changes[] = {DISK_WRITE, DISK_DISCARD, DISK_ZERO, DISK_RESIZE};
    for (u32 i = 0; i < ARRAY_LEN(changes); i++) {
        struct disk_io io = request(changes[i], 0, 512, &one, 1);
        disk_submit(&d, &io);
        assert_int_equal(last_status, HV_EPERM);
    }
    struct disk_io last = request(DISK_READ, MIB - 512, 512, &one, 1);
    disk_submit(&d, &last);
    assert_int_equal(kept_count, 1);
    assert_int_equal(disk_close(&d), HV_EBUSY);
    disk_complete(kept[0], HV_OK);
    assert_int_equal(last_status, HV_OK);
    assert_int_equal(d.stats.count[DISK_READ], 1);
    assert_int_equal(d.stats.bytes[DISK_READ], 512);
}

static u32 pauses;

static void on_pause(struct disk *disk, enum hv_status why)
{
    assert_ptr_equal(disk, &d);
    assert_int_equal(why, HV_ENOSPC);
    pauses++;
}

static void errors_are_reported_held_or_retried(void **state)
{
    struct disk_io io = request(DISK_FLUSH, 0, 0, NULL, 0), two = io, three = io;

    (void)state;
    disk_submit(&d, &io);
    disk_complete(kept[0], HV_EIO);
    assert_int_equal(done_count, 1);
    assert_int_equal(last_status, HV_EIO);

    d.on_error = DISK_PAUSE;
    d.on_pause = on_pause;
    disk_submit(&d, &io);
    disk_submit(&d, &two);
    disk_complete(kept[1], HV_ENOSPC);
    disk_complete(kept[2], HV_ENOSPC);
    assert_int_equal(done_count, 1);
    assert_int_equal(pauses, 1);
    assert_true(disk_paused(&d));
    disk_resume(&d);
    assert_int_equal(kept_count, 5);
    disk_complete(kept[3], HV_OK);
    disk_complete(kept[4], HV_ENOSPC);
    assert_int_equal(done_count, 2);
    disk_give_up(&d);
    assert_int_equal(done_count, 3);
    assert_int_equal(last_status, HV_EIO);

    d.on_error = DISK_RETRY;
    disk_submit(&d, &three);
    disk_complete(kept[5], HV_EIO);
    assert_int_equal(done_count, 3);
    for (u64 end = clock_after(CLOCK_SECOND); kept_count == 6 && clock_tsc() < end;)
        step();
    assert_int_equal(kept_count, 7);
    disk_complete(kept[6], HV_OK);
    assert_int_equal(done_count, 4);
    assert_int_equal(d.stats.retried, 1);
}

static void limits_hold_requests_back(void **state)
{
    const struct disk_iov one = {data, 4096};
    struct disk_io io[40];
    u64 begin = clock_tsc();

    (void)state;
    disk_set_limits(&d, (struct disk_limits){.iops = 1000});
    for (u32 i = 0; i < ARRAY_LEN(io); i++) {
        io[i] = request(DISK_WRITE, i * 4096, 4096, &one, 1);
        disk_submit(&d, &io[i]);
    }
    while (kept_count < ARRAY_LEN(io))
        step();
    /* A burst of 100 ms passes at once: 100 requests would. */
    assert_true(clock_ticks_to_ns(clock_tsc() - begin) < 100 * CLOCK_MS);
    disk_set_limits(&d, (struct disk_limits){.bandwidth = 1 * MIB});
    while (kept_count)
        disk_complete(kept[--kept_count], HV_OK);
    begin = clock_tsc();
    for (u32 i = 0; i < ARRAY_LEN(io); i++)
        disk_submit(&d, &io[i]);
    assert_in_range(kept_count, 20, 30); /* a tenth of a MiB is 25 of them */
    while (kept_count < ARRAY_LEN(io))
        step();
    for (u32 i = 0; i < ARRAY_LEN(io); i++) {
        assert_ptr_equal(kept[i], &io[i]); /* in order */
        disk_complete(kept[i], HV_OK);
    }
    assert_true(clock_ticks_to_ns(clock_tsc() - begin) > 40 * CLOCK_MS);
    assert_true(d.stats.throttled >= 10);
    assert_int_equal(d.in_flight, 0);
}

static bool fiber_ended;

static void in_a_fiber(void *arg)
{
    (void)arg;
    assert_int_equal(disk_flush(&d), HV_OK);
    assert_int_equal(disk_read(&d, 0, data, 512), HV_EIO);
    fiber_ended = true;
}

static void a_fiber_waits(void **state)
{
    (void)state;
    fiber_spawn("waits", in_a_fiber, NULL);
    step();
    assert_int_equal(kept_count, 1);
    disk_complete(kept[0], HV_OK);
    step();
    assert_int_equal(kept_count, 2);
    disk_complete(kept[1], HV_EIO);
    step();
    assert_true(fiber_ended);
}

static void slices(void **state)
{
    u8 a[10], b[20], flat[64] = {0};
    const struct disk_iov iov[] = {{a, 10}, {b, 0}, {b, 20}};
    struct disk_iov out[3];

    (void)state;
    for (u32 i = 0; i < 30; i++)
        *(i < 10 ? &a[i] : &b[i - 10]) = (u8)i;
    for (u32 skip = 0; skip <= 30; skip++) {
        for (u32 len = 0; len <= 30 - skip; len++) {
            u64 sum = 0;
            u32 n = iov_slice(iov, 3, skip, len, out);

            assert_int_equal(n, iov_pieces(iov, 3, skip, len));
            for (u32 i = 0; i < n; i++)
                sum += out[i].len;
            assert_int_equal(sum, len);
            iov_read(iov, 3, skip, flat, len);
            for (u32 i = 0; i < len; i++)
                assert_int_equal(flat[i], skip + i);
        }
    }
    iov_zero(iov, 3, 9, 2);
    assert_int_equal(a[9] | b[0], 0);
    assert_int_equal(b[1], 11);
}

static void a_ram_disk_grows_and_shrinks(void **state)
{
    struct disk *r = ram_disk_open("ram", 0, 1, 192 * KIB);
    u8 buf[10];

    (void)state;
    assert_ptr_equal(disk_find("ram"), r);
    assert_int_equal(disk_write(r, MIB - 3, "abcdef", 6), HV_OK);
    assert_int_equal(r->size, MIB + 3);
    assert_int_equal(disk_read(r, MIB - 4, buf, 7), HV_OK);
    assert_memory_equal(buf, "\0abcdef", 7);
    assert_int_equal(disk_resize(r, MIB), HV_OK);
    assert_int_equal(disk_resize(r, MIB + 3), HV_OK);
    assert_int_equal(disk_read(r, MIB - 4, buf, 7), HV_OK);
    assert_memory_equal(buf, "\0abc\0\0\0", 7);
    assert_int_equal(disk_zero(r, MIB - 2, 1), HV_OK);
    assert_int_equal(disk_read(r, MIB - 4, buf, 7), HV_OK);
    assert_memory_equal(buf, "\0a\0c\0\0\0", 7);
    assert_int_equal(disk_write(r, 8 * MIB, "x", 1), HV_OK);
    assert_int_equal(disk_write(r, 16 * MIB, "x", 1), HV_ENOSPC);
    assert_int_equal(disk_discard(r, 0, 8 * MIB), HV_OK);
    assert_int_equal(disk_write(r, 16 * MIB, "x", 1), HV_OK);
    assert_int_equal(disk_close(r), HV_OK);
    assert_null(disk_find("ram"));
}

/* Any sectors of 512 bytes over blocks of 4 KiB, beside an array; a file that grows, too. */
static void sectors_over_larger_blocks(void **state)
{
    enum { SIZE = 64 * 4096, MOST = 24 };
    static u8 model[SIZE], buf[MOST * 512];
    u32 random = 1, size = 0, largest = 0;
    struct disk *below = ram_disk_open("blocks", 0, 4096, SIZE), *s;

    (void)state;
    below->growable = true;
    s = sector_disk_open(below, true);
    assert_int_equal(s->block_size, 512);
    assert_int_equal(disk_close(below), HV_EBUSY); /* it is used */
    for (u32 i = 0; i < 3000; i++) {
        random = random * 1664525 + 1013904223;
        u32 at = (random >> 8) % (SIZE / 512 - MOST) * 512, n = ((random >> 24) % MOST + 1) * 512;

        if (at > size) /* files have no holes here */
            at = size;
        memset(buf, (int)i, n);
        if (i % 3 == 0 && at + n <= size) {
            assert_int_equal(disk_read(s, at, buf, n), HV_OK);
            assert_memory_equal(buf, model + at, n);
        } else if (i % 17 == 0 && at + n <= size) {
            u32 first = (u32)ROUND_UP(at, 4096u), last = (u32)ROUND_DOWN(at + n, 4096u);

            assert_int_equal(disk_discard(s, at, n), HV_OK);
            if (last > first)
                memset(model + first, 0, last - first);
        } else if (i % 5 == 0 && at + n <= size) {
            assert_int_equal(disk_zero(s, at, n), HV_OK);
            memset(model + at, 0, n);
        } else {
            assert_int_equal(disk_write(s, at, buf, n), HV_OK);
            memcpy(model + at, buf, n);
            size = MAX(size, at + n);
        }
        assert_int_equal(s->size, size);
        largest = MAX(largest, size);
    }
    assert_true(largest > SIZE / 2);
    assert_int_equal(disk_flush(s), HV_OK);
    assert_int_equal(disk_resize(s, size - 512), HV_OK);
    assert_int_equal(s->size, size - 512);
    assert_int_equal(disk_close(s), HV_OK);
    assert_null(disk_find("blocks"));
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup_teardown(the_door_refuses_what_does_not_fit, setup, teardown),
        cmocka_unit_test_setup_teardown(errors_are_reported_held_or_retried, setup, teardown),
        cmocka_unit_test_setup_teardown(limits_hold_requests_back, setup, teardown),
        cmocka_unit_test_setup_teardown(a_fiber_waits, setup, teardown),
        cmocka_unit_test(slices),
        cmocka_unit_test(sectors_over_larger_blocks),
        cmocka_unit_test(a_ram_disk_grows_and_shrinks),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
