/* ACPI fixed hardware: power-management timer, power button, soft-off, and every way of a PC to
 * reset itself.
 *
 * On the event loop.  ACPI 6.4 section 4.8. */
#pragma once

#include "kernel/abi/types.h"

struct vm;

/* Ports, as the FADT tells them. */
#define ACPI_PM1_EVENT 0x600   /* status 2 bytes, enable 2 bytes */
#define ACPI_PM1_CONTROL 0x604 /* 2 bytes */
#define ACPI_PM_TIMER 0x608    /* 4 bytes */
#define ACPI_GPE0 0x620        /* status 2 bytes, enable 2 bytes */
#define ACPI_GPE0_LEN 4
#define ACPI_GPE_HOTPLUG 1 /* _E01 in dsdt.asl */
#define ACPI_RESET_PORT 0xcf9
#define ACPI_RESET_VALUE 0x06
#define ACPI_SCI 9
#define ACPI_S5_TYPE 5          /* SLP_TYP in \_S5 of dsdt.asl */
#define ACPI_FIRMWARE_S5_TYPE 0 /* of the PIIX4, which OVMF writes without asking */
#define ACPI_TIMER_HZ 3579545ull

struct acpi_pm {
    u16 status, enable, control;
    u16 gpe_status, gpe_enable;
    u8 reset_control; /* port cf9h */
    u8 sci_level;
};

void acpi_pm_reset(struct vm *vm);
u32 acpi_pm_in(struct vm *vm, u16 port, u8 size); /* 600h..623h */
void acpi_pm_out(struct vm *vm, u16 port, u8 size, u32 value);
void acpi_pm_power_button(struct vm *vm);
void acpi_pm_event(struct vm *vm, u32 gpe); /* sets its status bit */

u32 acpi_pm_reset_in(struct vm *vm, u16 port, u8 size); /* cf9h */
void acpi_pm_reset_out(struct vm *vm, u16 port, u8 size, u32 value);
u32 acpi_pm_keyboard_in(struct vm *vm, u16 port, u8 size); /* 60h, 64h */
void acpi_pm_keyboard_out(struct vm *vm, u16 port, u8 size, u32 value);
u32 acpi_pm_port92_in(struct vm *vm, u16 port, u8 size);
void acpi_pm_port92_out(struct vm *vm, u16 port, u8 size, u32 value);
