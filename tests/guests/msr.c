/* MSRs: the ones a kernel needs hold what is written, unknown ones raise #GP. */
#include "tests/guests/lib/cpu.h"
#include "tests/guests/lib/guest.h"

#define NON_CANONICAL 0x0001000000000000ull

static u64 read_fault(u32 msr)
{
    return fault_of("rdmsr", : : "c"(msr) : "rax", "rdx");
}

static u64 write_fault(u32 msr, u64 value)
{
    return fault_of("wrmsr", : : "c"(msr), "a"((u32)value), "d"((u32)(value >> 32)));
}

static void holds(u32 msr, u64 value, const char *name)
{
    u64 before = rdmsr(msr);
    check(write_fault(msr, value) == NO_FAULT, "write to %s faults", name);
    check_equal(rdmsr(msr), value, name);
    wrmsr(msr, before);
}

/* SDM 3A 12.11: as many ranges as MTRRCAP says, each holding what is written. */
static void mtrrs(void)
{
    check(cpuid(1, 0).edx & BIT(12), "no MTRRs");
    u64 cap = rdmsr(0xfe);
    check((cap & 0xff) >= 1 && (cap & 0xff) <= 10, "%lu ranges", cap & 0xff);
    if (!guest_on_qemu())
        check_equal(write_fault(0xfe, cap), VECTOR_GP, "write of MTRRCAP");
    u64 mask = BITS((cpuid(0x80000008, 0).eax & 0xff) - 1, 12);
    for (u32 i = 0; i < (cap & 0xff); i++) {
        holds(0x200 + 2 * i, 0xc0000000 | 1, "MTRR base");
        holds(0x201 + 2 * i, (mask & ~(BIT(30) - 1)) | BIT(11), "MTRR mask");
        if (!guest_on_qemu()) {
            check_equal(write_fault(0x200 + 2 * i, BIT(60) | 6), VECTOR_GP, "MTRR base too high");
            check_equal(write_fault(0x200 + 2 * i, 0x100), VECTOR_GP, "reserved bit of an MTRR");
        }
    }
    if (cap & BIT(8))
        holds(0x250, 0x0606060606060600, "fixed MTRR");
    u64 type = rdmsr(0x2ff);
    holds(0x2ff, (type & ~BIT(11)) | BIT(11) | 6, "MTRR default type");
    if (!guest_on_qemu())
        check_equal(write_fault(0x2ff, type | BIT(12)), VECTOR_GP, "reserved bit of default type");
}

void guest_main(void)
{
    static const u32 unknown[] = {0x1234,     0x9999,     0x2000,     0x50000000,
                                  0xc0001fff, 0xc0020000, 0x40000200, 0xffffffff};
    for (unsigned i = 0; i < ARRAY_LEN(unknown) && !guest_on_qemu(); i++) {
        check(read_fault(unknown[i]) == VECTOR_GP, "RDMSR %x: no #GP", unknown[i]);
        check_equal(guest_fault.error, 0, "error code");
        check(write_fault(unknown[i], 0) == VECTOR_GP, "WRMSR %x: no #GP", unknown[i]);
    }

    holds(MSR_STAR, 0x0023001000000000, "STAR");
    holds(MSR_LSTAR, 0xffff800000001000, "LSTAR");
    holds(MSR_CSTAR, 0xffff800000002000, "CSTAR");
    holds(MSR_FMASK, 0x47700, "FMASK");
    holds(MSR_FS_BASE, 0x00007fffdeadb000, "FS_BASE");
    holds(MSR_GS_BASE, 0xffff8000deadb000, "GS_BASE");
    holds(MSR_KERNEL_GS_BASE, 0x0000123456789000, "KERNEL_GS_BASE");
    holds(MSR_SYSENTER_CS, 0x10, "SYSENTER_CS");
    holds(MSR_SYSENTER_ESP, 0x123000, "SYSENTER_ESP");
    holds(MSR_SYSENTER_EIP, 0x124000, "SYSENTER_EIP");
    holds(MSR_PAT, 0x0007040600070401, "PAT");
    if (!guest_is_tcg()) {
        check_equal(write_fault(MSR_PAT, 0x0007040600070402), VECTOR_GP, "memory type 2 in PAT");
        check_equal(write_fault(MSR_LSTAR, NON_CANONICAL), VECTOR_GP, "non-canonical LSTAR");
        check_equal(write_fault(MSR_KERNEL_GS_BASE, NON_CANONICAL), VECTOR_GP,
                    "non-canonical GS base");
    }

    mtrrs();

    u64 efer = rdmsr(MSR_EFER);
    check_equal(efer & (EFER_LME | EFER_LMA), EFER_LME | EFER_LMA, "EFER.LME, LMA");
    wrmsr(MSR_EFER, efer | EFER_SCE);
    check_equal(rdmsr(MSR_EFER), efer | EFER_SCE, "EFER");
    if (!guest_is_tcg()) {
        check_equal(write_fault(MSR_EFER, efer | BIT(1)), VECTOR_GP, "reserved bit of EFER");
        check_equal(write_fault(MSR_EFER, efer & ~EFER_LME), VECTOR_GP, "LME off under paging");
    }
    wrmsr(MSR_EFER, efer);

    if (cpuid(0x80000001, 0).edx & BIT(27)) {
        wrmsr(MSR_TSC_AUX, 0x1234);
        u32 aux;
        asm volatile("rdtscp" : "=c"(aux) : : "rax", "rdx");
        check_equal(aux, 0x1234, "TSC_AUX through RDTSCP");
    }
    if (cpuid(7, 0).ebx & BIT(1)) {
        u64 adjust = rdmsr(MSR_TSC_ADJUST), before = rdtsc();
        wrmsr(MSR_TSC_ADJUST, adjust + (1ull << 40));
        u64 after = rdtsc();
        check(after - before >= 1ull << 40 && after - before < (1ull << 40) + (1ull << 36),
              "TSC moved by %lx, not by TSC_ADJUST", (after - before));
        wrmsr(MSR_TSC_ADJUST, adjust);
        check(rdtsc() - before < 1ull << 36, "TSC did not move back");
    }
}
