/* A VM's tree of snapshots on a datastore beside a model in memory, for tests: what each state's
 * disks and NAME.nvram hold.  Inside lab_run(). */
#pragma once

#include "storage/snapshot.h"
#include "tests/unit/image_lab.h"

#define TREE_LAB_DISKS 2u
#define TREE_LAB_STATES 40u

struct tree_lab_state {
    char name[VM_DIR_NAME], parent[VM_DIR_NAME]; /* [0] is what is now: no name */
    struct lab_model disk[TREE_LAB_DISKS];
    u32 nvram; /* the number in it; 0: there is none */
};

struct tree_lab {
    struct tree_lab_state *state[TREE_LAB_STATES];
    u32 count;
};

extern const u64 tree_lab_sizes[TREE_LAB_DISKS];
extern bool tree_lab_was_full; /* there may have been no room to write a name */

/* The model. */
void tree_lab_init(struct tree_lab *m);
void tree_lab_free(struct tree_lab *m);
void tree_lab_take(struct tree_lab *m, const char *name);
void tree_lab_revert(struct tree_lab *m, const char *name);
void tree_lab_delete(struct tree_lab *m, const char *name);

/* VM web1 in directory web1, made or loaded. */
struct vm_dir *tree_lab_make(struct store *s);
struct vm_dir *tree_lab_load(struct store *s);
/* So many random requests to each disk of what is now, and another NAME.nvram. */
void tree_lab_write(struct vm_dir *v, struct tree_lab *m, u32 steps);
/* The number in the NAME.nvram of a snapshot ("": of what is now); 0: there is none. */
u32 tree_lab_nvram(const struct vm_dir *v, const char *snapshot);
/* Every state of the tree holds what the model has; qemu: says qemu-img, too. */
void tree_lab_compare_with(struct vm_dir *v, const struct tree_lab *m, bool qemu);
void tree_lab_compare(struct vm_dir *v, const struct tree_lab *m);
u32 tree_lab_files(struct store *s); /* in web1 */
void tree_lab_expect(u32 line, struct vm_dir *v, enum hv_status status, enum hv_status wanted);
#define expect(v, call, wanted) tree_lab_expect(__LINE__, v, call, wanted)
