/* links: tests/fuzz/image_fuzz.c storage/image.c storage/engine.c storage/engine_map.c storage/engine_slow.c storage/meta.c storage/raw.c storage/qcow2.c storage/qcow2_write.c storage/qcow2_refcount.c storage/vdi.c storage/vhd.c storage/vhdx.c storage/vhdx_log.c storage/vhdx_create.c storage/vmdk.c storage/vmdk_create.c storage/vmdk_descriptor.c storage/unpack.c storage/disk.c storage/disk_wait.c storage/iov.c storage/ram_disk.c control/rt/fiber.c control/rt/fiber_switch.S control/rt/loop.c control/rt/clock.c control/rt/log.c control/rt/host/host.c */
/* A VHDX image with any changes to its metadata: patches (place, length, bytes) to an empty image
 * of ours, checksums made right again, so that what is behind them is reached. */
#include <string.h>

#include "storage/crc32c.h"
#include "storage/endian.h"
#include "storage/ram_disk.h"
#include "storage/vhdx.h"
#include "tests/fuzz/image_fuzz.h"

int LLVMFuzzerTestOneInput(const u8 *data, size_t size);

#define IMAGE_SIZE (5 * MIB)

/* In place of the real one, which would take most of the time: its value is made right anyway. */
u32 crc32c(u32 crc, const void *data, u64 len)
{
    const u8 *p = data;

    for (u64 i = 0; i + 8 <= len; i += 512)
        crc = crc * 31 + (u32)le64(p + i);
    return crc;
}

static u8 fresh[2][IMAGE_SIZE], image[IMAGE_SIZE];

static void make_fresh(bool parent, u8 *out)
{
    static struct image above;
    struct image_options o = {.size = 3 * MIB, .unit = MIB, .id = {1}};
    struct disk *file = ram_disk_open("seed", 0, 1, 64 * MIB);
    char error[IMAGE_ERROR_MAX];

    above.id[0] = 9;
    o.parent = parent ? &above : NULL;
    if (vhdx_format.create(file, &o, error) != HV_OK)
        __builtin_trap();
    if (disk_read(file, 0, out, file->size) != HV_OK)
        __builtin_trap();
    put_le64(out + 3 * MIB, 4 * MIB | (parent ? VHDX_PARTIAL : VHDX_PRESENT));
    disk_close(file);
}

/* A log entry of one block, right but for what the patches do to it. */
static void make_log(void)
{
    u8 *e = image + MIB;

    memcpy(e, "loge", 4);
    put_le32(e + 8, 8192);
    put_le64(e + 16, 1);
    put_le32(e + 24, 1);
    memcpy(e + 32, image + VHDX_HEADER2 + VHDX_LOG_GUID, 16);
    memcpy(e + 64, "desc", 4);
    put_le64(e + 64 + 16, 3 * MIB);
    put_le64(e + 64 + 24, 1);
    memcpy(e + 4096, "data", 4);
    put_le32(e + 8188, 1);
}

static void fix_checksums(void)
{
    put_le32(image + VHDX_HEADER1 + 4, vhdx_checksum(image + VHDX_HEADER1, VHDX_HEADER_SIZE));
    put_le32(image + VHDX_HEADER2 + 4, vhdx_checksum(image + VHDX_HEADER2, VHDX_HEADER_SIZE));
    put_le32(image + VHDX_REGION1 + 4, vhdx_checksum(image + VHDX_REGION1, VHDX_REGION_SIZE));
    for (u32 at = 0; at < 16384; at += 4096) {
        u8 *e = image + MIB + at;
        u32 length = le32(e + 8);

        if (!memcmp(e, "loge", 4) && length >= 4096 && length <= 65536)
            put_le32(e + 4, vhdx_checksum(e, length));
    }
}

int LLVMFuzzerTestOneInput(const u8 *data, size_t size)
{
    static const u32 places[8] = {VHDX_HEADER1,       VHDX_HEADER2, VHDX_REGION1, 2 * MIB,
                                  2 * MIB + 64 * KIB, 3 * MIB,      MIB,          0};

    /* All that a fresh image has, and all that the patches reach. */
    static const struct image_fuzz_part parts[] = {
        {0, 320 * KIB}, {MIB, 64 * KIB}, {2 * MIB, 128 * KIB}, {3 * MIB, 64 * KIB}};

    if (size < 1)
        return 0;
    if (!fresh[0][0]) {
        make_fresh(false, fresh[0]);
        make_fresh(true, fresh[1]);
    }
    for (u32 i = 0; i < ARRAY_LEN(parts); i++)
        memcpy(image + parts[i].at, fresh[data[0] & 1] + parts[i].at, parts[i].length);
    if (data[0] & 2) {
        image[VHDX_HEADER2 + VHDX_LOG_GUID] = 1;
        make_log();
    }
    for (size_t at = 1; at + 4 < size;) {
        u64 place = places[data[at] & 7] + le16(data + at + 1) % 16384, n = data[at + 3] % 33;

        n = MIN(n, size - at - 4);
        memcpy(image + place, data + at + 4, n);
        at += 4 + n;
    }
    fix_checksums();
    image_fuzz_parts(&vhdx_format, image, sizeof(image), parts, ARRAY_LEN(parts));
    return 0;
}
