/* What a VM is asked to be: the struct behind a `[vm NAME]` section, `vm create` and `vm set`.
 * Pure.  The table of keys is vm_config_schema. */
#pragma once

#include "control/rt/conf.h"
#include "kernel/abi/boot_info.h"
#include "kernel/abi/types.h"

#define VM_CONFIG_NAME 32
#define VM_CONFIG_CMDLINE 512
#define VM_NUMBER_MIN 100
#define VM_NUMBER_MAX 9999
#define VM_WEIGHT_DEFAULT 100

enum vm_apicv { VM_APICV_AUTO, VM_APICV_ON, VM_APICV_OFF };
enum vm_firmware_boot { VM_FIRMWARE_DISK, VM_FIRMWARE_NET };
enum vm_console { VM_CONSOLE_COM1, VM_CONSOLE_VIRTIO, VM_CONSOLE_NONE };

#define VM_NICS 4
#define VM_NIC_QUEUES 4u
#define VM_SWITCH_NAME 16
#define VM_CONSOLE_PORTS 4u

struct vm_nic {                     /* a virtio network device */
    char to_switch[VM_SWITCH_NAME]; /* "": there is no such NIC */
    u64 mac;                        /* 0: one is generated at the first start */
    u16 vlan;                       /* 0: untagged, as the port's switch says */
    u8 queues;                      /* pairs; 0: one a vCPU, as far as there are */
    bool mirror;                    /* it only gets copies of other ports' frames */
    u32 model;                      /* there is one: virtio */
};

#define VM_DISKS 8
#define VM_HOME_LEN 64
#define VM_UUID_LEN 37
#define VM_DISK_FILE 96
#define VM_DISK_DEVICE 16
#define VM_DISK_SERIAL 21 /* with its NUL; virtio 1.2, 5.2.6.1 */

enum vm_disk_cache {
    VM_DISK_WRITEBACK,    /* the guest flushes */
    VM_DISK_WRITETHROUGH, /* a write is durable when it is answered */
    VM_DISK_UNSAFE,       /* flushes are not done: for what may be lost */
};
enum vm_disk_error {
    VM_DISK_PAUSE_FULL, /* a full store pauses the VM, other errors are the guest's */
    VM_DISK_PAUSE,      /* every error pauses the VM */
    VM_DISK_REPORT,     /* every error is the guest's */
    VM_DISK_RETRY,      /* so it is, after three more tries */
};

struct vm_disk {                 /* a virtio block device; neither file nor device: there is none */
    char file[VM_DISK_FILE];     /* "store:dir/file" */
    char device[VM_DISK_DEVICE]; /* a physical disk */
    char serial[VM_DISK_SERIAL]; /* "": one is made from the VM's number */
    bool read_only;
    u32 format; /* of `file`: index in VM_DISK_FORMATS */
    u32 cache;  /* enum vm_disk_cache */
    u32 error;  /* enum vm_disk_error */
    u32 iops;   /* requests a second; 0: no limit */
    u64 bw;     /* bytes a second; 0: no limit */
};

struct vm_config {
    char name[VM_CONFIG_NAME];
    u32 number; /* 100..9999; 0: the lowest free one */
    u32 cpu_count;
    u32 cpu_weight;             /* 1..10000 */
    u64 cpu_pin;                /* CPUs it may run on; 0: any */
    u32 cpu_cap;                /* percent of one CPU that it may use; 0: all it gets */
    u32 cpu_reserve;            /* percent of one CPU that it is sure to get in all; 0: none */
    bool trace_exceptions;      /* every exception exits and is noted */
    u64 mem;                    /* bytes of RAM, multiple of 2 MiB */
    u64 mem_balloon;            /* bytes of it that its balloon is to give back to the host */
    char kernel[BOOT_NAME_LEN]; /* module path */
    u32 protocol;               /* enum load_protocol */
    char initrd[BOOT_NAME_LEN]; /* "": none */
    char cmdline[VM_CONFIG_CMDLINE];
    bool autostart;
    u32 console; /* enum vm_console */
    bool rng, balloon;
    u8 console_ports;   /* of a virtio console; 0: one */
    bool console_agent; /* ... and one more, for QEMU's guest agent */
    u32 apicv;          /* enum vm_apicv */
    struct vm_nic nic[VM_NICS];
    /* From here on: vm_state.h keeps them apart, for VMs that have a disk, a home or firmware. */
    struct vm_disk disk[VM_DISKS];
    char firmware[BOOT_NAME_LEN]; /* module path; "": the kernel is loaded directly */
    u32 firmware_boot;            /* enum vm_firmware_boot */
    char home[VM_HOME_LEN];       /* "store:dir" of its directory on a datastore; "": none */
    char uuid[VM_UUID_LEN];       /* "": none yet */
    bool is_template;             /* it does not start */
};

static inline bool vm_config_has_disk(const struct vm_config *c, u32 n)
{
    const struct vm_disk *d = &c->disk[n];
    return d->file[0] || d->device[0];
}

static inline bool vm_config_has_disks(const struct vm_config *c)
{
    bool any = false;
    for (u32 i = 0; i < VM_DISKS; i++)
        any |= vm_config_has_disk(c, i);
    return any;
}

static inline u32 vm_nic_queues(const struct vm_config *c, u32 n)
{
    return c->nic[n].queues ? c->nic[n].queues : MIN(c->cpu_count, VM_NIC_QUEUES);
}

#define VM_DISK_FORMATS "raw|qcow2|vmdk|vhd|vhdx|vdi"

extern const struct conf_schema vm_config_schema;

void vm_config_default(struct vm_config *c);
/* Letters, digits, - _ . ; starts with a letter; at most 31. */
bool vm_config_name_valid(const char *name, u32 len);
/* Checks that hold between keys (a kernel is named, RAM is whole 2 MiB pages). */
MUST_CHECK bool vm_config_check(const struct vm_config *c, struct conf_error *err);
