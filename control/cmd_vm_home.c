/* Shell commands for VMs on datastores: register, snapshots, clones, templates.  Run in the shell's
 * fiber; what copies data is a task. */
#include "control/cmd_vm_home.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#include "control/cmd_vm.h"
#include "control/place.h"
#include "control/rt/clock.h"
#include "control/rt/log.h"
#include "control/schema.h"
#include "control/shell.h"
#include "control/task.h"
#include "vmm/guest_agent.h"
#include "vmm/inventory.h"
#include "vmm/vm_clone.h"
#include "vmm/vm_disk.h"

static enum hv_status say(struct out *out, const struct vm_error *e)
{
    return out_error(out, e->status, e->code, e->hint, "%s", e->text);
}

static struct vm *the_vm(const struct schema_args *args, struct out *out)
{
    struct vm *vm = inventory_find(args_text(args, "vm"));

    if (!vm)
        out_error(out, HV_ENOENT, "E_NOENT", "vm list", "there is no VM %s", args_text(args, "vm"));
    return vm;
}

/* ---- inventory --------------------------------------------------------------------------------
 */

static enum hv_status run_register(const struct schema_args *args, struct out *out)
{
    struct vm_error e;
    struct vm *vm;

    if (!vm_home_register(args_text(args, "home"), args_flag(args, "copied"), &vm, &e))
        return say(out, &e);
    out_printf(out, "VM %s has number %u.\n", vm->config.name, vm->config.number);
    return HV_OK;
}

static enum hv_status run_unregister(const struct schema_args *args, struct out *out)
{
    struct vm_error e;
    struct vm *vm = the_vm(args, out);

    if (!vm)
        return HV_ENOENT;
    if (!vm->config.home[0])
        return out_error(out, HV_EINVAL, "E_NO_HOME", "vm delete forgets it",
                         "VM %s has no directory on a datastore", vm->config.name);
    return inventory_delete(vm, &e) ? HV_OK : say(out, &e);
}

static void on_line(void *arg, const char *line)
{
    out_printf(arg, "%s\n", line);
}

static enum hv_status run_scan(const struct schema_args *args, struct out *out)
{
    struct vm_error e;
    struct store *s = store_find(args_text(args, "store"));

    if (!s)
        return out_error(out, HV_ENOENT, "E_NO_STORE", "store list", "there is no store '%s'",
                         args_text(args, "store"));
    return vm_home_scan(s, on_line, out, &e) ? HV_OK : say(out, &e);
}

/* ---- snapshots --------------------------------------------------------------------------------
 */

static void when(i64 at, char *text, u32 len)
{
    struct tm tm;
    time_t t = (time_t)at;

    if (!at || !gmtime_r(&t, &tm) || !strftime(text, len, "%Y-%m-%d %H:%M:%S", &tm))
        snprintf(text, len, "-");
}

static u32 depth_of(struct vm_dir *v, const struct vm_dir_state *s)
{
    u32 depth = 0;

    while (s && s->parent[0] && depth < VM_DIR_SNAPSHOTS) {
        s = vm_dir_find(v, s->parent);
        depth++;
    }
    return depth;
}

/* What the images of a state take of the store, without those below them. */
static u64 room_of(struct vm_dir *v, const struct vm_dir_state *s)
{
    char path[STORE_PATH_MAX];
    struct store_stat st;
    u64 sum = 0;

    for (u32 i = 0; i < s->disk_count; i++) {
        vm_dir_path(v, s->disk[i].file, path);
        if (store_stat(v->store, path, &st) == HV_OK)
            sum += st.allocated;
    }
    return sum;
}

/* The children of a snapshot ("": the roots), each before its own children. */
static void list_below(struct vm_dir *v, const char *parent, struct out *out)
{
    char text[32];

    for (u32 i = 0; i < v->snapshot_count; i++) {
        const struct vm_dir_state *s = v->snapshot[i];

        if (strcmp(s->parent, parent))
            continue;
        when(s->time, text, sizeof(text));
        out_cell(out, "%*s%s", (int)(2 * MIN(depth_of(v, s), 20u)), "", s->name);
        out_cell(out, "%s", text);
        place_size_cell(out, room_of(v, s));
        bool old = snapshot_is_old(s, clock_unix(), SNAPSHOT_OLD_HOURS);
        out_cell(out, "%s%s", !strcmp(v->now.parent, s->name) ? "now" : "", old ? " OLD" : "");
        out_cell(out, "%s", s->description);
        list_below(v, s->name, out);
    }
}

static enum hv_status list_snapshots(struct vm_dir *v, struct out *out)
{
    static const char *const columns[] = {"SNAPSHOT", "TAKEN", "SIZE", "HERE", "DESCRIPTION"};
    static const u8 widths[] = {24, 20, 8, 8, 0};
    char text[24];

    out_table(out, columns, widths, ARRAY_LEN(columns));
    list_below(v, "", out);
    conf_format_size(room_of(v, &v->now), text, sizeof(text));
    if (!out->json)
        out_printf(out, "What was written since takes %s.\n", text);
    return HV_OK;
}

/* The VM's settings are those of the directory: after a revert, and where disks got new names. */
static bool take_now(struct vm *vm, struct vm_dir *v, bool all, struct vm_error *e)
{
    struct vm_config *c = malloc(sizeof(*c));
    bool ok = c ? vm_home_config(v, &v->now, c, e) : vm_home_failed(e, HV_ENOMEM, "no memory");

    if (ok && all) {
        c->number = vm->config.number;
        ok = inventory_change(vm, c, e);
    } else if (ok && vm->phase == PHASE_STOPPED) {
        memcpy(vm->config.disk, c->disk, sizeof(c->disk));
    }
    free(c);
    return ok;
}

static enum hv_status refused(struct vm_dir *v, enum hv_status status, struct out *out)
{
    struct vm_error e;

    vm_home_failed(&e, status, v->error);
    return say(out, &e);
}

static enum hv_status take_one(struct vm *vm, struct vm_dir *v, const struct schema_args *args,
                               struct out *out)
{
    struct snapshot_vm on = vm_home_snapshot_vm(vm);
    const char *name = args_text(args, "name"), *description = args_text(args, "description");
    bool quiesce = args_flag(args, "quiesce") && vm->phase != PHASE_STOPPED;
    struct vm_error e, thaw;
    u32 frozen = 0;

    if (quiesce && vm_dir_find(v, name))
        quiesce = false; /* it will be refused */
    if (quiesce && !guest_agent_freeze(vm, &frozen, &e))
        return say(out, &e);
    enum hv_status status = snapshot_take(v, name, description ? description : "", &on);
    bool thawed = !quiesce || guest_agent_thaw(vm, &thaw);
    if (status != HV_OK) {
        if (!thawed)
            log_error("VM %s: its file systems are not thawed: %s", vm->config.name, thaw.text);
        return refused(v, status, out);
    }
    if (!thawed) {
        if (!take_now(vm, v, false, &e))
            log_error("VM %s: %s", vm->config.name, e.text);
        return say(out, &thaw);
    }
    if (quiesce)
        out_printf(out, "%u file systems of the guest were at rest.\n", frozen);
    u32 depth = depth_of(v, &v->now);
    if (depth >= 4)
        out_printf(out, "%u snapshots over each other: deleting some makes first reads faster.\n",
                   depth);
    return take_now(vm, v, false, &e) ? HV_OK : say(out, &e);
}

/* A VM that is on is stopped at once for it; one that ran starts from what was then. */
static enum hv_status revert_to(struct vm *vm, struct vm_dir *v, const struct schema_args *args,
                                struct out *out)
{
    const char *name = args_text(args, "name");
    bool ran = vm->phase == PHASE_RUNNING, on = ran || vm->phase == PHASE_PAUSED;
    struct vm_error e;

    if (!vm_dir_find(v, name)) /* before it is stopped for nothing */
        return refused(v, snapshot_revert(v, name), out);
    if (vm->phase != PHASE_STOPPED && (!on || !args_flag(args, "yes")))
        return out_error(out, HV_EBUSY, "E_STATE",
                         "--yes to stop it for that, or vm shutdown first", "VM %s is %s",
                         vm->config.name, vm_phase_name(vm));
    if (on && !vm_stop(vm, &e))
        return say(out, &e);
    enum hv_status status = snapshot_revert(v, name);
    bool known = status == HV_OK && take_now(vm, v, true, &e);
    if (status == HV_OK && !known)
        return say(out, &e);
    struct vm_error why;
    bool started = !ran || vm_start(vm, &why); /* refused: as it was */
    if (status != HV_OK)
        return refused(v, status, out);
    return started ? HV_OK : say(out, &why);
}

struct deletion {
    char vm[VM_CONFIG_NAME], name[VM_DIR_NAME];
};

static void task_failed(struct task *t, const struct vm_error *e)
{
    t->status = e->status;
    snprintf(t->error, sizeof(t->error), "%s: %.150s. Try: %.80s.", e->code, e->text, e->hint);
}

static void delete_task(struct task *t)
{
    struct deletion *d = t->owner;
    struct vm *vm = inventory_find(d->vm);
    struct vm_error e;
    struct vm_dir *v = NULL;
    char who[STORE_PATH_MAX];
    bool ok = vm ? vm_home_open(vm, &v, &e) : vm_home_failed(&e, HV_ENOENT, "the VM is gone");

    if (ok && vm->storing)
        ok = vm_home_failed(&e, HV_EBUSY, "another task works on this VM's disks");
    if (ok) {
        struct snapshot_vm on = vm_home_snapshot_vm(vm);
        const struct vm_dir_state *s = vm_dir_find(v, d->name);

        vm->storing = true;
        if (s && snapshot_has_clones(v, s, who)) {
            ok = vm_error(&e, HV_EBUSY, "E_HAS_CLONES", "delete the clones first",
                          "'%.80s' is made from snapshot %s", who, d->name);
        } else {
            enum hv_status status = snapshot_delete(v, d->name, &t->job, &on);

            ok =
                status == HV_OK ? take_now(vm, v, false, &e) : vm_home_failed(&e, status, v->error);
        }
        vm->storing = false;
    }
    if (!ok)
        task_failed(t, &e);
    if (v)
        vm_dir_free(v);
    free(d);
}

static enum hv_status start_delete(const struct schema_args *args, struct vm *vm, const char *name,
                                   struct out *out)
{
    struct deletion *d = calloc(1, sizeof(*d));
    const char *text = args_text(args, "direction");

    if (d) {
        memcpy(d->vm, vm->config.name, sizeof(d->vm));
        snprintf(d->name, sizeof(d->name), "%s", name);
    }
    struct task *t =
        d ? task_start(delete_task, d, "vm snapshot delete %s %s", vm->config.name, name) : NULL;
    if (!t) {
        free(d);
        return out_error(out, HV_ENOMEM, "E_NOMEM", "stop a VM", "no memory");
    }
    if (text && text[0] != 'a')
        t->job.direction = text[0] == 'd' ? MERGE_DOWN : MERGE_UP;
    return task_watch(t, args_flag(args, "background"), out);
}

static enum hv_status run_snapshot(const struct schema_args *args, struct out *out)
{
    const char *action = args_text(args, "action"), *name = args_text(args, "name");
    struct vm *vm = the_vm(args, out);
    struct vm_dir *v;
    struct vm_error e;
    enum hv_status status;

    if (!vm)
        return HV_ENOENT;
    if (strcmp(action, "list") && strcmp(action, "tree") && !name)
        return out_error(out, HV_EINVAL, "E_SYNTAX", "vm snapshot take VM s1",
                         "the snapshot needs a name");
    if (!strcmp(action, "delete"))
        return start_delete(args, vm, name, out);
    if (vm->storing)
        return out_error(out, HV_EBUSY, "E_BUSY", "task list", "a task works on the disks of VM %s",
                         vm->config.name);
    if (!vm_home_open(vm, &v, &e))
        return say(out, &e);
    vm->storing = true;
    if (!strcmp(action, "take"))
        status = take_one(vm, v, args, out);
    else if (!strcmp(action, "revert"))
        status = revert_to(vm, v, args, out);
    else
        status = list_snapshots(v, out);
    vm->storing = false;
    vm_dir_free(v);
    return status;
}

/* ---- larger disks -----------------------------------------------------------------------------
 */

static enum hv_status run_grow(const struct schema_args *args, struct out *out)
{
    struct vm *vm = the_vm(args, out);
    const char *disk = args_text(args, "disk");
    struct vm_error e;

    if (!vm)
        return HV_ENOENT;
    if (strncmp(disk, "disk", 4) || disk[4] < '0' || disk[4] >= '0' + VM_DISKS || disk[5])
        return out_error(out, HV_EINVAL, "E_INVALID", "vm grow web1 disk0 size=20G",
                         "'%.20s' is not one of disk0 to disk7", disk);
    if (vm->storing)
        return out_error(out, HV_EBUSY, "E_BUSY", "task list", "a task works on the disks of VM %s",
                         vm->config.name);
    vm->storing = true;
    bool ok = vm_disk_grow(vm, (u32)(disk[4] - '0'), args_number(args, "size", 0), &e);
    vm->storing = false;
    return ok ? HV_OK : say(out, &e);
}

/* ---- clones and templates ---------------------------------------------------------------------
 */

struct clone_order {
    char from[VM_CONFIG_NAME], snapshot[VM_DIR_NAME];
    struct vm_config config;
    bool linked;
};

static void clone_task(struct task *t)
{
    struct clone_order *o = t->owner;
    struct vm *from = inventory_find(o->from), *made;
    struct vm_error e;
    bool ok = from ? true : vm_home_failed(&e, HV_ENOENT, "the VM is gone");

    if (ok && from->storing)
        ok = vm_home_failed(&e, HV_EBUSY, "another task works on this VM's disks");
    if (ok) {
        from->storing = true;
        ok = vm_clone(from, o->snapshot[0] ? o->snapshot : NULL, &o->config, o->linked, &t->job,
                      &made, &e);
        from->storing = false;
    }
    if (!ok)
        task_failed(t, &e);
    free(o);
}

/* Next to the VM it is a clone of, unless home= says where. */
static bool clone_home(const struct vm *vm, struct vm_config *c)
{
    const char *colon = strchr(vm->config.home, ':');

    if (c->home[0])
        return true;
    return snprintf(c->home, sizeof(c->home), "%.*s:%s", (int)(colon - vm->config.home),
                    vm->config.home, c->name) < (int)sizeof(c->home);
}

static enum hv_status run_clone(const struct schema_args *args, struct out *out)
{
    struct vm *vm = the_vm(args, out);
    struct vm_error e;
    const char *snapshot = args_text(args, "from"), *name = args_text(args, "name");

    if (!vm)
        return HV_ENOENT;
    struct clone_order *o = calloc(1, sizeof(*o));
    if (!o)
        return out_error(out, HV_ENOMEM, "E_NOMEM", "stop a VM", "no memory");
    enum hv_status status = vm_clone_config(vm, snapshot, &o->config, &e) ? HV_OK : say(out, &e);
    if (status == HV_OK) {
        snprintf(o->config.name, sizeof(o->config.name), "%s", name);
        o->config.is_template = args_flag(args, "template");
        status = cmd_vm_settings(args, &o->config, out);
    }
    if (status == HV_OK &&
        (!vm_config_name_valid(name, (u32)strlen(name)) || !clone_home(vm, &o->config)))
        status = out_error(out, HV_EINVAL, "E_CONFIG", "letters, digits, - _ . and a letter first",
                           "'%.40s' is not a name for a VM", name);
    if (status != HV_OK) {
        free(o);
        return status;
    }
    memcpy(o->from, vm->config.name, sizeof(o->from));
    snprintf(o->snapshot, sizeof(o->snapshot), "%s", snapshot ? snapshot : "");
    o->linked = args_flag(args, "linked");
    struct task *t = task_start(clone_task, o, "vm clone %s %s", vm->config.name, name);
    if (!t) {
        free(o);
        return out_error(out, HV_ENOMEM, "E_NOMEM", "stop a VM", "no memory");
    }
    return task_watch(t, args_flag(args, "background"), out);
}

static enum hv_status run_convert(const struct schema_args *args, struct out *out)
{
    struct vm *vm = the_vm(args, out);
    bool to_template = !strcmp(args_text(args, "to"), "template");
    struct vm_error e;
    struct vm_dir *v;
    char who[STORE_PATH_MAX];

    if (!vm)
        return HV_ENOENT;
    if (vm->phase != PHASE_STOPPED)
        return out_error(out, HV_EBUSY, "E_STATE", "vm shutdown first, or vm clone --template",
                         "VM %s is %s", vm->config.name, vm_phase_name(vm));
    if (!vm_home_open(vm, &v, &e))
        return say(out, &e);
    bool clones = !to_template && snapshot_has_clones(v, &v->now, who);
    vm_dir_free(v);
    if (clones)
        return out_error(out, HV_EBUSY, "E_HAS_CLONES", "delete the clones first",
                         "'%.80s' is made from template %s", who, vm->config.name);
    vm->config.is_template = to_template;
    return vm_home_save(vm, &e) ? HV_OK : say(out, &e);
}

/* ---- schema -----------------------------------------------------------------------------------
 */

static const struct schema_arg vm_args[] = {
    {"vm", PLACE_OBJECT, ARG_VM, .help = "its name or number"},
    {0},
};
static const struct schema_arg register_args[] = {
    {"home", PLACE_OBJECT, ARG_WORD, .help = "STORE:DIR of the VM"},
    {"copied", PLACE_FLAG, ARG_WORD, .help = "it is a copy: with a UUID and addresses of its own"},
    {0},
};
static const struct schema_arg scan_args[] = {
    {"store", PLACE_OBJECT, ARG_WORD, .help = "name of the store"},
    {0},
};
static const struct schema_arg snapshot_args[] = {
    {"action", PLACE_OBJECT, ARG_ENUM, "take|list|tree|revert|delete",
     .help = "take one, show the tree, go back to one, or merge one with what came after"},
    {"vm", PLACE_OBJECT, ARG_VM, .help = "name or number of the VM"},
    {"name", PLACE_OPTIONAL, ARG_WORD, .help = "of the snapshot"},
    {"description", PLACE_KEY, ARG_WORD, .help = "take: one line about it"},
    {"direction", PLACE_KEY, ARG_ENUM, "auto|down|up", "auto",
     "delete: newer data into the older image, or the reverse"},
    {"yes", PLACE_FLAG, ARG_WORD,
     .help = "revert: stop the VM if it is on; if it ran, it starts again"},
    {"quiesce", PLACE_FLAG, ARG_WORD, .help = "take: qemu-guest-agent freezes file systems first"},
    {"background", PLACE_FLAG, ARG_WORD, .help = "delete: do not wait for the end"},
    {0},
};
static const struct schema_arg grow_args[] = {
    {"vm", PLACE_OBJECT, ARG_VM, .help = "its name or number"},
    {"disk", PLACE_OBJECT, ARG_WORD, .help = "disk0 to disk7"},
    {"size", PLACE_KEY, ARG_SIZE, .help = "new size; disks only grow"},
    {0},
};
static const struct schema_arg clone_args[] = {
    {"vm", PLACE_OBJECT, ARG_VM, .help = "what to clone, its name or number"},
    {"name", PLACE_OBJECT, ARG_WORD, .help = "of the new VM"},
    {"linked", PLACE_FLAG, ARG_WORD, .help = "keep only what changes; the first one must stay"},
    {"template", PLACE_FLAG, ARG_WORD, .help = "the clone is a template"},
    {"from", PLACE_KEY, ARG_WORD, .help = "a snapshot; what is now without it"},
    {"background", PLACE_FLAG, ARG_WORD, .help = "do not wait for the end"},
    {0},
};
static const struct schema_arg convert_args[] = {
    {"vm", PLACE_OBJECT, ARG_VM, .help = "its name or number"},
    {"to", PLACE_KEY, ARG_ENUM, "template|vm", "template", "what it shall be"},
    {0},
};

static const struct schema_command commands[] = {
    {"vm", "register", "take a VM that is on a datastore into the inventory",
     "vm register ds1:web1", ROLE_ADMIN, register_args, NULL, run_register},
    {"vm", "unregister", "forget a VM; its files on the datastore stay", NULL, ROLE_ADMIN, vm_args,
     NULL, run_unregister},
    {"store", "scan", "take all VMs of a datastore into the inventory", "store scan ds1",
     ROLE_ADMIN, scan_args, NULL, run_scan},
    {"vm", "snapshot", "snapshots of a VM's disks and settings",
     "vm snapshot take web1 s1 description=\"before the patch\"", ROLE_OPERATE, snapshot_args, NULL,
     run_snapshot},
    {"vm", "grow", "make a disk of a VM larger, also while it runs or has snapshots",
     "vm grow web1 disk0 size=20G", ROLE_OPERATE, grow_args, NULL, run_grow},
    {"vm", "clone", "a new VM from another one or a template, with its own UUID and addresses",
     "vm clone web1 web2 --linked mem=1G", ROLE_ADMIN, clone_args, &vm_config_schema, run_clone},
    {"vm", "convert", "a VM to a template, which does not start, or back",
     "vm convert web1 to=template", ROLE_ADMIN, convert_args, NULL, run_convert},
};
SCHEMA_COMMANDS(commands);
