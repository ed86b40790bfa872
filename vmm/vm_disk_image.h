/* What a VM's disk is made of: images on a store, or a physical disk; connected to no device yet.
 */
#pragma once

#include "storage/chain.h"
#include "storage/store.h"
#include "vmm/vm.h"

struct open_disk {
    struct disk *disk;
    struct chain *chain; /* of images on a store; NULL: a physical disk */
};

/* Name of the format that *c says its image has. */
const char *vm_disk_format(const struct vm_disk *c);
/* Says in *e why disk n, `of` that, failed; false. */
bool vm_disk_failed(struct vm_error *e, u32 n, const char *of, enum hv_status status,
                    const char *why);
/* Opens what *c says, as disk n.  device_name, of VM_DISK_DEVICE bytes: the device of the store.
 * Waits.  False: *e says why. */
MUST_CHECK bool vm_disk_image_open(const struct vm_disk *c, u32 n, struct open_disk *open,
                                   char *device_name, struct vm_error *e);
/* Waits.  An error is logged, too: what was written last may not be there. */
enum hv_status vm_disk_image_close(struct vm *vm, u32 n, const struct open_disk *open);
