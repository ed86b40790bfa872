/* links: vmm/load_guest.c vmm/load_bzimage.c vmm/load_pvh.c vmm/load_multiboot.c vmm/load_multiboot_info.c vmm/guest_mem.c kernel/lib/elf.c */
/* Multiboot kernels: where things end up, what the kernel is told, and what is refused. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>
#include <elf.h>

#include "vmm/load_guest.h"

#define RAM (16 * MIB)
#define LOAD_AT 0x200000u
static u8 *ram;
static struct guest_mem mem;
static struct vcpu_state state;
static u64 regs[REG_COUNT];
static enum load_protocol protocol;

static int set_up(void **unused)
{
    (void)unused;
    ram = calloc(1, RAM);
    guest_mem_layout(&mem, ram, RAM);
    memset(&state, 0xff, sizeof(state));
    memset(regs, 0xff, sizeof(regs));
    memcpy(ram + 0xe0000, "RSD PTR ", 8);
    protocol = LOAD_AUTO;
    return ram ? 0 : -1;
}

static int tear_down(void **unused)
{
    (void)unused;
    free(ram);
    return 0;
}

static const char *load(const void *kernel, u64 len, const char *cmdline)
{
    static const u8 initrd[100] = {7};
    u8 *exact = malloc(len ? len : 1); /* so that a read beyond the file is seen */
    memcpy(exact, kernel, len);
    struct load_request r = {.mem = &mem,
                             .protocol = protocol,
                             .kernel_name = "guests/k.elf",
                             .initrd_name = "guests/module",
                             .kernel = exact,
                             .kernel_len = len,
                             .initrd = initrd,
                             .initrd_len = sizeof(initrd),
                             .cmdline = cmdline,
                             .rsdp = 0xe0000};
    const char *why = load_guest(&r, &(struct load_result){&state, regs});
    free(exact);
    return why;
}

static u64 at(u64 gpa, u32 bytes)
{
    u64 v = 0;
    memcpy(&v, ram + gpa, bytes);
    return v;
}

/* A flat image: some filling, a header of either version, code. */
struct flat {
    u8 before[16];
    u32 header[24];
    u8 code[400];
};
#define HEADER_AT offsetof(struct flat, header)
#define CODE_AT offsetof(struct flat, code)

static void sum1(struct flat *f)
{
    f->header[2] = -(f->header[0] + f->header[1]);
}

static void sum2(struct flat *f)
{
    f->header[3] = -(f->header[0] + f->header[1] + f->header[2]);
}

static struct flat flat1(void)
{
    struct flat f = {.header = {0x1badb002, 0x10003, 0, LOAD_AT + HEADER_AT, LOAD_AT,
                                LOAD_AT + sizeof(f), LOAD_AT + 0x3000, LOAD_AT + CODE_AT}};
    sum1(&f);
    memset(f.code, 0xaa, sizeof(f.code));
    return f;
}

static struct flat flat2(void)
{
    struct flat f = {.header = {0xe85250d6,
                                0,
                                22 * 4,
                                0,
                                /* request, required: memory and map */ 1,
                                16,
                                4,
                                6,
                                /* addresses */ 2,
                                24,
                                LOAD_AT + HEADER_AT,
                                LOAD_AT,
                                0,
                                LOAD_AT + 0x3000,
                                /* entry, padded */ 3,
                                12,
                                LOAD_AT + CODE_AT,
                                0,
                                /* framebuffer, optional */ 0x10005,
                                8,
                                /* end */ 0,
                                8}};
    sum2(&f);
    memset(f.code, 0xaa, sizeof(f.code));
    return f;
}

static void entered(u64 entry, u64 magic)
{
    assert_int_equal(state.rip, entry);
    assert_int_equal(regs[REG_RAX], magic);
    assert_int_equal(regs[REG_RBX], LOAD_BOOT_DATA);
    assert_int_equal(state.cr0 & 0x80000001, 1);
    assert_int_equal(state.seg[SEG_CS].access, 0xc09b);
    assert_int_equal(state.rflags & 0x20200, 0);
}

static void version1_is_placed(void **unused)
{
    struct flat f = flat1();
    (void)unused;
    memset(ram + LOAD_AT, 0xee, 0x4000);
    assert_null(load(&f, sizeof(f), "one two"));
    entered(LOAD_AT + CODE_AT, 0x2badb002);
    assert_memory_equal(ram + LOAD_AT, &f, sizeof(f));
    assert_int_equal(at(LOAD_AT + sizeof(f), 1), 0);
    assert_int_equal(at(LOAD_AT + 0x2fff, 1), 0);
    assert_int_equal(at(LOAD_AT + 0x3000, 1), 0xee);
    u64 info = LOAD_BOOT_DATA;
    assert_int_equal(at(info, 4), 0x24d); /* memory, command line, modules, map, name */
    assert_int_equal(at(info + 4, 4), 636);
    assert_int_equal(at(0x413, 2), 636);
    assert_int_equal(at(0x40e, 2), 0x9f00);
    assert_int_equal(at(info + 8, 4), RAM / KIB - 1024);
    assert_string_equal((char *)ram + at(info + 16, 4), "guests/k.elf one two");
    assert_int_equal(at(info + 20, 4), 1);
    u64 module = at(info + 24, 4), start = at(module, 4);
    assert_int_equal(start % PAGE_SIZE, 0);
    assert_int_equal(at(module + 4, 4), start + 100);
    assert_int_equal(ram[start], 7);
    assert_string_equal((char *)ram + at(module + 8, 4), "guests/module");
    assert_int_equal(at(info + 44, 4), 4 * 24);
    u64 map = at(info + 48, 4);
    assert_int_equal(at(map, 4), 20);
    assert_int_equal(at(map + 2 * 24 + 4, 8), MIB);
    assert_int_equal(at(map + 2 * 24 + 12, 8), RAM - MIB);
    assert_int_equal(at(map + 2 * 24 + 20, 4), 1);
    assert_string_equal((char *)ram + at(info + 64, 4), "Bulkhead");
}

/* The tag of that type; 0: none. */
static u64 tag(u32 type)
{
    u64 here = LOAD_BOOT_DATA + 8, end = LOAD_BOOT_DATA + at(LOAD_BOOT_DATA, 4);
    for (; here < end; here += ROUND_UP(at(here + 4, 4), 8)) {
        if (at(here, 4) == type)
            return here;
        assert_int_not_equal(at(here, 4), 0);
    }
    return 0;
}

static void version2_is_placed(void **unused)
{
    struct flat f = flat2();
    (void)unused;
    memset(ram + LOAD_AT, 0xee, 0x4000);
    assert_null(load(&f, sizeof(f), "one two"));
    entered(LOAD_AT + CODE_AT, 0x36d76289);
    assert_memory_equal(ram + LOAD_AT, &f, sizeof(f));
    assert_int_equal(at(LOAD_AT + 0x2fff, 1), 0);
    assert_int_equal(at(LOAD_AT + 0x3000, 1), 0xee);
    assert_int_equal(at(LOAD_BOOT_DATA + at(LOAD_BOOT_DATA, 4) - 8, 8), 8ull << 32);
    assert_string_equal((char *)ram + tag(1) + 8, "guests/k.elf one two");
    assert_string_equal((char *)ram + tag(2) + 8, "Bulkhead");
    assert_int_equal(at(tag(3) + 12, 4) - at(tag(3) + 8, 4), 100);
    assert_string_equal((char *)ram + tag(3) + 16, "guests/module");
    assert_int_equal(at(tag(4) + 12, 4), RAM / KIB - 1024);
    assert_int_equal(at(tag(6) + 4, 4), 16 + 4 * 24);
    assert_int_equal(at(tag(6) + 16 + 48, 8), MIB);
    assert_memory_equal(ram + tag(14) + 8, "RSD PTR ", 8);
    assert_int_equal(at(tag(15) + 4, 4), 8 + 36);
}

static void refused(const char *why, const struct flat *f)
{
    const char *got = load(f, sizeof(*f), "");
    assert_non_null(got);
    if (!strstr(got, why))
        fail_msg("\"%s\", not \"%s\"", got, why);
}

static void version1_refusals(void **unused)
{
    static const struct {
        u32 index, value;
        const char *why;
    } rows[] = {
        {1, 0x10007, "requires a video mode"},
        {1, 0x10013, "requires what version 1 does not name"},
        {1, 3, "not an ELF file"},
        {3, LOAD_AT + HEADER_AT + 4, "do not fit its place"},
        {3, LOAD_AT - 4, "do not fit its place"},
        {3, 0xffffffff, "do not fit its place"},
        {4, 0xf0000 - HEADER_AT, "do not fit its place"},
        {5, LOAD_AT + sizeof(struct flat) + 1, "more than the file has"},
        {5, LOAD_AT, "more than the file has"},
        {5, 4, "more than the file has"},
        {6, LOAD_AT + 4, "ends before it begins"},
        {6, RAM + 1, "does not fit"},
        {7, LOAD_AT - 1, "entry point lies outside"},
        {7, LOAD_AT + 0x3000, "entry point lies outside"},
    };
    (void)unused;
    for (u32 i = 0; i < ARRAY_LEN(rows); i++) {
        struct flat f = flat1();
        f.header[rows[i].index] = rows[i].value;
        sum1(&f);
        refused(rows[i].why, &f);
    }
    struct flat f = flat1();
    f.header[2]++;
    refused("checksum", &f);
    f = flat1();
    f.header[3] = 0x1000 + HEADER_AT;
    f.header[4] = 0x1000;
    f.header[5] = f.header[6] = 0;
    f.header[7] = 0x1000;
    refused("below 1 MiB", &f);
    f = flat1();
    for (u64 len = 0; len < HEADER_AT + 32; len++)
        assert_non_null(load(&f, len, ""));
    f.header[5] = f.header[6] = 0; /* all of the file, nothing zeroed */
    assert_null(load(&f, sizeof(f), ""));
}

static void version2_refusals(void **unused)
{
    static const struct {
        u32 index, value;
        const char *why;
    } rows[] = {
        {1, 4, "another processor"},
        {2, 21 * 4, "tag"},
        {2, 8, "does not end where it has to"},
        {2, 0xfffffff0, "does not end where it has to"},
        {2, 32776, "does not end where it has to"},
        {5, 4, "does not end where it has to"},
        {5, 0xfffffff8, "does not end where it has to"},
        {6, 7, "information that there is none of"},
        {6, 64, "information that there is none of"},
        {6, 0xffffffff, "information that there is none of"},
        {9, 16, "too short"},
        {15, 8, "too short"},
        {18, 5, "what a VM does not have"},
        {18, 7, "what a VM does not have"},
        {18, 77, "what a VM does not have"},
        {20, 0x10063, "no end tag"},
        {14, 0x10063, "no entry point"},
        {10, LOAD_AT - 4, "do not fit its place"},
    };
    (void)unused;
    for (u32 i = 0; i < ARRAY_LEN(rows); i++) {
        struct flat f = flat2();
        f.header[rows[i].index] = rows[i].value;
        sum2(&f);
        refused(rows[i].why, &f);
    }
    struct flat f = flat2();
    f.header[3]++;
    refused("checksum", &f);
    f = flat2();
    f.header[18] = 0x10004;
    f.header[19] = 8;
    sum2(&f);
    refused("too short", &f);
    f = flat2();
    for (u64 len = 0; len < HEADER_AT + 22 * 4; len++)
        assert_non_null(load(&f, len, ""));
}

struct elf_file {
    Elf64_Ehdr header;
    Elf64_Phdr phdr;
    u32 multiboot[3], pad;
    u8 contents[256];
};

static struct elf_file elf(void)
{
    struct elf_file f = {
        .header = {.e_ident = {0x7f, 'E', 'L', 'F', ELFCLASS64, ELFDATA2LSB, EV_CURRENT},
                   .e_type = ET_EXEC,
                   .e_machine = EM_X86_64,
                   .e_version = EV_CURRENT,
                   .e_entry = 0xffffffff80000010,
                   .e_phoff = offsetof(struct elf_file, phdr),
                   .e_ehsize = sizeof(Elf64_Ehdr),
                   .e_phentsize = sizeof(Elf64_Phdr),
                   .e_phnum = 1},
        .phdr = {.p_type = PT_LOAD,
                 .p_flags = PF_R | PF_W | PF_X,
                 .p_offset = offsetof(struct elf_file, contents),
                 .p_vaddr = 0xffffffff80000000,
                 .p_paddr = 0x300000,
                 .p_filesz = 256,
                 .p_memsz = 0x1000},
        .multiboot = {0x1badb002, 3, 0u - 0x1badb002 - 3},
    };
    memset(f.contents, 0x55, sizeof(f.contents));
    return f;
}

static void elf_is_entered_at_its_physical_address(void **unused)
{
    struct elf_file f = elf();
    (void)unused;
    assert_null(load(&f, sizeof(f), ""));
    entered(0x300010, 0x2badb002);
    assert_int_equal(at(0x3000ff, 1), 0x55);
    assert_int_equal(at(0x300100, 1), 0);
    assert_string_equal((char *)ram + LOAD_CMDLINE, "guests/k.elf");
    f.header.e_entry = 0x1000;
    assert_non_null(load(&f, sizeof(f), ""));
    f = elf();
    f.phdr.p_paddr = 0x80000;
    assert_string_equal(load(&f, sizeof(f), ""), "a segment lies below 1 MiB");
    f = elf();
    f.phdr.p_paddr = RAM;
    assert_non_null(load(&f, sizeof(f), ""));
}

static void the_protocol_can_be_named(void **unused)
{
    struct elf_file f = elf();
    (void)unused;
    protocol = LOAD_MULTIBOOT;
    assert_null(load(&f, sizeof(f), ""));
    protocol = LOAD_MULTIBOOT2;
    assert_string_equal(load(&f, sizeof(f), ""), "the file has no multiboot header");
    protocol = LOAD_PVH;
    assert_string_equal(load(&f, sizeof(f), ""), "the ELF file has no PVH entry note");
    protocol = LOAD_LINUX;
    assert_non_null(load(&f, sizeof(f), ""));
    protocol = LOAD_AUTO;
    f.multiboot[0] = 0;
    assert_string_equal(load(&f, sizeof(f), ""), "the ELF file has no PVH entry note");
}

static void a_long_command_line_is_refused(void **unused)
{
    char line[LOAD_CMDLINE_MAX];
    struct elf_file f = elf();
    struct flat g = flat2();
    (void)unused;
    memset(line, 'x', sizeof(line));
    line[sizeof(line) - 1] = 0;
    assert_non_null(load(&f, sizeof(f), line));
    assert_non_null(load(&g, sizeof(g), line));
    line[sizeof(line) - sizeof("guests/k.elf ")] = 0;
    assert_null(load(&f, sizeof(f), line));
    assert_null(load(&g, sizeof(g), line));
}

#define CASE(fn) cmocka_unit_test_setup_teardown(fn, set_up, tear_down)

int main(void)
{
    const struct CMUnitTest tests[] = {
        CASE(version1_is_placed),
        CASE(version2_is_placed),
        CASE(version1_refusals),
        CASE(version2_refusals),
        CASE(elf_is_entered_at_its_physical_address),
        CASE(the_protocol_can_be_named),
        CASE(a_long_command_line_is_refused),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
