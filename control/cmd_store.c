/* Shell commands for datastores.  Run in the shell's fiber. */
#include "control/cmd_store.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "control/disk_serial.h"
#include "control/place.h"
#include "storage/partition.h"

typedef unsigned long long ull;

#define COPY_PIECE (256 * KIB)

/* ---- stores ------------------------------------------------------------------------------------
 */

static void percent_cell(struct out *out, u64 part, u64 whole)
{
    out_cell(out, "%llu %%", (ull)(part * 100 / whole));
}

static enum hv_status run_list(const struct schema_args *args, struct out *out)
{
    static const char *const columns[] = {"STORE", "CAPACITY",   "USED",  "PROVISIONED",
                                          "FULL",  "OVERCOMMIT", "FILES", "STATE"};
    static const u8 widths[] = {12, 10, 10, 12, 6, 10, 6, 8};
    const char *only = args_text(args, "store");
    struct store_usage u;
    bool any = false;

    out_table(out, columns, widths, ARRAY_LEN(columns));
    for (struct store *s = store_first(); s; s = store_next(s)) {
        if (only && strcmp(only, store_name(s)))
            continue;
        enum hv_status status = store_usage(s, &u);

        if (status != HV_OK)
            return place_fail(out, status, "store check", store_error(s));
        any = true;
        out_cell(out, "%s", store_name(s));
        place_size_cell(out, u.capacity);
        place_size_cell(out, u.used);
        place_size_cell(out, u.provisioned);
        percent_cell(out, u.used, u.capacity);
        out_cell(out, "%llu.%02llu", (ull)(u.provisioned / u.capacity),
                 (ull)(u.provisioned * 100 / u.capacity % 100));
        out_cell(out, "%llu", (ull)u.files);
        out_cell(out, "%s", store_state(s));
    }
    if (only && !any)
        return out_error(out, HV_ENOENT, "E_NO_STORE", "store list", "there is no store '%s'",
                         only);
    return HV_OK;
}

static const char *const alarm_keys[STORE_ALARMS] = {"warn", "critical", "overcommit"};

static void save_stores(struct schema_text *t)
{
    static const struct store_alerts usual = STORE_ALERTS_USUAL;

    for (const struct store *s = store_first(); s; s = store_next(s)) {
        struct store_alerts a = store_get_alerts(s);
        char word[DISK_SERIAL_MAX];

        schema_put(t, "store add %s", disk_serial_word(store_device(s), word));
        if (memcmp(&a, &usual, sizeof(a)))
            schema_put(t, "store set %s warn=%u critical=%u overcommit=%u", store_name(s),
                       a.percent[STORE_WARN], a.percent[STORE_CRITICAL],
                       a.percent[STORE_OVERCOMMIT]);
    }
}
SCHEMA_SAVES(save_stores, SAVES_STORE);

static enum hv_status run_set(const struct schema_args *args, struct out *out)
{
    const char *path;
    struct store *s = place_store(out, args_text(args, "store"), &path);
    struct store_alerts a;

    if (!s)
        return HV_ENOENT;
    a = store_get_alerts(s);
    for (u32 i = 0; i < STORE_ALARMS; i++) {
        u64 value = args_number(args, alarm_keys[i], a.percent[i]);

        if (value > (i == STORE_OVERCOMMIT ? 100000 : 100))
            return out_error(out, HV_EINVAL, "E_INVALID", "warn=80 critical=95 overcommit=200",
                             "%s=%llu is no percentage", alarm_keys[i], (ull)value);
        a.percent[i] = (u32)value;
    }
    store_set_alerts(s, &a);
    return HV_OK;
}

static enum hv_status mount(struct disk *d, struct out *out)
{
    char error[STORE_ERROR_MAX];
    struct store *s;
    enum hv_status status = store_mount(d, false, &s, error);

    if (status != HV_OK)
        return place_fail(out, status, "store create NAME DISK makes an empty one", error);
    out_printf(out, "store %s on %s\n", store_name(s), d->name);
    return HV_OK;
}

static enum hv_status run_create(const struct schema_args *args, struct out *out)
{
    char error[STORE_ERROR_MAX], buf[DISK_NAME_MAX];
    const char *name = disk_serial_name(out, args_text(args, "device"), buf);
    struct disk *d = name ? place_disk(out, name) : NULL;
    enum hv_status status = d ? HV_OK : HV_ENOENT;

    if (status == HV_OK && !args_flag(args, "force"))
        status = place_must_be_blank(out, d);
    if (status != HV_OK)
        return status;
    status = store_format(d, args_text(args, "name"), error);
    return status == HV_OK ? mount(d, out) : place_fail(out, status, "disk list", error);
}

static enum hv_status run_add(const struct schema_args *args, struct out *out)
{
    char why[120], buf[DISK_NAME_MAX];
    const char *name = disk_serial_name(out, args_text(args, "device"), buf);
    struct disk *d = name ? partition_find(name, why) : NULL;

    if (!name)
        return HV_ENOENT;
    if (!d)
        return out_error(out, HV_ENOENT, "E_NO_DISK", "disk list, disk scan DISK", "%s", why);
    for (struct store *s = store_first(); s; s = store_next(s))
        if (store_device(s) == d)
            return out_error(out, HV_EEXIST, "E_EXISTS", "store list", "store %s on %s is in use",
                             store_name(s), d->name);
    return d->users ? out_error(out, HV_EBUSY, "E_BUSY", "disk list", "disk %s is in use", d->name)
                    : mount(d, out);
}

static enum hv_status run_remove_store(const struct schema_args *args, struct out *out)
{
    const char *path;
    struct store *s = place_store(out, args_text(args, "store"), &path);

    if (!s)
        return HV_ENOENT;
    if (store_unmount(s) != HV_OK)
        return out_error(out, HV_EBUSY, "E_BUSY", "stop the VMs that use it",
                         "files of the store are open");
    return HV_OK;
}

static void on_entry(void *arg, const char *name, const struct store_stat *st)
{
    static const char *const kinds[] = {"thin", "lazy", "eager"};
    struct out *out = arg;

    out_cell(out, "%s%s", name, st->directory ? "/" : "");
    place_size_cell(out, MAX(st->size, st->image_size));
    place_size_cell(out, st->allocated);
    place_size_cell(out, st->shared);
    out_cell(out, "%s", st->directory || st->text ? "" : kinds[st->thickness]);
}

static enum hv_status run_ls(const struct schema_args *args, struct out *out)
{
    static const char *const columns[] = {"NAME", "SIZE", "ALLOCATED", "SHARED", "PROVISIONING"};
    static const u8 widths[] = {30, 10, 10, 10, 0};
    const char *path;
    struct store *s = place_store(out, args_text(args, "path"), &path);

    if (!s)
        return HV_ENOENT;
    out_table(out, columns, widths, ARRAY_LEN(columns));
    enum hv_status status = store_list(s, path, on_entry, out);
    return status == HV_OK ? status : place_fail(out, status, "store ls STORE", store_error(s));
}

static enum hv_status run_mkdir(const struct schema_args *args, struct out *out)
{
    const char *path;
    struct store *s = place_store(out, args_text(args, "path"), &path);
    enum hv_status status = s ? store_make(s, path, true) : HV_ENOENT;

    return status == HV_OK || !s ? status
                                 : place_fail(out, status, "store ls STORE", store_error(s));
}

static enum hv_status run_rm(const struct schema_args *args, struct out *out)
{
    const char *path;
    struct store *s = place_store(out, args_text(args, "path"), &path);
    enum hv_status status = s ? store_remove(s, path) : HV_ENOENT;

    return status == HV_OK || !s ? status
                                 : place_fail(out, status, "store ls STORE", store_error(s));
}

/* Both in one store. */
static struct store *two_paths(const struct schema_args *args, struct out *out, const char **from,
                               const char **to)
{
    struct store *a = place_store(out, args_text(args, "from"), from);
    struct store *b = a ? place_store(out, args_text(args, "to"), to) : NULL;

    if (b && a != b)
        out_error(out, HV_ENOSYS, "E_TWO_STORES", "store import, disk convert",
                  "'%s' and '%s' are two stores", store_name(a), store_name(b));
    return a == b ? a : NULL;
}

static enum hv_status run_cp(const struct schema_args *args, struct out *out)
{
    const char *from, *to;
    struct store *s = two_paths(args, out, &from, &to);
    enum hv_status status = s ? store_copy_tree(s, from, to) : HV_EINVAL;

    return status == HV_OK || !s ? status
                                 : place_fail(out, status, "store ls STORE", store_error(s));
}

static enum hv_status run_mv(const struct schema_args *args, struct out *out)
{
    const char *from, *to;
    struct store *s = two_paths(args, out, &from, &to);
    enum hv_status status = s ? store_rename(s, from, to) : HV_EINVAL;

    return status == HV_OK || !s ? status
                                 : place_fail(out, status, "store ls STORE", store_error(s));
}

static void on_problem(void *arg, const char *what)
{
    out_printf(arg, "%s\n", what);
}

static enum hv_status run_check_store(const struct schema_args *args, struct out *out)
{
    const char *path;
    u64 problems = 0;
    struct store *s = place_store(out, args_text(args, "store"), &path);
    enum hv_status status = s ? store_check(s, on_problem, out, &problems) : HV_ENOENT;

    if (!s)
        return status;
    if (status != HV_OK)
        return place_fail(out, status, "store list", store_error(s));
    out_printf(out, "%llu problems\n", (ull)problems);
    return HV_OK;
}

/* ---- files in and out --------------------------------------------------------------------------
 */

/* A text that is kept in the catalogue stays one. */
static enum hv_status copy_text(struct out *out, const struct place *from, const char *to)
{
    struct store_change c = {.kind = STORE_PUT};
    struct store *s = place_store(out, to, &c.path);
    u64 whole = MIN(ROUND_UP(from->length, (u64)from->file->block_size), from->file->size);
    char *text = s ? malloc(whole + 1) : NULL;
    enum hv_status status = !s ? HV_ENOENT : text ? HV_OK : HV_ENOMEM;
    struct store_stat st;

    if (!s)
        return status;
    if (status == HV_OK && store_stat(s, c.path, &st) == HV_OK)
        status = HV_EEXIST;
    if (status == HV_OK)
        status = disk_read(from->file, 0, text, whole);
    c.text = text;
    c.length = (u32)from->length;
    if (status == HV_OK)
        status = store_apply(s, &c, 1);
    free(text);
    return status == HV_OK
               ? status
               : place_fail(out, status, "store ls STORE",
                            status == HV_EEXIST ? "it is there already" : store_error(s));
}

/* A file of a store has whole blocks of its device: the last one is filled up with zeros. */
static enum hv_status copy_bytes(struct out *out, const struct place *from, struct place *to)
{
    u64 block = MAX(from->file->block_size, to->file->block_size), length = from->length;
    u8 *buf = malloc(COPY_PIECE);
    enum hv_status status = buf ? HV_OK : HV_ENOMEM;

    if (status == HV_OK && to->store)
        status = disk_resize(to->file, ROUND_UP(length, (u64)to->file->block_size));
    for (u64 at = 0, n; at < length && status == HV_OK; at += n) {
        n = MIN(length - at, COPY_PIECE);
        u64 in = MIN(ROUND_UP(n, (u64)from->file->block_size), from->file->size - at);
        u64 whole = MIN(ROUND_UP(n, block), to->file->size - at);

        memset(buf, 0, COPY_PIECE);
        status = disk_read(from->file, at, buf, in);
        memset(buf + n, 0, COPY_PIECE - n);
        if (status == HV_OK && (!to->store || buf[0] || memcmp(buf, buf + 1, n - 1)))
            status = disk_write(to->file, at, buf, whole);
        if (out_cancelled(out))
            status = HV_ETIMEDOUT;
    }
    free(buf);
    return status == HV_OK ? disk_flush(to->file) : status;
}

static bool is_small(const struct place *from)
{
    struct store_stat st;

    return from->store && store_stat(from->store, from->path, &st) == HV_OK && st.text;
}

/* From elsewhere: what is kept as text in a store, since its length counts by the byte. */
static bool is_text(const struct place *from)
{
    static const char *const ends[] = {".conf", ".ovf", ".mf"};
    u64 n = strlen(from->text);

    if (from->store || from->length > STORE_TEXT_MAX)
        return false;
    for (u32 i = 0; i < ARRAY_LEN(ends); i++) {
        u64 len = strlen(ends[i]);

        if (n > len && !strcmp(from->text + n - len, ends[i]))
            return true;
    }
    return false;
}

static enum hv_status run_transfer(const struct schema_args *args, struct out *out)
{
    const char *target = args_text(args, "to");
    struct place from, to;
    enum hv_status status = place_open(out, args_text(args, "from"), PLACE_READ, &from);

    if (status != HV_OK)
        return status;
    if ((is_small(&from) || is_text(&from)) && strchr(target, ':')) {
        status = copy_text(out, &from, target);
        place_close(&from);
        return status;
    }
    status = place_open(out, target, PLACE_MAKE, &to);
    if (status == HV_OK && !to.store && from.length > to.file->size)
        status = out_error(out, HV_ENOSPC, "E_NOSPACE", "disk list",
                           "%s takes %llu bytes, the file has %llu", to.text, (ull)to.file->size,
                           (ull)from.length);
    else if (status == HV_OK) {
        if (!strchr(target, ':') && !args_flag(args, "force"))
            status = place_must_be_blank(out, to.file);
        if (status == HV_OK && (status = copy_bytes(out, &from, &to)) != HV_OK)
            place_fail(out, status, "store list, disk list",
                       to.store ? store_error(to.store) : "a disk fails");
    }
    if (status == HV_OK)
        status = place_close(&to);
    else
        place_drop(&to);
    place_close(&from);
    return status;
}

/* ---- schema ------------------------------------------------------------------------------------
 */

static const struct schema_arg create_args[] = {
    {"name", PLACE_OBJECT, ARG_WORD, .help = "name of the new store"},
    {"device", PLACE_OBJECT, ARG_WORD,
     .help = "disk or partition to put it on; all that is on it is lost"},
    {"force", PLACE_FLAG, ARG_WORD, .help = "also if the disk is not blank"},
    {0},
};
static const struct schema_arg add_args[] = {
    {"device", PLACE_OBJECT, ARG_WORD,
     .help = "disk or partition that has a store: vd0p2, or by serial number: serial:XYZ/2"},
    {0},
};
static const struct schema_arg store_args[] = {
    {"store", PLACE_OBJECT, ARG_WORD, .help = "name of the store"},
    {0},
};
static const struct schema_arg df_args[] = {
    {"store", PLACE_OPTIONAL, ARG_WORD, .help = "only this one"},
    {0},
};
static const struct schema_arg set_args[] = {
    {"store", PLACE_OBJECT, ARG_WORD, .help = "name of the store"},
    {"warn", PLACE_KEY, ARG_NUMBER, .help = "per cent full that are logged; 0: never"},
    {"critical", PLACE_KEY, ARG_NUMBER, .help = "the same, worse"},
    {"overcommit", PLACE_KEY, ARG_NUMBER, .help = "per cent provisioned that are logged"},
    {0},
};
static const struct schema_arg path_args[] = {
    {"path", PLACE_OBJECT, ARG_WORD, .help = PLACE_HELP},
    {0},
};
static const struct schema_arg from_to_args[] = {
    {"from", PLACE_OBJECT, ARG_WORD, .help = PLACE_HELP},
    {"to", PLACE_OBJECT, ARG_WORD, .help = PLACE_HELP},
    {0},
};
static const struct schema_arg import_args[] = {
    {"from", PLACE_OBJECT, ARG_WORD, .help = PLACE_ANY_HELP},
    {"to", PLACE_OBJECT, ARG_WORD, .help = PLACE_HELP " of the new file"},
    {0},
};
static const struct schema_arg export_args[] = {
    {"from", PLACE_OBJECT, ARG_WORD, .help = PLACE_HELP},
    {"to", PLACE_OBJECT, ARG_WORD, .help = PLACE_ANY_HELP},
    {"force", PLACE_FLAG, ARG_WORD, .help = "onto a disk that is not blank"},
    {0},
};

static const struct schema_command commands[] = {
    {"store", "list", "stores with capacity, use, what is provisioned, and alarms", NULL, ROLE_VIEW,
     NULL, NULL, run_list},
    {"store", "df", "the same of one store", "store df ds1", ROLE_VIEW, df_args, NULL, run_list},
    {"store", "create", "make an empty store on a disk or partition", "store create ds1 vd0",
     ROLE_ADMIN, create_args, NULL, run_create},
    {"store", "add", "use the store that is on a disk or partition", "store add vd0p2", ROLE_ADMIN,
     add_args, NULL, run_add},
    {"store", "set", "when a store that fills up is logged, in per cent of its capacity",
     "store set ds1 warn=80 critical=95 overcommit=200", ROLE_ADMIN, set_args, NULL, run_set},
    {"store", "release", "stop using a store", NULL, ROLE_ADMIN, store_args, NULL,
     run_remove_store},
    {"store", "ls", "list a directory", "store ls ds1:web1", ROLE_VIEW, path_args, NULL, run_ls},
    {"store", "mkdir", "make a directory", "store mkdir ds1:web1", ROLE_OPERATE, path_args, NULL,
     run_mkdir},
    {"store", "cp", "copy a file or a directory; the copy shares its data until one changes",
     "store cp ds1:a.raw ds1:b.raw", ROLE_OPERATE, from_to_args, NULL, run_cp},
    {"store", "mv", "rename or move", "store mv ds1:a ds1:dir/b", ROLE_OPERATE, from_to_args, NULL,
     run_mv},
    {"store", "rm", "delete a file or an empty directory", "store rm ds1:a.raw", ROLE_ADMIN,
     path_args, NULL, run_rm},
    {"store", "import", "copy a file into a store, from another one, a disk or an ESP",
     "store import vd0:images/app.ova ds1:app.ova", ROLE_OPERATE, import_args, NULL, run_transfer},
    {"store", "export", "copy a file of a store elsewhere; a file on an ESP keeps its size",
     "store export ds1:app.ova ds2:app.ova", ROLE_ADMIN, export_args, NULL, run_transfer},
    {"store", "check", "look for contradictions in a store's catalogue", "store check ds1",
     ROLE_OPERATE, store_args, NULL, run_check_store},
};
SCHEMA_COMMANDS(commands);
