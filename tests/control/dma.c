/* A control partition that drives QEMU's edu device: DMA inside and outside of what it was granted,
 * and its interrupts.  Freestanding, in place of control.elf; verdicts as in isolation.c. */
#include "kernel/abi/control_page.h"
#include "kernel/abi/layout.h"
#include "kernel/abi/status.h"
#include "tests/control/ring3.h"

void _start(void);

#define EDU 0x11e81234u
/* Registers of the device: QEMU docs/specs/edu. */
#define EDU_RAISE 0x60
#define EDU_ACKNOWLEDGE 0x64
#define EDU_SOURCE 0x80
#define EDU_TARGET 0x88
#define EDU_COUNT 0x90
#define EDU_COMMAND 0x98
#define EDU_BUFFER 0x40000u
#define START 1u
#define TO_MEMORY 2u

static struct control_page *const page = (struct control_page *)USER_CONTROL_PAGE;
static unsigned failures;
static u32 edu;
static volatile u8 *registers;

static void expect(const char *name, u64 got, u64 want)
{
    ring3_print("CASE ");
    ring3_print(name);
    if (got == want) {
        ring3_print(": passed\n");
        return;
    }
    char hex[18] = {0};
    for (int i = 0; i < 16; i++)
        hex[i] = "0123456789abcdef"[got >> (60 - 4 * i) & 15];
    ring3_print(": FAILED, got ");
    ring3_print(hex);
    ring3_print("\n");
    failures++;
}

static u32 config_read(u32 at, u32 size)
{
    return (u32)ring3_call(SYS_PCI_CONFIG, edu, at, size, 0, 0);
}

static i64 config_write(u32 at, u32 size, u32 value)
{
    return ring3_call(SYS_PCI_CONFIG, edu, at, size, 1, value);
}

static void put(u32 at, u32 value)
{
    *(volatile u32 *)(registers + at) = value;
}

static u64 now(void)
{
    u32 lo, hi;
    asm volatile("rdtsc" : "=a"(lo), "=d"(hi));
    return (u64)hi << 32 | lo;
}

/* The device's transfers take a tenth of a second; five at most. */
static void transfer(u64 source, u64 target, u32 command)
{
    u64 end = now() + host->tsc_hz * 5;
    put(EDU_SOURCE, (u32)source);
    put(EDU_TARGET, (u32)target);
    put(EDU_COUNT, 64);
    put(EDU_COMMAND, START | command);
    while ((*(volatile u32 *)(registers + EDU_COMMAND) & START) && now() < end)
        ring3_call(SYS_WAIT, now() + host->tsc_hz / 100, 0, 0, 0, 0);
}

static bool log_has(const char *word)
{
    struct log_cursor cursor = {0};
    char text[241];
    i64 n;

    while ((n = ring3_call(SYS_LOG_READ, (u64)&cursor, (u64)text, sizeof(text), 0, 0)) > 0)
        for (i64 i = 0; i < n; i++) {
            i64 k = 0;
            while (word[k] && i + k < n && text[i + k] == word[k])
                k++;
            if (!word[k])
                return true;
        }
    return false;
}

/* Another CPU may be the one that reports it. */
static bool comes_to_log(const char *word)
{
    u64 end = now() + host->tsc_hz * 20;

    while (!log_has(word)) {
        if (now() >= end)
            return false;
        ring3_call(SYS_WAIT, now() + host->tsc_hz / 10, 0, 0, 0, 0);
    }
    return true;
}

static bool find(void)
{
    for (edu = 0; edu < 256; edu++)
        if (config_read(0, 4) == EDU)
            return true;
    return false;
}

static bool fires(void)
{
    u64 end = now() + host->tsc_hz * 5;
    while (!(page->irq_pending & BIT(9)) && now() < end)
        ring3_call(SYS_WAIT, now() + host->tsc_hz / 10, 0, 0, 0, 0);
    put(EDU_ACKNOWLEDGE, ~0u);
    return __atomic_exchange_n(&page->irq_pending, 0, __ATOMIC_ACQ_REL) & BIT(9);
}

static void refusals(void)
{
    struct dev_bar bar;

    expect("command of an unclaimed function", (u64)config_write(4, 2, 6), (u64)HV_EPERM);
    expect("registers of an unclaimed function",
           (u64)ring3_call(SYS_DEV_BAR, edu, 0, (u64)&bar, 0, 0), (u64)HV_EPERM);
    expect("message of an unclaimed function",
           (u64)ring3_call(SYS_IRQ_BIND, IRQ_MSI | edu, 9, 0, 0, 0), (u64)HV_EPERM);
    expect("claim of a bridge", (u64)ring3_call(SYS_DEV_CLAIM, 0, 0, 0, 0, 0), (u64)HV_EPERM);
    expect("claim of nothing", (u64)ring3_call(SYS_DEV_CLAIM, 0xfff8, 0xfff8, 0, 0, 0),
           (u64)HV_ENOENT);
    expect("claim for a source out of range", (u64)ring3_call(SYS_DEV_CLAIM, edu, 0x10000, 0, 0, 0),
           (u64)HV_EINVAL);
    expect("claim out of range", (u64)ring3_call(SYS_DEV_CLAIM, 0x10000, 0, 0, 0, 0),
           (u64)HV_EINVAL);
    expect("claim", (u64)ring3_call(SYS_DEV_CLAIM, edu, edu, 0, 0, 0), HV_OK);
    expect("claim twice", (u64)ring3_call(SYS_DEV_CLAIM, edu, edu, 0, 0, 0), (u64)HV_EEXIST);
    expect("write of a base address", (u64)config_write(0x10, 4, 0), (u64)HV_EPERM);
    expect("write across a base address", (u64)config_write(0x27, 1, 0), (u64)HV_EPERM);
    expect("write of the ROM's address", (u64)config_write(0x30, 4, 0), (u64)HV_EPERM);
    expect("configuration out of range", (u64)config_write(0x100, 4, 0), (u64)HV_EINVAL);
    expect("configuration unaligned", (u64)config_write(0x3e, 4, 0), (u64)HV_EINVAL);
    expect("base address 6", (u64)ring3_call(SYS_DEV_BAR, edu, 6, (u64)&bar, 0, 0), (u64)HV_EINVAL);
    expect("base address that is not there", (u64)ring3_call(SYS_DEV_BAR, edu, 3, (u64)&bar, 0, 0),
           (u64)HV_ENOENT);
    expect("base address to kernel", (u64)ring3_call(SYS_DEV_BAR, edu, 0, KERNEL_IMAGE_BASE, 0, 0),
           (u64)HV_EFAULT);
    expect("DMA memory of 1 byte", (u64)ring3_call(SYS_DMA_MAP, 1, 0, 0, 0, 0), (u64)HV_EINVAL);
    expect("DMA memory of 1 GiB", (u64)ring3_call(SYS_DMA_MAP, GIB, 0, 0, 0, 0), (u64)HV_EINVAL);
    expect("unmask of nothing", (u64)ring3_call(SYS_IRQ_UNMASK, 9, 0, 0, 0, 0), (u64)HV_EPERM);
    expect("unmask of bit 64", (u64)ring3_call(SYS_IRQ_UNMASK, 64, 0, 0, 0, 0), (u64)HV_EINVAL);
}

static void transfers(bool iommu)
{
    i64 memory = ring3_call(SYS_DMA_MAP, PAGE_SIZE, 0, 0, 0, 0);
    u64 device = (u64)memory - USER_DMA_BASE;
    volatile u64 *words = (volatile u64 *)memory;

    expect("DMA memory", memory > 0, true);
    words[0] = 0x1122334455667788;
    config_write(4, 2, 6);
    transfer(device, EDU_BUFFER, 0);
    transfer(EDU_BUFFER, device + 2048, TO_MEMORY);
    expect("DMA inside the grant", words[256], 0x1122334455667788);
    if (!iommu)
        return;
    expect("no fault so far", log_has("blocked, reason"), false);
    transfer(MIB, EDU_BUFFER, 0); /* a frame that is not granted */
    expect("DMA read outside the grant is reported", comes_to_log("DMA read of 100000 blocked"),
           true);
    transfer(EDU_BUFFER, 2 * MIB, TO_MEMORY);
    expect("DMA write outside the grant is reported", comes_to_log("DMA write to 200000 blocked"),
           true);
    transfer(EDU_BUFFER, device + 1024, TO_MEMORY);
    expect("what was read outside is not there", words[128] == 0x1122334455667788, false);
    words[0] = 1;
    transfer(device, EDU_BUFFER, 0);
    transfer(EDU_BUFFER, device + 2048, TO_MEMORY);
    expect("DMA inside the grant goes on", words[256], 1);
}

static void interrupts(bool remapped)
{
    struct irq_message m = {0};
    u32 line = config_read(0x3c, 1), at = config_read(0x34, 1);

    expect("interrupt line", (u64)ring3_call(SYS_IRQ_BIND, line, 9, 0, 0, 0), HV_OK);
    put(EDU_RAISE, 1);
    expect("line fires", fires(), true);
    ring3_call(SYS_IRQ_UNMASK, 9, 0, 0, 0, 0);
    put(EDU_RAISE, 1);
    expect("line fires again", fires(), true);
    while (at && config_read(at, 1) != 5)
        at = config_read(at + 1, 1);
    expect("message", (u64)ring3_call(SYS_IRQ_BIND, IRQ_MSI | edu, 9, (u64)&m, 0, 0), HV_OK);
    expect("message is remapped", m.address >> 4 & 1, remapped);
    config_write(at + 4, 4, (u32)m.address);
    config_write(at + 8, 4, 0);
    config_write(at + 12, 2, m.data);
    config_write(at + 2, 2, config_read(at + 2, 2) | 1);
    put(EDU_RAISE, 1);
    expect("message fires", fires(), true);
    if (!remapped)
        return;
    config_write(at + 4, 4, 0xfee00000); /* the form that can name any vector */
    config_write(at + 12, 2, 0xe0);
    put(EDU_RAISE, 1); /* blocked, or, as QEMU 7.2 lets it pass, a vector that nobody owns */
    expect("a plain message is reported", comes_to_log("interrupt"), true);
}

void _start(void)
{
    asm volatile("and $-16, %rsp");
    bool iommu = host->iommu & HOST_IOMMU_ON, remapped = host->iommu & HOST_IOMMU_REMAP;
    struct dev_bar bar = {0};

    if (host->restart_count == 0) {
        ring3_call(SYS_WAIT, 0, 0, 0, 0, 0);
        expect("edu is there", find(), true);
        ring3_print(iommu ? "IOMMU on\n" : "IOMMU off\n");
        refusals();
        expect("registers", (u64)ring3_call(SYS_DEV_BAR, edu, 0, (u64)&bar, 0, 0), HV_OK);
        registers = (volatile u8 *)bar.address;
        expect("identification", *(volatile u32 *)registers & 0xffff, 0x00ed);
        transfers(iommu);
        interrupts(remapped);
        /* It crashes while the device may write. */
        put(EDU_COMMAND, 0);
        ring3_call(SYS_EXIT, 3, 0, 0, 0, 0);
    }
    ring3_call(SYS_WAIT, 0, 0, 0, 0, 0);
    find();
    expect("a restart switches bus mastering off", config_read(4, 2) & 4, 0);
    expect("and takes the claim", (u64)config_write(4, 2, 6), (u64)HV_EPERM);
    expect("claim after a restart", (u64)ring3_call(SYS_DEV_CLAIM, edu, edu, 0, 0, 0), HV_OK);
    expect("registers after it", (u64)ring3_call(SYS_DEV_BAR, edu, 0, (u64)&bar, 0, 0), HV_OK);
    registers = (volatile u8 *)bar.address;
    transfers(false);
    ring3_print(failures ? "VERDICT failed\n" : "VERDICT passed\n");
    for (;;)
        ring3_call(SYS_WAIT, ~0ull, 0, 0, 0, 0);
}
