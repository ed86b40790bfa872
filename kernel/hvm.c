/* Picks the backend that fits the CPU; boot CPU, once. */
#include "kernel/hvm.h"

#include "kernel/lib/fmt.h"
#include "kernel/x86.h"

const struct hvm_ops *hvm;

void hvm_detect(struct host_info *hi)
{
    struct cpuid_regs vendor = cpuid(0, 0);

    /* Whatever the vendor calls itself: what counts is the instruction set extension. */
    if (cpuid(1, 0).ecx & BIT(5)) {
        hvm = &hvm_vmx;
        fmt_snprintf(hi->hvm_name, sizeof(hi->hvm_name), "%s", hvm->name);
        return;
    }
    fmt_snprintf(hi->hvm_reason, sizeof(hi->hvm_reason),
                 "the CPU (%.4s%.4s%.4s) reports no VMX (CPUID 1, ECX bit 5)",
                 (const char *)&vendor.ebx, (const char *)&vendor.edx, (const char *)&vendor.ecx);
    fmt_snprintf(hi->hvm_try, sizeof(hi->hvm_try),
                 "nested: CPU type host (Proxmox: cpu: host); bare metal: an Intel CPU with VT-x");
}
