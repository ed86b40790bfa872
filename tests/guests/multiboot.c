/* What a boot protocol hands over: magic numbers, command line, module and memory map, by PVH,
 * multiboot and multiboot 2.  The command line is "NAME" of the protocol and then, if there is a
 * module, "module": four bytes "MOD!". */
#include "tests/guests/lib/cpu.h"
#include "tests/guests/lib/guest.h"
#include "tests/guests/lib/platform.h"

/* Multiboot Specification 0.6.96, 3.1.1: aligned modules and memory information are wanted.
 * Multiboot2 2.0, 3.1.2: the same, and the ACPI root pointer if there is one. */
asm(".section .multiboot, \"a\"\n"
    ".balign 4\n"
    ".long 0x1badb002, 3, -(0x1badb002 + 3)\n"
    ".balign 8\n"
    "1: .long 0xe85250d6, 0, 2f - 1b, -(0xe85250d6 + (2f - 1b))\n"
    ".word 1, 0\n.long 16, 4, 6\n" /* information, required: memory, map */
    ".word 1, 1\n.long 12, 15\n"   /* information, optional: root pointer */
    ".balign 8\n"
    ".word 6, 0\n.long 8\n" /* aligned modules */
    ".word 0, 0\n.long 8\n"
    "2:\n"
    ".previous\n");

#define MAGIC_1 0x2badb002
#define MAGIC_2 0x36d76289

static struct boot {
    const char *name, *command_line;
    u64 module, module_end, ram; /* ram: bytes from 1 MiB on, in the map */
} boot;

static bool begins(const char *text, const char *with)
{
    while (*with)
        if (*text++ != *with++)
            return false;
    return true;
}

static const char *word_after(const char *text)
{
    while (*text && *text != ' ')
        text++;
    return *text ? text + 1 : text;
}

static void add_region(u64 base, u64 len, u32 type)
{
    if (type == 1 && base == 0x100000)
        boot.ram = len;
}

static void read_pvh(void)
{
    const struct {
        u64 base, len;
        u32 type, reserved;
    } *map = (const void *)start_info->map;
    boot.name = "pvh";
    boot.command_line = platform_command_line();
    if (start_info->module_count) {
        const u64 *module = (const u64 *)start_info->modules;
        boot.module = module[0];
        boot.module_end = module[0] + module[1];
    }
    for (u32 i = 0; start_info->version && i < start_info->map_count; i++)
        add_region(map[i].base, map[i].len, map[i].type);
}

static void read_version1(const u32 *info)
{
    u32 flags = info[0];
    boot.name = "multiboot";
    check(flags & BIT(2), "no command line");
    boot.command_line = word_after((const char *)(u64)info[4]);
    if (flags & BIT(3) && info[5]) {
        const u32 *module = (const u32 *)(u64)info[6];
        boot.module = module[0];
        boot.module_end = module[1];
        check(*(const char *)(u64)module[2], "the module has no name");
    }
    check(flags & BIT(0), "no memory information");
    check(info[1] >= 512 && info[1] <= 640, "%u KiB of low memory", info[1]);
    check(flags & BIT(6), "no memory map");
    const u8 *at = (const u8 *)(u64)info[12], *end = at + info[11];
    for (; at < end; at += *(const u32 *)at + 4)
        add_region(*(const u64 *)(at + 4), *(const u64 *)(at + 12), *(const u32 *)(at + 20));
    check_equal(boot.ram / 1024, info[2], "KiB of high memory");
    check(flags & BIT(9) && *(const char *)(u64)info[16], "the loader has no name");
}

static void read_version2(const u8 *info)
{
    const u8 *end = info + *(const u32 *)info;
    bool rsdp = false, ended = false;
    u32 upper = 0;
    boot.name = "multiboot2";
    for (const u8 *at = info + 8; at < end && !ended;) {
        const u32 *tag = (const u32 *)at;
        if (tag[0] == 0)
            ended = true;
        if (tag[0] == 1)
            boot.command_line = word_after((const char *)at + 8);
        if (tag[0] == 3) {
            boot.module = tag[2];
            boot.module_end = tag[3];
        }
        if (tag[0] == 4)
            upper = tag[3];
        for (u32 i = 16; tag[0] == 6 && i < tag[1]; i += tag[2])
            add_region(*(const u64 *)(at + i), *(const u64 *)(at + i + 8),
                       *(const u32 *)(at + i + 16));
        if (tag[0] == 15)
            rsdp = begins((const char *)at + 8, "RSD PTR ");
        at += (tag[1] + 7) & ~7u;
    }
    check(ended, "no end tag");
    check(rsdp, "no ACPI root pointer");
    check_equal(boot.ram / 1024, upper, "KiB of high memory");
}

void guest_main(void)
{
    if (boot_magic == MAGIC_1)
        read_version1((const u32 *)start_info);
    else if (boot_magic == MAGIC_2)
        read_version2((const u8 *)start_info);
    else
        read_pvh();
    print("booted by %s: \"%s\", %lu KiB\n", boot.name, boot.command_line, boot.ram / 1024);
    check(boot.command_line, "no command line");
    check(boot.ram, "no memory from 1 MiB on");
    check(acpi_find("APIC") != NULL, "no MADT");
    if (*boot.command_line && !begins(boot.command_line, "tcg")) {
        check(begins(boot.command_line, boot.name), "the command line is \"%s\"",
              boot.command_line);
        if (begins(word_after(boot.command_line), "module")) {
            check(boot.module && boot.module % 4096 == 0, "module at %lx", boot.module);
            check_equal(boot.module_end - boot.module, 4, "length of the module");
            check(begins((const char *)boot.module, "MOD!"), "contents of the module");
        }
    }
}
