/* Software walk of a guest's page tables; called by the exit handlers and the instruction
 * emulator on the event loop.  Pure over guest_mem. */
#include "vmm/guest_walk.h"

#include <string.h>

#define PTE_P BIT(0)
#define PTE_W BIT(1)
#define PTE_U BIT(2)
#define PTE_A BIT(5)
#define PTE_D BIT(6)
#define PTE_PS BIT(7)
#define PTE_NX BIT(63)
#define PTE_ADDR BITS(51, 12)

/* What one paging mode looks like: levels from the root down. */
struct walk_mode {
    u8 levels;     /* tables to walk */
    u8 entry_size; /* bytes */
    u8 index_bits; /* of every level but PAE's root */
    u8 root_bits;
    u8 big_levels; /* bit n: a leaf may sit at level n (0 = 4 KiB page table) */
};

static const struct walk_mode mode_32 = {2, 4, 10, 10, 0};
static const struct walk_mode mode_32_pse = {2, 4, 10, 10, BIT(1)};
static const struct walk_mode mode_pae = {3, 8, 9, 2, BIT(1)};
static const struct walk_mode mode_4level = {4, 8, 9, 9, BIT(1) | BIT(2)};

static const struct walk_mode *mode_of(const struct guest_paging *p)
{
    if (p->efer & EFER_LMA)
        return p->cr4 & CR4_LA57 ? NULL : &mode_4level;
    if (p->cr4 & CR4_PAE)
        return &mode_pae;
    return p->cr4 & CR4_PSE ? &mode_32_pse : &mode_32;
}

/* A 4 MiB page's address has bits 39..32 in 20..13 (SDM 3A table 4-4). */
static u64 leaf_base(const struct walk_mode *mode, u64 entry, u32 shift)
{
    if (mode->entry_size == 4 && shift == 22)
        return (entry & BITS(31, 22)) | FIELD_GET(BITS(20, 13), entry) << 32;
    return entry & PTE_ADDR & ~((1ull << shift) - 1);
}

static void set_bits(void *slot, u32 size, u64 bits)
{
    if (size == 4)
        __atomic_fetch_or((u32 *)slot, (u32)bits, __ATOMIC_RELAXED);
    else
        __atomic_fetch_or((u64 *)slot, bits, __ATOMIC_RELAXED);
}

/* Rights of the whole path against the access (SDM 3A 4.6.1). */
static bool allowed(const struct guest_paging *p, u64 all_and, bool any_nx, u32 access)
{
    bool user_page = all_and & PTE_U, writable = all_and & PTE_W;
    if ((access & WALK_FETCH) && any_nx)
        return false;
    if (access & WALK_USER)
        return user_page && (writable || !(access & WALK_WRITE));
    if (user_page && !(access & WALK_FETCH) && (p->cr4 & CR4_SMAP) && !(p->rflags & RFLAGS_AC))
        return false;
    return !(access & WALK_WRITE) || writable || !(p->cr0 & CR0_WP);
}

struct walk_path {
    void *slot[4];
    u32 depth;
    u64 all_and;
    bool any_nx;
};

/* One entry of the table at `table`; NULL: outside RAM. */
static void *entry_slot(const struct guest_mem *m, const struct walk_mode *mode, u64 table,
                        u64 index, u64 *entry)
{
    void *slot = guest_ptr(m, GPA(table + index * mode->entry_size), mode->entry_size);
    if (!slot)
        return NULL;
    *entry = mode->entry_size == 4 ? *(volatile u32 *)slot : *(volatile u64 *)slot;
    return slot;
}

static enum walk_result descend(const struct guest_mem *m, const struct guest_paging *p,
                                const struct walk_mode *mode, u64 gla, struct walk_path *path,
                                gpa_t *gpa, u32 *error)
{
    bool pae_root = mode == &mode_pae;
    u64 table = p->cr3 & (pae_root ? BITS(31, 5) : PTE_ADDR);
    if (mode->entry_size == 4)
        table &= BITS(31, 12);
    for (u32 level = mode->levels; level-- > 0;) {
        u32 shift = 12 + level * mode->index_bits;
        u32 bits = level == mode->levels - 1u ? mode->root_bits : mode->index_bits;
        u64 entry, index = (gla >> shift) & ((1u << bits) - 1);
        void *slot = entry_slot(m, mode, table, index, &entry);
        if (!slot)
            return WALK_BAD;
        if (!(entry & PTE_P))
            return WALK_FAULT;
        *error = WALK_PRESENT;
        if (!(pae_root && level == 2)) { /* PDPTEs of PAE carry no rights */
            path->slot[path->depth++] = slot;
            path->all_and &= entry;
            path->any_nx |= (p->efer & EFER_NXE) && mode->entry_size == 8 && (entry & PTE_NX);
        }
        bool big = level > 0 && (mode->big_levels & BIT(level)) && (entry & PTE_PS);
        if (level == 0 || big) {
            gpa->raw = leaf_base(mode, entry, shift) + (gla & ((1ull << shift) - 1));
            return WALK_OK;
        }
        *error = 0;
        table = entry & (mode->entry_size == 4 ? BITS(31, 12) : PTE_ADDR);
    }
    return WALK_BAD;
}

enum walk_result guest_walk(const struct guest_mem *m, const struct guest_paging *p, u64 gla,
                            u32 access, gpa_t *gpa, u32 *error)
{
    *error = 0;
    if (!(p->efer & EFER_LMA))
        gla = (u32)gla;
    if (!(p->cr0 & CR0_PG)) {
        gpa->raw = gla;
        return WALK_OK;
    }
    const struct walk_mode *mode = mode_of(p);
    if (!mode)
        return WALK_BAD;
    struct walk_path path = {.all_and = ~0ull};
    enum walk_result r = descend(m, p, mode, gla, &path, gpa, error);
    if (r == WALK_OK && !allowed(p, path.all_and, path.any_nx, access))
        r = WALK_FAULT;
    if (r == WALK_FAULT) {
        /* The I/D bit is reported only where NX exists (SDM 3A 4.7). */
        bool nx = (p->efer & EFER_NXE) && mode->entry_size == 8;
        *error |= access & (WALK_WRITE | WALK_USER | (nx ? WALK_FETCH : 0));
    }
    if (r != WALK_OK)
        return r;
    for (u32 i = 0; i < path.depth; i++) {
        bool leaf = i + 1 == path.depth;
        set_bits(path.slot[i], mode->entry_size,
                 PTE_A | (leaf && (access & WALK_WRITE) ? PTE_D : 0));
    }
    return WALK_OK;
}

u32 guest_fetch(const struct guest_mem *m, const struct guest_paging *p, u64 gla, u8 *buf, u32 len)
{
    u32 done = 0;
    while (done < len) {
        struct guest_paging lenient = *p;
        lenient.efer &= ~EFER_NXE; /* it was fetched: only the address is wanted */
        lenient.cr4 &= ~CR4_SMAP;
        u32 error, part = (u32)MIN((u64)len - done, PAGE_SIZE - ((gla + done) & (PAGE_SIZE - 1)));
        gpa_t gpa;
        if (guest_walk(m, &lenient, gla + done, 0, &gpa, &error) != WALK_OK ||
            !guest_read_code(m, gpa, buf + done, part))
            break;
        done += part;
    }
    return done;
}

enum walk_result guest_linear_copy(const struct guest_mem *m, const struct guest_paging *p, u64 gla,
                                   void *buf, u32 len, u32 access, u64 *fault, u32 *error)
{
    u8 *b = buf;
    for (u32 done = 0; done < len;) {
        u32 part = (u32)MIN((u64)len - done, PAGE_SIZE - ((gla + done) & (PAGE_SIZE - 1)));
        gpa_t gpa;
        enum walk_result r = guest_walk(m, p, gla + done, access, &gpa, error);
        *fault = gla + done;
        if (r != WALK_OK)
            return r;
        void *ptr = guest_ptr(m, gpa, part);
        if (!ptr)
            return WALK_BAD;
        if (access & WALK_WRITE)
            memcpy(ptr, b + done, part);
        else
            memcpy(b + done, ptr, part);
        done += part;
    }
    return WALK_OK;
}
