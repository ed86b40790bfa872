/* How each kind of page table encodes an entry.  Pure functions, called by pgtab.c. */
#include "kernel/pgtab_formats.h"

/* Four-level paging of the host: SDM 3A tables 4-15 to 4-20. */
#define HOST_P BIT(0)
#define HOST_W BIT(1)
#define HOST_U BIT(2)
#define HOST_PWT BIT(3)
#define HOST_PCD BIT(4)
#define HOST_DIRTY BIT(6)
#define HOST_ACCESSED_DIRTY (BIT(5) | HOST_DIRTY) /* set, so the CPU need not */
#define HOST_PS BIT(7)
#define HOST_G BIT(8)
#define HOST_NX BIT(63)

static u64 host_leaf(u64 pa, u32 attr, bool big)
{
    return pa | HOST_P | HOST_ACCESSED_DIRTY | (attr & PG_W ? HOST_W : 0) |
           (attr & PG_USER ? HOST_U : 0) | (attr & PG_UC ? HOST_PWT | HOST_PCD : 0) |
           (attr & PG_GLOBAL ? HOST_G : 0) | (attr & PG_X ? 0 : HOST_NX) | (big ? HOST_PS : 0);
}

static u64 host_table(u64 pa) /* permissions are the leaf's */
{
    return pa | HOST_P | HOST_W | HOST_U | BIT(5);
}

static bool host_present(u64 entry)
{
    return entry & HOST_P;
}

static bool host_is_leaf(u64 entry)
{
    return entry & HOST_PS;
}

static u32 host_attr(u64 entry)
{
    return (u32)(PG_R | (entry & HOST_W ? PG_W : 0) | (entry & HOST_NX ? 0 : PG_X) |
                 (entry & HOST_U ? PG_USER : 0) | (entry & HOST_PCD ? PG_UC : 0) |
                 (entry & HOST_G ? PG_GLOBAL : 0));
}

const struct pgtab_format pgtab_host = {
    .name = "host",
    .leaf = host_leaf,
    .table = host_table,
    .present = host_present,
    .is_leaf = host_is_leaf,
    .attr = host_attr,
    .dirty = HOST_DIRTY,
};

/* EPT: SDM 3C tables 29-1 to 29-7. */
#define EPT_R BIT(0)
#define EPT_W BIT(1)
#define EPT_X BIT(2)
#define EPT_WB FIELD_PUT(BITS(5, 3), 6)
#define EPT_TYPE BITS(5, 3)
#define EPT_IGNORE_PAT BIT(6)
#define EPT_BIG BIT(7)
#define EPT_DIRTY BIT(9)
#define EPT_ACCESSED_DIRTY (BIT(8) | EPT_DIRTY) /* ignored where the CPU has none */

static u64 ept_leaf(u64 pa, u32 attr, bool big)
{
    return pa | (attr & PG_R ? EPT_R : 0) | (attr & PG_W ? EPT_W : 0) | (attr & PG_X ? EPT_X : 0) |
           (attr & PG_UC ? 0 : EPT_WB | EPT_IGNORE_PAT) | (big ? EPT_BIG : 0) | EPT_ACCESSED_DIRTY;
}

static u64 ept_table(u64 pa)
{
    return pa | EPT_R | EPT_W | EPT_X;
}

static bool ept_present(u64 entry)
{
    return entry & (EPT_R | EPT_W | EPT_X);
}

static bool ept_is_leaf(u64 entry)
{
    return entry & EPT_BIG;
}

static u32 ept_attr(u64 entry)
{
    return (u32)((entry & EPT_R ? PG_R : 0) | (entry & EPT_W ? PG_W : 0) |
                 (entry & EPT_X ? PG_X : 0) | (entry & EPT_TYPE ? 0 : PG_UC));
}

const struct pgtab_format pgtab_ept = {
    .name = "EPT",
    .leaf = ept_leaf,
    .table = ept_table,
    .present = ept_present,
    .is_leaf = ept_is_leaf,
    .attr = ept_attr,
    .dirty = EPT_DIRTY,
};

/* Nested paging of AMD-V: the host's format, walked as if by ring 3 (APM 2, 15.25.5); never global.
 */
static u64 npt_leaf(u64 pa, u32 attr, bool big)
{
    return host_leaf(pa, (attr | PG_USER) & ~(u32)PG_GLOBAL, big);
}

static u32 npt_attr(u64 entry)
{
    return host_attr(entry) & ~(u32)(PG_USER | PG_GLOBAL);
}

const struct pgtab_format pgtab_npt = {
    .name = "NPT",
    .leaf = npt_leaf,
    .table = host_table,
    .present = host_present,
    .is_leaf = host_is_leaf,
    .attr = npt_attr,
    .dirty = HOST_DIRTY,
};

/* Second-level translation of VT-d: VT-d 9.8; EPT's bits without memory types. */
static u64 vtd_leaf(u64 pa, u32 attr, bool big)
{
    return pa | (attr & PG_R ? EPT_R : 0) | (attr & PG_W ? EPT_W : 0) | (big ? EPT_BIG : 0);
}

static u64 vtd_table(u64 pa)
{
    return pa | EPT_R | EPT_W;
}

const struct pgtab_format pgtab_vtd = {
    .name = "VT-d",
    .leaf = vtd_leaf,
    .table = vtd_table,
    .present = ept_present,
    .is_leaf = ept_is_leaf,
    .attr = ept_attr,
};
