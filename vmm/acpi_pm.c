/* The guest's power management and reset ports; called from the port table and by `vm shutdown`,
 * on the event loop. */
#include "vmm/acpi_pm.h"

#include "vmm/platform.h"
#include "vmm/vm.h"

#define PM1_PWRBTN BIT(8)
#define PM1_EVENTS (BIT(0) | BIT(4) | BIT(5) | PM1_PWRBTN | BIT(9) | BIT(10) | BIT(15))
#define PM1_SCI_EN BIT(0)
#define PM1_SLP_TYP BITS(12, 10)
#define PM1_SLP_EN BIT(13)

static void update_sci(struct vm *vm, struct acpi_pm *a)
{
    u8 level = (a->status & a->enable & PM1_EVENTS) || (a->gpe_status & a->gpe_enable);
    if (level == a->sci_level)
        return;
    a->sci_level = level;
    platform_irq(vm, ACPI_SCI, level);
}

/* A 24-bit count of the 3.58 MHz clock; the FADT does not claim 32 bits. */
static u32 timer_value(void)
{
    u64 ns = platform_now();
    u64 ticks = ns / NS_PER_SEC * ACPI_TIMER_HZ + ns % NS_PER_SEC * ACPI_TIMER_HZ / NS_PER_SEC;
    return (u32)ticks & 0xffffff;
}

static u32 block_value(const struct acpi_pm *a, u16 port)
{
    switch (port & ~3) {
    case ACPI_PM1_EVENT:
        return a->status | (u32)a->enable << 16;
    case ACPI_PM1_CONTROL:
        return a->control;
    case ACPI_PM_TIMER:
        return timer_value();
    case ACPI_GPE0:
        return a->gpe_status | (u32)a->gpe_enable << 16;
    default:
        return ~0u;
    }
}

u32 acpi_pm_in(struct vm *vm, u16 port, u8 size)
{
    (void)size;
    return block_value(&vm->state->acpi, port) >> (8 * (port & 3));
}

static void write_control(struct vm *vm, struct acpi_pm *a, u16 v)
{
    a->control = (v & ~(u16)PM1_SLP_EN) | PM1_SCI_EN;
    if (!(v & PM1_SLP_EN))
        return;
    u32 type = (u32)FIELD_GET(PM1_SLP_TYP, v);
    if (type == ACPI_S5_TYPE || (vm->firmware && type == ACPI_FIRMWARE_S5_TYPE))
        platform_power(vm, POWER_OFF, "ACPI soft-off (S5)");
    else
        platform_log(vm, "sleep type %u asked for: not offered, ignored", type);
}

void acpi_pm_out(struct vm *vm, u16 port, u8 size, u32 value)
{
    struct acpi_pm *a = &vm->state->acpi;
    u32 shift = 8 * (port & 3), mask = (size >= 4 ? ~0u : (1u << (8 * size)) - 1) << shift;
    u32 v = value << shift;
    switch (port & ~3) {
    case ACPI_PM1_EVENT: /* status: written ones clear */
        a->status &= ~(u16)v;
        a->enable = (u16)((a->enable & ~(mask >> 16)) | v >> 16);
        break;
    case ACPI_PM1_CONTROL:
        write_control(vm, a, (u16)((a->control & ~mask) | v));
        break;
    case ACPI_GPE0:
        a->gpe_status &= ~(u16)v;
        a->gpe_enable = (u16)((a->gpe_enable & ~(mask >> 16)) | v >> 16);
        break;
    default:
        break;
    }
    update_sci(vm, a);
}

void acpi_pm_power_button(struct vm *vm)
{
    struct acpi_pm *a = &vm->state->acpi;
    a->status |= PM1_PWRBTN;
    update_sci(vm, a);
}

void acpi_pm_event(struct vm *vm, u32 gpe)
{
    struct acpi_pm *a = &vm->state->acpi;
    a->gpe_status |= (u16)BIT(gpe);
    update_sci(vm, a);
}

u32 acpi_pm_reset_in(struct vm *vm, u16 port, u8 size)
{
    (void)port;
    (void)size;
    return vm->state->acpi.reset_control;
}

void acpi_pm_reset_out(struct vm *vm, u16 port, u8 size, u32 value)
{
    (void)port;
    (void)size;
    vm->state->acpi.reset_control = value & 0x0a;
    if (value & 4) /* bit 2 rising: reset; bit 1 says how hard */
        platform_power(vm, POWER_RESET, "reset register (port cf9h)");
}

/* No keyboard controller, except for the two commands that firmware and kernels reset with. */
u32 acpi_pm_keyboard_in(struct vm *vm, u16 port, u8 size)
{
    (void)vm;
    (void)size;
    /* Status: both buffers empty; by time-out and parity error at once firmware knows that there is
     * no controller, and does not wait for one. */
    return port == 0x64 ? 0xc0 : 0;
}

void acpi_pm_keyboard_out(struct vm *vm, u16 port, u8 size, u32 value)
{
    (void)size;
    /* f0..ff pulse output lines; line 0 is the processor's reset, and 0 pulses. */
    if (port == 0x64 && (value & 0xf1) == 0xf0)
        platform_power(vm, POWER_RESET, "keyboard controller (port 64h)");
}

u32 acpi_pm_port92_in(struct vm *vm, u16 port, u8 size)
{
    (void)vm;
    (void)port;
    (void)size;
    return 2; /* A20 is always open */
}

void acpi_pm_port92_out(struct vm *vm, u16 port, u8 size, u32 value)
{
    (void)port;
    (void)size;
    if (value & 1)
        platform_power(vm, POWER_RESET, "port 92h");
}

void acpi_pm_reset(struct vm *vm)
{
    vm->state->acpi = (struct acpi_pm){.control = PM1_SCI_EN};
}
