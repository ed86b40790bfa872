/* Picks the backend that fits the CPU; boot CPU, once. */
#include "kernel/hvm.h"

#include "kernel/abi/speculation.h"
#include "kernel/paging.h"
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

extern u8 branches_hvm[];

/* Each a JMP with 32 bits of distance, in the order of branches.S. */
static void point_jumps(void)
{
    const u64 targets[] = {(u64)hvm->run, (u64)hvm->to_user, (u64)hvm->fill_page,
                           (u64)hvm->take_page, (u64)hvm->take_events};

    for (u32 i = 0; i < ARRAY_LEN(targets); i++) {
        u8 *jump = branches_hvm + 5 * i;
        u32 distance = (u32)(targets[i] - (u64)(jump + 5));
        paging_patch(jump + 1, &distance, sizeof(distance));
    }
}

void hvm_detect(struct host_info *hi)
{
    for (u32 i = 0; i < ARRAY_LEN(backends) && !hvm; i++) {
        u32 leaf = backends[i].leaf;
        if (cpuid(leaf & 0x80000000, 0).eax >= leaf && (cpuid(leaf, 0).ecx & BIT(backends[i].bit)))
            hvm = backends[i].ops;
    }
    if (hvm)
        point_jumps();
    hi->hvm = hvm ? hvm->kind : HOST_HVM_NONE;
    hi->speculation = SPECULATION_RETPOLINE; /* code alone */
}

bool hvm_on_tcg(void)
{
    return (cpuid(1, 0).ecx & BIT(31)) && cpuid(0x40000000, 0).ebx == 0x54474354; /* "TCGT" */
}

/* QEMU 7.2's TCG: a CPU that loads FPU state clears IGNNE# in the first CPU's flags, and not
 * atomically. If that one is about to enter a guest or to leave it, they say the opposite from
 * then on: it takes guest-physical addresses for its own or the reverse, up to a reset. */
void hvm_spare_first(struct host_info *hi)
{
    if (cpu_count == 1 || !cpus[1]->hvm_enabled || !hvm_on_tcg())
        return;
    cpus[0]->hvm_enabled = false;
    hi->cpus[0].hvm = false;
    hi->cpus[0].hvm_problem = HOST_HVM_SPARED;
}
