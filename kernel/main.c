/* Boot, step by step, on the boot CPU. */
#include "kernel/main.h"

#include "kernel/apic.h"
#include "kernel/control.h"
#include "kernel/cpu_tables.h"
#include "kernel/device.h"
#include "kernel/fpu.h"
#include "kernel/health.h"
#include "kernel/host.h"
#include "kernel/hvm.h"
#include "kernel/idt.h"
#include "kernel/ioapic.h"
#include "kernel/log.h"
#include "kernel/mem.h"
#include "kernel/paging.h"
#include "kernel/panic.h"
#include "kernel/sched.h"
#include "kernel/smp.h"
#include "kernel/string.h"
#include "kernel/timer.h"
#include "kernel/uart.h"
#include "kernel/x86.h"

struct cpu boot_cpu = {.self = &boot_cpu, .online = true, .deadline = ~0ull, .armed = ~0ull};
struct cpu *cpus[CPU_MAX] = {&boot_cpu};
u32 cpu_count = 1;

static struct boot_info boot; /* our copy: the loader's memory is given back */
static u64 entry_tsc;

/* What the loader says about itself must fit this kernel before anything else is believed. */
static void take_boot_info(const struct boot_info *physical)
{
    bool known = physical->magic == BOOT_INFO_MAGIC;

    uart_init(known ? (u16)physical->serial_port : 0x3f8);
    if (!known)
        panic("boot_info at %lx has no magic number. Try: boot with BOOTX64.EFI of this build",
              (u64)physical);
    if (physical->version != BOOT_INFO_VERSION || physical->size != sizeof(boot))
        panic("boot_info is version %u of %u bytes, this kernel wants version %u of %zu. "
              "Try: take loader and kernel from one build",
              physical->version, physical->size, BOOT_INFO_VERSION, sizeof(boot));
    memcpy(&boot, physical, sizeof(boot));
}

void main_boot(const struct boot_info *physical)
{
    entry_tsc = tsc_read();
    boot_cpu.mark = entry_tsc;
    boot_cpu.accounting = CPU_KERNEL;
    idt_early();
    take_boot_info(physical);
    log_notice("Bulkhead: %u CPUs, loaded by %.32s on %.64s", boot.cpu_count, boot.loader,
               boot.firmware);
    paging_early();
    panic_init(&boot);
    mem_init(&boot); /* from here on phys_to_virt and mem_alloc work */
    paging_init(&boot);
    cpu_tables_create(&boot_cpu); /* guard pages and stacks of their own for NMI, #DF, #MC */
    cpu_tables_load(&boot_cpu);
    idt_cpu_init();
    host_init(&boot, entry_tsc); /* tells the next ones what there is */
    apic_init();
    ioapic_init();
    boot_cpu.apic_id = apic_id();
    tsc_hz = boot.tsc_hz;
    apic_timer_init(boot.apic_timer_hz);
    fpu_cpu_init();
    health_cpu_init();
    hvm_detect(host_info);
    host_cpu_online(&boot_cpu); /* boot CPU first: it decides for all */
    device_init(&boot);         /* from here on no device reaches memory, if there is an IOMMU */
    smp_init(&boot);
    host_info->cpu_count = cpu_count;
    hvm_spare_first(host_info);
    cpu_tables_reset_ports();
    mem_reclaim(&boot); /* nothing of the loader's is used any more */
    control_init(&boot);
    health_start();
    log_info("boot: %lu ticks in all", tsc_read() - entry_tsc);
    sched_run();
}
