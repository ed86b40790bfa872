/* links: tests/fuzz/image_fuzz.c tests/fuzz/page_disk.c storage/image.c storage/engine.c storage/engine_map.c storage/engine_slow.c storage/meta.c storage/raw.c storage/qcow2.c storage/qcow2_write.c storage/qcow2_refcount.c storage/vdi.c storage/vhd.c storage/vhdx.c storage/vhdx_log.c storage/vhdx_create.c storage/vmdk.c storage/vmdk_create.c storage/vmdk_descriptor.c storage/crc32c.c storage/unpack.c storage/disk.c storage/disk_wait.c storage/iov.c control/rt/fiber.c control/rt/fiber_switch.S control/rt/loop.c control/rt/clock.c control/rt/log.c control/rt/host/host.c */
/* Any bytes as a sparse VMDK image. */
#include "storage/vmdk.h"
#include "tests/fuzz/image_fuzz.h"

int LLVMFuzzerTestOneInput(const u8 *data, size_t size);

int LLVMFuzzerTestOneInput(const u8 *data, size_t size)
{
    image_fuzz(&vmdk_format, data, size);
    return 0;
}
