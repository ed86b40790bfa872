/* Copies of disks; called by the shell's commands. */
#include "storage/copy.h"

#include <stdlib.h>
#include <string.h>

#include "control/rt/fiber.h"
#include "storage/image.h"

#define PIECE (256 * KIB)
#define LOOK_AHEAD (64 * MIB) /* of a source with holes, asked for at once */

/* How much from `at` on reads as zeros without looking. */
static u64 hole_at(struct disk *from, u64 at)
{
    struct image_extent e;
    u32 layer;

    if (!image_of(from, 0) ||
        image_extent(from, at, MIN(from->size - at, LOOK_AHEAD), &e, &layer) != HV_OK)
        return 0;
    return e.kind == IMAGE_HOLE || e.kind == IMAGE_ZERO ? e.length : 0;
}

enum hv_status copy_disk(struct disk *from, struct disk *to, bool zero,
                         bool (*progress)(void *arg, u64 done), void *arg)
{
    u8 *buf = malloc(PIECE);
    enum hv_status status = buf ? HV_OK : HV_ENOMEM;

    for (u64 at = 0, n; at < from->size && status == HV_OK; at += n) {
        u64 hole = hole_at(from, at);
        bool zeros = hole;

        n = hole ? hole : MIN(from->size - at, PIECE);
        if (!hole) {
            status = disk_read(from, at, buf, n);
            zeros = !buf[0] && !memcmp(buf, buf + 1, n - 1);
        }
        if (status == HV_OK && !zeros)
            status = disk_write(to, at, buf, n);
        else if (status == HV_OK && zero)
            status = disk_zero(to, at, n);
        if (status == HV_OK && progress && !progress(arg, at + n))
            status = HV_ETIMEDOUT;
        if (fiber_self())
            fiber_yield();
    }
    free(buf);
    return status == HV_OK ? disk_flush(to) : status;
}
