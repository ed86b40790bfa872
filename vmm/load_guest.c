/* What the boot protocols share; called by vm_boot.c when a VM starts or resets.  Pure. */
#include "vmm/load_guest.h"

#include <string.h>

#include "vmm/load_bzimage.h"
#include "vmm/load_multiboot.h"
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

const char *load_guest_elf(const struct load_request *r, const struct elf *e)
{
    for (u32 i = 0; i < e->phdr_count; i++) {
        struct elf_phdr p = elf_phdr(e, i);
        if (p.type != ELF_PT_LOAD || p.memsz == 0)
            continue;
        if (p.filesz && !guest_write(r->mem, GPA(p.paddr), r->kernel + p.offset, p.filesz))
            return "a segment does not lie in the VM's memory";
        if (p.memsz > p.filesz && !guest_zero(r->mem, GPA(p.paddr + p.filesz), p.memsz - p.filesz))
            return "a segment does not lie in the VM's memory";
    }
    return NULL;
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

void load_guest_protected_mode(const struct load_result *out, u64 entry, u64 boot_data)
{
    struct vcpu_state *s = out->state;
    load_guest_segments(s, 0xc09b);
    s->gdtr_base = 0;
    s->gdtr_limit = 0;
    s->cr0 = 0x31; /* NE, ET, PE */
    s->cr3 = 0;
    s->cr4 = 0;
    s->efer = 0;
    s->rip = entry;
    memset(out->regs, 0, REG_COUNT * sizeof(out->regs[0]));
    out->regs[REG_RBX] = boot_data;
}

static enum load_protocol protocol_of(const struct load_request *r)
{
    bool elf = r->kernel_len >= 4 && memcmp(r->kernel, "\177ELF", 4) == 0;
    if (elf && load_pvh_is(r))
        return LOAD_PVH;
    if (!elf && load_bzimage_is(r))
        return LOAD_LINUX;
    if (load_multiboot_is(r, 2))
        return LOAD_MULTIBOOT2;
    if (load_multiboot_is(r, 1))
        return LOAD_MULTIBOOT;
    return elf ? LOAD_PVH : LOAD_LINUX; /* which say what is missing */
}

/* What a BIOS leaves in its data area and kernels look at to place their start-up code for other
 * CPUs (IBM PS/2 and PC BIOS Interface Technical Reference, section 3): COM1, the segment of the
 * extended data area, and the KiB of memory below it. */
static bool write_bios_data(const struct guest_mem *m)
{
    static const u16 com1 = 0x3f8, segment = LOAD_LOW_RAM_END >> 4, kib = LOAD_LOW_RAM_END / KIB;
    return guest_write(m, GPA(0x400), &com1, 2) && guest_write(m, GPA(0x40e), &segment, 2) &&
           guest_write(m, GPA(0x413), &kib, 2);
}

/* There is no BIOS: each of its services answers that it failed, by the carry flag of who called.
 * Kernels that start in real mode ask some all the same.  The place is where a PC's BIOS has the
 * handler of vectors it does not use. */
static bool write_bios_calls(const struct guest_mem *m)
{
    static const u8 fail[] = {0x55,                   /* push %bp */
                              0x89, 0xe5,             /* mov %sp, %bp */
                              0x80, 0x4e, 0x06, 0x01, /* orb $1, 6(%bp) */
                              0x5d,                   /* pop %bp */
                              0xcf};                  /* iret */
    u32 vectors[256];
    for (u32 i = 0; i < ARRAY_LEN(vectors); i++)
        vectors[i] = 0xf000ff53; /* segment F000H, offset FF53H */
    return guest_write(m, GPA(0xfff53), fail, sizeof(fail)) &&
           guest_write(m, GPA(0), vectors, sizeof(vectors));
}

const char *load_guest(const struct load_request *r, const struct load_result *out)
{
    if (!write_bios_data(r->mem) || !write_bios_calls(r->mem))
        return "not enough memory for the BIOS data area";
    switch (r->protocol == LOAD_AUTO ? protocol_of(r) : r->protocol) {
    case LOAD_PVH:
        return load_pvh(r, out);
    case LOAD_MULTIBOOT:
        return load_multiboot(r, 1, out);
    case LOAD_MULTIBOOT2:
        return load_multiboot(r, 2, out);
    default:
        return load_bzimage(r, out);
    }
}
