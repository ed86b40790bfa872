/* Exit messages to the control partition and their answers, and what comes before an entry: the
 * same on every vendor.  All on the vCPU's own core, its state loaded. */
#pragma once

#include "kernel/exit.h"

/* These ask the control partition; the vCPU waits.  All return EXIT_RESCHED,
 * but for a doorbell: EXIT_ADVANCE, and for an MSR. */

/* It cannot go on, until a reset.  The control partition says why in words. */
enum exit_action message_stop(struct vcpu *v, enum exit_kind kind, enum exit_failure why,
                              u64 value);
/* An IN or OUT; the caller has set rip, and for a string one filled the page and set io.gla. */
enum exit_action message_io(struct vcpu *v, struct exit_io io, u32 insn_len);
/* Access to a page without memory; the caller has set mmio.gla and gla_valid. */
enum exit_action message_mmio(struct vcpu *v, u64 gpa, bool write, bool fetch);
enum exit_action message_eoi(struct vcpu *v, u32 vector);
/* A write of an MSR whose row is told: EXIT_ADVANCE_RESCHED. */
enum exit_action message_msr(struct vcpu *v);

/* Take the reply in v->page; just before it runs again. */
void message_complete(struct vcpu *v);
/* Take requests and events; false: it must not run now. */
bool message_prepare(struct vcpu *v);
