/* The only door to a user pointer: through the page tables to the physmap, so that no address of
 * ring 3 is ever used as one and SMAP stays on.  On the core of the calling control thread. */
#include "kernel/user.h"

#include "kernel/mem.h"
#include "kernel/string.h"

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
