/* Reads the guest's instruction bytes through its page tables, where the CPU does not give them. */
#pragma once

#include "kernel/svm_vcpu.h"

/* The door to a guest's memory on AMD-V: its RAM at gpa, to the end of that page; NULL: there is
 * none, or it may not be written.  Own core, exit path.  The pointer holds until interrupts are
 * open again: a page is taken away only once every core has answered an interrupt (vm_take_page()).
 */
void *svm_fetch_ram(const struct vcpu *v, u64 gpa, bool write);
/* Own core, exit path.  Up to len bytes at CS:RIP into buf; returns how many could be read. */
u32 svm_fetch(struct vcpu *v, u8 *buf, u32 len);
