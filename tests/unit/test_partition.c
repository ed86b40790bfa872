/* links: storage/partition.c storage/window.c storage/iov.c storage/ram_disk.c storage/disk.c storage/disk_wait.c control/rt/fiber.c control/rt/fiber_switch.S control/rt/loop.c control/rt/clock.c control/rt/log.c control/rt/host/host.c */
/* Partition tables of sgdisk's and by hand, partitions as disks, and tables that lie. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "storage/endian.h"
#include "storage/partition.h"
#include "storage/ram_disk.h"

#define SIZE (64 * MIB)

static u8 *bytes_of(const char *command, const char *path)
{
    u8 *b = calloc(1, SIZE);
    char line[512];

    assert_non_null(b);
    snprintf(line, sizeof(line), "truncate -s %llu %s && PATH=$PATH:/sbin:/usr/sbin %s %s >%s.log",
             (unsigned long long)SIZE, path, command, path, path);
    assert_int_equal(system(line), 0);
    FILE *f = fopen(path, "rb");
    assert_non_null(f);
    assert_int_equal(fread(b, 1, SIZE, f), SIZE);
    fclose(f);
    return b;
}

static struct disk *disk_of(const char *name, const u8 *b)
{
    struct disk *d = ram_disk_open(name, SIZE, 512, SIZE);

    assert_non_null(d);
    for (u64 at = 0; at < SIZE; at += MIB)
        if (b[at] || memcmp(b + at, b + at + 1, MIB - 1))
            assert_int_equal(disk_write(d, at, b + at, MIB), HV_OK);
    return d;
}

static void sgdisks_table_is_read(void **state)
{
    char folder[] = "/tmp/bulkhead-part-XXXXXX", path[64], line[80];
    struct partition p[PARTITIONS_MAX];
    struct disk *d, *a, *b;
    static u8 in[4096], out[4096];
    char why[120];
    u32 count;
    bool gpt;

    (void)state;
    assert_non_null(mkdtemp(folder));
    snprintf(path, sizeof(path), "%s/disk", folder);
    u8 *bytes =
        bytes_of("sgdisk -n 1:2048:+10M -t 1:ef00 -c 1:boot -n 3:0:+20M -t 3:8300 -n 7:0:0", path);
    d = disk_of("vd0", bytes);
    assert_int_equal(partition_read(d, p, &count, &gpt), HV_OK);
    assert_true(gpt);
    assert_int_equal(count, 3);
    assert_int_equal(p[0].number, 1);
    assert_int_equal(p[0].offset, MIB);
    assert_int_equal(p[0].length, 10 * MIB);
    assert_string_equal(p[0].kind, "EFI system");
    assert_string_equal(p[0].name, "boot");
    assert_int_equal(p[1].number, 3);
    assert_string_equal(p[1].kind, "Linux");
    assert_int_equal(p[2].number, 7);

    /* A partition is its own disk, and keeps the whole from others. */
    a = partition_find("vd0p1", why);
    b = partition_find("vd0p3", why);
    assert_non_null(a);
    assert_non_null(b);
    assert_ptr_equal(partition_find("vd0p1", NULL), a);
    assert_int_equal(a->size, 10 * MIB);
    assert_int_equal(d->users, 2);
    assert_null(partition_find("vd0p2", why));
    assert_null(partition_find("vd0p", why));
    assert_null(partition_find("vd0p01", why));
    assert_null(partition_find("vd0p1p1", why));
    assert_null(partition_find("vd9p1", why));
    memset(in, 0x42, sizeof(in));
    assert_int_equal(disk_write(a, 10 * MIB - sizeof(in), in, sizeof(in)), HV_OK);
    assert_int_equal(disk_write(a, 10 * MIB, in, 512), HV_EINVAL);
    assert_int_equal(disk_flush(a), HV_OK);
    assert_int_equal(disk_read(d, 11 * MIB - sizeof(in), out, sizeof(out)), HV_OK);
    assert_memory_equal(in, out, sizeof(in));
    assert_int_equal(disk_read(b, 0, out, 512), HV_OK);
    assert_int_equal(out[0], 0);
    assert_int_equal(disk_zero(a, 10 * MIB - sizeof(in), sizeof(in)), HV_OK);
    assert_int_equal(disk_read(d, 11 * MIB - sizeof(in), out, sizeof(out)), HV_OK);
    assert_int_equal(out[0], 0);
    assert_int_equal(disk_close(d), HV_EBUSY);
    assert_int_equal(disk_close(a), HV_OK);
    assert_int_equal(disk_close(b), HV_OK);
    d->users++; /* somebody has all of it */
    assert_null(partition_find("vd0p1", why));
    assert_non_null(strstr(why, "in use"));
    d->users--;
    assert_int_equal(disk_close(d), HV_OK);
    free(bytes);
    snprintf(line, sizeof(line), "rm -r %s", folder);
    assert_int_equal(system(line), 0);
}

static void put_entry(u8 *table, u32 i, u8 type, u32 first, u32 sectors)
{
    table[446 + 16 * i + 4] = type;
    put_le32(table + 446 + 16 * i + 8, first);
    put_le32(table + 446 + 16 * i + 12, sectors);
    table[510] = 0x55;
    table[511] = 0xaa;
}

static void an_mbr_with_logical_partitions_is_read(void **state)
{
    u8 *b = calloc(1, SIZE);
    struct partition p[PARTITIONS_MAX];
    u32 count;
    bool gpt;

    (void)state;
    put_entry(b, 0, 0x83, 2048, 4096);
    put_entry(b, 1, 0x05, 8192, 40000);
    put_entry(b + 8192 * 512, 0, 0x83, 64, 1000);
    put_entry(b + 8192 * 512, 1, 0x05, 2000, 3000);
    put_entry(b + 10192 * 512, 0, 0x07, 64, 500);
    struct disk *d = disk_of("vd0", b);
    assert_int_equal(partition_read(d, p, &count, &gpt), HV_OK);
    assert_false(gpt);
    assert_int_equal(count, 3);
    assert_int_equal(p[1].number, 5);
    assert_int_equal(p[1].offset, (8192 + 64) * 512);
    assert_int_equal(p[2].number, 6);
    assert_int_equal(p[2].offset, (10192 + 64) * 512);
    assert_string_equal(p[2].kind, "basic data");
    assert_int_equal(disk_close(d), HV_OK);

    put_entry(b + 10192 * 512, 1, 0x05, 0, 3000); /* back to the first: a loop */
    d = disk_of("vd0", b);
    assert_int_equal(partition_read(d, p, &count, &gpt), HV_ECORRUPT);
    assert_int_equal(disk_close(d), HV_OK);
    put_entry(b, 0, 0x83, 2048, 400000); /* leaves the disk */
    d = disk_of("vd0", b);
    assert_int_equal(partition_read(d, p, &count, &gpt), HV_ECORRUPT);
    assert_int_equal(disk_close(d), HV_OK);
    memset(b, 0, 512);
    d = disk_of("vd0", b);
    assert_int_equal(partition_read(d, p, &count, &gpt), HV_ENOENT);
    assert_int_equal(disk_close(d), HV_OK);
    free(b);
}

static u32 random_state = 1;

static u32 next_random(void)
{
    random_state = random_state * 1664525 + 1013904223;
    return random_state >> 8;
}

/* Whatever a table says, what comes of it is within the disk and does not overlap. */
static void a_hostile_table_gives_no_partition_outside(void **state)
{
    static struct partition p[PARTITIONS_MAX];
    u8 table[34 * 512];
    u32 count;
    bool gpt;

    (void)state;
    for (u32 i = 0; i < 4000; i++) {
        struct disk *d = ram_disk_open("vd0", SIZE, 512, SIZE);

        memset(table, 0, sizeof(table));
        if (i % 2) {
            memcpy(table + 512, "EFI PART", 8);
            put_le64(table + 512 + 72, next_random() % 8 ? 2 : next_random());
            put_le32(table + 512 + 80, next_random() % 4 ? 128 : next_random() << 8);
            put_le32(table + 512 + 84, next_random() % 4 ? 128 : next_random() % 5000);
        }
        for (u32 n = 0; n < 4; n++)
            put_entry(table, n, (u8)(next_random() % 4 ? 0x83 : 0x05), next_random() % 140000,
                      next_random() % 60000);
        for (u32 n = 0; n < 6; n++) {
            u8 *e = table + 1024 + 128 * (next_random() % 128);

            memset(e, 0x11, 16);
            put_le64(e + 32, next_random() % 140000);
            put_le64(e + 40, next_random() % 8 ? le64(e + 32) + next_random() % 30000 : ~0ull);
        }
        assert_int_equal(disk_write(d, 0, table, sizeof(table)), HV_OK);
        enum hv_status status = partition_read(d, p, &count, &gpt);
        for (u32 n = 0; status == HV_OK && n < count; n++) {
            assert_true(p[n].offset && p[n].length && p[n].offset + p[n].length <= SIZE);
            for (u32 m = 0; m < n; m++)
                assert_true(p[m].offset + p[m].length <= p[n].offset ||
                            p[n].offset + p[n].length <= p[m].offset);
        }
        assert_int_equal(disk_close(d), HV_OK);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(sgdisks_table_is_read),
        cmocka_unit_test(an_mbr_with_logical_partitions_is_read),
        cmocka_unit_test(a_hostile_table_gives_no_partition_outside),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
