/* Collects the CPUs for boot_info.  Called by main.c on the boot CPU, before ExitBootServices. */
#include "boot/cpus.h"

#include <cpuid.h>
#include <efi.h>
#include <efilib.h>

#include "boot/acpi.h"
#include "boot/console.h"
#include "boot/physical.h"

/* EFI_MP_SERVICES_PROTOCOL: PI 1.7 volume 2, section 13.4. */
struct mp_processor {
    UINT64 id; /* APIC id */
    UINT32 status;
    UINT32 location[3];
    UINT32 location2[6];
};
enum { MP_STATUS_ENABLED = 2 };

struct mp_services {
    EFI_STATUS(EFIAPI *get_number_of_processors)
    (struct mp_services *self, UINTN *count, UINTN *enabled);
    EFI_STATUS(EFIAPI *get_processor_info)
    (struct mp_services *self, UINTN number, struct mp_processor *info);
    void *startup_all_aps, *startup_this_ap, *switch_bsp, *enable_disable_ap, *who_am_i;
};

static EFI_GUID mp_services_guid = {
    0x3fdda605, 0xa76e, 0x4f46, {0xad, 0x29, 0x12, 0xf4, 0x53, 0x1b, 0x3d, 0x08}};

static u32 own_apic_id(void)
{
    u32 a, b, c, d;

    /* Leaf BH has all 32 bits where it exists (SDM 2A, CPUID); leaf 1 has eight. */
    if (__get_cpuid_count(0xb, 0, &a, &b, &c, &d) && b != 0)
        return d;
    __cpuid(1, a, b, c, d);
    return b >> 24;
}

static void add_cpu(struct boot_info *bi, u32 apic_id, bool usable)
{
    if (apic_id == bi->cpus[0].apic_id)
        return;
    if (bi->cpu_count == CPU_MAX) {
        console_line("E_TOO_MANY_CPUS: CPU with APIC id %u stays unused, %u are the limit. "
                     "Try: nothing, this is harmless.",
                     (u64)apic_id, (u64)CPU_MAX);
        return;
    }
    bi->cpus[bi->cpu_count++] = (struct boot_cpu){apic_id, usable ? BOOT_CPU_USABLE : 0};
}

static bool collect_from_madt(struct boot_info *bi)
{
    static struct acpi_cpu found[4 * CPU_MAX];
    u32 len;
    const u8 *madt = acpi_find(physical_map, bi->rsdp, "APIC", &len);

    if (!madt)
        return false;
    u32 count = acpi_madt_cpus(madt, len, found, ARRAY_LEN(found));
    for (u32 i = 0; i < count; i++)
        if (found[i].usable)
            add_cpu(bi, found[i].apic_id, true);
    return count > 0;
}

static bool collect_from_mp_services(struct boot_info *bi)
{
    struct mp_services *mp;
    UINTN count, enabled;

    if (EFI_ERROR(BS->LocateProtocol(&mp_services_guid, NULL, (void **)&mp)) ||
        EFI_ERROR(mp->get_number_of_processors(mp, &count, &enabled)))
        return false;
    for (UINTN i = 0; i < count; i++) {
        struct mp_processor info = {0};
        if (!EFI_ERROR(mp->get_processor_info(mp, i, &info)))
            add_cpu(bi, (u32)info.id, info.status & MP_STATUS_ENABLED);
    }
    return true;
}

void cpus_collect(struct boot_info *bi)
{
    bi->cpus[0] = (struct boot_cpu){own_apic_id(), BOOT_CPU_BSP | BOOT_CPU_USABLE};
    bi->cpu_count = 1;
    if (collect_from_madt(bi))
        bi->cpu_source = BOOT_CPUS_MADT;
    else if (collect_from_mp_services(bi))
        bi->cpu_source = BOOT_CPUS_MP_SERVICES;
    else
        bi->cpu_source = BOOT_CPUS_NONE;
}
