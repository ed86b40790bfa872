/* Shell commands for disk images, and for copying disks from and to everywhere.  Run in the
 * shell's fiber. */
#include "control/cmd_image.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "control/place.h"
#include "storage/chain.h"
#include "storage/copy.h"
#include "storage/partition.h"
#include "storage/prealloc.h"
#include "storage/vmdk.h"

typedef unsigned long long ull;

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
        place_size_cell(out, d->size);
        out_cell(out, "%u", d->block_size);
        out_cell(out, "%u", d->users);
        out_cell(out, "%llu", (ull)d->stats.count[DISK_READ]);
        out_cell(out, "%llu", (ull)d->stats.count[DISK_WRITE]);
        out_cell(out, "%llu", (ull)errors);
    }
    return HV_OK;
}

static enum hv_status run_scan(const struct schema_args *args, struct out *out)
{
    static const char *const columns[] = {"PARTITION", "OFFSET", "SIZE", "KIND", "NAME"};
    static const u8 widths[] = {12, 10, 10, 12, 0};
    const char *name = args_text(args, "disk");
    struct disk *d = disk_find(name);
    struct partition *all = calloc(PARTITIONS_MAX, sizeof(*all));
    u32 count = 0;
    bool gpt;
    enum hv_status status = !d ? HV_ENOENT : all ? partition_read(d, all, &count, &gpt) : HV_ENOMEM;

    if (!d)
        out_error(out, status, "E_NO_DISK", "disk list", "there is no disk '%s'", name);
    else if (status == HV_ENOENT)
        out_error(out, status, "E_NOENT", "store create NAME DISK takes all of it",
                  "disk %s has no partitions", name);
    else if (status != HV_OK)
        place_fail(out, status, "disk list",
                   status == HV_ECORRUPT ? "its partition table contradicts itself or the disk"
                                         : "");
    if (status == HV_OK)
        out_table(out, columns, widths, ARRAY_LEN(columns));
    for (u32 i = 0; i < count && status == HV_OK; i++) {
        out_cell(out, "%sp%u", name, all[i].number);
        place_size_cell(out, all[i].offset);
        place_size_cell(out, all[i].length);
        out_cell(out, "%s", all[i].kind);
        out_cell(out, "%s", all[i].name);
    }
    free(all);
    return status;
}

/* ---- formats -----------------------------------------------------------------------------------
 */

/* What the store knows the file as, if nobody says; else raw. */
static const struct image_format *format_of(const struct schema_args *args, const char *key,
                                            const struct place *p)
{
    const char *text = args_text(args, key);
    struct store_image known;
    u32 count;

    if (!text && p && p->store && store_chain(p->store, p->path, &known, 1, &count) == HV_OK &&
        image_format(known.format))
        return image_format(known.format);
    return image_format(text ? text : "raw");
}

/* The store knows from now on what the file is: a VM cannot open it as anything else. */
static enum hv_status note_format(struct out *out, const struct place *p, const char *format,
                                  u64 size)
{
    struct store_change change = {
        .kind = STORE_IMAGE, .path = p->path, .format = format, .size = size};
    enum hv_status status = p->store ? store_apply(p->store, &change, 1) : HV_OK;

    return status == HV_OK ? status : place_fail(out, status, "store list", store_error(p->store));
}

static bool on_progress(void *arg, u64 done, u64 total)
{
    (void)done, (void)total;
    return !out_cancelled(arg);
}

/* Every unit of an image that grows as it is written gets its place in the file. */
static enum hv_status give_places(struct out *out, const struct image_format *format,
                                  const struct place *p)
{
    char error[IMAGE_ERROR_MAX];
    struct disk *file;
    enum hv_status status = store_open(p->store, p->path, false, &file);

    if (status != HV_OK)
        return place_fail(out, status, "store df", store_error(p->store));
    status = prealloc_image(file, format, on_progress, out, error);
    enum hv_status closed = disk_close(file);
    if (status == HV_OK && closed == HV_OK)
        return HV_OK;
    return place_fail(out, status == HV_OK ? closed : status, "store df, prov=thin", error);
}

/* Thick: all of the file has its room in the store. */
static enum hv_status thicken(struct out *out, const struct schema_args *args,
                              const struct image_format *format, const struct place *p, u64 size)
{
    const char *text = args_text(args, "prov");
    struct store_stat st;
    enum hv_status status;

    if (!text || !strcmp(text, "thin"))
        return HV_OK;
    status = p->store ? store_stat(p->store, p->path, &st) : HV_ENOSYS;
    if (status == HV_ENOSYS)
        return out_error(out, status, "E_UNSUPPORTED", "STORE:DIR/NAME",
                         "only what is in a store can be thick");
    if (status == HV_OK && st.size < size && (status = give_places(out, format, p)) != HV_OK)
        return status;
    if (status == HV_OK)
        status = store_reserve(p->store, p->path, !strcmp(text, "eager") ? STORE_EAGER : STORE_LAZY,
                               on_progress, out);
    return status == HV_OK ? status
                           : place_fail(out, status, "store df, prov=thin", store_error(p->store));
}

/* `text`: a descriptor, which is no disk itself. */
static enum hv_status make_image(struct out *out, const struct schema_args *args, const char *path,
                                 const struct image_format *format, const struct image_options *o,
                                 bool text)
{
    char error[IMAGE_ERROR_MAX] = "";
    struct place p;
    enum hv_status status = place_open(out, path, PLACE_MAKE, &p);

    if (status != HV_OK)
        return status;
    status = format->create(p.file, o, error);
    if (status != HV_OK)
        place_fail(out, status, "help disk create", error);
    place_close(&p);
    if (status == HV_OK)
        status = note_format(out, &p, format->name, text ? DISK_SECTOR : o->size);
    if (status == HV_OK && !text)
        status = thicken(out, args, format, &p, o->size);
    if (status != HV_OK)
        place_drop(&p);
    return status;
}

/* A flat VMDK is two files: the text that other programs want, and beside it the data, which a VM
 * opens as raw. */
static enum hv_status make_flat(struct out *out, const struct schema_args *args,
                                struct image_options *o)
{
    const char *path = args_text(args, "path"), *colon = strchr(path, ':');
    char data[STORE_PATH_MAX];
    u64 n = strlen(path);

    if (n > 5 && !strcmp(path + n - 5, ".vmdk"))
        n -= 5;
    if (!colon || n + sizeof("-flat.vmdk") > sizeof(data))
        return out_error(out, HV_EINVAL, "E_INVALID", "STORE:DIR/NAME",
                         "a flat image's two files are made in a store");
    snprintf(data, sizeof(data), "%.*s-flat.vmdk", (int)n, path);
    enum hv_status status = make_image(out, args, data, image_format("raw"), o, false);
    if (status != HV_OK)
        return status;
    o->data_name = chain_base_name(data + (colon + 1 - path));
    status = make_image(out, args, path, &vmdk_format, o, true);
    if (status == HV_OK)
        return status;
    struct place p = {.text = data, .made = true};
    p.store = place_store(out, data, &p.path);
    if (p.store)
        place_drop(&p);
    return status;
}

static enum hv_status run_disk_create(const struct schema_args *args, struct out *out)
{
    struct image_options o = {.size = args_number(args, "size", 0),
                              .kind = args_text(args, "kind"),
                              .unit = (u32)args_number(args, "unit", 0)};
    const struct image_format *format = format_of(args, "format", NULL);

    if (!o.size || o.size % DISK_SECTOR || o.size > IMAGE_SIZE_MAX)
        return out_error(out, HV_EINVAL, "E_SIZE", "size=10G", "%llu bytes is no size for a disk",
                         (ull)o.size);
    image_new_id(o.id);
    if (format == &vmdk_format && o.kind && !strcmp(o.kind, "flat"))
        return make_flat(out, args, &o);
    return make_image(out, args, args_text(args, "path"), format, &o, false);
}

static void show_image(struct out *out, const struct image *img, const struct place *p)
{
    static const char *const kinds[] = {"thin", "thick, lazily zeroed", "thick, eagerly zeroed"};
    struct store_stat st;
    char text[24];

    conf_format_size(img->size, text, sizeof(text));
    out_field(out, "format", "%s", img->format->name);
    out_field(out, "kind", "%s", img->note);
    out_field(out, "size", "%s", text);
    out_field(out, "unit", "%u", img->unit);
    out_field(out, "parent", "%s", img->wants_parent ? img->parent_hint : "none");
    out_field(out, "writable", "%s", img->format->can_write && !img->read_only ? "yes" : "no");
    if (p->store && store_stat(p->store, p->path, &st) == HV_OK) {
        conf_format_size(st.allocated, text, sizeof(text));
        out_field(out, "allocated", "%s", text);
        conf_format_size(st.shared, text, sizeof(text));
        out_field(out, "shared", "%s", text);
        out_field(out, "provisioning", "%s", kinds[st.thickness]);
    }
    out_end_object(out);
}

/* Opens the one layer, and shows or checks it. */
static enum hv_status look_at(const struct schema_args *args, struct out *out, bool check)
{
    struct image *img = calloc(1, sizeof(*img));
    struct place p;
    u64 problems = 0;
    enum hv_status status =
        img ? place_open(out, args_text(args, "path"), PLACE_READ, &p) : HV_ENOMEM;

    if (status != HV_OK) {
        free(img);
        return status;
    }
    status = image_layer_open(img, p.file, format_of(args, "format", &p), NULL, true);
    if (status == HV_OK) {
        if (!check)
            show_image(out, img, &p);
        else
            status = img->format->check(img, &problems);
        if (problems)
            out_printf(out, "first problem: %s\n", img->error);
        if (check && status == HV_OK)
            out_printf(out, "%llu problems\n", (ull)problems);
        image_layer_close(img);
    }
    if (status != HV_OK)
        status = place_fail(out, status, "format=, as the image really is", img->error);
    place_close(&p);
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

/* ---- opened images -----------------------------------------------------------------------------
 */

struct opened {
    struct place place;
    struct chain *chain; /* of a store's image with its ancestors; NULL: `place` alone */
    struct disk *disk;
};

static enum hv_status open_one(struct out *out, const struct image_format *format, bool read_only,
                               struct opened *o)
{
    struct image_layer layer = {.file = o->place.file, .format = format};
    char error[IMAGE_ERROR_MAX];
    enum hv_status status = image_open(o->place.text, &layer, 1, read_only, &o->disk, error);

    return status == HV_OK ? status
                           : place_fail(out, status, "format=, as the image really is", error);
}

static enum hv_status open_image(struct out *out, const struct schema_args *args, const char *key,
                                 bool read_only, struct opened *o)
{
    const char *text = args_text(args, key);
    enum place_use use = read_only ? PLACE_READ : PLACE_CHANGE;
    char error[IMAGE_ERROR_MAX];
    enum hv_status status;

    memset(o, 0, sizeof(*o));
    status = place_open(out, text, use, &o->place);
    if (status != HV_OK)
        return status;
    if (!o->place.store) {
        status = open_one(out, format_of(args, "format", &o->place), read_only, o);
        if (status != HV_OK)
            place_close(&o->place);
        return status;
    }
    place_close(&o->place);
    status = chain_open(o->place.store, o->place.path, args_text(args, "format"), read_only,
                        &o->chain, error);
    if (status != HV_OK)
        return place_fail(out, status, "format=, as the image really is", error);
    o->disk = o->chain->disk;
    return HV_OK;
}

static enum hv_status close_image(struct opened *o)
{
    enum hv_status status = o->chain ? chain_close(o->chain) : disk_close(o->disk);
    enum hv_status closed = place_close(&o->place);

    return status == HV_OK ? closed : status;
}

static void on_child(void *arg, const char *child)
{
    snprintf(arg, STORE_PATH_MAX, "%s", child);
}

/* An image that others lie over is not changed: the one on top grows. */
static bool has_children(struct out *out, const char *text)
{
    char child[STORE_PATH_MAX] = "", name[STORE_NAME_MAX];
    const char *colon = strchr(text, ':');

    snprintf(name, sizeof(name), "%.*s", (int)(colon ? colon - text : 0), text);
    struct store *s = store_find(name);
    if (!s || store_children(s, colon + 1, on_child, child) != HV_OK || !child[0])
        return false;
    out_error(out, HV_EBUSY, "E_HAS_SNAPSHOTS", "vm grow VM DISK, which grows the image on top",
              "'%.80s' is made from it", child);
    return true;
}

static enum hv_status run_disk_resize(const struct schema_args *args, struct out *out)
{
    struct opened o;
    u64 size = args_number(args, "size", 0);
    char error[IMAGE_ERROR_MAX];

    if (has_children(out, args_text(args, "path")))
        return HV_EBUSY;
    enum hv_status status = open_image(out, args, "path", false, &o);
    if (status != HV_OK)
        return status;
    if (!o.chain)
        status = out_error(out, HV_ENOSYS, "E_UNSUPPORTED", "disk import",
                           "only an image of a store can grow");
    else if ((status = chain_grow(o.place.store, o.chain, size, error)) != HV_OK)
        place_fail(out, status, "disk info, disk convert, store df", error);
    enum hv_status closed = close_image(&o);
    if (status == HV_OK && closed != HV_OK)
        status = place_fail(out, closed, "disk check", "it could not be closed");
    return status;
}

static bool on_export(void *arg, u64 done)
{
    (void)done;
    return !out_cancelled(arg);
}

/* The bytes of `from` into a new image in `to`, which is open. */
static enum hv_status fill(struct out *out, const struct schema_args *args, struct disk *from,
                           struct opened *to)
{
    const struct image_format *format = format_of(args, "to-format", NULL);
    struct image_options o = {.size = from->size, .kind = args_text(args, "kind")};
    char error[IMAGE_ERROR_MAX] = "";
    enum hv_status status = HV_OK;
    bool device = !to->place.store;

    if (!device && format == &vmdk_format && o.kind && !strcmp(o.kind, "stream")) {
        status = vmdk_export(from, to->place.file, "disk.vmdk", on_export, out);
        return status == HV_OK ? status
                               : place_fail(out, status, "store df", "copying ended early");
    }
    image_new_id(o.id);
    if (device && format != image_format("raw"))
        return out_error(out, HV_ENOSYS, "E_UNSUPPORTED", "to-format=raw",
                         "a disk takes the bytes of a disk, not an image");
    if (device && from->size > to->place.file->size)
        return out_error(out, HV_ENOSPC, "E_NOSPACE", "disk list", "%s has %llu bytes of %llu",
                         to->place.text, (ull)to->place.file->size, (ull)from->size);
    if (!device)
        status = format->create(to->place.file, &o, error);
    if (status != HV_OK)
        return place_fail(out, status, "help disk convert", error);
    status = open_one(out, format, false, to);
    if (status != HV_OK)
        return status;
    status = copy_disk(from, to->disk, device, on_export, out);
    if (status != HV_OK)
        place_fail(out, status, "store df, disk list", "copying ended early");
    enum hv_status closed = disk_close(to->disk);
    return status == HV_OK ? closed : status;
}

/* convert, import, export: the same, with other defaults and words. */
static enum hv_status run_disk_convert(const struct schema_args *args, struct out *out)
{
    struct opened from, to = {0};
    enum hv_status status = open_image(out, args, "from", true, &from);

    if (status != HV_OK)
        return status;
    u64 size = from.disk->size;
    status = place_open(out, args_text(args, "to"), PLACE_MAKE, &to.place);
    if (status == HV_OK) {
        if (!to.place.store && !args_flag(args, "force"))
            status = place_must_be_blank(out, to.place.file);
        if (status == HV_OK)
            status = fill(out, args, from.disk, &to);
        enum hv_status closed = place_close(&to.place);
        if (status == HV_OK && closed != HV_OK)
            status = place_fail(out, closed, "store df, disk list", "it could not be closed");
        if (status == HV_OK)
            status = note_format(out, &to.place, format_of(args, "to-format", NULL)->name, size);
        if (status == HV_OK)
            status = thicken(out, args, format_of(args, "to-format", NULL), &to.place, size);
        if (status != HV_OK)
            place_drop(&to.place);
    }
    close_image(&from);
    return status;
}

/* ---- schema ------------------------------------------------------------------------------------
 */

#define FORMATS "raw|qcow2|vhd|vhdx|vmdk|vdi"
#define KINDS "flat|dynamic|fixed|sparse|stream"
#define FORMAT_HELP "of the image, which is never guessed from it; as the store knows it, or raw"
#define PROV_HELP "thin: takes room as it is written; lazy, eager: has it, zeroed late or now"

static const struct schema_arg scan_args[] = {
    {"disk", PLACE_OBJECT, ARG_WORD, .help = "a physical disk"},
    {0},
};
static const struct schema_arg disk_create_args[] = {
    {"path", PLACE_OBJECT, ARG_WORD, .help = PLACE_HELP " of the new file"},
    {"size", PLACE_KEY, ARG_SIZE, .help = "of the disk"},
    {"format", PLACE_KEY, ARG_ENUM, FORMATS, "raw", "of the image"},
    {"kind", PLACE_KEY, ARG_ENUM, "flat|dynamic|fixed|sparse",
     .help = "where the format has several"},
    {"prov", PLACE_KEY, ARG_ENUM, "thin|lazy|eager", "thin", PROV_HELP},
    {"unit", PLACE_KEY, ARG_SIZE, .help = "cluster, grain or block; the format's usual one"},
    {0},
};
static const struct schema_arg image_args[] = {
    {"path", PLACE_OBJECT, ARG_WORD, .help = PLACE_HELP},
    {"format", PLACE_KEY, ARG_ENUM, FORMATS, .help = FORMAT_HELP},
    {0},
};
static const struct schema_arg resize_args[] = {
    {"path", PLACE_OBJECT, ARG_WORD, .help = PLACE_HELP},
    {"size", PLACE_KEY, ARG_SIZE, .help = "new size; disks only grow"},
    {"format", PLACE_KEY, ARG_ENUM, FORMATS, .help = FORMAT_HELP},
    {0},
};
static const struct schema_arg convert_args[] = {
    {"from", PLACE_OBJECT, ARG_WORD, .help = PLACE_HELP},
    {"to", PLACE_OBJECT, ARG_WORD, .help = PLACE_HELP " of the new file"},
    {"format", PLACE_KEY, ARG_ENUM, FORMATS, .help = FORMAT_HELP},
    {"to-format", PLACE_KEY, ARG_ENUM, FORMATS, "raw", "of the new one"},
    {"kind", PLACE_KEY, ARG_ENUM, KINDS, .help = "of the new one; stream: a VMDK to hand on"},
    {"prov", PLACE_KEY, ARG_ENUM, "thin|lazy|eager", "thin", PROV_HELP},
    {0},
};
static const struct schema_arg import_args[] = {
    {"from", PLACE_OBJECT, ARG_WORD, .help = PLACE_ANY_HELP},
    {"to", PLACE_OBJECT, ARG_WORD, .help = PLACE_HELP " of the new image"},
    {"format", PLACE_KEY, ARG_ENUM, FORMATS, .help = FORMAT_HELP},
    {"to-format", PLACE_KEY, ARG_ENUM, FORMATS, "qcow2", "of the new image"},
    {"kind", PLACE_KEY, ARG_ENUM, KINDS, .help = "of the new image"},
    {"prov", PLACE_KEY, ARG_ENUM, "thin|lazy|eager", "thin", PROV_HELP},
    {0},
};
static const struct schema_arg export_args[] = {
    {"from", PLACE_OBJECT, ARG_WORD, .help = PLACE_HELP},
    {"to", PLACE_OBJECT, ARG_WORD, .help = PLACE_ANY_HELP},
    {"format", PLACE_KEY, ARG_ENUM, FORMATS, .help = FORMAT_HELP},
    {"to-format", PLACE_KEY, ARG_ENUM, FORMATS, "raw", "of what is made of it; a disk: raw"},
    {"kind", PLACE_KEY, ARG_ENUM, KINDS, .help = "of what is made; stream: a VMDK to hand on"},
    {"force", PLACE_FLAG, ARG_WORD, .help = "onto a disk that is not blank; it is overwritten"},
    {0},
};

static const struct schema_command commands[] = {
    {"disk", "list", "open disks with their counters", NULL, ROLE_VIEW, NULL, NULL, run_disk_list},
    {"disk", "scan", "the partitions of a disk", "disk scan vd0", ROLE_VIEW, scan_args, NULL,
     run_scan},
    {"disk", "create", "make an empty disk image",
     "disk create ds1:web1/d.qcow2 size=10G format=qcow2", ROLE_OPERATE, disk_create_args, NULL,
     run_disk_create},
    {"disk", "info", "what a disk image is", "disk info ds1:d.qcow2", ROLE_VIEW, image_args, NULL,
     run_disk_info},
    {"disk", "check", "look for contradictions in a disk image", "disk check ds1:d.vdi format=vdi",
     ROLE_OPERATE, image_args, NULL, run_disk_check},
    {"disk", "resize", "make a disk larger", "disk resize ds1:d.qcow2 size=20G", ROLE_OPERATE,
     resize_args, NULL, run_disk_resize},
    {"disk", "convert", "copy a disk into an image of another format",
     "disk convert ds1:a.vmdk ds1:b.qcow2 format=vmdk to-format=qcow2", ROLE_OPERATE, convert_args,
     NULL, run_disk_convert},
    {"disk", "import", "make an image of a physical disk, a partition, or an image elsewhere",
     "disk import vd1 ds1:old-server.qcow2", ROLE_ADMIN, import_args, NULL, run_disk_convert},
    {"disk", "export", "write a disk onto a physical one, or as an image elsewhere",
     "disk export ds1:web1/d.qcow2 vd1", ROLE_ADMIN, export_args, NULL, run_disk_convert},
};
SCHEMA_COMMANDS(commands);
