/* Shell command `vm import`: a machine of an OVF or OVA package gets a directory on a datastore.
 * Runs in the shell's fiber. */
#include "control/cmd_ovf.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "control/cmd_vm.h"
#include "control/package.h"
#include "storage/chain.h"
#include "storage/copy.h"
#include "storage/vmdk.h"
#include "vmm/inventory.h"
#include "vmm/vm_disk.h"
#include "vmm/vm_home.h"

typedef unsigned long long ull;

struct import {
    struct out *out;
    struct package package;
    struct ovf ovf;
    struct vm_config config;
    struct store *store;
    const char *dir; /* of the VM, in the store */
    bool made_dir;
    bool made_nvram;
    u32 made; /* disks */
};

static enum hv_status say(struct out *out, const struct vm_error *e)
{
    return out_error(out, e->status, e->code, e->hint, "%s", e->text);
}

static bool on_progress(void *arg, u64 done)
{
    (void)done;
    return !out_cancelled(arg);
}

/* ---- settings ----------------------------------------------------------------------------------
 */

/* What the descriptor asks for; then what a package of ours says; then the command. */
static enum hv_status settings(struct import *m, const struct schema_args *args)
{
    struct vm_config *c = &m->config;
    const char *net = args_text(args, "net"), *colon;
    struct conf_error bad = {0};
    struct vm_error e;

    vm_config_default(c);
    snprintf(c->name, sizeof(c->name), "%s", args_text(args, "name"));
    if (!vm_config_name_valid(c->name, (u32)strlen(c->name)) ||
        strcmp(c->name, args_text(args, "name")))
        return out_error(m->out, HV_EINVAL, "E_CONFIG", "letters, digits, - _ . and a letter first",
                         "'%.40s' is not a name for a VM", args_text(args, "name"));
    c->cpu_count = m->ovf.cpus;
    c->mem = ROUND_UP(m->ovf.memory, 2 * MIB);
    for (u32 i = 0; net && i < MIN(m->ovf.nics, VM_NICS); i++)
        snprintf(c->nic[i].to_switch, sizeof(c->nic[i].to_switch), "%s", net);
    if (!vm_home_take_settings(m->ovf.settings, c, &e))
        return say(m->out, &e);
    enum hv_status status = cmd_vm_settings(args, c, m->out);
    if (status != HV_OK)
        return status;
    colon = strchr(args_text(args, "from"), ':');
    if (!c->home[0] &&
        snprintf(c->home, sizeof(c->home), "%.*s:%s", (int)(colon - args_text(args, "from")),
                 args_text(args, "from"), c->name) >= (int)sizeof(c->home))
        return out_error(m->out, HV_EINVAL, "E_INVALID", "home=STORE:DIR", "its path is too long");
    if (!vm_config_check(c, &bad))
        return out_error(m->out, HV_EINVAL, "E_CONFIG", bad.hint, "%s: %s", bad.key, bad.text);
    if (inventory_find(c->name))
        return out_error(m->out, HV_EEXIST, "E_EXIST", "vm list", "there is already a VM %s",
                         c->name);
    return vm_disk_find(c->home, &m->store, &m->dir, &e) ? HV_OK : say(m->out, &e);
}

/* What the machine described has and this one has not. */
static void tell(const struct import *m)
{
    u32 nics = 0;

    for (u32 i = 0; i < m->ovf.note_count; i++)
        out_printf(m->out, "Left out: %s\n", m->ovf.note[i]);
    for (u32 i = 0; i < VM_NICS; i++)
        nics += m->config.nic[i].to_switch[0] != 0;
    if (nics < m->ovf.nics)
        out_printf(m->out, "Left out: %u network cards; vm set %s nic%u=SWITCH adds one.\n",
                   m->ovf.nics - nics, m->config.name, nics);
}

/* ---- disks -------------------------------------------------------------------------------------
 */

static void disk_path(const struct import *m, u32 i, char path[STORE_PATH_MAX])
{
    snprintf(path, STORE_PATH_MAX, "%.150s/%s-disk%u.qcow2", m->dir, m->config.name, i);
}

static enum hv_status fill(struct import *m, const char *path, struct disk *from)
{
    char error[IMAGE_ERROR_MAX] = "";
    struct chain *c;
    enum hv_status status = chain_open(m->store, path, "qcow2", false, &c, error);

    if (status != HV_OK)
        return place_fail(m->out, status, "store check", error);
    status = copy_disk(from, c->disk, false, on_progress, m->out);
    const char *why = image_of(from, 0)->error;
    if (status != HV_OK)
        place_fail(m->out, status, "store df, disk check", why[0] ? why : "copying ended early");
    enum hv_status closed = chain_close(c);
    return status == HV_OK ? closed : status;
}

static enum hv_status make_image(struct import *m, u32 i, u64 size, const char *path)
{
    struct image_options o = {.size = size};
    struct store_change known = {
        .kind = STORE_IMAGE, .path = path, .format = "qcow2", .size = size};
    char error[IMAGE_ERROR_MAX] = "";
    struct vm_disk *d = &m->config.disk[i];
    enum hv_status status = chain_create(m->store, path, "qcow2", &o, NULL, error);

    if (status != HV_OK)
        return place_fail(m->out, status, "store df", error);
    m->made++;
    d->format = 1; /* of VM_DISK_FORMATS */
    if (snprintf(d->file, sizeof(d->file), "%s:%s", store_name(m->store), path) >=
        (int)sizeof(d->file))
        return out_error(m->out, HV_EINVAL, "E_INVALID", "a shorter home=", "its path is too long");
    status = store_apply(m->store, &known, 1);
    return status == HV_OK ? status
                           : place_fail(m->out, status, "store check", store_error(m->store));
}

static enum hv_status import_disk(struct import *m, u32 i)
{
    const struct ovf_disk *d = &m->ovf.disk[i];
    struct image_layer layer = {.format = &vmdk_format};
    char error[IMAGE_ERROR_MAX], path[STORE_PATH_MAX];
    struct disk *disk;
    u64 length;
    enum hv_status status;

    disk_path(m, i, path);
    if (d->empty)
        return make_image(m, i, d->capacity, path);
    status = package_member(m->out, &m->package, d->file, &layer.file, &length);
    if (status != HV_OK)
        return status;
    if (d->file_size && m->package.archive && d->file_size != length)
        status =
            out_error(m->out, HV_ECORRUPT, "E_CORRUPT", "a package that is whole",
                      "%.80s has %llu bytes, not %llu", d->file, (ull)length, (ull)d->file_size);
    if (status == HV_OK) {
        status = image_open(d->file, &layer, 1, true, &disk, error);
        if (status != HV_OK)
            place_fail(m->out, status, "a package that is whole", error);
    }
    if (status == HV_OK) {
        status = make_image(m, i, disk->size, path);
        if (status == HV_OK)
            status = fill(m, path, disk);
        disk_close(disk);
    }
    disk_close(layer.file);
    return status;
}

static void nvram_path(const struct import *m, char path[STORE_PATH_MAX])
{
    snprintf(path, STORE_PATH_MAX, "%.150s/%s.nvram", m->dir, m->config.name);
}

/* What is in it is looked at when the VM starts. */
static enum hv_status import_nvram(struct import *m)
{
    char path[STORE_PATH_MAX], *text;
    u64 length;

    if (!m->ovf.nvram[0])
        return HV_OK;
    enum hv_status status =
        package_text(m->out, &m->package, m->ovf.nvram, STORE_TEXT_MAX, &text, &length);
    if (status != HV_OK)
        return status;
    nvram_path(m, path);
    struct store_change put = {
        .kind = STORE_PUT, .path = path, .text = text, .length = (u32)length};
    status = store_apply(m->store, &put, 1);
    free(text);
    m->made_nvram = status == HV_OK;
    return status == HV_OK ? status : place_fail(m->out, status, "store df", store_error(m->store));
}

/* ---- all of it ---------------------------------------------------------------------------------
 */

static enum hv_status enter(struct import *m)
{
    struct vm_error e, ignored;
    struct vm *vm;

    if (!inventory_define(&m->config, &vm, &e))
        return say(m->out, &e);
    if (!vm_home_make(&vm->config, &e)) {
        say(m->out, &e);
        return inventory_delete(vm, &ignored) ? e.status : HV_EBUSY;
    }
    out_printf(m->out, "VM %s has number %u.\n", vm->config.name, vm->config.number);
    return HV_OK;
}

/* Nothing stays of an import that failed. */
static void take_away(struct import *m)
{
    char path[STORE_PATH_MAX];
    enum hv_status status = HV_OK;

    for (u32 i = 0; i < m->made && status == HV_OK; i++) {
        disk_path(m, i, path);
        status = store_remove(m->store, path);
    }
    nvram_path(m, path);
    if (m->made_nvram && status == HV_OK)
        status = store_remove(m->store, path);
    if (m->made_dir && status == HV_OK)
        status = store_remove(m->store, m->dir);
    if (status != HV_OK)
        out_printf(m->out, "%s:%s stays: %s\n", store_name(m->store), m->dir,
                   store_error(m->store));
}

static enum hv_status import(struct import *m, const struct schema_args *args)
{
    enum hv_status status = package_describe(m->out, &m->package, &m->ovf);

    if (status == HV_OK)
        status = package_verify(m->out, &m->package);
    if (status == HV_OK)
        status = settings(m, args);
    if (status != HV_OK)
        return status;
    status = store_make(m->store, m->dir, true);
    m->made_dir = status == HV_OK;
    if (status != HV_OK)
        return place_fail(m->out, status, "home=STORE:DIR", store_error(m->store));
    for (u32 i = 0; i < m->ovf.disk_count && status == HV_OK; i++)
        status = import_disk(m, i);
    if (status == HV_OK)
        status = import_nvram(m);
    if (status == HV_OK)
        status = enter(m);
    if (status == HV_OK)
        tell(m);
    else
        take_away(m);
    return status;
}

static enum hv_status run_import(const struct schema_args *args, struct out *out)
{
    struct import *m = calloc(1, sizeof(*m));
    enum hv_status status;

    if (!m)
        return out_error(out, HV_ENOMEM, "E_NOMEM", "stop a VM", "no memory");
    m->out = out;
    status = package_open(out, args_text(args, "from"), &m->package);
    if (status == HV_OK) {
        status = import(m, args);
        package_close(&m->package);
    }
    free(m);
    return status;
}

/* ---- schema ------------------------------------------------------------------------------------
 */

static const struct schema_arg import_args[] = {
    {"from", PLACE_OBJECT, ARG_WORD, .help = "STORE:NAME.ova or STORE:DIR/NAME.ovf"},
    {"name", PLACE_OBJECT, ARG_WORD, .help = "of the new VM"},
    {"net", PLACE_KEY, ARG_WORD, .help = "switch for its network cards; none without it"},
    {0},
};

static const struct schema_command commands[] = {
    {"vm", "import", "make a VM of an OVF or OVA package; settings as of vm create",
     "vm import ds1:app.ova app kernel=guests/demo/vmlinuz net=sw0", ROLE_ADMIN, import_args,
     &vm_config_schema, run_import},
};
SCHEMA_COMMANDS(commands);
