/* Fills host_info at boot; reboot and power off for SYS_HOST_RESET. */
#include "kernel/host.h"

#include "kernel/hvm.h"
#include "kernel/mem.h"
#include "kernel/paging.h"
#include "kernel/string.h"
#include "kernel/timer.h"
#include "kernel/uart.h"
#include "kernel/x86.h"

#define UART_IRQ 4
#define MSR_ARCH_CAPABILITIES 0x10au
#define SLEEP_ENABLE BIT(13)
#define SLEEP_TYPE(t) ((u32)(t) << 10)

extern const char image_start[], image_end[];

struct host_info *host_info;
struct boot_platform host_platform;

u64 host_image_bytes(void)
{
    return (u64)(image_end - image_start);
}

void host_init(const struct boot_info *bi, u64 entry_tsc)
{
    paging_alloc(KERNEL_HOST_INFO, ROUND_UP(sizeof(struct host_info), PAGE_SIZE), PG_W);
    host_info = (struct host_info *)KERNEL_HOST_INFO;
    *host_info = (struct host_info){
        .version = HOST_INFO_VERSION,
        .size = sizeof(struct host_info),
        .boot_tsc = entry_tsc,
        .uart_port = uart_port(),
        .uart_gsi = ~0u,
        .rsdp = bi->rsdp,
        .tsc_hz = bi->tsc_hz,
        .boot_unix_time =
            bi->unix_time ? bi->unix_time + (i64)((entry_tsc - bi->tsc_at_entry) / bi->tsc_hz) : 0,
        .framebuffer = bi->framebuffer,
    };
    memcpy(host_info->loader, bi->loader, sizeof(host_info->loader) - 1);
    memcpy(host_info->tsc_source, bi->tsc_source, sizeof(host_info->tsc_source) - 1);
    memcpy(host_info->firmware, bi->firmware, sizeof(host_info->firmware) - 1);
    if (cpuid(0, 0).eax >= 7 && (cpuid(7, 0).edx & BIT(29)))
        host_info->arch_capabilities = rdmsr(MSR_ARCH_CAPABILITIES);
    host_platform = bi->platform;
    if (host_info->uart_port == 0x3f8)
        host_info->uart_gsi = host_platform.isa[UART_IRQ].gsi;
}

i64 host_now(void)
{
    if (!host_info || !host_info->boot_unix_time)
        return 0;
    return host_info->boot_unix_time + (i64)((tsc_read() - host_info->boot_tsc) / tsc_hz);
}

void host_cpu_online(struct cpu *c)
{
    enum host_problem problem = hvm ? hvm->cpu_enable(host_info) : HOST_HVM_WORKS;

    c->hvm_enabled = hvm && problem == HOST_HVM_WORKS;
    if (c->id == 0) {
        host_info->hvm_problem = problem;
        hvm = c->hvm_enabled ? hvm : NULL;
    }
    host_info->cpus[c->id] = (struct host_cpu){
        .apic_id = c->apic_id, .online = 1, .hvm = c->hvm_enabled, .hvm_problem = (u8)problem};
}

static void power_off(void)
{
    if (host_platform.has_s5 && host_platform.pm1a_control) {
        outw(host_platform.pm1a_control,
             (u16)(SLEEP_TYPE(host_platform.sleep_type_a) | SLEEP_ENABLE));
        if (host_platform.pm1b_control)
            outw(host_platform.pm1b_control,
                 (u16)(SLEEP_TYPE(host_platform.sleep_type_b) | SLEEP_ENABLE));
    }
    if (!host_info->rsdp) /* a Bochs machine: its shutdown port */
        for (const char *s = "Shutdown"; *s; s++)
            outb(0x8900, (u8)*s);
}

i64 host_reset(const u64 args[6])
{
    if (args[0] > 1)
        return HV_EINVAL;
    if (args[0]) {
        power_off();
        return HV_ENOSYS; /* still here */
    }
    if (host_platform.reset_port)
        outb(host_platform.reset_port, host_platform.reset_value);
    if (!host_info->rsdp) { /* a Bochs machine: its reset forgets where the PM timer is, not that */
        outl(0xcf8,
             0x80000b80); /* it is on (PIIX4 function 3, PMREGMISC); firmware believes that */
        outb(0xcfc, 0);
    }
    outb(0xcf9, 0x02);
    outb(0xcf9, 0x06);
    outb(0x64, 0xfe);
    /* Last resort: a triple fault. */
    struct {
        u16 limit;
        u64 base;
    } __attribute__((packed)) none = {0, 0};
    asm volatile("lidt %0; int3" : : "m"(none));
    return HV_EIO;
}
