/* Picks the backend that fits the CPU; boot CPU, once. */
#include "kernel/hvm.h"

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
    for (u32 i = 0; i < ARRAY_LEN(backends) && !hvm; i++) {
        u32 leaf = backends[i].leaf;
        if (cpuid(leaf & 0x80000000, 0).eax >= leaf && (cpuid(leaf, 0).ecx & BIT(backends[i].bit)))
            hvm = backends[i].ops;
    }
    hi->hvm = hvm ? hvm->kind : HOST_HVM_NONE;
}
