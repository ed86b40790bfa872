/* links: drivers/block.c control/rt/dma.c control/rt/fiber.c control/rt/fiber_switch.S control/rt/loop.c control/rt/clock.c control/rt/log.c control/rt/host/host.c */
/* The door to block devices in front of a fake disk: checks, copies, order, pieces, and that a
 * reset loses nothing. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <string.h>

#include <cmocka.h>

#include "control/rt/clock.h"
#include "control/rt/dma.h"
#include "control/rt/fiber.h"
#include "control/rt/loop.h"
#include "drivers/block.h"

#define DEPTH 2

static struct block_device disk;
static u8 content[64 * KIB];
static struct block_request *held[DEPTH]; /* at the fake, in order */
static u32 held_count, resets;
static bool reset_fails;
static char order[64]; /* owners, as their requests end */

static bool submit(struct block_device *d, struct block_request *r)
{
    (void)d;
    if (held_count == DEPTH)
        return false;
    held[held_count++] = r;
    return true;
}

static void complete_first(enum hv_status status)
{
    struct block_request *r = held[0];
    struct block_walk w;
    u64 at, len, offset = r->offset;

    memmove(held, held + 1, sizeof(held) - sizeof(held[0]));
    held_count--;
    block_walk_start(&w, r);
    while (r->op != BLOCK_FLUSH && block_walk_next(&w, &at, &len)) {
        if (r->op == BLOCK_READ)
            memcpy(dma_pointer(at), content + offset, len);
        else
            memcpy(content + offset, dma_pointer(at), len);
        offset += len;
    }
    block_done(r, status);
}

static void poll(struct block_device *d)
{
    (void)d;
}

static enum hv_status reset(struct block_device *d)
{
    (void)d;
    resets++;
    held_count = 0;
    return reset_fails ? HV_EIO : HV_OK;
}

static const struct block_ops ops = {.submit = submit, .poll = poll, .reset = reset};

static void ended(struct block_request *r)
{
    u64 n = strlen(order);
    order[n] = r->status == HV_OK ? *(char *)r->owner : '!';
    order[n + 1] = 0;
}

static int setup(void **state)
{
    static bool registered;

    (void)state;
    if (!registered) {
        disk.ops = &ops;
        disk.kind = "fake";
        disk.size = sizeof(content);
        disk.sector_size = 512;
        block_register(&disk, "fake");
        registered = true;
    }
    disk.gone = disk.read_only = reset_fails = false;
    disk.can_flush = true;
    disk.limits = (struct block_limits){.bytes = 32 * KIB, .segments = 8, .queue_depth = DEPTH};
    held_count = resets = 0;
    memset(content, 0, sizeof(content));
    order[0] = 0;
    return 0;
}

static struct block_request request(const char *name, enum block_op op, u64 offset,
                                    struct block_iov *iov)
{
    return (struct block_request){.op = op,
                                  .offset = offset,
                                  .length = iov->len,
                                  .iov = iov,
                                  .iov_count = 1,
                                  .done = ended,
                                  .owner = (void *)name};
}

static enum hv_status status_of(u64 offset, u64 len, enum block_op op)
{
    struct block_iov iov = {content, len};
    struct block_request r = request("x", op, offset, &iov);

    block_submit(&disk, &r);
    return r.status;
}

static void refusals(void **state)
{
    (void)state;
    assert_int_equal(status_of(0, 100, BLOCK_READ), HV_EINVAL);
    assert_int_equal(status_of(100, 512, BLOCK_READ), HV_EINVAL);
    assert_int_equal(status_of(64 * KIB, 512, BLOCK_READ), HV_EINVAL);
    assert_int_equal(status_of(~511ull, 1024, BLOCK_READ), HV_EINVAL);
    assert_int_equal(status_of(0, ~511ull, BLOCK_WRITE), HV_EINVAL);
    assert_int_equal(status_of(0, 64 * KIB, BLOCK_READ), HV_E2BIG);
    assert_int_equal(status_of(0, 512, BLOCK_ZERO), HV_ENOSYS);
    assert_int_equal(status_of(0, 512, (enum block_op)BLOCK_OPS), HV_EINVAL);
    disk.read_only = true;
    assert_int_equal(status_of(0, 512, BLOCK_WRITE), HV_EPERM);
    disk.gone = true;
    assert_int_equal(status_of(0, 512, BLOCK_READ), HV_EIO);
    assert_int_equal(held_count, 0);
}

static void plain_memory_is_copied(void **state)
{
    static u8 data[1024];
    struct block_iov iov = {data, sizeof(data)};
    struct block_request w = request("w", BLOCK_WRITE, 512, &iov);
    struct block_request r = request("r", BLOCK_READ, 512, &iov);
    u64 used = dma_used();

    (void)state;
    memset(data, 7, sizeof(data));
    block_submit(&disk, &w);
    assert_int_equal(dma_used(), used + 1024);
    complete_first(HV_OK);
    assert_int_equal(content[512], 7);
    assert_int_equal(content[1535], 7);
    memset(data, 0, sizeof(data));
    block_submit(&disk, &r);
    complete_first(HV_OK);
    assert_int_equal(data[1023], 7);
    assert_int_equal(dma_used(), used);
    assert_string_equal(order, "wr");
}

static void pieces(void **state)
{
    u8 *a = dma_alloc(16 * KIB);
    struct block_iov iov[2] = {{a + 512, 3584}, {a + 4096, 8192}};
    struct block_request r = request("r", BLOCK_READ, 0, iov);
    struct block_walk w;
    u64 at, len;

    (void)state;
    r.iov_count = 2;
    r.length = 3584 + 8192;
    disk.limits.boundary = disk.limits.page = 4096;
    u64 copied = disk.stats.copied;
    block_submit(&disk, &r);
    assert_int_equal(disk.stats.copied, copied);
    block_walk_start(&w, &r);
    assert_true(block_walk_next(&w, &at, &len) && at == dma_address(a + 512) && len == 3584);
    assert_true(block_walk_next(&w, &at, &len) && at == dma_address(a + 4096) && len == 4096);
    assert_true(block_walk_next(&w, &at, &len) && at == dma_address(a + 8192) && len == 4096);
    assert_false(block_walk_next(&w, &at, &len));
    complete_first(HV_OK);
    iov[0].base = a; /* ends in the middle of a page, and another follows */
    block_submit(&disk, &r);
    assert_int_equal(disk.stats.copied, copied + 1);
    complete_first(HV_OK);
    dma_free(a, 16 * KIB);
}

static void drive(void)
{
    for (int i = 0; i < 100 && fiber_count(); i++)
        loop_step();
}

static void a_reset_sends_all_again_in_order(void **state)
{
    static const char names[] = "abcd";
    u8 *data = dma_alloc(512);
    struct block_iov iov = {data, 512};
    struct block_request r[4];

    (void)state;
    for (u32 i = 0; i < 4; i++) {
        r[i] = request(&names[i], BLOCK_WRITE, 512 * i, &iov);
        block_submit(&disk, &r[i]);
    }
    assert_int_equal(held_count, DEPTH);
    block_stuck(&disk, "test");
    block_stuck(&disk, "test"); /* once is enough */
    drive();
    assert_int_equal(resets, 1);
    assert_int_equal(held_count, DEPTH);
    assert_ptr_equal(held[0], &r[0]);
    for (u32 i = 0; i < 4; i++)
        complete_first(HV_OK);
    assert_string_equal(order, "abcd");
    dma_free(data, 512);
}

static void what_never_ends_fails(void **state)
{
    u8 *data = dma_alloc(512);
    struct block_iov iov = {data, 512};
    struct block_request a = request("a", BLOCK_WRITE, 0, &iov),
                         b = request("b", BLOCK_READ, 0, &iov);

    (void)state;
    block_submit(&disk, &a);
    for (u32 i = 0; i < 3; i++) {
        assert_string_equal(order, "");
        block_stuck(&disk, "test");
        drive();
    }
    assert_string_equal(order, "!");
    block_submit(&disk, &b);
    reset_fails = true;
    block_stuck(&disk, "test");
    drive();
    assert_string_equal(order, "!!");
    assert_true(disk.gone);
    dma_free(data, 512);
}

static void texts(void **state)
{
    char text[8];

    (void)state;
    block_text(text, sizeof(text), "  ab\x01 c  ", 9, false);
    assert_string_equal(text, "ab? c");
    block_text(text, sizeof(text), "BADC  ", 6, true);
    assert_string_equal(text, "ABCD");
    block_text(text, sizeof(text), "0123456789", 10, false);
    assert_string_equal(text, "0123456");
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup(refusals, setup),
        cmocka_unit_test_setup(plain_memory_is_copied, setup),
        cmocka_unit_test_setup(pieces, setup),
        cmocka_unit_test_setup(a_reset_sends_all_again_in_order, setup),
        cmocka_unit_test_setup(what_never_ends_fails, setup),
        cmocka_unit_test(texts),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
