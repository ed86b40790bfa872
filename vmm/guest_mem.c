/* Guest RAM by guest-physical address: bounds checks and copies.  Pure; event loop or tests. */
#include "vmm/guest_mem.h"

#include <string.h>

void guest_mem_layout(struct guest_mem *m, u8 *base, u64 mem)
{
    u64 low = MIN(mem, GUEST_LOW_END);
    *m = (struct guest_mem){.base = base, .count = 1, .quick = low};
    m->range[0] = (struct guest_range){0, low};
    if (mem > low)
        m->range[m->count++] = (struct guest_range){4 * GIB, mem - low};
}

void *guest_ptr_search(const struct guest_mem *m, gpa_t gpa, u64 len)
{
    for (u32 i = 0; len && i < m->count; i++) {
        const struct guest_range *r = &m->range[i];
        u64 at = gpa.raw - r->gpa;
        if (at < r->len && len <= r->len - at)
            return !m->fill || m->fill(m->owner, gpa.raw, len) ? m->base + gpa.raw : NULL;
    }
    return NULL;
}

bool guest_mem_has(const struct guest_mem *m, u64 gpa, u64 len)
{
    for (u32 i = 0; i < m->count; i++) {
        u64 at = gpa - m->range[i].gpa;
        if (at < m->range[i].len && len <= m->range[i].len - at)
            return true;
    }
    return false;
}

bool guest_read(const struct guest_mem *m, gpa_t gpa, void *dst, u64 len)
{
    const void *p = guest_ptr(m, gpa, len);
    if (!p)
        return false;
    memcpy(dst, p, len);
    return true;
}

bool guest_read_code(const struct guest_mem *m, gpa_t gpa, void *dst, u64 len)
{
    u64 at = gpa.raw - m->rom.gpa;
    if (at >= m->rom.len || len > m->rom.len - at)
        return guest_read(m, gpa, dst, len);
    memcpy(dst, m->base + gpa.raw, len);
    return true;
}

bool guest_write(const struct guest_mem *m, gpa_t gpa, const void *src, u64 len)
{
    void *p = guest_ptr(m, gpa, len);
    if (!p)
        return false;
    memcpy(p, src, len);
    return true;
}

bool guest_zero(const struct guest_mem *m, gpa_t gpa, u64 len)
{
    void *p = guest_ptr(m, gpa, len);
    if (!p)
        return false;
    memset(p, 0, len);
    return true;
}
