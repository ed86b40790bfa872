/* links: drivers/ata.c drivers/block.c control/rt/dma.c control/rt/fiber.c control/rt/fiber_switch.S control/rt/loop.c control/rt/clock.c control/rt/log.c control/rt/host/host.c */
/* IDENTIFY data as a hostile disk gives it: texts are printable and end, sizes fit, TRIM ranges add
 * up. */
#include <stdlib.h>
#include <string.h>

#include "drivers/ata.h"

int LLVMFuzzerTestOneInput(const u8 *data, size_t size);

static void check_text(const char *text)
{
    u64 n = strlen(text);

    if (n >= BLOCK_TEXT_MAX)
        abort();
    for (u64 i = 0; i < n; i++)
        if (text[i] < ' ' || text[i] > '~')
            abort();
}

int LLVMFuzzerTestOneInput(const u8 *data, size_t size)
{
    u16 id[ATA_IDENTIFY_LEN / 2] = {0};
    struct block_device d;
    struct ata_identity a;
    u64 ranges[64], sum = 0;

    memcpy(id, data, MIN(size, sizeof(id)));
    memset(&d, 0xaa, sizeof(d));
    if (ata_identify(&d, &a, id) == HV_OK) {
        if (!d.size || d.size % d.sector_size || d.sector_size < 512 || d.sector_size > 65536 ||
            d.physical_sector_size < d.sector_size || a.depth < 1 || a.depth > 32)
            abort();
    }
    check_text(d.model);
    check_text(d.serial);
    check_text(d.firmware);
    u64 count = id[0] * 97u % (ATA_TRIM_SECTORS + 1);
    ata_trim(ranges, id[1], count);
    for (u32 i = 0; i < 64; i++)
        sum += ranges[i] >> 48;
    if (sum != count)
        abort();
    return 0;
}
