/* Shell commands for disks in memory, and for what any disk has done.  Run in the shell's fiber. */
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

/* ---- what a disk has done ---------------------------------------------------------------------
 */

static void show_counts(const struct disk *d, struct out *out)
{
    static const char *const columns[] = {"REQUEST", "COUNT", "BYTES", "ERRORS"};
    static const u8 widths[] = {10, 12, 14, 8};
    out_table(out, columns, widths, ARRAY_LEN(columns));
    for (u32 op = 0; op < DISK_OPS; op++) {
        out_cell(out, "%s", disk_op_name((enum disk_op)op));
        out_cell(out, "%llu", (unsigned long long)d->stats.count[op]);
        out_cell(out, "%llu", (unsigned long long)d->stats.bytes[op]);
        out_cell(out, "%llu", (unsigned long long)d->stats.errors[op]);
    }
}

/* The buckets from the first to the last that have anything. */
static void show_latency(const struct disk *d, struct out *out)
{
    static const char *const columns[] = {"BELOW", "READS", "WRITES", "FLUSHES"};
    static const u8 widths[] = {10, 12, 12, 12};
    static const char *const units[] = {"ns", "us", "ms", "s"};
    u32 first = DISK_LATENCY_BUCKETS, end = 0;
    for (u32 b = 0; b < DISK_LATENCY_BUCKETS; b++) {
        if (!(d->stats.latency[0][b] | d->stats.latency[1][b] | d->stats.latency[2][b]))
            continue;
        first = MIN(first, b);
        end = b + 1;
    }
    if (!end)
        return;
    out_table(out, columns, widths, ARRAY_LEN(columns));
    for (u32 b = first; b < end; b++) {
        u64 below = 2ull << b, unit = 0;
        while (below >= 1024 && unit + 1 < ARRAY_LEN(units)) {
            below /= 1000;
            unit++;
        }
        if (b + 1 < DISK_LATENCY_BUCKETS)
            out_cell(out, "%llu %s", (unsigned long long)below, units[unit]);
        else
            out_cell(out, "longer");
        for (u32 op = DISK_READ; op <= DISK_FLUSH; op++)
            out_cell(out, "%u", d->stats.latency[op][b]);
    }
}

static enum hv_status run_stats(const struct schema_args *args, struct out *out)
{
    static const char *const policies[] = {"report", "pause", "pause when the store is full",
                                           "retry, then report"};
    const struct disk *d = disk_find(args_text(args, "name"));
    if (!d)
        return out_error(out, HV_ENOENT, "E_NO_DISK", "disk list", "there is no disk '%s'",
                         args_text(args, "name"));
    out_field(out, "on an error", "%s", policies[d->on_error]);
    out_field(out, "in flight", "%u", d->in_flight);
    out_field(out, "refused", "%llu", (unsigned long long)d->stats.refused);
    out_field(out, "held back", "%llu", (unsigned long long)d->stats.throttled);
    out_field(out, "tried again", "%llu", (unsigned long long)d->stats.retried);
    out_end_object(out);
    show_counts(d, out);
    show_latency(d, out);
    return HV_OK;
}

static const struct schema_arg stats_args[] = {
    {"name", PLACE_OBJECT, ARG_WORD, .help = "of an open disk, as `disk list` has it"},
    {0},
};
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
    {"disk", "stats", "requests of an open disk, and how long they took", "disk stats web1:disk0",
     ROLE_VIEW, stats_args, NULL, run_stats},
    {"disk", "drop", "forget a disk in memory, with all that is on it; let go of a partition", NULL,
     ROLE_ADMIN, drop_args, NULL, run_drop},
};
SCHEMA_COMMANDS(commands);
