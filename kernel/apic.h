/* The physical local APIC: x2APIC where offered, else xAPIC.  Own core unless stated. */
#pragma once

#include "kernel/abi/types.h"

void apic_init(void);         /* boot CPU: choose the mode, map registers */
void apic_cpu_init(void);     /* each CPU: enable it, mask everything */
void apic_timer_init(u64 hz); /* boot CPU, when tsc_hz is known; boot_info.apic_timer_hz */
u32 apic_id(void);
bool apic_reaches(u32 apic_id); /* xAPIC mode addresses 8 bits */
void apic_eoi(void);
void apic_send(u32 apic_id, u32 command); /* one ICR write: vector and delivery mode */
void apic_stop_others(void);              /* NMI to all other cores; harmless before apic_init */
/* Interrupt VECTOR_TIMER at this TSC (~0: never); at most a second late if it is far away. */
void apic_timer_arm(u64 deadline);

#define APIC_FIXED 0x4000u /* level assert */
#define APIC_NMI 0x4400u
#define APIC_INIT 0x4500u
#define APIC_STARTUP 0x4600u
