/* Shell commands for datastores, and for the disk images in them.  Runs in the shell's fiber. */
#include "control/cmd_store.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "control/schema.h"
#include "storage/image.h"
#include "storage/store.h"
#include "storage/vmdk.h"

typedef unsigned long long ull;

#define COPY_PIECE (256 * KIB)

static const char *const code_of[] = {
    [-HV_EINVAL] = "E_INVALID",   [-HV_ENOMEM] = "E_NOMEM", [-HV_EPERM] = "E_READ_ONLY",
    [-HV_EBUSY] = "E_BUSY",       [-HV_EIO] = "E_IO",       [-HV_ENOSYS] = "E_UNSUPPORTED",
    [-HV_EEXIST] = "E_EXISTS",    [-HV_ENOENT] = "E_NOENT", [-HV_ENOSPC] = "E_NOSPACE",
    [-HV_ECORRUPT] = "E_CORRUPT",
};

static enum hv_status fail(struct out *out, enum hv_status status, const char *hint,
                           const char *what)
{
    u32 n = (u32)-status;
    const char *code = n < ARRAY_LEN(code_of) && code_of[n] ? code_of[n] : "E_STORAGE";

    return out_error(out, status, code, hint, "%s", what[0] ? what : "the disk fails");
}

/* "ds1:dir/file" */
static struct store *find(struct out *out, const char *text, const char **path)
{
    const char *colon = strchr(text, ':');
    char name[STORE_NAME_MAX];
    struct store *s;

    snprintf(name, sizeof(name), "%.*s", (int)(colon ? colon - text : (long)strlen(text)), text);
    *path = colon ? colon + 1 : "";
    s = store_find(name);
    if (!s)
        out_error(out, HV_ENOENT, "E_NO_STORE", "store list", "there is no store '%s'", name);
    return s;
}

static void size_cell(struct out *out, u64 bytes)
{
    char text[24];

    conf_format_size(bytes, text, sizeof(text));
    out_cell(out, "%s", text);
}

/* ---- stores ------------------------------------------------------------------------------------
 */

static enum hv_status run_list(const struct schema_args *args, struct out *out)
{
    static const char *const columns[] = {"STORE", "CAPACITY", "USED", "PROVISIONED", "FILES"};
    static const u8 widths[] = {12, 10, 10, 12, 6};
    struct store_usage u;

    (void)args;
    out_table(out, columns, widths, ARRAY_LEN(columns));
    for (struct store *s = store_first(); s; s = store_next(s)) {
        enum hv_status status = store_usage(s, &u);

        if (status != HV_OK)
            return fail(out, status, "store check", store_error(s));
        out_cell(out, "%s", store_name(s));
        size_cell(out, u.capacity);
        size_cell(out, u.used);
        size_cell(out, u.provisioned);
        out_cell(out, "%llu", (ull)u.files);
    }
    return HV_OK;
}

static void save_stores(struct schema_text *t)
{
    for (const struct store *s = store_first(); s; s = store_next(s))
        schema_put(t, "store add %s", store_device(s)->name);
}
SCHEMA_SAVES(save_stores, SAVES_STORE);

static struct disk *device_of(const struct schema_args *args, struct out *out)
{
    const char *name = args_text(args, "device");
    struct disk *d = disk_find(name);

    if (!d)
        out_error(out, HV_ENOENT, "E_NO_DISK", "disk list", "there is no disk '%s'", name);
    return d;
}

static enum hv_status mount(struct disk *d, struct out *out)
{
    char error[STORE_ERROR_MAX];
    struct store *s;
    enum hv_status status = store_mount(d, false, &s, error);

    if (status != HV_OK)
        return fail(out, status, "store create NAME DISK makes an empty one", error);
    out_printf(out, "store %s on %s\n", store_name(s), d->name);
    return HV_OK;
}

static enum hv_status run_create(const struct schema_args *args, struct out *out)
{
    char error[STORE_ERROR_MAX];
    struct disk *d = device_of(args, out);
    u8 head[4096];

    if (!d)
        return HV_ENOENT;
    enum hv_status status = disk_read(d, 0, head, MIN(sizeof(head), d->size));
    for (u32 i = 0; i < sizeof(head) && status == HV_OK && !args_flag(args, "force"); i++)
        if (head[i])
            return out_error(out, HV_EEXIST, "E_NOT_EMPTY", "--force, if nothing on it is needed",
                             "disk %s is not blank", d->name);
    if (status == HV_OK)
        status = store_format(d, args_text(args, "name"), error);
    else
        snprintf(error, sizeof(error), "disk %s fails", d->name);
    return status == HV_OK ? mount(d, out) : fail(out, status, "disk list", error);
}

static enum hv_status run_add(const struct schema_args *args, struct out *out)
{
    struct disk *d = device_of(args, out);

    return d ? mount(d, out) : HV_ENOENT;
}

static enum hv_status run_remove_store(const struct schema_args *args, struct out *out)
{
    const char *path;
    struct store *s = find(out, args_text(args, "store"), &path);

    if (!s)
        return HV_ENOENT;
    if (store_unmount(s) != HV_OK)
        return out_error(out, HV_EBUSY, "E_BUSY", "stop the VMs that use it",
                         "files of the store are open");
    return HV_OK;
}

static void on_entry(void *arg, const char *name, const struct store_stat *st)
{
    struct out *out = arg;

    out_cell(out, "%s%s", name, st->directory ? "/" : "");
    size_cell(out, st->size);
    size_cell(out, st->allocated);
    size_cell(out, st->shared);
}

static enum hv_status run_ls(const struct schema_args *args, struct out *out)
{
    static const char *const columns[] = {"NAME", "SIZE", "ALLOCATED", "SHARED"};
    static const u8 widths[] = {30, 10, 10, 10};
    const char *path;
    struct store *s = find(out, args_text(args, "path"), &path);

    if (!s)
        return HV_ENOENT;
    out_table(out, columns, widths, ARRAY_LEN(columns));
    enum hv_status status = store_list(s, path, on_entry, out);
    return status == HV_OK ? status : fail(out, status, "store ls STORE", store_error(s));
}

static enum hv_status run_mkdir(const struct schema_args *args, struct out *out)
{
    const char *path;
    struct store *s = find(out, args_text(args, "path"), &path);
    enum hv_status status = s ? store_make(s, path, true) : HV_ENOENT;

    return status == HV_OK || !s ? status : fail(out, status, "store ls STORE", store_error(s));
}

static enum hv_status run_rm(const struct schema_args *args, struct out *out)
{
    const char *path;
    struct store *s = find(out, args_text(args, "path"), &path);
    enum hv_status status = s ? store_remove(s, path) : HV_ENOENT;

    return status == HV_OK || !s ? status : fail(out, status, "store ls STORE", store_error(s));
}

static enum hv_status two_paths(const struct schema_args *args, struct out *out,
                                enum hv_status (*fn)(struct store *s, const char *from,
                                                     const char *to))
{
    const char *from, *to;
    struct store *a = find(out, args_text(args, "from"), &from);
    struct store *b = a ? find(out, args_text(args, "to"), &to) : NULL;

    if (!b)
        return HV_ENOENT;
    if (a != b)
        return out_error(out, HV_ENOSYS, "E_TWO_STORES", "disk convert copies between stores",
                         "'%s' and '%s' are two stores", store_name(a), store_name(b));
    enum hv_status status = fn(a, from, to);
    return status == HV_OK ? status : fail(out, status, "store ls STORE", store_error(a));
}

static enum hv_status run_cp(const struct schema_args *args, struct out *out)
{
    return two_paths(args, out, store_copy);
}

static enum hv_status run_mv(const struct schema_args *args, struct out *out)
{
    return two_paths(args, out, store_rename);
}

static void on_problem(void *arg, const char *what)
{
    out_printf(arg, "%s\n", what);
}

static enum hv_status run_check_store(const struct schema_args *args, struct out *out)
{
    const char *path;
    u64 problems = 0;
    struct store *s = find(out, args_text(args, "store"), &path);
    enum hv_status status = s ? store_check(s, on_problem, out, &problems) : HV_ENOENT;

    if (!s)
        return status;
    if (status != HV_OK)
        return fail(out, status, "store list", store_error(s));
    out_printf(out, "%llu problems\n", (ull)problems);
    return HV_OK;
}

/* ---- images ------------------------------------------------------------------------------------
 */

/* The file of a path, made first if `create`. */
static enum hv_status open_file(struct out *out, const char *text, bool create, bool read_only,
                                struct disk **file)
{
    const char *path;
    struct store *s = find(out, text, &path);
    enum hv_status status;

    if (!s)
        return HV_ENOENT;
    status = create ? store_make(s, path, false) : HV_OK;
    if (status == HV_OK)
        status = store_open(s, path, read_only, file);
    return status == HV_OK ? status : fail(out, status, "store ls STORE", store_error(s));
}

static const struct image_format *format_of(const struct schema_args *args, const char *name)
{
    const char *text = args_text(args, name);

    return image_format(text ? text : "raw");
}

static enum hv_status run_disk_list(const struct schema_args *args, struct out *out)
{
    static const char *const columns[] = {"DISK",  "SIZE",   "SECTOR", "USERS",
                                          "READS", "WRITES", "ERRORS"};
    static const u8 widths[] = {24, 10, 6, 5, 8, 8, 6};

    (void)args;
    out_table(out, columns, widths, ARRAY_LEN(columns));
    for (struct disk *d = disk_first(); d; d = d->next) {
        u64 errors = 0;

        for (u32 i = 0; i < DISK_OPS; i++)
            errors += d->stats.errors[i];
        out_cell(out, "%s", d->name);
        size_cell(out, d->size);
        out_cell(out, "%u", d->block_size);
        out_cell(out, "%u", d->users);
        out_cell(out, "%llu", (ull)d->stats.count[DISK_READ]);
        out_cell(out, "%llu", (ull)d->stats.count[DISK_WRITE]);
        out_cell(out, "%llu", (ull)errors);
    }
    return HV_OK;
}

/* The store knows from now on what the file is: a VM cannot open it as anything else. */
static enum hv_status note_format(struct out *out, const char *text, const char *format)
{
    struct store_change change = {.kind = STORE_IMAGE, .format = format};
    struct store *s = find(out, text, &change.path);
    enum hv_status status = s ? store_apply(s, &change, 1) : HV_ENOENT;

    return !s || status == HV_OK ? status : fail(out, status, "store list", store_error(s));
}

static enum hv_status run_disk_create(const struct schema_args *args, struct out *out)
{
    struct image_options o = {.size = args_number(args, "size", 0),
                              .kind = args_text(args, "kind"),
                              .unit = (u32)args_number(args, "unit", 0)};
    const struct image_format *format = format_of(args, "format");
    char error[IMAGE_ERROR_MAX] = "";
    struct disk *file;
    enum hv_status status;

    if (!o.size || o.size % DISK_SECTOR || o.size > IMAGE_SIZE_MAX)
        return out_error(out, HV_EINVAL, "E_SIZE", "size=10G", "%llu bytes is no size for a disk",
                         (ull)o.size);
    image_new_id(o.id);
    status = open_file(out, args_text(args, "path"), true, false, &file);
    if (status != HV_OK)
        return status;
    status = format->create(file, &o, error);
    disk_close(file);
    return status == HV_OK ? note_format(out, args_text(args, "path"), format->name)
                           : fail(out, status, "help disk create", error);
}

static void show_image(struct out *out, const struct image *img)
{
    char text[24];

    conf_format_size(img->size, text, sizeof(text));
    out_field(out, "format", "%s", img->format->name);
    out_field(out, "kind", "%s", img->note);
    out_field(out, "size", "%s", text);
    out_field(out, "unit", "%u", img->unit);
    out_field(out, "parent", "%s", img->wants_parent ? img->parent_hint : "none");
    out_field(out, "writable", "%s", img->format->can_write && !img->read_only ? "yes" : "no");
    out_end_object(out);
}

/* Opens the one layer, and calls fn or checks it. */
static enum hv_status look_at(const struct schema_args *args, struct out *out, bool check)
{
    struct image *img = calloc(1, sizeof(*img));
    struct disk *file;
    u64 problems = 0;
    enum hv_status status =
        img ? open_file(out, args_text(args, "path"), false, true, &file) : HV_ENOMEM;

    if (status != HV_OK) {
        free(img);
        return status;
    }
    status = image_layer_open(img, file, format_of(args, "format"), NULL, true);
    if (status == HV_OK) {
        if (!check)
            show_image(out, img);
        else
            status = img->format->check(img, &problems);
        if (problems)
            out_printf(out, "first problem: %s\n", img->error);
        if (check && status == HV_OK)
            out_printf(out, "%llu problems\n", (ull)problems);
        image_layer_close(img);
    }
    if (status != HV_OK)
        status = fail(out, status, "format=, as the image really is", img->error);
    disk_close(file);
    free(img);
    return status;
}

static enum hv_status run_disk_info(const struct schema_args *args, struct out *out)
{
    return look_at(args, out, false);
}

static enum hv_status run_disk_check(const struct schema_args *args, struct out *out)
{
    return look_at(args, out, true);
}

static enum hv_status open_image(struct out *out, struct disk *file,
                                 const struct image_format *format, bool read_only,
                                 struct disk **disk)
{
    struct image_layer layer = {.file = file, .format = format};
    char error[IMAGE_ERROR_MAX];
    enum hv_status status = image_open("shell", &layer, 1, read_only, disk, error);

    return status == HV_OK ? status : fail(out, status, "disk info", error);
}

static enum hv_status run_disk_resize(const struct schema_args *args, struct out *out)
{
    struct disk *file, *disk;
    enum hv_status status = open_file(out, args_text(args, "path"), false, false, &file);

    if (status != HV_OK)
        return status;
    status = open_image(out, file, format_of(args, "format"), false, &disk);
    if (status == HV_OK) {
        u64 size = args_number(args, "size", 0);

        status = size < disk->size ? HV_EINVAL : disk_resize(disk, size);
        if (status != HV_OK)
            fail(out, status, "disk convert",
                 image_of(disk, 0)->error[0] ? image_of(disk, 0)->error
                                             : "the disk does not take this size");
        disk_close(disk);
    }
    disk_close(file);
    return status;
}

/* What reads as zeros is not written. */
static enum hv_status copy_disk(struct out *out, struct disk *from, struct disk *to)
{
    u8 *buf = malloc(COPY_PIECE);
    enum hv_status status = buf ? HV_OK : HV_ENOMEM;

    for (u64 at = 0, n; at < from->size && status == HV_OK; at += n) {
        n = MIN(from->size - at, COPY_PIECE);
        status = disk_read(from, at, buf, n);
        if (status == HV_OK && (buf[0] || memcmp(buf, buf + 1, n - 1)))
            status = disk_write(to, at, buf, n);
        if (out_cancelled(out))
            status = HV_ETIMEDOUT;
    }
    free(buf);
    return status == HV_OK ? disk_flush(to) : status;
}

static enum hv_status make_target(struct out *out, const struct schema_args *args,
                                  struct disk *from, struct disk *file)
{
    const struct image_format *format = format_of(args, "to-format");
    struct image_options o = {.size = from->size, .kind = args_text(args, "kind")};
    char error[IMAGE_ERROR_MAX] = "";
    struct disk *to;
    enum hv_status status;

    if (format == &vmdk_format && o.kind && !strcmp(o.kind, "stream"))
        return vmdk_export(from, file, "disk.vmdk", NULL, NULL);
    image_new_id(o.id);
    status = format->create(file, &o, error);
    if (status != HV_OK)
        return fail(out, status, "help disk convert", error);
    status = open_image(out, file, format, false, &to);
    if (status != HV_OK)
        return status;
    status = copy_disk(out, from, to);
    if (status != HV_OK)
        fail(out, status, "store list", "copying ended early");
    enum hv_status closed = disk_close(to);
    return status == HV_OK ? closed : status;
}

static enum hv_status run_disk_convert(const struct schema_args *args, struct out *out)
{
    struct disk *file, *from, *target;
    enum hv_status status = open_file(out, args_text(args, "from"), false, true, &file);

    if (status != HV_OK)
        return status;
    status = open_image(out, file, format_of(args, "format"), true, &from);
    if (status == HV_OK) {
        status = open_file(out, args_text(args, "to"), true, false, &target);
        if (status == HV_OK) {
            status = make_target(out, args, from, target);
            disk_close(target);
        }
        disk_close(from);
    }
    disk_close(file);
    return status;
}

/* ---- schema ------------------------------------------------------------------------------------
 */

#define FORMATS "raw|qcow2|vhd|vhdx|vmdk|vdi"
#define STORE_PATH "STORE:DIR/NAME"

static const struct schema_arg create_args[] = {
    {"name", PLACE_OBJECT, ARG_WORD, .help = "name of the new store"},
    {"device", PLACE_OBJECT, ARG_WORD, .help = "disk to put it on; all that is on it is lost"},
    {"force", PLACE_FLAG, ARG_WORD, .help = "also if the disk is not blank"},
    {0},
};
static const struct schema_arg add_args[] = {
    {"device", PLACE_OBJECT, ARG_WORD, .help = "disk that has a store"},
    {0},
};
static const struct schema_arg store_args[] = {
    {"store", PLACE_OBJECT, ARG_WORD, .help = "name of the store"},
    {0},
};
static const struct schema_arg path_args[] = {
    {"path", PLACE_OBJECT, ARG_WORD, .help = STORE_PATH},
    {0},
};
static const struct schema_arg from_to_args[] = {
    {"from", PLACE_OBJECT, ARG_WORD, .help = STORE_PATH},
    {"to", PLACE_OBJECT, ARG_WORD, .help = STORE_PATH},
    {0},
};
static const struct schema_arg disk_create_args[] = {
    {"path", PLACE_OBJECT, ARG_WORD, .help = STORE_PATH " of the new file"},
    {"size", PLACE_KEY, ARG_SIZE, .help = "of the disk"},
    {"format", PLACE_KEY, ARG_ENUM, FORMATS, "raw", "of the image"},
    {"kind", PLACE_KEY, ARG_ENUM, "flat|dynamic|fixed|sparse",
     .help = "where the format has several"},
    {"unit", PLACE_KEY, ARG_SIZE, .help = "cluster, grain or block; the format's usual one"},
    {0},
};
static const struct schema_arg image_args[] = {
    {"path", PLACE_OBJECT, ARG_WORD, .help = STORE_PATH},
    {"format", PLACE_KEY, ARG_ENUM, FORMATS, "raw", "of the image; never guessed from it"},
    {0},
};
static const struct schema_arg resize_args[] = {
    {"path", PLACE_OBJECT, ARG_WORD, .help = STORE_PATH},
    {"size", PLACE_KEY, ARG_SIZE, .help = "new size; disks only grow"},
    {"format", PLACE_KEY, ARG_ENUM, FORMATS, "raw", "of the image"},
    {0},
};
static const struct schema_arg convert_args[] = {
    {"from", PLACE_OBJECT, ARG_WORD, .help = STORE_PATH},
    {"to", PLACE_OBJECT, ARG_WORD, .help = STORE_PATH " of the new file"},
    {"format", PLACE_KEY, ARG_ENUM, FORMATS, "raw", "of the first"},
    {"to-format", PLACE_KEY, ARG_ENUM, FORMATS, "raw", "of the new one"},
    {"kind", PLACE_KEY, ARG_ENUM, "flat|dynamic|fixed|sparse|stream",
     .help = "of the new one; stream: a VMDK to hand on"},
    {0},
};

static const struct schema_command commands[] = {
    {"store", "list", "stores with capacity and use", NULL, ROLE_VIEW, NULL, NULL, run_list},
    {"store", "create", "make an empty store on a disk", "store create ds1 virtio0", ROLE_ADMIN,
     create_args, NULL, run_create},
    {"store", "add", "use the store that is on a disk", "store add virtio0", ROLE_ADMIN, add_args,
     NULL, run_add},
    {"store", "release", "stop using a store", NULL, ROLE_ADMIN, store_args, NULL,
     run_remove_store},
    {"store", "ls", "list a directory", "store ls ds1:web1", ROLE_VIEW, path_args, NULL, run_ls},
    {"store", "mkdir", "make a directory", "store mkdir ds1:web1", ROLE_OPERATE, path_args, NULL,
     run_mkdir},
    {"store", "cp", "copy a file; the copy shares its data until one of them changes",
     "store cp ds1:a.raw ds1:b.raw", ROLE_OPERATE, from_to_args, NULL, run_cp},
    {"store", "mv", "rename or move", "store mv ds1:a ds1:dir/b", ROLE_OPERATE, from_to_args, NULL,
     run_mv},
    {"store", "rm", "delete a file or an empty directory", "store rm ds1:a.raw", ROLE_ADMIN,
     path_args, NULL, run_rm},
    {"store", "check", "look for contradictions in a store's catalogue", "store check ds1",
     ROLE_OPERATE, store_args, NULL, run_check_store},
    {"disk", "list", "open disks with their counters", NULL, ROLE_VIEW, NULL, NULL, run_disk_list},
    {"disk", "create", "make an empty disk image",
     "disk create ds1:web1/d.qcow2 size=10G format=qcow2", ROLE_OPERATE, disk_create_args, NULL,
     run_disk_create},
    {"disk", "info", "what a disk image is", "disk info ds1:d.qcow2 format=qcow2", ROLE_VIEW,
     image_args, NULL, run_disk_info},
    {"disk", "check", "look for contradictions in a disk image", "disk check ds1:d.vdi format=vdi",
     ROLE_OPERATE, image_args, NULL, run_disk_check},
    {"disk", "resize", "make a disk larger", "disk resize ds1:d.qcow2 size=20G format=qcow2",
     ROLE_OPERATE, resize_args, NULL, run_disk_resize},
    {"disk", "convert", "copy a disk into an image of another format",
     "disk convert ds1:a.vmdk ds1:b.qcow2 format=vmdk to-format=qcow2", ROLE_OPERATE, convert_args,
     NULL, run_disk_convert},
};
SCHEMA_COMMANDS(commands);
