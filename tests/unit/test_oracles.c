/* links: tests/unit/image_lab.c storage/image.c storage/engine.c storage/engine_map.c storage/engine_slow.c storage/meta.c storage/raw.c storage/qcow2.c storage/qcow2_write.c storage/qcow2_refcount.c storage/vdi.c storage/vhd.c storage/vhdx.c storage/vhdx_log.c storage/vhdx_create.c storage/vmdk.c storage/vmdk_create.c storage/vmdk_descriptor.c storage/crc32c.c storage/unpack.c storage/prealloc.c storage/disk.c storage/disk_wait.c storage/iov.c storage/ram_disk.c control/rt/fiber.c control/rt/fiber_switch.S control/rt/loop.c control/rt/clock.c control/rt/log.c control/rt/host/host.c */
/* Images of ours that qemu-io reads and changes, directly and through qemu-nbd, and we go on with.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

#include <cmocka.h>

#include "storage/prealloc.h"
#include "tests/unit/image_lab.h"

#define SIZE (5 * MIB)
#define PIECES 10u

struct kind {
    const char *format, *kind, *qemu;
    u32 unit;
    bool check; /* qemu-img can check it */
};

static const struct kind kinds[] = {
    {"raw", NULL, "raw", 0, false},         {"qcow2", NULL, "qcow2", 0, true},
    {"qcow2", NULL, "qcow2", 4096, true},   {"vdi", "dynamic", "vdi", 0, true},
    {"vdi", "fixed", "vdi", 0, true},       {"vhd", "dynamic", "vpc", 0, false},
    {"vhd", "fixed", "vpc", 0, false},      {"vmdk", "sparse", "vmdk", 0, true},
    {"vhdx", "dynamic", "vhdx", MIB, true}, {"vhdx", "fixed", "vhdx", MIB, true},
};

/* Writes for qemu-io, which the model gets too, and reads that say what must be there. */
static void make_commands(struct lab_model *m, char *out, u64 room)
{
    u64 n = 0;
    u32 at[PIECES], length[PIECES];
    u8 byte[PIECES];

    for (u32 i = 0; i < PIECES; i++) { /* each in a part of its own: the reads come last */
        u32 part = (u32)(m->size / PIECES);

        length[i] = (1 + lab_random() % 200) * 512;
        at[i] = i * part + lab_random() % ((part - length[i]) / 512) * 512;
        byte[i] = (u8)(i % 4 == 3 ? 0 : 1 + lab_random() % 255);
        memset(m->bytes + at[i], byte[i], length[i]);
        if (byte[i])
            n += (u64)snprintf(out + n, room - n, " -c 'write -P %u %u %u'", byte[i], at[i],
                               length[i]);
        else
            n += (u64)snprintf(out + n, room - n, " -c 'write -z %u %u'", at[i], length[i]);
    }
    for (u32 i = 0; i < PIECES; i++)
        n += (u64)snprintf(out + n, room - n, " -c 'read -P %u %u %u'", byte[i], at[i], length[i]);
    assert_true(n < room);
}

/* qemu-io says of a pattern that is not there what it found, and ends as if all was well. */
static void must_be_fine(int status)
{
    assert_int_equal(status, 0);
    if (strstr(lab_output, "erification failed") || strstr(lab_output, "ailed:"))
        fail_msg("%s", lab_output);
}

static struct disk *go_on(struct disk *file, const struct kind *k, struct lab_model *m,
                          const char *image)
{
    disk_close(file);
    file = lab_load(image);
    lab_check(file, k->format);
    struct disk *d = lab_open_one(file, k->format, false);
    lab_compare(d, m);
    for (u32 i = 0; i < 20; i++)
        lab_step(d, m, 200000);
    lab_compare(d, m);
    assert_int_equal(disk_close(d), HV_OK);
    lab_ask_qemu(file, m, k->qemu, k->check);
    lab_save(file, image);
    return file;
}

static void both_ways(void *arg)
{
    const struct kind *k = arg;
    const char *image = lab_path("oracle"), *socket = lab_path("socket");
    struct image_options o = {.size = SIZE, .unit = k->unit, .kind = k->kind, .id = {7}};
    struct disk *file = lab_file("file");
    static char commands[2048];
    struct lab_model m;

    lab_seed(k->unit + 5);
    lab_model_init(&m, SIZE);
    lab_create(file, k->format, &o);
    lab_save(file, image);
    file = go_on(file, k, &m, image);
    make_commands(&m, commands, sizeof(commands));
    must_be_fine(lab_command("timeout 120 qemu-io -f %s %s %s", k->qemu, commands, image));
    file = go_on(file, k, &m, image);
    make_commands(&m, commands, sizeof(commands));
    /* It ends when its only client has gone; what is in the file then is all there is. */
    must_be_fine(lab_command("(timeout 240 qemu-nbd -k $PWD/%s -f %s %s & "
                             "for i in $(seq 1200); do [ -S %s ] && break; sleep 0.05; done; "
                             "timeout 120 qemu-io -f raw %s 'nbd+unix:///?socket=%s'; "
                             "code=$?; wait $! && exit $code)",
                             socket, k->qemu, image, socket, commands, socket));
    file = go_on(file, k, &m, image);
    disk_close(file);
    lab_model_free(&m);
    unlink(image);
    unlink(socket);
}

static void qemu_io_and_qemu_nbd_read_and_change_our_images(void **state)
{
    (void)state;
    for (u32 i = 0; i < ARRAY_LEN(kinds); i++) {
        print_message("%s %s\n", kinds[i].format, kinds[i].kind ? kinds[i].kind : "");
        lab_run(both_ways, (void *)(uintptr_t)&kinds[i]);
    }
}

/* All of the disk has its place at once, zeros; nothing more is needed for what is written then. */
static void preallocated(void *arg)
{
    const struct kind *k = arg;
    struct image_options o = {.size = SIZE, .unit = k->unit, .kind = k->kind, .id = {7}};
    struct disk *file = lab_file("file");
    char error[IMAGE_ERROR_MAX];
    struct lab_model m;

    lab_seed(k->unit + 6);
    lab_model_init(&m, SIZE);
    lab_create(file, k->format, &o);
    struct disk *d = lab_open_one(file, k->format, false);
    memset(m.bytes + MIB, 7, 65536); /* a part has data before */
    assert_int_equal(disk_write(d, MIB, m.bytes + MIB, 65536), HV_OK);
    assert_int_equal(disk_close(d), HV_OK);
    assert_int_equal(prealloc_image(file, image_format(k->format), NULL, NULL, error), HV_OK);
    u64 size = file->size;
    assert_true(size >= SIZE);
    lab_check(file, k->format);
    lab_ask_qemu(file, &m, k->qemu, k->check);
    d = lab_open_one(file, k->format, false);
    lab_compare(d, &m);
    for (u64 at = 0; at < SIZE; at += MIB / 2) {
        memset(m.bytes + at, (int)(at >> 15), MIB / 4);
        assert_int_equal(disk_write(d, at, m.bytes + at, MIB / 4), HV_OK);
    }
    lab_compare(d, &m);
    assert_int_equal(disk_close(d), HV_OK);
    assert_int_equal(file->size, size);
    lab_ask_qemu(file, &m, k->qemu, k->check);
    disk_close(file);
    lab_model_free(&m);
}

static void every_kind_can_have_all_its_room_at_once(void **state)
{
    (void)state;
    for (u32 i = 0; i < ARRAY_LEN(kinds); i++) {
        bool grows = kinds[i].kind ? strcmp(kinds[i].kind, "fixed") != 0 : kinds[i].unit;

        if (grows || !strcmp(kinds[i].format, "qcow2")) {
            print_message("%s\n", kinds[i].format);
            lab_run(preallocated, (void *)(uintptr_t)&kinds[i]);
        }
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(every_kind_can_have_all_its_room_at_once),
        cmocka_unit_test(qemu_io_and_qemu_nbd_read_and_change_our_images),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
