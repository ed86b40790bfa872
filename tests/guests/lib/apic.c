/* Access to the guest's local APIC in the mode it is in, and to its I/O APIC. */
#include "tests/guests/lib/apic.h"

#include "tests/guests/lib/cpu.h"
#include "tests/guests/lib/guest.h"

#define APIC_PAGE 0xfee00000ull
#define IOAPIC_PAGE 0xfec00000ull
#define BASE_ENABLE BIT(11)
#define BASE_X2 BIT(10)
#define SVR_ENABLE 0x100

static volatile u32 *mmio(u64 address)
{
    return (volatile u32 *)address;
}

bool apic_is_x2(void)
{
    return rdmsr(MSR_APIC_BASE) & BASE_X2;
}

u32 apic_read(u32 reg)
{
    return apic_is_x2() ? (u32)rdmsr(0x800 + reg / 16) : *mmio(APIC_PAGE + reg);
}

void apic_write(u32 reg, u32 value)
{
    if (apic_is_x2())
        wrmsr(0x800 + reg / 16, value);
    else
        *mmio(APIC_PAGE + reg) = value;
}

void apic_enable_x(void)
{
    u64 base = rdmsr(MSR_APIC_BASE);
    if (base & BASE_X2) /* the only way back is through disabled, SDM 3A 11.12.5 */
        wrmsr(MSR_APIC_BASE, base & ~(BASE_X2 | BASE_ENABLE));
    wrmsr(MSR_APIC_BASE, (base & ~BASE_X2) | BASE_ENABLE);
    apic_write(APIC_SVR, SVR_ENABLE | 0xff);
    apic_write(APIC_TPR, 0);
}

void apic_enable_x2(void)
{
    wrmsr(MSR_APIC_BASE, rdmsr(MSR_APIC_BASE) | BASE_ENABLE);
    wrmsr(MSR_APIC_BASE, rdmsr(MSR_APIC_BASE) | BASE_ENABLE | BASE_X2);
    apic_write(APIC_SVR, SVR_ENABLE | 0xff);
    apic_write(APIC_TPR, 0);
}

u32 apic_id(void)
{
    return apic_is_x2() ? apic_read(APIC_ID) : apic_read(APIC_ID) >> 24;
}

void apic_eoi(void)
{
    if (rdmsr(MSR_APIC_BASE) & BASE_ENABLE)
        apic_write(APIC_EOI, 0);
}

void apic_ipi(u32 dest, u32 icr)
{
    if (apic_is_x2()) {
        wrmsr(0x800 + APIC_ICR / 16, (u64)dest << 32 | icr);
        return;
    }
    apic_write(APIC_ICR_HIGH, dest << 24);
    apic_write(APIC_ICR, icr);
    while (apic_read(APIC_ICR) & APIC_ICR_PENDING)
        pause();
}

bool apic_bit(u32 reg, unsigned vector)
{
    return apic_read(reg + vector / 32 * 16) >> (vector % 32) & 1;
}

u32 ioapic_read(u32 index)
{
    *mmio(IOAPIC_PAGE) = index;
    return *mmio(IOAPIC_PAGE + 0x10);
}

void ioapic_write(u32 index, u32 value)
{
    *mmio(IOAPIC_PAGE) = index;
    *mmio(IOAPIC_PAGE + 0x10) = value;
}

void ioapic_route(unsigned pin, u32 low, u32 apic_id)
{
    ioapic_write(0x10 + 2 * pin, APIC_LVT_MASKED);
    ioapic_write(0x11 + 2 * pin, apic_id << 24);
    ioapic_write(0x10 + 2 * pin, low);
}
