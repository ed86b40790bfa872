/* Names of files and disks in commands, opened; for cmd_store.c, cmd_image.c and cmd_ovf.c. */
#include "control/place.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "storage/esp.h"
#include "storage/partition.h"
#include "storage/ram_disk.h"
#include "storage/sector_disk.h"
#include "storage/window.h"

#define BLANK (64 * KIB)

static const char *const code_of[] = {
    [-HV_EINVAL] = "E_INVALID",
    [-HV_ENOMEM] = "E_NOMEM",
    [-HV_EPERM] = "E_READ_ONLY",
    [-HV_EBUSY] = "E_BUSY",
    [-HV_EIO] = "E_IO",
    [-HV_ENOSYS] = "E_UNSUPPORTED",
    [-HV_EEXIST] = "E_EXISTS",
    [-HV_ENOENT] = "E_NOENT",
    [-HV_ENOSPC] = "E_NOSPACE",
    [-HV_ECORRUPT] = "E_CORRUPT",
    [-HV_ETIMEDOUT] = "E_CANCELLED",
};

enum hv_status place_fail(struct out *out, enum hv_status status, const char *hint,
                          const char *what)
{
    u32 n = (u32)-status;
    const char *code = n < ARRAY_LEN(code_of) && code_of[n] ? code_of[n] : "E_STORAGE";

    if (status == HV_ETIMEDOUT)
        what = "it was cancelled";
    return out_error(out, status, code, hint, "%s", what[0] ? what : "the disk fails");
}

void place_size_cell(struct out *out, u64 bytes)
{
    char text[24];

    conf_format_size(bytes, text, sizeof(text));
    out_cell(out, "%s", text);
}

struct store *place_store(struct out *out, const char *text, const char **path)
{
    const char *colon = strchr(text, ':');
    char name[STORE_NAME_MAX];
    struct store *s;

    snprintf(name, sizeof(name), "%.*s", (int)(colon ? colon - text : (long)strlen(text)), text);
    *path = colon ? colon + 1 : "";
    while (**path == '/')
        ++*path;
    s = store_find(name);
    if (!s)
        out_error(out, HV_ENOENT, "E_NO_STORE", "store list", "there is no store '%s'", name);
    return s;
}

struct disk *place_disk(struct out *out, const char *name)
{
    char why[120];
    struct disk *d = partition_find(name, why);

    if (d && strcmp(d->ops->name, "physical") && !ram_disk_is(d) && !partition_is(d)) {
        snprintf(why, sizeof(why), "'%.60s' is no physical disk", name);
        d = NULL;
    }
    if (!d) {
        out_error(out, HV_ENOENT, "E_NO_DISK", "disk list, disk scan DISK", "%s", why);
        return NULL;
    }
    if (d->users) {
        out_error(out, HV_EBUSY, "E_BUSY", "disk list; disk drop a partition that is not needed",
                  "disk %s is in use: by a store, a VM or its partitions", name);
        return NULL;
    }
    return d;
}

enum hv_status place_must_be_blank(struct out *out, struct disk *d)
{
    u64 len = MIN(BLANK, d->size);
    u8 *head = malloc(len);
    enum hv_status status = head ? disk_read(d, 0, head, len) : HV_ENOMEM;

    for (u64 i = 0; i < len && status == HV_OK; i++)
        if (head[i])
            status = HV_EEXIST;
    free(head);
    if (status == HV_EEXIST)
        return out_error(out, status, "E_NOT_EMPTY", "--force, if nothing on it is needed",
                         "disk %s is not blank", d->name);
    return status == HV_OK ? status : place_fail(out, status, "disk list", "the disk fails");
}

/* "vd0:folder/name.ext" */
static enum hv_status open_esp(struct out *out, const char *text, struct place *p)
{
    const char *colon = strchr(text, ':');
    char name[DISK_NAME_MAX];
    struct window_piece piece[ESP_EXTENTS];
    struct esp_file *f = calloc(1, sizeof(*f));
    struct disk *d;

    snprintf(name, sizeof(name), "%.*s", (int)(colon - text), text);
    d = disk_find(name);
    enum hv_status status = !f ? HV_ENOMEM : d ? esp_find(d, colon + 1, f) : HV_ENOENT;
    for (u32 i = 0; status == HV_OK && i < f->count; i++)
        piece[i] = (struct window_piece){f->extent[i].offset, f->extent[i].length};
    if (status == HV_OK) {
        p->file = window_open(d, "esp file", text, piece, f->count);
        p->length = f->length;
        p->ours = true;
        status = p->file ? HV_OK : HV_ENOMEM;
    }
    free(f);
    if (status == HV_ENOENT && !d)
        return out_error(out, status, "E_NOENT", "store list, disk list",
                         "there is no store and no disk '%s'", name);
    return status == HV_OK ? status
                           : place_fail(out, status, "names of at most 8 and 3 letters",
                                        "the ESP has no such file that could be used");
}

static enum hv_status open_in_store(struct out *out, enum place_use use, struct place *p)
{
    enum hv_status status = use == PLACE_MAKE ? store_make(p->store, p->path, false) : HV_OK;

    p->made = use == PLACE_MAKE && status == HV_OK;
    if (status == HV_OK)
        status = store_open(p->store, p->path, use == PLACE_READ, &p->file);
    if (status != HV_OK) {
        place_drop(p);
        return place_fail(out, status, "store ls STORE", store_error(p->store));
    }
    p->ours = true;
    p->length = p->file->size;
    return HV_OK;
}

enum hv_status place_open(struct out *out, const char *text, enum place_use use, struct place *p)
{
    const char *colon = strchr(text, ':');
    char name[STORE_NAME_MAX];

    *p = (struct place){.text = text};
    if (!colon) {
        p->file = place_disk(out, text);
        p->length = p->file ? p->file->size : 0;
        return p->file ? HV_OK : HV_ENOENT;
    }
    snprintf(name, sizeof(name), "%.*s", (int)(colon - text), text);
    if (!store_find(name))
        return open_esp(out, text, p);
    p->store = place_store(out, text, &p->path);
    return open_in_store(out, use, p);
}

enum hv_status place_sectors(struct out *out, struct place *p)
{
    if (p->file->block_size <= DISK_SECTOR)
        return HV_OK;
    struct disk *d = sector_disk_open(p->file, false);
    if (!d)
        return out_error(out, HV_ENOMEM, "E_NOMEM", "stop a VM", "no memory");
    p->blocks = p->file;
    p->file = d;
    return HV_OK;
}

enum hv_status place_close(struct place *p)
{
    enum hv_status status = HV_OK;

    if (p->file && p->blocks) {
        status = disk_close(p->file);
        if (status != HV_OK)
            return status;
        p->file = p->blocks;
        p->blocks = NULL;
    }
    if (p->file && p->ours)
        status = disk_close(p->file);
    else if (p->file)
        status = p->file->read_only ? HV_OK : disk_flush(p->file);
    p->file = NULL;
    return status;
}

void place_drop(struct place *p)
{
    enum hv_status status = place_close(p);

    if (p->made)
        status = store_remove(p->store, p->path);
    p->made = false;
    (void)status; /* the failure that led here is the one that is told */
}
