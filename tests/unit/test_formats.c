/* links: tests/unit/image_lab.c storage/image.c storage/engine.c storage/engine_map.c storage/engine_slow.c storage/meta.c storage/raw.c storage/qcow2.c storage/qcow2_write.c storage/qcow2_refcount.c storage/vdi.c storage/vhd.c storage/vhdx.c storage/vhdx_log.c storage/vhdx_create.c storage/vmdk.c storage/vmdk_create.c storage/vmdk_descriptor.c storage/crc32c.c storage/unpack.c storage/disk.c storage/disk_wait.c storage/iov.c storage/ram_disk.c control/rt/fiber.c control/rt/fiber_switch.S control/rt/loop.c control/rt/clock.c control/rt/log.c control/rt/host/host.c */
/* VHD, VHDX, VMDK and VDI against a model, against qemu-img both ways, and with bits flipped. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include <cmocka.h>

#include "storage/vmdk.h"
#include "tests/unit/image_lab.h"

typedef unsigned long long ull;

struct kind {
    const char *format, *kind, *qemu;
    u32 unit;
    bool check; /* qemu-img can check it */
};

static const struct kind kinds[] = {
    {"vdi", "dynamic", "vdi", 0, true},         {"vdi", "fixed", "vdi", 0, true},
    {"vhd", "dynamic", "vpc", 0, false},        {"vhd", "dynamic", "vpc", 65536, false},
    {"vhd", "fixed", "vpc", 0, false},          {"vmdk", "sparse", "vmdk", 0, true},
    {"vmdk", "sparse", "vmdk", 8192, true},     {"vhdx", "dynamic", "vhdx", 0, true},
    {"vhdx", "dynamic", "vhdx", 1048576, true}, {"vhdx", "fixed", "vhdx", 1048576, true},
};

static void random_ops(void *arg)
{
    const struct kind *k = arg;
    struct image_options o = {.size = 5 * MIB + 1536, .unit = k->unit, .kind = k->kind, .id = {7}};
    struct lab_model m;

    for (u32 round = 0; round < (k->unit ? 2 : 1); round++) {
        struct disk *file = lab_file("file");

        lab_seed(k->unit + round);
        lab_model_init(&m, o.size);
        lab_create(file, k->format, &o);
        lab_check(file, k->format);
        for (u32 session = 0; session < 3; session++) {
            struct disk *d = lab_open_one(file, k->format, false);

            lab_delay(file, session == 1);
            for (u32 i = 0; i < 60; i++)
                lab_step(d, &m, 200000);
            for (u32 i = 0; i < 5; i++)
                lab_burst(d, &m, 32, 100000);
            lab_compare(d, &m);
            assert_int_equal(disk_close(d), HV_OK);
            lab_delay(file, false);
            lab_check(file, k->format);
            lab_ask_qemu(file, &m, k->qemu, k->check);
        }
        disk_close(file);
        lab_model_free(&m);
    }
}

static void random_requests_match_a_model_and_qemu(void **state)
{
    (void)state;
    static const struct kind flat = {"raw", NULL, "raw", 0, false};

    lab_run(random_ops, (void *)(uintptr_t)&flat);
    for (u32 i = 0; i < ARRAY_LEN(kinds); i++) {
        print_message("%s %s\n", kinds[i].format, kinds[i].kind);
        lab_run(random_ops, (void *)(uintptr_t)&kinds[i]);
    }
}

struct theirs {
    const char *format, *qemu, *how;
    bool check;
};

static const struct theirs theirs[] = {
    {"vdi", "vdi", "", true},
    {"vdi", "vdi", "-o static=on", true},
    {"vhd", "vpc", "", false},
    {"vhd", "vpc", "-o subformat=fixed", false},
    {"vhd", "vpc", "-o force_size=on", false},
    {"vmdk", "vmdk", "", true},
    {"vmdk", "vmdk", "-o zeroed_grain=on", true},
    {"vmdk", "vmdk", "-o subformat=streamOptimized", true},
    {"vhdx", "vhdx", "", true},
    {"vhdx", "vhdx", "-o subformat=fixed", true},
    {"vhdx", "vhdx", "-o block_size=1M", true},
};

static void read_theirs(void *arg)
{
    const struct theirs *t = arg;
    const char *image = lab_path("theirs"), *flat = lab_path("flat");
    struct lab_model m;
    FILE *f = fopen(flat, "wb");

    lab_model_init(&m, 6 * MIB);
    m.size = 5 * MIB;
    for (u64 i = 0; i < m.size; i++)
        m.bytes[i] = i / 300000 % 3 == 0 ? 0 : (u8)(i / 7 ^ (i % 97 == 0 ? lab_random() : 0));
    fwrite(m.bytes, 1, m.size, f);
    fclose(f);
    assert_int_equal(
        lab_command("qemu-img convert -f raw -O %s %s %s %s", t->qemu, t->how, flat, image), 0);
    struct disk *file = lab_load(image), *d = lab_open_one(file, t->format, true);
    assert_in_range(d->size, m.size, 6 * MIB); /* vpc rounds up to a cylinder */
    m.size = d->size;
    lab_compare(d, &m);
    assert_int_equal(disk_close(d), HV_OK);
    lab_check(file, t->format);
    d = lab_open_one(file, t->format, false);
    if (!d->read_only) { /* and go on writing it */
        for (u32 i = 0; i < 80; i++)
            lab_step(d, &m, 100000);
        lab_compare(d, &m);
    }
    assert_int_equal(disk_close(d), HV_OK);
    lab_check(file, t->format);
    lab_ask_qemu(file, &m, t->qemu, t->check);
    disk_close(file);
    lab_model_free(&m);
    unlink(image);
    unlink(flat);
}

static void images_of_qemu_are_read_and_changed(void **state)
{
    (void)state;
    for (u32 i = 0; i < ARRAY_LEN(theirs); i++) {
        print_message("%s %s\n", theirs[i].format, theirs[i].how);
        lab_run(read_theirs, (void *)(uintptr_t)&theirs[i]);
    }
}

/* Children of the same format, made from one another, then one that is not of this parent. */
static void differencing(void *arg)
{
    const char *format = arg;
    struct image_layer chain[4], view[4];
    struct lab_model m;
    struct image parent;
    char error[IMAGE_ERROR_MAX];
    struct disk *d;

    lab_seed(11);
    lab_model_init(&m, 3 * MIB);
    for (u32 i = 0; i < 4; i++) {
        struct image_options o = {
            .size = m.size, .id = {(u8)(i + 1)}, .parent_name = i ? "p" : NULL};

        chain[i] = (struct image_layer){.file = lab_file("layer"), .format = image_format(format)};
        if (i) {
            assert_int_equal(
                image_layer_open(&parent, chain[i - 1].file, chain[i - 1].format, NULL, true),
                HV_OK);
            o.parent = &parent;
        }
        lab_create(chain[i].file, format, &o);
        if (i)
            image_layer_close(&parent);
        for (u32 j = 0; j <= i; j++)
            view[j] = chain[i - j];
        d = lab_open(view, i + 1, false);
        for (u32 j = 0; j < 40; j++)
            lab_step(d, &m, 50000);
        lab_compare(d, &m);
        assert_int_equal(disk_close(d), HV_OK);
        lab_check(chain[i].file, format);
        d = lab_open(view, i + 1, true);
        lab_compare(d, &m);
        assert_int_equal(disk_close(d), HV_OK);
    }
    view[1] = chain[1]; /* 3 over 1: not its parent */
    view[2] = chain[0];
    assert_int_equal(image_open("x", view, 3, true, &d, error), HV_EINVAL);
    assert_non_null(strstr(error, "not the one"));
    for (u32 i = 0; i < 4; i++)
        assert_int_equal(disk_close(chain[i].file), HV_OK);
    lab_model_free(&m);
}

static void chains_of_one_format(void **state)
{
    static const char *const formats[] = {"vdi", "vhd", "vmdk", "vhdx"};

    (void)state;
    for (u32 i = 0; i < ARRAY_LEN(formats); i++)
        lab_run(differencing, (void *)(uintptr_t)formats[i]);
}

/* One bit flipped at a time, in each third byte of the first 4 KiB and in places all over the rest:
 * opened, read and closed, or refused. */
static void flip(void *arg)
{
    const struct kind *k = arg;
    struct image_options o = {.size = 3 * MIB, .unit = k->unit, .kind = k->kind, .id = {7}};
    struct disk *file = lab_file("file"), *d;
    static u8 buf[65536];
    char error[IMAGE_ERROR_MAX];
    u32 refused = 0, places = 0;

    lab_create(file, k->format, &o);
    d = lab_open_one(file, k->format, false);
    assert_int_equal(disk_write(d, 100000 / 512 * 512, buf, sizeof(buf)), HV_OK);
    assert_int_equal(disk_close(d), HV_OK);
    for (u64 at = 0; at < file->size; at += at < 4096 ? 3 : file->size > 4 * MIB ? 40009 : 509) {
        struct image_layer layer = {.file = file, .format = image_format(k->format)};
        u8 byte, other;

        assert_int_equal(disk_read(file, at, &byte, 1), HV_OK);
        other = byte ^ (u8)(1 << at % 8);
        assert_int_equal(disk_write(file, at, &other, 1), HV_OK);
        places++;
        if (image_open("x", &layer, 1, true, &d, error) == HV_OK) {
            for (u64 offset = 0; offset < MIN(d->size, 3 * MIB); offset += sizeof(buf))
                (void)!disk_read(d, offset, buf, MIN(sizeof(buf), d->size - offset));
            assert_int_equal(disk_close(d), HV_OK);
        } else {
            assert_true(error[0]);
            refused++;
        }
        assert_int_equal(disk_write(file, at, &byte, 1), HV_OK);
    }
    print_message("%s: %u of %u refused\n", k->format, refused, places);
    assert_true(refused);
    disk_close(file);
}

static void flipped_bits_do_no_harm(void **state)
{
    (void)state;
    for (u32 i = 0; i < ARRAY_LEN(kinds); i++)
        lab_run(flip, (void *)(uintptr_t)&kinds[i]);
}

/* What we export, they read; and we read it back. */
static void export_stream(void *arg)
{
    struct lab_model m;
    struct disk *raw = lab_file("raw"), *out = lab_file("out"), *d;

    (void)arg;
    lab_seed(3);
    lab_model_init(&m, 40 * MIB + 512);
    assert_int_equal(disk_resize(raw, m.size), HV_OK);
    d = lab_open_one(raw, "raw", false);
    for (u32 i = 0; i < 100; i++)
        lab_step(d, &m, 400000);
    assert_int_equal(vmdk_export(d, out, "out.vmdk", NULL, NULL), HV_OK);
    assert_int_equal(disk_close(d), HV_OK);
    lab_check(out, "vmdk");
    d = lab_open_one(out, "vmdk", false);
    assert_true(d->read_only);
    lab_compare(d, &m);
    assert_int_equal(disk_close(d), HV_OK);
    lab_ask_qemu(out, &m, "vmdk", false);
    disk_close(raw);
    disk_close(out);
    lab_model_free(&m);
}

static void a_stream_is_exported(void **state)
{
    (void)state;
    lab_run(export_stream, NULL);
}

/* A flat image: text here, data there. */
static void flat_descriptor(void *arg)
{
    struct image_options o = {.size = 3 * MIB, .kind = "flat", .data_name = "lab-flat.raw"};
    struct disk *text = lab_file("text");
    struct image_layer layer = {.file = text, .format = image_format("vmdk")};
    struct vmdk_descriptor back;
    char buf[2048] = {0}, error[IMAGE_ERROR_MAX];
    const char *why;
    struct disk *d;

    (void)arg;
    lab_create(text, "vmdk", &o);
    assert_int_equal(disk_read(text, 0, buf, text->size), HV_OK);
    assert_int_equal(vmdk_descriptor_read(buf, text->size, &back, &why), HV_OK);
    assert_string_equal(back.type, "monolithicFlat");
    assert_string_equal(back.data, "lab-flat.raw");
    assert_int_equal(back.sectors, 3 * MIB / 512);
    assert_int_not_equal(image_open("x", &layer, 1, true, &d, error), HV_OK);
    assert_non_null(strstr(error, "attach that as raw"));
    lab_save(text, "build/host/lab-flat.vmdk");
    assert_int_equal(lab_command("truncate -s 3M build/host/lab-flat.raw && "
                                 "qemu-img info build/host/lab-flat.vmdk && "
                                 "qemu-img compare -f vmdk -F raw build/host/lab-flat.vmdk "
                                 "build/host/lab-flat.raw"),
                     0);
    unlink("build/host/lab-flat.vmdk");
    unlink("build/host/lab-flat.raw");
    disk_close(text);
}

static void a_flat_image_is_text_and_data(void **state)
{
    (void)state;
    lab_run(flat_descriptor, NULL);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(random_requests_match_a_model_and_qemu),
        cmocka_unit_test(images_of_qemu_are_read_and_changed),
        cmocka_unit_test(chains_of_one_format),
        cmocka_unit_test(flipped_bits_do_no_harm),
        cmocka_unit_test(a_stream_is_exported),
        cmocka_unit_test(a_flat_image_is_text_and_data),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
