/* Reads the guest's instruction bytes through its page tables, where the CPU does not give them. */
#pragma once

#include "kernel/svm_vcpu.h"

/* Own core, exit path.  Up to len bytes at CS:RIP into buf; returns how many could be read. */
u32 svm_fetch(struct vcpu *v, u8 *buf, u32 len);
