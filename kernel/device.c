/* The device calls of the control partition; docs/architecture.md, "Devices".  On the control
 * thread's core. */
#include "kernel/device.h"

#include "kernel/abi/syscall.h"
#include "kernel/control.h"
#include "kernel/cpu_tables.h"
#include "kernel/irq.h"
#include "kernel/mem.h"
#include "kernel/vtd.h"
#include "kernel/x86.h"

#define CLAIMS 64

/* Configuration header, PCI 3.0 section 6.1. */
enum {
    CONFIG_ID = 0x00,
    CONFIG_COMMAND = 0x04,
    CONFIG_INTERFACE = 0x09,
    CONFIG_CLASS = 0x0a, /* subclass, then base class */
    CONFIG_HEADER = 0x0e,
    CONFIG_BAR = 0x10,
    CONFIG_BARS_END = 0x28,
    CONFIG_ROM = 0x30,
    CONFIG_LINE = 0x3c,
    COMMAND_DECODE = 0x03,
    COMMAND_MASTER = 0x04,
    CLASS_IDE = 0x0101,
    CLASS_BRIDGE = 0x06,
};

/* Where IDE channels are that do not say so: PCI IDE Controller Specification 1.0, section 2. */
static const struct {
    u16 port, len;
    u32 gsi;
    u8 native; /* bit of the programming interface: the base addresses count */
} ide[] = {{0x1f0, 8, 14, 1}, {0x3f6, 1, 14, 1}, {0x170, 8, 15, 4}, {0x376, 1, 15, 4}};

static const struct boot_info *boot;
static struct {
    u16 function, source;
} claims[CLAIMS];
static u32 claim_count;
static u64 next_mmio = USER_MMIO_BASE;

/* Configuration mechanism 1, PCI 3.0 section 3.2.2.3.2. */
static u16 select(u16 function, u32 at)
{
    outl(0xcf8, 0x80000000u | (u32)function << 8 | (at & 0xfc));
    return (u16)(0xcfc + at % 4);
}

static u32 config_read(u16 function, u32 at, u32 size)
{
    u16 port = select(function, at);
    return size == 1 ? inb(port) : size == 2 ? inw(port) : inl(port);
}

static void config_write(u16 function, u32 at, u32 size, u32 value)
{
    u16 port = select(function, at);
    if (size == 1)
        outb(port, (u8)value);
    else if (size == 2)
        outw(port, (u16)value);
    else
        outl(port, value);
}

/* The read pushes out what the function had posted before the write reached it. */
static void stop_master(u16 function)
{
    u32 command = config_read(function, CONFIG_COMMAND, 2);
    config_write(function, CONFIG_COMMAND, 2, command & ~(u32)COMMAND_MASTER);
    (void)config_read(function, CONFIG_COMMAND, 2);
}

static bool old_ide(u16 function, u32 bar)
{
    return bar < ARRAY_LEN(ide) && config_read(function, CONFIG_CLASS, 2) == CLASS_IDE &&
           !(config_read(function, CONFIG_INTERFACE, 1) & ide[bar].native);
}

u32 device_source(u64 function)
{
    for (u32 i = 0; i < claim_count; i++)
        if (claims[i].function == function)
            return claims[i].source;
    return DEVICE_UNCLAIMED;
}

bool device_has_line(u32 gsi, bool *edge)
{
    for (u32 i = 0; i < claim_count; i++) {
        *edge = (gsi == ide[0].gsi && old_ide(claims[i].function, 0)) ||
                (gsi == ide[2].gsi && old_ide(claims[i].function, 2));
        if (*edge || config_read(claims[i].function, CONFIG_LINE, 1) == gsi)
            return true;
    }
    return false;
}

i64 device_config(const u64 args[6])
{
    u64 function = args[0], at = args[1], size = args[2];

    if (function > 0xffff || (size != 1 && size != 2 && size != 4) || at % size || at >= 256)
        return HV_EINVAL;
    if (!args[3])
        return config_read((u16)function, (u32)at, (u32)size);
    if (device_source(function) == DEVICE_UNCLAIMED ||
        (at + size > CONFIG_BAR && at < CONFIG_BARS_END) || (at & ~3ull) == CONFIG_ROM)
        return HV_EPERM;
    config_write((u16)function, (u32)at, (u32)size, (u32)args[4]);
    return HV_OK;
}

i64 device_claim(const u64 args[6])
{
    u16 function = (u16)args[0], source = (u16)args[1];

    if (args[0] > 0xffff || args[1] > 0xffff)
        return HV_EINVAL;
    if (device_source(function) != DEVICE_UNCLAIMED)
        return HV_EEXIST;
    if (config_read(function, CONFIG_ID, 2) == 0xffff)
        return HV_ENOENT;
    if ((config_read(function, CONFIG_HEADER, 1) & 0x7f) != 0 ||
        config_read(function, CONFIG_CLASS + 1, 1) == CLASS_BRIDGE)
        return HV_EPERM;
    if (claim_count == CLAIMS)
        return HV_ENOMEM;
    stop_master(function);
    enum hv_status status = vtd_attach(function);
    if (status == HV_OK)
        status = vtd_attach(source); /* whoever that is: it reaches what ring 3 does, no more */
    if (status == HV_OK)
        claims[claim_count++] = (typeof(claims[0])){function, source};
    return status;
}

/* What a base address decodes; decoding is off while its size is found (PCI 3.0, 6.2.5.1). */
static struct dev_bar read_bar(u16 function, u32 bar)
{
    u32 at = CONFIG_BAR + 4 * bar, command = config_read(function, CONFIG_COMMAND, 2);
    u64 value = config_read(function, at, 4), mask;
    bool wide = (value & 7) == 4 && bar < 5;

    config_write(function, CONFIG_COMMAND, 2, command & ~(u32)COMMAND_DECODE);
    config_write(function, at, 4, ~0u);
    mask = config_read(function, at, 4);
    config_write(function, at, 4, (u32)value);
    if (mask && !wide)
        mask |= value & 1 ? ~0xffffull : BITS(63, 32);
    if (wide) {
        u32 high = config_read(function, at + 4, 4);
        config_write(function, at + 4, 4, ~0u);
        mask |= (u64)config_read(function, at + 4, 4) << 32;
        config_write(function, at + 4, 4, high);
        value |= (u64)high << 32;
    }
    config_write(function, CONFIG_COMMAND, 2, command);
    u64 flags = value & 1 ? 3 : 15;
    return (struct dev_bar){
        .address = value & ~flags, .len = -(mask & ~flags), .is_port = value & 1};
}

/* Registers of devices lie where neither memory nor firmware nor the kernel's own devices do. */
static bool may_map(u64 base, u64 len)
{
    for (u32 i = 0; i < boot->region_count; i++) {
        const struct boot_region *r = &boot->regions[i];
        if (r->type != BOOT_MEM_MMIO && base < r->base + r->len && r->base < base + len)
            return false;
    }
    return base >= MIB && base + len > base && (base + len <= 0xfec00000 || base > 0xffffffff) &&
           !vtd_has_registers(base, len);
}

i64 device_bar(const u64 args[6])
{
    u16 function = (u16)args[0];

    if (args[1] > 5)
        return HV_EINVAL;
    if (device_source(args[0]) == DEVICE_UNCLAIMED)
        return HV_EPERM;
    u32 n = (u32)args[1];
    struct dev_bar bar = {ide[n % 4].port, ide[n % 4].len, true};
    if (!old_ide(function, n))
        bar = read_bar(function, n);
    if (!bar.len || !bar.address)
        return HV_ENOENT;
    if (bar.is_port) {
        if (bar.address < 0x100 || bar.address + bar.len > 0x10000)
            return HV_EPERM;
        cpu_tables_grant_ports((u32)bar.address, (u32)bar.len);
        return user_write(args[2], &bar, sizeof(bar));
    }
    u64 offset = bar.address % PAGE_SIZE, pa = bar.address - offset;
    u64 len = ROUND_UP(offset + bar.len, PAGE_SIZE);
    if (!may_map(pa, len))
        return HV_EPERM;
    if (len > USER_STACK_TOP - USER_STACK_SIZE - PAGE_SIZE - next_mmio)
        return HV_ENOMEM;
    i64 status = pgtab_map(&control.space, next_mmio, pa, len, PG_R | PG_W | PG_UC | PG_USER);
    if (status != HV_OK)
        return status;
    bar.address = next_mmio + offset;
    next_mmio += len;
    return user_write(args[2], &bar, sizeof(bar));
}

i64 device_dma(const u64 args[6])
{
    u64 len = args[0];

    if (len != PAGE_SIZE && len != PAGE_2M)
        return HV_EINVAL;
    hpa_t at = mem_alloc(&control.quota, len);
    if (!hpa_valid(at))
        return HV_ENOMEM;
    u64 va = USER_DMA_BASE + at.raw;
    i64 status = pgtab_map(&control.space, va, at.raw, len, PG_R | PG_W | PG_USER);
    if (status == HV_OK) {
        status = vtd_map(at.raw, len);
        if (status == HV_OK)
            return (i64)va;
        if (pgtab_unmap(&control.space, va, len) != HV_OK) /* a whole leaf: nothing is split */
            status = HV_EIO;
    }
    mem_free(&control.quota, at, len);
    return status;
}

void device_release_all(void)
{
    irq_release_all();
    for (u32 i = 0; i < claim_count; i++)
        stop_master(claims[i].function);
    claim_count = 0;
    vtd_detach_all();
    cpu_tables_reset_ports();
    if (next_mmio > USER_MMIO_BASE &&
        pgtab_unmap(&control.space, USER_MMIO_BASE, next_mmio - USER_MMIO_BASE) == HV_OK)
        next_mmio = USER_MMIO_BASE;
}

void device_init(const struct boot_info *bi)
{
    boot = bi;
    vtd_init();
}
