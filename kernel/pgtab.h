/* One four-level table builder for every format: the host's page tables, EPT, and later NPT and
 * VT-d.  Pure: reaches memory through mem_alloc/mem_free and phys_to_virt only. */
#pragma once

#include "kernel/abi/status.h"
#include "kernel/mem.h"

/* Neutral attributes; each format encodes them. */
#define PG_R BIT(0)
#define PG_W BIT(1)
#define PG_X BIT(2)
#define PG_USER BIT(3)   /* host format: ring 3 may */
#define PG_UC BIT(4)     /* uncached; else write-back */
#define PG_GLOBAL BIT(5) /* host format */

/* How entries are encoded: bits that stand for an attribute, 0: it has none, or the opposite. */
struct pgtab_format {
    u64 write, exec, no_exec, user, uncached, cached, global;
    u64 big;     /* of a leaf of 2 MiB or 1 GiB */
    u64 leaf;    /* of every leaf */
    u64 table;   /* of an entry for a lower table: permissions are the leaf's */
    u64 present; /* any of these: something is mapped */
    u64 dirty;   /* of a leaf: set there, and by the CPU on a write */
};
u64 pgtab_leaf(const struct pgtab_format *f, u64 pa, u32 attr, bool big);
u32 pgtab_attr(const struct pgtab_format *f, u64 entry); /* of a leaf */
extern const struct pgtab_format pgtab_host;             /* SDM 3A 4.5 */
extern const struct pgtab_format pgtab_ept;              /* SDM 3C 29.3 */
extern const struct pgtab_format pgtab_npt;              /* APM 2, 15.25 */
extern const struct pgtab_format pgtab_vtd;              /* VT-d 3.7 */

struct pgtab {
    const struct pgtab_format *format;
    hpa_t root;
    struct quota *quota;
    u64 table_bytes; /* memory the tables take */
    bool use_1g;     /* 1 GiB leaves allowed */
    bool use_2m;
    bool no_dirty;     /* the CPU sets no dirty bits: whatever is mapped counts as written */
    u64 address_limit; /* first address that may not be mapped; 0: canonical addresses */
};

MUST_CHECK enum hv_status pgtab_init(struct pgtab *t, const struct pgtab_format *f, struct quota *q,
                                     bool use_2m, bool use_1g);
/* Frees every table (not what they map). */
void pgtab_fini(struct pgtab *t);
/* Map [va, va+len) to pa on, with the largest leaves that alignment allows.  All or nothing, but
 * for empty tables.  HV_EINVAL unaligned or out of range, HV_EEXIST something is mapped there,
 * HV_ENOMEM. */
MUST_CHECK enum hv_status pgtab_map(struct pgtab *t, u64 va, u64 pa, u64 len, u32 attr);
/* Unmap; splits big leaves at the ends if it must.  HV_ENOMEM only from such a split, then all is
 * mapped as before.  Holes are fine.  Flushing is the caller's.  Tables stay until pgtab_fini, so
 * that no CPU walks one that is gone. */
MUST_CHECK enum hv_status pgtab_unmap(struct pgtab *t, u64 va, u64 len);
/* Zeroed frames at [va, va+len), charged to the tables' quota, in blocks of at most `largest`
 * (PAGE_1G, PAGE_2M or PAGE_SIZE) bytes.  All or nothing.  HV_EEXIST, HV_ENOMEM. */
MUST_CHECK enum hv_status pgtab_alloc(struct pgtab *t, u64 va, u64 len, u32 attr, u64 largest);
/* The other way round; holes are fine, 1 GiB leaves go as a whole.  HV_ENOMEM: a 2 MiB leaf could
 * not be split at an end; all is there as before. */
enum hv_status pgtab_free(struct pgtab *t, u64 va, u64 len);
/* False: not mapped.  *size: bytes of the leaf, or of the naturally aligned hole around va. */
MUST_CHECK bool pgtab_lookup(const struct pgtab *t, u64 va, u64 *pa, u32 *attr, u64 *size);
/* The dirty log.  Sets bit n of written[] for each mapped page n of [va, va+len) that was written
 * since the last call, or is new.  Big leaves become small ones.  HV_ENOMEM: nothing was taken.
 * HV_EINVAL unaligned.  Flushing is the caller's. */
MUST_CHECK enum hv_status pgtab_take_written(struct pgtab *t, u64 va, u64 len, u64 *written);
/* The mapped page at va is written by other means than through the table: for the dirty log. */
void pgtab_set_written(struct pgtab *t, u64 va);
/* Share the subtree of one top-level entry with another table of the same format. */
u64 pgtab_top_entry(const struct pgtab *t, unsigned index);
void pgtab_set_top_entry(struct pgtab *t, unsigned index, u64 entry);
