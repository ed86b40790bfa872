/* What the control partition may know about the machine (struct host_info), and its reset. */
#pragma once

#include "kernel/abi/host_info.h"
#include "kernel/cpu.h"

extern struct host_info *host_info;        /* at KERNEL_HOST_INFO; valid after host_init */
extern struct boot_platform host_platform; /* likewise */

void host_init(const struct boot_info *bi, u64 entry_tsc); /* boot CPU, after paging_init */
void host_cpu_online(struct cpu *c);                       /* own CPU: hvm on, entry in host_info */
i64 host_now(void);                                        /* seconds UTC; 0: unknown */
u64 host_image_bytes(void);                                /* of the kernel image in memory */
/* SYS_HOST_RESET.  Returns HV_ENOSYS when the machine cannot be powered off. */
i64 host_reset(const u64 args[6]);
