/* links: storage/image.c storage/engine.c storage/engine_map.c storage/engine_slow.c storage/meta.c storage/raw.c storage/qcow2.c storage/qcow2_write.c storage/qcow2_refcount.c storage/qcow2_parent.c storage/vdi.c storage/vhd.c storage/vhdx.c storage/vhdx_log.c storage/vhdx_create.c storage/vmdk.c storage/vmdk_create.c storage/vmdk_descriptor.c storage/crc32c.c storage/unpack.c storage/disk.c storage/disk_wait.c storage/iov.c storage/ram_disk.c control/rt/fiber.c control/rt/fiber_switch.S control/rt/loop.c control/rt/clock.c control/rt/log.c control/rt/conf.c control/rt/host/host.c storage/store.c storage/store_vfs.c storage/store_file.c storage/sector_disk.c storage/store_catalogue.c storage/store_check.c storage/store_names.c storage/store_images.c storage/store_space.c storage/chain.c storage/merge.c storage/vm_dir.c storage/snapshot.c storage/snapshot_delete.c storage/snapshot_plan.c */
/* A datastore with any changes to its superblock, catalogue, journal and data: patches (place,
 * length, bytes) to a small one of ours that has a VM with a snapshot.  Whatever it says, it is
 * mounted or refused, listed, checked, read and written. */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "storage/endian.h"
#include "storage/iov.h"
#include "storage/snapshot.h"

int LLVMFuzzerTestOneInput(const u8 *data, size_t size);

#define DEVICE (32 * MIB)
#define PAGE 4096u
#define PAGES (DEVICE / PAGE)

/* A disk whose changes can be undone: pages that were written since the beginning lie over it. */
struct device {
    struct disk disk;
    u8 *beginning, *page[PAGES];
    u8 *pool[PAGES]; /* pages of earlier inputs */
    u32 pooled, written[PAGES], count;
};

static struct device device;

static u8 *own_page(u32 n)
{
    if (!device.page[n]) {
        device.page[n] = device.pooled ? device.pool[--device.pooled] : malloc(PAGE);
        if (!device.page[n])
            abort();
        memcpy(device.page[n], device.beginning + (u64)n * PAGE, PAGE);
        device.written[device.count++] = n;
    }
    return device.page[n];
}

static void undo(void)
{
    while (device.count) {
        u32 n = device.written[--device.count];

        device.pool[device.pooled++] = device.page[n];
        device.page[n] = NULL;
    }
}

static void put(u64 at, const u8 *bytes, u64 length)
{
    for (u64 done = 0, n; done < length; done += n) {
        u64 place = at + done;

        n = MIN(length - done, PAGE - place % PAGE);
        if (bytes)
            memcpy(own_page((u32)(place / PAGE)) + place % PAGE, bytes + done, n);
        else if (device.page[place / PAGE] || device.beginning[place])
            memset(own_page((u32)(place / PAGE)) + place % PAGE, 0, n);
    }
}

static void submit(struct disk *d, struct disk_io *io)
{
    u8 buf[PAGE];

    (void)d;
    if (io->op == DISK_ZERO) {
        put(io->offset, NULL, io->length);
    } else if (io->op == DISK_READ || io->op == DISK_WRITE) {
        for (u64 at = 0, n; at < io->length; at += n) {
            u64 place = io->offset + at;
            u32 page = (u32)(place / PAGE);
            const u8 *from =
                device.page[page] ? device.page[page] : device.beginning + (u64)page * PAGE;

            n = MIN(io->length - at, PAGE - place % PAGE);
            if (io->op == DISK_READ) {
                iov_write(io->iov, io->iov_count, at, from + place % PAGE, n);
            } else {
                iov_read(io->iov, io->iov_count, at, buf, n);
                put(place, buf, n);
            }
        }
    }
    disk_complete(io, HV_OK);
}

static const struct disk_ops ops = {.name = "fuzz", .submit = submit};

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

    device.beginning = calloc(1, DEVICE);
    must(device.beginning != NULL);
    disk_init(&device.disk, &ops, "device", DEVICE, 512);
    must(store_format(&device.disk, "ds1", error) == HV_OK);
    must(store_mount(&device.disk, false, &s, error) == HV_OK);
    must(vm_dir_make(s, "w", "w", &v, error) == HV_OK);
    must(chain_create(s, "w/d.qcow2", "qcow2", &o, NULL, error) == HV_OK);
    v->now.disk[0] = (struct vm_dir_disk){0, "d.qcow2", "qcow2"};
    v->now.disk_count = 1;
    must(snapshot_take(v, "s1", "", NULL) == HV_OK);
    vm_dir_free(v);
    must(store_copy(s, "w/d.qcow2", "copy") == HV_OK);
    must(store_unmount(s) == HV_OK);
    for (u32 i = 0; i < PAGES; i++)
        if (device.page[i])
            memcpy(device.beginning + (u64)i * PAGE, device.page[i], PAGE);
    undo();
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

        put(places[input[at] & 3] + (le16(input + at + 1) | (input[at] & 0x30u) << 12),
            input + at + 4, n);
        at += 4 + n;
    }
}

static void try_one(void *arg)
{
    char error[STORE_ERROR_MAX];
    struct store *s;

    (void)arg;
    if (!device.beginning)
        make_store();
    patch();
    if (store_mount(&device.disk, false, &s, error) == HV_OK) {
        use(s);
        must(store_unmount(s) == HV_OK);
    } else {
        must(error[0] != 0);
    }
    must(!device.disk.users && !device.disk.in_flight);
    undo();
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
