/* Datastores for tests of the host tier, on the files of image_lab.h. */
#pragma once

#include "storage/store.h"

/* A device of so many bytes, all zeros, that cannot grow. */
struct disk *store_lab_device(u64 size);
struct store *store_lab_mount(struct disk *d);
/* A new store, mounted. */
struct store *store_lab_fresh(struct disk *d);
/* Fails unless `store check` finds nothing. */
void store_lab_check(struct store *s);
