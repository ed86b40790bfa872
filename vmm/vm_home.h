/* A VM's directory on a datastore as the VM's home: NAME.conf there follows its settings, and the
 * inventory can be made from it again.  All calls wait: they need a fiber.
 *
 * Below: true if done; false: *e says why, nothing changed.  E_NO_HOME: the VM has none. */
#pragma once

#include "storage/snapshot.h"
#include "vmm/vm.h"

/* Reads the VM's directory; vm_dir_free() it. */
MUST_CHECK bool vm_home_open(const struct vm *vm, struct vm_dir **out, struct vm_error *e);
/* Makes the directory that c->home names, and NAME.conf in it.  Gives c a UUID. */
MUST_CHECK bool vm_home_make(struct vm_config *c, struct vm_error *e);
/* NAME.conf has the VM's settings as they are now.  Without a home: nothing to do. */
MUST_CHECK bool vm_home_save(const struct vm *vm, struct vm_error *e);
/* The VM of a directory enters the inventory; "ds1:web1" or "ds1:/web1".  copied: as another VM
 * than the one it was copied from, with a UUID and addresses of its own. */
MUST_CHECK bool vm_home_register(const char *home, bool copied, struct vm **out,
                                 struct vm_error *e);
/* All VMs in the directories of a store's root that nobody has registered.  told is called with a
 * line for each. */
MUST_CHECK bool vm_home_scan(struct store *s, void (*told)(void *arg, const char *line), void *arg,
                             struct vm_error *e);
/* All files of the home are deleted, and it; the VM stays in the inventory.  E_HAS_CLONES. */
MUST_CHECK bool vm_home_delete(const struct vm *vm, struct vm_error *e);
/* The same of a directory. */
MUST_CHECK bool vm_home_remove(struct vm_dir *v, struct vm_error *e);
void vm_home_new_uuid(char text[VM_UUID_LEN]);

/* Settings as text and back; disks are not in it.  The text is to be freed.  E_CONFIG. */
char *vm_home_settings(const struct vm_config *c);
MUST_CHECK bool vm_home_take_settings(const char *text, struct vm_config *c, struct vm_error *e);
/* A state of the directory as settings of a VM; store: that the directory is on. */
MUST_CHECK bool vm_home_config(const struct vm_dir *v, const struct vm_dir_state *s,
                               struct vm_config *out, struct vm_error *e);
/* The reverse: c's settings and disks into *s. */
MUST_CHECK bool vm_home_state(const struct vm_dir *v, const struct vm_config *c,
                              struct vm_dir_state *s, struct vm_error *e);

/* Are all its disks where a VM with such a home may have them?  E_INVALID. */
MUST_CHECK bool vm_home_accepts(const struct vm_config *c, struct vm_error *e);

/* The file NAME.lock says which host runs the VM.  E_LOCKED: another one does. */
MUST_CHECK bool vm_home_lock(const struct vm *vm, struct vm_error *e);
void vm_home_unlock(const struct vm *vm);
/* NAME.log has what the VM's log had when it stopped; older ones are NAME.1.log to NAME.3.log. */
void vm_home_keep_log(const struct vm *vm);

/* For snapshots of a VM that may be running. */
struct snapshot_vm vm_home_snapshot_vm(struct vm *vm);
/* What the store or the snapshot code refused, as an error of a command. */
bool vm_home_failed(struct vm_error *e, enum hv_status status, const char *why);
