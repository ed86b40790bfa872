/* How full a store is: usage, alarms at thresholds, files that have all their room from the
 * beginning.  Called by the shell and by whoever takes units or gives them back. */
#include <stdlib.h>
#include <string.h>

#include "control/rt/log.h"
#include "storage/store_inner.h"

/* ---- usage -----------------------------------------------------------------------------------
 */

/* What images that others are made from have: they are never written again. */
static enum hv_status frozen_bytes(struct store *s, u64 *bytes)
{
    sqlite3_stmt *q = store_prepare(
        s, "SELECT id FROM inode WHERE id IN (SELECT parent FROM image WHERE parent<>0)", 0, 0);
    enum hv_status status;

    while ((status = store_step(s, q)) == HV_OK) {
        u32 *map = NULL, count = 0;

        status = store_load_map(s, (u64)sqlite3_column_int64(q, 0), &map, &count);
        for (u32 i = 0; i < count && status == HV_OK; i++)
            *bytes += map[i] != STORE_NOWHERE ? STORE_UNIT : 0;
        free(map);
        if (status != HV_OK)
            break;
    }
    sqlite3_finalize(q);
    return status == HV_ENOENT ? HV_OK : status;
}

/* With the lock held. */
static enum hv_status look(struct store *s, struct store_usage *out)
{
    sqlite3_stmt *q =
        store_prepare(s,
                      "SELECT total(CASE WHEN id IN (SELECT parent FROM image) THEN 0 ELSE "
                      "max(inode.size, ifnull(image.size, 0)) END), sum(directory=0), "
                      "sum(directory<>0) FROM inode LEFT JOIN image ON inode=id",
                      0, 0);
    enum hv_status status = store_step(s, q);

    *out = (struct store_usage){
        .capacity = s->units * STORE_UNIT,
        .used = (s->units - s->free_units) * STORE_UNIT,
    };
    if (status == HV_OK) {
        out->provisioned = (u64)sqlite3_column_int64(q, 0);
        out->files = (u64)sqlite3_column_int64(q, 1);
        out->directories = (u64)sqlite3_column_int64(q, 2);
    }
    sqlite3_finalize(q);
    return status == HV_OK ? frozen_bytes(s, &out->provisioned) : status;
}

enum hv_status store_usage(struct store *s, struct store_usage *out)
{
    store_lock(s);
    enum hv_status status = look(s, out);
    store_unlock(s);
    return status;
}

/* ---- alarms ----------------------------------------------------------------------------------
 */

static void tell(struct store *s, enum store_alarm alarm, u64 percent)
{
    static const char *const what[STORE_ALARMS] = {"full", "full", "provisioned"};
    u32 limit = s->alerts.percent[alarm];
    bool over = limit && percent >= limit;

    /* Back only with a distance, so that one file that comes and goes does not fill the log. */
    if (over == s->warned[alarm] || (!over && limit && percent + 2 > limit))
        return;
    s->warned[alarm] = over;
    if (over)
        log_warn("store %s is %llu %% %s: its alarm is at %u %%. Try: store df %s", s->name,
                 (unsigned long long)percent, what[alarm], limit, s->name);
    else
        log_notice("store %s: %llu %% %s, below its alarm again", s->name,
                   (unsigned long long)percent, what[alarm]);
}

void store_look_at_space(struct store *s)
{
    u64 percent = (u64)(s->units - s->free_units) * 100 / s->units;

    tell(s, STORE_WARN, percent);
    tell(s, STORE_CRITICAL, percent);
}

enum hv_status store_look_at_provision(struct store *s)
{
    struct store_usage u;

    if (!s->alerts.percent[STORE_OVERCOMMIT] && !s->warned[STORE_OVERCOMMIT])
        return HV_OK;
    enum hv_status status = look(s, &u);
    if (status == HV_OK)
        tell(s, STORE_OVERCOMMIT, u.provisioned * 100 / u.capacity);
    return status;
}

void store_set_alerts(struct store *s, const struct store_alerts *a)
{
    s->alerts = *a;
    store_look_at_space(s);
    store_lock(s);
    if (store_look_at_provision(s) != HV_OK)
        log_notice("store %s: %s", s->name, s->error);
    store_unlock(s);
}

struct store_alerts store_get_alerts(const struct store *s)
{
    return s->alerts;
}

const char *store_state(const struct store *s)
{
    if (!s->free_units)
        return "full";
    if (s->warned[STORE_CRITICAL])
        return "critical";
    return s->warned[STORE_WARN] || s->warned[STORE_OVERCOMMIT] ? "warning" : "ok";
}

/* ---- files that have all their room ----------------------------------------------------------
 */

enum hv_status store_reserve_units(struct store_file *f, u32 first, u32 end)
{
    struct store *s = f->store;
    u32 missing = 0;

    for (u32 n = first; n < end; n++)
        missing += f->map[n] == STORE_NOWHERE;
    if (missing > s->free_units)
        return store_fail(s, HV_ENOSPC, "the store has %u MiB free, all of the file would take %u",
                          s->free_units, missing);
    for (u32 n = first; n < end; n++) {
        if (f->map[n] != STORE_NOWHERE)
            continue;
        f->map[n] = store_take_unit(s) | STORE_RESERVED;
        f->changed[n / STORE_CHUNK] = 1;
    }
    store_look_at_space(s);
    return HV_OK;
}

/* Reserved units become zeros that were written. */
static enum hv_status zero_all(struct store_file *f,
                               bool (*progress)(void *arg, u64 done, u64 total), void *arg)
{
    struct store *s = f->store;
    enum hv_status status = HV_OK;

    for (u32 n = 0; n < f->count && status == HV_OK; n++) {
        u32 unit = store_unit_of(f->map[n]);

        if (!store_is_reserved(f->map[n]))
            continue;
        status = disk_zero(s->device, s->data_at + unit * STORE_UNIT, STORE_UNIT);
        f->map[n] = unit;
        f->changed[n / STORE_CHUNK] = 1;
        if (status == HV_OK && progress && !progress(arg, n * STORE_UNIT, f->size))
            status = HV_ETIMEDOUT;
    }
    return status == HV_OK ? disk_flush(s->device) : status;
}

static void give_back(struct store_file *f, const u32 *before)
{
    for (u32 n = 0; n < f->count; n++)
        if (f->map[n] != STORE_NOWHERE && before[n] == STORE_NOWHERE)
            store_drop_unit(f->store, store_unit_of(f->map[n]));
}

/* The file is open for us alone, so the lock need not be held. */
static enum hv_status fill_file(struct store_file *f, enum store_thickness thickness,
                                bool (*progress)(void *arg, u64 done, u64 total), void *arg)
{
    u32 *before = malloc(f->count * sizeof(*before) + 1);
    enum hv_status status = before ? HV_OK : HV_ENOMEM;

    if (!before)
        return status;
    memcpy(before, f->map, f->count * sizeof(*before));
    status = store_reserve_units(f, 0, f->count);
    bool taken = status == HV_OK;
    if (taken && thickness == STORE_EAGER)
        status = zero_all(f, progress, arg);
    if (status == HV_OK)
        status = store_save_file(f);
    if (status != HV_OK && taken)
        give_back(f, before);
    free(before);
    return status;
}

enum hv_status store_reserve(struct store *s, const char *path, enum store_thickness thickness,
                             bool (*progress)(void *arg, u64 done, u64 total), void *arg)
{
    struct store_stat st;
    struct store_file *f = NULL;

    store_lock(s);
    enum hv_status status = store_lookup(s, path, &st);
    if (status == HV_OK)
        status = store_file_may_open(s, &st, path, false);
    if (status == HV_OK)
        status = store_file_load(s, &st, &f);
    if (status == HV_OK)
        f->writer = true;
    store_unlock(s);
    if (status != HV_OK)
        return status;
    status = fill_file(f, thickness, progress, arg);
    if (status == HV_OK) {
        store_lock(s);
        status = store_run2(s, "UPDATE inode SET thick=?2 WHERE id=?1", st.inode, (u64)thickness);
        store_unlock(s);
    }
    store_file_free(f);
    return status;
}
