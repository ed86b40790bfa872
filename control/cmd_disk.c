/* Shell commands for disks in memory.  Run in the shell's fiber. */
#include "control/cmd_disk.h"

#include "control/schema.h"
#include "storage/partition.h"
#include "storage/ram_disk.h"

#define SECTOR 512u
#define SIZE_MAX_MIB 4096ull

static enum hv_status run_ram(const struct schema_args *args, struct out *out)
{
    const char *name = args_text(args, "name");
    u64 size = args_number(args, "size", 0);
    if (!size || size % SECTOR || size > SIZE_MAX_MIB * MIB)
        return out_error(out, HV_EINVAL, "E_SIZE", "size=64M",
                         "%llu bytes is no size for a disk in memory", (unsigned long long)size);
    if (disk_find(name))
        return out_error(out, HV_EEXIST, "E_EXISTS", "disk list", "there is a disk '%s'", name);
    if (!ram_disk_open(name, size, SECTOR, size))
        return out_error(out, HV_ENOMEM, "E_NOMEM", "stop a VM", "no memory");
    return HV_OK;
}

static enum hv_status run_drop(const struct schema_args *args, struct out *out)
{
    struct disk *d = disk_find(args_text(args, "name"));
    if (!d || (!ram_disk_is(d) && !partition_is(d)))
        return out_error(out, HV_ENOENT, "E_NO_DISK", "disk list",
                         "there is no disk '%s' in memory", args_text(args, "name"));
    if (disk_close(d) != HV_OK)
        return out_error(out, HV_EBUSY, "E_BUSY", "store release, vm stop", "it is in use");
    return HV_OK;
}

static const struct schema_arg ram_args[] = {
    {"name", PLACE_OBJECT, ARG_WORD, .help = "of the new disk"},
    {"size", PLACE_KEY, ARG_SIZE, .help = "of the disk; takes memory as it is written"},
    {0},
};
static const struct schema_arg drop_args[] = {
    {"name", PLACE_OBJECT, ARG_WORD, .help = "of a disk made by disk ram, or of a partition"},
    {0},
};

static const struct schema_command commands[] = {
    {"disk", "ram", "make a disk in memory: scratch space, lost when the host restarts",
     "disk ram scratch size=64M", ROLE_ADMIN, ram_args, NULL, run_ram},
    {"disk", "drop", "forget a disk in memory, with all that is on it; let go of a partition", NULL,
     ROLE_ADMIN, drop_args, NULL, run_drop},
};
SCHEMA_COMMANDS(commands);
