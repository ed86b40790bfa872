/* Datastores: superblock, mounting, formatting.  The rest is in store_*.c. */
#include "storage/store.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "storage/crc32c.h"
#include "storage/endian.h"
#include "storage/store_inner.h"

typedef unsigned long long ull;

#define SUPER_SIZE 4096u
#define SUPER_VERSION 1u
#define REGIONS_AT MIB

enum super_field {                  /* little-endian */
                   SUPER_MAGIC = 0, /* "BULKHEAD" */
                   SUPER_CHECKSUM = 8,
                   SUPER_FORMAT = 12,
                   SUPER_ID = 16,
                   SUPER_DEVICE_SIZE = 32,
                   SUPER_DATABASE = 40,
                   SUPER_DATABASE_LENGTH = 48,
                   SUPER_JOURNAL = 56,
                   SUPER_JOURNAL_LENGTH = 64,
                   SUPER_DATA = 72,
                   SUPER_UNITS = 80,
                   SUPER_NAME = 96,
};

static struct store *stores;

/* What version 2 has and version 1 has not. */
#define IMAGE_SCHEMA                                                                               \
    "CREATE TABLE image(inode INTEGER PRIMARY KEY, format TEXT NOT NULL, parent INTEGER NOT "      \
    "NULL);"                                                                                       \
    "CREATE INDEX image_parent ON image(parent);"                                                  \
    "CREATE TABLE text(inode INTEGER PRIMARY KEY, bytes BLOB NOT NULL);"

/* What version 3 has and version 2 has not.  thick: enum store_thickness. */
#define SPACE_SCHEMA                                                                               \
    "ALTER TABLE inode ADD COLUMN thick INTEGER NOT NULL DEFAULT 0;"                               \
    "ALTER TABLE image ADD COLUMN size INTEGER NOT NULL DEFAULT 0;"

static const char *const upgrade[] = {
    [1] = "BEGIN;" IMAGE_SCHEMA SPACE_SCHEMA "PRAGMA user_version=3;COMMIT;",
    [2] = "BEGIN;" SPACE_SCHEMA "PRAGMA user_version=3;COMMIT;",
};

static const char schema[] =
    "PRAGMA user_version=3;"
    "CREATE TABLE inode(id INTEGER PRIMARY KEY AUTOINCREMENT, directory INTEGER NOT NULL,"
    " size INTEGER NOT NULL, changed INTEGER NOT NULL);"
    "CREATE TABLE name(parent INTEGER NOT NULL, name TEXT NOT NULL, inode INTEGER NOT NULL,"
    " PRIMARY KEY(parent, name)) WITHOUT ROWID;"
    "CREATE INDEX name_inode ON name(inode);"
    "CREATE TABLE map(inode INTEGER NOT NULL, chunk INTEGER NOT NULL, units BLOB NOT NULL,"
    " PRIMARY KEY(inode, chunk)) WITHOUT ROWID;"
    "INSERT INTO inode VALUES(1, 1, 0, 0);" IMAGE_SCHEMA SPACE_SCHEMA;

static const char settings[] = "PRAGMA locking_mode=EXCLUSIVE;"
                               "PRAGMA journal_mode=DELETE;"
                               "PRAGMA synchronous=FULL;"
                               "PRAGMA cache_size=-1024;"
                               "PRAGMA trusted_schema=OFF;";

struct store *store_first(void)
{
    return stores;
}

struct store *store_next(const struct store *s)
{
    return s->next;
}

struct store *store_find(const char *name)
{
    struct store *s = stores;

    while (s && strcmp(s->name, name))
        s = s->next;
    return s;
}

const char *store_name(const struct store *s)
{
    return s->name;
}

const struct disk *store_device(const struct store *s)
{
    return s->device;
}

const char *store_error(const struct store *s)
{
    return s->error;
}

static u32 super_checksum(const u8 *b)
{
    return crc32c(crc32c(0, b, SUPER_CHECKSUM), b + 12, SUPER_SIZE - 12);
}

static void destroy(struct store *s)
{
    store_vfs_close(s);
    free(s->refs);
    s->device->users--;
    free(s);
}

static enum hv_status super_read(struct store *s)
{
    u8 *b = malloc(SUPER_SIZE);
    enum hv_status status = b ? HV_ENOENT : HV_ENOMEM;

    for (u32 i = 0; b && i < 2 && status == HV_ENOENT; i++) {
        status = disk_read(s->device, i * SUPER_SIZE, b, SUPER_SIZE);
        if (status == HV_OK &&
            (memcmp(b, "BULKHEAD", 8) || le32(b + SUPER_CHECKSUM) != super_checksum(b)))
            status = HV_ENOENT;
    }
    if (status == HV_OK) {
        s->database.at = le64(b + SUPER_DATABASE);
        s->database.length = le64(b + SUPER_DATABASE_LENGTH);
        s->journal.at = le64(b + SUPER_JOURNAL);
        s->journal.length = le64(b + SUPER_JOURNAL_LENGTH);
        s->data_at = le64(b + SUPER_DATA);
        s->units = le32(b + SUPER_UNITS);
        memcpy(s->id, b + SUPER_ID, 16);
        memcpy(s->name, b + SUPER_NAME, STORE_NAME_MAX - 1);
    }
    u32 version = status == HV_OK ? le32(b + SUPER_FORMAT) : 0;
    free(b);
    if (status == HV_ENOENT)
        return store_fail(s, status, "there is no store on this disk");
    if (status != HV_OK)
        return status;
    if (version != SUPER_VERSION)
        return store_fail(s, HV_ENOSYS, "a store of version %u", version);
    u64 size = s->device->size;
    bool fits = s->database.at >= 2 * SUPER_SIZE && s->database.at % MIB == 0 &&
                s->database.length <= size && s->database.at <= size &&
                s->journal.at == s->database.at + s->database.length && s->journal.length <= size &&
                s->data_at == s->journal.at + s->journal.length && s->data_at <= size &&
                s->units <= (size - s->data_at) / STORE_UNIT && s->units &&
                s->units <= STORE_UNITS_MAX;
    return fits ? HV_OK
                : store_fail(s, HV_ECORRUPT, "its parts do not fit the disk of %llu bytes",
                             (ull)size);
}

static int on_version(void *arg, int columns, char **values, char **names)
{
    (void)columns, (void)names;
    *(int *)arg = values[0] ? atoi(values[0]) : 0;
    return 0;
}

static enum hv_status open_catalogue(struct store *s)
{
    int version = 0;
    enum hv_status status = store_vfs_open(s, false);

    if (status == HV_OK)
        status = store_sql(s, settings);
    if (status == HV_OK && sqlite3_exec(s->db, "PRAGMA user_version", on_version, &version, NULL))
        status = store_fail(s, HV_ECORRUPT, "its catalogue: %s", sqlite3_errmsg(s->db));
    if (status == HV_OK && (version == 1 || version == 2)) {
        status = s->read_only ? store_fail(s, HV_EPERM,
                                           "it is of an older version; mount it once "
                                           "where it can be written")
                              : store_end(s, store_sql(s, upgrade[version]));
        version = 3;
    }
    if (status == HV_OK && version != 3)
        status = store_fail(s, HV_ECORRUPT, "it has no catalogue of a version that is known");
    if (status != HV_OK)
        return status;
    s->refs = calloc(s->units, sizeof(*s->refs));
    return s->refs ? store_load_refs(s) : HV_ENOMEM;
}

enum hv_status store_mount(struct disk *device, bool read_only, struct store **out,
                           char error[STORE_ERROR_MAX])
{
    struct store *s = calloc(1, sizeof(*s)), **at = &stores;

    snprintf(error, STORE_ERROR_MAX, "no memory");
    if (!s)
        return HV_ENOMEM;
    s->device = device;
    s->unsaved_end = &s->unsaved;
    s->read_only = read_only || device->read_only;
    s->alerts = (struct store_alerts)STORE_ALERTS_USUAL;
    device->users++;
    enum hv_status status = super_read(s);
    if (status == HV_OK && store_find(s->name))
        status = store_fail(s, HV_EEXIST, "a store '%s' is mounted already", s->name);
    if (status == HV_OK)
        status = open_catalogue(s);
    if (status != HV_OK) {
        snprintf(error, STORE_ERROR_MAX, "%s", s->error[0] ? s->error : "the disk fails");
        destroy(s);
        return status;
    }
    while (*at)
        at = &(*at)->next;
    *at = s;
    *out = s;
    store_look_at_space(s);
    return HV_OK;
}

enum hv_status store_unmount(struct store *s)
{
    struct store **at = &stores;

    if (s->files || s->locked)
        return HV_EBUSY;
    while (*at != s)
        at = &(*at)->next;
    *at = s->next;
    destroy(s);
    return HV_OK;
}

/* The first MiB and the heads of both regions are cleared before the superblock is written: what
 * was there before is not taken for a catalogue. */
static enum hv_status write_super(struct store *s)
{
    u8 *b = calloc(1, SUPER_SIZE);
    enum hv_status status = b ? disk_zero(s->device, 0, REGIONS_AT) : HV_ENOMEM;

    if (status == HV_OK)
        status = disk_zero(s->device, s->database.at, 64 * KIB);
    if (status == HV_OK)
        status = disk_zero(s->device, s->journal.at, 64 * KIB);
    if (status == HV_OK) {
        memcpy(b, "BULKHEAD", 8);
        put_le32(b + SUPER_FORMAT, SUPER_VERSION);
        memcpy(b + SUPER_ID, s->id, 16);
        put_le64(b + SUPER_DEVICE_SIZE, s->device->size);
        put_le64(b + SUPER_DATABASE, s->database.at);
        put_le64(b + SUPER_DATABASE_LENGTH, s->database.length);
        put_le64(b + SUPER_JOURNAL, s->journal.at);
        put_le64(b + SUPER_JOURNAL_LENGTH, s->journal.length);
        put_le64(b + SUPER_DATA, s->data_at);
        put_le32(b + SUPER_UNITS, s->units);
        memcpy(b + SUPER_NAME, s->name, STORE_NAME_MAX);
        put_le32(b + SUPER_CHECKSUM, super_checksum(b));
        for (u32 i = 0; i < 2 && status == HV_OK; i++)
            status = disk_write(s->device, i * SUPER_SIZE, b, SUPER_SIZE);
    }
    free(b);
    return status;
}

enum hv_status store_format(struct disk *device, const char *name, char error[STORE_ERROR_MAX])
{
    struct store *s = calloc(1, sizeof(*s));
    u64 length = ROUND_UP(MIN(MAX(device->size / 256, 4 * MIB), GIB), MIB);
    enum hv_status status = HV_OK;

    snprintf(error, STORE_ERROR_MAX, "no memory");
    if (!s)
        return HV_ENOMEM;
    s->device = device;
    device->users++;
    image_new_id(s->id);
    s->database.at = REGIONS_AT;
    s->database.length = s->journal.length = length;
    s->journal.at = s->database.at + length;
    s->data_at = s->journal.at + length;
    if (!name[0] || strlen(name) >= STORE_NAME_MAX)
        status = store_fail(s, HV_EINVAL, "'%.40s' is not a name for a store", name);
    else if (device->size < STORE_DISK_MIN)
        status = store_fail(s, HV_EINVAL, "a store takes at least 32 MiB");
    else if (device->users > 1)
        status = store_fail(s, HV_EBUSY, "the disk is in use");
    if (status == HV_OK) {
        strcpy(s->name, name);
        s->units = (u32)MIN((device->size - s->data_at) / STORE_UNIT, STORE_UNITS_MAX);
        status = write_super(s);
    }
    if (status == HV_OK)
        status = store_vfs_open(s, true);
    if (status == HV_OK)
        status = store_sql(s, settings);
    if (status == HV_OK)
        status = store_sql(s, "BEGIN");
    if (status == HV_OK)
        status = store_sql(s, schema);
    if (status == HV_OK)
        status = store_sql(s, "COMMIT");
    if (status != HV_OK)
        snprintf(error, STORE_ERROR_MAX, "%s", s->error[0] ? s->error : "the disk fails");
    destroy(s);
    return status;
}
