/* links: vmm/fw_cfg.c vmm/fw_cfg_items.c vmm/acpi_loader.c vmm/acpi_tables.c vmm/flash.c vmm/flash_text.c vmm/chipset.c vmm/guest_mem.c */
/* What a guest's firmware finds: its configuration device by ports and by DMA, the script for ACPI
 * tables executed as firmware does it, flash commands, PCI functions of the chipset. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "vmm/acpi_tables.h"
#include "vmm/chipset.h"
#include "vmm/exits.h"
#include "vmm/firmware.h"
#include "vmm/flash_text.h"
#include "vmm/vm.h"
#include "vmm/vm_boot.h"
#include "vmm/vm_devices.h"

#define RAM (1 * MIB)

const u8 acpi_dsdt[64] =
    "DSDT\100"; /* its length; the end lies where the linker puts the next one */
__asm__(".globl acpi_dsdt_end\nacpi_dsdt_end = acpi_dsdt + 64");

static struct vm *vm;
static u8 *ram;
static u32 unclaimed;

void exits_unclaimed_port(struct vm *v, u16 port, u8 size, const char *what)
{
    (void)v;
    (void)port;
    (void)size;
    (void)what;
    unclaimed++;
}

u32 firmware_pci_mem(const struct vm *v)
{
    (void)v;
    return PCI_MEM_FIRST;
}

bool vm_devices_at(const struct vm *v, u32 slot, const char *kind)
{
    (void)v;
    return strcmp(kind, "disk") == 0 ? slot == 8 || slot == 10 : slot == 4;
}

static struct host_module module = {.len = 10};

const struct host_module *vm_boot_module(const char *path)
{
    return !strcmp(path, "guests/k.efi") ? &module : NULL;
}

static int setup(void **state)
{
    (void)state;
    vm = calloc(1, sizeof(*vm));
    vm->state = calloc(1, sizeof(*vm->state));
    vm->firmware = calloc(1, sizeof(*vm->firmware));
    vm->config.cpu_count = 3;
    ram = calloc(1, RAM);
    guest_mem_layout(&vm->mem, ram, RAM);
    unclaimed = 0;
    vm->state->started_at = (u64)rand(); /* another one than the last test's */
    return 0;
}

static int teardown(void **state)
{
    (void)state;
    free(vm->firmware);
    free(vm->state);
    free(vm);
    free(ram);
    return 0;
}

static u32 by_ports(u16 key, void *to, u32 len)
{
    u8 *bytes = to;
    fw_cfg_out(vm, FW_CFG_PORT, 2, key);
    for (u32 i = 0; i < len; i++)
        bytes[i] = (u8)fw_cfg_in(vm, FW_CFG_PORT + 1, 1);
    return len;
}

#define CONTROL_AT 0x1000u

/* One descriptor; the control word afterwards, which is zero when it was done. */
static u32 by_dma(u32 control, u64 gpa, u32 len)
{
    u32 words[] = {__builtin_bswap32(control), __builtin_bswap32(len),
                   __builtin_bswap32((u32)(gpa >> 32)), __builtin_bswap32((u32)gpa)};
    memcpy(ram + CONTROL_AT, words, sizeof(words));
    fw_cfg_out(vm, FW_CFG_DMA_PORT, 4, 0);
    fw_cfg_out(vm, FW_CFG_DMA_PORT + 4, 4, __builtin_bswap32(CONTROL_AT));
    memcpy(words, ram + CONTROL_AT, 4);
    return __builtin_bswap32(words[0]);
}

enum { ERROR = 1, READ = 2, SKIP = 4, SELECT = 8, WRITE = 16 };

/* A file by its name: its bytes, in memory of the caller. */
static u8 *file(const char *name, u32 *len)
{
    u8 head[4];
    by_ports(0x19, head, 4);
    for (u32 n = head[3]; n; n--) {
        u8 row[64];
        for (u32 i = 0; i < sizeof(row); i++)
            row[i] = (u8)fw_cfg_in(vm, FW_CFG_PORT + 1, 1);
        if (strcmp((char *)row + 8, name) != 0)
            continue;
        *len = (u32)row[0] << 24 | (u32)row[1] << 16 | (u32)row[2] << 8 | row[3];
        u8 *bytes = malloc(*len + 1);
        by_ports((u16)(row[4] << 8 | row[5]), bytes, *len);
        return bytes;
    }
    return NULL;
}

static void items_by_port(void **state)
{
    u8 b[8];
    u32 len;
    (void)state;
    by_ports(0, b, 8); /* zeros behind the end */
    assert_memory_equal(b, "QEMU\0\0\0\0", 8);
    by_ports(1, b, 4);
    assert_memory_equal(b, "\3\0\0\0", 4);
    by_ports(5, b, 2);
    assert_memory_equal(b, "\3\0", 2);
    by_ports(0x7777, b, 4); /* there is none */
    assert_memory_equal(b, "\0\0\0\0", 4);
    char *order = (char *)file("bootorder", &len);
    assert_string_equal(order, "/pci@i0cf8/scsi@8/disk@0,0\n/pci@i0cf8/scsi@a/disk@0,0\n"
                               "/pci@i0cf8/ethernet@4/ethernet-phy@0");
    assert_int_equal(len, strlen(order) + 1);
    free(order);
    vm->config.firmware_boot = VM_FIRMWARE_NET;
    vm->state->started_at++;
    order = (char *)file("bootorder", &len);
    assert_memory_equal(order, "/pci@i0cf8/ethernet@4", 21);
    free(order);
    u8 *map = file("etc/e820", &len);
    assert_int_equal(len, 20);
    assert_memory_equal(map + 8, "\0\0\x10\0\0\0\0\0\1\0\0\0", 12);
    free(map);
    assert_int_equal(fw_cfg_in(vm, FW_CFG_DMA_PORT, 4), 0x554d4551); /* "QEMU" */
    assert_int_equal(fw_cfg_in(vm, FW_CFG_DMA_PORT + 6, 4), 0x4746); /* "FG", and no further */
    struct firmware_state *kept = vm->firmware;
    vm->firmware = NULL;
    assert_int_equal(fw_cfg_in(vm, FW_CFG_PORT, 2), ~0u);
    fw_cfg_out(vm, FW_CFG_PORT, 2, 0);
    assert_int_equal(unclaimed, 2);
    vm->firmware = kept;
}

/* A kernel that firmware starts: sizes and contents, the command line with its end. */
static void a_kernel_for_firmware(void **state)
{
    u8 bytes[32] __attribute__((aligned(4)));

    (void)state;
    module.vaddr = (u64) "the kernel";
    by_ports(0x08, bytes, 4);
    assert_int_equal(*(u32 *)bytes, 0);
    strcpy(vm->config.kernel, "guests/k.efi");
    strcpy(vm->config.initrd, "guests/none");
    strcpy(vm->config.cmdline, "quiet");
    vm->state->started_at++;
    by_ports(0x08, bytes, 4);
    assert_int_equal(*(u32 *)bytes, 10);
    by_ports(0x11, bytes, 12);
    assert_memory_equal(bytes, "the kernel\0", 12);
    by_ports(0x0b, bytes, 4);
    assert_int_equal(*(u32 *)bytes, 0);
    by_ports(0x12, bytes, 4);
    assert_int_equal(*(u32 *)bytes, 0);
    by_ports(0x14, bytes, 4);
    assert_int_equal(*(u32 *)bytes, 6);
    by_ports(0x15, bytes, 6);
    assert_memory_equal(bytes, "quiet", 6);
}

static void items_by_dma(void **state)
{
    (void)state;
    memset(ram + 0x2000, 0xee, 16);
    assert_int_equal(by_dma(SELECT | READ, 0x2000, 8), 0);
    assert_memory_equal(ram + 0x2000, "QEMU\0\0\0\0\xee", 9);
    assert_int_equal(by_dma(SELECT | SKIP, 0, 2), 0);
    assert_int_equal(by_dma(READ, 0x2000, 2), 0);
    assert_memory_equal(ram + 0x2000, "MU", 2);
    assert_int_equal(by_dma(SELECT | SKIP, 0, ~0u), 0);
    assert_int_equal(by_dma(SKIP, 0, ~0u), 0);
    assert_int_equal(by_dma(READ, 0x2000, 4), 0);
    assert_memory_equal(ram + 0x2000, "\0\0\0\0", 4);
    assert_int_equal(by_dma(0, 0, 1), 0);
    assert_int_equal(by_dma(SELECT | READ, 0x2000, 0), 0);
}

/* Nothing is written outside of memory, and the guest hears of it. */
static void hostile_dma(void **state)
{
    (void)state;
    assert_int_equal(by_dma(SELECT | READ, RAM - 4, 8), ERROR);
    assert_int_equal(by_dma(SELECT | READ, ~0ull - 3, 8), ERROR);
    assert_int_equal(by_dma(SELECT | READ, 0, FW_CFG_DMA_MAX + 1), ERROR);
    assert_int_equal(by_dma(SELECT | READ, 0, ~0u), ERROR);
    assert_int_equal(by_dma(SELECT | WRITE, 0x2000, 4), ERROR);
    fw_cfg_out(vm, FW_CFG_DMA_PORT, 4, ~0u); /* the descriptor itself lies nowhere */
    fw_cfg_out(vm, FW_CFG_DMA_PORT + 4, 4, ~0u);
    fw_cfg_out(vm, FW_CFG_DMA_PORT + 4, 4, __builtin_bswap32(RAM - 8));
    fw_cfg_out(vm, FW_CFG_DMA_PORT + 1, 2, 1);                 /* not a way to write it */
    assert_int_equal(by_dma(SELECT | READ, CONTROL_AT, 4), 0); /* over the descriptor itself */
}

/* ---- ACPI ----------------------------------------------------------------------------------- */

static u8 sum(const u8 *p, u32 len)
{
    u8 s = 0;
    while (len--)
        s = (u8)(s + *p++);
    return s;
}

static u64 get(const u8 *p, u32 bytes)
{
    u64 v = 0;
    memcpy(&v, p, bytes);
    return v;
}

/* Does what the script says, with the files at these addresses. */
static void follow(const u8 *script, u32 len, u8 *rsdp, u8 *tables, u64 tables_at)
{
    for (u32 at = 0; at < len; at += 128) {
        const u8 *c = script + at;
        u8 *f = strcmp((const char *)c + 4, "etc/acpi/rsdp") == 0 ? rsdp : tables;
        u32 kind = (u32)get(c, 4), offset;
        u64 v;
        switch (kind) {
        case 1:
            assert_int_equal(c[64], f == rsdp ? 2 : 1);
            break;
        case 2:
            assert_string_equal((const char *)c + 60, "etc/acpi/tables");
            offset = (u32)get(c + 116, 4);
            v = get(f + offset, c[120]) + tables_at;
            memcpy(f + offset, &v, c[120]);
            break;
        case 3:
            offset = (u32)get(c + 60, 4);
            assert_int_equal(f[offset], 0); /* firmware adds to what is there */
            f[offset] = (u8)-sum(f + get(c + 64, 4), (u32)get(c + 68, 4));
            break;
        default:
            fail();
        }
    }
}

static void tables_are_loaded(void **state)
{
    u32 rsdp_len, len, script_len;
    u8 *rsdp = file("etc/acpi/rsdp", &rsdp_len), *tables = file("etc/acpi/tables", &len);
    u8 *script = file("etc/table-loader", &script_len);
    const u64 at = 0x7f000000;
    (void)state;
    assert_int_equal(rsdp_len, 36);
    assert_int_equal(script_len % 128, 0);
    follow(script, script_len, rsdp, tables, at);
    assert_memory_equal(rsdp, "RSD PTR ", 8);
    assert_int_equal(sum(rsdp, 20), 0);
    assert_int_equal(sum(rsdp, 36), 0);
    const u8 *xsdt = tables + (get(rsdp + 24, 8) - at);
    assert_memory_equal(xsdt, "XSDT", 4);
    assert_int_equal(sum(xsdt, (u32)get(xsdt + 4, 4)), 0);
    const u8 *fadt = tables + (get(xsdt + 36, 8) - at);
    assert_memory_equal(fadt, "FACP", 4);
    assert_int_equal(sum(fadt, 244), 0);
    assert_memory_equal(tables + (get(fadt + 36, 4) - at), "FACS", 4);
    assert_memory_equal(tables + (get(fadt + 40, 4) - at), "DSDT", 4);
    assert_memory_equal(tables + (get(fadt + 140, 8) - at), "DSDT", 4);
    assert_memory_equal(tables + (get(xsdt + 44, 8) - at), "APIC", 4);
    assert_memory_equal(tables + (get(xsdt + 52, 8) - at), "MCFG", 4);
    free(rsdp);
    free(tables);
    free(script);
}

/* ---- flash ---------------------------------------------------------------------------------- */

#define FLASH_LEN (8 * FLASH_BLOCK)
#define VARS (2 * FLASH_BLOCK)

static void flash_is_found_and_written(void **state)
{
    static u8 bytes[FLASH_LEN];
    struct flash f = {.len = FLASH_LEN, .vars = VARS};
    (void)state;
    memset(bytes, 0xa5, sizeof(bytes));
    flash_reset(&f, bytes);
    flash_write(&f, bytes, 7, 1, 0x50); /* what drivers look for: not RAM, not ROM */
    assert_int_equal(bytes[7], 0xa5);
    flash_write(&f, bytes, 7, 1, 0x70);
    assert_int_equal(bytes[7], 0);
    flash_write(&f, bytes, 7, 1, 0xff);
    assert_int_equal(bytes[7], 0xa5);
    assert_int_equal(f.changed, 0);
    flash_write(&f, bytes, FLASH_BLOCK + 9, 1, 0x20);
    flash_write(&f, bytes, FLASH_BLOCK + 9, 1, 0xd0);
    assert_int_equal(bytes[FLASH_BLOCK - 1], 0xa5);
    assert_int_equal(bytes[FLASH_BLOCK], 0xff);
    assert_int_equal(bytes[VARS - 1], 0xff);
    flash_write(&f, bytes, FLASH_BLOCK, 1, 0x10);
    flash_write(&f, bytes, FLASH_BLOCK, 1, 0x50); /* data, though it looks like a command */
    assert_int_equal(bytes[FLASH_BLOCK], 0x50);
    assert_int_equal(f.changed, 1);
    flash_write(&f, bytes, 0, 1, 0xe8); /* three at once */
    flash_write(&f, bytes, 0, 1, 2);
    for (u32 i = 0; i < 3; i++)
        flash_write(&f, bytes, i, 1, i);
    flash_write(&f, bytes, 0, 1, 0xd0);
    assert_memory_equal(bytes, "\0\1\2\xa5", 4);
    flash_write(&f, bytes, 3, 1, 0x70); /* ready */
    assert_int_equal(bytes[3], 0x80);
    flash_reset(&f, bytes);
    assert_int_equal(bytes[3], 0xa5);
}

static void code_is_not_written(void **state)
{
    static u8 bytes[FLASH_LEN];
    struct flash f = {.len = FLASH_LEN, .vars = VARS};
    (void)state;
    memset(bytes, 0xa5, sizeof(bytes));
    for (u32 at = VARS - 4; at < FLASH_LEN; at += FLASH_BLOCK / 2) {
        flash_write(&f, bytes, at, 1, 0x10);
        flash_write(&f, bytes, at, 8, 0);
        if (at >= VARS) {
            flash_write(&f, bytes, at, 1, 0x20);
            flash_write(&f, bytes, at, 1, 0xd0);
        }
    }
    for (u32 at = 0; at < FLASH_LEN; at++)
        assert_int_equal(bytes[at], 0xa5);
    assert_int_equal(f.changed, 0);
}

static void variables_are_kept(void **state)
{
    static u8 bytes[VARS], back[VARS];
    char *text = malloc(FLASH_TEXT(VARS));
    (void)state;
    for (u32 i = 0; i < VARS; i++) /* the longest text: nothing is erased */
        bytes[i] = (u8)(i * 7 % 251);
    flash_text_write(bytes, VARS, text);
    assert_true(strlen(text) < FLASH_TEXT(VARS));
    assert_true(flash_text_read(text, back, VARS));
    assert_memory_equal(bytes, back, VARS);
    memset(bytes, 0xff, VARS);
    bytes[0] = 0;
    bytes[VARS - 1] = 1;
    flash_text_write(bytes, VARS, text);
    assert_true(strlen(text) < 200);
    assert_true(flash_text_read(text, back, VARS));
    assert_memory_equal(bytes, back, VARS);
    assert_false(flash_text_read(text, back, VARS / 2)); /* another firmware's */
    for (u32 cut = 0, len = (u32)strlen(text); cut < len; cut++) {
        char was = text[cut];
        text[cut] = 0; /* whole lines are a text, too */
        (void)!flash_text_read(text, back, VARS);
        text[cut] = '!';
        assert_false(flash_text_read(text, back, VARS));
        text[cut] = was;
    }
    assert_false(flash_text_read("efi: 8192\n2000 ", back, VARS));
    assert_false(flash_text_read("efi: 8192\nffffffffffffffffffff ", back, VARS));
    assert_false(flash_text_read("", back, VARS));
    free(text);
}

static u32 config(u32 function, u32 offset)
{
    u32 value = 0;
    for (u32 i = 0; i < 4; i++) {
        u8 byte;
        if (!chipset_read(function, offset + i, &byte))
            return ~0u;
        value |= (u32)byte << (8 * i);
    }
    return value;
}

static void chipset_is_known(void **state)
{
    (void)state;
    assert_int_equal(config(0, 0), 0x12378086);
    assert_int_equal(config(8, 0), 0x70008086);
    assert_int_equal(config(8, 8) >> 16, 0x0601);
    assert_int_equal(config(8, 12) >> 16, 0x80);
    assert_int_equal(config(11, 0), 0x71138086);
    assert_int_equal(config(11, 0x40), 0x601);
    assert_int_equal(config(11, 0x80), 1);
    assert_int_equal(config(11, 0x10), 0);
    assert_int_equal(config(9, 0), ~0u);
    assert_int_equal(config(16, 0), ~0u);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup_teardown(items_by_port, setup, teardown),
        cmocka_unit_test_setup_teardown(a_kernel_for_firmware, setup, teardown),
        cmocka_unit_test_setup_teardown(items_by_dma, setup, teardown),
        cmocka_unit_test_setup_teardown(hostile_dma, setup, teardown),
        cmocka_unit_test_setup_teardown(tables_are_loaded, setup, teardown),
        cmocka_unit_test(flash_is_found_and_written),
        cmocka_unit_test(code_is_not_written),
        cmocka_unit_test(variables_are_kept),
        cmocka_unit_test(chipset_is_known),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
