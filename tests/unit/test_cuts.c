/* links: tests/unit/image_lab.c storage/image.c storage/engine.c storage/engine_map.c storage/engine_slow.c storage/meta.c storage/raw.c storage/qcow2.c storage/qcow2_write.c storage/qcow2_refcount.c storage/vdi.c storage/vhd.c storage/vhdx.c storage/vhdx_log.c storage/vhdx_create.c storage/vmdk.c storage/vmdk_create.c storage/vmdk_descriptor.c storage/crc32c.c storage/unpack.c storage/disk.c storage/disk_wait.c storage/iov.c storage/ram_disk.c control/rt/fiber.c control/rt/fiber_switch.S control/rt/loop.c control/rt/clock.c control/rt/log.c control/rt/host/host.c */
/* Raw, VHD, VHDX, VMDK and VDI with the power cut at every write. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>

#include <cmocka.h>

#include "tests/unit/image_lab.h"

struct cut {
    const char *format;
    u32 unit, requests;
    bool parent;
};

static const struct cut raw[] = {
    /* units: only other seeds */
    {"raw", 512, 380, false},
    {"raw", 4096, 380, false},
    {"raw", 65536, 380, false},
    {"raw", 0, 380, false},
};
static const struct cut vdi[] = {
    {"vdi", 65536, 200, false},
    {"vdi", 4096, 250, true},
    {"vdi", 0, 250, false},
};
static const struct cut vhd[] = {
    {"vhd", 65536, 200, false},
    {"vhd", 4096, 150, true},
    {"vhd", 0, 150, true},
};
static const struct cut vmdk[] = {
    {"vmdk", 65536, 360, false},
    {"vmdk", 4096, 330, true},
};
static const struct cut vhdx[] = {
    {"vhdx", MIB, 380, false},
    {"vhdx", MIB, 380, true},
};

static void all_of(const struct cut *cuts, u32 count)
{
    u32 made = 0;

    for (u32 i = 0; i < count; i++)
        made +=
            lab_power_cuts(cuts[i].format, NULL, cuts[i].unit, cuts[i].parent, cuts[i].requests);
    print_message("%s: %u power cuts\n", cuts[0].format, made);
    assert_true(made >= 1000);
}

static void raw_survives(void **state)
{
    (void)state;
    all_of(raw, ARRAY_LEN(raw));
}

static void vdi_survives(void **state)
{
    (void)state;
    all_of(vdi, ARRAY_LEN(vdi));
}

static void vhd_survives(void **state)
{
    (void)state;
    all_of(vhd, ARRAY_LEN(vhd));
}

static void vmdk_survives(void **state)
{
    (void)state;
    all_of(vmdk, ARRAY_LEN(vmdk));
}

static void vhdx_survives(void **state)
{
    (void)state;
    all_of(vhdx, ARRAY_LEN(vhdx));
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(raw_survives),  cmocka_unit_test(vdi_survives),
        cmocka_unit_test(vhd_survives),  cmocka_unit_test(vmdk_survives),
        cmocka_unit_test(vhdx_survives),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
