/* `host config`: the configuration that survives; runs in a shell's fiber. */
#include "control/cmd_config.h"

#include <stdlib.h>
#include <string.h>

#include "control/saved.h"
#include "control/schema.h"
#include "control/shell.h"
#include "storage/store.h"

static enum hv_status no_memory(struct out *out)
{
    return out_error(out, HV_ENOMEM, "E_MEMORY", "host mem",
                     "it is too long, or there is no memory");
}

static enum hv_status run_show(const struct schema_args *args, struct out *out)
{
    char *text = saved_text();

    (void)args;
    if (!text)
        return no_memory(out);
    for (char *at = text; *at && !out_cancelled(out);) {
        u32 n = (u32)strcspn(at, "\n");

        out_printf(out, "%.*s\n", (int)n, at);
        at += n + 1;
    }
    free(text);
    return HV_OK;
}

static enum hv_status report(struct out *out, enum hv_status status)
{
    switch (status) {
    case HV_OK:
        return HV_OK;
    case HV_ENOENT:
        return out_error(out, status, "E_NO_HOME", "put both files onto the boot medium's ESP",
                         "no disk has \\bulkhead\\config.a and .b to keep it in");
    case HV_EPERM:
        return out_error(out, status, "E_READ_ONLY", "another boot medium, or host config export",
                         "the disk that keeps it cannot be written");
    case HV_ETIMEDOUT:
        return out_error(out, status, "E_TIMEOUT", "host config status", "the disk takes long");
    case HV_ENOSPC:
        return out_error(out, status, "E_NOSPACE", "larger files \\bulkhead\\config.a and .b",
                         "it does not fit");
    default:
        return out_error(out, status, "E_IO", "host disk list", "the disk fails");
    }
}

static enum hv_status run_save(const struct schema_args *args, struct out *out)
{
    (void)args;
    return report(out, saved_save());
}

static enum hv_status run_reset(const struct schema_args *args, struct out *out)
{
    if (!args_flag(args, "yes") && !shell_confirm("Start with nothing of it at the next reboot?"))
        return HV_OK;
    return report(out, saved_reset());
}

/* Stores have no file sizes below the device's block: the rest is empty lines. */
static enum hv_status write_file(struct store *s, const char *path, const char *text)
{
    struct disk *file;
    enum hv_status status = store_make(s, path, false);

    if (status == HV_OK)
        status = store_open(s, path, false, &file);
    if (status != HV_OK)
        return status;
    u64 len = strlen(text), size = ROUND_UP(MAX(len, 1ull), (u64)MAX(file->block_size, 1u));
    char *padded = malloc(size);
    status = padded ? disk_resize(file, size) : HV_ENOMEM;
    if (status == HV_OK) {
        memset(padded, '\n', size);
        memcpy(padded, text, len);
        status = disk_write(file, 0, padded, size);
    }
    free(padded);
    if (status == HV_OK)
        status = disk_flush(file);
    enum hv_status closed = disk_close(file);
    return status == HV_OK ? closed : status;
}

static enum hv_status run_export(const struct schema_args *args, struct out *out)
{
    const char *to = args_text(args, "to"), *colon = to ? strchr(to, ':') : NULL;
    char name[STORE_NAME_MAX], *text;

    if (!to)
        return run_show(args, out);
    u64 n = colon ? MIN((u64)(colon - to), sizeof(name) - 1) : 0;
    memcpy(name, to, n);
    name[n] = 0;
    struct store *s = colon ? store_find(name) : NULL;
    if (!s)
        return out_error(out, HV_ENOENT, "E_NO_STORE", "store list", "there is no store '%s'",
                         name);
    text = saved_text();
    if (!text)
        return no_memory(out);
    enum hv_status status = write_file(s, colon + 1, text);
    free(text);
    if (status != HV_OK)
        return out_error(out, status, "E_STORAGE", "store ls STORE", "%s", store_error(s));
    return HV_OK;
}

static enum hv_status run_status(const struct schema_args *args, struct out *out)
{
    const char *autosave = args_text(args, "autosave");

    if (autosave)
        saved_set_autosave(!strcmp(autosave, "on"));
    else
        saved_status(out);
    return HV_OK;
}

static enum hv_status run_forget(const struct schema_args *args, struct out *out)
{
    (void)args, (void)out;
    saved_forget();
    return HV_OK;
}

static enum hv_status run_config(const struct schema_args *args, struct out *out)
{
    static const struct {
        const char *name;
        enum hv_status (*run)(const struct schema_args *args, struct out *out);
    } actions[] = {{"status", run_status}, {"show", run_show},     {"save", run_save},
                   {"reset", run_reset},   {"export", run_export}, {"forget", run_forget}};
    const char *name = args_text(args, "what");

    for (u32 i = 0; name && i < ARRAY_LEN(actions); i++) {
        if (!strcmp(actions[i].name, name))
            return actions[i].run(args, out);
    }
    return run_status(args, out);
}

static const struct schema_arg config_args[] = {
    {"what", PLACE_OPTIONAL, ARG_ENUM, "status|show|save|reset|export|forget", "status",
     "show prints the commands that make it again"},
    {"autosave", PLACE_KEY, ARG_ENUM, .values = "on|off",
     .help = "keep what each command changes, at once"},
    {"to", PLACE_KEY, ARG_WORD, .help = "export: a new file, STORE:DIR/NAME"},
    {"yes", PLACE_FLAG, ARG_WORD, .help = "reset: do not ask"},
    {0},
};

static const struct schema_command commands[] = {
    {"host", "config", "the configuration that survives a reboot", "host config show", ROLE_ADMIN,
     config_args, NULL, run_config},
};
SCHEMA_COMMANDS(commands);
