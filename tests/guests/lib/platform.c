/* The guest's platform as its firmware tables tell it: ACPI, CPU list, power, and the PIT clock. */
#include "tests/guests/lib/platform.h"

#include "tests/guests/lib/cpu.h"
#include "tests/guests/lib/guest.h"

struct __attribute__((packed)) rsdp {
    char signature[8];
    u8 checksum;
    char oem[6];
    u8 revision;
    u32 rsdt;
    u32 length;
    u64 xsdt;
};

static bool same(const char *a, const char *b, unsigned len)
{
    for (unsigned i = 0; i < len; i++)
        if (a[i] != b[i])
            return false;
    return true;
}

static bool sums_to_zero(const void *p, u32 len)
{
    u8 sum = 0;
    for (u32 i = 0; i < len; i++)
        sum = (u8)(sum + ((const u8 *)p)[i]);
    return sum == 0;
}

static bool by_pvh(void)
{
    return start_info && start_info->magic == PVH_MAGIC;
}

const char *platform_command_line(void)
{
    return by_pvh() && start_info->command_line ? (const char *)start_info->command_line : "";
}

u32 platform_command_number(u32 otherwise)
{
    u32 n = 0;
    for (const char *c = platform_command_line(); *c; c++)
        if (*c >= '0' && *c <= '9')
            n = n * 10 + (u32)(*c - '0');
    return n ? n : otherwise;
}

bool guest_on_qemu(void)
{
    return cpuid(0x40000000, 0).ebx == 0x54474354; /* "TCGT" */
}

bool guest_is_tcg(void)
{
    return guest_on_qemu() || same(platform_command_line(), "tcg", 3);
}

/* Told by PVH; else where a BIOS leaves it, ACPI 6.3 section 5.2.5.1. */
static const struct rsdp *find_rsdp(void)
{
    if (by_pvh() && start_info->rsdp)
        return (const void *)start_info->rsdp;
    for (u64 at = 0xe0000; at < 0x100000; at += 16)
        if (same((const char *)at, "RSD PTR ", 8) && sums_to_zero((const void *)at, 20))
            return (const void *)at;
    return NULL;
}

const void *acpi_find(const char *signature)
{
    const struct rsdp *rsdp = find_rsdp();
    if (!rsdp)
        return NULL;
    check(same(rsdp->signature, "RSD PTR ", 8), "RSDP has no signature");
    check(sums_to_zero(rsdp, 20), "checksum of the RSDP");
    bool wide = rsdp->revision >= 2 && rsdp->xsdt;
    const struct acpi_header *root = (const void *)(wide ? rsdp->xsdt : rsdp->rsdt);
    check(sums_to_zero(root, root->length), "checksum of the ACPI root table");
    const u8 *entry = (const u8 *)(root + 1), *end = (const u8 *)root + root->length;
    for (; entry < end; entry += wide ? 8 : 4) {
        u64 at = *(const u32 *)entry;
        if (wide)
            at |= (u64) * (const u32 *)(entry + 4) << 32;
        const struct acpi_header *table = (const void *)at;
        if (!same(table->signature, signature, 4))
            continue;
        check(sums_to_zero(table, table->length), "checksum of ACPI table %s", signature);
        return table;
    }
    return NULL;
}

/* The i-th usable local APIC of the MADT (types 0 and 9); ~0 beyond the last. */
static u32 madt_cpu(unsigned wanted)
{
    const struct acpi_header *madt = acpi_find("APIC");
    if (!madt)
        return wanted == 0 ? 0 : ~0u;
    const u8 *at = (const u8 *)madt + 44, *end = (const u8 *)madt + madt->length;
    for (; at + 2 <= end && at[1] >= 2; at += at[1]) {
        u32 id, flags;
        if (at[0] == 0) {
            id = at[3];
            flags = *(const u32 *)(at + 4);
        } else if (at[0] == 9) {
            id = *(const u32 *)(at + 4);
            flags = *(const u32 *)(at + 8);
        } else {
            continue;
        }
        if (flags & 1 && wanted-- == 0)
            return id;
    }
    return ~0u;
}

unsigned guest_cpu_count(void)
{
    unsigned n = 0;
    while (madt_cpu(n) != ~0u)
        n++;
    return n;
}

u32 guest_apic_id_of(unsigned index)
{
    return madt_cpu(index);
}

bool acpi_s5(u16 *port, u16 *value)
{
    const u8 *fadt = acpi_find("FACP");
    if (!fadt)
        return false;
    const struct acpi_header *dsdt = (const void *)(u64) * (const u32 *)(fadt + 40);
    *port = (u16) * (const u32 *)(fadt + 64);
    if (!*port || !dsdt)
        return false;
    const u8 *aml = (const u8 *)(dsdt + 1), *end = (const u8 *)dsdt + dsdt->length - 8;
    for (; aml < end; aml++) {
        /* Name (_S5_, Package () {typ, ...}): "_S5_", PackageOp, length, count, then a constant */
        if (!same((const char *)aml, "_S5_", 4) || aml[4] != 0x12)
            continue;
        const u8 *element = aml + 5 + 1 + (aml[5] >> 6) + 1;
        u8 type = element[0] == 0x0a ? element[1] : element[0] <= 1 ? element[0] : 0xff;
        if (type > 7)
            return false;
        *value = (u16)(1u << 13 | type << 10);
        return true;
    }
    return false;
}

void guest_power_off(void)
{
    u16 port, value;
    static bool once;
    if (!once) {
        once = true; /* a table that fails its check comes back here */
        if (acpi_s5(&port, &value))
            outw(port, value);
    }
    for (;;)
        asm volatile("cli; hlt");
}

void delay_ms(unsigned ms)
{
    /* Channel 2 in mode 0 counts down at 1.193182 MHz from at most 65535, which is 54 ms; port 61H
     * bit 5 is its output. */
    while (ms) {
        unsigned now = MIN(ms, 50u), ticks = now * 1193;
        ms -= now;
        u8 gate = inb(0x61) & 0xfc;
        outb(0x61, gate);
        outb(0x43, 0xb0);
        outb(0x42, (u8)ticks);
        outb(0x42, (u8)(ticks >> 8));
        outb(0x61, gate | 1);
        while (!(inb(0x61) & 0x20))
            pause();
    }
}

static u64 least_delay(unsigned ms, unsigned times)
{
    u64 least = ~0ull;
    for (unsigned i = 0; i < times; i++) {
        u64 start = rdtsc();
        delay_ms(ms);
        u64 took = rdtsc() - start;
        least = MIN(least, took);
    }
    return least;
}

u64 tsc_of_delay(unsigned ms)
{
    return least_delay(ms, 5);
}

u64 tsc_per_ms(void)
{
    static u64 measured;
    if (!measured) /* short ones: a vCPU of a loaded machine is held up in most longer ones */
        measured = least_delay(2, 20) / 2;
    return measured;
}

bool guest_late(u64 start, u32 ms)
{
    return rdtsc() - start >= (guest_is_tcg() ? 10ull : 1) * ms * tsc_per_ms();
}
