/* The timer of the virtual local APIC: one-shot, periodic and TSC-deadline (SDM 3A 11.5.4).
 * Its functions are declared in vlapic.h. */
#pragma once

#include "kernel/vlapic.h"

/* Shortest period in fractions of a second, so that no guest keeps its core busy with timer exits.
 */
#define VLAPIC_TIMER_MAX_HZ 50000

u64 vlapic_deadline_read(struct vcpu *v); /* IA32_TSC_DEADLINE */
void vlapic_deadline_write(struct vcpu *v, u64 value);
void vlapic_deadline_moved(struct vcpu *v); /* v->msrs.tsc_offset changed */
