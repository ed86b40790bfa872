/* links: tests/fuzz/page_disk.c storage/image.c storage/engine.c storage/engine_map.c storage/engine_slow.c storage/meta.c storage/raw.c storage/qcow2.c storage/qcow2_write.c storage/qcow2_refcount.c storage/qcow2_parent.c storage/vdi.c storage/vhd.c storage/vhdx.c storage/vhdx_log.c storage/vhdx_create.c storage/vmdk.c storage/vmdk_create.c storage/vmdk_descriptor.c storage/crc32c.c storage/unpack.c storage/disk.c storage/disk_wait.c storage/iov.c storage/ram_disk.c control/rt/fiber.c control/rt/fiber_switch.S control/rt/loop.c control/rt/clock.c control/rt/log.c control/rt/conf.c control/rt/host/host.c storage/store.c storage/store_vfs.c storage/store_file.c storage/sector_disk.c storage/store_catalogue.c storage/store_check.c storage/store_names.c storage/store_images.c storage/store_space.c storage/chain.c storage/merge.c storage/vm_dir.c storage/snapshot.c storage/snapshot_delete.c storage/snapshot_plan.c */
/* A datastore with any changes to its superblock, catalogue, journal and data: patches (place,
 * length, bytes) to a small one of ours that has a VM with a snapshot.  Whatever it says, it is
 * mounted or refused, listed, checked, read and written. */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "storage/endian.h"
#include "storage/snapshot.h"
#include "tests/fuzz/page_disk.h"

int LLVMFuzzerTestOneInput(const u8 *data, size_t size);

#define DEVICE (32 * MIB)

static struct disk *device;

static void must(bool good)
{
    if (!good)
        abort();
}

static void make_store(void)
{
    char error[STORE_ERROR_MAX + IMAGE_ERROR_MAX];
    struct store *s;
    struct vm_dir *v;
    struct image_options o = {.size = MIB};

    device = page_disk_open("device", DEVICE, 512, DEVICE);
    must(store_format(device, "ds1", error) == HV_OK);
    must(store_mount(device, false, &s, error) == HV_OK);
    must(vm_dir_make(s, "w", "w", &v, error) == HV_OK);
    must(chain_create(s, "w/d.qcow2", "qcow2", &o, NULL, error) == HV_OK);
    v->now.disk[0] = (struct vm_dir_disk){0, "d.qcow2", "qcow2"};
    v->now.disk_count = 1;
    must(snapshot_take(v, "s1", "", NULL) == HV_OK);
    vm_dir_free(v);
    must(store_copy(s, "w/d.qcow2", "copy") == HV_OK);
    must(store_unmount(s) == HV_OK);
    page_disk_keep(device);
}

static void on_name(void *arg, const char *name, const struct store_stat *st)
{
    (void)arg, (void)name, (void)st;
}

static void on_problem(void *arg, const char *what)
{
    (void)arg, (void)what;
}

static void use_file(struct store *s, const char *path)
{
    struct disk *f;
    static u8 buf[8192];

    if (store_open(s, path, false, &f) != HV_OK && store_open(s, path, true, &f) != HV_OK)
        return;
    (void)!disk_read(f, 0, buf, MIN(sizeof(buf), ROUND_DOWN(f->size, 512ull)));
    (void)!disk_write(f, 0, buf, 512);
    if (f->size < 4 * MIB)
        (void)!disk_resize(f, f->size + MIB);
    disk_close(f);
}

static const u8 *input;
static size_t input_size;
static bool done;

/* The first byte chooses what is done with it: a whole day of a store takes long. */
static void use(struct store *s)
{
    struct vm_dir *v;
    char error[IMAGE_ERROR_MAX];
    struct merge_job job = {0};
    struct store_usage usage;
    u64 problems;

    (void)!store_list(s, "", on_name, NULL);
    (void)!store_list(s, "w", on_name, NULL);
    (void)!store_usage(s, &usage);
    (void)!store_check(s, on_problem, NULL, &problems);
    if (input[0] & 1)
        use_file(s, "copy");
    (void)!store_copy(s, "copy", "again");
    (void)!store_remove(s, "copy");
    if (input[0] & 2 && vm_dir_load(s, "w", "w", &v, error) == HV_OK) {
        if (input[0] & 4)
            (void)!snapshot_take(v, "s2", "", NULL);
        else if (input[0] & 8)
            (void)!snapshot_revert(v, "s1");
        else
            (void)!snapshot_delete(v, "s1", &job, NULL);
        snapshot_sweep(v);
        vm_dir_free(v);
    }
}

/* Where a patch lies: superblocks, catalogue, journal, data. */
static void patch(void)
{
    static const u32 places[4] = {0, MIB, 5 * MIB, 9 * MIB};

    for (size_t at = 1; at + 4 < input_size;) {
        u64 n = MIN(input[at + 3] % 33, input_size - at - 4);

        page_disk_put(device,
                      places[input[at] & 3] + (le16(input + at + 1) | (input[at] & 0x30u) << 12),
                      input + at + 4, n);
        at += 4 + n;
    }
}

static void try_one(void *arg)
{
    char error[STORE_ERROR_MAX];
    struct store *s;

    (void)arg;
    if (!device)
        make_store();
    patch();
    if (store_mount(device, false, &s, error) == HV_OK) {
        use(s);
        must(store_unmount(s) == HV_OK);
    } else {
        must(error[0] != 0);
    }
    page_disk_undo(device);
    done = true;
}

int LLVMFuzzerTestOneInput(const u8 *data, size_t size)
{
    if (!size)
        return 0;
    input = data;
    input_size = size;
    done = false;
    fiber_spawn("fuzz", try_one, NULL);
    while (!done)
        fiber_run_ready();
    return 0;
}
