/* Picks the backend that fits the CPU; boot CPU, once. */
#include "kernel/hvm.h"

#include "kernel/lib/fmt.h"
#include "kernel/x86.h"

const struct hvm_ops *hvm;

/* CPUID bits of the instruction set extensions, whatever the vendor calls itself; all in ECX. */
static const struct {
    u32 leaf, bit;
    const struct hvm_ops *ops;
} backends[] = {
    {1, 5, &hvm_vmx},
    {0x80000001, 2, &hvm_svm},
};

void hvm_detect(struct host_info *hi)
{
    struct cpuid_regs vendor = cpuid(0, 0);

    for (u32 i = 0; i < ARRAY_LEN(backends); i++) {
        u32 leaf = backends[i].leaf;
        if (cpuid(leaf & 0x80000000, 0).eax < leaf || !(cpuid(leaf, 0).ecx & BIT(backends[i].bit)))
            continue;
        hvm = backends[i].ops;
        fmt_snprintf(hi->hvm_name, sizeof(hi->hvm_name), "%s", hvm->name);
        return;
    }
    fmt_snprintf(hi->hvm_reason, sizeof(hi->hvm_reason),
                 "the CPU (%.4s%.4s%.4s) offers neither VT-x nor AMD-V", (const char *)&vendor.ebx,
                 (const char *)&vendor.edx, (const char *)&vendor.ecx);
    fmt_snprintf(hi->hvm_try, sizeof(hi->hvm_try),
                 "nested: CPU type host (Proxmox: cpu: host); QEMU: -cpu max,+svm,+npt");
}
