/* Names for the capability words of host_info and for CPUID bits; called by the shell and by vm.c.
 * Pure but for the CPUID instruction. */
#include "vmm/features.h"

#include <stdio.h>
#include <string.h>

#include "kernel/abi/vmx_bits.h"
#include "vmm/cpuid.h"

#define IOMMU_LINES 2

enum { PLAIN, INVERTED /* must be possible to leave off */, COUNT /* active unless it lacks */ };

struct row {
    u8 word, bit, kind;
    const char *name;
    const char *note; /* what happens without it, or why it is not used */
};

#define BIT_OF(mask) __builtin_ctzll(mask)
static const struct row vmx_rows[] = {
    {VMX_PIN, BIT_OF(PIN_EXTERNAL_INTERRUPT), PLAIN, "external-interrupt exiting", ""},
    {VMX_PIN, BIT_OF(PIN_NMI), PLAIN, "NMI exiting", ""},
    {VMX_PIN, BIT_OF(PIN_VIRTUAL_NMI), PLAIN, "virtual NMIs", ""},
    {VMX_PIN, BIT_OF(PIN_PREEMPTION_TIMER), PLAIN, "preemption timer", "APIC timer instead"},
    {VMX_PIN, BIT_OF(PIN_POSTED_INTERRUPTS), PLAIN, "posted interrupts", "kick by IPI instead"},
    {VMX_PROC, BIT_OF(PROC_INTERRUPT_WINDOW), PLAIN, "interrupt-window exiting", ""},
    {VMX_PROC, BIT_OF(PROC_TSC_OFFSET), PLAIN, "TSC offsetting", ""},
    {VMX_PROC, BIT_OF(PROC_HLT), PLAIN, "HLT exiting", ""},
    {VMX_PROC, BIT_OF(PROC_INVLPG), INVERTED, "INVLPG without exit", ""},
    {VMX_PROC, BIT_OF(PROC_MWAIT), PLAIN, "MWAIT exiting", ""},
    {VMX_PROC, BIT_OF(PROC_RDPMC), PLAIN, "RDPMC exiting", ""},
    {VMX_PROC, BIT_OF(PROC_CR3_LOAD), INVERTED, "CR3 load without exit", ""},
    {VMX_PROC, BIT_OF(PROC_CR3_STORE), INVERTED, "CR3 store without exit", ""},
    {VMX_PROC, BIT_OF(PROC_CR8_LOAD), PLAIN, "CR8-load exiting", ""},
    {VMX_PROC, BIT_OF(PROC_CR8_STORE), PLAIN, "CR8-store exiting", ""},
    {VMX_PROC, BIT_OF(PROC_TPR_SHADOW), PLAIN, "TPR shadow", "CR8 accesses exit"},
    {VMX_PROC, BIT_OF(PROC_NMI_WINDOW), PLAIN, "NMI-window exiting", ""},
    {VMX_PROC, BIT_OF(PROC_MOV_DR), PLAIN, "MOV-DR exiting", ""},
    {VMX_PROC, BIT_OF(PROC_IO), PLAIN, "unconditional I/O exiting", ""},
    {VMX_PROC, BIT_OF(PROC_MSR_BITMAPS), PLAIN, "MSR bitmaps", ""},
    {VMX_PROC, BIT_OF(PROC_MONITOR), PLAIN, "MONITOR exiting", ""},
    {VMX_PROC, BIT_OF(PROC_SECONDARY), PLAIN, "secondary controls", ""},
    {VMX_PROC2, BIT_OF(PROC2_APIC_ACCESS), PLAIN, "virtualize APIC accesses",
     "software local APIC"},
    {VMX_PROC2, BIT_OF(PROC2_EPT), PLAIN, "EPT", ""},
    {VMX_PROC2, BIT_OF(PROC2_RDTSCP), PLAIN, "RDTSCP", "hidden from guests"},
    {VMX_PROC2, BIT_OF(PROC2_X2APIC), PLAIN, "virtualize x2APIC mode", "software local APIC"},
    {VMX_PROC2, BIT_OF(PROC2_VPID), PLAIN, "VPID", "TLB flushed at each exit"},
    {VMX_PROC2, BIT_OF(PROC2_WBINVD), PLAIN, "WBINVD exiting", "guests may flush caches"},
    {VMX_PROC2, BIT_OF(PROC2_UNRESTRICTED), PLAIN, "unrestricted guest", ""},
    {VMX_PROC2, BIT_OF(PROC2_APIC_REGISTERS), PLAIN, "APIC-register virtualization",
     "software local APIC"},
    {VMX_PROC2, BIT_OF(PROC2_VIRTUAL_DELIVERY), PLAIN, "virtual-interrupt delivery",
     "injected by software"},
    {VMX_PROC2, BIT_OF(PROC2_PAUSE_LOOP), PLAIN, "PAUSE-loop exiting",
     "spinning guests keep their slice"},
    {VMX_PROC2, BIT_OF(PROC2_INVPCID), PLAIN, "INVPCID", "hidden from guests"},
    {VMX_PROC2, BIT_OF(PROC2_VMFUNC), PLAIN, "VM functions", "not needed"},
    {VMX_PROC2, BIT_OF(PROC2_SHADOWING), PLAIN, "VMCS shadowing", "guests get no VT-x"},
    {VMX_PROC2, BIT_OF(PROC2_PML), PLAIN, "page-modification logging",
     "dirty bits are read instead"},
    {VMX_PROC2, BIT_OF(PROC2_XSAVES), PLAIN, "XSAVES", "hidden from guests"},
    {VMX_PROC2, BIT_OF(PROC2_TSC_SCALING), PLAIN, "TSC scaling", "guests see the host's rate"},
    {VMX_EXIT, BIT_OF(EXIT_SAVE_DEBUG), PLAIN, "save debug controls", ""},
    {VMX_EXIT, BIT_OF(EXIT_HOST_64), PLAIN, "64-bit host", ""},
    {VMX_EXIT, BIT_OF(EXIT_ACK_INTERRUPT), PLAIN, "acknowledge interrupt on exit", ""},
    {VMX_EXIT, BIT_OF(EXIT_SAVE_PAT), PLAIN, "save PAT", ""},
    {VMX_EXIT, BIT_OF(EXIT_LOAD_PAT), PLAIN, "load host PAT", ""},
    {VMX_EXIT, BIT_OF(EXIT_SAVE_EFER), PLAIN, "save EFER", ""},
    {VMX_EXIT, BIT_OF(EXIT_LOAD_EFER), PLAIN, "load host EFER", ""},
    {VMX_EXIT, BIT_OF(EXIT_SAVE_TIMER), PLAIN, "save preemption timer", "APIC timer instead"},
    {VMX_ENTRY, BIT_OF(ENTRY_LOAD_DEBUG), PLAIN, "load debug controls", ""},
    {VMX_ENTRY, BIT_OF(ENTRY_IA32E), PLAIN, "IA-32e mode guest", ""},
    {VMX_ENTRY, BIT_OF(ENTRY_LOAD_PAT), PLAIN, "load guest PAT", ""},
    {VMX_ENTRY, BIT_OF(ENTRY_LOAD_EFER), PLAIN, "load guest EFER", ""},
    {VMX_EPT_VPID, BIT_OF(EPT_CAP_WALK_4), PLAIN, "EPT four-level walk", ""},
    {VMX_EPT_VPID, BIT_OF(EPT_CAP_WB), PLAIN, "EPT write-back tables", ""},
    {VMX_EPT_VPID, BIT_OF(EPT_CAP_2M), PLAIN, "EPT 2 MiB pages", "4 KiB pages"},
    {VMX_EPT_VPID, BIT_OF(EPT_CAP_1G), PLAIN, "EPT 1 GiB pages", "2 MiB pages"},
    {VMX_EPT_VPID, BIT_OF(EPT_CAP_INVEPT), PLAIN, "INVEPT", ""},
    {VMX_EPT_VPID, BIT_OF(EPT_CAP_ACCESSED_DIRTY), PLAIN, "EPT accessed and dirty bits",
     "all pages count as written"},
    {VMX_EPT_VPID, BIT_OF(EPT_CAP_INVEPT_SINGLE), PLAIN, "INVEPT single context", "all contexts"},
    {VMX_EPT_VPID, BIT_OF(EPT_CAP_INVEPT_ALL), PLAIN, "INVEPT all contexts", ""},
    {VMX_EPT_VPID, BIT_OF(VPID_CAP_INVVPID), PLAIN, "INVVPID", "no VPID"},
    {VMX_EPT_VPID, BIT_OF(VPID_CAP_SINGLE), PLAIN, "INVVPID single context", "all contexts"},
    {VMX_EPT_VPID, BIT_OF(VPID_CAP_ALL), PLAIN, "INVVPID all contexts", "no VPID"},
    {VMX_MISC, BIT_OF(VMX_MISC_STORES_LMA), PLAIN, "EFER.LMA stored on exit", ""},
    {VMX_BASIC, 52, PLAIN, "write-back VMCS", ""},
    {VMX_BASIC, BIT_OF(VMX_BASIC_INSN_INFO), PLAIN, "INS/OUTS instruction information", "decoded"},
};

/* APM 3, CPUID Fn8000_000A. */
static const struct row svm_rows[] = {
    {SVM_FEATURES, 0, PLAIN, "Nested paging", ""},
    {SVM_ASIDS, 0, COUNT, "an ASID for guests", ""},
    {SVM_FEATURES, 3, PLAIN, "Next RIP on exit", "else instructions are measured"},
    {SVM_FEATURES, 7, PLAIN, "Decode assists", "else CR writes are decoded"},
    {SVM_FEATURES, 5, PLAIN, "VMCB clean bits", ""},
    {SVM_FEATURES, 10, PLAIN, "PAUSE filter", ""},
    {SVM_FEATURES, 6, PLAIN, "Flush by ASID", "a fresh ASID does as well"},
    {SVM_FEATURES, 13, PLAIN, "AVIC", "local APIC is in software"},
    {SVM_FEATURES, 15, PLAIN, "Virtual VMLOAD/VMSAVE", "guests are not offered AMD-V"},
    {SVM_FEATURES, 16, PLAIN, "Virtual GIF", "guests are not offered AMD-V"},
    {SVM_FEATURES, 25, PLAIN, "Virtual NMI", "IRET exits do as well"},
    {SVM_FEATURES, 4, PLAIN, "TSC scaling", "guests run at the host's rate"},
};

/* CPUID bits that the kernel uses where they are offered. */
static const struct {
    u32 leaf;
    u8 reg; /* 0 eax .. 3 edx */
    u8 bit;
    const char *name, *use, *without;
} cpu_rows[] = {
    {7, 1, 7, "SMEP", "ring 0 runs no user page", "page tables alone"},
    {7, 1, 20, "SMAP", "ring 0 touches no user page", "user pointers go by page tables anyway"},
    {7, 2, 2, "UMIP", "ring 3 cannot read descriptor tables", "they can be read"},
    {0x80000001, 3, 26, "1 GiB pages", "physmap, nested pages", "2 MiB pages"},
    {1, 2, 21, "x2APIC", "interrupts by MSR", "xAPIC registers"},
    {1, 2, 24, "TSC deadline timer", "host timers", "one-shot APIC timer"},
    {0x80000007, 3, 8, "invariant TSC", "time", "TSC may change with frequency; used all the same"},
};

/* What a backend is called, what it knows of, and where a machine without it gets it. */
static const struct vendor {
    const struct row *rows;
    u32 row_count;
    u32 control_words; /* so many words have the bits that may be 1 in their high halves */
    const char *name, *bit, *locked, *enabling, *module_hint, *firmware_hint, *cpu_hint;
} vendors[] = {
    [HOST_HVM_NONE] = {NULL, 0, 0, "neither VT-x nor AMD-V", "CPUID", "", "",
                       "nested: CPU type host", "",
                       "a CPU with VT-x and EPT, or with AMD-V and nested paging"},
    [HOST_HVM_VMX] = {vmx_rows, ARRAY_LEN(vmx_rows), VMX_CONTROL_WORDS, "VT-x", "CPUID 1 ECX bit 5",
                      "IA32_FEATURE_CONTROL bit 2", "VMXON",
                      "VM's CPU type host (Proxmox: cpu: host); on the outer host kvm_intel "
                      "nested=1 and ept=1",
                      "enable Intel VT-x in firmware setup, then switch power off and on",
                      "an Intel CPU of 2010 or later"},
    [HOST_HVM_SVM] = {svm_rows, ARRAY_LEN(svm_rows), 0, "AMD-V", "CPUID 8000_0001H ECX bit 2",
                      "MSR VM_CR bit 4, SVMDIS", "EFER.SVME",
                      "VM's CPU type host (Proxmox: cpu: host); on the outer host kvm_amd "
                      "nested=1 and npt=1",
                      "enable SVM mode (virtualization) in firmware setup",
                      "an AMD CPU of 2008 or later"},
};

static enum feature_state state_of(const struct host_info *h, const struct row *r)
{
    bool control = r->word < vendors[h->hvm].control_words;

    if (h->lacking[r->word] >> r->bit & 1)
        return FEATURE_MISSING;
    if (r->kind != PLAIN || (h->used[r->word] >> r->bit & 1))
        return FEATURE_ACTIVE;
    return h->offered[r->word] >> (r->bit + (control ? 32 : 0)) & 1 ? FEATURE_UNUSED
                                                                    : FEATURE_ABSENT;
}

static bool cpu_line(u32 i, struct feature_line *out)
{
    u32 leaf = cpu_rows[i].leaf, reg = cpu_rows[i].reg;
    struct cpuid_regs r = {0};

    if (leaf <= cpuid_native(leaf & 0x80000000, 0).eax)
        r = cpuid_native(leaf, 0);
    bool has = (reg == 1 ? r.ebx : reg == 2 ? r.ecx : r.edx) >> cpu_rows[i].bit & 1;
    *out = (struct feature_line){cpu_rows[i].name, has ? FEATURE_ACTIVE : FEATURE_ABSENT,
                                 has ? cpu_rows[i].use : cpu_rows[i].without};
    return true;
}

static bool iommu_line(const struct host_info *h, u32 i, struct feature_line *out)
{
    bool on = h->iommu & (i ? HOST_IOMMU_REMAP : HOST_IOMMU_ON);
    const char *note = i                             ? "devices may send any interrupt"
                       : h->iommu & HOST_IOMMU_FOUND ? "not usable: devices reach all memory"
                                                     : "devices reach all memory";

    *out = (struct feature_line){i ? "interrupt remapping" : "VT-d DMA remapping",
                                 on ? FEATURE_ACTIVE : FEATURE_ABSENT, on ? "" : note};
    return true;
}

bool features_line(const struct host_info *h, u32 i, struct feature_line *out)
{
    const struct vendor *v = &vendors[h->hvm];

    if (i < ARRAY_LEN(cpu_rows))
        return cpu_line(i, out);
    i -= ARRAY_LEN(cpu_rows);
    if (i < IOMMU_LINES)
        return iommu_line(h, i, out);
    i -= IOMMU_LINES;
    if (i >= v->row_count)
        return false;
    const struct row *r = &v->rows[i];
    enum feature_state state = state_of(h, r);
    *out = (struct feature_line){r->name, state, state == FEATURE_ACTIVE ? "" : r->note};
    return true;
}

const char *features_hvm_name(const struct host_info *h)
{
    return h->hvm_problem == HOST_HVM_WORKS && h->hvm ? vendors[h->hvm].name : "";
}

/* The backend that fits this CPU's maker, whether it has it or not. */
static enum host_hvm maker(char signature[13])
{
    static const struct {
        const char *signature;
        enum host_hvm hvm;
    } known[] = {{"GenuineIntel", HOST_HVM_VMX},
                 {"AuthenticAMD", HOST_HVM_SVM},
                 {"HygonGenuine", HOST_HVM_SVM}};
    struct cpuid_regs r = cpuid_native(0, 0);
    u32 words[3] = {r.ebx, r.edx, r.ecx};

    memcpy(signature, words, sizeof(words));
    signature[12] = 0;
    for (u32 i = 0; i < ARRAY_LEN(known); i++)
        if (!strcmp(signature, known[i].signature))
            return known[i].hvm;
    return HOST_HVM_NONE;
}

/* How the machine around this one gives what is missing. */
static const char *hint(const struct vendor *v)
{
    static const struct {
        const char *signature, *hint;
    } outer[] = {
        {"TCGTCGTCGTCG", "start QEMU with -cpu max,+svm,+npt"},
        {"Microsoft Hv", "Set-VMProcessor NAME -ExposeVirtualizationExtensions $true"},
        {"VMwareVMware", "vhv.enable = TRUE in the VM's settings"},
        {"KVMKVMKVM", NULL},
    };
    char signature[16];

    features_outer_signature(signature);
    if (!signature[0])
        return v->cpu_hint;
    for (u32 i = 0; i < ARRAY_LEN(outer); i++)
        if (!strcmp(signature, outer[i].signature))
            return outer[i].hint ? outer[i].hint : v->module_hint;
    return "switch on nested virtualisation in the outer hypervisor";
}

/* Names what is missing as long as whole names fit, then says that there is more. */
static void name_missing(const struct host_info *h, char *reason, u32 len)
{
    const struct vendor *v = &vendors[h->hvm];
    u32 used = (u32)strlen(reason);
    const char *comma = "";

    for (u32 i = 0; i < v->row_count; i++) {
        const struct row *r = &v->rows[i];
        if (!(h->lacking[r->word] >> r->bit & 1))
            continue;
        if (used + strlen(r->name) + sizeof(", , ...") > len) {
            snprintf(reason + used, len - used, "%s...", comma);
            return;
        }
        used += (u32)snprintf(reason + used, len - used, "%s%s", comma, r->name);
        comma = ", ";
    }
}

const char *features_why_not(const struct host_info *h, char *reason, u32 len)
{
    char signature[13], outer[16];
    enum host_hvm made = maker(signature);
    const struct vendor *v = &vendors[h->hvm != HOST_HVM_NONE ? h->hvm : made];

    features_outer_signature(outer);
    if (h->hvm == HOST_HVM_NONE) {
        snprintf(reason, len, "the CPU (%s) offers %s%s (%s)", signature, made ? "no " : "",
                 v->name, v->bit);
        return hint(v);
    }
    switch (h->hvm_problem) {
    case HOST_HVM_LOCKED:
        snprintf(reason, len, "%s is locked off (%s)", v->name, v->locked);
        return outer[0] ? hint(v) : v->firmware_hint;
    case HOST_HVM_LACKING:
        snprintf(reason, len, "%s lacks: ", v->name);
        name_missing(h, reason, len);
        return hint(v);
    default:
        snprintf(reason, len, "the CPU refuses %s", v->enabling);
        return outer[0] ? hint(v) : v->firmware_hint;
    }
}

const char *features_cpu_state(const struct host_info *h, u32 cpu)
{
    static const char *const states[] = {
        [HOST_HVM_WORKS] = "no",        [HOST_HVM_LOCKED] = "locked",
        [HOST_HVM_LACKING] = "lacking", [HOST_HVM_REFUSED] = "refused",
        [HOST_HVM_SPARED] = "spared",
    };
    u32 problem = h->hvm_problem == HOST_HVM_WORKS ? h->cpus[cpu].hvm_problem : HOST_HVM_WORKS;

    return h->cpus[cpu].hvm ? "yes" : problem < ARRAY_LEN(states) ? states[problem] : "no";
}

bool features_control_used(const struct host_info *h, enum host_word word, u64 bits)
{
    return (u32)word >= vendors[h->hvm].control_words || (h->used[word] & bits);
}

void features_cpu_brand(char text[52])
{
    memset(text, 0, 52);
    if (cpuid_native(0x80000000, 0).eax < 0x80000004)
        return;
    for (u32 i = 0; i < 3; i++) {
        struct cpuid_regs r = cpuid_native(0x80000002 + i, 0);
        memcpy(text + i * sizeof(r), &r, sizeof(r));
    }
}

void features_outer_signature(char text[16])
{
    memset(text, 0, 16);
    if (!(cpuid_native(1, 0).ecx >> 31 & 1))
        return;
    struct cpuid_regs r = cpuid_native(0x40000000, 0);
    memcpy(text, &r.ebx, 3 * sizeof(u32));
}
