/* A VM's directory on a datastore: NAME.conf with its settings, its disks and its tree of
 * snapshots, and the images that these name.
 *
 * NAME.conf is text in the dialect of control/rt/conf.h: a section [vm NAME] for what is now, and a
 * section [snapshot NAME] for each snapshot.  Lines this file does not know are settings of the VM;
 * they are kept as they are.  Which image lies over which one is the store's to say (store.h), so
 * that the text and the chains change in one transaction.  All calls wait: they need a fiber. */
#pragma once

#include "storage/chain.h"
#include "storage/store.h"

#define VM_DIR_DISKS 8u
#define VM_DIR_SNAPSHOTS 100u
#define VM_DIR_NAME 32u
#define VM_DIR_DESCRIPTION 128u

struct vm_dir_disk {
    u32 number;                /* of the key: disk0 */
    char file[STORE_PATH_MAX]; /* without a slash: in the directory; else a path in the store */
    char format[12];
};

struct vm_dir_state { /* what is now, or a snapshot */
    char name[VM_DIR_NAME];
    char parent[VM_DIR_NAME]; /* the snapshot it came from; "": none */
    i64 time;                 /* when it was taken, unix time */
    char description[VM_DIR_DESCRIPTION];
    struct vm_dir_disk disk[VM_DIR_DISKS];
    u32 disk_count;
    char *settings; /* the other lines, each with its end of line */
};

struct vm_dir {
    struct store *store;
    char path[STORE_PATH_MAX]; /* of the directory */
    char name[VM_DIR_NAME];
    struct vm_dir_state now;
    struct vm_dir_state *snapshot[VM_DIR_SNAPSHOTS];
    u32 snapshot_count;
    char error[IMAGE_ERROR_MAX]; /* why the last call failed */
    bool busy;                   /* something long is being done to it */
};

/* Reads DIR/NAME.conf.  HV_ECORRUPT: it is not what vm_dir_text() writes; *error says where. */
MUST_CHECK enum hv_status vm_dir_load(struct store *s, const char *path, const char *name,
                                      struct vm_dir **out, char error[IMAGE_ERROR_MAX]);
/* Makes the directory; nothing is in it yet, not even NAME.conf: vm_dir_save() follows. */
MUST_CHECK enum hv_status vm_dir_make(struct store *s, const char *path, const char *name,
                                      struct vm_dir **out, char error[IMAGE_ERROR_MAX]);
/* The same for a directory that is there and has no NAME.conf; HV_EEXIST if it has. */
MUST_CHECK enum hv_status vm_dir_use(struct store *s, const char *path, const char *name,
                                     struct vm_dir **out, char error[IMAGE_ERROR_MAX]);
void vm_dir_free(struct vm_dir *v); /* the one in memory */
/* Forgets what is in memory and reads it again. */
enum hv_status vm_dir_reload(struct vm_dir *v);
MUST_CHECK enum hv_status vm_dir_save(struct vm_dir *v);

/* HV_EINVAL: *error says which line.  Pure; text is hostile. */
MUST_CHECK enum hv_status vm_dir_parse(struct vm_dir *v, const char *text, u32 len);
/* The text of it, to be freed; NULL: no memory, or longer than 64 KiB. */
char *vm_dir_text(const struct vm_dir *v);

struct vm_dir_state *vm_dir_find(struct vm_dir *v, const char *snapshot);
/* A path of the store: of a disk's file, or of any name in the directory. */
void vm_dir_path(const struct vm_dir *v, const char *file, char path[STORE_PATH_MAX]);
/* Of what the guest's machine keeps without power: NAME.nvram, and of a snapshot (NULL or "": none)
 * NAME-SNAPSHOT.nvram.  Text, the VM's own; a snapshot whose VM had none has none. */
void vm_dir_nvram(const struct vm_dir *v, const char *snapshot, char path[STORE_PATH_MAX]);
enum hv_status vm_dir_fail(struct vm_dir *v, enum hv_status status, const char *fmt, ...)
    PRINTF_LIKE(3, 4);
/* Why the store refused, as vm_dir_fail(). */
enum hv_status vm_dir_store_failed(struct vm_dir *v, enum hv_status status);
/* Letters, digits, - _ . ; at most 31. */
bool vm_dir_name_valid(const char *name);
MUST_CHECK bool vm_dir_copy_state(struct vm_dir_state *to, const struct vm_dir_state *from);
MUST_CHECK bool vm_dir_set_settings(struct vm_dir_state *s, const char *text);
