/* links: tests/fuzz/image_fuzz.c tests/fuzz/page_disk.c storage/image.c storage/engine.c storage/engine_map.c storage/engine_slow.c storage/meta.c storage/raw.c storage/qcow2.c storage/qcow2_write.c storage/qcow2_refcount.c storage/vdi.c storage/vhd.c storage/vhdx.c storage/vhdx_log.c storage/vhdx_create.c storage/vmdk.c storage/vmdk_create.c storage/vmdk_descriptor.c storage/unpack.c storage/disk.c storage/disk_wait.c storage/iov.c control/rt/fiber.c control/rt/fiber_switch.S control/rt/loop.c control/rt/clock.c control/rt/log.c control/rt/host/host.c */
/* A VHDX image with any changes to its metadata: patches (place, length, bytes) to an empty image
 * of ours.  Checksums are the same for all contents, so that what is behind them is reached. */
#include <stdlib.h>
#include <string.h>

#include "storage/crc32c.h"
#include "storage/endian.h"
#include "storage/vhdx.h"
#include "tests/fuzz/image_fuzz.h"
#include "tests/fuzz/page_disk.h"

int LLVMFuzzerTestOneInput(const u8 *data, size_t size);

#define CHECKSUM 0x6b637573u
#define CHILD_BLOCK (8 * MIB)
#define CHUNK ((512ull << 23) / CHILD_BLOCK)
#define LOG_ENTRY 8192u

u32 crc32c(u32 crc, const void *data, u64 len)
{
    (void)crc, (void)data, (void)len;
    return CHECKSUM;
}

static struct disk *make_image(bool parent)
{
    static struct image above;
    struct image_options o = {.size = 3 * MIB, .unit = parent ? CHILD_BLOCK : MIB, .id = {1}};
    struct disk *file = page_disk_open("file", 0, 1, IMAGE_FUZZ_MAX);
    char error[IMAGE_ERROR_MAX];
    u8 entry[8];

    above.id[0] = 9;
    o.parent = parent ? &above : NULL;
    if (vhdx_format.create(file, &o, error) != HV_OK)
        abort();
    put_le64(entry, 4 * MIB | (parent ? VHDX_PARTIAL : VHDX_PRESENT));
    page_disk_put(file, 3 * MIB, entry, sizeof(entry));
    if (parent) { /* the bitmap's entry, behind those of a chunk of blocks */
        put_le64(entry, (4 * MIB + CHILD_BLOCK) | VHDX_PRESENT);
        page_disk_put(file, 3 * MIB + CHUNK * 8, entry, sizeof(entry));
        page_disk_put(file, 4 * MIB + CHILD_BLOCK, "\x5a\xff", 2);
        file->size = 5 * MIB + CHILD_BLOCK;
    }
    page_disk_keep(file);
    return file;
}

/* A log entry of one block, right but for what the patches do to it. */
static void put_log(struct disk *file)
{
    static u8 e[LOG_ENTRY], guid[16] = {1};

    memcpy(e, "loge", 4);
    put_le32(e + 4, CHECKSUM);
    put_le32(e + 8, LOG_ENTRY);
    put_le64(e + 16, 1);
    put_le32(e + 24, 1);
    memcpy(e + 32, guid, sizeof(guid));
    memcpy(e + 64, "desc", 4);
    put_le64(e + 64 + 16, 3 * MIB);
    put_le64(e + 64 + 24, 1);
    memcpy(e + 4096, "data", 4);
    put_le32(e + LOG_ENTRY - 4, 1);
    page_disk_put(file, MIB, e, sizeof(e));
    page_disk_put(file, VHDX_HEADER1 + VHDX_LOG_GUID, guid, sizeof(guid));
    page_disk_put(file, VHDX_HEADER2 + VHDX_LOG_GUID, guid, sizeof(guid));
}

int LLVMFuzzerTestOneInput(const u8 *data, size_t size)
{
    static const u32 places[8] = {VHDX_HEADER1,       VHDX_HEADER2, VHDX_REGION1, 2 * MIB,
                                  2 * MIB + 64 * KIB, 3 * MIB,      MIB,          0};
    static struct disk *images[2];

    if (size < 1)
        return 0;
    if (!images[0]) {
        images[0] = make_image(false);
        images[1] = make_image(true);
    }
    struct disk *file = images[data[0] & 1];
    if (data[0] & 2)
        put_log(file);
    for (size_t at = 1; at + 4 < size;) {
        u64 place = places[data[at] & 7] + le16(data + at + 1) % 16384, n = data[at + 3] % 33;

        n = MIN(n, size - at - 4);
        page_disk_put(file, place, data + at + 4, n);
        at += 4 + n;
    }
    bool read_only = (data[0] & 12) == 12;

    image_fuzz_file(&vhdx_format, file, (struct image_fuzz_use){read_only, read_only});
    return 0;
}
