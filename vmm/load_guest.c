/* What both boot protocols share; called by vm_run.c when a VM starts or resets.  Pure. */
#include "vmm/load_guest.h"

#include <string.h>

#include "vmm/load_bzimage.h"
#include "vmm/load_pvh.h"

u32 load_guest_map(const struct guest_mem *m, struct load_region out[LOAD_REGIONS])
{
    u32 n = 0;
    out[n++] = (struct load_region){0, LOAD_LOW_RAM_END, LOAD_RAM};
    out[n++] =
        (struct load_region){LOAD_LOW_RAM_END, LOAD_LOWEST - LOAD_LOW_RAM_END, LOAD_RESERVED};
    for (u32 i = 0; i < m->count; i++) {
        u64 base = MAX(m->range[i].gpa, LOAD_LOWEST), end = m->range[i].gpa + m->range[i].len;
        if (end > base)
            out[n++] = (struct load_region){base, end - base, LOAD_RAM};
    }
    out[n++] = (struct load_region){0xfec00000, 0x01400000, LOAD_RESERVED};
    return n;
}

const char *load_guest_initrd(const struct load_request *r, u64 floor, u64 limit, u64 *at)
{
    *at = 0;
    if (!r->initrd || r->initrd_len == 0)
        return NULL;
    limit = MIN(limit, r->mem->range[0].gpa + r->mem->range[0].len);
    if (limit < floor || r->initrd_len > limit - floor)
        return "the initrd does not fit into memory behind the kernel";
    *at = ROUND_DOWN(limit - r->initrd_len, PAGE_SIZE);
    if (*at < floor || !guest_write(r->mem, GPA(*at), r->initrd, r->initrd_len))
        return "the initrd does not fit into memory behind the kernel";
    return NULL;
}

const char *load_guest_cmdline(const struct load_request *r, u32 max)
{
    u64 len = strlen(r->cmdline) + 1;
    if (len > LOAD_CMDLINE_MAX || len > (u64)max + 1)
        return "the command line is longer than the kernel takes";
    if (!guest_write(r->mem, GPA(LOAD_CMDLINE), r->cmdline, len))
        return "not enough memory for the command line";
    return NULL;
}

void load_guest_segments(struct vcpu_state *s, u32 code_access)
{
    const struct vcpu_segment data = {.selector = 0x18, .access = 0xc093, .limit = ~0u};
    for (u32 i = 0; i <= SEG_GS; i++)
        s->seg[i] = data;
    s->seg[SEG_CS] = (struct vcpu_segment){.selector = 0x10, .access = code_access, .limit = ~0u};
    s->seg[SEG_TR] = (struct vcpu_segment){.access = 0x8b, .limit = 0x67};
    s->seg[SEG_LDTR] = (struct vcpu_segment){.access = 0x10000};
    s->idtr_base = 0;
    s->idtr_limit = 0;
    s->rflags = 2;
    s->activity = VCPU_ACTIVE;
    s->interruptibility = 0;
}

const char *load_guest(const struct load_request *r, const struct load_result *out)
{
    if (r->kernel_len >= 4 && memcmp(r->kernel, "\177ELF", 4) == 0)
        return load_pvh(r, out);
    return load_bzimage(r, out);
}
