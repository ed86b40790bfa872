/* A VM that starts with firmware: the image in flash memory below 4 GiB, what tells it of the
 * machine, and its variables.
 *
 * On the event loop.  The image is the administrator's file; what the guest writes is hostile. */
#pragma once

#include "kernel/abi/types.h"
#include "vmm/flash.h"
#include "vmm/fw_cfg.h"

struct vm;
struct vm_error;

#define FIRMWARE_END (4 * GIB)
#define FIRMWARE_LEN_MAX (16 * MIB)
#define FIRMWARE_LEN_MIN (64 * KIB)

struct firmware_state { /* kept across a restart of the control partition */
    struct flash flash;
    struct fw_cfg fw_cfg;
};

/* *len: bytes of flash memory that the VM needs, a power of two; 0: it has no firmware.
 * E_NOENT, E_IMAGE. */
MUST_CHECK bool firmware_size(const struct vm *vm, u32 *len, struct vm_error *e);
/* Gives the VM its flash memory and puts the image there, at the first start. */
MUST_CHECK bool firmware_load(struct vm *vm, struct vm_error *e);
/* After a restart of the control partition. */
void firmware_attach(struct vm *vm);
/* At a start or reset: flash and clock memory as the firmware expects them. */
void firmware_reset(struct vm *vm);
/* Where the firmware lets PCI memory begin. */
u32 firmware_pci_mem(const struct vm *vm);

/* The UEFI variables, of *len bytes; NULL: it has no place for any. */
u8 *firmware_vars(const struct vm *vm, u32 *len);

/* Row of exits.c: FIRMWARE_END - FIRMWARE_LEN_MAX to its end. */
u64 firmware_flash_read(struct vm *vm, u64 gpa, u8 size);
void firmware_flash_write(struct vm *vm, u64 gpa, u8 size, u64 value);
