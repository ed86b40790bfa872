/* Names of code addresses, from the symbol table that each image embeds of itself.  Pure. */
#pragma once

#include "kernel/abi/symbols.h"
#include "kernel/abi/types.h"

/* The function that an address is in, and how far (*offset); "?": the table does not tell. */
const char *ksym_name(const struct image_symbols *t, u64 address, u64 *offset);
