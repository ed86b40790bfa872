/* Boots \bulkhead\vmlinuz with initrd.img and cmdline.txt on the bare machine, as
 * vmm/load_bzimage.c boots it in a guest: `make bench` compares the two.  A UEFI application in the
 * loader's place; it enters the kernel at its 64-bit entry point (boot.rst of Linux) and adds
 * "bare_entry=TSC" to the command line. */
#include <efi.h>
#include <efilib.h>

#include "boot/console.h"
#include "boot/files.h"
#include "boot/memory.h"

/* Setup header and zero page (boot.rst, zero-page.rst). */
enum {
    HDR_START = 0x1f1,
    HDR_LENGTH = 0x201,
    HDR_MAGIC = 0x202,
    HDR_LOADER = 0x210,
    HDR_RAMDISK = 0x218,
    HDR_RAMDISK_SIZE = 0x21c,
    HDR_CMDLINE = 0x228,
    HDR_PREF_ADDRESS = 0x258,
    HDR_INIT_SIZE = 0x260,
    ENTRY_64 = 0x200,
    ZP_E820_ENTRIES = 0x1e8,
    ZP_E820_TABLE = 0x2d0,
    ZP_E820_MAX = 128,
};
enum { E820_RAM = 1, E820_RESERVED = 2 };

static struct {
    u8 *kernel, *initrd, *zero_page;
    char *cmdline;
    u64 kernel_len, initrd_len, cmdline_len, at;
} s;

static u64 get(const u8 *base, u32 at, u32 bytes)
{
    u64 v = 0;

    __builtin_memcpy(&v, base + at, bytes);
    return v;
}

static void set(u32 at, u64 value, u32 bytes)
{
    __builtin_memcpy(s.zero_page + at, &value, bytes);
}

static u64 tsc(void)
{
    u32 low, high;

    asm volatile("rdtsc" : "=a"(low), "=d"(high));
    return (u64)high << 32 | low;
}

static bool read_files(void)
{
    void *text;

    if (files_read("vmlinuz", BOOT_MEM_LOADER, (void **)&s.kernel, &s.kernel_len) != FILES_OK ||
        files_read("initrd.img", BOOT_MEM_LOADER, (void **)&s.initrd, &s.initrd_len) != FILES_OK ||
        files_read("cmdline.txt", BOOT_MEM_LOADER, &text, &s.cmdline_len) != FILES_OK)
        return false;
    s.cmdline = memory_alloc(PAGE_SIZE, BOOT_MEM_LOADER, false);
    s.zero_page = memory_alloc(PAGE_SIZE, BOOT_MEM_LOADER, false);
    if (!s.cmdline || !s.zero_page || s.cmdline_len > PAGE_SIZE / 2)
        return false;
    __builtin_memcpy(s.cmdline, text, s.cmdline_len);
    return true;
}

/* The kernel's protected-mode part at its preferred address, where the firmware was.  What the
 * loader allocated lies at the top of memory. */
static bool place_kernel(const struct boot_info *bi)
{
    u64 setup = (s.kernel[HDR_START] + 1) * 512u, end, len = s.kernel_len - setup;
    const void *from = s.kernel + setup;

    s.at = get(s.kernel, HDR_PREF_ADDRESS, 8);
    end = s.at + get(s.kernel, HDR_INIT_SIZE, 4);
    for (u32 i = 0; i < bi->region_count; i++) {
        const struct boot_region *r = &bi->regions[i];
        if (r->base < end && r->base + r->len > s.at && r->type != BOOT_MEM_FREE)
            return false;
    }
    void *to = (void *)s.at;
    asm volatile("rep movsb" : "+D"(to), "+S"(from), "+c"(len) : : "memory");
    return true;
}

static void write_zero_page(const struct boot_info *bi)
{
    u32 count = 0;

    __builtin_memcpy(s.zero_page + HDR_START, s.kernel + HDR_START,
                     HDR_MAGIC + s.kernel[HDR_LENGTH] - HDR_START);
    s.zero_page[HDR_LOADER] = 0xff;
    set(HDR_CMDLINE, (u64)s.cmdline, 4);
    set(HDR_RAMDISK, (u64)s.initrd, 4);
    set(HDR_RAMDISK_SIZE, s.initrd_len, 4);
    for (u32 i = 0; i < bi->region_count && count < ZP_E820_MAX; i++) {
        const struct boot_region *r = &bi->regions[i];
        u32 at = ZP_E820_TABLE + 20 * count++;
        set(at, r->base, 8);
        set(at + 8, r->len, 8);
        set(at + 16, r->type <= BOOT_MEM_LOADER ? E820_RAM : E820_RESERVED, 4);
    }
    s.zero_page[ZP_E820_ENTRIES] = (u8)count;
}

/* " bare_entry=N" at the end of the command line. */
static void add_entry(u64 now)
{
    static const char key[] = " bare_entry=";
    char digits[20], *to = s.cmdline + s.cmdline_len;
    u32 n = 0;

    while (to > s.cmdline && to[-1] == '\n')
        to--;
    __builtin_memcpy(to, key, sizeof(key) - 1);
    to += sizeof(key) - 1;
    for (; now; now /= 10)
        digits[n++] = (char)('0' + now % 10);
    while (n)
        *to++ = digits[--n];
    *to = 0;
}

EFI_STATUS efi_main(EFI_HANDLE image, EFI_SYSTEM_TABLE *system); /* gnu-efi calls it */
EFI_STATUS efi_main(EFI_HANDLE image, EFI_SYSTEM_TABLE *system)
{
    InitializeLib(image, system);
    console_init();
    struct boot_info *bi = memory_alloc(sizeof(*bi), BOOT_MEM_LOADER, false);

    if (!bi || files_open_volume(image) || !read_files() || memory_exit_boot_services(image, bi)) {
        console_line("bare: the files cannot be read");
        return EFI_LOAD_ERROR;
    }
    console_firmware_gone();
    asm volatile("cli");
    if (!place_kernel(bi)) {
        console_line("bare: there is no room for the kernel");
        for (;;)
            asm volatile("hlt");
    }
    write_zero_page(bi);
    add_entry(tsc());
    asm volatile("jmp *%0" : : "r"(s.at + ENTRY_64), "S"(s.zero_page) : "memory");
    __builtin_unreachable();
}
