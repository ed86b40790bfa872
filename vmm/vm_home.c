/* The home of a VM on a datastore; called by commands, by starts and stops of VMs, in fibers.
 * One file: whatever happens to a home ends in the one write of its NAME.conf. */
#include "vmm/vm_home.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "control/rt/log.h"
#include "drivers/nic.h"
#include "net/stack.h"
#include "vmm/inventory.h"
#include "vmm/vm_disk.h"
#include "vmm/vm_nvram.h"

#define SETTINGS_MAX (8 * KIB)

bool vm_home_failed(struct vm_error *e, enum hv_status status, const char *why)
{
    static const struct {
        enum hv_status status;
        const char *code, *hint;
    } rows[] = {
        {HV_EINVAL, "E_INVALID", "help vm"},
        {HV_ENOENT, "E_NOENT", "vm list, store ls STORE"},
        {HV_EEXIST, "E_EXISTS", "another name"},
        {HV_EBUSY, "E_BUSY", "vm list, disk list"},
        {HV_E2BIG, "E_LIMIT", "vm snapshot delete"},
        {HV_ENOSPC, "E_NOSPACE", "store list, store rm"},
        {HV_ECORRUPT, "E_CORRUPT", "store check"},
        {HV_EPERM, "E_READ_ONLY", "store list"},
        {HV_ENOSYS, "E_UNSUPPORTED", "disk convert"},
        {HV_ETIMEDOUT, "E_CANCELLED", "again, when there is time"},
        {HV_ENOMEM, "E_NOMEM", "stop a VM"},
    };

    for (u32 i = 0; i < ARRAY_LEN(rows); i++)
        if (rows[i].status == status)
            return vm_error(e, status, rows[i].code, rows[i].hint, "%.190s", why);
    return vm_error(e, status, "E_IO", "host log", "%.190s", why);
}

/* ---- settings as text ------------------------------------------------------------------------ */

/* Rows that the directory has in its own way, or that say where it is. */
static bool is_ours(const struct conf_key *k, const struct vm_config *c)
{
    u32 n;

    if (!strcmp(k->key, "home"))
        return true;
    return conf_key_numbered(k, &n) && k->key[0] == 'd' && c->disk[n].file[0] &&
           (!strcmp(k->sub, "file") || !strcmp(k->sub, "format"));
}

char *vm_home_settings(const struct vm_config *c)
{
    struct vm_config *plain = calloc(1, sizeof(*plain));
    char *text = plain ? calloc(1, SETTINGS_MAX) : NULL, value[VM_CONFIG_CMDLINE];
    char usual[64], item[VM_CONFIG_CMDLINE + 80];
    const char *key = "";
    u32 len = 0;

    if (!text) {
        free(plain);
        return NULL;
    }
    vm_config_default(plain);
    for (u32 i = 0; i < vm_config_schema.count && len < SETTINGS_MAX; i++) {
        const struct conf_key *k = &vm_config_schema.keys[i];

        conf_show(k, c, value, sizeof(value));
        conf_show(k, plain, usual, sizeof(usual));
        /* A key's own value comes first and is always there if a sub of it is. */
        bool own_first = !k->sub && i + 1 < vm_config_schema.count &&
                         !strcmp(vm_config_schema.keys[i + 1].key, k->key);
        if (is_ours(k, c) || (!own_first && !strcmp(value, usual)))
            continue;
        if (!strcmp(key, k->key))
            snprintf(item, sizeof(item), ",%s=%s", k->sub ? k->sub : "", value);
        else
            snprintf(item, sizeof(item), "%s%s: %s%s%s", len ? "\n" : "", k->key,
                     k->sub ? k->sub : "", k->sub ? "=" : "", value);
        len += (u32)snprintf(text + len, SETTINGS_MAX - len, "%s", item);
        key = k->key;
    }
    free(plain);
    if (len + 2 >= SETTINGS_MAX) {
        free(text);
        return NULL;
    }
    strcat(text, "\n");
    return text;
}

bool vm_home_take_settings(const char *text, struct vm_config *c, struct vm_error *e)
{
    struct conf_reader r;
    struct conf_line line;
    struct conf_error err;
    enum conf_item item;

    conf_open(&r, text, strlen(text));
    while ((item = conf_next(&r, &line, &err)) != CONF_END)
        if (item != CONF_ENTRY || !conf_set(&vm_config_schema, c, line.key, line.value, &err))
            return vm_error(e, HV_EINVAL, "E_CONFIG", err.hint, "%s: %s: %s", c->name, err.key,
                            err.text);
    return true;
}

/* ---- states and configurations ----------------------------------------------------------------
 */

static u32 format_number(const char *name)
{
    static const char *const formats[] = {"raw", "qcow2", "vmdk", "vhd", "vhdx", "vdi"};

    for (u32 i = 0; i < ARRAY_LEN(formats); i++)
        if (!strcmp(formats[i], name))
            return i;
    return 0;
}

static void format_name(u32 format, char name[12])
{
    static const char *const formats[] = {"raw", "qcow2", "vmdk", "vhd", "vhdx", "vdi"};

    snprintf(name, 12, "%s", format < ARRAY_LEN(formats) ? formats[format] : "raw");
}

bool vm_home_config(const struct vm_dir *v, const struct vm_dir_state *s, struct vm_config *out,
                    struct vm_error *e)
{
    char path[STORE_PATH_MAX];

    vm_config_default(out);
    snprintf(out->name, sizeof(out->name), "%s", v->name);
    if (!vm_home_take_settings(s->settings ? s->settings : "", out, e))
        return false;
    if (snprintf(out->home, sizeof(out->home), "%s:%s", store_name(v->store), v->path) >=
        (int)sizeof(out->home))
        return vm_home_failed(e, HV_EINVAL, "the path of the directory is too long");
    for (u32 i = 0; i < s->disk_count; i++) {
        struct vm_disk *d = &out->disk[s->disk[i].number % VM_DISKS];

        vm_dir_path(v, s->disk[i].file, path);
        if (snprintf(d->file, sizeof(d->file), "%s:%s", store_name(v->store), path) >=
            (int)sizeof(d->file))
            return vm_home_failed(e, HV_EINVAL, "the path of a disk is too long");
        d->format = format_number(s->disk[i].format);
    }
    return true;
}

bool vm_home_accepts(const struct vm_config *c, struct vm_error *e)
{
    u64 store = strcspn(c->home, ":") + 1;

    for (u32 i = 0; c->home[0] && i < VM_DISKS; i++)
        if (c->disk[i].file[0] && strncmp(c->disk[i].file, c->home, store))
            return vm_error(e, HV_EINVAL, "E_INVALID", "disk convert to the VM's own store",
                            "disk%u is not on store %.*s, as the VM is", i, (int)store - 1,
                            c->home);
    return true;
}

bool vm_home_state(const struct vm_dir *v, const struct vm_config *c, struct vm_dir_state *s,
                   struct vm_error *e)
{
    char *settings = vm_home_settings(c);
    u64 store = strlen(store_name(v->store)), dir = strlen(v->path);

    if (!settings)
        return vm_home_failed(e, HV_ENOMEM, "no memory");
    s->disk_count = 0;
    for (u32 i = 0; i < VM_DISKS; i++) {
        const char *file = c->disk[i].file;
        struct vm_dir_disk *d = &s->disk[s->disk_count];

        if (!file[0])
            continue;
        if (strncmp(file, store_name(v->store), store) || file[store] != ':') {
            free(settings);
            return vm_error(e, HV_EINVAL, "E_INVALID", "disk convert to the VM's own store",
                            "disk%u is not on store %s, as the VM is", i, store_name(v->store));
        }
        file += store + 1;
        *d = (struct vm_dir_disk){.number = i};
        if (!strncmp(file, v->path, dir) && file[dir] == '/' && !strchr(file + dir + 1, '/'))
            snprintf(d->file, sizeof(d->file), "%s", file + dir + 1);
        else
            snprintf(d->file, sizeof(d->file), "/%s", file);
        format_name(c->disk[i].format, d->format);
        s->disk_count++;
    }
    free(s->settings);
    s->settings = settings;
    return true;
}

/* ---- the directory ----------------------------------------------------------------------------
 */

bool vm_home_open(const struct vm *vm, struct vm_dir **out, struct vm_error *e)
{
    struct store *s;
    const char *path;
    char error[IMAGE_ERROR_MAX];

    if (!vm->config.home[0])
        return vm_error(e, HV_ENOENT, "E_NO_HOME", "vm set NAME home=STORE:DIR",
                        "VM %s has no directory on a datastore", vm->config.name);
    if (!vm_disk_find(vm->config.home, &s, &path, e))
        return false;
    enum hv_status status = vm_dir_load(s, path, vm->config.name, out, error);
    return status == HV_OK ? true : vm_home_failed(e, status, error);
}

void vm_home_new_uuid(char text[VM_UUID_LEN])
{
    /* The first three numbers of a UUID in a file are little-endian. */
    static const u8 order[16] = {3, 2, 1, 0, 5, 4, 7, 6, 8, 9, 10, 11, 12, 13, 14, 15};
    u8 id[16];
    u32 at = 0;

    image_new_id(id);
    for (u32 i = 0; i < 16; i++) {
        bool dash = i == 4 || i == 6 || i == 8 || i == 10;

        at += (u32)snprintf(text + at, VM_UUID_LEN - at, dash ? "-%02x" : "%02x", id[order[i]]);
    }
}

bool vm_home_make(struct vm_config *c, struct vm_error *e)
{
    struct store *s;
    const char *path;
    char error[IMAGE_ERROR_MAX];
    struct vm_dir *v;
    struct store_stat st;

    if (!vm_disk_find(c->home, &s, &path, e))
        return false;
    vm_home_new_uuid(c->uuid);
    enum hv_status status = store_stat(s, path, &st);
    if (status == HV_OK && st.directory)
        status = vm_dir_use(s, path, c->name, &v, error); /* its disks may be there already */
    else
        status = vm_dir_make(s, path, c->name, &v, error);
    if (status != HV_OK)
        return vm_home_failed(e, status, error);
    bool ok = vm_home_state(v, c, &v->now, e);
    if (ok && (status = vm_dir_save(v)) != HV_OK)
        ok = vm_home_failed(e, status, v->error);
    vm_dir_free(v);
    return ok;
}

bool vm_home_save(const struct vm *vm, struct vm_error *e)
{
    struct vm_dir *v;
    u64 id = vm->id;

    if (!vm->config.home[0])
        return true;
    if (!vm_home_open(vm, &v, e))
        return false;
    bool ok = inventory_by_id(id) == vm || vm_home_failed(e, HV_ENOENT, "the VM is gone");
    ok = ok && vm_home_state(v, &vm->config, &v->now, e);
    enum hv_status status = ok ? vm_dir_save(v) : HV_OK;
    if (ok && status != HV_OK)
        ok = vm_home_failed(e, status, v->error);
    vm_dir_free(v);
    return ok;
}

/* ---- register, scan, delete -------------------------------------------------------------------
 */

struct found {
    char name[VM_DIR_NAME];
    u32 count;
};

static void on_conf(void *arg, const char *name, const struct store_stat *st)
{
    struct found *f = arg;
    u64 len = strlen(name);

    if (!st->text || len < 6 || strcmp(name + len - 5, ".conf") || len - 5 >= sizeof(f->name))
        return;
    snprintf(f->name, sizeof(f->name), "%.*s", (int)(len - 5), name);
    f->count++;
}

/* The directory's VM: of the one NAME.conf in it. */
static bool load_any(struct store *s, const char *path, struct vm_dir **v, struct vm_error *e)
{
    struct found f = {0};
    char error[IMAGE_ERROR_MAX];
    enum hv_status status = store_list(s, path, on_conf, &f);

    if (status != HV_OK)
        return vm_home_failed(e, status, store_error(s));
    if (f.count != 1)
        return vm_error(e, HV_ENOENT, "E_NOENT", "store ls STORE:DIR", "%s has %u files NAME.conf",
                        path, f.count);
    status = vm_dir_load(s, path, f.name, v, error);
    return status == HV_OK ? true : vm_home_failed(e, status, error);
}

static bool define(struct vm_dir *v, bool copied, struct vm **out, struct vm_error *e)
{
    struct vm_config *c = calloc(1, sizeof(*c));
    bool ok = c ? vm_home_config(v, &v->now, c, e) : vm_home_failed(e, HV_ENOMEM, "no memory");
    char number[12];

    if (ok && copied) {
        vm_home_new_uuid(c->uuid);
        for (u32 i = 0; i < VM_NICS; i++)
            c->nic[i].mac = 0;
    }
    if (ok && c->number) { /* another VM may have it by now */
        snprintf(number, sizeof(number), "%u", c->number);
        if (inventory_find(number))
            c->number = 0;
    }
    ok = ok && inventory_define(c, out, e);
    free(c);
    if (ok && copied && !vm_home_save(*out, e)) {
        struct vm_error ignored;
        ok = false;
        if (!inventory_delete(*out, &ignored))
            log_error("VM %s: %s", (*out)->config.name, ignored.text);
    }
    return ok;
}

bool vm_home_register(const char *home, bool copied, struct vm **out, struct vm_error *e)
{
    struct store *s;
    const char *path;
    struct vm_dir *v;

    if (!vm_disk_find(home, &s, &path, e))
        return false;
    while (*path == '/')
        path++;
    if (!load_any(s, path, &v, e))
        return false;
    bool ok = snapshot_sweep(v) == HV_OK ? define(v, copied, out, e)
                                         : vm_home_failed(e, HV_EIO, v->error);
    vm_dir_free(v);
    return ok;
}

#define SCAN_MAX 256u

struct scan {
    u32 count;
    char name[SCAN_MAX][101];
};

static void on_dir(void *arg, const char *name, const struct store_stat *st)
{
    struct scan *s = arg;

    if (st->directory && s->count < SCAN_MAX)
        snprintf(s->name[s->count++], sizeof(s->name[0]), "%s", name);
}

static void scan_one(struct store *s, const char *dir, void (*told)(void *arg, const char *line),
                     void *arg)
{
    struct found f = {0};
    struct vm_error e;
    struct vm *vm;
    char home[VM_HOME_LEN], line[320];

    if (snprintf(home, sizeof(home), "%s:%s", store_name(s), dir) >= (int)sizeof(home) ||
        store_list(s, dir, on_conf, &f) != HV_OK || f.count != 1)
        return;
    vm = inventory_find(f.name);
    if (vm && !strcmp(vm->config.home, home))
        return;
    if (vm_home_register(home, false, &vm, &e))
        snprintf(line, sizeof(line), "VM %s has number %u.", vm->config.name, vm->config.number);
    else
        snprintf(line, sizeof(line), "%s: %s: %.200s", home, e.code, e.text);
    told(arg, line);
}

bool vm_home_scan(struct store *s, void (*told)(void *arg, const char *line), void *arg,
                  struct vm_error *e)
{
    struct scan *all = calloc(1, sizeof(*all));
    enum hv_status status = all ? store_list(s, "", on_dir, all) : HV_ENOMEM;

    for (u32 i = 0; all && i < all->count; i++)
        scan_one(s, all->name[i], told, arg);
    free(all);
    return status == HV_OK ? true : vm_home_failed(e, status, store_error(s));
}

static void on_any(void *arg, const char *name, const struct store_stat *st)
{
    struct scan *s = arg;

    (void)st;
    if (s->count < SCAN_MAX)
        snprintf(s->name[s->count++], sizeof(s->name[0]), "%s", name);
}

bool vm_home_remove(struct vm_dir *v, struct vm_error *e)
{
    char who[STORE_PATH_MAX];
    struct scan *all = calloc(1, sizeof(*all));
    struct store_change *change = calloc(SCAN_MAX + 1, sizeof(*change));
    char(*paths)[STORE_PATH_MAX] = calloc(SCAN_MAX + 1, sizeof(*paths));
    enum hv_status status = all && change && paths ? HV_OK : HV_ENOMEM;
    u32 count = 0;

    if (status == HV_OK && snapshot_has_clones(v, NULL, who)) {
        vm_error(e, status = HV_EBUSY, "E_HAS_CLONES", "delete the clones first",
                 "'%.80s' is made from VM %s", who, v->name);
    } else if (status == HV_OK) {
        status = store_list(v->store, v->path, on_any, all);
        for (; status == HV_OK && count < all->count; count++) {
            vm_dir_path(v, all->name[count], paths[count]);
            change[count] = (struct store_change){.kind = STORE_DROP, .path = paths[count]};
        }
        change[count++] = (struct store_change){.kind = STORE_DROP, .path = v->path};
        if (status == HV_OK)
            status = store_apply(v->store, change, count);
        if (status != HV_OK)
            vm_home_failed(e, status, store_error(v->store));
    } else {
        vm_home_failed(e, status, "no memory");
    }
    free(all);
    free(change);
    free(paths);
    return status == HV_OK;
}

bool vm_home_delete(const struct vm *vm, struct vm_error *e)
{
    struct vm_dir *v;

    if (!vm_home_open(vm, &v, e))
        return false;
    bool ok = vm_home_remove(v, e);
    vm_dir_free(v);
    return ok;
}

/* ---- lock and log -----------------------------------------------------------------------------
 */

/* The host's name and the address of its first network card: of two hosts that nobody named, each
 * is another. */
static const char *owner(void)
{
    static char text[96];
    const struct nic *n = nic_first();
    static const u8 none[6];
    const u8 *a = n ? n->mac : none;

    snprintf(text, sizeof(text), "%.60s %02x:%02x:%02x:%02x:%02x:%02x", stack_host_name(), a[0],
             a[1], a[2], a[3], a[4], a[5]);
    return text;
}

bool vm_home_lock(const struct vm *vm, struct vm_error *e)
{
    struct vm_dir *v;
    char path[STORE_PATH_MAX], name[VM_DIR_NAME + 8], *text = NULL;
    u32 len;

    if (!vm->config.home[0])
        return true;
    if (!vm_home_open(vm, &v, e))
        return false;
    snprintf(name, sizeof(name), "%s.lock", v->name);
    vm_dir_path(v, name, path);
    bool ok = true;
    if (store_get(v->store, path, &text, &len) == HV_OK && strcmp(text, owner()))
        ok = vm_error(e, HV_EBUSY, "E_LOCKED", "stop it there, or store rm its .lock",
                      "VM %s is running on host '%.40s'", v->name, text);
    free(text);
    if (ok) {
        struct store_change c = {
            .kind = STORE_PUT, .path = path, .text = owner(), .length = (u32)strlen(owner())};
        enum hv_status status = store_apply(v->store, &c, 1);

        if (status != HV_OK)
            ok = vm_home_failed(e, status, store_error(v->store));
    }
    vm_dir_free(v);
    return ok;
}

void vm_home_unlock(const struct vm *vm)
{
    struct store *s;
    const char *path;
    struct vm_error e;
    char lock[STORE_PATH_MAX];

    if (!vm->config.home[0] || !vm_disk_find(vm->config.home, &s, &path, &e))
        return;
    snprintf(lock, sizeof(lock), "%s/%s.lock", path, vm->config.name);
    if (store_remove(s, lock) != HV_OK)
        log_notice("VM %s: %s stays: %s", vm->config.name, lock, store_error(s));
}

#define LOGS 3u

void vm_home_keep_log(const struct vm *vm)
{
    struct store *s;
    const char *path;
    struct vm_error e;
    struct store_stat st;
    char from[STORE_PATH_MAX], to[STORE_PATH_MAX], *text;
    const struct text_ring *ring = vm_log(vm);
    u64 pos = 0;

    if (!vm->config.home[0] || !vm_disk_find(vm->config.home, &s, &path, &e))
        return;
    text = malloc(VM_LOG_BYTES);
    if (!text)
        return;
    for (u32 i = LOGS; i > 0; i--) { /* the oldest goes, the others move up */
        snprintf(to, sizeof(to), "%s/%s.%u.log", path, vm->config.name, i);
        if (i > 1)
            snprintf(from, sizeof(from), "%s/%s.%u.log", path, vm->config.name, i - 1);
        else
            snprintf(from, sizeof(from), "%s/%s.log", path, vm->config.name);
        struct store_change c[2] = {{.kind = STORE_DROP, .path = to},
                                    {.kind = STORE_MOVE, .path = from, .to = to}};
        bool had = store_stat(s, to, &st) == HV_OK;
        if (store_stat(s, from, &st) == HV_OK &&
            store_apply(s, had ? c : c + 1, had ? 2 : 1) != HV_OK)
            break;
    }
    u32 len = text_ring_read(ring, &pos, (u8 *)text, VM_LOG_BYTES);
    snprintf(to, sizeof(to), "%s/%s.log", path, vm->config.name);
    struct store_change put = {.kind = STORE_PUT, .path = to, .text = text, .length = len};
    if (store_apply(s, &put, 1) != HV_OK)
        log_notice("VM %s: its log is not kept: %s", vm->config.name, store_error(s));
    free(text);
}

/* ---- snapshots of a running VM ----------------------------------------------------------------
 */

static bool running(void *arg)
{
    const struct vm *vm = arg;

    return vm->phase != PHASE_STOPPED;
}

static enum hv_status stop(void *arg)
{
    struct vm *vm = arg;
    struct vm_error e;

    if (vm->phase != PHASE_RUNNING && vm->phase != PHASE_PAUSED)
        return HV_EBUSY;
    if (!vm_disk_quiesce(vm, &e))
        return e.status;
    vm_disk_detach(vm);
    vm_nvram_keep(vm);
    return HV_OK;
}

static enum hv_status go(void *arg, const struct vm_dir_state *now)
{
    struct vm *vm = arg;
    struct vm_error e;
    struct store *s;
    const char *dir;
    enum hv_status status = HV_OK;

    if (!vm_disk_find(vm->config.home, &s, &dir, &e))
        return e.status;
    for (u32 i = 0; i < now->disk_count; i++) {
        char file[VM_DISK_FILE];
        const struct vm_dir_disk *d = &now->disk[i];

        if (d->file[0] == '/')
            snprintf(file, sizeof(file), "%s:%.60s", store_name(s), d->file + 1);
        else
            snprintf(file, sizeof(file), "%s:%.40s/%.50s", store_name(s), dir, d->file);
        if (!vm_disk_reopen(vm, d->number, file, format_number(d->format), &e)) {
            log_error("VM %s: %s", vm->config.name, e.text);
            status = e.status;
        }
    }
    vm_disk_release(vm);
    return status;
}

struct snapshot_vm vm_home_snapshot_vm(struct vm *vm)
{
    return (struct snapshot_vm){vm, running, stop, go};
}
