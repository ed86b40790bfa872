/* IDENTIFY DEVICE data (ACS-3 7.12.7) and TRIM ranges (7.5.3).  Called by ahci.c and ide.c; pure.
 */
#include "drivers/ata.h"

#include <string.h>

enum word {
    W_SERIAL = 10,
    W_FIRMWARE = 23,
    W_MODEL = 27,
    W_CAPABILITIES = 49, /* bit 8: DMA, bit 9: LBA */
    W_SECTORS_28 = 60,
    W_DEPTH = 75,
    W_SATA = 76,   /* bit 8: NCQ */
    W_SETS_1 = 82, /* bit 0: SMART; 85: it is on */
    W_SETS_2 = 83, /* bit 10: 48 bits, bit 13: FLUSH CACHE EXT */
    W_ON_1 = 85,
    W_SECTORS_48 = 100,
    W_SECTOR_SIZE = 106,
    W_SECTOR_WORDS = 117,
    W_TRIM = 169,
};

static u64 words(const u16 *id, u32 at, u32 count)
{
    u64 value = 0;

    for (u32 i = 0; i < count; i++)
        value |= (u64)id[at + i] << (16 * i);
    return value;
}

enum hv_status ata_identify(struct block_device *d, struct ata_identity *out,
                            const u16 id[ATA_IDENTIFY_LEN / 2])
{
    bool sets_valid = (id[W_SETS_2] & 0xc000) == 0x4000;
    bool sizes_valid = (id[W_SECTOR_SIZE] & 0xc000) == 0x4000;
    u64 sector = 512;

    *out = (struct ata_identity){.lba48 = sets_valid && (id[W_SETS_2] & BIT(10))};
    out->depth = (id[W_DEPTH] & 31u) + 1;
    out->queued = id[W_SATA] != 0xffff && (id[W_SATA] & BIT(8)) && out->lba48;
    out->smart = sets_valid && (id[W_SETS_1] & id[W_ON_1] & 1);
    out->trim = (id[W_TRIM] & 1) && out->lba48;
    block_text(d->serial, sizeof(d->serial), id + W_SERIAL, 20, true);
    block_text(d->firmware, sizeof(d->firmware), id + W_FIRMWARE, 8, true);
    block_text(d->model, sizeof(d->model), id + W_MODEL, 40, true);
    out->dma = id[W_CAPABILITIES] & BIT(8);
    if (!(id[W_CAPABILITIES] & BIT(9)))
        return HV_ENOSYS;
    if (sizes_valid && (id[W_SECTOR_SIZE] & BIT(12)))
        sector = words(id, W_SECTOR_WORDS, 2) * 2;
    u64 sectors = out->lba48 ? words(id, W_SECTORS_48, 3) : words(id, W_SECTORS_28, 2);
    if (!sectors || sector < 512 || sector > 64 * KIB || (sector & (sector - 1)))
        return HV_ENOSYS;
    d->sector_size = (u32)sector;
    d->physical_sector_size = (u32)sector;
    if (sizes_valid && (id[W_SECTOR_SIZE] & BIT(13)))
        d->physical_sector_size = (u32)sector << (id[W_SECTOR_SIZE] & 7);
    d->size = sectors * sector; /* 48 and 16 bits */
    d->can_flush = true;
    d->can_discard = out->trim;
    return HV_OK;
}

void ata_trim(u64 ranges[64], u64 sector, u64 count)
{
    memset(ranges, 0, 512);
    for (u32 i = 0; i < 64 && count; i++) {
        u64 part = MIN(count, 0xffffull);
        ranges[i] = sector | part << 48;
        sector += part;
        count -= part;
    }
}

/* The table of attributes is the vendors' own, not ACS': of 12 bytes each, number first, the value
 * (100 or 200 and falling) at 3, raw bytes from 5 on. */
bool ata_smart(struct block_health *h, const u8 data[ATA_IDENTIFY_LEN])
{
    enum { POWER_ON_HOURS = 9, AIR_FLOW = 190, CELSIUS = 194, PENDING = 197, BAD = 198 };
    enum { WEAR_LEVELING = 177, LIFE_LEFT = 231, WEAR_OUT = 233 };
    i64 pending = -1, bad = -1;
    u8 sum = 0;

    for (u32 i = 0; i < ATA_IDENTIFY_LEN; i++)
        sum = (u8)(sum + data[i]);
    if (sum)
        return false;
    for (const u8 *at = data + 2; at < data + 2 + 30 * 12; at += 12) {
        u32 raw = at[5] | at[6] << 8 | at[7] << 16 | (u32)at[8] << 24;

        if (at[0] == POWER_ON_HOURS)
            h->power_on_hours = raw;
        else if (at[0] == CELSIUS || (at[0] == AIR_FLOW && h->temperature_c < 0))
            h->temperature_c = at[5];
        else if (at[0] == PENDING)
            pending = raw;
        else if (at[0] == BAD)
            bad = raw;
        else if ((at[0] == WEAR_LEVELING || at[0] == LIFE_LEFT || at[0] == WEAR_OUT) &&
                 at[3] <= 100)
            h->used_percent = 100 - at[3];
    }
    if (pending >= 0 || bad >= 0)
        h->media_errors = MAX(pending, 0) + MAX(bad, 0);
    return true;
}
