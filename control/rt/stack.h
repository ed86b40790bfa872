/* Memory for a fiber's stack, with an unmapped page below it. */
#pragma once

#include "kernel/abi/types.h"

/* The lowest usable address; size is a multiple of PAGE_SIZE.  NULL: no memory. */
void *stack_alloc(u64 size);
