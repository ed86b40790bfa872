/* The kernel's own page tables: W^X image, physmap, device registers, per-CPU areas. */
#pragma once

#include "kernel/abi/boot_info.h"
#include "kernel/pgtab.h"

extern struct pgtab paging_host; /* upper half; control.space shares its root */

/* Boot CPU, before anything uses phys_to_virt: the loader's one-to-one map, seen as physmap. */
void paging_early(void);
/* Boot CPU, after mem_init: build the tables and switch to them. */
void paging_init(const struct boot_info *bi);
/* Writes into the kernel's own code, which no other CPU is near. */
void paging_patch(void *at, const void *bytes, u64 len);
void paging_cpu_init(void); /* each CPU: CR0, CR4, EFER, PAT and CR3 */
/* Device registers, uncached; boot CPU only.  Panics when memory is out. */
volatile void *paging_map_mmio(hpa_t at, u64 len);
/* Zeroed kernel memory at a fixed address; boot CPU only.  Panics when memory is out. */
void paging_alloc(u64 va, u64 len, u32 attr);
