/* Loads a Linux bzImage; called by load_guest.c.  Pure.  Offsets are those of boot.rst and of
 * struct boot_params ("zero page", zero-page.rst). */
#include "vmm/load_bzimage.h"

#include <string.h>

/* Setup header, as offsets into the file and the zero page alike. */
enum {
    HDR_START = 0x1f1, /* setup_sects, 1 byte */
    HDR_BOOT_FLAG = 0x1fe,
    HDR_JUMP = 0x200, /* its second byte: length of the header behind 0x202 */
    HDR_MAGIC = 0x202,
    HDR_VERSION = 0x206,
    HDR_LOADER = 0x210,
    HDR_LOADFLAGS = 0x211,
    HDR_RAMDISK = 0x218,
    HDR_RAMDISK_SIZE = 0x21c,
    HDR_CMDLINE = 0x228,
    HDR_INITRD_MAX = 0x22c,
    HDR_ALIGNMENT = 0x230,
    HDR_RELOCATABLE = 0x234,
    HDR_XLOADFLAGS = 0x236,
    HDR_CMDLINE_SIZE = 0x238,
    HDR_SETUP_DATA = 0x250,
    HDR_PREF_ADDRESS = 0x258,
    HDR_INIT_SIZE = 0x260,
    HDR_END = 0x268,
    HDR_LIMIT = 0x290, /* e820 table and what follows begins at 0x2d0 */
};

enum { ZP_RSDP = 0x70, ZP_E820_ENTRIES = 0x1e8, ZP_E820_TABLE = 0x2d0, ZP_SIZE = 4096 };

#define MAGIC_HDRS 0x53726448u
#define VERSION_MIN 0x020c /* first with xloadflags */
#define LOADFLAG_HIGH BIT(0)
#define XLF_KERNEL_64 BIT(0)
#define LOADER_UNDEFINED 0xff
#define ENTRY_64 0x200
#define ALIGN_MAX (1 * GIB)

struct header {
    u64 setup_len; /* boot sector and real-mode code: not loaded */
    u64 pref_address, init_size, alignment, initrd_max;
    u32 cmdline_size, version;
    bool relocatable;
};

static u64 get(const u8 *base, u32 offset, u32 bytes)
{
    u64 v = 0;
    memcpy(&v, base + offset, bytes);
    return v;
}

static void set(u8 *base, u32 offset, u64 value, u32 bytes)
{
    memcpy(base + offset, &value, bytes);
}

bool load_bzimage_is(const struct load_request *r)
{
    return r->kernel_len >= HDR_END && get(r->kernel, HDR_BOOT_FLAG, 2) == 0xaa55 &&
           get(r->kernel, HDR_MAGIC, 4) == MAGIC_HDRS;
}

static const char *read_header(const u8 *k, u64 len, struct header *h)
{
    if (len < HDR_END || get(k, HDR_BOOT_FLAG, 2) != 0xaa55 || get(k, HDR_MAGIC, 4) != MAGIC_HDRS)
        return "neither a Linux bzImage nor an ELF nor a multiboot file";
    u32 sectors = k[HDR_START] ? k[HDR_START] : 4;
    *h = (struct header){
        .setup_len = (sectors + 1) * 512ull,
        .version = (u32)get(k, HDR_VERSION, 2),
        .pref_address = get(k, HDR_PREF_ADDRESS, 8),
        .init_size = get(k, HDR_INIT_SIZE, 4),
        .alignment = get(k, HDR_ALIGNMENT, 4),
        .initrd_max = get(k, HDR_INITRD_MAX, 4),
        .cmdline_size = (u32)get(k, HDR_CMDLINE_SIZE, 4),
        .relocatable = k[HDR_RELOCATABLE] != 0,
    };
    if (h->version < VERSION_MIN)
        return "the kernel's boot protocol is older than 2.12";
    if (!(k[HDR_LOADFLAGS] & LOADFLAG_HIGH) || !(get(k, HDR_XLOADFLAGS, 2) & XLF_KERNEL_64))
        return "the kernel has no 64-bit entry point";
    if (h->setup_len + ENTRY_64 >= len)
        return "the kernel image is cut off";
    if (h->alignment & (h->alignment - 1) || h->alignment > ALIGN_MAX)
        return "the kernel's alignment is not a power of two";
    return NULL;
}

/* Preferred place, or for a relocatable kernel the lowest that is aligned. */
static const char *choose_place(const struct load_request *r, const struct header *h, u64 need,
                                u64 *at)
{
    u64 top = r->mem->range[0].gpa + r->mem->range[0].len;
    u64 alignment = MAX(h->alignment, PAGE_SIZE);
    *at = h->pref_address;
    if (*at >= LOAD_LOWEST && *at < top && need <= top - *at)
        return NULL;
    *at = ROUND_UP(LOAD_LOWEST, alignment);
    if (!h->relocatable || *at >= top || need > top - *at)
        return "the kernel does not fit into the VM's memory";
    return NULL;
}

static void write_zero_page(const struct load_request *r, const struct header *h, u64 initrd,
                            u8 *zp)
{
    struct load_region map[LOAD_REGIONS];
    u32 end = HDR_MAGIC + r->kernel[HDR_JUMP + 1];
    u32 count = load_guest_map(r->mem, map);
    (void)h;
    memset(zp, 0, ZP_SIZE);
    memcpy(zp + HDR_START, r->kernel + HDR_START, MIN(MAX(end, HDR_END), HDR_LIMIT) - HDR_START);
    zp[HDR_LOADER] = LOADER_UNDEFINED;
    set(zp, HDR_CMDLINE, LOAD_CMDLINE, 4);
    set(zp, HDR_RAMDISK, initrd, 4);
    set(zp, HDR_RAMDISK_SIZE, initrd ? r->initrd_len : 0, 4);
    set(zp, HDR_SETUP_DATA, 0, 8);
    set(zp, ZP_RSDP, r->rsdp, 8);
    zp[ZP_E820_ENTRIES] = (u8)count;
    for (u32 i = 0; i < count; i++) {
        set(zp, ZP_E820_TABLE + 20 * i, map[i].base, 8);
        set(zp, ZP_E820_TABLE + 20 * i + 8, map[i].len, 8);
        set(zp, ZP_E820_TABLE + 20 * i + 16, map[i].type, 4);
    }
}

/* The lowest 4 GiB one-to-one in 2 MiB pages, and the GDT the protocol wants loaded. */
static const char *write_tables(const struct guest_mem *m)
{
    static const u64 gdt[4] = {0, 0, 0x00af9b000000ffff, 0x00cf93000000ffff};
    u64 *t = guest_ptr(m, GPA(LOAD_PAGE_TABLES), 6 * PAGE_SIZE);
    if (!t || !guest_write(m, GPA(LOAD_GDT), gdt, sizeof(gdt)))
        return "not enough memory for the boot page tables";
    memset(t, 0, 2 * PAGE_SIZE);
    t[0] = (LOAD_PAGE_TABLES + PAGE_SIZE) | 3;
    for (u32 i = 0; i < 4; i++)
        t[512 + i] = (LOAD_PAGE_TABLES + (2 + i) * PAGE_SIZE) | 3;
    for (u64 i = 0; i < 4 * 512; i++)
        t[1024 + i] = i << 21 | 0x83;
    return NULL;
}

static void enter_long_mode(const struct load_result *out, u64 entry)
{
    struct vcpu_state *s = out->state;
    load_guest_segments(s, 0xa09b);
    s->gdtr_base = LOAD_GDT;
    s->gdtr_limit = 4 * 8 - 1;
    s->cr0 = 0x80000031; /* PG, NE, ET, PE */
    s->cr3 = LOAD_PAGE_TABLES;
    s->cr4 = 0x20;   /* PAE */
    s->efer = 0x500; /* LMA, LME */
    s->rip = entry;
    memset(out->regs, 0, REG_COUNT * sizeof(out->regs[0]));
    out->regs[REG_RSI] = LOAD_BOOT_DATA;
}

const char *load_bzimage(const struct load_request *r, const struct load_result *out)
{
    struct header h;
    u64 at, initrd;
    const char *why = read_header(r->kernel, r->kernel_len, &h);
    if (why)
        return why;
    u64 body = r->kernel_len - h.setup_len, need = MAX(body, h.init_size);
    why = choose_place(r, &h, need, &at);
    if (!why && !guest_write(r->mem, GPA(at), r->kernel + h.setup_len, body))
        why = "the kernel does not fit into the VM's memory";
    if (!why)
        why = load_guest_cmdline(r, h.cmdline_size ? h.cmdline_size : 255);
    if (!why)
        why =
            load_guest_initrd(r, at + need, h.initrd_max ? h.initrd_max + 1 : 0x38000000, &initrd);
    if (!why)
        why = write_tables(r->mem);
    u8 *zero_page = guest_ptr(r->mem, GPA(LOAD_BOOT_DATA), ZP_SIZE);
    if (!why && !zero_page)
        why = "not enough memory for the zero page";
    if (why)
        return why;
    write_zero_page(r, &h, initrd, zero_page);
    enter_long_mode(out, at + ENTRY_64);
    return NULL;
}
