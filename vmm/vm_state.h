/* What of a VM survives a restart of the control partition: one struct at the start of the VM's
 * state area, without pointers. */
#pragma once

#include <stddef.h>
#include <string.h>

#include "kernel/abi/layout.h"
#include "kernel/abi/types.h"
#include "vmm/acpi_pm.h"
#include "vmm/firmware.h"
#include "vmm/ioapic.h"
#include "vmm/pci_hotplug.h"
#include "vmm/pic.h"
#include "vmm/pit.h"
#include "vmm/platform.h"
#include "vmm/rtc.h"
#include "vmm/text_ring.h"
#include "vmm/uart16550.h"
#include "vmm/virtio_dev.h"
#include "vmm/vm_config.h"

#define VM_STATE_MAGIC 0x65746174536d5642ull /* "BVmState" */
#define VM_STATE_VERSION 1

/* Sizes of the rings.  A guest's memory beside its RAM is to stay within 64 KiB in all, of which
 * this state and the areas of nic0 and one device more may be three pages: a crash report fits the
 * log, nearly three screens the scroll-back. */
#define VM_LOG_BYTES 2048
#define VM_SCROLLBACK_BYTES 5760

#define VM_DEVICES 15 /* that it may have: rows of vm_devices.c */

#define VM_UNCLAIMED_PORTS 32
#define VM_UNCLAIMED_PAGES 8

struct vm_state {
    u64 magic;
    u32 version, size;
    u8 config[offsetof(struct vm_config, disk)]; /* vm_state_config(); disks are at the end */
    u64 started_at;                              /* ns of platform_now */
    u32 resets;
    u32 paused;                   /* by the user */
    u64 dedicated;                /* CPUs of the host that are, vm_sched.c */
    u64 deadline[VM_TIMER_COUNT]; /* ns; PLATFORM_NEVER: not armed */
    u64 held;                     /* vCPUs whose exit waits for VM_TIMER_HOLD */

    struct uart16550 uart;
    struct rtc rtc;
    struct pit pit;
    struct pic pic;
    struct ioapic ioapic;
    struct acpi_pm acpi;
    u32 pci_address; /* port cf8h */
    u32 device_count;
    struct pci_hotplug hotplug;
    u8 has_disks;
    u8 polling;          /* 1 + the CPU on which the control partition polls; 0: none */
    u8 boot_disk;        /* 1 + the number of the first disk at its start; 0: it had none */
    u8 area[VM_DEVICES]; /* 1 + the area of the device of a row of vm_devices.c; 0: not on the bus
                          */

    /* What nobody claims is told once each. */
    u32 unclaimed_ports, unclaimed_pages;
    u16 unclaimed_port[VM_UNCLAIMED_PORTS];
    u64 unclaimed_page[VM_UNCLAIMED_PAGES];

    union {
        struct text_ring log;
        u8 log_space[sizeof(struct text_ring) + VM_LOG_BYTES];
    };
    union {
        struct text_ring scrollback;
        u8 scrollback_space[sizeof(struct text_ring) + VM_SCROLLBACK_BYTES];
    };
};

_Static_assert(sizeof(struct vm_state) + 2 * sizeof(struct virtio_area) <= 3 * PAGE_SIZE,
               "the budget of a guest");

/* Behind it: the areas of its devices, some of them free and, if it has disks, a home or firmware,
 * what the configuration has from its disks on, the state of the firmware and the requests of its
 * disks that later ones have overtaken. */
#define VM_STATE_DISKS (sizeof(struct vm_config) - offsetof(struct vm_config, disk))
#define VM_STATE_FIRMWARE ROUND_UP(VM_STATE_DISKS, 8)
#define VM_STATE_KEPT (VM_STATE_FIRMWARE + ROUND_UP(sizeof(struct firmware_state), 8))
#define VM_KEPT 128 /* requests */
#define VM_STATE_TAIL (VM_STATE_KEPT + VM_KEPT * sizeof(struct virtio_kept))

static inline bool vm_state_has_disks(const struct vm_config *c)
{
    return vm_config_has_disks(c) || c->home[0] || c->firmware[0];
}

static inline u64 vm_state_size(u32 devices, bool disks)
{
    u64 size = sizeof(struct vm_state) + devices * sizeof(struct virtio_area) +
               (disks ? VM_STATE_TAIL : 0);
    return ROUND_UP(size, PAGE_SIZE);
}

static inline struct virtio_area *vm_state_area(struct vm_state *s, u32 device)
{
    return (struct virtio_area *)(s + 1) + device;
}

/* NULL: it has none. */
static inline struct firmware_state *vm_state_firmware(struct vm_state *s)
{
    u8 *tail = (u8 *)vm_state_area(s, s->device_count);
    struct vm_config *end = (struct vm_config *)(tail - offsetof(struct vm_config, disk));
    if (!s->has_disks || !end->firmware[0])
        return NULL;
    return (struct firmware_state *)(tail + VM_STATE_FIRMWARE);
}

/* VM_KEPT of them; the VM has disks. */
static inline struct virtio_kept *vm_state_kept(struct vm_state *s)
{
    return (struct virtio_kept *)((u8 *)vm_state_area(s, s->device_count) + VM_STATE_KEPT);
}

static inline void vm_state_set_config(struct vm_state *s, const struct vm_config *c)
{
    memcpy(s->config, c, sizeof(s->config));
    if (s->has_disks)
        memcpy(vm_state_area(s, s->device_count), c->disk, VM_STATE_DISKS);
}

static inline void vm_state_config(struct vm_state *s, struct vm_config *c)
{
    memset(c, 0, sizeof(*c));
    memcpy(c, s->config, sizeof(s->config));
    if (s->has_disks)
        memcpy(c->disk, vm_state_area(s, s->device_count), VM_STATE_DISKS);
}
