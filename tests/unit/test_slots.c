/* links: storage/slots.c storage/esp.c storage/crc32c.c storage/disk.c storage/disk_wait.c control/rt/fiber.c control/rt/fiber_switch.S control/rt/loop.c control/rt/clock.c control/rt/log.c control/rt/host/host.c */
/* The kept configuration on file systems that mkfs.vfat and mtools made, with the power cut at
 * every sector of every write. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "storage/slots.h"

/* ---- a disk in memory that loses its power -----------------------------------------------------
 */
struct cut_disk {
    struct disk disk;
    u8 *bytes;
    u64 left;      /* sectors that still reach the medium */
    bool shuffled; /* the sectors of a request go in another order */
    u32 written;   /* sectors that were to be written */
    u64 dead[2];   /* bytes that begin a sector which cannot be read; 0: none */
};

static void write_sectors(struct cut_disk *c, const struct disk_io *io)
{
    u64 count = io->length / 512;
    const u8 *from = io->iov[0].base;

    for (u64 i = 0; i < count && c->left; i++, c->left--) {
        u64 s = c->shuffled ? (i * 7 + 3) % count : i; /* a permutation unless 7 divides count */

        memcpy(c->bytes + io->offset + s * 512, from + s * 512, 512);
    }
    c->written += (u32)count;
}

static void submit(struct disk *d, struct disk_io *io)
{
    struct cut_disk *c = (struct cut_disk *)d;

    for (u32 i = 0; i < ARRAY_LEN(c->dead) && io->op == DISK_READ; i++) {
        if (c->dead[i] && c->dead[i] >= io->offset && c->dead[i] < io->offset + io->length) {
            disk_complete(io, HV_EIO);
            return;
        }
    }
    if (io->op == DISK_READ)
        memcpy(io->iov[0].base, c->bytes + io->offset, io->length);
    if (io->op == DISK_WRITE)
        write_sectors(c, io);
    disk_complete(io, HV_OK);
}

static const struct disk_ops ops = {.name = "physical", .submit = submit};

static void open_disk(struct cut_disk *c, u8 *bytes, u64 size, u32 block)
{
    memset(c, 0, sizeof(*c));
    c->bytes = bytes;
    c->left = ~0ull;
    disk_init(&c->disk, &ops, "cut", size, block);
}

/* ---- images -----------------------------------------------------------------------------------
 */
static char folder[] = "/tmp/bulkhead-slots-XXXXXX";

static void sh(const char *fmt, ...) PRINTF_LIKE(1, 2);
static void sh(const char *fmt, ...)
{
    char line[700], whole[900];
    va_list ap;

    va_start(ap, fmt);
    vsnprintf(line, sizeof(line), fmt, ap);
    va_end(ap);
    snprintf(whole, sizeof(whole),
             "cd %s && export MTOOLS_SKIP_CHECK=1 PATH=$PATH:/sbin:/usr/sbin && { %s; } >log 2>&1",
             folder, line);
    if (system(whole) != 0)
        fail_msg("%s", line);
}

static u8 *load(const char *name, u64 *size)
{
    char path[100];
    FILE *f;

    snprintf(path, sizeof(path), "%s/%s", folder, name);
    f = fopen(path, "rb");
    assert_non_null(f);
    fseek(f, 0, SEEK_END);
    *size = (u64)ftell(f);
    rewind(f);
    u8 *bytes = malloc(*size);
    assert_int_equal(fread(bytes, 1, *size, f), *size);
    fclose(f);
    return bytes;
}

/* A file system with both files, 16 KiB each. */
static u8 *file_system(u32 bits, u32 kib, u64 *size)
{
    sh("rm -f fs; mkfs.vfat -C -F %u -s 1 fs %u && mmd -i fs ::/bulkhead && "
       "head -c 16384 /dev/zero >zero && mcopy -i fs zero ::/bulkhead/config.a && "
       "mcopy -i fs zero ::/bulkhead/config.b",
       bits, kib);
    return load("fs", size);
}

static u32 fat12(const u8 *fat, u32 c)
{
    u32 v = fat[c + c / 2] | (u32)fat[c + c / 2 + 1] << 8;

    return c & 1 ? v >> 4 : v & 0xfff;
}

static void set_fat12(u8 *fat, u32 c, u32 to)
{
    u32 at = c + c / 2, v = fat[at] | (u32)fat[at + 1] << 8;

    v = c & 1 ? (v & 0xf) | to << 4 : (v & 0xf000) | to;
    fat[at] = (u8)v;
    fat[at + 1] = (u8)(v >> 8);
}

/* FAT12: the chains of both files change places every four clusters. */
static u8 *in_pieces(u64 *size)
{
    struct cut_disk c;
    struct esp_file f[2];
    u8 *bytes = file_system(12, 1440, size), *fat = bytes + 512;

    open_disk(&c, bytes, *size, 512);
    assert_int_equal(esp_find(&c.disk, "bulkhead/config.a", &f[0]), HV_OK);
    assert_int_equal(esp_find(&c.disk, "bulkhead/config.b", &f[1]), HV_OK);
    disk_fini(&c.disk);
    assert_int_equal(f[0].count, 1);
    /* -s 1: clusters are sectors.  The folder's cluster is the first, 2. */
    u32 a = 2;
    while (fat12(fat, a) != a + 1)
        a++;
    u32 b = a + 32;
    for (u32 i = 3; i < 31; i += 4) {
        u32 after_a = fat12(fat, a + i), after_b = fat12(fat, b + i);

        set_fat12(fat, a + i, after_b);
        set_fat12(fat, b + i, after_a);
    }
    return bytes;
}

static int set_up(void **state)
{
    (void)state;
    return mkdtemp(folder) ? 0 : -1;
}

static int tear_down(void **state)
{
    char line[100];

    (void)state;
    snprintf(line, sizeof(line), "rm -rf %s", folder);
    return system(line);
}

/* ---- finding -----------------------------------------------------------------------------------
 */
static void finds_files_in_every_fat(void **state)
{
    static const u32 kinds[][2] = {{12, 1440}, {16, 8192}, {32, 40000}, {0, 0}};

    (void)state;
    for (u32 i = 0; i < ARRAY_LEN(kinds); i++) {
        struct cut_disk c;
        struct esp_file f;
        u64 size;
        u8 *bytes = kinds[i][0] ? file_system(kinds[i][0], kinds[i][1], &size) : in_pieces(&size),
           back[16384], text[16384];

        open_disk(&c, bytes, size, 512);
        assert_int_equal(esp_find(&c.disk, "bulkhead/config.c", &f), HV_ENOENT);
        assert_int_equal(esp_find(&c.disk, "bulkhead", &f), HV_ENOENT);
        assert_int_equal(esp_find(&c.disk, "bulkhead/config.a", &f), HV_OK);
        assert_int_equal(f.size, 16384);
        assert_int_equal(f.count, kinds[i][0] ? 1 : 8);
        for (u32 k = 0; k < sizeof(text); k++)
            text[k] = (u8)(k * 31 + k / 251);
        assert_int_equal(esp_write(&f, 512, text, sizeof(text) - 512), HV_OK);
        assert_int_equal(esp_write(&f, 512, text, sizeof(text)), HV_EINVAL);
        assert_int_equal(esp_read(&f, 512, back, sizeof(text) - 512), HV_OK);
        assert_memory_equal(text, back, sizeof(text) - 512);
        /* mtools reads the same. */
        char path[100];
        snprintf(path, sizeof(path), "%s/fs", folder);
        FILE *out = fopen(path, "wb");
        assert_int_equal(fwrite(bytes, 1, size, out), size);
        fclose(out);
        sh("mcopy -o -i fs ::/bulkhead/config.a back");
        u64 len;
        u8 *outside = load("back", &len);
        assert_int_equal(len, 16384);
        assert_memory_equal(outside + 512, text, sizeof(text) - 512);
        free(outside);
        disk_fini(&c.disk);
        free(bytes);
    }
}

static void finds_the_partition(void **state)
{
    struct cut_disk c;
    struct slots s;
    u64 size;

    (void)state;
    free(file_system(16, 8192, &size));
    sh("rm -f gpt mbr; truncate -s 12M gpt && sgdisk --clear --new=1:2048:4095 --typecode=1:8300 "
       "--new=2:4096:20479 --typecode=2:ef00 gpt && dd if=fs of=gpt bs=1M seek=2 conv=notrunc");
    u8 *bytes = load("gpt", &size);
    open_disk(&c, bytes, size, 512);
    assert_int_equal(slots_open(&s, &c.disk, "bulkhead/config"), HV_OK);
    assert_true(s.file[0].extent[0].offset > 2 * MIB);
    memset(bytes + 512, 0, 512); /* no GPT: the protective MBR names nothing of ours */
    assert_int_equal(slots_open(&s, &c.disk, "bulkhead/config"), HV_ENOENT);
    memcpy(bytes + 446, "\x80\0\0\0\x0c\0\0\0\0\x10\0\0\0\x40\0\0", 16);
    assert_int_equal(slots_open(&s, &c.disk, "bulkhead/config"), HV_OK);
    disk_fini(&c.disk);
    free(bytes);
}

/* ---- writing -----------------------------------------------------------------------------------
 */
static void texts(u32 n, char *text, u32 *len)
{
    static const u32 lengths[] = {0, 1, 447, 448, 449, 3000, 9000, 100};

    *len = lengths[n % ARRAY_LEN(lengths)];
    for (u32 i = 0; i < *len; i++)
        text[i] = (char)('a' + (i * 7 + n) % 26);
}

static bool is_text(u32 n, const char *text, u32 len)
{
    static char expected[16384];
    u32 wanted;

    texts(n, expected, &wanted);
    return wanted == len && !memcmp(expected, text, len);
}

/* The write of text n is cut after `cut` sectors.  True: all of it came through. */
static bool one_cut(u8 *bytes, u64 size, u32 n, u64 cut, bool shuffled)
{
    struct cut_disk c;
    struct slots s;
    enum slots_state found;
    char text[16384], *got;
    u32 len;

    open_disk(&c, bytes, size, 512);
    c.shuffled = shuffled;
    assert_int_equal(slots_open(&s, &c.disk, "bulkhead/config"), HV_OK);
    assert_int_equal(slots_read(&s, &found, &got, &len), HV_OK);
    free(got);
    texts(n, text, &len);
    c.left = cut;
    assert_int_equal(slots_write(&s, text, len), HV_OK);
    bool whole = c.written <= cut;

    c.left = ~0ull; /* power is back */
    assert_int_equal(slots_open(&s, &c.disk, "bulkhead/config"), HV_OK);
    assert_int_equal(slots_read(&s, &found, &got, &len), HV_OK);
    if (n == 0 && !got) {
        assert_true(!whole && (found == SLOTS_EMPTY || found == SLOTS_LOST));
    } else {
        assert_non_null(got);
        assert_true(is_text(whole ? n : n - 1, got, len) || (!whole && is_text(n, got, len)));
        if (!is_text(n, got, len) && cut) /* the other copy is neither blank nor whole */
            assert_true(found == SLOTS_REPAIRED || found == SLOTS_GOOD);
    }
    free(got);
    /* What was torn is written over at the next chance. */
    texts(n, text, &len);
    assert_int_equal(slots_write(&s, text, len), HV_OK);
    assert_int_equal(slots_read(&s, &found, &got, &len), HV_OK);
    assert_true(is_text(n, got, len));
    free(got);
    disk_fini(&c.disk);
    return whole;
}

static void survives_a_cut_at_every_sector(void **state)
{
    u64 size;
    u8 *begin = in_pieces(&size), *bytes = malloc(size);
    u32 cuts = 0;

    (void)state;
    for (u32 shuffled = 0; shuffled < 2; shuffled++) {
        u8 *before = malloc(size);

        memcpy(before, begin, size);
        for (u32 n = 0; n < 8; n++) {
            for (u64 cut = 0;; cut++, cuts++) {
                memcpy(bytes, before, size);
                if (one_cut(bytes, size, n, cut, shuffled))
                    break;
            }
            memcpy(before, bytes, size);
        }
        free(before);
    }
    print_message("%u power cuts\n", cuts);
    assert_true(cuts > 60);
    free(begin);
    free(bytes);
}

/* A torn write is told from a file system that was never written to. */
static void says_what_it_found(void **state)
{
    struct cut_disk c;
    struct slots s;
    enum slots_state found;
    u64 size;
    u8 *bytes = file_system(16, 8192, &size);
    char *text;
    u32 len;

    (void)state;
    open_disk(&c, bytes, size, 512);
    assert_int_equal(slots_open(&s, &c.disk, "bulkhead/config"), HV_OK);
    assert_int_equal(slots_read(&s, &found, &text, &len), HV_OK);
    assert_int_equal(found, SLOTS_EMPTY);
    assert_null(text);
    assert_int_equal(slots_write(&s, "one\n", 4), HV_OK);
    assert_int_equal(slots_write(&s, "two\n", 4), HV_OK);
    assert_int_equal(slots_read(&s, &found, &text, &len), HV_OK);
    assert_int_equal(found, SLOTS_GOOD);
    assert_string_equal(text, "two\n");
    free(text);
    bytes[s.file[s.newest].extent[0].offset + SLOTS_HEADER] ^= 1;
    assert_int_equal(slots_read(&s, &found, &text, &len), HV_OK);
    assert_int_equal(found, SLOTS_REPAIRED);
    assert_string_equal(text, "one\n");
    free(text);
    bytes[s.file[s.newest].extent[0].offset + 20] ^= 1;
    assert_int_equal(slots_read(&s, &found, &text, &len), HV_OK);
    assert_int_equal(found, SLOTS_LOST);
    assert_null(text);
    char big[20000];
    memset(big, 'x', sizeof(big));
    assert_int_equal(slots_write(&s, big, sizeof(big)), HV_ENOSPC);
    disk_fini(&c.disk);
    free(bytes);
}

/* A sector that cannot be read costs the copy that it is in, and not the other one; `behind`: it is
 * one of the text's, not of the header's. */
static void one_dead_sector(u32 which, bool behind)
{
    struct cut_disk c;
    struct slots s;
    enum slots_state found;
    u64 size;
    u8 *bytes = file_system(16, 8192, &size);
    char first[9000], second[9000], *text;
    u32 len;

    memset(first, '1', sizeof(first));
    memset(second, '2', sizeof(second));
    open_disk(&c, bytes, size, 512);
    assert_int_equal(slots_open(&s, &c.disk, "bulkhead/config"), HV_OK);
    assert_int_equal(slots_read(&s, &found, &text, &len), HV_OK);
    assert_int_equal(slots_write(&s, first, sizeof(first)), HV_OK);
    assert_int_equal(slots_write(&s, second, sizeof(second)), HV_OK);
    c.dead[0] = s.file[which].extent[0].offset + (behind ? 8192 : 0);
    assert_int_equal(slots_read(&s, &found, &text, &len), HV_OK);
    assert_int_equal(found, SLOTS_REPAIRED);
    assert_true(s.unreadable);
    assert_int_equal(len, sizeof(first));
    assert_memory_equal(text, which ? first : second, len);
    free(text);
    assert_int_equal(s.sequence, which ? 1 : 2);
    /* The next one goes over the copy that could not be read, and counts when that can be again. */
    assert_int_equal(slots_write(&s, "three", 5), HV_OK);
    assert_int_equal(s.newest, which);
    c.dead[0] = 0;
    assert_int_equal(slots_read(&s, &found, &text, &len), HV_OK);
    assert_int_equal(found, SLOTS_GOOD);
    assert_false(s.unreadable);
    assert_string_equal(text, "three");
    free(text);
    disk_fini(&c.disk);
    free(bytes);
}

static void goes_on_without_a_copy_that_cannot_be_read(void **state)
{
    (void)state;
    for (u32 i = 0; i < 4; i++)
        one_dead_sector(i & 1, i & 2);
}

/* Neither can be read: what to go on from is not known, and a new first number would lose to them.
 */
static void stops_where_neither_can_be_read(void **state)
{
    struct cut_disk c;
    struct slots s;
    enum slots_state found;
    u64 size;
    u8 *bytes = file_system(16, 8192, &size);
    char *text;
    u32 len;

    (void)state;
    open_disk(&c, bytes, size, 512);
    assert_int_equal(slots_open(&s, &c.disk, "bulkhead/config"), HV_OK);
    assert_int_equal(slots_read(&s, &found, &text, &len), HV_OK);
    for (u32 i = 0; i < 5; i++)
        assert_int_equal(slots_write(&s, "five", 4), HV_OK);
    for (u32 i = 0; i < SLOTS; i++)
        c.dead[i] = s.file[i].extent[0].offset;
    assert_int_equal(slots_read(&s, &found, &text, &len), HV_EIO);
    assert_null(text);
    c.dead[0] = 0; /* one of them damaged is no better */
    bytes[s.file[0].extent[0].offset + SLOTS_HEADER] ^= 1;
    assert_int_equal(slots_read(&s, &found, &text, &len), HV_EIO);
    c.dead[1] = 0;
    assert_int_equal(slots_read(&s, &found, &text, &len), HV_OK);
    assert_int_equal(found, SLOTS_REPAIRED);
    assert_int_equal(s.sequence, 4);
    free(text);
    disk_fini(&c.disk);
    free(bytes);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(finds_files_in_every_fat),
        cmocka_unit_test(finds_the_partition),
        cmocka_unit_test(survives_a_cut_at_every_sector),
        cmocka_unit_test(says_what_it_found),
        cmocka_unit_test(goes_on_without_a_copy_that_cannot_be_read),
        cmocka_unit_test(stops_where_neither_can_be_read),
    };
    return cmocka_run_group_tests(tests, set_up, tear_down);
}
