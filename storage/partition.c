/* Partition tables read, and partitions as disks; called by the shell's commands and by VMs whose
 * disks are partitions, in their fibers. */
#include "storage/partition.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "storage/endian.h"
#include "storage/window.h"

#define GPT_STEP_MAX 4096u
#define EBR_MAX 64u

/* ---- tables: UEFI specification 2.10, chapter 5 ------------------------------------------------
 */

static const struct {
    u8 id[16];
    const char *name;
} gpt_kinds[] = {
    {{0x28, 0x73, 0x2a, 0xc1, 0x1f, 0xf8, 0xd2, 0x11, 0xba, 0x4b, 0, 0xa0, 0xc9, 0x3e, 0xc9, 0x3b},
     "EFI system"},
    {{0xaf, 0x3d, 0xc6, 0x0f, 0x83, 0x84, 0x72, 0x47, 0x8e, 0x79, 0x3d, 0x69, 0xd8, 0x47, 0x7d,
      0xe4},
     "Linux"},
    {{0xa2, 0xa0, 0xd0, 0xeb, 0xe5, 0xb9, 0x33, 0x44, 0x87, 0xc0, 0x68, 0xb6, 0xb7, 0x26, 0x99,
      0xc7},
     "basic data"},
};
static const struct {
    u8 type;
    const char *name;
} mbr_kinds[] = {
    {0x07, "basic data"}, {0x0c, "FAT32"}, {0x83, "Linux"}, {0xef, "EFI system"}, {0xee, "GPT"},
};

struct table {
    struct disk *disk;
    struct partition *out;
    u32 count;
};

static bool add(struct table *t, u32 number, u64 first, u64 sectors, const char *kind)
{
    u64 unit = t->disk->block_size, all = t->disk->size / unit;
    struct partition *p = &t->out[t->count];

    if (t->count == PARTITIONS_MAX || !first || !sectors || first >= all || sectors > all - first)
        return false;
    *p = (struct partition){.number = number, .offset = first * unit, .length = sectors * unit};
    snprintf(p->kind, sizeof(p->kind), "%s", kind);
    for (u32 i = 0; i < t->count; i++)
        if (p->offset < t->out[i].offset + t->out[i].length &&
            t->out[i].offset < p->offset + p->length)
            return false;
    t->count++;
    return true;
}

static void gpt_kind(const u8 *id, char text[40])
{
    for (u32 i = 0; i < ARRAY_LEN(gpt_kinds); i++) {
        if (!memcmp(id, gpt_kinds[i].id, 16)) {
            snprintf(text, 40, "%s", gpt_kinds[i].name);
            return;
        }
    }
    snprintf(text, 40, "%08X-%04X-%04X-%02X%02X-%02X%02X%02X%02X%02X%02X", le32(id), le16(id + 4),
             le16(id + 6), id[8], id[9], id[10], id[11], id[12], id[13], id[14], id[15]);
}

static void gpt_name(const u8 *utf16, char name[37])
{
    for (u32 i = 0; i < 36; i++) {
        u32 c = le16(utf16 + 2 * i);

        name[i] = (char)(c < 0x7f && (c >= 0x20 || !c) ? c : '?');
    }
    name[36] = 0;
}

static enum hv_status read_gpt(struct table *t, const u8 *header, u8 *block)
{
    u64 unit = t->disk->block_size, at = le64(header + 72);
    u32 entries = le32(header + 80), step = le32(header + 84);
    u64 loaded = ~0ull;

    if (step < 128 || step > GPT_STEP_MAX || step % 128 || entries > 16384 ||
        at >= t->disk->size / unit || (u64)entries * step > t->disk->size - at * unit)
        return HV_ECORRUPT;
    for (u32 i = 0; i < entries; i++) {
        u64 place = at * unit + (u64)i * step, within = place % unit;
        static const u8 none[16];
        enum hv_status status = HV_OK;
        char kind[40];

        if (within + 128 > unit)
            return HV_ECORRUPT;
        if (place - within != loaded)
            status = disk_read(t->disk, loaded = place - within, block, unit);
        if (status != HV_OK)
            return status;
        const u8 *e = block + within;
        if (!memcmp(e, none, 16))
            continue;
        gpt_kind(e, kind);
        u64 first = le64(e + 32), last = le64(e + 40);
        if (last < first || last == ~0ull || !add(t, i + 1, first, last - first + 1, kind))
            return HV_ECORRUPT;
        gpt_name(e + 56, t->out[t->count - 1].name);
    }
    return HV_OK;
}

static const char *mbr_kind(u8 type, char text[8])
{
    for (u32 i = 0; i < ARRAY_LEN(mbr_kinds); i++)
        if (mbr_kinds[i].type == type)
            return mbr_kinds[i].name;
    snprintf(text, 8, "%02xh", type);
    return text;
}

static bool is_extended(u8 type)
{
    return type == 0x05 || type == 0x0f || type == 0x85;
}

/* Logical partitions: each has a table of its own, which names the next. */
static enum hv_status read_logical(struct table *t, u64 base, u64 sectors, u8 *block)
{
    u64 unit = t->disk->block_size, at = base;
    char text[8];

    for (u32 i = 0; i < EBR_MAX; i++) {
        const u8 *e = block + 446;

        if (at >= t->disk->size / unit)
            return HV_ECORRUPT;
        enum hv_status status = disk_read(t->disk, at * unit, block, unit);
        if (status != HV_OK)
            return status;
        if (block[510] != 0x55 || block[511] != 0xaa)
            return HV_ECORRUPT;
        if (e[4] && !add(t, 5 + i, at + le32(e + 8), le32(e + 12), mbr_kind(e[4], text)))
            return HV_ECORRUPT;
        if (!is_extended(e[16 + 4]) || le32(e + 16 + 8) >= sectors)
            return is_extended(e[16 + 4]) ? HV_ECORRUPT : HV_OK;
        at = base + le32(e + 16 + 8);
    }
    return HV_ECORRUPT; /* more than anybody makes: a loop */
}

static enum hv_status read_mbr(struct table *t, u8 *block)
{
    enum hv_status status = HV_OK;
    u8 entries[64];
    char text[8];

    if (block[510] != 0x55 || block[511] != 0xaa)
        return HV_ENOENT;
    memcpy(entries, block + 446, sizeof(entries));
    for (u32 i = 0; i < 4; i++) /* a boot sector of a file system has code here */
        if (entries[16 * i] & 0x7f)
            return HV_ENOENT;
    for (u32 i = 0; i < 4 && status == HV_OK; i++) {
        const u8 *e = entries + 16 * i;
        u64 first = le32(e + 8), sectors = le32(e + 12);

        if (!e[4] || !sectors)
            continue;
        if (is_extended(e[4]))
            status = read_logical(t, first, sectors, block);
        else if (!add(t, i + 1, first, sectors, mbr_kind(e[4], text)))
            status = HV_ECORRUPT;
    }
    return status == HV_OK && !t->count ? HV_ENOENT : status;
}

enum hv_status partition_read(struct disk *d, struct partition *out, u32 *count, bool *gpt)
{
    struct table t = {.disk = d, .out = out};
    u64 unit = d->block_size;
    u8 *block;
    enum hv_status status;

    *count = 0;
    *gpt = false;
    if (unit < 512 || unit > GPT_STEP_MAX || d->size < 34 * unit)
        return HV_ENOENT;
    block = malloc(2 * unit);
    status = block ? disk_read(d, unit, block, unit) : HV_ENOMEM;
    *gpt = status == HV_OK && !memcmp(block, "EFI PART", 8);
    if (*gpt) {
        status = read_gpt(&t, block, block + unit);
    } else if (status == HV_OK) {
        status = disk_read(d, 0, block, unit);
        if (status == HV_OK)
            status = read_mbr(&t, block);
    }
    free(block);
    *count = t.count;
    return status;
}

/* ---- disks -------------------------------------------------------------------------------------
 */

bool partition_is(const struct disk *d)
{
    return window_whole(d) && strcmp(d->ops->name, "partition") == 0;
}

static u32 open_on(const struct disk *whole)
{
    u32 n = 0;

    for (struct disk *d = disk_first(); d; d = d->next)
        n += partition_is(d) && window_whole(d) == whole;
    return n;
}

/* "vd0p12": the disk's part and the number; 0: it is no such name. */
static u32 split(const char *name, char whole[DISK_NAME_MAX])
{
    const char *p = strrchr(name, 'p');
    u32 number = 0, digits = 0;

    for (const char *at = p ? p + 1 : ""; *at; at++, digits++) {
        if (*at < '0' || *at > '9' || digits == 5)
            return 0;
        number = number * 10 + (u32)(*at - '0');
    }
    if (!p || p == name || p[1] == '0' || p - name >= (long)DISK_NAME_MAX)
        return 0;
    memcpy(whole, name, (size_t)(p - name));
    whole[p - name] = 0;
    return number;
}

struct disk *partition_find(const char *name, char why[120])
{
    char base[DISK_NAME_MAX], ignored[120];
    struct disk *d = disk_find(name), *whole;
    struct partition *all = NULL;
    u32 number, count = 0;
    struct window_piece piece;
    bool gpt;

    if (d)
        return d;
    why = why ? why : ignored;
    snprintf(why, 120, "there is no disk '%.60s'", name);
    number = split(name, base);
    whole = number ? disk_find(base) : NULL;
    if (!whole || partition_is(whole))
        return NULL;
    all = calloc(PARTITIONS_MAX, sizeof(*all));
    enum hv_status status = all ? partition_read(whole, all, &count, &gpt) : HV_ENOMEM;
    if (status == HV_OK && whole->users > open_on(whole)) {
        snprintf(why, 120, "all of disk %.60s is in use", base);
        status = HV_EBUSY;
    }
    for (u32 i = 0; i < count && status == HV_OK && !d; i++) {
        piece = (struct window_piece){all[i].offset, all[i].length};
        if (all[i].number == number)
            d = window_open(whole, "partition", name, &piece, 1);
    }
    free(all);
    return d;
}
