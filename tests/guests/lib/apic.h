/* The guest's local APIC in either mode, and its I/O APIC. */
#pragma once

#include "kernel/abi/types.h"

/* Offsets of xAPIC registers; an x2APIC MSR is 0x800 + offset / 16. */
#define APIC_ID 0x20
#define APIC_VERSION 0x30
#define APIC_TPR 0x80
#define APIC_PPR 0xa0
#define APIC_EOI 0xb0
#define APIC_LDR 0xd0
#define APIC_DFR 0xe0
#define APIC_SVR 0xf0
#define APIC_ISR 0x100
#define APIC_TMR 0x180
#define APIC_IRR 0x200
#define APIC_ESR 0x280
#define APIC_ICR 0x300
#define APIC_ICR_HIGH 0x310
#define APIC_LVT_TIMER 0x320
#define APIC_LVT_LINT0 0x350
#define APIC_LVT_LINT1 0x360
#define APIC_LVT_ERROR 0x370
#define APIC_TIMER_INITIAL 0x380
#define APIC_TIMER_CURRENT 0x390
#define APIC_TIMER_DIVIDE 0x3e0
#define APIC_SELF_IPI 0x3f0

#define APIC_ICR_FIXED 0x000
#define APIC_ICR_NMI 0x400
#define APIC_ICR_INIT 0x500
#define APIC_ICR_STARTUP 0x600
#define APIC_ICR_LOGICAL 0x800
#define APIC_ICR_PENDING 0x1000
#define APIC_ICR_ASSERT 0x4000
#define APIC_ICR_SELF 0x40000
#define APIC_ICR_ALL 0x80000
#define APIC_ICR_OTHERS 0xc0000
#define APIC_LVT_MASKED 0x10000
#define APIC_TIMER_PERIODIC 0x20000
#define APIC_TIMER_DEADLINE 0x40000
#define APIC_EXTINT 0x700

void apic_enable_x(void);  /* xAPIC mode, software-enabled, spurious vector ff, TPR 0 */
void apic_enable_x2(void); /* x2APIC mode, likewise */
bool apic_is_x2(void);
u32 apic_read(u32 reg);
void apic_write(u32 reg, u32 value);
u32 apic_id(void);
void apic_eoi(void); /* harmless when nothing is in service */
/* One ICR write; waits in xAPIC mode until it has gone out.  dest: APIC id or logical id. */
void apic_ipi(u32 dest, u32 icr);
bool apic_bit(u32 reg, unsigned vector); /* one bit of ISR, TMR or IRR */

u32 ioapic_read(u32 index);
void ioapic_write(u32 index, u32 value);
/* One redirection entry, physical destination apic_id. */
void ioapic_route(unsigned pin, u32 low, u32 apic_id);
