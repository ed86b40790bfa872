/* A kernel of one CPU in which VMs can be made and taken apart: what vm.c, vcpu.c, device.c and the
 * backends ask of the files that need a machine. */
#pragma once

#include "kernel/hvm.h"

/* VT-x with APIC virtualisation, but for VMCSs; hvm_svm works as it is. */
extern struct hvm_ops lab_vmx;
void lab_start(const struct hvm_ops *backend);
void lab_end(void);
/* Frames that tables of the control partition and the IOMMU take beyond what lab_start() made. */
u64 lab_tables(void);
