/* SQLite on two regions of a disk: the database, and its rollback journal.
 *
 * Called by SQLite, under the store's lock and in a fiber.  What SQLite writes stays in the
 * metadata cache until it asks for a sync, which writes it and flushes the disk; of a read-only
 * store it stays there for good.  The only order that SQLite relies on is that of its syncs. */
#include <stdio.h>
#include <string.h>

#include "control/rt/clock.h"
#include "storage/endian.h"
#include "storage/store_inner.h"

#define BLOCKS 256u /* 1 MiB of cache a region, below SQLite's own */

struct vfs_file {
    sqlite3_file base;
    struct store *store;
    struct store_region *region;
};

static const u8 journal_magic[8] = {0xd9, 0xd5, 0x05, 0xf9, 0x20, 0xa1, 0x63, 0xd7};

static int result(enum hv_status status, int otherwise)
{
    if (status == HV_OK)
        return SQLITE_OK;
    return status == HV_ENOMEM ? SQLITE_IOERR_NOMEM : otherwise;
}

static int file_close(sqlite3_file *file)
{
    (void)file;
    return SQLITE_OK;
}

static int file_read(sqlite3_file *file, void *buf, int amount, sqlite3_int64 offset)
{
    struct store_region *r = ((struct vfs_file *)file)->region;
    u64 at = (u64)offset, want = (u64)amount, there = at < r->size ? MIN(want, r->size - at) : 0;
    enum hv_status status = meta_read(&r->meta, r->at + at, buf, there);

    memset((u8 *)buf + there, 0, want - there);
    if (status != HV_OK)
        return result(status, SQLITE_IOERR_READ);
    return there < want ? SQLITE_IOERR_SHORT_READ : SQLITE_OK;
}

static int file_write(sqlite3_file *file, const void *buf, int amount, sqlite3_int64 offset)
{
    struct store_region *r = ((struct vfs_file *)file)->region;
    u64 at = (u64)offset, n = (u64)amount;

    if (at > r->length || n > r->length - at)
        return SQLITE_FULL;
    enum hv_status status = meta_write(&r->meta, META_TABLE, r->at + at, buf, n);
    r->size = MAX(r->size, at + n);
    return result(status, SQLITE_IOERR_WRITE);
}

static int file_truncate(sqlite3_file *file, sqlite3_int64 size)
{
    struct store_region *r = ((struct vfs_file *)file)->region;

    r->size = MIN(r->size, (u64)size);
    if (size)
        return SQLITE_OK;
    return result(meta_fill(&r->meta, META_TABLE, r->at, 0, 512), SQLITE_IOERR_TRUNCATE);
}

static int file_sync(sqlite3_file *file, int flags)
{
    struct vfs_file *f = (struct vfs_file *)file;

    (void)flags;
    if (f->store->read_only)
        return SQLITE_OK;
    enum hv_status status = meta_write_back(&f->region->meta, META_TABLE);
    if (status == HV_OK)
        status = disk_flush(f->store->device);
    return result(status, SQLITE_IOERR_FSYNC);
}

static int file_size(sqlite3_file *file, sqlite3_int64 *size)
{
    *size = (sqlite3_int64)((struct vfs_file *)file)->region->size;
    return SQLITE_OK;
}

static int file_lock(sqlite3_file *file, int level)
{
    (void)file, (void)level;
    return SQLITE_OK; /* nobody else has this store */
}

static int file_check_lock(sqlite3_file *file, int *out)
{
    (void)file;
    *out = 0;
    return SQLITE_OK;
}

static int file_control(sqlite3_file *file, int op, void *arg)
{
    (void)file, (void)op, (void)arg;
    return SQLITE_NOTFOUND;
}

static int file_sector_size(sqlite3_file *file)
{
    (void)file;
    return META_BLOCK;
}

static int file_characteristics(sqlite3_file *file)
{
    (void)file;
    return 0;
}

static const sqlite3_io_methods methods = {
    .iVersion = 1,
    .xClose = file_close,
    .xRead = file_read,
    .xWrite = file_write,
    .xTruncate = file_truncate,
    .xSync = file_sync,
    .xFileSize = file_size,
    .xLock = file_lock,
    .xUnlock = file_lock,
    .xCheckReservedLock = file_check_lock,
    .xFileControl = file_control,
    .xSectorSize = file_sector_size,
    .xDeviceCharacteristics = file_characteristics,
};

static int vfs_open(sqlite3_vfs *vfs, const char *name, sqlite3_file *file, int flags, int *out)
{
    struct store *s = vfs->pAppData;
    struct vfs_file *f = (struct vfs_file *)file;

    memset(f, 0, sizeof(*f));
    if (!name || !(flags & (SQLITE_OPEN_MAIN_DB | SQLITE_OPEN_MAIN_JOURNAL)))
        return SQLITE_CANTOPEN;
    f->store = s;
    f->region = flags & SQLITE_OPEN_MAIN_DB ? &s->database : &s->journal;
    f->base.pMethods = &methods;
    if (out)
        *out = flags;
    return SQLITE_OK;
}

static bool is_journal(const char *name)
{
    const char *end = strrchr(name, '-');

    return end && !strcmp(end, "-journal");
}

static int vfs_delete(sqlite3_vfs *vfs, const char *name, int sync)
{
    struct store *s = vfs->pAppData;
    struct vfs_file f = {{&methods}, s, &s->journal};

    (void)sync;
    if (!is_journal(name) || !s->journal.size)
        return SQLITE_OK;
    int ret = file_truncate(&f.base, 0);
    return ret == SQLITE_OK ? file_sync(&f.base, 0) : ret;
}

static int vfs_access(sqlite3_vfs *vfs, const char *name, int flags, int *out)
{
    struct store *s = vfs->pAppData;

    (void)flags;
    *out = is_journal(name) && s->journal.size;
    return SQLITE_OK;
}

static int vfs_full_path(sqlite3_vfs *vfs, const char *name, int room, char *out)
{
    (void)vfs;
    snprintf(out, (size_t)room, "%s", name);
    return SQLITE_OK;
}

static int vfs_randomness(sqlite3_vfs *vfs, int len, char *out)
{
    u8 id[16];

    (void)vfs;
    for (int at = 0; at < len; at += (int)sizeof(id)) {
        image_new_id(id);
        memcpy(out + at, id, MIN(sizeof(id), (size_t)(len - at)));
    }
    return len;
}

static int vfs_sleep(sqlite3_vfs *vfs, int us)
{
    (void)vfs;
    return us;
}

static int vfs_time64(sqlite3_vfs *vfs, sqlite3_int64 *out)
{
    (void)vfs;
    *out = clock_unix() * 1000 + 210866760000000ll; /* Julian day number in ms */
    return SQLITE_OK;
}

static int vfs_time(sqlite3_vfs *vfs, double *out)
{
    sqlite3_int64 ms;

    vfs_time64(vfs, &ms);
    *out = (double)ms / 86400000.0;
    return SQLITE_OK;
}

static int vfs_last_error(sqlite3_vfs *vfs, int len, char *out)
{
    (void)vfs, (void)len, (void)out;
    return 0;
}

static int vfs_open_nothing(sqlite3_vfs *vfs, const char *name, sqlite3_file *file, int flags,
                            int *out)
{
    (void)vfs, (void)name, (void)flags, (void)out;
    file->pMethods = NULL;
    return SQLITE_CANTOPEN;
}

/* All but a name and an owner. */
static sqlite3_vfs vfs_template(void)
{
    return (sqlite3_vfs){
        .iVersion = 2,
        .szOsFile = sizeof(struct vfs_file),
        .mxPathname = 64,
        .xOpen = vfs_open,
        .xDelete = vfs_delete,
        .xAccess = vfs_access,
        .xFullPathname = vfs_full_path,
        .xRandomness = vfs_randomness,
        .xSleep = vfs_sleep,
        .xCurrentTime = vfs_time,
        .xGetLastError = vfs_last_error,
        .xCurrentTimeInt64 = vfs_time64,
    };
}

/* SQLite wants a default; each store registers its own beside it. */
int sqlite3_os_init(void)
{
    static sqlite3_vfs nothing;

    nothing = vfs_template();
    nothing.zName = "none";
    nothing.xOpen = vfs_open_nothing;
    return sqlite3_vfs_register(&nothing, 1);
}

int sqlite3_os_end(void)
{
    return SQLITE_OK;
}

/* How long the two files are follows from what they begin with. */
enum hv_status store_region_check(struct store *s)
{
    u8 head[32];
    enum hv_status status = meta_read(&s->database.meta, s->database.at, head, sizeof(head));
    u64 page = be16(head + 16), pages = be32(head + 28);

    s->database.size = 0;
    if (status == HV_OK && !memcmp(head, "SQLite format 3", 16))
        s->database.size = MIN(page * pages, s->database.length);
    if (status == HV_OK)
        status = meta_read(&s->journal.meta, s->journal.at, head, 8);
    s->journal.size = 0;
    if (status == HV_OK && !memcmp(head, journal_magic, 8))
        s->journal.size = s->journal.length;
    return status;
}

enum hv_status store_vfs_open(struct store *s, bool create)
{
    static u32 number;
    enum hv_status status = meta_init(&s->database.meta, s->device, BLOCKS);

    if (status == HV_OK)
        status = meta_init(&s->journal.meta, s->device, BLOCKS);
    if (status == HV_OK)
        status = store_region_check(s);
    if (status != HV_OK)
        return status;
    snprintf(s->vfs_name, sizeof(s->vfs_name), "store%u", number++);
    s->vfs = vfs_template();
    s->vfs.zName = s->vfs_name;
    s->vfs.pAppData = s;
    sqlite3_vfs_register(&s->vfs, 0);
    int ret =
        sqlite3_open_v2("catalogue", &s->db,
                        SQLITE_OPEN_READWRITE | (create ? SQLITE_OPEN_CREATE : 0), s->vfs_name);
    return ret == SQLITE_OK ? HV_OK : store_fail(s, HV_EIO, "SQLite does not open (%d)", ret);
}

void store_vfs_close(struct store *s)
{
    if (s->db)
        sqlite3_close(s->db);
    s->db = NULL;
    if (s->vfs.zName)
        sqlite3_vfs_unregister(&s->vfs);
    if (s->database.meta.hash)
        meta_fini(&s->database.meta);
    if (s->journal.meta.hash)
        meta_fini(&s->journal.meta);
}
