/* links: vmm/features.c */
/* What `host info` says where guests cannot run: the missing piece and the fix, for each maker of
 * CPUs and each kind of machine around this one. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>

#include <cmocka.h>

#include "vmm/cpuid.h"
#include "vmm/features.h"

static const char *made_by, *within; /* the CPU's signature; the outer hypervisor's or "" */

struct cpuid_regs cpuid_native(u32 leaf, u32 subleaf)
{
    struct cpuid_regs r = {0};

    (void)subleaf;
    if (leaf == 0) {
        memcpy(&r.ebx, made_by, 4);
        memcpy(&r.edx, made_by + 4, 4);
        memcpy(&r.ecx, made_by + 8, 4);
    } else if (leaf == 1) {
        r.ecx = within[0] ? 1u << 31 : 0;
    } else if (leaf == 0x40000000) {
        memcpy(&r.ebx, within, 4);
        memcpy(&r.ecx, within + 4, 4);
        memcpy(&r.edx, within + 8, 4);
    }
    return r;
}

#define AMD "AuthenticAMD"
#define INTEL "GenuineIntel"
#define KVM "KVMKVMKVM\0\0\0"
#define TCG "TCGTCGTCGTCG"

static const struct {
    const char *made_by, *within;
    enum host_hvm hvm;
    enum host_problem problem;
    u64 lacking; /* of SVM_FEATURES */
    const char *reason, *hint;
} cases[] = {
    {AMD, KVM, HOST_HVM_NONE, HOST_HVM_WORKS, 0,
     "the CPU (AuthenticAMD) offers no AMD-V (CPUID 8000_0001H ECX bit 2)", "kvm_amd nested=1"},
    {AMD, KVM, HOST_HVM_NONE, HOST_HVM_WORKS, 0, "no AMD-V", "CPU type host"},
    {AMD, KVM, HOST_HVM_SVM, HOST_HVM_LACKING, 1, "AMD-V lacks: Nested paging", "npt=1"},
    {AMD, KVM, HOST_HVM_SVM, HOST_HVM_LOCKED, 0, "SVMDIS", "CPU type host"},
    {AMD, "", HOST_HVM_SVM, HOST_HVM_LOCKED, 0, "MSR VM_CR bit 4", "firmware setup"},
    {AMD, "", HOST_HVM_SVM, HOST_HVM_REFUSED, 0, "EFER.SVME", "firmware setup"},
    {AMD, "", HOST_HVM_NONE, HOST_HVM_WORKS, 0, "no AMD-V", "an AMD CPU"},
    {AMD, TCG, HOST_HVM_NONE, HOST_HVM_WORKS, 0, "no AMD-V", "-cpu max,+svm,+npt"},
    {AMD, TCG, HOST_HVM_SVM, HOST_HVM_LACKING, 1, "Nested paging", "+npt"},
    {AMD, "Microsoft Hv", HOST_HVM_NONE, HOST_HVM_WORKS, 0, "no AMD-V", "Set-VMProcessor"},
    {AMD, "VMwareVMware", HOST_HVM_NONE, HOST_HVM_WORKS, 0, "no AMD-V", "vhv.enable"},
    {AMD, "unheard of  ", HOST_HVM_NONE, HOST_HVM_WORKS, 0, "no AMD-V", "outer hypervisor"},
    {"HygonGenuine", KVM, HOST_HVM_NONE, HOST_HVM_WORKS, 0, "no AMD-V", "kvm_amd"},
    {INTEL, KVM, HOST_HVM_NONE, HOST_HVM_WORKS, 0,
     "the CPU (GenuineIntel) offers no VT-x (CPUID 1 ECX bit 5)", "kvm_intel nested=1"},
    {INTEL, "", HOST_HVM_VMX, HOST_HVM_LOCKED, 0, "IA32_FEATURE_CONTROL", "firmware setup"},
    {INTEL, "", HOST_HVM_NONE, HOST_HVM_WORKS, 0, "no VT-x", "an Intel CPU"},
    {"SomeoneElse ", "", HOST_HVM_NONE, HOST_HVM_WORKS, 0, "neither VT-x nor AMD-V", "a CPU with"},
};

static void missing_piece_and_fix(void **state)
{
    (void)state;
    for (u32 i = 0; i < ARRAY_LEN(cases); i++) {
        struct host_info h = {.hvm = cases[i].hvm, .hvm_problem = cases[i].problem};
        char reason[FEATURES_REASON];

        made_by = cases[i].made_by;
        within = cases[i].within;
        h.lacking[SVM_FEATURES] = cases[i].lacking;
        const char *hint = features_why_not(&h, reason, sizeof(reason));
        print_message("%s. Try: %s\n", reason, hint);
        assert_non_null(strstr(reason, cases[i].reason));
        assert_non_null(strstr(hint, cases[i].hint));
        assert_true(strlen(reason) < FEATURES_REASON - 1);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(missing_piece_and_fix),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
