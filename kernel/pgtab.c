/* Four-level table walker.  Every change is made leaf by leaf from the root down; one that fails
 * half-way is undone, which needs no memory, since it takes back whole leaves.  Callers serialise
 * changes of one table. */
#include "kernel/pgtab.h"

#include "kernel/log.h"

#define ENTRIES 512
#define TOP_LEVEL 4
#define ADDRESS_MASK BITS(51, 12)

/* Four-level paging of the host: SDM 3A tables 4-15 to 4-20.  Accessed and dirty are set, so the
 * CPU need not. */
#define HOST_P BIT(0)
#define HOST_W BIT(1)
#define HOST_U BIT(2)
#define HOST_UC BITS(4, 3) /* PWT, PCD */
#define HOST_A BIT(5)
#define HOST_D BIT(6)
#define HOST_PS BIT(7)
#define HOST_G BIT(8)
#define HOST_NX BIT(63)

const struct pgtab_format pgtab_host = {
    .write = HOST_W,
    .no_exec = HOST_NX,
    .user = HOST_U,
    .uncached = HOST_UC,
    .global = HOST_G,
    .big = HOST_PS,
    .leaf = HOST_P | HOST_A | HOST_D,
    .table = HOST_P | HOST_W | HOST_U | HOST_A,
    .present = HOST_P,
    .dirty = HOST_D,
};

/* Nested paging of AMD-V: the host's format, walked as if by ring 3 (APM 2, 15.25.5); never global.
 */
const struct pgtab_format pgtab_npt = {
    .write = HOST_W,
    .no_exec = HOST_NX,
    .uncached = HOST_UC,
    .big = HOST_PS,
    .leaf = HOST_P | HOST_U | HOST_A | HOST_D,
    .table = HOST_P | HOST_W | HOST_U | HOST_A,
    .present = HOST_P,
    .dirty = HOST_D,
};

/* EPT: SDM 3C tables 29-1 to 29-7.  Accessed and dirty are ignored where the CPU has none. */
#define EPT_R BIT(0)
#define EPT_W BIT(1)
#define EPT_X BIT(2)
#define EPT_WB (FIELD_PUT(BITS(5, 3), 6) | BIT(6)) /* and whatever the guest's PAT says */
#define EPT_BIG BIT(7)
#define EPT_A BIT(8)
#define EPT_D BIT(9)

const struct pgtab_format pgtab_ept = {
    .write = EPT_W,
    .exec = EPT_X,
    .cached = EPT_WB,
    .big = EPT_BIG,
    .leaf = EPT_R | EPT_A | EPT_D,
    .table = EPT_R | EPT_W | EPT_X,
    .present = EPT_R | EPT_W | EPT_X,
    .dirty = EPT_D,
};

/* Second-level translation of VT-d: VT-d 9.8; EPT's bits without memory types. */
const struct pgtab_format pgtab_vtd = {
    .write = EPT_W,
    .big = EPT_BIG,
    .leaf = EPT_R,
    .table = EPT_R | EPT_W,
    .present = EPT_R | EPT_W,
};

u64 pgtab_leaf(const struct pgtab_format *f, u64 pa, u32 attr, bool big)
{
    return pa | f->leaf | (attr & PG_W ? f->write : 0) | (attr & PG_X ? f->exec : f->no_exec) |
           (attr & PG_USER ? f->user : 0) | (attr & PG_UC ? f->uncached : f->cached) |
           (attr & PG_GLOBAL ? f->global : 0) | (big ? f->big : 0);
}

u32 pgtab_attr(const struct pgtab_format *f, u64 entry)
{
    bool runs = f->exec ? entry & f->exec : !(entry & f->no_exec);
    bool cached = f->cached ? entry & f->cached : !(entry & f->uncached);

    return (u32)(PG_R | (entry & f->write ? PG_W : 0) | (runs ? PG_X : 0) |
                 (entry & f->user ? PG_USER : 0) | (cached ? 0 : PG_UC) |
                 (entry & f->global ? PG_GLOBAL : 0));
}

static u64 span(unsigned level)
{
    return 1ull << (12 + 9 * (level - 1));
}

static bool leaf_at(const struct pgtab *t, u64 entry, unsigned level)
{
    return level == 1 || (level <= 3 && (entry & t->format->big));
}

static bool leaf_allowed(const struct pgtab *t, unsigned level)
{
    return level == 1 || (level == 2 && t->use_2m) || (level == 3 && t->use_1g);
}

/* Where the walk for va ends, and on which level: a leaf, or nothing is there. */
static u64 *entry_of(const struct pgtab *t, u64 va, unsigned *level)
{
    u64 *table = phys_to_virt(t->root);

    for (*level = TOP_LEVEL;; --*level) {
        u64 *slot = &table[va / span(*level) % ENTRIES];
        if (!(*slot & t->format->present) || leaf_at(t, *slot, *level))
            return slot;
        table = phys_to_virt(HPA(*slot & ADDRESS_MASK));
    }
}

/* A table at *slot instead: an empty one, or with what the leaf there maps.  False: no memory. */
static bool add_table(struct pgtab *t, u64 *slot, unsigned level)
{
    const struct pgtab_format *f = t->format;
    u64 *table = mem_page(t->quota), pa = *slot & ADDRESS_MASK & ~(span(level) - 1);

    u32 attr = pgtab_attr(f, *slot);

    if (!table)
        return false;
    t->table_bytes += PAGE_SIZE;
    for (unsigned i = 0; (*slot & f->present) && i < ENTRIES; i++)
        table[i] = pgtab_leaf(f, pa + i * span(level - 1), attr, level > 2);
    *slot = virt_to_phys(table).raw | f->table;
    return true;
}

/* Sees to it that no leaf reaches across va.  False: no memory. */
static bool split_at(struct pgtab *t, u64 va)
{
    unsigned level;
    u64 *slot;

    while (slot = entry_of(t, va, &level), (*slot & t->format->present) && va % span(level))
        if (!add_table(t, slot, level))
            return false;
    return true;
}

static bool range_valid(const struct pgtab *t, u64 va, u64 len)
{
    if ((va | len) % PAGE_SIZE || len == 0 || va + (len - 1) < va)
        return false;
    if (t->address_limit) /* 0: the canonical addresses */
        return va + (len - 1) < t->address_limit;
    return (i64)(va << 16) >> 16 == (i64)va &&
           (i64)((va + len - 1) << 16) >> 16 == (i64)(va + len - 1) &&
           (va ^ (va + len - 1)) >> 47 == 0;
}

enum hv_status pgtab_init(struct pgtab *t, const struct pgtab_format *f, struct quota *q,
                          bool use_2m, bool use_1g)
{
    *t = (struct pgtab){
        .format = f,
        .quota = q,
        .use_2m = use_2m,
        .use_1g = use_2m && use_1g,
        .address_limit = f == &pgtab_host ? 0 : 1ull << 48,
    };
    t->root = mem_alloc(q, PAGE_SIZE);
    if (!hpa_valid(t->root))
        return HV_ENOMEM;
    t->table_bytes = PAGE_SIZE;
    return HV_OK;
}

static void free_tables(struct pgtab *t, hpa_t at, unsigned level)
{
    const u64 *table = phys_to_virt(at);
    for (unsigned i = 0; level > 1 && i < ENTRIES; i++)
        if ((table[i] & t->format->present) && !leaf_at(t, table[i], level))
            free_tables(t, HPA(table[i] & ADDRESS_MASK), level - 1);
    mem_free(t->quota, at, PAGE_SIZE);
    t->table_bytes -= PAGE_SIZE;
}

void pgtab_fini(struct pgtab *t)
{
    free_tables(t, t->root, TOP_LEVEL);
    t->root = HPA_NONE;
}

enum hv_status pgtab_map(struct pgtab *t, u64 va, u64 pa, u64 len, u32 attr)
{
    unsigned level;

    if (!range_valid(t, va, len) || pa % PAGE_SIZE || pa + len > ADDRESS_MASK)
        return HV_EINVAL;
    for (u64 done = 0; done < len;) {
        u64 *slot = entry_of(t, va + done, &level), size = span(level);
        bool taken = (*slot & t->format->present);
        if (!taken && leaf_allowed(t, level) && ((va + done) | (pa + done)) % size == 0 &&
            len - done >= size) {
            *slot = pgtab_leaf(t->format, pa + done, attr, level > 1);
            done += size;
        } else if (taken || !add_table(t, slot, level)) {
            if (done && pgtab_unmap(t, va, done) != HV_OK)
                panic("pgtab: cannot undo");
            return taken ? HV_EEXIST : HV_ENOMEM;
        }
    }
    return HV_OK;
}

enum hv_status pgtab_unmap(struct pgtab *t, u64 va, u64 len)
{
    unsigned level;

    if (!range_valid(t, va, len))
        return HV_EINVAL;
    if (!split_at(t, va) || !split_at(t, va + len))
        return HV_ENOMEM;
    for (u64 done = 0; done < len; done += span(level) - (va + done) % span(level)) {
        u64 *slot = entry_of(t, va + done, &level);
        if ((*slot & t->format->present))
            *slot = 0;
    }
    return HV_OK;
}

enum hv_status pgtab_take_written(struct pgtab *t, u64 va, u64 len, u64 *written)
{
    u64 dirty = t->format->dirty, taken = t->no_dirty ? 0 : dirty;
    unsigned level;

    if (!range_valid(t, va, len))
        return HV_EINVAL;
    for (u64 done = 0; done < len;) { /* small leaves before anything is taken */
        u64 *slot = entry_of(t, va + done, &level);
        if (level == 1 || !(*slot & t->format->present))
            done += span(level) - (va + done) % span(level);
        else if (!add_table(t, slot, level))
            return HV_ENOMEM;
    }
    for (u64 n = 0; n < len / PAGE_SIZE; n++) {
        u64 *slot = entry_of(t, va + n * PAGE_SIZE, &level);
        if (level == 1 && (__atomic_fetch_and(slot, ~taken, __ATOMIC_SEQ_CST) & dirty))
            written[n / 64] |= BIT(n % 64);
    }
    return HV_OK;
}

void pgtab_set_written(struct pgtab *t, u64 va)
{
    unsigned level;

    /* Nothing heeds the bit in an entry that came to be a table, or empty, meanwhile. */
    __atomic_fetch_or(entry_of(t, va, &level), t->format->dirty, __ATOMIC_SEQ_CST);
}

bool pgtab_lookup(const struct pgtab *t, u64 va, u64 *pa, u32 *attr, u64 *size)
{
    unsigned level;
    u64 entry = *entry_of(t, va, &level);

    *size = span(level);
    if (!(entry & t->format->present))
        return false;
    *pa = (entry & ADDRESS_MASK & ~(*size - 1)) + va % *size;
    *attr = pgtab_attr(t->format, entry);
    return true;
}

/* One block of frames.  Where tables that stayed from before made its leaves small, its chunks are
 * broken into frames, since by leaves is how they will be freed. */
static enum hv_status alloc_block(struct pgtab *t, u64 va, u64 size, u32 attr)
{
    hpa_t at = mem_alloc(t->quota, size);
    unsigned level;

    if (!hpa_valid(at))
        return HV_ENOMEM;
    enum hv_status st = pgtab_map(t, va, at.raw, size, attr);
    if (st != HV_OK)
        mem_free(t->quota, at, size);
    for (u64 done = 0; st == HV_OK && done + PAGE_2M <= size; done += PAGE_2M)
        if (entry_of(t, va + done, &level) && level == 1)
            mem_break(HPA(at.raw + done));
    return st;
}

enum hv_status pgtab_alloc(struct pgtab *t, u64 va, u64 len, u32 attr, u64 largest)
{
    for (u64 done = 0, size = largest; done < len;) {
        bool fits = (va + done) % size == 0 && len - done >= size;
        enum hv_status st = fits ? alloc_block(t, va + done, size, attr) : HV_ENOMEM;
        if (st == HV_OK) {
            done += size;
            size = largest;
        } else if (size > PAGE_SIZE) {
            size = size == PAGE_1G ? PAGE_2M : PAGE_SIZE; /* no such block: smaller ones may do */
        } else {
            pgtab_free(t, va, done);
            return st;
        }
    }
    return HV_OK;
}

/* Sees to it that no block of frames reaches across va.  False: no memory. */
static bool break_at(struct pgtab *t, u64 va)
{
    unsigned level;
    u64 *slot = entry_of(t, va, &level), block = *slot & ADDRESS_MASK & ~(span(level) - 1);

    if (!(*slot & t->format->present) || va % span(level) == 0)
        return true;
    if (!split_at(t, va))
        return false;
    mem_break(HPA(block));
    return true;
}

enum hv_status pgtab_free(struct pgtab *t, u64 va, u64 len)
{
    u64 end = va + len, pa, size;
    unsigned level;
    u32 attr;

    if (len && (!break_at(t, va) || !break_at(t, end)))
        return HV_ENOMEM;
    for (; va < end; va += size - va % size) {
        if (!pgtab_lookup(t, va, &pa, &attr, &size))
            continue;
        *entry_of(t, va, &level) = 0;
        mem_free(t->quota, HPA(pa), size);
    }
    return HV_OK;
}

u64 pgtab_top_entry(const struct pgtab *t, unsigned index)
{
    return ((const u64 *)phys_to_virt(t->root))[index];
}

void pgtab_set_top_entry(struct pgtab *t, unsigned index, u64 entry)
{
    ((u64 *)phys_to_virt(t->root))[index] = entry;
}
