/* Which check of VM entry a vCPU's state fails.  Pure. */
#pragma once

#include "kernel/abi/vcpu_page.h"

/* The first check that the state fails, into text ("CS: P bit"); event: the entry interruption
 * information of VT-x, 0 for none.  SDM 3C 27.3.1. */
void entry_check_vmx(const struct vcpu_state *s, u32 event, char *text, u64 size);
/* APM 2, 15.5.1. */
void entry_check_svm(const struct vcpu_state *s, u32 event, char *text, u64 size);
