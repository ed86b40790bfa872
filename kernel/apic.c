/* Local APIC access and its timer.  Called by smp.c, irq.c, timer.c and panic.c on their own
 * core; no lock, every register is per core. */
#include "kernel/apic.h"

#include "kernel/apic_registers.h"
#include "kernel/irq.h"
#include "kernel/paging.h"
#include "kernel/timer.h"
#include "kernel/x86.h"

#define LVT_MASKED 0x10000u
#define LVT_NMI 0x400u
#define LVT_TSC_DEADLINE 0x40000u
#define SVR_ENABLE 0x100u
#define ICR_PENDING 0x1000u
#define ICR_ALL_BUT_SELF 0xc0000u
#define DIVIDE_BY_1 0xbu
#define BASE_ENABLE BIT(11)
#define BASE_X2APIC BIT(10)

static enum { APIC_NONE, APIC_MMIO, APIC_MSR } mode;
static volatile u8 *registers; /* APIC_MMIO */
static u64 ticks_per_second;   /* of the one-shot timer; 0: TSC-deadline mode */

static u32 apic_read(u32 r)
{
    return mode == APIC_MSR ? (u32)rdmsr(MSR_X2APIC + r / 16) : mmio_read32(registers + r);
}

static void apic_write(u32 r, u32 value)
{
    if (mode == APIC_MSR)
        wrmsr(MSR_X2APIC + r / 16, value);
    else
        mmio_write32(registers + r, value);
}

void apic_init(void)
{
    u64 base = rdmsr(MSR_APIC_BASE);
    if (cpuid(1, 0).ecx & BIT(21)) {
        mode = APIC_MSR;
    } else {
        registers = paging_map_mmio(HPA(base & BITS(51, 12)), PAGE_SIZE);
        mode = APIC_MMIO;
    }
    apic_cpu_init();
}

void apic_cpu_init(void)
{
    u64 base = rdmsr(MSR_APIC_BASE) | BASE_ENABLE;
    wrmsr(MSR_APIC_BASE, base);
    if (mode == APIC_MSR) /* x2APIC only from enabled xAPIC: SDM 3A 11.12.5 */
        wrmsr(MSR_APIC_BASE, base | BASE_X2APIC);
    apic_write(APIC_SVR, SVR_ENABLE | VECTOR_SPURIOUS);
    apic_write(APIC_TPR, 0);
    apic_write(APIC_LVT_TIMER, LVT_MASKED | VECTOR_TIMER);
    apic_write(APIC_LVT_LINT0, LVT_MASKED);
    apic_write(APIC_LVT_LINT1, LVT_NMI);
    apic_write(APIC_LVT_ERROR, LVT_MASKED);
    apic_write(APIC_ESR, 0);
    if (tsc_hz) /* not the boot CPU, which has no clock yet */
        apic_timer_init(ticks_per_second);
}

u32 apic_id(void)
{
    return mode == APIC_MSR ? apic_read(APIC_ID) : apic_read(APIC_ID) >> 24;
}

bool apic_reaches(u32 id)
{
    return mode == APIC_MSR || id < 0xff;
}

void apic_eoi(void)
{
    apic_write(APIC_EOI, 0);
}

void apic_send(u32 to, u32 command)
{
    if (mode == APIC_MSR) {
        /* The WRMSR does not order earlier stores (SDM 3A 11.12.3): the receiver must see them. */
        asm volatile("mfence; lfence" : : : "memory");
        wrmsr(MSR_X2APIC + APIC_ICR / 16, (u64)to << 32 | command);
        return;
    }
    for (unsigned i = 0; i < 100000 && (apic_read(APIC_ICR) & ICR_PENDING); i++)
        cpu_relax();
    apic_write(APIC_ICR_HIGH, to << 24);
    apic_write(APIC_ICR, command);
}

void apic_stop_others(void)
{
    if (mode != APIC_NONE)
        apic_send(0, APIC_NMI | ICR_ALL_BUT_SELF);
}

void apic_timer_init(u64 hz)
{
    ticks_per_second = hz;
    apic_write(APIC_TIMER_DIVIDE, DIVIDE_BY_1);
    apic_write(APIC_LVT_TIMER, VECTOR_TIMER | (hz ? 0 : LVT_TSC_DEADLINE));
    /* Between the LVT write and the first deadline a fence: SDM 3A 11.5.4.1. */
    asm volatile("mfence" : : : "memory");
}

/* The count that lasts until the deadline, rounded up, at most a second. */
static u32 one_shot_count(u64 deadline)
{
    u64 now = tsc_read();
    u64 left = deadline > now ? MIN(deadline - now, tsc_hz) : 0;
    u64 count = mul_div(left, ticks_per_second, tsc_hz) + 1;
    return (u32)MIN(count, ~0u);
}

void apic_timer_arm(u64 deadline)
{
    if (!ticks_per_second)
        wrmsr(MSR_TSC_DEADLINE, deadline == ~0ull ? 0 : MAX(deadline, 1));
    else
        apic_write(APIC_TIMER_INITIAL, deadline == ~0ull ? 0 : one_shot_count(deadline));
}
