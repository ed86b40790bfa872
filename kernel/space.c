/* Builds and clears the control partition's address space.  Called by control.c; control.space is
 * changed by the control thread's core only. */
#include "kernel/space.h"

#include "kernel/control.h"
#include "kernel/host.h"
#include "kernel/log.h"
#include "kernel/mem.h"
#include "kernel/string.h"

static void must_map(u64 va, u64 pa, u64 len, u32 attr)
{
    enum hv_status status = pgtab_map(&control.space, va, pa, len, attr | PG_R | PG_USER);
    if (status != HV_OK)
        panic("cannot map %lx bytes for the control partition at %lx: status %d. "
              "Try: give the machine more memory, or take images from one build",
              len, va, status);
}

static void map_host_info(void)
{
    u64 pa, size;
    u32 attr;
    for (u64 at = 0; at < sizeof(struct host_info); at += PAGE_SIZE)
        if (pgtab_lookup(&control.space, KERNEL_HOST_INFO + at, &pa, &attr, &size))
            must_map(USER_HOST_INFO + at, pa, PAGE_SIZE, 0);
}

static void map_modules(const struct boot_info *bi)
{
    u64 va = USER_MODULE_BASE;
    for (u32 i = 0; i < bi->module_count; i++) {
        const struct boot_module *m = &bi->modules[i];
        struct host_module *h = &host_info->modules[i];
        u64 len = ROUND_UP(m->len, PAGE_SIZE);

        memcpy(h->name, m->name, sizeof(h->name));
        h->name[sizeof(h->name) - 1] = 0;
        h->vaddr = va;
        h->len = m->len;
        if (len)
            must_map(va, m->paddr, len, 0);
        va = ROUND_UP(va + len + PAGE_SIZE, PAGE_2M); /* a page between never is mapped */
    }
    host_info->module_count = bi->module_count;
}

static void must_alloc(u64 va, u64 len)
{
    if (space_map_private(va, len, PG_W) != HV_OK)
        panic("no memory for the control partition. Try: give the machine more memory");
}

void space_create(const struct boot_info *bi)
{
    for (u32 i = 0; i < bi->control.segment_count; i++) {
        const struct boot_segment *s = &bi->control.segments[i];
        u64 len = ROUND_UP(s->memsz, PAGE_SIZE);
        if (s->prot & BOOT_SEG_W)
            must_alloc(s->vaddr, len);
        else
            must_map(s->vaddr, s->paddr, len, s->prot & BOOT_SEG_X ? PG_X : 0);
    }
    must_alloc(USER_STACK_TOP - USER_STACK_SIZE, USER_STACK_SIZE);
    map_modules(bi);
    map_host_info();
    must_map(USER_CONTROL_PAGE, virt_to_phys(control.page).raw, PAGE_SIZE, PG_W);
}

enum hv_status space_map_private(u64 va, u64 len, u32 attr)
{
    return pgtab_alloc(&control.space, va, len, attr | PG_R | PG_USER, PAGE_2M);
}

u64 space_find_hole(u64 from, u64 end, u64 len, u64 align)
{
    u64 start = ROUND_UP(from, align), va = start, pa, size;
    u32 attr;

    while (start < end && len <= end - start) {
        if (va >= start + len)
            return start;
        bool mapped = pgtab_lookup(&control.space, va, &pa, &attr, &size);
        va = ROUND_DOWN(va, size) + size;
        if (mapped)
            start = ROUND_UP(va, align), va = start;
    }
    return 0;
}

void space_clear(void)
{
    if (pgtab_free(&control.space, USER_HEAP_BASE, USER_HEAP_END - USER_HEAP_BASE) != HV_OK ||
        pgtab_free(&control.space, USER_DMA_BASE, USER_END - USER_DMA_BASE) != HV_OK)
        panic("space: cannot clear"); /* whole leaves need no memory */
}

/* The only door to a user pointer: through the page tables to the physmap, so that no address of
 * ring 3 is ever used as one and SMAP stays on. */

/* Where one page's worth of user memory is; NULL: not ring 3's, or not allowed so. */
static void *reach(u64 user, u64 len, u32 need)
{
    u64 pa, size;
    u32 attr;

    if (user >= USER_END || len > USER_END - user)
        return NULL;
    if (!pgtab_lookup(&control.space, user, &pa, &attr, &size))
        return NULL;
    need |= PG_USER;
    if ((attr & need) != need || (attr & PG_UC)) /* the physmap has no device registers */
        return NULL;
    return phys_to_virt(HPA(pa));
}

static enum hv_status copy(void *kernel, u64 user, u64 len, bool write)
{
    u8 *at = kernel;
    if (len > USER_END || user > USER_END - len)
        return HV_EFAULT;
    while (len > 0) {
        u64 part = MIN(len, PAGE_SIZE - user % PAGE_SIZE);
        void *there = reach(user, part, write ? PG_W : PG_R);
        if (!there)
            return HV_EFAULT;
        memcpy(write ? there : at, write ? at : there, part);
        at += part;
        user += part;
        len -= part;
    }
    return HV_OK;
}

enum hv_status user_read(void *dst, u64 user, u64 len)
{
    return copy(dst, user, len, false);
}

enum hv_status user_write(u64 user, const void *src, u64 len)
{
    return copy((void *)src, user, len, true);
}

void space_fill(const struct boot_info *bi)
{
    for (u32 i = 0; i < bi->control.segment_count; i++) {
        const struct boot_segment *s = &bi->control.segments[i];
        for (u64 at = 0; (s->prot & BOOT_SEG_W) && at < s->memsz; at += PAGE_SIZE)
            memcpy(reach(s->vaddr + at, PAGE_SIZE, PG_W), phys_to_virt(HPA(s->paddr + at)),
                   PAGE_SIZE);
    }
    for (u64 at = USER_STACK_TOP - USER_STACK_SIZE; at < USER_STACK_TOP; at += PAGE_SIZE)
        memset(reach(at, PAGE_SIZE, PG_W), 0, PAGE_SIZE);
}
