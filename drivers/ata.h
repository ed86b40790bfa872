/* What ATA disks say and are told, whatever they are attached to: ACS-3 (INCITS 522).  Pure. */
#pragma once

#include "drivers/block.h"
#include "kernel/abi/types.h"

#define ATA_IDENTIFY_LEN 512

enum ata_command {
    ATA_DATA_SET = 0x06, /* feature 1: trim */
    ATA_READ = 0x20,
    ATA_READ_EXT = 0x24,
    ATA_READ_DMA_EXT = 0x25,
    ATA_WRITE = 0x30,
    ATA_WRITE_EXT = 0x34,
    ATA_WRITE_DMA_EXT = 0x35,
    ATA_READ_QUEUED = 0x60,
    ATA_WRITE_QUEUED = 0x61,
    ATA_PACKET = 0xa0,          /* features: ATA_PACKET_DMA */
    ATA_IDENTIFY_PACKET = 0xa1, /* the words that ATA_IDENTIFY has, as far as they apply */
    ATA_SMART = 0xb0,           /* features: ATA_SMART_* */
    ATA_READ_DMA = 0xc8,
    ATA_WRITE_DMA = 0xca,
    ATA_FLUSH = 0xe7,
    ATA_FLUSH_EXT = 0xea,
    ATA_IDENTIFY = 0xec,
};
#define ATA_PACKET_DMA 1u
#define ATA_SMART_DATA 0xd0u
#define ATA_SMART_STATUS 0xdau
#define ATA_SMART_KEY 0xc24f00ull /* its LBA; what the status command makes of it: */
#define ATA_SMART_FAILING 0x2cf400ull
#define ATA_ERROR 0x01u /* of the status register */
#define ATA_DATA 0x08u
#define ATA_FAULT 0x20u
#define ATA_BUSY 0x80u
#define ATA_DEVICE_LBA 0x40u

struct ata_identity {
    bool lba48, queued, trim, dma, smart;
    u32 depth; /* of the queue: 1 to 32 */
};

/* Fills names, size, sector sizes and abilities of d; id: 512 bytes as the disk gave them, hostile.
 * HV_ENOSYS: a disk that cannot be used (no LBA, no sectors, an odd sector size). */
MUST_CHECK enum hv_status ata_identify(struct block_device *d, struct ata_identity *out,
                                       const u16 id[ATA_IDENTIFY_LEN / 2]);
/* What SMART READ DATA gave, 512 bytes, hostile.  False: its sum is wrong, *h is as it was. */
MUST_CHECK bool ata_smart(struct block_health *h, const u8 data[ATA_IDENTIFY_LEN]);
/* The ranges of a TRIM of [sector, sector + count) in a block of 512 bytes; at most
 * ATA_TRIM_SECTORS of them. */
#define ATA_TRIM_SECTORS (64ull * 0xffff)
void ata_trim(u64 ranges[64], u64 sector, u64 count);
