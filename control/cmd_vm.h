/* The `vm` commands, and the start of the VM manager: control/main.c calls the steps in order. */
#pragma once

#include "control/schema.h"
#include "vmm/vm_config.h"

/* Every argument that is not the command's own is a key of a VM: into *c. */
enum hv_status cmd_vm_settings(const struct schema_args *args, struct vm_config *c,
                               struct out *out);
void cmd_vm_init(void); /* exit handlers, completion of names; before the configuration is read */
/* A VM of the configuration file; a name or number that is taken is reported on the console. */
void cmd_vm_define(const struct vm_config *c);
/* After it: takes up VMs that outlived a restart of the control partition. */
void cmd_vm_ready(void);
/* After the kept configuration: starts those with autostart, if the machine has just booted.  Once
 * more when it came late: those that were not there before. */
void cmd_vm_autostart(void);
