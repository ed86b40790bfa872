/* CPUID: what the policy says, and that it agrees with what the CPU then does. */
#include "tests/guests/lib/cpu.h"
#include "tests/guests/lib/guest.h"

static void hypervisor_leaf(void)
{
    check(cpuid(1, 0).ecx & BIT(31), "leaf 1 does not say that there is a hypervisor");
    struct cpuid r = cpuid(0x40000000, 0);
    check(r.eax >= 0x40000000, "highest hypervisor leaf is %x", r.eax);
    char name[13];
    u32 words[3] = {r.ebx, r.ecx, r.edx};
    for (unsigned i = 0; i < 12; i++)
        name[i] = (char)(words[i / 4] >> (i % 4 * 8));
    name[12] = 0;
    print("hypervisor \"%s\"\n", name);
}

static void follows_cr4(void)
{
    if (!(cpuid(1, 0).ecx & BIT(26)))
        return;
    write_cr4(read_cr4() & ~CR4_OSXSAVE);
    check(!(cpuid(1, 0).ecx & BIT(27)), "OSXSAVE set without CR4.OSXSAVE");
    check_fault(VECTOR_UD, "xgetbv", : : "c"(0) : "rax", "rdx");
    write_cr4(read_cr4() | CR4_OSXSAVE);
    check(cpuid(1, 0).ecx & BIT(27), "OSXSAVE clear with CR4.OSXSAVE");
    check_fault(NO_FAULT, "xgetbv", : : "c"(0) : "rax", "rdx");
    write_cr4(read_cr4() & ~CR4_OSXSAVE);
}

static void says_what_is_not_there(void)
{
    check(!(cpuid(1, 0).ecx & BIT(5)) || read_cr4() & CR4_VMXE ||
              fault_of("mov %0, %%cr4",
                       :
                       : "r"(read_cr4() | CR4_VMXE)) == NO_FAULT,
          "VMX is offered and cannot be switched on");
    write_cr4(read_cr4() & ~CR4_VMXE);
    struct cpuid last = cpuid(0, 0);
    check(last.eax >= 1 && last.eax < 0x100, "highest basic leaf is %x", last.eax);
    check(cpuid(0x80000000, 0).eax >= 0x80000008, "no address-size leaf");
    u32 sizes = cpuid(0x80000008, 0).eax;
    check((sizes & 0xff) >= 36 && (sizes & 0xff) <= 52, "%u physical address bits", sizes & 0xff);
    check_equal(cpuid(0x80000001, 0).edx >> 29 & 1, 1, "the long-mode bit");
}

void guest_main(void)
{
    check(cpuid(1, 0).edx & BIT(9), "no local APIC");
    hypervisor_leaf();
    follows_cr4();
    says_what_is_not_there();
    /* Preserves what it must and clears upper halves, SDM 2A CPUID. */
    u64 a = 0xffffffff00000000, b = ~0ull, c = 0xffffffff00000000, d = ~0ull;
    asm volatile("cpuid" : "+a"(a), "+b"(b), "+c"(c), "+d"(d));
    check_equal((a | b | c | d) >> 32, 0, "upper half after CPUID");
}
