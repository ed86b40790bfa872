/* Chains of images of a VM's directory, for tests. */
#pragma once

#include "storage/vm_dir.h"
#include "tests/unit/image_lab.h"

/* One disk of a state; fails the test if it cannot be opened. */
struct chain *chain_lab_open(struct vm_dir *v, const struct vm_dir_state *s, u32 disk,
                             bool read_only);
/* Each image of the chain names the one it lies over. */
void chain_lab_names(struct chain *c);
/* The chain's files, taken out of the store, are a chain for qemu-img, with the model's contents.
 */
void chain_lab_ask_qemu(struct chain *c, const struct lab_model *m);
