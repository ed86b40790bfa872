/* Commands about the machine: `host ...` and `debug ...`. */
#pragma once

#include "kernel/abi/host_info.h"

/* "AMD-V on 2 of 2 CPUs, nested in KVM", or why there is none and what to try. */
void cmd_host_hvm_text(const struct host_info *h, char *buf, u32 len);
/* "KVM", "QEMU (TCG)", or that nothing says so. */
const char *cmd_host_outer(void);

/* What bulkhead.conf says: the CPU to poll on, 0: none.  False: it cannot be, `line` says why. */
MUST_CHECK bool cmd_host_poll(u32 cpu, char *line, u32 len);

extern u64 cmd_host_ready_tsc; /* when the prompt came up; main.c sets it */
