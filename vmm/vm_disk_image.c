/* Opens and closes the images and physical disks of VMs; called by vm_disk.c, in fibers. */
#include "vmm/vm_disk_image.h"

#include <stdio.h>
#include <string.h>

#include "storage/partition.h"
#include "storage/ram_disk.h"
#include "vmm/platform.h"
#include "vmm/vm_disk.h"

const char *vm_disk_format(const struct vm_disk *c)
{
    static const char *const formats[] = {"raw", "qcow2", "vmdk", "vhd", "vhdx", "vdi"};
    return formats[c->format];
}

bool vm_disk_failed(struct vm_error *e, u32 n, const char *of, enum hv_status status,
                    const char *why)
{
    static const struct {
        enum hv_status status;
        const char *code, *hint;
    } rows[] = {
        {HV_ENOENT, "E_NOENT", "store ls STORE"},
        {HV_EBUSY, "E_BUSY", "disk list; another VM may have it"},
        {HV_ECORRUPT, "E_CORRUPT", "disk check, or format= as the image really is"},
        {HV_EINVAL, "E_INVALID", "disk info, and format= as the image really is"},
        {HV_ENOMEM, "E_NOMEM", "stop another VM"},
        {HV_EPERM, "E_READ_ONLY", "vm set diskN.ro=yes"},
        {HV_ENOSYS, "E_UNSUPPORTED", "disk convert"},
    };
    const char *code = "E_IO", *hint = "host log";
    for (u32 i = 0; i < ARRAY_LEN(rows); i++) {
        if (rows[i].status == status) {
            code = rows[i].code;
            hint = rows[i].hint;
        }
    }
    return vm_error(e, status, code, hint, "disk%u, %s: %s", n, of, why[0] ? why : "it fails");
}

bool vm_disk_find(const char *file, struct store **store, const char **path, struct vm_error *e)
{
    const char *colon = strchr(file, ':');
    char name[STORE_NAME_MAX];
    snprintf(name, sizeof(name), "%.*s", (int)(colon ? colon - file : 0), file);
    *path = colon ? colon + 1 : "";
    *store = store_find(name);
    if (*store)
        return true;
    return vm_error(e, HV_ENOENT, "E_NO_STORE", "store list, store add DISK",
                    "%s: there is no store '%s'", file, name);
}

static bool find_device(u32 n, const char *name, struct disk **out, struct vm_error *e)
{
    char why[120];
    struct disk *d = partition_find(name, why);
    if (!d)
        return vm_error(e, HV_ENOENT, "E_NO_DISK", "host disk list, disk scan", "disk%u: %s", n,
                        why);
    if (strcmp(d->ops->name, "physical") != 0 && !ram_disk_is(d) && !partition_is(d))
        return vm_error(e, HV_ENOENT, "E_NO_DISK", "host disk list",
                        "disk%u: there is no physical disk '%s'", n, name);
    if (d->users)
        return vm_disk_failed(e, n, name, HV_EBUSY, "a store or another VM uses it");
    *out = d;
    return true;
}

static enum hv_status open_device(const struct vm_disk *c, struct open_disk *open, char *error)
{
    struct image_layer layer = {.file = disk_find(c->device), .format = image_format("raw")};
    return image_open(c->device, &layer, 1, c->read_only, &open->disk, error);
}

/* The image and those it is made from, as the store has them. */
static bool open_images(const struct vm_disk *c, u32 n, struct open_disk *open, char *device_name,
                        struct vm_error *e)
{
    struct store *store;
    const char *path;
    char error[IMAGE_ERROR_MAX] = "";
    if (!vm_disk_find(c->file, &store, &path, e))
        return false;
    enum hv_status status =
        chain_open(store, path, vm_disk_format(c), c->read_only, &open->chain, error);
    if (status != HV_OK)
        return vm_disk_failed(e, n, c->file, status, error);
    open->disk = open->chain->disk;
    snprintf(device_name, VM_DISK_DEVICE, "%.15s", store_device(store)->name);
    return true;
}

bool vm_disk_image_open(const struct vm_disk *c, u32 n, struct open_disk *open, char *device_name,
                        struct vm_error *e)
{
    struct disk *below;
    char error[IMAGE_ERROR_MAX] = "";
    if (!c->device[0])
        return open_images(c, n, open, device_name, e);
    if (!find_device(n, c->device, &below, e))
        return false;
    enum hv_status status = open_device(c, open, error);
    return status == HV_OK ? true : vm_disk_failed(e, n, c->device, status, error);
}

enum hv_status vm_disk_image_close(struct vm *vm, u32 n, const struct open_disk *open)
{
    enum hv_status status = open->chain ? chain_close(open->chain) : disk_close(open->disk);
    if (status != HV_OK)
        platform_log(vm, "disk%u: closing it failed (%d)", n, status);
    return status;
}
