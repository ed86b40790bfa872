/* ELF executables: headers, segment checks, notes.  Called by boot/ before there is a kernel and
 * by vmm/ for guest kernels; no state, any core. */
#include "kernel/lib/elf.h"

enum { EI_CLASS = 4, EI_DATA = 5, EI_VERSION = 6, EI_NIDENT = 16 };
enum { CLASS_32 = 1, CLASS_64 = 2, DATA_LSB = 1, VERSION_CURRENT = 1 };
enum { ET_EXEC = 2, EM_386 = 3, EM_X86_64 = 62 };

struct header64 {
    u8 ident[EI_NIDENT];
    u16 type, machine;
    u32 version;
    u64 entry, phoff, shoff;
    u32 flags;
    u16 ehsize, phentsize, phnum, shentsize, shnum, shstrndx;
};

struct header32 {
    u8 ident[EI_NIDENT];
    u16 type, machine;
    u32 version;
    u32 entry, phoff, shoff;
    u32 flags;
    u16 ehsize, phentsize, phnum, shentsize, shnum, shstrndx;
};

struct phdr64 {
    u32 type, flags;
    u64 offset, vaddr, paddr, filesz, memsz, align;
};

struct phdr32 {
    u32 type, offset, vaddr, paddr, filesz, memsz, flags, align;
};

struct note {
    u32 name_size, desc_size, type;
};

_Static_assert(sizeof(struct header64) == 64 && sizeof(struct header32) == 52, "gABI figure 4-3");
_Static_assert(sizeof(struct phdr64) == 56 && sizeof(struct phdr32) == 32, "gABI figure 5-1");

/* Is [offset, offset + len) inside the file? */
static bool in_file(const struct elf *e, u64 offset, u64 len)
{
    return offset <= e->size && len <= e->size - offset;
}

static const char *read_header64(struct elf *e, u16 *type, u16 *machine)
{
    struct header64 h;

    if (e->size < sizeof(h))
        return "the file is shorter than an ELF header";
    __builtin_memcpy(&h, e->data, sizeof(h));
    e->entry = h.entry;
    e->phdr_offset = h.phoff;
    e->phdr_count = h.phnum;
    e->phdr_size = h.phentsize;
    *type = h.type;
    *machine = h.machine;
    return NULL;
}

static const char *read_header32(struct elf *e, u16 *type, u16 *machine)
{
    struct header32 h;

    if (e->size < sizeof(h))
        return "the file is shorter than an ELF header";
    __builtin_memcpy(&h, e->data, sizeof(h));
    e->entry = h.entry;
    e->phdr_offset = h.phoff;
    e->phdr_count = h.phnum;
    e->phdr_size = h.phentsize;
    *type = h.type;
    *machine = h.machine;
    return NULL;
}

static const char *check_headers(const struct elf *e, u16 type, u16 machine)
{
    u32 phdr_size = e->is64 ? sizeof(struct phdr64) : sizeof(struct phdr32);

    if (machine != EM_X86_64 && machine != EM_386)
        return "it is made for another processor";
    if (e->is64 && machine != EM_X86_64)
        return "it is made for another processor";
    if (type != ET_EXEC)
        return "it is not a static executable";
    if (e->phdr_count == 0)
        return "it has no program headers";
    if (e->phdr_count > ELF_PHDR_MAX)
        return "it has too many program headers";
    if (e->phdr_size < phdr_size)
        return "its program headers are too short";
    if (!in_file(e, e->phdr_offset, (u64)e->phdr_count * e->phdr_size))
        return "its program headers lie outside the file";
    return NULL;
}

const char *elf_open(struct elf *out, const void *data, u64 size)
{
    struct elf e = {.data = data, .size = size};
    u16 type, machine;
    const char *why;

    if (size < EI_NIDENT || __builtin_memcmp(e.data, "\177ELF", 4) != 0)
        return "it is not an ELF file";
    if (e.data[EI_DATA] != DATA_LSB || e.data[EI_VERSION] != VERSION_CURRENT)
        return "it is made for another processor";
    if (e.data[EI_CLASS] != CLASS_32 && e.data[EI_CLASS] != CLASS_64)
        return "its ELF class is neither 32 nor 64 bit";
    e.is64 = e.data[EI_CLASS] == CLASS_64;
    why = e.is64 ? read_header64(&e, &type, &machine) : read_header32(&e, &type, &machine);
    if (!why)
        why = check_headers(&e, type, machine);
    if (!why)
        *out = e;
    return why;
}

struct elf_phdr elf_phdr(const struct elf *e, u32 i)
{
    const u8 *at = e->data + e->phdr_offset + (u64)i * e->phdr_size;

    if (e->is64) {
        struct phdr64 p;
        __builtin_memcpy(&p, at, sizeof(p));
        return (struct elf_phdr){p.type,  p.flags,  p.offset, p.vaddr,
                                 p.paddr, p.filesz, p.memsz,  p.align};
    }
    struct phdr32 p;
    __builtin_memcpy(&p, at, sizeof(p));
    return (struct elf_phdr){p.type,  p.flags,  p.offset, p.vaddr,
                             p.paddr, p.filesz, p.memsz,  p.align};
}

static u64 place(const struct elf_phdr *p, u32 checks)
{
    return checks & ELF_CHECK_PADDR ? p->paddr : p->vaddr;
}

static const char *check_segment(const struct elf *e, const struct elf_phdr *p, u32 checks)
{
    u64 at = place(p, checks);

    if (p->filesz > p->memsz)
        return "a segment is larger in the file than in memory";
    if (!in_file(e, p->offset, p->filesz))
        return "a segment lies outside the file";
    if (p->memsz > ~0ull - PAGE_SIZE || at > ~0ull - PAGE_SIZE - p->memsz)
        return "a segment wraps around the end of the address space";
    if (!e->is64 && at + p->memsz > 1ull << 32)
        return "a segment wraps around the end of the address space";
    if ((checks & ELF_CHECK_WX) && (p->flags & ELF_PF_W) && (p->flags & ELF_PF_X))
        return "a segment is both writable and executable";
    if ((checks & ELF_CHECK_PAGES) && at % PAGE_SIZE)
        return "a segment does not start on a page boundary";
    return NULL;
}

static bool overlaps_earlier(const struct elf *e, u32 index, u32 checks)
{
    struct elf_phdr p = elf_phdr(e, index);
    u64 grain = checks & ELF_CHECK_PAGES ? PAGE_SIZE : 1;
    u64 start = place(&p, checks), end = ROUND_UP(start + p.memsz, grain);

    for (u32 i = 0; i < index; i++) {
        struct elf_phdr q = elf_phdr(e, i);
        if (q.type != ELF_PT_LOAD || q.memsz == 0)
            continue;
        u64 other = place(&q, checks);
        if (start < ROUND_UP(other + q.memsz, grain) && other < end)
            return true;
    }
    return false;
}

const char *elf_check(const struct elf *e, u32 checks, u64 *low, u64 *high)
{
    bool entry_found = checks & ELF_CHECK_PADDR;

    *low = ~0ull;
    *high = 0;
    for (u32 i = 0; i < e->phdr_count; i++) {
        struct elf_phdr p = elf_phdr(e, i);
        if (p.type == ELF_PT_INTERP)
            return "it is not a static executable";
        if (p.type != ELF_PT_LOAD || p.memsz == 0)
            continue;
        const char *why = check_segment(e, &p, checks);
        if (why)
            return why;
        if (overlaps_earlier(e, i, checks))
            return "two segments overlap";
        u64 at = place(&p, checks);
        if ((p.flags & ELF_PF_X) && e->entry >= p.vaddr && e->entry - p.vaddr < p.memsz)
            entry_found = true;
        *low = MIN(*low, at);
        *high = MAX(*high, at + p.memsz);
    }
    if (*high == 0)
        return "it has nothing to load";
    if (!entry_found)
        return "its entry point is not in executable memory";
    return NULL;
}

/* Is the note's name, `size` bytes with its NUL, that owner? */
static bool is_owner(const u8 *name, u32 size, const char *owner)
{
    for (u32 i = 0; i < size && name[i] == (u8)owner[i]; i++)
        if (owner[i] == 0)
            return i + 1 == size;
    return false;
}

/* Walk the notes of one PT_NOTE segment, which lies inside the file. */
static const void *find_note(const u8 *at, u64 size, u64 align, const char *owner, u32 type,
                             u32 *len)
{
    while (size >= sizeof(struct note)) {
        struct note n;
        __builtin_memcpy(&n, at, sizeof(n));
        u64 desc = ROUND_UP(sizeof(n) + (u64)n.name_size, align);
        u64 next = ROUND_UP(desc + n.desc_size, align);
        if (desc > size || n.desc_size > size - desc)
            return NULL;
        if (n.type == type && is_owner(at + sizeof(n), n.name_size, owner)) {
            *len = n.desc_size;
            return at + desc;
        }
        if (next > size)
            return NULL;
        at += next;
        size -= next;
    }
    return NULL;
}

const void *elf_note(const struct elf *e, const char *owner, u32 type, u32 *len)
{
    for (u32 i = 0; i < e->phdr_count; i++) {
        struct elf_phdr p = elf_phdr(e, i);
        if (p.type != ELF_PT_NOTE || !in_file(e, p.offset, p.filesz))
            continue;
        const void *found =
            find_note(e->data + p.offset, p.filesz, p.align == 8 ? 8 : 4, owner, type, len);
        if (found)
            return found;
    }
    return NULL;
}
