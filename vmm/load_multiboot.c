/* Loads a multiboot kernel; called by load_guest.c.  Pure.  Sections are those of the Multiboot
 * Specification 0.6.96 ("1:") and of Multiboot2 2.0 ("2:"). */
#include "vmm/load_multiboot.h"

#include <string.h>

#include "kernel/lib/elf.h"
#include "vmm/load_multiboot_info.h"

/* 1: 3.1.1, 2: 3.1.1 */
static const struct {
    u32 magic, search, alignment, size, entry_magic;
} versions[] = {
    [1] = {0x1badb002, 8192, 4, 12, 0x2badb002},
    [2] = {0xe85250d6, 32768, 8, 16, 0x36d76289},
};

/* 1: 3.1.2 */
enum {
    FLAG_PAGE_ALIGN = BIT(0),
    FLAG_MEMORY = BIT(1),
    FLAG_VIDEO = BIT(2),
    FLAG_ADDRESSES = BIT(16),
    FLAGS_REQUIRED = 0xffff,
};

/* 2: 3.1.3 and following */
enum tag_type {
    TAG_END,
    TAG_REQUEST,
    TAG_ADDRESS,
    TAG_ENTRY,
    TAG_CONSOLE,
    TAG_FRAMEBUFFER,
    TAG_MODULE_ALIGN,
    TAG_OPTIONAL = 1, /* of its flags */
};
enum { ARCHITECTURE_I386 = 0, CONSOLE_REQUIRED = 1 };

struct image {  /* what the header asks for, all copied */
    u64 header; /* offset in the file */
    bool has_addresses, has_entry;
    u64 header_addr, load_addr, load_end, bss_end, entry;
};

static u32 get32(const struct load_request *r, u64 offset)
{
    u32 v;
    memcpy(&v, r->kernel + offset, sizeof(v));
    return v;
}

static u32 get16(const struct load_request *r, u64 offset)
{
    return get32(r, offset) & 0xffff;
}

/* Offset of the first header whose words add up to zero; without one, of the first that has the
 * magic number, and *good is false; ~0: there is none. */
static u64 find_header(const struct load_request *r, u32 version, bool *good)
{
    u64 first = ~0ull, size = versions[version].size;
    *good = false;
    for (u64 at = 0; at + size <= MIN(r->kernel_len, versions[version].search);
         at += versions[version].alignment) {
        u32 sum = 0;
        if (get32(r, at) != versions[version].magic)
            continue;
        for (u64 word = 0; word < size; word += 4)
            sum += get32(r, at + word);
        *good = sum == 0;
        if (*good)
            return at;
        first = MIN(first, at);
    }
    return first;
}

bool load_multiboot_is(const struct load_request *r, u32 version)
{
    bool good;
    return find_header(r, version, &good) != ~0ull;
}

static const char *read_header1(const struct load_request *r, struct image *m)
{
    u32 flags = get32(r, m->header + 4);
    if (flags & FLAG_VIDEO)
        return "the multiboot header requires a video mode, and a VM has no screen";
    if (flags & FLAGS_REQUIRED & ~(FLAG_PAGE_ALIGN | FLAG_MEMORY))
        return "the multiboot header requires what version 1 does not name";
    if (!(flags & FLAG_ADDRESSES))
        return NULL;
    if (r->kernel_len - m->header < 32)
        return "the multiboot header is cut off";
    m->has_addresses = m->has_entry = true;
    m->header_addr = get32(r, m->header + 12);
    m->load_addr = get32(r, m->header + 16);
    m->load_end = get32(r, m->header + 20);
    m->bss_end = get32(r, m->header + 24);
    m->entry = get32(r, m->header + 28);
    return NULL;
}

static const char *read_request(const struct load_request *r, u64 at, u32 size)
{
    for (u32 i = 8; i + 4 <= size; i += 4) {
        u32 type = get32(r, at + i);
        if (type >= 64 || !(load_multiboot_info_tags >> type & 1))
            return "the multiboot2 header requires information that there is none of";
    }
    return NULL;
}

static const char *read_tag(const struct load_request *r, u64 at, u32 size, struct image *m)
{
    bool optional = get16(r, at + 2) & TAG_OPTIONAL;
    switch (get16(r, at)) {
    case TAG_REQUEST:
        return optional ? NULL : read_request(r, at, size);
    case TAG_ADDRESS:
        if (size < 24)
            return "a tag of the multiboot2 header is too short";
        m->has_addresses = true;
        m->header_addr = get32(r, at + 8);
        m->load_addr = get32(r, at + 12);
        m->load_end = get32(r, at + 16);
        m->bss_end = get32(r, at + 20);
        return NULL;
    case TAG_ENTRY:
        if (size < 12)
            return "a tag of the multiboot2 header is too short";
        m->has_entry = true;
        m->entry = get32(r, at + 8);
        return NULL;
    case TAG_CONSOLE:
        if (size < 12)
            return "a tag of the multiboot2 header is too short";
        if (!optional && get32(r, at + 8) & CONSOLE_REQUIRED)
            return "the multiboot2 header requires a screen, and a VM has none";
        return NULL;
    case TAG_MODULE_ALIGN:
        return NULL;
    default:
        return optional ? NULL : "the multiboot2 header requires what a VM does not have";
    }
}

static const char *read_header2(const struct load_request *r, struct image *m)
{
    u64 at = m->header + 16, end = m->header + get32(r, m->header + 8);
    if (get32(r, m->header + 4) != ARCHITECTURE_I386)
        return "the multiboot2 header is for another processor";
    if (end < at || end > MIN(r->kernel_len, versions[2].search))
        return "the multiboot2 header does not end where it has to";
    for (;;) {
        if (at + 8 > end)
            return "the multiboot2 header has no end tag";
        u32 size = get32(r, at + 4);
        if (get16(r, at) == TAG_END)
            return NULL;
        if (size < 8 || size > end - at)
            return "a tag of the multiboot2 header does not end where it has to";
        const char *why = read_tag(r, at, size, m);
        if (why)
            return why;
        at += ROUND_UP((u64)size, 8);
    }
}

/* One piece of the file, by the addresses of the header (1: 3.1.3). */
static const char *place_flat(const struct load_request *r, struct image *m, u64 *high)
{
    u64 before = m->header_addr - m->load_addr, offset = m->header - before;
    if (m->header_addr < m->load_addr || before > m->header)
        return "the multiboot header's addresses do not fit its place in the file";
    u64 in_file = r->kernel_len - offset;
    u64 end = m->load_end ? m->load_end : m->load_addr + in_file;
    if (end <= m->load_addr || end - m->load_addr > in_file)
        return "the multiboot header names more than the file has";
    if (m->bss_end && m->bss_end < end)
        return "the multiboot header's zeroed part ends before it begins";
    if (m->load_addr < LOAD_LOWEST)
        return "the multiboot header wants the kernel below 1 MiB";
    *high = MAX(end, m->bss_end);
    if (!m->has_entry)
        return "the multiboot header names no entry point";
    if (m->entry < m->load_addr || m->entry >= *high)
        return "the multiboot header's entry point lies outside the kernel";
    if (!guest_write(r->mem, GPA(m->load_addr), r->kernel + offset, end - m->load_addr) ||
        (*high > end && !guest_zero(r->mem, GPA(end), *high - end)))
        return "the kernel does not fit into the VM's memory";
    return NULL;
}

/* The entry point is a linear address in the file and a physical one when it is entered. */
static const char *elf_entry(const struct elf *e, u64 *entry)
{
    for (u32 i = 0; i < e->phdr_count; i++) {
        struct elf_phdr p = elf_phdr(e, i);
        if (p.type == ELF_PT_LOAD && e->entry >= p.vaddr && e->entry - p.vaddr < p.memsz) {
            *entry = p.paddr + (e->entry - p.vaddr);
            return NULL;
        }
    }
    return "the entry point lies outside the kernel";
}

static const char *place_elf(const struct load_request *r, struct image *m, u64 *high)
{
    struct elf e;
    u64 low = 0;
    const char *why = elf_open(&e, r->kernel, r->kernel_len);
    if (!why)
        why = elf_check(&e, ELF_CHECK_PADDR, &low, high);
    if (!why && low < LOAD_LOWEST)
        why = "a segment lies below 1 MiB";
    if (!why && !m->has_entry)
        why = elf_entry(&e, &m->entry);
    if (!why && (m->entry < low || m->entry >= *high || m->entry >= 4 * GIB))
        why = "the entry point lies outside the kernel";
    return why ? why : load_guest_elf(r, &e);
}

const char *load_multiboot(const struct load_request *r, u32 version, const struct load_result *out)
{
    bool good;
    u64 initrd, high;
    struct image m = {.header = find_header(r, version, &good)};
    if (m.header == ~0ull)
        return "the file has no multiboot header";
    if (!good)
        return "the multiboot header's checksum is wrong";
    const char *why = version == 1 ? read_header1(r, &m) : read_header2(r, &m);
    if (!why)
        why = m.has_addresses ? place_flat(r, &m, &high) : place_elf(r, &m, &high);
    if (!why)
        why = load_guest_initrd(r, high, 4 * GIB, &initrd);
    if (!why)
        why = load_multiboot_info(r, version, initrd);
    if (why)
        return why;
    load_guest_protected_mode(out, m.entry, LOAD_BOOT_DATA);
    out->regs[REG_RAX] = versions[version].entry_magic;
    return NULL;
}
