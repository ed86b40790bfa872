/* The UEFI application: loads kernel, control image and guest files, fills struct boot_info, ends
 * the firmware and enters the kernel.  The steps are in order in efi_main; boot CPU only. */
#include "boot/main.h"

#include <cpuid.h>
#include <efilib.h>

#include "boot/console.h"
#include "boot/cpus.h"
#include "boot/crash.h"
#include "boot/files.h"
#include "boot/firmware.h"
#include "boot/handoff.h"
#include "boot/image.h"
#include "boot/legacy.h"
#include "boot/memory.h"
#include "boot/paging.h"
#include "boot/pci.h"
#include "boot/physical.h"
#include "boot/platform.h"
#include "boot/tsc.h"
#include "kernel/abi/boot_info.h"

#define STACK_BYTES (32 * KIB)
#define READING_TIME 5000000 /* microseconds that an error stays on a screen */

static EFI_STATUS fail(const char *code, const char *what, const char *try)
{
    console_line("%s: %s. Try: %s.", code, what, try);
    BS->Stall(READING_TIME);
    return EFI_LOAD_ERROR;
}

static EFI_STATUS fail_memory(void)
{
    return fail("E_NO_MEMORY", "the machine has too little free memory to start Bulkhead",
                "give it at least 256 MiB");
}

static bool has_five_levels(void)
{
    u64 cr4;
    asm volatile("mov %%cr4, %0" : "=r"(cr4));
    return cr4 & BIT(12);
}

static bool has_feature(u32 edx_bit)
{
    u32 a, b, c, d;
    return __get_cpuid(0x80000001, &a, &b, &c, &d) && (d & BIT(edx_bit));
}

static bool load_everything(struct boot_info *bi)
{
    u64 kernel_bytes, control_bytes;

    if (!image_load("kernel.elf", KERNEL_IMAGE_BASE, BOOT_MEM_KERNEL, &bi->kernel, &kernel_bytes) ||
        !image_load("control.elf", USER_IMAGE_BASE, BOOT_MEM_IMAGE, &bi->control, &control_bytes))
        return false;
    files_load_modules(bi);
    console_line("Bulkhead loader: kernel %u KiB, control %u KiB, %u modules", kernel_bytes / KIB,
                 control_bytes / KIB, (u64)bi->module_count);
    return true;
}

struct handoff {
    struct paging tables;
    void *code, *stack;
};

/* Everything that needs memory, so that nothing is allocated once the map is taken. */
static bool prepare_handoff(struct boot_info *bi, struct handoff *h)
{
    enum { EDX_NX = 20, EDX_1G = 26 };

    h->code = memory_alloc(PAGE_SIZE, BOOT_MEM_LOADER, false);
    h->stack = memory_alloc(STACK_BYTES, BOOT_MEM_LOADER, false);
    if (!h->code || !h->stack)
        return false;
    __builtin_memcpy(h->code, handoff_start, (u64)(handoff_end - handoff_start));
    return memory_read_map(bi->regions, BOOT_MEMORY_REGIONS, &bi->region_count) &&
           paging_init(&h->tables, has_feature(EDX_NX), has_feature(EDX_1G)) &&
           paging_map(&h->tables, (u64)h->code, (u64)h->code, PAGE_SIZE, BOOT_SEG_R | BOOT_SEG_X) &&
           paging_map_memory(&h->tables, bi->regions, bi->region_count) &&
           paging_map_image(&h->tables, &bi->kernel);
}

static struct boot_info *new_boot_info(u64 tsc)
{
    struct boot_info *bi = memory_alloc(sizeof(*bi), BOOT_MEM_LOADER, false);

    if (bi) {
        bi->magic = BOOT_INFO_MAGIC;
        bi->version = BOOT_INFO_VERSION;
        bi->size = sizeof(*bi);
        bi->tsc_at_entry = tsc;
        __builtin_memcpy(bi->loader, "Bulkhead UEFI loader", 21);
    }
    return bi;
}

EFI_STATUS efi_main(EFI_HANDLE image, EFI_SYSTEM_TABLE *system)
{
    u64 tsc = tsc_read();
    struct platform_timers timers;
    struct handoff h;
    const char *why;

    InitializeLib(image, system);
    console_init();
    BS->SetWatchdogTimer(0, 0, 0, NULL);
    if (has_five_levels())
        return fail("E_FIVE_LEVELS", "the firmware left five-level paging on",
                    "turn it off in the firmware's set-up");
    struct boot_info *bi = new_boot_info(tsc);
    if (!bi)
        return fail_memory();
    crash_reserve(bi);
    why = files_open_volume(image);
    if (why)
        return fail("E_VOLUME", why, "write the disk image again");
    if (!load_everything(bi))
        return fail("E_NOT_STARTED", "Bulkhead cannot start from this disk", "see the line above");
    crash_hand_over(bi);
    firmware_collect(bi);
    cpus_collect(bi);
    platform_read(&bi->platform, &timers, physical_map, bi->rsdp);
    bi->trampoline = memory_low_page();
    if (!prepare_handoff(bi, &h))
        return fail_memory();
    pci_disconnect_drivers();
    why = memory_exit_boot_services(image, bi);
    console_firmware_gone();
    if (why) {
        console_line("E_FIRMWARE: %s. Try: update the firmware.", why);
        for (;;)
            asm volatile("cli; hlt");
    }
    bi->tsc_at_exit = tsc_read();
    asm volatile("cli");
    pci_stop_dma();
    tsc_measure(bi, &timers);
    legacy_prepare(bi);
    ((handoff_fn)h.code)((u64)bi, (u64)h.tables.root, (u64)h.stack + STACK_BYTES, bi->kernel.entry,
                         h.tables.nx);
    __builtin_unreachable();
}
