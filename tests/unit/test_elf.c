/* links: kernel/lib/elf.c */
/* The ELF reader: what it accepts, and each reason for which it refuses. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>

#include <cmocka.h>
#include <elf.h>

#include "kernel/lib/elf.h"

#define BASE 0xffffffff80000000ull
#define OWN_IMAGE (ELF_CHECK_WX | ELF_CHECK_PAGES)

struct file64 {
    Elf64_Ehdr header;
    Elf64_Phdr phdr[4];
    struct {
        Elf64_Nhdr header;
        char owner[4];
        u32 entry;
    } note;
    u8 contents[4096];
};

static struct file64 good64(void)
{
    struct file64 f = {
        .header = {.e_ident = {0x7f, 'E', 'L', 'F', ELFCLASS64, ELFDATA2LSB, EV_CURRENT},
                   .e_type = ET_EXEC,
                   .e_machine = EM_X86_64,
                   .e_version = EV_CURRENT,
                   .e_entry = BASE + 16,
                   .e_phoff = offsetof(struct file64, phdr),
                   .e_phentsize = sizeof(Elf64_Phdr),
                   .e_phnum = 3},
        .phdr = {{.p_type = PT_LOAD,
                  .p_flags = PF_R | PF_X,
                  .p_offset = offsetof(struct file64, contents),
                  .p_vaddr = BASE,
                  .p_paddr = 0x100000,
                  .p_filesz = 4096,
                  .p_memsz = 4096},
                 {.p_type = PT_LOAD,
                  .p_flags = PF_R | PF_W,
                  .p_offset = offsetof(struct file64, contents),
                  .p_vaddr = BASE + 4096,
                  .p_paddr = 0x101000,
                  .p_filesz = 100,
                  .p_memsz = 9000},
                 {.p_type = PT_NOTE,
                  .p_offset = offsetof(struct file64, note),
                  .p_filesz = sizeof(((struct file64 *)0)->note)}},
        .note = {.header = {4, 4, ELF_NOTE_XEN_PHYS32_ENTRY}, .owner = "Xen", .entry = 0x100080},
    };
    return f;
}

/* The verdict of both steps on a file. */
static const char *verdict(const struct file64 *f, u32 checks)
{
    struct elf e;
    u64 low, high;
    const char *why = elf_open(&e, f, sizeof(*f));

    return why ? why : elf_check(&e, checks, &low, &high);
}

static void accepts_good_image(void **state)
{
    (void)state;
    struct file64 f = good64();
    struct elf e;
    u64 low, high;

    assert_null(elf_open(&e, &f, sizeof(f)));
    assert_true(e.is64);
    assert_int_equal(e.entry, BASE + 16);
    assert_null(elf_check(&e, OWN_IMAGE, &low, &high));
    assert_true(low == BASE && high == BASE + 4096 + 9000);
    assert_null(elf_check(&e, ELF_CHECK_PADDR, &low, &high));
    assert_true(low == 0x100000 && high == 0x101000 + 9000);
}

static void reads_elf32(void **state)
{
    (void)state;
    struct {
        Elf32_Ehdr header;
        Elf32_Phdr phdr;
        u8 contents[64];
    } f = {
        .header = {.e_ident = {0x7f, 'E', 'L', 'F', ELFCLASS32, ELFDATA2LSB, EV_CURRENT},
                   .e_type = ET_EXEC,
                   .e_machine = EM_386,
                   .e_entry = 0x100000,
                   .e_phoff = sizeof(Elf32_Ehdr),
                   .e_phentsize = sizeof(Elf32_Phdr),
                   .e_phnum = 1},
        .phdr = {.p_type = PT_LOAD,
                 .p_flags = PF_R | PF_W | PF_X,
                 .p_offset = sizeof(Elf32_Ehdr) + sizeof(Elf32_Phdr),
                 .p_vaddr = 0x100000,
                 .p_paddr = 0x100000,
                 .p_filesz = 64,
                 .p_memsz = 128},
    };
    struct elf e;
    u64 low, high;

    assert_null(elf_open(&e, &f, sizeof(f)));
    assert_false(e.is64);
    assert_null(elf_check(&e, 0, &low, &high));
    assert_int_equal(elf_phdr(&e, 0).memsz, 128);
    assert_int_equal(high, 0x100080);
    f.phdr.p_vaddr = 0xffffffc0u;
    assert_non_null(elf_check(&e, 0, &low, &high));
}

static void finds_note(void **state)
{
    (void)state;
    struct file64 f = good64();
    struct elf e;
    u32 len = 0, entry = 0;

    assert_null(elf_open(&e, &f, sizeof(f)));
    const void *desc = elf_note(&e, ELF_NOTE_XEN, ELF_NOTE_XEN_PHYS32_ENTRY, &len);
    assert_non_null(desc);
    assert_int_equal(len, 4);
    memcpy(&entry, desc, 4);
    assert_int_equal(entry, 0x100080);
    assert_null(elf_note(&e, ELF_NOTE_XEN, 5, &len));
    assert_null(elf_note(&e, "GNU", ELF_NOTE_XEN_PHYS32_ENTRY, &len));
    f.note.header.n_descsz = 5;
    assert_null(elf_note(&e, ELF_NOTE_XEN, ELF_NOTE_XEN_PHYS32_ENTRY, &len));
    f.note.header.n_namesz = 0xffffffffu;
    assert_null(elf_note(&e, ELF_NOTE_XEN, ELF_NOTE_XEN_PHYS32_ENTRY, &len));
}

/* Each row breaks one 16-, 32- or 64-bit field of the good file. */
static const struct {
    size_t offset, size;
    u64 value;
    const char *why;
} refusals[] = {
#define FIELD(member) offsetof(struct file64, member), sizeof(((struct file64 *)0)->member)
    {FIELD(header.e_ident[1]), 'X', "it is not an ELF file"},
    {FIELD(header.e_ident[EI_CLASS]), 3, "its ELF class is neither 32 nor 64 bit"},
    {FIELD(header.e_ident[EI_DATA]), ELFDATA2MSB, "it is made for another processor"},
    {FIELD(header.e_machine), EM_AARCH64, "it is made for another processor"},
    {FIELD(header.e_type), ET_DYN, "it is not a static executable"},
    {FIELD(header.e_phnum), 0, "it has no program headers"},
    {FIELD(header.e_phnum), 65, "it has too many program headers"},
    {FIELD(header.e_phentsize), 55, "its program headers are too short"},
    {FIELD(header.e_phoff), ~0ull - 8, "its program headers lie outside the file"},
    {FIELD(header.e_phoff), sizeof(struct file64) - 56, "its program headers lie outside the file"},
    {FIELD(header.e_entry), BASE + 4096, "its entry point is not in executable memory"},
    {FIELD(phdr[0].p_offset), ~0ull, "a segment lies outside the file"},
    {FIELD(phdr[0].p_filesz), 4097, "a segment is larger in the file than in memory"},
    {FIELD(phdr[0].p_memsz), 4097, "two segments overlap"},
    {FIELD(phdr[0].p_memsz), ~0ull - 4096, "a segment wraps around the end of the address space"},
    {FIELD(phdr[0].p_vaddr), ~0ull, "a segment wraps around the end of the address space"},
    {FIELD(phdr[1].p_flags), PF_R | PF_W | PF_X, "a segment is both writable and executable"},
    {FIELD(phdr[1].p_vaddr), BASE + 8, "a segment does not start on a page boundary"},
    {FIELD(phdr[1].p_vaddr), BASE, "two segments overlap"},
    {FIELD(phdr[1].p_type), PT_INTERP, "it is not a static executable"},
#undef FIELD
};

static void refuses_with_reason(void **state)
{
    (void)state;
    for (size_t i = 0; i < ARRAY_LEN(refusals); i++) {
        struct file64 f = good64();
        memcpy((char *)&f + refusals[i].offset, &refusals[i].value, refusals[i].size);
        const char *why = verdict(&f, OWN_IMAGE);
        assert_non_null(why);
        assert_string_equal(why, refusals[i].why);
    }
}

static void refuses_nothing_to_load(void **state)
{
    (void)state;
    struct file64 f = good64();

    f.phdr[0].p_type = f.phdr[1].p_type = PT_NULL;
    assert_string_equal(verdict(&f, OWN_IMAGE), "it has nothing to load");
}

static void refuses_short_files(void **state)
{
    (void)state;
    struct file64 f = good64();
    struct elf e;

    for (u64 size = 0; size < offsetof(struct file64, phdr[3]); size++) {
        const char *why = elf_open(&e, &f, size);
        if (!why)
            fail_msg("accepted %llu bytes", (unsigned long long)size);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(accepts_good_image),
        cmocka_unit_test(reads_elf32),
        cmocka_unit_test(finds_note),
        cmocka_unit_test(refuses_with_reason),
        cmocka_unit_test(refuses_nothing_to_load),
        cmocka_unit_test(refuses_short_files),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
