/* links: vmm/fw_cfg.c vmm/fw_cfg_items.c vmm/acpi_loader.c vmm/acpi_tables.c vmm/flash.c vmm/guest_mem.c */
/* A guest that does anything to its firmware's devices: selectors, DMA descriptors, flash commands.
 * Nothing outside its memory is touched, and of the flash memory only the variables change. */
#include <stdlib.h>
#include <string.h>

#include "vmm/acpi_tables.h"
#include "vmm/exits.h"
#include "vmm/firmware.h"
#include "vmm/vm.h"
#include "vmm/vm_boot.h"
#include "vmm/vm_devices.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

#define RAM (64 * KIB)
#define FLASH_LEN (8 * FLASH_BLOCK)
#define VARS (2 * FLASH_BLOCK)
#define CODE 0xc5

const u8 acpi_dsdt[64] = "DSDT\100";
__asm__(".globl acpi_dsdt_end\nacpi_dsdt_end = acpi_dsdt + 64");

void exits_unclaimed_port(struct vm *v, u16 port, u8 size, const char *what)
{
    (void)v;
    (void)port;
    (void)size;
    (void)what;
}

u32 firmware_pci_mem(const struct vm *v)
{
    (void)v;
    return PCI_MEM_FIRST;
}

bool vm_devices_at(const struct vm *v, u32 slot, const char *kind)
{
    (void)v;
    return slot % 4 == kind[0] % 4;
}

static u8 kernel[5000];

const struct host_module *vm_boot_module(const char *path)
{
    static struct host_module m = {.len = sizeof(kernel)};

    (void)path;
    m.vaddr = (u64)kernel;
    return &m;
}

struct action { /* eight bytes of the input */
    u8 what, size;
    u16 low;
    u32 value;
};

static void act(struct vm *vm, u8 *flash, struct action a)
{
    u8 size = (u8)(1 << (a.size % 4));
    u32 at = (a.value >> 16) % FLASH_LEN;
    switch (a.what % 6) {
    case 0:
        fw_cfg_out(vm, FW_CFG_PORT, 2, a.low & 0x3f);
        break;
    case 1:
        (void)fw_cfg_in(vm, (u16)(FW_CFG_PORT + a.low % 12), MIN(size, (u8)4));
        break;
    case 2:
        fw_cfg_out(vm, (u16)(FW_CFG_PORT + a.low % 12), MIN(size, (u8)4), a.value);
        break;
    case 3: /* a descriptor, word by word */
        memcpy(vm->mem.base + (a.low & 0x1c), &a.value, 4);
        break;
    case 4:
        fw_cfg_out(vm, FW_CFG_DMA_PORT + 4, 4, __builtin_bswap32(a.low & 0xf));
        break;
    default:
        if (size <= FLASH_LEN - at)
            flash_write(&vm->firmware->flash, flash, at, size, a.low * 0x0101010101010101ull);
        break;
    }
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    static struct vm *vm;
    static u8 *flash, *ram;
    static u64 starts;
    struct action a;
    if (!vm) {
        vm = calloc(1, sizeof(*vm));
        vm->state = calloc(1, sizeof(*vm->state));
        vm->firmware = calloc(1, sizeof(*vm->firmware));
        flash = malloc(FLASH_LEN); /* apart, so that the sanitizer sees their ends */
        ram = malloc(RAM);
    }
    vm->state->started_at = ++starts;
    vm->config.cpu_count = size % 64 + 1;
    strcpy(vm->config.kernel, "k");
    guest_mem_layout(&vm->mem, ram, RAM);
    memset(flash, CODE, FLASH_LEN);
    *vm->firmware = (struct firmware_state){.flash = {.len = FLASH_LEN, .vars = VARS}};
    for (; size >= sizeof(a); data += sizeof(a), size -= sizeof(a)) {
        memcpy(&a, data, sizeof(a));
        act(vm, flash, a);
    }
    flash_reset(&vm->firmware->flash, flash);
    for (u32 i = VARS; i < FLASH_LEN; i++)
        if (flash[i] != CODE)
            abort();
    return 0;
}
