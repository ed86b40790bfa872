/* links: vmm/virtio_ring.c vmm/guest_mem.c */
/* Virtqueues against a driver that follows the specification, and drivers that do not. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "vmm/virtio_ring.h"

#define RAM (64 * KIB)
#define DESC 0x1000
#define DRIVER 0x2000
#define DEVICE 0x3000
#define TABLE 0x4000
#define BUFFERS 0x8000
#define NEXT 1
#define WRITE 2
#define INDIRECT 4

struct desc {
    u64 addr;
    u32 len;
    u16 a, b; /* split: flags, next; packed: id, flags */
};

static u8 ram[RAM] __attribute__((aligned(4096)));
static struct guest_mem mem;
static struct virtio_queue q;
static struct virtio_ring ring;
static struct virtio_chain chain;

static struct desc *desc(u32 i)
{
    return (struct desc *)(ram + DESC) + i;
}

static u16 *word(u64 at)
{
    return (u16 *)(ram + at);
}

static void set_up(bool packed, bool event_idx, u16 size)
{
    memset(ram, 0, sizeof(ram));
    mem = (struct guest_mem){.base = ram, .count = 1, .range = {{0, RAM}}};
    q = (struct virtio_queue){.desc = DESC, .driver = DRIVER, .device = DEVICE, .size = size};
    ring = (struct virtio_ring){
        .mem = &mem, .q = &q, .packed = packed, .event_idx = event_idx, .indirect = true};
    virtio_ring_start(&q);
    assert_true(virtio_ring_open(&ring));
}

static void offer(u16 head) /* split */
{
    u16 *idx = word(DRIVER + 2);
    *word(DRIVER + 4 + 2 * (*idx % q.size)) = head;
    ++*idx;
}

static void a_split_chain_goes_there_and_back(void **state)
{
    (void)state;
    set_up(false, false, 8);
    *desc(3) = (struct desc){BUFFERS, 16, NEXT, 5};
    *desc(5) = (struct desc){BUFFERS + 0x100, 32, NEXT | WRITE, 1};
    *desc(1) = (struct desc){BUFFERS + 0x200, 8, WRITE, 0};
    memcpy(ram + BUFFERS, "a request of 16", 16);
    assert_int_equal(virtio_ring_take(&ring, &chain), RING_EMPTY);
    offer(3);
    assert_int_equal(virtio_ring_take(&ring, &chain), RING_CHAIN);
    assert_int_equal(chain.readable, 1);
    assert_int_equal(chain.writable, 2);
    assert_int_equal(chain.writable_len, 40);
    char text[32];
    assert_int_equal(virtio_chain_read(&chain, 2, text, sizeof(text)), 14);
    assert_string_equal(text, "request of 16");
    char answer[64];
    memset(answer, 'x', sizeof(answer));
    assert_int_equal(virtio_chain_write(&chain, 30, answer, 64), 10);
    assert_memory_equal(ram + BUFFERS + 0x100 + 30, "xx", 2);
    assert_memory_equal(ram + BUFFERS + 0x200, "xxxxxxxx", 8);
    virtio_ring_put(&ring, &chain, 40);
    assert_int_equal(*word(DEVICE + 2), 1);
    assert_int_equal(*(u32 *)(ram + DEVICE + 4), 3);
    assert_int_equal(*(u32 *)(ram + DEVICE + 8), 40);
    assert_true(virtio_ring_wants_interrupt(&ring));
    assert_false(virtio_ring_wants_interrupt(&ring)); /* told once */
}

static void an_indirect_table_is_followed(void **state)
{
    struct desc *table = (struct desc *)(ram + TABLE);
    (void)state;
    set_up(false, false, 4);
    *desc(0) = (struct desc){TABLE, 3 * 16, INDIRECT, 0};
    table[0] = (struct desc){BUFFERS, 4, NEXT, 2};
    table[2] = (struct desc){BUFFERS + 8, 4, WRITE, 0};
    offer(0);
    assert_int_equal(virtio_ring_take(&ring, &chain), RING_CHAIN);
    assert_int_equal(chain.readable + chain.writable, 2);
    virtio_ring_untake(&ring, &chain);
    assert_int_equal(virtio_ring_take(&ring, &chain), RING_CHAIN);
}

/* Each row breaks one rule of 2.7.5. */
static void split_rules_are_kept(void **state)
{
    static const struct {
        struct desc d[3], table[2];
        u16 head;
    } rows[] = {
        {.d = {{BUFFERS, 4, NEXT, 1}, {BUFFERS, 4, NEXT, 0}}},               /* a loop */
        {.d = {{BUFFERS, 4, NEXT, 4}}},                                      /* no such entry */
        {.d = {{BUFFERS, 4, 0, 0}}, .head = 4},                              /* no such head */
        {.d = {{RAM - 4, 8, 0, 0}}},                                         /* past the end */
        {.d = {{~0ull - 3, 8, 0, 0}}},                                       /* wraps around */
        {.d = {{BUFFERS, 0xffffffff, 0, 0}}},                                /* too long */
        {.d = {{BUFFERS, 4, NEXT | WRITE, 1}, {BUFFERS, 4, 0, 0}}},          /* out, then in */
        {.d = {{TABLE, 32, INDIRECT | NEXT, 1}, {BUFFERS, 4, 0, 0}}},        /* both */
        {.d = {{TABLE, 24, INDIRECT, 0}}},                                   /* half an entry */
        {.d = {{TABLE, 0, INDIRECT, 0}}},                                    /* no entry */
        {.d = {{TABLE, 16, INDIRECT, 0}}, .table = {{BUFFERS, 4, NEXT, 1}}}, /* leaves the table */
        {.d = {{TABLE, 32, INDIRECT, 0}}, .table = {{BUFFERS, 4, NEXT, 0}}}, /* a loop in it */
        {.d = {{TABLE, 16, INDIRECT, 0}}, .table = {{TABLE, 16, INDIRECT, 0}}}, /* nested */
        {.d = {{RAM, 16, INDIRECT, 0}}},                                        /* no memory */
    };
    (void)state;
    for (u32 i = 0; i < ARRAY_LEN(rows); i++) {
        set_up(false, false, 4);
        memcpy(ram + DESC, rows[i].d, sizeof(rows[i].d));
        memcpy(ram + TABLE, rows[i].table, sizeof(rows[i].table));
        offer(rows[i].head);
        if (virtio_ring_take(&ring, &chain) != RING_BROKEN)
            fail_msg("row %u was taken", i);
    }
    set_up(false, false, 4);
    *word(DRIVER + 2) = 5; /* more than the ring holds */
    assert_int_equal(virtio_ring_take(&ring, &chain), RING_BROKEN);
    set_up(false, false, 4);
    ring.indirect = false;
    *desc(0) = (struct desc){TABLE, 16, INDIRECT, 0};
    offer(0);
    assert_int_equal(virtio_ring_take(&ring, &chain), RING_BROKEN);
}

static void areas_outside_memory_are_refused(void **state)
{
    static const struct virtio_queue bad[] = {
        {.desc = DESC + 8, .driver = DRIVER, .device = DEVICE, .size = 8},
        {.desc = DESC, .driver = DRIVER + 1, .device = DEVICE, .size = 8},
        {.desc = DESC, .driver = DRIVER, .device = DEVICE + 2, .size = 8},
        {.desc = DESC, .driver = DRIVER, .device = DEVICE, .size = 6},
        {.desc = DESC, .driver = DRIVER, .device = DEVICE, .size = 0},
        {.desc = DESC, .driver = DRIVER, .device = DEVICE, .size = 512},
        {.desc = RAM - 112, .driver = DRIVER, .device = DEVICE, .size = 8},
        {.desc = DESC, .driver = RAM - 20, .device = DEVICE, .size = 8},
        {.desc = DESC, .driver = DRIVER, .device = RAM - 68, .size = 8},
        {.desc = ~0ull << 4, .driver = DRIVER, .device = DEVICE, .size = 8},
    };
    (void)state;
    set_up(false, true, 8);
    for (u32 i = 0; i < ARRAY_LEN(bad); i++) {
        q = bad[i];
        if (virtio_ring_open(&ring))
            fail_msg("row %u was allowed", i);
    }
}

/* A driver of either format that keeps a few chains open and checks what comes back. */
struct driver {
    u16 next, used;
    bool wrap, used_wrap;
    u16 free[VIRTIO_QUEUE_MAX], free_count; /* split: entries; packed: ids */
    u16 slots[VIRTIO_QUEUE_MAX];            /* packed: entries of each id */
    u16 room;
};

static struct driver drv;

static void drv_start(void)
{
    drv = (struct driver){.wrap = true, .used_wrap = true, .room = q.size, .free_count = q.size};
    for (u16 i = 0; i < q.size; i++)
        drv.free[i] = i;
}

static bool drv_send(u32 parts, u32 tag)
{
    u16 first = 0, last = 0;
    if (drv.free_count < parts || drv.room < parts)
        return false;
    *(u32 *)(ram + BUFFERS + 4 * (tag % 1024)) = tag;
    if (!ring.packed) {
        for (u32 i = 0; i < parts; i++) {
            u16 at = drv.free[--drv.free_count];
            if (i)
                desc(last)->b = at;
            else
                first = at;
            *desc(at) =
                (struct desc){BUFFERS + 4 * (tag % 1024), 4, (u16)(i + 1 < parts ? NEXT : 0), 0};
            last = at;
        }
        drv.room = (u16)(drv.room - parts);
        drv.slots[first] = (u16)parts;
        offer(first);
        return true;
    }
    u16 id = drv.free[--drv.free_count], head = drv.next, head_flags = 0;
    drv.slots[id] = (u16)parts;
    for (u32 i = 0; i < parts; i++) {
        u16 flags = (u16)((i + 1 < parts ? NEXT : 0) | (drv.wrap ? 1u << 7 : 1u << 15));
        *desc(drv.next) = (struct desc){BUFFERS + 4 * (tag % 1024), 4, id, i ? flags : 0};
        if (!i) {
            head_flags = flags;
            desc(head)->b = drv.wrap ? 1u << 15 : 1u << 7; /* not available yet */
        }
        if (++drv.next == q.size) {
            drv.next = 0;
            drv.wrap = !drv.wrap;
        }
    }
    desc(head)->b = head_flags;
    drv.room = (u16)(drv.room - parts);
    return true;
}

static bool drv_reap(void)
{
    u16 id;
    if (!ring.packed) {
        if (drv.used == *word(DEVICE + 2))
            return false;
        id = (u16) * (u32 *)(ram + DEVICE + 4 + 8 * (drv.used % q.size));
        drv.used++;
        drv.room = (u16)(drv.room + drv.slots[id]);
        for (u16 at = id, n = drv.slots[id]; n; n--) {
            u16 next = desc(at)->b;
            drv.free[drv.free_count++] = at;
            at = next;
        }
        return true;
    }
    u16 flags = desc(drv.used)->b;
    if (!!(flags & 1u << 7) != drv.used_wrap || !!(flags & 1u << 15) != drv.used_wrap)
        return false;
    id = desc(drv.used)->a;
    assert_true(id < q.size && drv.slots[id]);
    drv.room = (u16)(drv.room + drv.slots[id]);
    drv.used = (u16)(drv.used + drv.slots[id]);
    if (drv.used >= q.size) {
        drv.used = (u16)(drv.used - q.size);
        drv.used_wrap = !drv.used_wrap;
    }
    drv.slots[id] = 0;
    drv.free[drv.free_count++] = id;
    return true;
}

static void long_run(bool packed, u16 size)
{
    static struct virtio_chain held[16];
    u32 sent = 0, served = 0, reaped = 0, count = 0;
    set_up(packed, false, size);
    drv_start();
    srand(size);
    while (reaped < 20000) {
        while (rand() % 3 && drv_send(1 + (u32)rand() % 3, sent))
            sent++;
        while (count < ARRAY_LEN(held) && virtio_ring_take(&ring, &held[count]) == RING_CHAIN) {
            u32 tag;
            assert_int_equal(virtio_chain_read(&held[count], 0, &tag, 4), 4);
            assert_int_equal(tag, served);
            served++;
            count++;
        }
        while (count && rand() % 4) { /* out of order */
            u32 i = (u32)rand() % count;
            virtio_ring_put(&ring, &held[i], 0);
            held[i] = held[--count];
        }
        while (drv_reap())
            reaped++;
    }
    assert_true(sent >= served && served >= reaped);
}

static void many_chains_in_any_order(void **state)
{
    (void)state;
    long_run(false, 8);
    long_run(false, 256);
    long_run(true, 8);
    long_run(true, 7);
    long_run(true, 255);
}

/* What the driver sees of chains that were put together: all or none, also around the ring's end.
 */
static void chains_put_together_come_together(void **state)
{
    static struct virtio_chain held[3];
    static const u32 written[] = {3, 2, 1};
    (void)state;
    for (u32 packed = 0; packed < 2; packed++) {
        set_up(packed, false, 8);
        drv_start();
        for (u32 n = 0; n < 100; n++) {
            for (u32 i = 0; i < 3; i++) {
                assert_true(drv_send(1 + (n + i) % 2, n));
                assert_int_equal(virtio_ring_take(&ring, &held[i]), RING_CHAIN);
            }
            virtio_ring_put_all(&ring, held, written, 0);
            assert_false(drv_reap());
            virtio_ring_put_all(&ring, held, written, 3);
            u16 first = packed ? drv.used : (u16)(drv.used % q.size);
            assert_int_equal(packed ? desc(first)->len : *(u32 *)(ram + DEVICE + 8 + 8 * first), 3);
            assert_true(virtio_ring_wants_interrupt(&ring));
            for (u32 i = 0; i < 3; i++)
                assert_true(drv_reap());
            assert_false(drv_reap());
        }
    }
}

/* 2.7.7.2, 2.8.10: an interrupt exactly when the driver's event index is passed. */
static void events_are_told_when_their_index_is_passed(void **state)
{
    (void)state;
    for (u32 packed = 0; packed < 2; packed++) {
        set_up(packed, true, 8);
        drv_start();
        for (u32 n = 0; n < 100; n++) {
            bool want = n % 3 == 0;
            u16 now = packed ? drv.used : (u16)n;
            u16 at = (u16)(want ? now : packed ? (now + 1) % 8 : now + 1);
            bool wrap = at < now ? !drv.used_wrap : drv.used_wrap;
            if (packed) {
                *word(DRIVER) = (u16)(at | (wrap ? 1u << 15 : 0));
                *word(DRIVER + 2) = 2;
            } else {
                *word(DRIVER + 4 + 2 * 8) = at;
            }
            assert_true(drv_send(1, n));
            assert_int_equal(virtio_ring_take(&ring, &chain), RING_CHAIN);
            virtio_ring_put(&ring, &chain, 0);
            assert_int_equal(virtio_ring_wants_interrupt(&ring), want);
            assert_true(drv_reap());
        }
    }
}

static void doorbells_are_asked_for(void **state)
{
    (void)state;
    set_up(false, false, 8);
    virtio_ring_want_doorbell(&ring, false);
    assert_int_equal(*word(DEVICE), 1);
    virtio_ring_want_doorbell(&ring, true);
    assert_int_equal(*word(DEVICE), 0);
    set_up(false, true, 8);
    virtio_ring_want_doorbell(&ring, true);
    assert_int_equal(*word(DEVICE + 4 + 8 * 8), 0);
    set_up(true, true, 8);
    virtio_ring_want_doorbell(&ring, true);
    assert_int_equal(*word(DEVICE), 0x8000);
    assert_int_equal(*word(DEVICE + 2), 2);
    virtio_ring_want_doorbell(&ring, false);
    assert_int_equal(*word(DEVICE + 2), 1);
}

/* 2.7.10: does a driver ring that makes `count` entries available from `old` on? */
static bool rings(u16 old, u16 count)
{
    u16 event = *word(DEVICE + 4 + 8 * 8);
    return (u16)(old + count - event - 1) < count;
}

/* Whether the device has taken what is new when the driver looks, or lags a queue behind. */
static void a_driver_that_is_told_not_to_never_rings(void **state)
{
    (void)state;
    set_up(false, true, 8);
    drv_start();
    for (u32 n = 0; n < 70000; n++) {
        assert_true(drv_send(1, n));
        assert_true(virtio_ring_news(&ring));
        assert_false(virtio_ring_news(&ring));
        assert_int_equal(virtio_ring_take(&ring, &chain), RING_CHAIN);
        virtio_ring_put(&ring, &chain, 0);
        virtio_ring_want_doorbell(&ring, false);
        assert_true(drv_reap());
        for (u16 lag = 0; lag < 8; lag++)
            assert_false(rings((u16)(n - lag), (u16)(1 + lag)) || rings((u16)(n + lag), 8));
    }
    virtio_ring_want_doorbell(&ring, true);
    assert_true(rings((u16)70000, 1));
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(a_split_chain_goes_there_and_back),
        cmocka_unit_test(an_indirect_table_is_followed),
        cmocka_unit_test(split_rules_are_kept),
        cmocka_unit_test(areas_outside_memory_are_refused),
        cmocka_unit_test(many_chains_in_any_order),
        cmocka_unit_test(chains_put_together_come_together),
        cmocka_unit_test(events_are_told_when_their_index_is_passed),
        cmocka_unit_test(doorbells_are_asked_for),
        cmocka_unit_test(a_driver_that_is_told_not_to_never_rings),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
