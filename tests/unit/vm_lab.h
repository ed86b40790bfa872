/* A kernel of one CPU that serves system calls: what those that need memory ask of the files that
 * need a machine, on tests/unit/machine.c and fakes.c. */
#pragma once

#include "kernel/hvm.h"

/* VT-x with APIC virtualisation, but for VMCSs; hvm_svm works as it is. */
extern struct hvm_ops lab_vmx;
/* Memory of an earlier one is forgotten, not freed: the kernel has no end. */
void lab_start(const struct hvm_ops *backend);
/* A system call of ring 3; HV_OK from one that ends in the scheduler. */
i64 lab_call(u64 number, const u64 args[6]);
