/* What CPUID offers can be switched on and what it does not cannot: every bit of CR4 that has a
 * feature, every component of XCR0; and the reserved bits of MSRs. */
#include "tests/guests/lib/apic.h"
#include "tests/guests/lib/cpu.h"
#include "tests/guests/lib/guest.h"

enum reg { EBX, ECX, EDX };

static const struct {
    u8 cr4_bit;
    u32 leaf;
    u8 reg, bit;
    const char *name;
} features[] = {
    {0, 1, EDX, 1, "VME"},       {1, 1, EDX, 1, "PVI"},     {2, 1, EDX, 4, "TSD"},
    {3, 1, EDX, 2, "DE"},        {4, 1, EDX, 3, "PSE"},     {6, 1, EDX, 7, "MCE"},
    {7, 1, EDX, 13, "PGE"},      {9, 1, EDX, 24, "OSFXSR"}, {10, 1, EDX, 25, "OSXMMEXCPT"},
    {11, 7, ECX, 2, "UMIP"},     {14, 1, ECX, 6, "SMXE"},   {16, 7, EBX, 0, "FSGSBASE"},
    {18, 1, ECX, 26, "OSXSAVE"}, {20, 7, EBX, 7, "SMEP"},   {22, 7, ECX, 3, "PKE"},
    {23, 7, ECX, 7, "CET"},      {13, 1, ECX, 5, "VMXE"},
};

static bool offered(u32 leaf, u8 reg, u8 bit)
{
    struct cpuid r = cpuid(leaf, 0);
    u32 value = reg == EBX ? r.ebx : reg == ECX ? r.ecx : r.edx;
    return value >> bit & 1;
}

static void cr4(void)
{
    u64 before = read_cr4();
    bool tcg = guest_is_tcg();
    for (unsigned i = 0; i < ARRAY_LEN(features); i++) {
        u64 value = before ^ BIT(features[i].cr4_bit);
        bool may = offered(features[i].leaf, features[i].reg, features[i].bit);
        if (tcg && (!may || features[i].cr4_bit >= 20))
            continue; /* QEMU's CPU takes what it does not offer; and all here are user pages */
        if (features[i].cr4_bit == 20)
            continue; /* tests/guests/permissions.c */
        if (features[i].cr4_bit == 23 && !(read_cr0() & CR0_WP))
            continue;
        u64 vector = fault_of("mov %0, %%cr4", : : "r"(value) : "memory");
        check(may ? vector == NO_FAULT : vector == VECTOR_GP, "CR4.%s: exception %lu, CPUID %s",
              features[i].name, vector, may ? "has it" : "has it not");
        check_equal(read_cr4(), may ? value : before, "CR4");
        write_cr4(before);
    }
    /* PCIDE needs the feature, long mode and CR3[11:0] = 0. */
    bool may = offered(1, ECX, 17);
    if (!tcg) {
        u64 vector = fault_of("mov %0, %%cr4", : : "r"(before | CR4_PCIDE) : "memory");
        check(vector == (may ? NO_FAULT : VECTOR_GP), "CR4.PCIDE: exception %lu", vector);
        write_cr4(before);
    }
}

static u64 write_fault(u32 msr, u64 value)
{
    return fault_of("wrmsr", : : "c"(msr), "a"((u32)value), "d"((u32)(value >> 32)));
}

/* Each type in each byte; the reserved ones are refused (SDM 3A 12.12.2). */
static void pat(void)
{
    u64 before = rdmsr(MSR_PAT);
    for (unsigned byte = 0; byte < 8; byte++) {
        for (u64 type = 0; type < 16; type++) {
            u64 value = (before & ~(0xffull << 8 * byte)) | type << 8 * byte;
            bool good = type <= 7 && type != 2 && type != 3;
            check(write_fault(MSR_PAT, value) == (good ? NO_FAULT : VECTOR_GP),
                  "type %lu in byte %u of the PAT", type, byte);
            check_equal(rdmsr(MSR_PAT), good ? value : before, "PAT");
            wrmsr(MSR_PAT, before);
        }
    }
}

static void reserved(void)
{
    u32 width = cpuid(0x80000008, 0).eax & 0xff;
    u64 base = rdmsr(MSR_APIC_BASE), efer = rdmsr(MSR_EFER);
    const struct {
        u32 msr;
        u64 value;
        const char *what;
    } rows[] = {
        {MSR_APIC_BASE, base | BIT(0), "bit 0 of APIC_BASE"},
        {MSR_APIC_BASE, base | BIT(9), "bit 9 of APIC_BASE"},
        {MSR_APIC_BASE, base | BIT(width), "APIC_BASE above the physical addresses"},
        {MSR_EFER, efer | BIT(2), "bit 2 of EFER"},
        {MSR_EFER, efer | BIT(9), "bit 9 of EFER"},
        {MSR_EFER, efer | BIT(63), "bit 63 of EFER"},
        {MSR_SYSENTER_ESP, BIT(48), "SYSENTER_ESP that is not canonical"},
        {MSR_SYSENTER_EIP, BIT(63), "SYSENTER_EIP that is not canonical"},
        {MSR_FS_BASE, BIT(47), "FS base that is not canonical"},
        {MSR_GS_BASE, BIT(62), "GS base that is not canonical"},
        {MSR_CSTAR, BIT(47), "CSTAR that is not canonical"},
        {0xda0, BIT(62), "IA32_XSS"},
    };
    for (unsigned i = 0; i < ARRAY_LEN(rows); i++) {
        u64 vector = write_fault(rows[i].msr, rows[i].value);
        check(vector == VECTOR_GP, "%s: exception %lu", rows[i].what, vector);
    }
    check_equal(rdmsr(MSR_APIC_BASE), base, "APIC_BASE after refused writes");
    check_equal(rdmsr(MSR_EFER), efer, "EFER after refused writes");
}

/* NXE off makes bit 63 of an entry a reserved one. */
static void no_execute_enable(void)
{
    extern u64 directories[];
    u64 *entry = &directories[0x3f800000 / PAGE_2M], before = *entry;
    *entry = 0x87 | BIT(63);
    invlpg(0x3f800000);
    check_fault(NO_FAULT, "movb 0x3f800000, %%al", : : : "rax");
    wrmsr(MSR_EFER, rdmsr(MSR_EFER) & ~EFER_NXE);
    invlpg(0x3f800000);
    check_fault(VECTOR_PF, "movb 0x3f800000, %%al", : : : "rax");
    check(guest_fault.error & 8, "error code %lx of a reserved bit", guest_fault.error);
    wrmsr(MSR_EFER, rdmsr(MSR_EFER) | EFER_NXE);
    *entry = before;
    invlpg(0x3f800000);
}

/* XSAVES goes with CPUID DH.1; without it the instruction is not there. */
static void xsaves(void)
{
    static u8 area[4096] __attribute__((aligned(64)));
    if (!offered(1, ECX, 26))
        return;
    write_cr4(read_cr4() | CR4_OSXSAVE | CR4_OSFXSR);
    bool has = cpuid(0xd, 1).eax & BIT(3);
    u64 vector = fault_of("xsaves (%0)", : : "r"(area), "a"(3), "d"(0) : "memory");
    check(vector == (has ? NO_FAULT : VECTOR_UD) || (guest_is_tcg() && !has),
          "XSAVES: exception %lu, CPUID %s", vector, has ? "has it" : "has it not");
    if (has) {
        check(*(u64 *)(area + 520) & BIT(63), "XSAVES does not write the compacted form");
        check_fault(NO_FAULT, "xrstors (%0)", : : "r"(area), "a"(3), "d"(0) : "memory");
        check_equal(rdmsr(0xda0), 0, "IA32_XSS");
    }
    if (cpuid(0xd, 1).eax & BIT(1)) {
        check_fault(NO_FAULT, "xsavec (%0)", : : "r"(area), "a"(3), "d"(0) : "memory");
        check(*(u64 *)(area + 520) & BIT(63), "XSAVEC does not write the compacted form");
    }
    write_cr4(read_cr4() & ~CR4_OSXSAVE);
    check_fault(VECTOR_UD, "xsave (%0)", : : "r"(area), "a"(3), "d"(0) : "memory");
}

void guest_main(void)
{
    cr4();
    if (!guest_is_tcg()) {
        pat();
        reserved();
    }
    no_execute_enable();
    xsaves();
}
