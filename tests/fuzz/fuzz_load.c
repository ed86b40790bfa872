/* links: vmm/load_guest.c vmm/load_bzimage.c vmm/load_pvh.c vmm/load_multiboot.c vmm/load_multiboot_info.c vmm/guest_mem.c kernel/lib/elf.c */
/* Any bytes as a guest kernel by every boot protocol: loading stays inside file and guest memory,
 * and an accepted one enters inside memory. */
#include <stdlib.h>
#include <string.h>

#include "vmm/load_guest.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

#define RAM (4 * MIB)

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    static u8 *ram;
    static const u8 initrd[100] = {1};
    struct guest_mem mem;
    struct vcpu_state state = {0};
    u64 regs[REG_COUNT];
    if (!ram)
        ram = malloc(RAM);
    guest_mem_layout(&mem, ram, RAM);
    struct load_request r = {.mem = &mem,
                             .protocol = size ? data[size - 1] % 5 : LOAD_AUTO,
                             .kernel_name = "kernel",
                             .initrd_name = "initrd",
                             .kernel = data,
                             .kernel_len = size,
                             .initrd = initrd,
                             .initrd_len = sizeof(initrd),
                             .cmdline = "console=ttyS0",
                             .rsdp = 0xe0000};
    const struct load_result out = {&state, regs};
    if (load_guest(&r, &out) != NULL)
        return 0;
    if (state.rip < LOAD_LOWEST || state.rip >= RAM)
        abort();
    return 0;
}
