/* Puts old devices into the state that the kernel expects of them.  Called by main.c on the boot
 * CPU, when the firmware's interrupts are over and the TSC's rate is known. */
#include "boot/legacy.h"

#include <cpuid.h>

#include "boot/port.h"
#include "boot/tsc.h"
#include "kernel/abi/x86_bits.h"

enum uart { DATA = 0, ENABLES = 1, FIFO = 2, LINE = 3, MODEM = 4, SCRATCH = 7 };

/* Local APIC: SDM 3A table 11-1. */
enum apic {
    APIC_IRR = 0x200,
    APIC_LVT_TIMER = 0x320,
    APIC_INITIAL = 0x380,
    APIC_CURRENT = 0x390,
    APIC_DIVIDE = 0x3e0
};
#define LVT_MASKED 0x10000u
#define LVT_TSC_DEADLINE 0x40000u
#define DIVIDE_BY_1 0xbu
#define BASE_X2APIC BIT(10)
#define CALIBRATIONS 16 /* until one is right within a millionth of a second */

/* To vectors 20H.., where nothing listens, and every line masked. */
static void mask_pics(void)
{
    static const struct {
        u16 port;
        u8 value;
    } sequence[] = {
        {0x20, 0x11}, {0xa0, 0x11}, {0x21, 0x20}, {0xa1, 0x28}, {0x21, 0x04},
        {0xa1, 0x02}, {0x21, 0x01}, {0xa1, 0x01}, {0x21, 0xff}, {0xa1, 0xff},
    };
    for (u32 i = 0; i < ARRAY_LEN(sequence); i++)
        outb(sequence[i].port, sequence[i].value);
}

static bool set_up_uart(u16 port)
{
    outb(port + SCRATCH, 0x5a);
    if (inb(port + SCRATCH) != 0x5a)
        return false;
    outb(port + ENABLES, 0);
    outb(port + LINE, 0x80); /* divisor: 1, 115200 */
    outb(port + DATA, 1);
    outb(port + ENABLES, 0);
    outb(port + LINE, 3); /* 8N1 */
    outb(port + FIFO, 7); /* on and empty */
    outb(port + MODEM, 0xb);
    return true;
}

static u64 apic_base(void)
{
    u32 low, high;
    asm volatile("rdmsr" : "=a"(low), "=d"(high) : "c"(MSR_APIC_BASE));
    return (u64)high << 32 | low;
}

static void apic_write(u64 base, u32 at, u32 value)
{
    if (base & BASE_X2APIC)
        asm volatile("wrmsr" : : "c"(MSR_X2APIC + at / 16), "a"(value), "d"(0));
    else
        *(volatile u32 *)((base & BITS(51, 12)) + at) = value;
}

static u32 apic_read(u64 base, u32 at)
{
    u32 low, high;

    if (!(base & BASE_X2APIC))
        return *(volatile u32 *)((base & BITS(51, 12)) + at);
    asm volatile("rdmsr" : "=a"(low), "=d"(high) : "c"(MSR_X2APIC + at / 16));
    return low;
}

/* Counts the timer against the TSC for 1 ms or more.  *doubt: TSC ticks by which the span may be
 * wrong, since between two instructions an outer hypervisor may run for long. */
static u64 measure(u64 base, u64 tsc_hz, u64 *doubt)
{
    u64 start = tsc_read();
    apic_write(base, APIC_INITIAL, ~0u);
    u64 started = tsc_read();
    while (tsc_read() - started < tsc_hz / 1000)
        asm volatile("pause");
    u64 end = tsc_read();
    u32 counted = ~0u - apic_read(base, APIC_CURRENT);
    u64 ended = tsc_read();
    apic_write(base, APIC_INITIAL, 0);
    *doubt = (started - start) + (ended - end);
    /* counted and the rate are of 32 and about 32 bits */
    return MAX(counted * tsc_hz / ((end - start + ended - started) / 2), 1);
}

static u64 apic_timer_hz(u64 tsc_hz)
{
    u64 base = apic_base(), best = 1, least = ~0ull, doubt;

    apic_write(base, APIC_LVT_TIMER, LVT_MASKED);
    apic_write(base, APIC_DIVIDE, DIVIDE_BY_1);
    for (u32 i = 0; i < CALIBRATIONS && least > tsc_hz / 1000000; i++) {
        u64 hz = measure(base, tsc_hz, &doubt);
        if (doubt < least) {
            least = doubt;
            best = hz;
        }
    }
    return best;
}

static void set_deadline(u64 tsc)
{
    /* The fence: SDM 3A 11.5.4.1. */
    asm volatile("mfence\n\twrmsr"
                 :
                 : "c"(MSR_TSC_DEADLINE), "a"((u32)tsc), "d"((u32)(tsc >> 32))
                 : "memory");
}

/* Does a deadline wait for its time?  Bochs compares it with a clock that a warm reset does not set
 * back as it does the TSC, so that each one fires at once.  Interrupts are off; one that was
 * requested is the kernel's, as one of its own timer. */
static bool deadline_holds(u64 tsc_hz)
{
    u64 base = apic_base(), start = tsc_read(), deadline = start + tsc_hz / 100;
    u32 word = APIC_IRR + BOOT_TIMER_VECTOR / 32 * 16;

    apic_write(base, APIC_LVT_TIMER, LVT_TSC_DEADLINE | BOOT_TIMER_VECTOR);
    set_deadline(deadline);
    while (tsc_read() - start < tsc_hz / 10000)
        asm volatile("pause");
    bool fired = apic_read(base, word) >> BOOT_TIMER_VECTOR % 32 & 1;
    bool early = tsc_read() < deadline;
    set_deadline(0);
    apic_write(base, APIC_LVT_TIMER, LVT_MASKED);
    return !(fired && early);
}

void legacy_prepare(struct boot_info *bi)
{
    u32 a, b, c = 0, d;

    mask_pics();
    if (bi->serial_port > 0xfff8 || !set_up_uart((u16)bi->serial_port))
        bi->serial_port = 0;
    __get_cpuid(1, &a, &b, &c, &d);
    if (!(c & BIT(24)) || !deadline_holds(bi->tsc_hz)) /* no TSC-deadline mode */
        bi->apic_timer_hz = apic_timer_hz(bi->tsc_hz);
}
