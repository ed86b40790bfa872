/* The local APIC timer's cases, run by one guest in xAPIC and by another in x2APIC mode. */
#pragma once

/* With the local APIC enabled and interrupts off: one-shot, periodic, masked and TSC-deadline
 * timers, each waking the vCPU from HLT; fails the guest if one does not. */
void timer_cases(void);
/* Priorities: TPR holds an interrupt back, EOI lets the next one through, self-IPI arrives. */
void priority_cases(void);
