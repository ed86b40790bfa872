/* The items of a VM; called by fw_cfg.c on the event loop. */
#include "vmm/fw_cfg_items.h"

#include <stdio.h>
#include <string.h>

#include "vmm/acpi_loader.h"
#include "vmm/acpi_tables.h"
#include "vmm/firmware.h"
#include "vmm/vm.h"
#include "vmm/vm_boot.h"
#include "vmm/vm_devices.h"

#define ITEM_MAX ACPI_TABLES_MAX
#define FILE_FIRST 0x20u
#define FILE_NAME 56
#define ID_PORTS 1
#define ID_DMA 2
#define E820_RAM 1
#define KERNEL_DATA 0x11
#define INITRD_DATA 0x12

struct buffer {
    u8 bytes[ITEM_MAX];
    u32 len;
};

static void put(struct buffer *b, const void *from, u32 len)
{
    if (len > sizeof(b->bytes) - b->len)
        return;
    memcpy(b->bytes + b->len, from, len);
    b->len += len;
}

static void put16(struct buffer *b, u16 value)
{
    put(b, &value, sizeof(value));
}

static void put32(struct buffer *b, u32 value)
{
    put(b, &value, sizeof(value));
}

static void put_signature(struct vm *vm, struct buffer *b)
{
    (void)vm;
    put(b, "QEMU", 4);
}

static void put_id(struct vm *vm, struct buffer *b)
{
    (void)vm;
    put32(b, ID_PORTS | ID_DMA);
}

static void put_cpus(struct vm *vm, struct buffer *b)
{
    put16(b, (u16)vm->config.cpu_count);
}

static void put_e820(struct vm *vm, struct buffer *b)
{
    for (u32 i = 0; i < vm->mem.count; i++) {
        put(b, &vm->mem.range[i].gpa, 8);
        put(b, &vm->mem.range[i].len, 8);
        put32(b, E820_RAM);
    }
}

/* At address 0: the guest's firmware moves them. */
static void put_tables(struct vm *vm, struct buffer *b)
{
    struct acpi_tables_config c = {.cpu_count = vm->config.cpu_count,
                                   .dsdt = acpi_dsdt,
                                   .dsdt_len = (u32)(acpi_dsdt_end - acpi_dsdt),
                                   .pci_mem = firmware_pci_mem(vm)};
    b->len = acpi_tables_build(b->bytes, sizeof(b->bytes), 0, &c);
    acpi_loader_clear(b->bytes, b->len);
}

static void put_rsdp(struct vm *vm, struct buffer *b)
{
    put_tables(vm, b);
    b->len = MIN(b->len, ACPI_LOADER_RSDP);
}

static void put_loader(struct vm *vm, struct buffer *b)
{
    static struct buffer tables;
    tables.len = 0;
    put_tables(vm, &tables);
    b->len = acpi_loader_build(tables.bytes, tables.len, b->bytes, sizeof(b->bytes));
}

/* Open Firmware paths of what to try, one a line, with a NUL at the end. */
static void put_boot_order(struct vm *vm, struct buffer *b)
{
    static const char *const forms[] = {[VM_FIRMWARE_DISK] = "/pci@i0cf8/scsi@%x/disk@0,0",
                                        [VM_FIRMWARE_NET] =
                                            "/pci@i0cf8/ethernet@%x/ethernet-phy@0"};
    static const char *const kinds[] = {[VM_FIRMWARE_DISK] = "disk", [VM_FIRMWARE_NET] = "nic"};
    for (u32 n = 0; n < ARRAY_LEN(forms); n++) {
        u32 kind = vm->config.firmware_boot ^ n;
        for (u32 slot = 0; slot < PCI_SLOTS; slot++) {
            char line[64];
            if (vm_devices_at(vm, slot, kinds[kind])) {
                snprintf(line, sizeof(line), forms[kind], slot);
                put(b, b->len ? "\n" : "", b->len ? 1 : 0);
                put(b, line, (u32)strlen(line));
            }
        }
    }
    if (b->len)
        put(b, "", 1);
}

/* A kernel that the firmware is to start, as the EFI application that it is: no part of it is a
 * setup of its own, whose length is 0 as that of all items that are not there. */
static struct fw_cfg_item module_item(const char *path)
{
    const struct host_module *m = path[0] ? vm_boot_module(path) : NULL;
    return m ? (struct fw_cfg_item){(const u8 *)m->vaddr, (u32)m->len} : (struct fw_cfg_item){0};
}

static void put_kernel_len(struct vm *vm, struct buffer *b)
{
    put32(b, module_item(vm->config.kernel).len);
}

static void put_initrd_len(struct vm *vm, struct buffer *b)
{
    put32(b, module_item(vm->config.initrd).len);
}

static void put_cmdline(struct vm *vm, struct buffer *b)
{
    put(b, vm->config.cmdline, (u32)strlen(vm->config.cmdline) + 1);
}

static void put_cmdline_len(struct vm *vm, struct buffer *b)
{
    put32(b, (u32)strlen(vm->config.cmdline) + 1);
}

static void put_directory(struct vm *vm, struct buffer *b);

/* A row without a name is an item of its own; the others are files, in this order from FILE_FIRST
 * on. */
static const struct row {
    u16 key;
    const char *name;
    void (*put)(struct vm *vm, struct buffer *b);
} rows[] = {
    {0x00, NULL, put_signature},
    {0x01, NULL, put_id},
    {0x05, NULL, put_cpus}, /* that start */
    {0x08, NULL, put_kernel_len},
    {0x0b, NULL, put_initrd_len},
    {0x0f, NULL, put_cpus}, /* that there may be */
    {0x14, NULL, put_cmdline_len},
    {0x15, NULL, put_cmdline},
    {0x19, NULL, put_directory},
    {FILE_FIRST + 0, "bootorder", put_boot_order},
    {FILE_FIRST + 1, "etc/acpi/rsdp", put_rsdp},
    {FILE_FIRST + 2, "etc/acpi/tables", put_tables},
    {FILE_FIRST + 3, "etc/e820", put_e820},
    {FILE_FIRST + 4, "etc/table-loader", put_loader},
};

static void put_directory(struct vm *vm, struct buffer *b)
{
    static struct buffer file;
    u32 count = 0;
    for (u32 i = 0; i < ARRAY_LEN(rows); i++)
        count += rows[i].name != NULL;
    put32(b, __builtin_bswap32(count));
    for (u32 i = 0; i < ARRAY_LEN(rows); i++) {
        char name[FILE_NAME] = "";
        if (!rows[i].name)
            continue;
        file.len = 0;
        rows[i].put(vm, &file);
        put32(b, __builtin_bswap32(file.len));
        put16(b, __builtin_bswap16(rows[i].key));
        put16(b, 0);
        snprintf(name, sizeof(name), "%s", rows[i].name);
        put(b, name, sizeof(name));
    }
}

/* The item that was asked for last: a driver that takes it byte by byte has it made once. */
static struct {
    const struct vm *vm;
    u64 started_at;
    u16 key;
    bool valid;
    struct buffer item;
} last;

struct fw_cfg_item fw_cfg_items_get(struct vm *vm, u16 key)
{
    if (key == KERNEL_DATA || key == INITRD_DATA)
        return module_item(key == KERNEL_DATA ? vm->config.kernel : vm->config.initrd);
    if (!last.valid || last.vm != vm || last.started_at != vm->state->started_at ||
        last.key != key) {
        last.item.len = 0;
        for (u32 i = 0; i < ARRAY_LEN(rows); i++)
            if (rows[i].key == key)
                rows[i].put(vm, &last.item);
        last.vm = vm;
        last.started_at = vm->state->started_at;
        last.key = key;
        last.valid = true;
    }
    return (struct fw_cfg_item){last.item.bytes, last.item.len};
}
