/* Firmware of guests; called when a VM starts or resets, and from the page table of exits.c. */
#include "vmm/firmware.h"

#include <string.h>

#include "control/rt/sys.h"
#include "vmm/exits.h"
#include "vmm/platform.h"
#include "vmm/vm.h"
#include "vmm/vm_boot.h"

/* Where a PC's firmware looks for the memory there is: from 16 MiB in units of 64 KiB, and from
 * 4 GiB. */
enum { CMOS_LOW = 0x34, CMOS_HIGH = 0x5b };

static u8 *bytes_of(const struct vm *vm)
{
    return vm->mem.base + FIRMWARE_END - vm->firmware->flash.len;
}

static const struct host_module *image(const struct vm *vm, struct vm_error *e)
{
    const struct host_module *m = vm_boot_module(vm->config.firmware);
    if (!m)
        (void)vm_error(e, HV_ENOENT, "E_NOENT",
                       "put it below \\bulkhead\\guests on the boot medium and boot again",
                       "%s is not on the boot medium", vm->config.firmware);
    return m;
}

bool firmware_size(const struct vm *vm, u32 *len, struct vm_error *e)
{
    *len = 0;
    if (!vm->config.firmware[0])
        return true;
    const struct host_module *m = image(vm, e);
    if (!m)
        return false;
    if (m->len < FIRMWARE_LEN_MIN || m->len > FIRMWARE_LEN_MAX)
        return vm_error(e, HV_EINVAL, "E_IMAGE", "OVMF.fd of Debian's package ovmf",
                        "%s has %llu bytes, which is no firmware of 64 KiB to 16 MiB",
                        vm->config.firmware, (unsigned long long)m->len);
    if (m->len & (m->len - 1)) /* OVMF crashes where its variables have no header */
        return vm_error(e, HV_EINVAL, "E_IMAGE", "OVMF_VARS_4M.fd and OVMF_CODE_4M.fd in one file",
                        "%s is not whole: firmware has a power of two of bytes, with its variables",
                        vm->config.firmware);
    *len = (u32)m->len;
    return true;
}

/* Bytes of variables at the start: the first firmware volume, if it is one of variables (UEFI
 * Platform Initialization 1.7, volume 3, 3.2.1 and EDK2's gEfiSystemNvDataFvGuid). */
static u32 variables(const u8 *bytes, u32 len)
{
    static const u8 guid[16] = {0x8d, 0x2b, 0xf1, 0xff, 0x96, 0x76, 0x8b, 0x4c,
                                0xa9, 0x85, 0x27, 0x47, 0x07, 0x5b, 0x4f, 0x50};
    u64 volume;
    memcpy(&volume, bytes + 32, sizeof(volume));
    if (memcmp(bytes + 16, guid, sizeof(guid)) != 0 || memcmp(bytes + 40, "_FVH", 4) != 0)
        return 0;
    return volume < len && volume % FLASH_BLOCK == 0 ? (u32)volume : 0;
}

void firmware_attach(struct vm *vm)
{
    vm->firmware = vm_state_firmware(vm->state);
    u32 len = vm->firmware ? vm->firmware->flash.len : 0;
    vm->mem.rom = (struct guest_range){FIRMWARE_END - len, len};
}

bool firmware_load(struct vm *vm, struct vm_error *e)
{
    u32 len;
    if (!firmware_size(vm, &len, e))
        return false;
    if (!len)
        return true;
    const struct host_module *m = image(vm, e);
    if (sys_vm_mem(vm->slot, GPA(FIRMWARE_END - len), len, VM_MEM_READONLY) != HV_OK)
        return vm_error(e, HV_ENOMEM, "E_NOMEM", "stop another VM",
                        "there is no memory for the firmware of %s", vm->config.name);
    vm->firmware->flash = (struct flash){.len = len};
    u8 *bytes = bytes_of(vm);
    memcpy(bytes, (const u8 *)m->vaddr, len);
    vm->firmware->flash.vars = variables(bytes, len);
    firmware_attach(vm);
    return true;
}

u32 firmware_pci_mem(const struct vm *vm)
{
    return vm->mem.range[0].len > 2 * GIB ? PCI_MEM_BASE : PCI_MEM_FIRST;
}

static void put_cmos(struct vm *vm, u32 at, u64 units, u32 bytes)
{
    for (u32 i = 0; i < bytes; i++)
        vm->state->rtc.ram[at + i] = (u8)(units >> (8 * i));
}

void firmware_reset(struct vm *vm)
{
    if (!vm->firmware)
        return;
    const struct guest_mem *m = &vm->mem;
    u64 low = m->range[0].len;
    put_cmos(vm, CMOS_LOW, low > 16 * MIB ? (low - 16 * MIB) / (64 * KIB) : 0, 2);
    put_cmos(vm, CMOS_HIGH, m->count > 1 ? m->range[1].len / (64 * KIB) : 0, 3);
    vm->firmware->fw_cfg = (struct fw_cfg){0};
    flash_reset(&vm->firmware->flash, bytes_of(vm));
}

u8 *firmware_vars(const struct vm *vm, u32 *len)
{
    *len = vm->firmware ? vm->firmware->flash.vars : 0;
    return *len ? bytes_of(vm) : NULL;
}

/* Offset in the flash memory; false: nothing is there. */
static bool inside(struct vm *vm, u64 gpa, u8 size, u32 *at)
{
    u32 len = vm->firmware ? vm->firmware->flash.len : 0;
    u64 base = FIRMWARE_END - len;
    if (gpa < base || size > FIRMWARE_END - gpa)
        return false;
    *at = (u32)(gpa - base);
    return true;
}

u64 firmware_flash_read(struct vm *vm, u64 gpa, u8 size)
{
    u64 value = ~0ull;
    u32 at;
    if (inside(vm, gpa, size, &at)) {
        value = 0;
        memcpy(&value, bytes_of(vm) + at, size);
    } else {
        exits_unclaimed_page(vm, gpa, "read");
    }
    return value;
}

static void change(struct vm *vm, u32 at, u8 size, u64 value)
{
    struct flash *f = &vm->firmware->flash;
    flash_write(f, bytes_of(vm), at, size, value);
    if (f->changed)
        platform_nvram(vm);
}

void firmware_flash_write(struct vm *vm, u64 gpa, u8 size, u64 value)
{
    u32 at;
    if (inside(vm, gpa, size, &at))
        change(vm, at, size, value);
    else
        exits_unclaimed_page(vm, gpa, "write");
}
