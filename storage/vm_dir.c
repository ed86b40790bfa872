/* NAME.conf of a VM's directory: text to struct and back, reading and writing it. */
#include "storage/vm_dir.h"

#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "control/rt/conf.h"

/* ---- small things ---------------------------------------------------------------------------- */

enum hv_status vm_dir_fail(struct vm_dir *v, enum hv_status status, const char *fmt, ...)
{
    va_list ap;

    va_start(ap, fmt);
    vsnprintf(v->error, sizeof(v->error), fmt, ap);
    va_end(ap);
    return status;
}

enum hv_status vm_dir_store_failed(struct vm_dir *v, enum hv_status status)
{
    const char *why = store_error(v->store);

    return status == HV_OK ? status : vm_dir_fail(v, status, "%s", why[0] ? why : "the disk fails");
}

bool vm_dir_name_valid(const char *name)
{
    u32 len = (u32)strnlen(name, VM_DIR_NAME);

    for (u32 i = 0; i < len; i++)
        if (!strchr("abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789-_.", name[i]))
            return false;
    return len && len < VM_DIR_NAME;
}

void vm_dir_path(const struct vm_dir *v, const char *file, char path[STORE_PATH_MAX])
{
    int n = strchr(file, '/') ? snprintf(path, STORE_PATH_MAX, "%s", file + (*file == '/'))
                              : snprintf(path, STORE_PATH_MAX, "%s/%s", v->path, file);

    if (n >= (int)STORE_PATH_MAX)
        path[0] = 0; /* no file has this name */
}

void vm_dir_nvram(const struct vm_dir *v, const char *snapshot, char path[STORE_PATH_MAX])
{
    char name[2 * VM_DIR_NAME + 8];
    bool of_one = snapshot && snapshot[0];

    snprintf(name, sizeof(name), "%s%s%s.nvram", v->name, of_one ? "-" : "",
             of_one ? snapshot : "");
    vm_dir_path(v, name, path);
}

struct vm_dir_state *vm_dir_find(struct vm_dir *v, const char *snapshot)
{
    for (u32 i = 0; i < v->snapshot_count; i++)
        if (!strcmp(v->snapshot[i]->name, snapshot))
            return v->snapshot[i];
    return NULL;
}

bool vm_dir_set_settings(struct vm_dir_state *s, const char *text)
{
    char *copy = strdup(text ? text : "");

    if (copy) {
        free(s->settings);
        s->settings = copy;
    }
    return copy != NULL;
}

bool vm_dir_copy_state(struct vm_dir_state *to, const struct vm_dir_state *from)
{
    char *settings = strdup(from->settings ? from->settings : "");

    if (!settings)
        return false;
    free(to->settings);
    *to = *from;
    to->settings = settings;
    return true;
}

static void clear(struct vm_dir *v)
{
    for (u32 i = 0; i < v->snapshot_count; i++) {
        free(v->snapshot[i]->settings);
        free(v->snapshot[i]);
    }
    free(v->now.settings);
    memset(&v->now, 0, sizeof(v->now));
    v->snapshot_count = 0;
}

void vm_dir_free(struct vm_dir *v)
{
    clear(v);
    free(v);
}

/* ---- text to struct -------------------------------------------------------------------------- */

static bool take(char *to, u32 size, struct conf_span from)
{
    if (from.len >= size)
        return false;
    memcpy(to, from.at, from.len);
    to[from.len] = 0;
    return true;
}

static bool add_setting(struct vm_dir_state *s, struct conf_span key, struct conf_span value)
{
    u64 had = s->settings ? strlen(s->settings) : 0;
    char *more = realloc(s->settings, had + key.len + value.len + 4);

    if (!more)
        return false;
    s->settings = more;
    sprintf(more + had, "%.*s: %.*s\n", (int)key.len, key.at, (int)value.len, value.at);
    return true;
}

/* "diskN": file= and format= are ours, the rest of the line is the VM's. */
static bool take_disk(struct vm_dir_state *s, u32 number, struct conf_span key,
                      struct conf_span value)
{
    struct vm_dir_disk d = {.number = number};
    const char *at = value.at, *end = value.at + value.len;

    while (at < end) {
        const char *comma = memchr(at, ',', (size_t)(end - at));
        struct conf_span item = {at, (u32)((comma ? comma : end) - at)};

        at += item.len + 1;
        while (item.len && *item.at == ' ')
            item.at++, item.len--;
        if (item.len > 5 && !memcmp(item.at, "file=", 5)) {
            if (!take(d.file, sizeof(d.file), (struct conf_span){item.at + 5, item.len - 5}))
                return false;
        } else if (item.len > 7 && !memcmp(item.at, "format=", 7)) {
            if (!take(d.format, sizeof(d.format), (struct conf_span){item.at + 7, item.len - 7}))
                return false;
        } else if (!add_setting(s, key, item)) {
            return false;
        }
    }
    if (!d.file[0])
        return true;
    for (u32 i = 0; i < s->disk_count; i++)
        if (s->disk[i].number == number)
            return false;
    if (s->disk_count == VM_DIR_DISKS || !d.format[0])
        return false;
    s->disk[s->disk_count++] = d;
    return true;
}

static bool take_entry(struct vm_dir_state *s, const struct conf_line *l)
{
    u64 number;

    if (conf_span_is(l->key, "parent"))
        return take(s->parent, sizeof(s->parent), l->value) && vm_dir_name_valid(s->parent);
    if (conf_span_is(l->key, "description"))
        return take(s->description, sizeof(s->description), l->value);
    if (conf_span_is(l->key, "time")) {
        bool good = conf_parse_number(l->value, &number) && number <= 1ull << 48;

        s->time = good ? (i64)number : 0;
        return good;
    }
    if (l->key.len > 4 && !memcmp(l->key.at, "disk", 4) &&
        conf_parse_number((struct conf_span){l->key.at + 4, l->key.len - 4}, &number))
        return number < VM_DIR_DISKS && take_disk(s, (u32)number, l->key, l->value);
    return add_setting(s, l->key, l->value);
}

static struct vm_dir_state *begin_section(struct vm_dir *v, const struct conf_line *l, bool *had_vm)
{
    char name[VM_DIR_NAME];

    if (!take(name, sizeof(name), l->name) || !vm_dir_name_valid(name))
        return NULL;
    if (conf_span_is(l->kind, "vm") && !*had_vm) {
        *had_vm = true;
        memcpy(v->name, name, sizeof(name));
        return &v->now;
    }
    if (!conf_span_is(l->kind, "snapshot") || v->snapshot_count == VM_DIR_SNAPSHOTS ||
        vm_dir_find(v, name))
        return NULL;
    struct vm_dir_state *s = calloc(1, sizeof(*s));
    if (!s)
        return NULL;
    memcpy(s->name, name, sizeof(name));
    v->snapshot[v->snapshot_count++] = s;
    return s;
}

/* Each parent is there, and nobody is its own ancestor. */
static enum hv_status check_tree(struct vm_dir *v)
{
    for (u32 i = 0; i <= v->snapshot_count; i++) {
        const struct vm_dir_state *s = i < v->snapshot_count ? v->snapshot[i] : &v->now;

        for (u32 depth = 0; s->parent[0]; depth++) {
            const struct vm_dir_state *p = vm_dir_find(v, s->parent);

            if (!p)
                return vm_dir_fail(v, HV_EINVAL, "there is no snapshot '%s'", s->parent);
            if (depth > v->snapshot_count)
                return vm_dir_fail(v, HV_EINVAL, "snapshot '%s' is its own ancestor", p->name);
            s = p;
        }
    }
    return HV_OK;
}

enum hv_status vm_dir_parse(struct vm_dir *v, const char *text, u32 len)
{
    struct conf_reader r;
    struct conf_line line;
    struct conf_error err;
    enum conf_item item;
    struct vm_dir_state *s = NULL;
    bool had_vm = false;

    clear(v);
    if (len > CONF_TEXT_MAX)
        return vm_dir_fail(v, HV_EINVAL, "it is longer than 64 KiB");
    conf_open(&r, text, len);
    while ((item = conf_next(&r, &line, &err)) != CONF_END) {
        bool good = item == CONF_ENTRY && s && take_entry(s, &line);

        if (item == CONF_SECTION)
            good = (s = begin_section(v, &line, &had_vm)) != NULL;
        if (!good)
            return vm_dir_fail(v, HV_EINVAL, "line %u: %s", line.line,
                               item == CONF_BAD ? err.text : "this does not belong here");
    }
    return had_vm ? check_tree(v) : vm_dir_fail(v, HV_EINVAL, "it has no section [vm NAME]");
}

/* ---- struct to text -------------------------------------------------------------------------- */

struct text {
    char *at;
    u32 len;
};

static void add(struct text *t, const char *fmt, ...) PRINTF_LIKE(2, 3);
static void add(struct text *t, const char *fmt, ...)
{
    va_list ap;

    va_start(ap, fmt);
    t->len +=
        (u32)vsnprintf(t->at ? t->at + t->len : NULL, t->at ? CONF_TEXT_MAX - t->len : 0, fmt, ap);
    va_end(ap);
    t->len = MIN(t->len, CONF_TEXT_MAX); /* too long: vm_dir_text() sees that */
}

static void add_state(struct text *t, const struct vm_dir_state *s)
{
    if (s->parent[0])
        add(t, "parent: %s\n", s->parent);
    if (s->time)
        add(t, "time: %lld\n", (long long)s->time);
    if (s->description[0])
        add(t, "description: %s\n", s->description);
    for (u32 i = 0; i < s->disk_count; i++)
        add(t, "disk%u: file=%s,format=%s\n", s->disk[i].number, s->disk[i].file,
            s->disk[i].format);
    add(t, "%s", s->settings ? s->settings : "");
}

char *vm_dir_text(const struct vm_dir *v)
{
    struct text t = {.at = malloc(CONF_TEXT_MAX)};

    if (!t.at)
        return NULL;
    add(&t, "[vm %s]\n", v->name);
    add_state(&t, &v->now);
    for (u32 i = 0; i < v->snapshot_count; i++) {
        add(&t, "\n[snapshot %s]\n", v->snapshot[i]->name);
        add_state(&t, v->snapshot[i]);
    }
    if (t.len < CONF_TEXT_MAX)
        return t.at;
    free(t.at);
    return NULL;
}

/* ---- in the store ---------------------------------------------------------------------------- */

static enum hv_status conf_path(struct vm_dir *v, char path[STORE_PATH_MAX])
{
    char name[VM_DIR_NAME + 8];

    snprintf(name, sizeof(name), "%s.conf", v->name);
    vm_dir_path(v, name, path);
    return path[0] ? HV_OK : vm_dir_fail(v, HV_EINVAL, "the directory's path is too long");
}

static struct vm_dir *new_dir(struct store *s, const char *path, const char *name, char *error)
{
    struct vm_dir *v = calloc(1, sizeof(*v));

    if (!v || !vm_dir_name_valid(name) || strlen(path) >= STORE_PATH_MAX - 128 || !path[0]) {
        snprintf(error, IMAGE_ERROR_MAX, v ? "'%.40s' is not a name for a VM" : "no memory", name);
        free(v);
        return NULL;
    }
    v->store = s;
    strcpy(v->path, path);
    strcpy(v->name, name);
    return v;
}

enum hv_status vm_dir_reload(struct vm_dir *v)
{
    char path[STORE_PATH_MAX], *text, name[VM_DIR_NAME];
    u32 len;
    enum hv_status status = conf_path(v, path);

    if (status == HV_OK)
        status = vm_dir_store_failed(v, store_get(v->store, path, &text, &len));
    if (status != HV_OK)
        return status;
    memcpy(name, v->name, sizeof(name));
    status = vm_dir_parse(v, text, len);
    free(text);
    if (status == HV_OK && strcmp(name, v->name))
        status = vm_dir_fail(v, HV_EINVAL, "it is of a VM '%s'", v->name);
    memcpy(v->name, name, sizeof(name));
    return status == HV_EINVAL ? HV_ECORRUPT : status;
}

enum hv_status vm_dir_load(struct store *s, const char *path, const char *name, struct vm_dir **out,
                           char error[IMAGE_ERROR_MAX])
{
    struct vm_dir *v = new_dir(s, path, name, error);
    enum hv_status status = v ? vm_dir_reload(v) : HV_EINVAL;

    if (v && status != HV_OK) {
        snprintf(error, IMAGE_ERROR_MAX, "%.60s/%s.conf: %.100s", path, name, v->error);
        vm_dir_free(v);
    }
    if (status == HV_OK)
        *out = v;
    return status;
}

enum hv_status vm_dir_make(struct store *s, const char *path, const char *name, struct vm_dir **out,
                           char error[IMAGE_ERROR_MAX])
{
    struct vm_dir *v = new_dir(s, path, name, error);
    enum hv_status status = v ? store_make(s, path, true) : HV_EINVAL;

    if (v && status != HV_OK) {
        snprintf(error, IMAGE_ERROR_MAX, "%s", store_error(s));
        vm_dir_free(v);
    }
    if (status == HV_OK)
        *out = v;
    return status;
}

enum hv_status vm_dir_use(struct store *s, const char *path, const char *name, struct vm_dir **out,
                          char error[IMAGE_ERROR_MAX])
{
    struct vm_dir *v = new_dir(s, path, name, error);
    char conf[STORE_PATH_MAX];
    struct store_stat st;
    enum hv_status status = v ? conf_path(v, conf) : HV_EINVAL;

    if (v && status == HV_OK)
        status = store_stat(s, conf, &st) == HV_ENOENT ? HV_OK : HV_EEXIST;
    if (v && status != HV_OK) {
        snprintf(error, IMAGE_ERROR_MAX, "%.80s is the directory of a VM already", path);
        vm_dir_free(v);
    }
    if (status == HV_OK)
        *out = v;
    return status;
}

enum hv_status vm_dir_save(struct vm_dir *v)
{
    char path[STORE_PATH_MAX], *text = vm_dir_text(v);
    enum hv_status status =
        text ? conf_path(v, path)
             : vm_dir_fail(v, HV_E2BIG, "its configuration would be longer than 64 KiB");

    if (status == HV_OK) {
        struct store_change change = {
            .kind = STORE_PUT, .path = path, .text = text, .length = (u32)strlen(text)};

        status = vm_dir_store_failed(v, store_apply(v->store, &change, 1));
    }
    free(text);
    return status;
}
