/* The keys of a VM's configuration as one table.  Pure; used by control/config.c (the file), by
 * `vm create` and `vm set` (the shell) and by the VM life cycle. */
#include "vmm/vm_config.h"

#include <stdio.h>
#include <string.h>

#include "vmm/vm_reserve.h"

#define M(m) CONF_MEMBER(struct vm_config, m)

/* clang-format off */
#define NIC(n)                                                                                     \
    {"nic" #n, "switch", CONF_WORD, M(nic[n].to_switch),                                           \
     .help = "virtual switch that the NIC is connected to", .example = "vsw0"},                    \
    {"nic" #n, "vlan", CONF_NUMBER, M(nic[n].vlan), .max = 4094,                                   \
     .help = "VLAN of its switch port; 0: none", .example = "10"},                                 \
    {"nic" #n, "mac", CONF_MAC, M(nic[n].mac),                                                     \
     .help = "address; auto: one is generated at the first start", .example = "auto"},             \
    {"nic" #n, "queues", CONF_NUMBER, M(nic[n].queues), .max = VM_NIC_QUEUES,                      \
     .help = "pairs of queues, at most 4; 0: one a vCPU", .example = "2"},                         \
    {"nic" #n, "mirror", CONF_BOOL, M(nic[n].mirror),                                              \
     .help = "a probe: it gets the frames of `net mirror`, and nothing else", .example = "no"}, \
    {"nic" #n, "model", CONF_ENUM, M(nic[n].model), .values = "virtio", \
     .help = "the card that the guest sees", .example = "virtio"}
#define DISK(n)                                                                                    \
    {"disk" #n, "file", CONF_STORE, M(disk[n].file), .help = "disk image on a datastore",          \
     .example = "ds1:web/d.qcow2"},                                                                \
    {"disk" #n, "format", CONF_ENUM, M(disk[n].format), .values = VM_DISK_FORMATS,                 \
     .help = "of the image; never guessed from it", .example = "qcow2"},                           \
    {"disk" #n, "device", CONF_WORD, M(disk[n].device),                                            \
     .help = "a whole physical disk in place of a file", .example = "vd1"},                        \
    {"disk" #n, "ro", CONF_BOOL, M(disk[n].read_only), .help = "the guest may only read it",       \
     .example = "no"},                                                                             \
    {"disk" #n, "cache", CONF_ENUM, M(disk[n].cache), .values = "writeback|writethrough|unsafe",   \
     .help = "when a write is durable: flushed, answered, or some day", .example = "writeback"},   \
    {"disk" #n, "error", CONF_ENUM, M(disk[n].error), .values = "full|pause|report|retry",         \
     .help = "what pauses the VM: a full store, any error, nothing; retry: nothing, three more tries",   \
     .example = "full"},                                                                           \
    {"disk" #n, "iops", CONF_NUMBER, M(disk[n].iops), .max = 10000000,                             \
     .help = "requests a second; 0: no limit", .example = "500"},                                  \
    {"disk" #n, "bw", CONF_SIZE, M(disk[n].bw), .max = 1024 * GIB,                                        \
     .help = "bytes a second; 0: no limit", .example = "20M"},                                     \
    {"disk" #n, "serial", CONF_WORD, M(disk[n].serial),                                            \
     .help = "serial number; made from the VM's number if missing", .example = "A17"}
/* clang-format on */

static const struct conf_key keys[] = {
    {"number", NULL, CONF_NUMBER, M(number), .min = VM_NUMBER_MIN, .max = VM_NUMBER_MAX,
     .help = "number of the VM, 100 to 9999; the lowest free one if missing", .example = "100"},
    {"cpu", NULL, CONF_NUMBER, M(cpu_count), .min = 1, .max = 64,
     .help = "virtual CPUs, at most twice the host's", .example = "2"},
    {"cpu", "weight", CONF_NUMBER, M(cpu_weight), .min = 1, .max = 10000,
     .help = "share of CPU time against other VMs", .example = "100"},
    {"cpu", "pin", CONF_CPUS, M(cpu_pin), .help = "host CPUs it may run on, or any",
     .example = "0-1+3"},
    {"cpu", "cap", CONF_NUMBER, M(cpu_cap), .min = 0, .max = 6400,
     .help = "percent of one CPU that it may use in all; 0: no limit", .example = "50"},
    {"cpu", "reserve", CONF_NUMBER, M(cpu_reserve), .min = 0, .max = 5760,
     .help = "percent of one CPU that it is sure to get in all; at most 90 a vCPU",
     .example = "50"},
    {"trace", "exceptions", CONF_BOOL, M(trace_exceptions),
     .help = "note every exception it takes; it runs slower", .example = "on"},
    {"mem", NULL, CONF_SIZE, M(mem), .min = 2 * MIB, .max = 256 * GIB,
     .help = "memory, a multiple of 2 MiB", .example = "256M"},
    {"mem", "balloon", CONF_SIZE, M(mem_balloon), .max = 256 * GIB,
     .help = "memory that its balloon is to give back to the host", .example = "64M"},
    {"kernel", NULL, CONF_PATH, M(kernel),
     .help = "file to boot: bzImage, PVH or multiboot; by firmware: an EFI application",
     .example = "guests/demo/vmlinuz"},
    {"firmware", NULL, CONF_PATH, M(firmware),
     .help = "UEFI firmware to start with; it starts the kernel, if one is named",
     .example = "guests/ovmf.fd"},
    {"firmware", "boot", CONF_ENUM, M(firmware_boot), .values = "disk|net",
     .help = "what its firmware tries first, disks or network cards", .example = "disk"},
    {"protocol", NULL, CONF_ENUM, M(protocol), .values = "auto|linux|pvh|multiboot|multiboot2",
     .help = "how to boot it; auto: the first of pvh, linux, multiboot2, multiboot that it can",
     .example = "auto"},
    {"initrd", NULL, CONF_PATH, M(initrd), .help = "initial RAM disk of the kernel",
     .example = "guests/demo/initrd.img"},
    {"cmdline", NULL, CONF_TEXT, M(cmdline), .help = "kernel command line, the rest of the line",
     .example = "console=ttyS0"},
    {"autostart", NULL, CONF_BOOL, M(autostart), .help = "start it when the host has booted",
     .example = "yes"},
    {"console", NULL, CONF_ENUM, M(console), .values = "com1|virtio|none",
     .help = "port that `vm console` shows", .example = "com1"},
    {"console", "ports", CONF_NUMBER, M(console_ports), .max = VM_CONSOLE_PORTS,
     .help = "ports of a virtio console, at most 4; the first is the VM's console", .example = "2"},
    {"console", "agent", CONF_BOOL, M(console_agent),
     .help = "one more port of a virtio console, for qemu-guest-agent", .example = "yes"},
    {"apicv", NULL, CONF_ENUM, M(apicv), .values = "auto|on|off",
     .help = "let the CPU deliver interrupts; auto: where it does so correctly", .example = "auto"},
    {"rng", NULL, CONF_BOOL, M(rng), .help = "a virtio entropy device", .example = "yes"},
    {"balloon", NULL, CONF_BOOL, M(balloon), .help = "a virtio memory balloon", .example = "yes"},
    {"home", NULL, CONF_STORE, M(home), .help = "its directory on a datastore",
     .example = "ds1:web1"},
    {"uuid", NULL, CONF_WORD, M(uuid), .help = "its UUID; made when it gets a home",
     .example = "6f1c2a90-93c2-4b0e-8c1d-5a7f00d1e2f3"},
    {"template", NULL, CONF_BOOL, M(is_template), .help = "it is there to be cloned, not to start",
     .example = "no"},
    NIC(0),
    NIC(1),
    NIC(2),
    NIC(3),
    DISK(0),
    DISK(1),
    DISK(2),
    DISK(3),
    DISK(4),
    DISK(5),
    DISK(6),
    DISK(7),
};

const struct conf_schema vm_config_schema = {"vm", keys, ARRAY_LEN(keys)};

void vm_config_default(struct vm_config *c)
{
    *c = (struct vm_config){
        .cpu_count = 1,
        .cpu_weight = VM_WEIGHT_DEFAULT,
        .mem = 256 * MIB,
        .console = VM_CONSOLE_COM1,
    };
}

bool vm_config_name_valid(const char *name, u32 len)
{
    if (!len || len >= VM_CONFIG_NAME)
        return false;
    if (!((name[0] | 0x20) >= 'a' && (name[0] | 0x20) <= 'z'))
        return false;
    for (u32 i = 0; i < len; i++) {
        char c = name[i], lower = (char)(c | 0x20);

        if (!(lower >= 'a' && lower <= 'z') && !(c >= '0' && c <= '9') && c != '-' && c != '_' &&
            c != '.')
            return false;
    }
    return true;
}

bool vm_config_check(const struct vm_config *c, struct conf_error *err)
{
    if (!c->kernel[0] && !c->firmware[0]) {
        snprintf(err->key, sizeof(err->key), "kernel");
        snprintf(err->text, sizeof(err->text), "nothing to boot is named");
        snprintf(err->hint, sizeof(err->hint), "kernel: guests/demo/vmlinuz");
        return false;
    }
    if (c->cpu_reserve > VM_RESERVE_LIMIT * c->cpu_count ||
        (c->cpu_cap && c->cpu_reserve > c->cpu_cap)) {
        u32 most = VM_RESERVE_LIMIT * c->cpu_count;
        snprintf(err->key, sizeof(err->key), "cpu.reserve");
        snprintf(err->text, sizeof(err->text), "more than its vCPUs or its cpu.cap can use");
        snprintf(err->hint, sizeof(err->hint), "cpu.reserve=%u",
                 c->cpu_cap ? MIN(c->cpu_cap, most) : most);
        return false;
    }
    if (c->console_agent &&
        (c->console != VM_CONSOLE_VIRTIO || c->console_ports >= VM_CONSOLE_PORTS)) {
        snprintf(err->key, sizeof(err->key), "console.agent");
        snprintf(err->text, sizeof(err->text),
                 "its port needs a virtio console of at most 3 ports");
        snprintf(err->hint, sizeof(err->hint), "console: virtio,agent=yes");
        return false;
    }
    if (c->mem % PAGE_2M) {
        snprintf(err->key, sizeof(err->key), "mem");
        snprintf(err->text, sizeof(err->text), "not a multiple of 2M");
        snprintf(err->hint, sizeof(err->hint), "%lluM",
                 (unsigned long long)(ROUND_UP(c->mem, PAGE_2M) / MIB));
        return false;
    }
    if (c->mem_balloon && (!c->balloon || c->mem_balloon >= c->mem)) {
        snprintf(err->key, sizeof(err->key), "mem.balloon");
        snprintf(err->text, sizeof(err->text),
                 c->balloon ? "not less than its memory" : "it has no balloon");
        snprintf(err->hint, sizeof(err->hint),
                 c->balloon ? "mem.balloon=0" : "vm stop, then balloon=yes");
        return false;
    }
    for (u32 i = 0; i < VM_DISKS; i++) {
        if (!c->disk[i].file[0] || !c->disk[i].device[0])
            continue;
        snprintf(err->key, sizeof(err->key), "disk%u", i);
        snprintf(err->text, sizeof(err->text), "it is a file and a device");
        snprintf(err->hint, sizeof(err->hint), "disk%u.file= or disk%u.device= empty", i, i);
        return false;
    }
    return true;
}
