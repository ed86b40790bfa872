/* The IOMMU of Intel machines: DMA of claimed functions reaches granted memory only, that of all
 * others nothing; interrupts are remapped.  Without a usable unit every call succeeds and nothing
 * is translated.  "VT-d" is the Intel Virtualization Technology for Directed I/O specification 4.1.
 */
#pragma once

#include "kernel/abi/status.h"
#include "kernel/abi/types.h"

#define VTD_WATCHDOG 255u /* the last entry of the remapping table: not a device's, so it stays */

/* Boot CPU, after the clock: switches every unit on, or none. */
void vtd_init(void);
/* Control thread's core.  HV_ENOMEM; HV_E2BIG: the unit cannot address that memory. */
MUST_CHECK enum hv_status vtd_attach(u16 function);
MUST_CHECK enum hv_status vtd_map(u64 address, u64 len);
/* No function is attached and nothing mapped, and no unit remembers otherwise. */
void vtd_detach_all(void);
/* Entry `index` of the remapping table is this interrupt (vector 2: as NMI) of that function (an
 * I/O APIC: ~0).
 * False: interrupts are not remapped; the message is the plain one. */
MUST_CHECK bool vtd_remap(u32 index, u32 vector, u32 apic_id, bool level, u32 function);
MUST_CHECK bool vtd_has_registers(u64 base, u64 len); /* in [base, base + len) */
void vtd_fault(void);                                 /* VECTOR_IOMMU: to the log */
