/* Fills host_info at boot; reboot and power off for SYS_HOST_RESET. */
#include "kernel/host.h"

#include "kernel/hvm.h"
#include "kernel/lib/fmt.h"
#include "kernel/log.h"
#include "kernel/mem.h"
#include "kernel/paging.h"
#include "kernel/string.h"
#include "kernel/uart.h"
#include "kernel/x86.h"

#define UART_IRQ 4
#define SLEEP_ENABLE BIT(13)
#define SLEEP_TYPE(t) ((u32)(t) << 10)

extern const char image_start[], image_end[];

struct host_info *host_info;
struct boot_platform host_platform;

u64 host_image_bytes(void)
{
    return (u64)(image_end - image_start);
}

void host_feature(const char *name, enum feature_state state, const char *note)
{
    if (host_info->feature_count == HOST_FEATURES)
        return;
    struct host_feature *f = &host_info->features[host_info->feature_count++];
    fmt_snprintf(f->name, sizeof(f->name), "%s", name);
    fmt_snprintf(f->note, sizeof(f->note), "%s", note);
    f->state = (u8)state;
}

/* One line a CPUID bit that the kernel uses where it is offered. */
static const struct {
    u32 leaf;
    u8 reg; /* 0 eax .. 3 edx */
    u8 bit;
    const char *name, *use, *without;
} features[] = {
    {7, 1, 7, "SMEP", "ring 0 runs no user page", "page tables alone"},
    {7, 1, 20, "SMAP", "ring 0 touches no user page", "user pointers go by page tables anyway"},
    {7, 2, 2, "UMIP", "ring 3 cannot read descriptor tables", "they can be read"},
    {0x80000001, 3, 26, "1 GiB pages", "physmap", "2 MiB pages"},
    {1, 2, 21, "x2APIC", "interrupts by MSR", "xAPIC registers"},
    {1, 2, 24, "TSC deadline timer", "host timers", "one-shot APIC timer"},
    {0x80000007, 3, 8, "invariant TSC", "time", "TSC may change with frequency; used all the same"},
};

static void fill_features(void)
{
    for (u32 i = 0; i < ARRAY_LEN(features); i++) {
        u32 leaf = features[i].leaf;
        struct cpuid_regs r = {0};
        if (leaf <= cpuid(leaf & 0x80000000, 0).eax)
            r = cpuid(leaf, 0);
        bool has = (features[i].reg == 1   ? r.ebx
                    : features[i].reg == 2 ? r.ecx
                                           : r.edx) &
                   BIT(features[i].bit);
        host_feature(features[i].name, has ? FEATURE_ACTIVE : FEATURE_ABSENT,
                     has ? features[i].use : features[i].without);
    }
}

static void fill_cpu_names(void)
{
    u32 *brand = (u32 *)host_info->cpu_brand;
    if (cpuid(0x80000000, 0).eax >= 0x80000004)
        for (u32 i = 0; i < 3; i++) {
            struct cpuid_regs r = cpuid(0x80000002 + i, 0);
            memcpy(brand + i * 4, &r, sizeof(r));
        }
    if (cpuid(1, 0).ecx & BIT(31)) {
        struct cpuid_regs r = cpuid(0x40000000, 0);
        u32 signature[3] = {r.ebx, r.ecx, r.edx};
        memcpy(host_info->outer_hypervisor, signature, sizeof(signature));
    }
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
        .smbios = bi->smbios,
        .tsc_hz = bi->tsc_hz,
        .framebuffer = bi->framebuffer,
    };
    memcpy(host_info->loader, bi->loader, sizeof(host_info->loader) - 1);
    memcpy(host_info->tsc_source, bi->tsc_source, sizeof(host_info->tsc_source) - 1);
    memcpy(host_info->firmware, bi->firmware, sizeof(host_info->firmware) - 1);
    fill_cpu_names();
    fill_features();
    host_platform = bi->platform;
    host_info->fadt_reset_port = host_platform.reset_port;
    host_info->fadt_reset_value = host_platform.reset_value;
    host_info->fadt_pm1a_control = host_platform.pm1a_control;
    if (host_info->uart_port == 0x3f8)
        host_info->uart_gsi = host_platform.isa[UART_IRQ].gsi;
}

void host_cpu_online(const struct cpu *c)
{
    bool on = hvm && hvm->cpu_enable(host_info) == HV_OK;
    cpus[c->id]->hvm_enabled = on;
    if (!on && c->id == 0) { /* why is in host_info */
        hvm = NULL;
        host_info->hvm_name[0] = 0;
    }
    host_info->cpus[c->id] = (struct host_cpu){.apic_id = c->apic_id, .online = 1, .hvm = on};
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

enum hv_status host_reset(bool off)
{
    if (off) {
        power_off();
        return HV_ENOSYS; /* still here */
    }
    if (host_platform.reset_port)
        outb(host_platform.reset_port, host_platform.reset_value);
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
