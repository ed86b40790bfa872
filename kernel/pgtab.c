/* Four-level table walker.  Each change is one recursive walk done twice: first it only checks
 * and counts the tables it will need, then those are allocated, then it cannot fail.  Callers
 * serialise changes of one table. */
#include "kernel/pgtab.h"

#include "kernel/log.h"

#define ENTRIES 512
#define TOP_LEVEL 4
#define ADDRESS_MASK BITS(51, 12)

struct walk {
    struct pgtab *t;
    u64 va, pa, left; /* what is still to do */
    u32 attr;
    bool apply;
    u64 tables;          /* wanted */
    u64 first, *written; /* of pgtab_take_written(); NULL: unmapping */
    hpa_t pool;          /* tables at hand, linked through their first word */
};

static u64 span(unsigned level)
{
    return 1ull << (12 + 9 * (level - 1));
}

static unsigned index_of(u64 va, unsigned level)
{
    return (unsigned)(va / span(level)) % ENTRIES;
}

static u64 *table_at(u64 entry)
{
    return phys_to_virt(HPA(entry & ADDRESS_MASK));
}

static bool leaf_at(const struct pgtab *t, u64 entry, unsigned level)
{
    return level == 1 || (level <= 3 && t->format->is_leaf(entry));
}

static bool leaf_allowed(const struct pgtab *t, unsigned level)
{
    return level == 1 || (level == 2 && t->use_2m) || (level == 3 && t->use_1g);
}

static void advance(struct walk *w, u64 by)
{
    w->va += by;
    w->pa += by;
    w->left -= by;
}

/* Is there more to do in the table of this level that the walk is in? */
static bool more(const struct walk *w, unsigned level)
{
    return w->left > 0 && (level == TOP_LEVEL || w->va % span(level + 1) != 0);
}

static u64 *take_table(struct walk *w, hpa_t *at)
{
    assert(hpa_valid(w->pool));
    *at = w->pool;
    u64 *table = phys_to_virt(w->pool);
    w->pool = HPA(table[0]);
    table[0] = 0;
    return table;
}

static void free_pool(struct walk *w)
{
    while (hpa_valid(w->pool)) {
        hpa_t at = w->pool;
        w->pool = HPA(*(u64 *)phys_to_virt(at));
        mem_free(w->t->quota, at, PAGE_SIZE);
        w->t->table_bytes -= PAGE_SIZE;
    }
}

static enum hv_status fill_pool(struct walk *w)
{
    w->pool = HPA_NONE;
    for (u64 i = 0; i < w->tables; i++) {
        hpa_t at = mem_alloc(w->t->quota, PAGE_SIZE);
        if (!hpa_valid(at)) {
            free_pool(w);
            return HV_ENOMEM;
        }
        *(u64 *)phys_to_virt(at) = w->pool.raw;
        w->pool = at;
        w->t->table_bytes += PAGE_SIZE;
    }
    return HV_OK;
}

/* The walk needs a table at *slot, which may itself not exist yet while planning. */
static u64 *new_table(struct walk *w, u64 *slot)
{
    hpa_t at;
    w->tables++;
    if (!w->apply)
        return NULL;
    u64 *table = take_table(w, &at);
    *slot = w->t->format->table(at.raw);
    return table;
}

static enum hv_status map_walk(struct walk *w, u64 *table, unsigned level)
{
    const struct pgtab_format *f = w->t->format;
    u64 size = span(level);

    do {
        u64 *slot = table ? &table[index_of(w->va, level)] : NULL;
        bool present = slot && f->present(*slot);
        if (present && leaf_at(w->t, *slot, level))
            return HV_EEXIST;
        if (!present && leaf_allowed(w->t, level) && (w->va | w->pa) % size == 0 &&
            w->left >= size) {
            if (w->apply)
                *slot = f->leaf(w->pa, w->attr, level > 1);
            advance(w, size);
            continue;
        }
        u64 *lower = present ? table_at(*slot) : new_table(w, slot);
        enum hv_status status = map_walk(w, lower, level - 1);
        if (status != HV_OK)
            return status;
    } while (more(w, level));
    return HV_OK;
}

/* Replace the big leaf at *slot by a table of the next smaller leaves. */
static u64 *split_leaf(struct walk *w, u64 *slot, unsigned level)
{
    const struct pgtab_format *f = w->t->format;
    hpa_t at;
    w->tables++;
    if (!w->apply)
        return NULL;
    u64 *table = take_table(w, &at);
    u64 pa = *slot & ADDRESS_MASK & ~(span(level) - 1);
    u32 attr = f->attr(*slot);
    for (unsigned i = 0; i < ENTRIES; i++)
        table[i] = f->leaf(pa + i * span(level - 1), attr, level > 2);
    *slot = f->table(at.raw);
    return table;
}

static void take_written(struct walk *w, u64 *slot)
{
    u64 n = (w->va - w->first) / PAGE_SIZE;
    u64 taken = w->t->no_dirty ? 0 : w->t->format->dirty;

    if (w->apply && (__atomic_fetch_and(slot, ~taken, __ATOMIC_SEQ_CST) & w->t->format->dirty))
        w->written[n / 64] |= BIT(n % 64);
    advance(w, PAGE_SIZE);
}

/* Takes away leaves, or what was written in them.  table == NULL: planning inside a leaf that will
 * be split. */
static void unmap_walk(struct walk *w, u64 *table, unsigned level)
{
    const struct pgtab_format *f = w->t->format;
    u64 size = span(level);

    do {
        u64 *slot = table ? &table[index_of(w->va, level)] : NULL;
        u64 step = MIN(w->left, size - w->va % size);
        if (slot && !f->present(*slot)) {
            advance(w, step);
        } else if (slot && !leaf_at(w->t, *slot, level)) {
            unmap_walk(w, table_at(*slot), level - 1);
        } else if (w->written && level == 1) {
            take_written(w, slot);
        } else if (step == size && !w->written) {
            if (w->apply)
                *slot = 0;
            advance(w, step);
        } else {
            unmap_walk(w, split_leaf(w, slot, level), level - 1);
        }
    } while (more(w, level));
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
        if (t->format->present(table[i]) && !leaf_at(t, table[i], level))
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
    struct walk plan = {.t = t, .va = va, .pa = pa, .left = len, .attr = attr};
    struct walk work = plan;
    u64 *root = phys_to_virt(t->root);

    if (!range_valid(t, va, len) || pa % PAGE_SIZE || pa + len > ADDRESS_MASK)
        return HV_EINVAL;
    enum hv_status status = map_walk(&plan, root, TOP_LEVEL);
    if (status != HV_OK)
        return status;
    work.tables = plan.tables;
    status = fill_pool(&work);
    if (status != HV_OK)
        return status;
    work.apply = true;
    return map_walk(&work, root, TOP_LEVEL);
}

static enum hv_status unmap_twice(struct pgtab *t, u64 va, u64 len, u64 *written)
{
    struct walk plan = {.t = t, .va = va, .left = len, .first = va, .written = written};
    struct walk work = plan;
    u64 *root = phys_to_virt(t->root);

    if (!range_valid(t, va, len))
        return HV_EINVAL;
    unmap_walk(&plan, root, TOP_LEVEL);
    work.tables = plan.tables;
    enum hv_status status = fill_pool(&work);
    if (status != HV_OK)
        return status;
    work.apply = true;
    unmap_walk(&work, root, TOP_LEVEL);
    return HV_OK;
}

enum hv_status pgtab_unmap(struct pgtab *t, u64 va, u64 len)
{
    return unmap_twice(t, va, len, NULL);
}

enum hv_status pgtab_take_written(struct pgtab *t, u64 va, u64 len, u64 *written)
{
    return unmap_twice(t, va, len, written);
}

bool pgtab_lookup(const struct pgtab *t, u64 va, u64 *pa, u32 *attr, u64 *size)
{
    const u64 *table = phys_to_virt(t->root);
    for (unsigned level = TOP_LEVEL;; level--) {
        u64 entry = table[index_of(va, level)];
        *size = span(level);
        if (!t->format->present(entry))
            return false;
        if (leaf_at(t, entry, level)) {
            *pa = (entry & ADDRESS_MASK & ~(*size - 1)) + va % *size;
            *attr = t->format->attr(entry);
            return true;
        }
        table = table_at(entry);
    }
}

void pgtab_break_block(const struct pgtab *t, u64 va, u64 len)
{
    u64 pa, size;
    u32 attr;

    for (u64 done = 0; done + PAGE_2M <= len; done += PAGE_2M)
        if (pgtab_lookup(t, va + done, &pa, &attr, &size) && size == PAGE_SIZE)
            mem_break(HPA(pa));
}

u64 pgtab_top_entry(const struct pgtab *t, unsigned index)
{
    return ((const u64 *)phys_to_virt(t->root))[index];
}

void pgtab_set_top_entry(struct pgtab *t, unsigned index, u64 entry)
{
    ((u64 *)phys_to_virt(t->root))[index] = entry;
}
