/* links: vmm/load_guest.c vmm/load_bzimage.c vmm/load_pvh.c vmm/load_multiboot.c vmm/load_multiboot_info.c vmm/guest_mem.c kernel/lib/elf.c */
/* The loaders of guest kernels: where things end up, entry states, and what is refused. */
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

#define RAM (64 * MIB)
static u8 *ram;
static struct guest_mem mem;
static struct vcpu_state state;
static u64 regs[REG_COUNT];

static int set_up(void **unused)
{
    (void)unused;
    ram = calloc(1, RAM);
    guest_mem_layout(&mem, ram, RAM);
    memset(&state, 0xff, sizeof(state));
    memset(regs, 0xff, sizeof(regs));
    return ram ? 0 : -1;
}

static int tear_down(void **unused)
{
    (void)unused;
    free(ram);
    return 0;
}

static const char *load(const void *kernel, u64 len, const void *initrd, u64 initrd_len,
                        const char *cmdline)
{
    struct load_request r = {.mem = &mem,
                             .kernel_name = "k",
                             .initrd_name = "i",
                             .kernel = kernel,
                             .kernel_len = len,
                             .initrd = initrd,
                             .initrd_len = initrd_len,
                             .cmdline = cmdline,
                             .rsdp = 0xe0000};
    return load_guest(&r, &(struct load_result){&state, regs});
}

static u64 at(u64 gpa, u32 bytes)
{
    u64 v = 0;
    memcpy(&v, ram + gpa, bytes);
    return v;
}

/* A bzImage of two setup sectors and a 4 KiB body. */
static u8 image[3 * 512 + 4096];

static void set(u32 offset, u64 value, u32 bytes)
{
    memcpy(image + offset, &value, bytes);
}

static void make_bzimage(void)
{
    memset(image, 0x90, sizeof(image));
    memset(image, 0, 3 * 512);
    image[0x1f1] = 2;
    set(0x1fe, 0xaa55, 2);
    set(0x200, 0x6aeb, 2); /* jump over the header: it ends at 26ch */
    memcpy(image + 0x202, "HdrS", 4);
    set(0x206, 0x20f, 2);
    set(0x211, 1, 1);
    set(0x22c, 0x7fffffff, 4);
    set(0x230, 0x200000, 4);
    set(0x234, 1, 1);
    set(0x236, 1, 2);
    set(0x238, 255, 4);
    set(0x258, 0x1000000, 8);
    set(0x260, 0x800000, 4);
    set(0x250, 0xdeadbeef, 8); /* setup_data: must not survive */
}

static void bzimage_is_placed(void **unused)
{
    static const u8 initrd[5000] = {7};
    (void)unused;
    make_bzimage();
    assert_null(load(image, sizeof(image), initrd, sizeof(initrd), "console=ttyS0 quiet"));
    assert_int_equal(state.rip, 0x1000200);
    assert_memory_equal(ram + 0x1000000, image + 3 * 512, 4096);
    assert_int_equal(regs[REG_RSI], LOAD_BOOT_DATA);
    u64 zp = LOAD_BOOT_DATA;
    assert_int_equal(at(zp + 0x202, 4), 0x53726448);
    assert_int_equal(at(zp + 0x70, 8), 0xe0000);
    assert_int_equal(at(zp + 0x250, 8), 0);
    assert_string_equal((char *)ram + at(zp + 0x228, 4), "console=ttyS0 quiet");
    u64 rd = at(zp + 0x218, 4);
    assert_int_equal(at(zp + 0x21c, 4), sizeof(initrd));
    assert_int_equal(rd % PAGE_SIZE, 0);
    assert_true(rd >= 0x1800000 && rd + sizeof(initrd) <= RAM);
    assert_int_equal(ram[rd], 7);
    /* E820: RAM, hole, RAM up to the top. */
    assert_int_equal(at(zp + 0x1e8, 1), 4);
    assert_int_equal(at(zp + 0x2d0 + 40, 8), LOAD_LOWEST);
    assert_int_equal(at(zp + 0x2d0 + 48, 8), RAM - LOAD_LOWEST);
}

static void bzimage_enters_long_mode(void **unused)
{
    (void)unused;
    make_bzimage();
    assert_null(load(image, sizeof(image), NULL, 0, ""));
    assert_int_equal(state.cr0 & 0x80000001, 0x80000001);
    assert_int_equal(state.cr4 & 0x20, 0x20);
    assert_int_equal(state.efer, 0x500);
    assert_int_equal(state.rflags, 2);
    assert_int_equal(state.seg[SEG_CS].selector, 0x10);
    assert_int_equal(state.seg[SEG_CS].access & 0x2000, 0x2000);
    assert_int_equal(state.seg[SEG_DS].selector, 0x18);
    assert_int_equal(state.seg[SEG_TR].access, 0x8b);
    /* The page tables map the lowest 4 GiB one-to-one. */
    for (u64 gpa = 0; gpa < 4 * GIB; gpa += 511 * PAGE_2M + 12345) {
        u64 pml4 = at(state.cr3 + gpa / (512 * GIB) * 8, 8);
        u64 pdpt = at((pml4 & ~0xfffull) + gpa / GIB % 512 * 8, 8);
        u64 pd = at((pdpt & ~0xfffull) + gpa / PAGE_2M % 512 * 8, 8);
        assert_int_equal(pd, (gpa & ~(PAGE_2M - 1)) | 0x83);
    }
}

static void bzimage_moves_if_it_must(void **unused)
{
    (void)unused;
    make_bzimage();
    set(0x258, 0x10000000, 8); /* prefers 256 MiB; there are 64 */
    assert_null(load(image, sizeof(image), NULL, 0, ""));
    assert_int_equal(state.rip, 0x200200);
    set(0x234, 0, 1); /* not relocatable */
    assert_non_null(load(image, sizeof(image), NULL, 0, ""));
}

static void bzimage_refusals(void **unused)
{
    static u8 initrd[1];
    char long_line[600];
    (void)unused;
    memset(long_line, 'x', sizeof(long_line));
    long_line[599] = 0;
    make_bzimage();
    for (u64 len = 0; len < 3 * 512 + 0x200; len += 37)
        assert_non_null(load(image, len, NULL, 0, ""));
    assert_non_null(load(image, sizeof(image), NULL, 0, long_line));
    assert_non_null(load(image, sizeof(image), initrd, 60 * MIB, ""));
    assert_non_null(load(image, sizeof(image), initrd, ~0ull, ""));
    set(0x260, 0xffffffff, 4); /* needs 4 GiB */
    assert_non_null(load(image, sizeof(image), NULL, 0, ""));
    make_bzimage();
    set(0x230, 0x300000, 4);
    assert_non_null(load(image, sizeof(image), NULL, 0, ""));
    make_bzimage();
    set(0x236, 0, 2);
    assert_non_null(load(image, sizeof(image), NULL, 0, ""));
    make_bzimage();
    set(0x206, 0x20b, 2);
    assert_non_null(load(image, sizeof(image), NULL, 0, ""));
    make_bzimage();
    set(0x258, ~0ull, 8);
    assert_null(load(image, sizeof(image), NULL, 0, "")); /* relocated */
}

struct pvh_file {
    Elf32_Ehdr header;
    Elf32_Phdr phdr[2];
    struct {
        Elf32_Nhdr header;
        char owner[4];
        u32 entry;
    } note;
    u8 contents[256];
};

static struct pvh_file pvh(void)
{
    struct pvh_file f = {
        .header = {.e_ident = {0x7f, 'E', 'L', 'F', ELFCLASS32, ELFDATA2LSB, EV_CURRENT},
                   .e_type = ET_EXEC,
                   .e_machine = EM_386,
                   .e_version = EV_CURRENT,
                   .e_entry = 0x100000,
                   .e_phoff = offsetof(struct pvh_file, phdr),
                   .e_ehsize = sizeof(Elf32_Ehdr),
                   .e_phentsize = sizeof(Elf32_Phdr),
                   .e_phnum = 2},
        .phdr = {{.p_type = PT_LOAD,
                  .p_flags = PF_R | PF_W | PF_X,
                  .p_offset = offsetof(struct pvh_file, contents),
                  .p_vaddr = 0x100000,
                  .p_paddr = 0x100000,
                  .p_filesz = 256,
                  .p_memsz = 0x2000},
                 {.p_type = PT_NOTE,
                  .p_offset = offsetof(struct pvh_file, note),
                  .p_filesz = sizeof(((struct pvh_file *)0)->note),
                  .p_memsz = sizeof(((struct pvh_file *)0)->note)}},
        .note = {{4, 4, 18}, "Xen", 0x100010},
    };
    memset(f.contents, 0xaa, sizeof(f.contents));
    return f;
}

static void pvh_is_placed(void **unused)
{
    static const u8 initrd[10] = {3};
    struct pvh_file f = pvh();
    (void)unused;
    memset(ram + 0x100000, 0xee, 0x3000);
    assert_null(load(&f, sizeof(f), initrd, sizeof(initrd), "hello"));
    assert_int_equal(state.rip, 0x100010);
    assert_int_equal(state.cr0 & 0x80000001, 1);
    assert_int_equal(state.seg[SEG_CS].access, 0xc09b);
    assert_int_equal(at(0x100000, 1), 0xaa);
    assert_int_equal(at(0x100100, 1), 0);
    assert_int_equal(at(0x101fff, 1), 0);
    assert_int_equal(at(0x102000, 1), 0xee);
    u64 si = regs[REG_RBX];
    assert_int_equal(at(si, 4), 0x336ec578);
    assert_int_equal(at(si + 12, 4), 1);
    u64 module = at(si + 16, 8);
    assert_int_equal(ram[at(module, 8)], 3);
    assert_int_equal(at(module + 8, 8), 10);
    assert_string_equal((char *)ram + at(si + 24, 8), "hello");
    assert_int_equal(at(si + 32, 8), 0xe0000);
    assert_int_equal(at(si + 48, 4), 4);
    assert_int_equal(at(at(si + 40, 8) + 16, 4), LOAD_RAM);
}

static void pvh_refusals(void **unused)
{
    struct pvh_file f = pvh();
    (void)unused;
    f.note.entry = 0x102000;
    assert_non_null(load(&f, sizeof(f), NULL, 0, ""));
    f = pvh();
    f.phdr[0].p_paddr = 0x1000;
    assert_non_null(load(&f, sizeof(f), NULL, 0, ""));
    f = pvh();
    f.phdr[0].p_paddr = RAM - 0x1000;
    f.note.entry = RAM - 0x1000;
    assert_non_null(load(&f, sizeof(f), NULL, 0, ""));
    f = pvh();
    f.phdr[1].p_type = PT_NULL;
    assert_non_null(load(&f, sizeof(f), NULL, 0, ""));
    for (u64 len = 0; len < sizeof(f); len += 5)
        assert_non_null(load(&f, len, NULL, 0, ""));
}

static void map_has_both_parts(void **unused)
{
    struct load_region r[LOAD_REGIONS];
    struct guest_mem big;
    (void)unused;
    guest_mem_layout(&big, NULL, 6 * GIB);
    assert_int_equal(load_guest_map(&big, r), 5);
    assert_int_equal(r[2].len, GUEST_LOW_END - LOAD_LOWEST);
    assert_int_equal(r[3].base, 4 * GIB);
    assert_int_equal(r[3].len, 3 * GIB);
    assert_null(guest_ptr(&big, GPA(GUEST_LOW_END - 1), 2));
    assert_null(guest_ptr(&big, GPA(~0ull), 2));
    assert_null(guest_ptr(&big, GPA(4 * GIB), ~0ull));
    assert_null(guest_ptr(&big, GPA(0), 0));
}

#define CASE(fn) cmocka_unit_test_setup_teardown(fn, set_up, tear_down)

int main(void)
{
    const struct CMUnitTest tests[] = {
        CASE(bzimage_is_placed),
        CASE(bzimage_enters_long_mode),
        CASE(bzimage_moves_if_it_must),
        CASE(bzimage_refusals),
        CASE(pvh_is_placed),
        CASE(pvh_refusals),
        CASE(map_has_both_parts),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
