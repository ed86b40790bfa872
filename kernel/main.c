/* Boot as one table of steps, run once on the boot CPU. */
#include "kernel/main.h"

#include "kernel/apic.h"
#include "kernel/control.h"
#include "kernel/cpu_tables.h"
#include "kernel/device.h"
#include "kernel/fpu.h"
#include "kernel/host.h"
#include "kernel/hvm.h"
#include "kernel/idt.h"
#include "kernel/ioapic.h"
#include "kernel/log.h"
#include "kernel/mem.h"
#include "kernel/paging.h"
#include "kernel/sched.h"
#include "kernel/smp.h"
#include "kernel/string.h"
#include "kernel/timer.h"
#include "kernel/uart.h"
#include "kernel/x86.h"

#define TSC_HZ_MIN 1000000 /* what the loader measures is never less */

struct cpu boot_cpu = {.self = &boot_cpu, .online = true, .deadline = ~0ull, .armed = ~0ull};
struct cpu *cpus[CPU_MAX] = {&boot_cpu};
u32 cpu_count = 1;

static struct boot_info boot; /* our copy: the loader's memory is given back */
static u64 entry_tsc;

static void greet(const struct boot_info *bi)
{
    log_notice("Bulkhead: %u CPUs, loaded by %.32s on %.64s", bi->cpu_count, bi->loader,
               bi->firmware);
}

static void memory(const struct boot_info *bi)
{
    paging_early();
    mem_init(bi);
    log_info("memory: %lu MiB in %u regions", mem_total() >> 20, bi->region_count);
}

static void tables(const struct boot_info *bi)
{
    (void)bi;
    cpu_tables_create(&boot_cpu);
    cpu_tables_load(&boot_cpu);
    idt_cpu_init();
}

static void describe_host(const struct boot_info *bi)
{
    host_init(bi, entry_tsc);
}

static void interrupts(const struct boot_info *bi)
{
    (void)bi;
    apic_init();
    ioapic_init();
    boot_cpu.apic_id = apic_id();
}

static void clock(const struct boot_info *bi)
{
    tsc_hz = bi->tsc_hz;
    log_info("TSC: %lu Hz (%.24s)", tsc_hz, bi->tsc_source);
    apic_timer_init(bi->apic_timer_hz);
    if (bi->unix_time)
        host_info->boot_unix_time = bi->unix_time + (i64)((entry_tsc - bi->tsc_at_entry) / tsc_hz);
}

static void virtualisation(const struct boot_info *bi)
{
    (void)bi;
    fpu_cpu_init();
    hvm_detect(host_info);
    host_cpu_online(&boot_cpu);
}

static void grant_console(const struct boot_info *bi)
{
    (void)bi;
    host_info->cpu_count = cpu_count;
    cpu_tables_reset_ports();
}

static void reclaim(const struct boot_info *bi)
{
    mem_reclaim(bi);
    host_info->mem_total = mem_total();
    host_info->mem_kernel = quota_kernel.used + host_image_bytes();
}

/* One step a row, in order. */
static const struct {
    const char *name;
    void (*run)(const struct boot_info *bi);
} steps[] = {
    {"greeting", greet},
    {"memory", memory}, /* from here on phys_to_virt and mem_alloc work */
    {"page tables", paging_init},
    {"CPU tables", tables},  /* guard pages and stacks of their own for NMI, #DF, #MC */
    {"host", describe_host}, /* ACPI, if any, tells the next two what there is */
    {"interrupts", interrupts},
    {"clock", clock},
    {"virtualisation", virtualisation}, /* boot CPU first: it decides for all */
    {"devices", device_init}, /* from here on no device reaches memory, if there is an IOMMU */
    {"other CPUs", smp_init},
    {"console", grant_console},
    {"reclaim", reclaim}, /* nothing of the loader's is used any more */
    {"control partition", control_init},
};

/* What the loader says about itself must fit this kernel before anything else is believed. */
static void take_boot_info(const struct boot_info *physical)
{
    bool known = physical->magic == BOOT_INFO_MAGIC;

    uart_init(known ? (u16)physical->serial_port : 0x3f8);
    if (!known)
        panic("boot_info at %p has no magic number. Try: boot with BOOTX64.EFI of this build",
              (const void *)physical);
    if (physical->version != BOOT_INFO_VERSION || physical->size != sizeof(boot))
        panic("boot_info is version %u of %u bytes, this kernel wants version %u of %zu. "
              "Try: take loader and kernel from one build",
              physical->version, physical->size, BOOT_INFO_VERSION, sizeof(boot));
    memcpy(&boot, physical, sizeof(boot));
    if (boot.region_count > BOOT_MEMORY_REGIONS || boot.module_count > BOOT_MODULES ||
        boot.cpu_count > CPU_MAX || boot.kernel.segment_count > BOOT_SEGMENTS ||
        boot.control.segment_count > BOOT_SEGMENTS || boot.platform.ioapic_count > BOOT_IOAPICS ||
        boot.tsc_hz < TSC_HZ_MIN)
        panic("boot_info has a number out of range");
}

void main_boot(const struct boot_info *physical)
{
    entry_tsc = tsc_read();
    boot_cpu.mark = entry_tsc;
    boot_cpu.accounting = CPU_KERNEL;
    idt_early();
    take_boot_info(physical);
    for (unsigned i = 0; i < ARRAY_LEN(steps); i++) {
        u64 start = tsc_read();
        steps[i].run(&boot);
        log_info("boot: %s, %lu ticks", steps[i].name, tsc_read() - start);
    }
    log_info("boot: %lu ticks in all", tsc_read() - entry_tsc);
    sched_run();
}
