/* links: storage/slots.c storage/esp.c storage/crc32c.c storage/disk.c storage/disk_wait.c control/rt/fiber.c control/rt/fiber_switch.S control/rt/loop.c control/rt/clock.c control/rt/log.c control/rt/host/host.c */
/* A disk whose partition tables and file system are whatever the input says. */
#include <stddef.h>
#include <stdlib.h>
#include <string.h>

#include "storage/slots.h"

#define SIZE (128 * KIB)

static u8 bytes[SIZE];

static void submit(struct disk *d, struct disk_io *io)
{
    (void)d;
    if (io->op == DISK_READ)
        memcpy(io->iov[0].base, bytes + io->offset, io->length);
    if (io->op == DISK_WRITE)
        memcpy(bytes + io->offset, io->iov[0].base, io->length);
    disk_complete(io, HV_OK);
}

static const struct disk_ops ops = {.name = "fuzz", .submit = submit};

/* The input is cut into pieces, each with where it goes: small inputs reach all of the disk. */
static void lay_out(const u8 *data, size_t size)
{
    memset(bytes, 0, SIZE);
    bytes[510] = 0x55;
    bytes[511] = 0xaa;
    while (size >= 4) {
        u64 at = (u64)(data[0] | data[1] << 8) * 16 % SIZE, n = MIN((u64)data[2], (u64)size - 3);

        n = MIN(n, SIZE - at);
        memcpy(bytes + at, data + 3, n);
        data += 3 + n;
        size -= 3 + n;
    }
}

int LLVMFuzzerTestOneInput(const u8 *data, size_t size);
int LLVMFuzzerTestOneInput(const u8 *data, size_t size)
{
    struct disk d;
    struct slots s;
    enum slots_state state;
    char *text;
    u32 len;

    lay_out(data, size);
    memset(&d, 0, sizeof(d));
    disk_init(&d, &ops, "fuzz", SIZE, size & 1 ? 512 : 4096);
    if (slots_open(&s, &d, "bulkhead/config") == HV_OK) {
        if (slots_read(&s, &state, &text, &len) == HV_OK)
            free(text);
        if (slots_write(&s, "text", 4) != HV_OK)
            s.sequence = 0;
    }
    disk_fini(&d);
    return 0;
}
