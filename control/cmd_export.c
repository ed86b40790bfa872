/* Shell command `vm export`: a VM as one OVA archive, with streamOptimized VMDKs and a manifest.
 * Runs in the shell's fiber.
 *
 * The descriptor comes first and tells the disks' sizes, which are known when they are written: it
 * and the manifest have rooms of fixed size, the descriptor's filled up with spaces. */
#include "control/cmd_export.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "control/place.h"
#include "storage/chain.h"
#include "storage/digest.h"
#include "storage/ovf.h"
#include "storage/tar.h"
#include "storage/vmdk.h"
#include "storage/window.h"
#include "vmm/inventory.h"
#include "vmm/vm_disk.h"
#include "vmm/vm_home.h"

#define DESCRIPTOR_ROOM (32 * KIB)
#define ARCHIVE_UNIT 10240ull /* tar's record */

struct export
{
    struct out *out;
    struct vm *vm;
    struct place place;
    struct ovf ovf;
    char name[OVF_NAME]; /* of the descriptor */
    char manifest_name[OVF_NAME];
    char *nvram;            /* the text of NAME.nvram; NULL: there is none */
    u64 nvram_at;           /* place of it in the archive */
    u64 disk_at[OVF_DISKS]; /* places of contents in the archive */
    u64 manifest_at, manifest_size, at;
};

static bool on_progress(void *arg, u64 done)
{
    (void)done;
    return !out_cancelled(arg);
}

static enum hv_status failed(struct export *x, enum hv_status status)
{
    return place_fail(x->out, status, "store df", "the package could not be written");
}

/* Settings that mean the same on another host. */
static enum hv_status describe(struct export *x)
{
    static const char *const kept[] = {"kernel", "initrd", "cmdline", "protocol", "console", "rng"};
    const struct vm_config *c = &x->vm->config;
    char *text = vm_home_settings(c);

    if (!text)
        return failed(x, HV_ENOMEM);
    snprintf(x->ovf.name, sizeof(x->ovf.name), "%s", c->name);
    x->ovf.cpus = c->cpu_count;
    x->ovf.memory = c->mem;
    for (u32 i = 0; i < VM_NICS; i++)
        x->ovf.nics += c->nic[i].to_switch[0] != 0;
    for (const char *at = text; *at;) {
        u64 n = strcspn(at, "\n"), had = strlen(x->ovf.settings);

        for (u32 i = 0; i < ARRAY_LEN(kept); i++) {
            u64 key = strlen(kept[i]);

            if (!strncmp(at, kept[i], key) && at[key] == ':' && had + n + 2 < OVF_SETTINGS)
                snprintf(x->ovf.settings + had, OVF_SETTINGS - had, "%.*s\n", (int)n, at);
        }
        at += n + (at[n] == '\n');
    }
    free(text);
    return HV_OK;
}

static enum hv_status put_header(struct export *x, u64 at, const char *name, u64 size)
{
    u8 block[TAR_BLOCK];

    tar_header(block, name, size);
    return disk_write(x->place.file, at, block, TAR_BLOCK);
}

static enum hv_status export_disk(struct export *x, u32 n)
{
    const struct vm_disk *from = &x->vm->config.disk[n];
    struct ovf_disk *d = &x->ovf.disk[x->ovf.disk_count];
    char error[IMAGE_ERROR_MAX] = "";
    const char *path;
    struct store *s;
    struct vm_error e;
    struct chain *c;

    if (!vm_disk_find(from->file, &s, &path, &e))
        return out_error(x->out, e.status, e.code, e.hint, "%s", e.text);
    while (*path == '/')
        path++;
    enum hv_status status = chain_open(s, path, NULL, true, &c, error);
    if (status != HV_OK)
        return place_fail(x->out, status, "disk check", error);
    snprintf(d->file, sizeof(d->file), "%s-disk%u.vmdk", x->vm->config.name, n);
    d->capacity = c->disk->size;
    struct disk *tail = window_tail(x->place.file, d->file, x->at + TAR_BLOCK);
    status = tail ? vmdk_export(c->disk, tail, d->file, on_progress, x->out) : HV_ENOMEM;
    if (status == HV_OK) {
        d->file_size = tail->size;
        x->disk_at[x->ovf.disk_count++] = x->at + TAR_BLOCK;
        status = put_header(x, x->at, d->file, d->file_size);
        x->at += TAR_BLOCK + ROUND_UP(d->file_size, (u64)TAR_BLOCK);
    }
    if (tail)
        disk_close(tail);
    chain_close(c);
    return status == HV_OK ? status : failed(x, status);
}

/* Before the layout: its line in the manifest needs room. */
static void load_nvram(struct export *x)
{
    const struct vm_config *c = &x->vm->config;
    char path[STORE_PATH_MAX];
    const char *dir;
    struct store *s;
    struct vm_error e;
    u32 length;

    if (!c->home[0] || !vm_disk_find(c->home, &s, &dir, &e) ||
        snprintf(path, sizeof(path), "%s/%s.nvram", dir, c->name) >= (int)sizeof(path) ||
        store_get(s, path, &x->nvram, &length) != HV_OK)
        return;
    snprintf(x->ovf.nvram, sizeof(x->ovf.nvram), "%s.nvram", c->name);
    x->ovf.nvram_size = length;
}

static enum hv_status export_nvram(struct export *x)
{
    u64 room = ROUND_UP(x->ovf.nvram_size, (u64)TAR_BLOCK);
    u8 *text = x->nvram ? calloc(1, room) : NULL;
    enum hv_status status = HV_ENOMEM;

    if (!x->nvram)
        return HV_OK;
    if (text) {
        memcpy(text, x->nvram, x->ovf.nvram_size);
        x->nvram_at = x->at + TAR_BLOCK;
        status = put_header(x, x->at, x->ovf.nvram, x->ovf.nvram_size);
    }
    if (status == HV_OK)
        status = disk_write(x->place.file, x->nvram_at, text, room);
    free(text);
    x->at = x->nvram_at + room;
    return status == HV_OK ? status : failed(x, status);
}

static enum hv_status put_descriptor(struct export *x)
{
    char *text = malloc(DESCRIPTOR_ROOM);
    enum hv_status status = text ? put_header(x, 0, x->name, DESCRIPTOR_ROOM) : HV_ENOMEM;
    u32 n = text ? ovf_write(text, DESCRIPTOR_ROOM, &x->ovf) : 0;

    if (status == HV_OK && n >= DESCRIPTOR_ROOM)
        status = HV_E2BIG;
    if (status == HV_OK) {
        memset(text + n, ' ', DESCRIPTOR_ROOM - n);
        text[DESCRIPTOR_ROOM - 1] = '\n';
        status = disk_write(x->place.file, TAR_BLOCK, text, DESCRIPTOR_ROOM);
    }
    free(text);
    return status;
}

/* One line of the manifest, of what is at `at` in the archive. */
static enum hv_status hash(struct export *x, const char *name, u64 at, u64 size, char *line,
                           u64 room)
{
    struct window_piece piece = {at, ROUND_UP(size, (u64)TAR_BLOCK)};
    struct disk *part = window_open(x->place.file, "member", name, &piece, 1);
    char hex[DIGEST_HEX];
    enum hv_status status =
        part ? digest_of(part, size, DIGEST_SHA256, hex, on_progress, x->out) : HV_ENOMEM;

    if (part)
        disk_close(part);
    if (status == HV_OK)
        snprintf(line, room, "SHA256(%s)= %s\n", name, hex);
    return status;
}

static u64 line_length(const char *name)
{
    return strlen("SHA256()= \n") + strlen(name) + 64;
}

static enum hv_status put_manifest(struct export *x)
{
    u64 room = ROUND_UP(x->manifest_size + 1, (u64)TAR_BLOCK), len;
    char *text = calloc(1, room);
    enum hv_status status =
        text ? hash(x, x->name, TAR_BLOCK, DESCRIPTOR_ROOM, text, room) : HV_ENOMEM;

    for (u32 i = 0; i < x->ovf.disk_count && status == HV_OK; i++) {
        len = strlen(text);
        status = hash(x, x->ovf.disk[i].file, x->disk_at[i], x->ovf.disk[i].file_size, text + len,
                      room - len);
    }
    if (status == HV_OK && x->nvram) {
        len = strlen(text);
        status = hash(x, x->ovf.nvram, x->nvram_at, x->ovf.nvram_size, text + len, room - len);
    }
    if (status == HV_OK)
        status = put_header(x, x->manifest_at - TAR_BLOCK, x->manifest_name, x->manifest_size);
    if (status == HV_OK)
        status = disk_write(x->place.file, x->manifest_at, text,
                            ROUND_UP(x->manifest_size, (u64)TAR_BLOCK));
    free(text);
    return status;
}

/* The manifest comes right behind the descriptor; its length follows from the names alone. */
static void lay_out(struct export *x)
{
    const struct vm_config *c = &x->vm->config;
    char name[OVF_NAME];

    snprintf(x->name, sizeof(x->name), "%s.ovf", c->name);
    snprintf(x->manifest_name, sizeof(x->manifest_name), "%s.mf", c->name);
    x->manifest_at = 2 * TAR_BLOCK + DESCRIPTOR_ROOM;
    x->manifest_size = line_length(x->name);
    for (u32 i = 0; i < VM_DISKS; i++) {
        snprintf(name, sizeof(name), "%s-disk%u.vmdk", c->name, i);
        x->manifest_size += c->disk[i].file[0] ? line_length(name) : 0;
    }
    x->manifest_size += x->nvram ? line_length(x->ovf.nvram) : 0;
    x->at = x->manifest_at + ROUND_UP(x->manifest_size, (u64)TAR_BLOCK);
}

static enum hv_status export(struct export *x) {
    enum hv_status status = describe(x);

    if (status == HV_OK) status = place_sectors(x->out, &x->place);
    load_nvram(x);
    lay_out(x);
    for (u32 i = 0; i < VM_DISKS && status == HV_OK; i++) if (x->vm->config.disk[i].file[0])
        status = export_disk(x, i);
    if (status == HV_OK) status = export_nvram(x);
    if (status != HV_OK) return status;
    status = disk_resize(x->place.file, ROUND_UP(x->at + 2 * TAR_BLOCK, ARCHIVE_UNIT));
    if (status == HV_OK) status = put_descriptor(x);
    if (status == HV_OK) status = put_manifest(x);
    if (status == HV_OK) status = disk_flush(x->place.file);
    return status == HV_OK ? status : failed(x, status);
}

static enum hv_status may_export(struct vm *vm, struct out *out)
{
    const struct vm_config *c = &vm->config;

    if (vm->phase != PHASE_STOPPED)
        return out_error(out, HV_EBUSY, "E_STATE", "vm shutdown first, or vm clone and export that",
                         "VM %s is %s", c->name, vm_phase_name(vm));
    for (u32 i = 0; i < VM_DISKS; i++)
        if (c->disk[i].device[0])
            return out_error(out, HV_ENOSYS, "E_HARDWARE", "disk import, or vm set without it",
                             "disk%u is the physical disk %s", i, c->disk[i].device);
    return HV_OK;
}

static enum hv_status run_export(const struct schema_args *args, struct out *out)
{
    struct export *x = calloc(1, sizeof(*x));
    struct vm *vm = inventory_find(args_text(args, "vm"));
    enum hv_status status = vm ? may_export(vm, out) : HV_ENOENT;

    if (!vm)
        out_error(out, status, "E_NOENT", "vm list", "there is no VM %s", args_text(args, "vm"));
    if (status == HV_OK && vm->storing)
        status = out_error(out, HV_EBUSY, "E_BUSY", "task list",
                           "a task works on the disks of VM %s", vm->config.name);
    if (status == HV_OK && !x)
        status = out_error(out, HV_ENOMEM, "E_NOMEM", "stop a VM", "no memory");
    if (status == HV_OK) {
        x->out = out;
        x->vm = vm;
        status = place_open(out, args_text(args, "to"), PLACE_MAKE, &x->place);
    }
    if (status == HV_OK && !x->place.store) {
        place_close(&x->place);
        status = out_error(out, HV_EINVAL, "E_INVALID", "to a store, then store export",
                           "'%s' is not in a store", args_text(args, "to"));
    } else if (status == HV_OK) {
        vm->storing = true;
        status = export(x);
        vm->storing = false;
        if (status == HV_OK)
            status = place_close(&x->place);
        else
            place_drop(&x->place);
    }
    if (x)
        free(x->nvram);
    free(x);
    return status;
}

static const struct schema_arg export_args[] = {
    {"vm", PLACE_OBJECT, ARG_VM, .help = "a stopped one, its name or number"},
    {"to", PLACE_OBJECT, ARG_WORD, .help = "STORE:DIR/NAME.ova of the new file"},
    {0},
};

static const struct schema_command commands[] = {
    {"vm", "export", "a VM with its disks as one OVA package, as other hypervisors read it",
     "vm export web1 ds1:web1.ova", ROLE_ADMIN, export_args, NULL, run_export},
};
SCHEMA_COMMANDS(commands);
