/* Partition tables and FAT, for reading; called by control/saved.c in a fiber.  Layouts: UEFI 2.10
 * section 5.3, Microsoft's FAT specification of 2000-12-06. */
#include "storage/esp.h"

#include <stdlib.h>
#include <string.h>

#include "storage/endian.h"

#define WINDOW 4096u
#define GPT_ENTRIES_MAX 256u
#define FOLDER_CLUSTERS_MAX 4096u
#define CLUSTERS_FAT12 4085u
#define CLUSTERS_FAT16 65525u
#define ENTRY 32u
#define ATTRIBUTE_FOLDER 0x10
#define ATTRIBUTE_LABEL 0x08 /* also set in every part of a long name */

/* C12A7328-F81F-11D2-BA4B-00A0C93EC93B */
static const u8 system_partition[16] = {0x28, 0x73, 0x2a, 0xc1, 0x1f, 0xf8, 0xd2, 0x11,
                                        0xba, 0x4b, 0x00, 0xa0, 0xc9, 0x3e, 0xc9, 0x3b};

struct fat {
    struct disk *disk;
    u64 base, size; /* of the partition, bytes */
    u32 bits;       /* 12, 16 or 32 */
    u64 fat, fat_size, root, root_size, data;
    u32 cluster; /* bytes of one */
    u32 clusters, root_cluster;
    u64 window_at; /* bytes of the disk in `window`; ~0: none */
    u8 window[WINDOW];
};

/* Bytes of the disk, through one window of it. */
static enum hv_status get(struct fat *f, u64 at, void *to, u32 len)
{
    u8 *p = to;

    while (len) {
        u64 start = ROUND_DOWN(at, (u64)WINDOW);
        u32 skip = (u32)(at - start), n = MIN(len, WINDOW - skip);

        if (at >= f->disk->size || len > f->disk->size - at)
            return HV_ECORRUPT;
        if (start != f->window_at) {
            enum hv_status status =
                disk_read(f->disk, start, f->window, MIN((u64)WINDOW, f->disk->size - start));

            f->window_at = status == HV_OK ? start : ~0ull;
            if (status != HV_OK)
                return status;
        }
        memcpy(p, f->window + skip, n);
        p += n;
        at += n;
        len -= n;
    }
    return HV_OK;
}

/* ---- the file system --------------------------------------------------------------------------
 */
static enum hv_status fat_open(struct fat *f, u64 base, u64 size)
{
    u8 b[512];
    enum hv_status status = get(f, base, b, sizeof(b));

    if (status != HV_OK)
        return status;
    u32 sector = le16(b + 11), per_cluster = b[13], reserved = le16(b + 14), fats = b[16];
    u32 root_entries = le16(b + 17);
    u64 sectors = le16(b + 19) ? le16(b + 19) : le32(b + 32);
    u64 fat_sectors = le16(b + 22) ? le16(b + 22) : le32(b + 36);

    if (b[510] != 0x55 || b[511] != 0xaa || sector < 512 || sector > 4096 ||
        (sector & (sector - 1)) || !per_cluster || (per_cluster & (per_cluster - 1)) || !reserved ||
        !fats || fats > 4 || !fat_sectors || sectors > size / sector)
        return HV_ENOENT;
    u64 root_sectors = (root_entries * ENTRY + sector - 1) / sector;
    u64 before = reserved + fats * fat_sectors + root_sectors;
    if (before >= sectors)
        return HV_ENOENT;
    u64 clusters = (sectors - before) / per_cluster;
    f->base = base;
    f->size = size;
    f->bits = clusters < CLUSTERS_FAT12 ? 12 : clusters < CLUSTERS_FAT16 ? 16 : 32;
    f->fat = base + (u64)reserved * sector;
    f->fat_size = fat_sectors * sector;
    f->root = f->fat + fats * f->fat_size;
    f->root_size = root_entries * ENTRY;
    f->data = f->root + root_sectors * sector;
    f->cluster = sector * per_cluster;
    f->clusters = (u32)clusters;
    f->root_cluster = f->bits == 32 ? le32(b + 44) : 0;
    return f->cluster % f->disk->block_size || f->data % f->disk->block_size ? HV_ENOENT : HV_OK;
}

static bool is_cluster(const struct fat *f, u32 c)
{
    return c >= 2 && c - 2 < f->clusters;
}

static u64 cluster_at(const struct fat *f, u32 c)
{
    return f->data + (u64)(c - 2) * f->cluster;
}

/* The cluster behind c, 0 at the end of the chain. */
static enum hv_status next_cluster(struct fat *f, u32 c, u32 *next)
{
    u64 at = f->bits == 12 ? c + c / 2 : (u64)c * (f->bits / 8);
    u8 b[4] = {0};

    if (at + 4 > f->fat_size + (f->bits == 32 ? 0 : 2))
        return HV_ECORRUPT;
    enum hv_status status = get(f, f->fat + at, b, f->bits == 32 ? 4 : 2);
    u32 value = f->bits == 32   ? le32(b) & 0x0fffffff
                : f->bits == 16 ? le16(b)
                : c & 1         ? (u32)le16(b) >> 4
                                : le16(b) & 0xfffu;

    *next = is_cluster(f, value) ? value : 0;
    return status;
}

/* "config.a" as "CONFIG  A  ".  Returns the rest of the path, behind the '/'. */
static const char *short_name(const char *path, char name[11])
{
    u32 at = 0;

    memset(name, ' ', 11);
    for (; *path && *path != '/'; path++) {
        char c = *path >= 'a' && *path <= 'z' ? (char)(*path - 0x20) : *path;

        if (c == '.')
            at = 8;
        else if (at < 11)
            name[at++] = c;
    }
    return *path ? path + 1 : path;
}

struct found {
    u32 cluster, size;
    bool folder;
};

/* Looks through `len` bytes of a folder.  HV_ENOENT: not here; *end: nothing follows. */
static enum hv_status look(struct fat *f, u64 at, u64 len, const char name[11], struct found *out,
                           bool *end)
{
    for (u64 i = 0; i + ENTRY <= len; i += ENTRY) {
        u8 e[ENTRY];
        enum hv_status status = get(f, at + i, e, ENTRY);

        if (status != HV_OK)
            return status;
        if (!e[0]) {
            *end = true;
            return HV_ENOENT;
        }
        if ((e[11] & ATTRIBUTE_LABEL) || memcmp(e, name, 11))
            continue;
        out->cluster = le16(e + 26) | (f->bits == 32 ? (u32)le16(e + 20) << 16 : 0);
        out->size = le32(e + 28);
        out->folder = e[11] & ATTRIBUTE_FOLDER;
        return HV_OK;
    }
    return HV_ENOENT;
}

/* folder 0: the root of FAT12 and FAT16, which has a place of its own. */
static enum hv_status look_in(struct fat *f, u32 folder, const char name[11], struct found *out)
{
    bool end = false;

    if (!folder)
        return look(f, f->root, f->root_size, name, out, &end);
    for (u32 i = 0; folder && i < FOLDER_CLUSTERS_MAX && !end; i++) {
        if (!is_cluster(f, folder))
            return HV_ECORRUPT;
        enum hv_status status = look(f, cluster_at(f, folder), f->cluster, name, out, &end);
        if (status == HV_ENOENT && !end)
            status = next_cluster(f, folder, &folder) == HV_OK ? HV_ENOENT : HV_ECORRUPT;
        if (status != HV_ENOENT)
            return status;
    }
    return HV_ENOENT;
}

/* The clusters of a file, neighbours put together. */
static enum hv_status collect(struct fat *f, const struct found *file, struct esp_file *out)
{
    u32 c = file->cluster;

    out->disk = f->disk;
    out->size = out->count = 0;
    out->length = file->size;
    while (out->size < file->size) {
        struct esp_extent *last = out->count ? &out->extent[out->count - 1] : NULL;
        u64 n = MIN((u64)f->cluster, ROUND_UP(file->size - out->size, (u64)f->disk->block_size));

        if (!is_cluster(f, c))
            return HV_ECORRUPT;
        u64 at = cluster_at(f, c);
        if (last && last->offset + last->length == at) {
            last->length += n;
        } else if (out->count == ESP_EXTENTS) {
            return HV_E2BIG;
        } else {
            out->extent[out->count++] = (struct esp_extent){at, n};
        }
        out->size += n;
        enum hv_status status = next_cluster(f, c, &c);
        if (status != HV_OK)
            return status;
    }
    out->size = ROUND_DOWN(file->size, (u64)f->disk->block_size);
    return out->size ? HV_OK : HV_ENOENT;
}

static enum hv_status find_in(struct fat *f, const char *path, struct esp_file *out)
{
    struct found at = {.cluster = f->root_cluster, .folder = true};

    while (*path) {
        char name[11];
        u32 folder = at.cluster;

        if (!at.folder)
            return HV_ENOENT;
        path = short_name(path, name);
        enum hv_status status = look_in(f, folder, name, &at);
        if (status != HV_OK)
            return status;
    }
    return at.folder ? HV_ENOENT : collect(f, &at, out);
}

/* ---- partitions -------------------------------------------------------------------------------
 */
/* Whether the search goes on after this answer. */
static bool elsewhere(enum hv_status status)
{
    return status == HV_ENOENT || status == HV_ECORRUPT;
}

static enum hv_status try(struct fat *f, u64 base, u64 size, const char *path, struct esp_file *out)
{
    if (base >= f->disk->size || size > f->disk->size - base || size < WINDOW)
        return HV_ENOENT;
    enum hv_status status = fat_open(f, base, size);
    return status == HV_OK ? find_in(f, path, out) : status;
}

static enum hv_status try_gpt(struct fat *f, const char *path, struct esp_file *out)
{
    u64 unit = f->disk->block_size;
    u8 h[96], e[128];
    enum hv_status status = get(f, unit, h, sizeof(h)), worst = HV_ENOENT;

    if (status != HV_OK)
        return status;
    if (memcmp(h, "EFI PART", 8))
        return HV_ENOENT;
    u64 entries = le64(h + 72);
    u32 count = MIN(le32(h + 80), GPT_ENTRIES_MAX), step = le32(h + 84);
    if (step < sizeof(e) || step > WINDOW || entries >= f->disk->size / unit)
        return HV_ECORRUPT;
    for (u32 i = 0; i < count; i++) {
        status = get(f, entries * unit + (u64)i * step, e, sizeof(e));
        if (status != HV_OK)
            return status;
        u64 first = le64(e + 32), last = le64(e + 40);
        if (memcmp(e, system_partition, 16) || last < first || last >= f->disk->size / unit)
            continue;
        status = try(f, first * unit, (last - first + 1) * unit, path, out);
        if (!elsewhere(status))
            return status;
        worst = status;
    }
    return worst;
}

static enum hv_status try_mbr(struct fat *f, const char *path, struct esp_file *out)
{
    static const u8 types[] = {0x01, 0x04, 0x06, 0x0b, 0x0c, 0x0e, 0xef};
    u8 b[512];
    enum hv_status status = get(f, 0, b, sizeof(b));

    if (status != HV_OK || b[510] != 0x55 || b[511] != 0xaa)
        return status != HV_OK ? status : HV_ENOENT;
    for (u32 i = 0; i < 4; i++) {
        const u8 *e = b + 446 + 16 * i;
        u64 unit = f->disk->block_size;

        if (!memchr(types, e[4], sizeof(types)))
            continue;
        status = try(f, le32(e + 8) * unit, le32(e + 12) * unit, path, out);
        if (!elsewhere(status))
            return status;
    }
    return try(f, 0, f->disk->size, path, out);
}

enum hv_status esp_find(struct disk *d, const char *path, struct esp_file *out)
{
    struct fat *f = calloc(1, sizeof(*f));

    if (!f)
        return HV_ENOMEM;
    if (d->block_size < 512 || d->block_size > WINDOW || d->size < 64 * KIB) {
        free(f);
        return HV_ENOENT;
    }
    f->disk = d;
    f->window_at = ~0ull;
    enum hv_status status = try_gpt(f, path, out);
    if (elsewhere(status)) {
        enum hv_status second = try_mbr(f, path, out);

        status = second == HV_ENOENT ? status : second;
    }
    free(f);
    return status;
}

/* ---- in place ---------------------------------------------------------------------------------
 */
static enum hv_status transfer(const struct esp_file *f, enum disk_op op, u64 offset, u8 *buf,
                               u64 len)
{
    if (offset > f->size || len > f->size - offset)
        return HV_EINVAL;
    for (u32 i = 0; i < f->count && len; i++) {
        const struct esp_extent *e = &f->extent[i];

        if (offset >= e->length) {
            offset -= e->length;
            continue;
        }
        u64 n = MIN(len, e->length - offset);
        struct disk_iov iov = {buf, n};
        enum hv_status status = disk_do(f->disk, op, e->offset + offset, n, &iov, 1);
        if (status != HV_OK)
            return status;
        buf += n;
        len -= n;
        offset = 0;
    }
    return HV_OK;
}

enum hv_status esp_read(const struct esp_file *f, u64 offset, void *buf, u64 len)
{
    return transfer(f, DISK_READ, offset, buf, len);
}

enum hv_status esp_write(const struct esp_file *f, u64 offset, const void *buf, u64 len)
{
    return transfer(f, DISK_WRITE, offset, (u8 *)(uintptr_t)buf, len);
}
