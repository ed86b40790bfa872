/* links: tests/unit/image_lab.c storage/image.c storage/engine.c storage/engine_map.c storage/engine_slow.c storage/meta.c storage/raw.c storage/qcow2.c storage/qcow2_write.c storage/qcow2_refcount.c storage/vdi.c storage/vhd.c storage/vhdx.c storage/vhdx_log.c storage/vhdx_create.c storage/vmdk.c storage/vmdk_create.c storage/vmdk_descriptor.c storage/crc32c.c storage/unpack.c storage/disk.c storage/disk_wait.c storage/iov.c storage/ram_disk.c control/rt/fiber.c control/rt/fiber_switch.S control/rt/loop.c control/rt/clock.c control/rt/log.c control/rt/host/host.c */
/* qcow2 against a model, against qemu-img both ways, with the power cut at every write, and with
 * bits flipped. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include <cmocka.h>

#include "tests/unit/image_lab.h"

typedef unsigned long long ull;

static void random_ops(void *arg)
{
    const u32 cluster = *(u32 *)arg;
    struct image_options o = {.size = 5 * MIB + 1536, .unit = cluster};
    struct lab_model m;

    for (u32 round = 0; round < 3; round++) {
        struct disk *file = lab_file("file");

        lab_seed(cluster + round);
        lab_model_init(&m, o.size);
        lab_create(file, "qcow2", &o);
        lab_check(file, "qcow2");
        for (u32 session = 0; session < 3; session++) {
            struct disk *d = lab_open_one(file, "qcow2", false);

            lab_delay(file, session == 1);
            for (u32 i = 0; i < 60; i++)
                lab_step(d, &m, 200000);
            for (u32 i = 0; i < 5; i++)
                lab_burst(d, &m, 32, 100000);
            lab_compare(d, &m);
            assert_int_equal(disk_close(d), HV_OK);
            lab_delay(file, false);
            lab_check(file, "qcow2");
            lab_ask_qemu(file, &m, "qcow2", true);
        }
        disk_close(file);
        lab_model_free(&m);
    }
}

static void random_requests_match_a_model_and_qemu(void **state)
{
    static const u32 clusters[] = {512, 4096, 65536, 2097152};

    (void)state;
    for (u32 i = 0; i < ARRAY_LEN(clusters); i++)
        lab_run(random_ops, (void *)(uintptr_t)&clusters[i]);
}

static void read_theirs(void *arg)
{
    const char *how = arg, *image = lab_path("theirs"), *flat = lab_path("flat");
    struct lab_model m;
    FILE *f = fopen(flat, "wb");

    lab_model_init(&m, 3 * MIB);
    for (u64 i = 0; i < m.size; i++)
        m.bytes[i] = (i / 300000) % 3 == 0 ? 0 : (u8)(i / 7 ^ (i % 97 == 0 ? lab_random() : 0));
    fwrite(m.bytes, 1, m.size, f);
    fclose(f);
    assert_int_equal(lab_command("qemu-img convert -f raw -O qcow2 %s %s %s", how, flat, image), 0);
    struct disk *file = lab_load(image), *d = lab_open_one(file, "qcow2", true);
    lab_compare(d, &m);
    assert_int_equal(disk_close(d), HV_OK);
    lab_check(file, "qcow2");
    d = lab_open_one(file, "qcow2", false);
    if (!d->read_only) { /* and go on writing it */
        for (u32 i = 0; i < 80; i++)
            lab_step(d, &m, 100000);
        lab_compare(d, &m);
    }
    assert_int_equal(disk_close(d), HV_OK);
    lab_check(file, "qcow2");
    lab_ask_qemu(file, &m, "qcow2", true);
    disk_close(file);
    lab_model_free(&m);
    unlink(image);
    unlink(flat);
}

static void images_of_qemu_are_read_and_changed(void **state)
{
    static const char *const how[] = {
        "",
        "-c",
        "-c -o compression_type=zstd",
        "-o compat=0.10",
        "-c -o cluster_size=4k",
        "-o extended_l2=on,cluster_size=128k",
        "-o preallocation=metadata",
        "-o preallocation=falloc",
        "-o lazy_refcounts=on",
        "-o refcount_bits=64",
        "-o cluster_size=2M",
    };

    (void)state;
    for (u32 i = 0; i < ARRAY_LEN(how); i++)
        lab_run(read_theirs, (void *)(uintptr_t)how[i]);
}

/* ---- power cuts ----------------------------------------------------------------------------- */

static void a_power_cut_at_any_write_loses_nothing_flushed(void **state)
{
    static const u32 clusters[] = {512, 4096, 65536};
    u32 cuts = 0;

    (void)state;
    for (u32 i = 0; i < ARRAY_LEN(clusters); i++)
        cuts += lab_power_cuts("qcow2", NULL, clusters[i], true, 200);
    print_message("%u power cuts\n", cuts);
    assert_true(cuts >= 1000);
}

/* ---- chains, failures, hostile fields -------------------------------------------------------- */

static void deep_chain(void *arg)
{
    enum { DEPTH = 32 };
    struct image_layer chain[DEPTH], view[DEPTH];
    struct lab_model m;
    char error[IMAGE_ERROR_MAX];
    struct disk *d;

    (void)arg;
    lab_seed(5);
    lab_model_init(&m, 3 * MIB);
    for (u32 i = 0; i < DEPTH; i++) {
        struct disk *file = lab_file("layer");
        static const u32 unit[] = {65536, 4096, 512, 131072};
        struct image_options o = {
            .size = m.size, .unit = unit[i % 4], .parent_name = i ? "p" : NULL};

        lab_create(file, "qcow2", &o);
        chain[i] = (struct image_layer){.file = file, .format = image_format("qcow2")};
        for (u32 j = 0; j <= i; j++)
            view[j] = chain[i - j];
        d = lab_open(view, i + 1, false);
        for (u32 j = 0; j < 12; j++)
            lab_step(d, &m, 50000);
        lab_compare(d, &m);
        assert_int_equal(disk_close(d), HV_OK);
        lab_check(file, "qcow2");
    }
    /* The bottom layer missing, one layer twice, a parent that nobody asked for. */
    assert_int_equal(image_open("x", view, DEPTH - 1, true, &d, error), HV_ENOENT);
    view[1] = view[0];
    assert_int_equal(image_open("x", view, DEPTH, true, &d, error), HV_EINVAL);
    view[0] = chain[0];
    view[1] = chain[1];
    assert_int_equal(image_open("x", view, 2, true, &d, error), HV_EINVAL);
    for (u32 i = 0; i < DEPTH; i++)
        assert_int_equal(disk_close(chain[i].file), HV_OK);
    lab_model_free(&m);
}

static void a_chain_of_32_reads_as_one(void **state)
{
    (void)state;
    lab_run(deep_chain, NULL);
}

static void full_store(void *arg)
{
    struct image_options o = {.size = 4 * MIB};
    struct lab_model m;
    static u8 block[65536];

    (void)arg;
    lab_model_init(&m, o.size);
    for (u64 limit = 300000; limit < 3000000; limit += 177000) {
        struct disk *file = lab_file("file"), *d;
        u32 full = 0;

        memset(m.bytes, 0, m.size);
        lab_create(file, "qcow2", &o);
        d = lab_open_one(file, "qcow2", false);
        lab_limit(file, limit);
        for (u32 i = 0; i < 64; i++) {
            u64 at = i * 37 % 64 * 65536ull;

            memset(block, (int)i + 1, sizeof(block));
            enum hv_status status = disk_write(d, at, block, sizeof(block));
            if (status == HV_OK)
                memset(m.bytes + at, (int)i + 1, sizeof(block));
            else
                assert_int_equal(status, HV_ENOSPC);
            full += status != HV_OK;
        }
        assert_true(full);
        lab_compare(d, &m);
        assert_int_equal(disk_flush(d), HV_OK);
        lab_limit(file, 1ull << 40);
        assert_int_equal(disk_write(d, 0, block, sizeof(block)), HV_OK);
        memcpy(m.bytes, block, sizeof(block));
        lab_compare(d, &m);
        assert_int_equal(disk_close(d), HV_OK);
        lab_check(file, "qcow2");
        disk_close(file);
    }
    lab_model_free(&m);
}

static void a_full_store_loses_nothing(void **state)
{
    (void)state;
    lab_run(full_store, NULL);
}

static void grow(void *arg)
{
    struct image_options o = {.size = 64 * KIB, .unit = 512};
    struct disk *file = lab_file("file"), *d;
    struct lab_model m, bigger;

    (void)arg;
    lab_model_init(&m, o.size);
    lab_model_init(&bigger, 20 * MIB);
    lab_create(file, "qcow2", &o);
    d = lab_open_one(file, "qcow2", false);
    for (u32 i = 0; i < 50; i++)
        lab_step(d, &m, 9000);
    assert_int_equal(disk_resize(d, 32 * KIB), HV_ENOSYS);
    assert_int_equal(disk_resize(d, bigger.size), HV_OK);
    memcpy(bigger.bytes, m.bytes, m.size);
    for (u32 i = 0; i < 200; i++)
        lab_step(d, &bigger, 300000);
    lab_compare(d, &bigger);
    assert_int_equal(disk_close(d), HV_OK);
    lab_check(file, "qcow2");
    lab_ask_qemu(file, &bigger, "qcow2", true);
    d = lab_open_one(file, "qcow2", true);
    lab_compare(d, &bigger);
    assert_int_equal(disk_close(d), HV_OK);
    disk_close(file);
    lab_model_free(&m);
    lab_model_free(&bigger);
}

static void a_disk_grows(void **state)
{
    (void)state;
    lab_run(grow, NULL);
}

struct refusal {
    u32 at, len;
    u64 value;
    const char *why;
};

static const struct refusal refusals[] = {
    {0, 4, 0x514649fc, "does not begin"},
    {4, 4, 4, "version 4"},
    {20, 4, 8, "clusters of 2^8"},
    {20, 4, 22, "clusters of 2^22"},
    {24, 8, ~0ull, "a disk of"},
    {32, 4, 1, "encrypted"},
    {36, 4, 0xffffffff, "L1 table of"},
    {36, 4, 0, "L1 table of"},
    {40, 8, 1ull << 40, "not in the file"},
    {40, 8, 0x10001, "not in the file"},
    {48, 8, 0xffffffffffff0000, "not in the file"},
    {56, 4, 0xffffffff, "refcount table of"},
    {72, 8, 4, "another file"},
    {72, 8, 32, "incompatible features"},
    {96, 4, 7, "refcounts of"},
    {100, 4, 103, "a header of"},
    {8, 8, 0x10000, "backing file"},
    {0x30000, 8, 0x12345600, "not in the file"}, /* L1[0] */
    {0x30000, 8, 0x30000, "overlaps"},
};

static void refuse(void *arg)
{
    struct image_options o = {.size = 4 * MIB};

    (void)arg;
    for (u32 i = 0; i < ARRAY_LEN(refusals); i++) {
        const struct refusal *r = &refusals[i];
        struct disk *file = lab_file("file"), *d;
        struct image_layer layer = {.file = file, .format = image_format("qcow2")};
        char error[IMAGE_ERROR_MAX];
        u8 raw[8];

        lab_create(file, "qcow2", &o);
        u8 header[64];
        assert_int_equal(disk_read(file, 0, header, sizeof(header)), HV_OK);
        u64 at =
            r->at == 0x30000 ? (u64)header[45] << 16 : r->at; /* the L1 table is at a cluster */
        u64 value = r->value == 0x30000 ? (u64)header[45] << 16 : r->value;
        for (u32 j = 0; j < r->len; j++)
            raw[j] = (u8)(value >> 8 * (r->len - 1 - j));
        assert_int_equal(disk_write(file, at, raw, r->len), HV_OK);
        if (r->at == 8)
            assert_int_equal(disk_write(file, 16, "\0\0\0\10", 4), HV_OK);
        assert_int_not_equal(image_open("x", &layer, 1, true, &d, error), HV_OK);
        if (!strstr(error, r->why))
            print_message("row %u: %s\n", i, error);
        assert_non_null(strstr(error, r->why));
        assert_int_equal(disk_close(file), HV_OK);
    }
}

static void bad_headers_are_refused_by_name(void **state)
{
    (void)state;
    lab_run(refuse, NULL);
}

/* A data entry that points at the image's own tables: an error, and the disk becomes read-only. */
static void overlap(void *arg)
{
    struct image_options o = {.size = 4 * MIB};
    struct disk *file = lab_file("file"), *d;
    static u8 block[65536];
    u8 raw[8], header[64];

    (void)arg;
    lab_create(file, "qcow2", &o);
    d = lab_open_one(file, "qcow2", false);
    assert_int_equal(disk_write(d, 0, block, sizeof(block)), HV_OK);
    assert_int_equal(disk_write(d, MIB, block, sizeof(block)), HV_OK);
    assert_int_equal(disk_close(d), HV_OK);
    assert_int_equal(disk_read(file, 0, header, sizeof(header)), HV_OK);
    assert_int_equal(disk_read(file, (u64)header[45] << 16, raw, 8), HV_OK);
    u64 l2 = (u64)raw[5] << 16, l1 = header[45];
    memset(raw, 0, 8);
    raw[5] = (u8)l1;
    raw[0] = 0x80;
    assert_int_equal(disk_write(file, l2, raw, 8), HV_OK);
    d = lab_open_one(file, "qcow2", false);
    assert_int_equal(disk_read(d, MIB, block, 512), HV_OK);
    assert_int_equal(disk_write(d, 0, block, 512), HV_ECORRUPT);
    assert_true(d->read_only);
    assert_int_equal(disk_read(d, MIB, block, 512), HV_OK);
    assert_int_equal(disk_close(d), HV_OK);
    disk_close(file);
}

static void data_over_metadata_is_found(void **state)
{
    (void)state;
    lab_run(overlap, NULL);
}

/* A bit flipped anywhere in the file: it is opened, read, written to and closed, or refused, and
 * its header stays one. */
static void flip(void *arg)
{
    const u32 cluster = *(u32 *)arg;
    struct image_options o = {.size = cluster * 96ull, .unit = cluster};
    struct disk *whole = lab_file("whole"), *d;
    static u8 buf[64 * KIB];
    char error[IMAGE_ERROR_MAX];
    u32 refused = 0, failed = 0, places = 0;

    lab_create(whole, "qcow2", &o);
    d = lab_open_one(whole, "qcow2", false);
    for (u64 at = 0; at < o.size; at += 3 * cluster)
        assert_int_equal(disk_write(d, at, buf, 2 * cluster), HV_OK);
    assert_int_equal(disk_close(d), HV_OK);
    for (u64 at = 0; at < whole->size; at += at < 1024 ? 1 : 2 * cluster / 512 * 5 + 1) {
        struct disk *file = lab_file("file");
        struct image_layer layer = {.file = file, .format = image_format("qcow2")};
        enum hv_status status = HV_OK;
        u8 byte, magic[4];

        lab_copy(file, whole);
        assert_int_equal(disk_read(file, at, &byte, 1), HV_OK);
        byte ^= (u8)(1 << lab_random() % 8);
        assert_int_equal(disk_write(file, at, &byte, 1), HV_OK);
        places++;
        if (image_open("x", &layer, 1, false, &d, error) == HV_OK) {
            for (u64 n, offset = 0; offset < MIN(d->size, o.size); offset += n) {
                n = MIN(sizeof(buf), d->size - offset);
                status |= disk_read(d, offset, buf, n);
            }
            status |= disk_write(d, MIN(d->size, o.size) / 512 / 2 * 512, buf, 512);
            status |= disk_write(d, 0, buf, 512);
            status |= disk_close(d);
            failed += status != HV_OK;
            assert_int_equal(disk_read(file, 0, magic, 4), HV_OK);
            assert_true(at < 4 || !memcmp(magic, "QFI\xfb", 4));
        } else {
            assert_true(error[0]);
            refused++;
        }
        disk_close(file);
    }
    print_message("clusters of %u: of %u bits %u made it refused, %u failed a request\n", cluster,
                  places, refused, failed);
    assert_true(refused && failed);
    disk_close(whole);
}

static void flipped_bits_do_no_harm(void **state)
{
    static const u32 clusters[] = {512, 4096};

    (void)state;
    for (u32 i = 0; i < ARRAY_LEN(clusters); i++) {
        lab_seed(clusters[i]);
        lab_run(flip, (void *)(uintptr_t)&clusters[i]);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(random_requests_match_a_model_and_qemu),
        cmocka_unit_test(images_of_qemu_are_read_and_changed),
        cmocka_unit_test(a_power_cut_at_any_write_loses_nothing_flushed),
        cmocka_unit_test(a_chain_of_32_reads_as_one),
        cmocka_unit_test(a_full_store_loses_nothing),
        cmocka_unit_test(a_disk_grows),
        cmocka_unit_test(bad_headers_are_refused_by_name),
        cmocka_unit_test(data_over_metadata_is_found),
        cmocka_unit_test(flipped_bits_do_no_harm),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
