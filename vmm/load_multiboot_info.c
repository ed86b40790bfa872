/* Boot information for multiboot kernels; called by load_multiboot.c.  Pure. */
#include "vmm/load_multiboot_info.h"

#include <stdio.h>
#include <string.h>

#define LOADER_NAME "Bulkhead"
#define NAME_MAX_LEN 128u

struct info1 { /* Multiboot Specification 0.6.96, 3.3 */
    u32 flags, mem_lower, mem_upper, boot_device, cmdline, mods_count, mods_addr, syms[4];
    u32 mmap_length, mmap_addr, drives_length, drives_addr, config_table, boot_loader_name;
    u32 apm_table, vbe[4];
};
struct module1 {
    u32 start, end, string, reserved;
};
struct __attribute__((packed)) map1 {
    u32 size; /* of what follows */
    u64 base, len;
    u32 type;
};
_Static_assert(sizeof(struct info1) == 88 && sizeof(struct map1) == 24, "0.6.96, 3.3");

enum {
    HAS_MEMORY = BIT(0),
    HAS_CMDLINE = BIT(2),
    HAS_MODULES = BIT(3),
    HAS_MAP = BIT(6),
    HAS_LOADER_NAME = BIT(9),
};

struct data1 { /* at LOAD_BOOT_DATA */
    struct info1 info;
    struct module1 module;
    struct map1 map[LOAD_REGIONS];
    char loader[16], module_name[NAME_MAX_LEN];
};

#define AT(member) ((u32)(LOAD_BOOT_DATA + offsetof(struct data1, member)))

/* KiB of RAM from 0 and from 1 MiB on without a hole, as the BIOS counted them. */
static void count_memory(const struct guest_mem *m, u32 *lower, u32 *upper)
{
    *lower = LOAD_LOW_RAM_END / KIB;
    *upper = (u32)((m->range[0].gpa + m->range[0].len - LOAD_LOWEST) / KIB);
}

static const char *write_info1(const struct load_request *r, u64 initrd)
{
    struct load_region map[LOAD_REGIONS];
    struct data1 d = {
        .info = {.flags = HAS_MEMORY | HAS_CMDLINE | HAS_MODULES | HAS_MAP | HAS_LOADER_NAME,
                 .cmdline = LOAD_CMDLINE,
                 .mods_count = initrd != 0,
                 .mods_addr = AT(module),
                 .mmap_addr = AT(map),
                 .boot_loader_name = AT(loader)},
        .module = {(u32)initrd, (u32)(initrd + r->initrd_len), AT(module_name), 0},
        .loader = LOADER_NAME,
    };
    u32 count = load_guest_map(r->mem, map);
    count_memory(r->mem, &d.info.mem_lower, &d.info.mem_upper);
    d.info.mmap_length = count * sizeof(struct map1);
    for (u32 i = 0; i < count; i++)
        d.map[i] = (struct map1){sizeof(struct map1) - 4, map[i].base, map[i].len, map[i].type};
    snprintf(d.module_name, sizeof(d.module_name), "%s", r->initrd_name);
    return guest_write(r->mem, GPA(LOAD_BOOT_DATA), &d, sizeof(d))
               ? NULL
               : "not enough memory for the boot information";
}

/* Multiboot2 2.0, 3.6.2 */
enum info_tag {
    INFO_END = 0,
    INFO_CMDLINE = 1,
    INFO_LOADER_NAME = 2,
    INFO_MODULE = 3,
    INFO_MEMORY = 4,
    INFO_MAP = 6,
    INFO_RSDP_OLD = 14,
    INFO_RSDP = 15,
};
const u64 load_multiboot_info_tags = BIT(INFO_CMDLINE) | BIT(INFO_LOADER_NAME) | BIT(INFO_MODULE) |
                                     BIT(INFO_MEMORY) | BIT(INFO_MAP) | BIT(INFO_RSDP_OLD) |
                                     BIT(INFO_RSDP);

struct builder {
    u32 used;
    u8 bytes[LOAD_CMDLINE - LOAD_BOOT_DATA];
};

/* A tag of two pieces; what does not fit is refused at the end by `used`. */
static void put(struct builder *b, u32 type, const void *head, u32 head_len, const void *tail,
                u32 tail_len)
{
    u32 size = 8 + head_len + tail_len;
    if (b->used + size <= sizeof(b->bytes)) {
        memcpy(b->bytes + b->used, &type, 4);
        memcpy(b->bytes + b->used + 4, &size, 4);
        memcpy(b->bytes + b->used + 8, head, head_len);
        memcpy(b->bytes + b->used + 8 + head_len, tail, tail_len);
    }
    b->used += ROUND_UP(size, 8u);
}

static void put_text(struct builder *b, u32 type, const char *text)
{
    put(b, type, "", 0, text, (u32)strlen(text) + 1);
}

static void put_map(struct builder *b, const struct guest_mem *m)
{
    struct load_region map[LOAD_REGIONS];
    struct {
        u64 base, len;
        u32 type, reserved;
    } rows[LOAD_REGIONS];
    const u32 head[2] = {sizeof(rows[0]), 0};
    u32 count = load_guest_map(m, map), memory[2];
    count_memory(m, &memory[0], &memory[1]);
    put(b, INFO_MEMORY, memory, sizeof(memory), "", 0);
    memset(rows, 0, sizeof(rows));
    for (u32 i = 0; i < count; i++) {
        rows[i].base = map[i].base;
        rows[i].len = map[i].len;
        rows[i].type = map[i].type;
    }
    put(b, INFO_MAP, head, sizeof(head), rows, (u32)(count * sizeof(rows[0])));
}

/* A copy of the ACPI root pointer (ACPI 6.3, 5.2.5.3): its first 20 bytes are the old one. */
static void put_rsdp(struct builder *b, const struct load_request *r)
{
    u8 rsdp[36];
    if (!guest_read(r->mem, GPA(r->rsdp), rsdp, sizeof(rsdp)))
        return;
    put(b, INFO_RSDP_OLD, rsdp, 20, "", 0);
    put(b, INFO_RSDP, rsdp, sizeof(rsdp), "", 0);
}

static const char *write_info2(const struct load_request *r, const char *cmdline, u64 initrd)
{
    struct builder b = {.used = 8};
    const u32 module[2] = {(u32)initrd, (u32)(initrd + r->initrd_len)};
    put_text(&b, INFO_CMDLINE, cmdline);
    put_text(&b, INFO_LOADER_NAME, LOADER_NAME);
    if (initrd)
        put(&b, INFO_MODULE, module, sizeof(module), r->initrd_name,
            (u32)strlen(r->initrd_name) + 1);
    put_map(&b, r->mem);
    put_rsdp(&b, r);
    put(&b, INFO_END, "", 0, "", 0);
    memcpy(b.bytes, &b.used, 4);
    if (b.used > sizeof(b.bytes))
        return "the boot information does not fit";
    return guest_write(r->mem, GPA(LOAD_BOOT_DATA), b.bytes, b.used)
               ? NULL
               : "not enough memory for the boot information";
}

/* The kernel's name is the first word, as the specification's own loader did and as kernels that
 * take arguments expect. */
const char *load_multiboot_info(const struct load_request *r, u32 version, u64 initrd)
{
    char line[LOAD_CMDLINE_MAX];
    struct load_request named = *r;
    int len = snprintf(line, sizeof(line), "%s%s%s", r->kernel_name, r->cmdline[0] ? " " : "",
                       r->cmdline);
    if (len < 0 || (u32)len >= sizeof(line))
        return "the command line is longer than the kernel takes";
    named.cmdline = line;
    const char *why = load_guest_cmdline(&named, LOAD_CMDLINE_MAX);
    if (why)
        return why;
    return version == 1 ? write_info1(r, initrd) : write_info2(r, line, initrd);
}
