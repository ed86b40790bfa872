/* Names of code addresses, from the symbol table embedded in an image.  Pure. */
#ifndef BULKHEAD_KERNEL_KSYM_H
#define BULKHEAD_KERNEL_KSYM_H

#include "kernel/abi/symbols.h"
#include "kernel/abi/types.h"

#define KSYM_TEXT 80

/* Reads len bytes of the table's address space; false: not readable. */
typedef bool ksym_read(void *to, u64 from, u64 len);

/* "name+0x12" of address into text (KSYM_TEXT bytes), or "?" when the table at `table` of `len`
 * bytes does not tell.  The table is not trusted. */
void ksym_name(ksym_read *read, u64 table, u64 len, u64 address, char *text);

#endif
