/* Control registers: bits toggle, reserved ones raise #GP, and what they switch really switches. */
#include "tests/guests/lib/cpu.h"
#include "tests/guests/lib/guest.h"

static u8 page[2 * 4096] __attribute__((aligned(4096)));
static u64 small_table[512] __attribute__((aligned(4096)));
extern u64 directories[];

/* Splits the 2 MiB page that `page` lies in, so that 4 KiB of it can be made read-only. */
static u64 *entry_of(void *at)
{
    u64 va = (u64)at, base = ROUND_DOWN(va, PAGE_2M);
    if (directories[va / PAGE_2M] & BIT(7)) {
        for (unsigned i = 0; i < 512; i++)
            small_table[i] = (base + i * PAGE_SIZE) | 0x67;
        directories[va / PAGE_2M] = (u64)small_table | 0x67;
        write_cr3(read_cr3());
    }
    return &small_table[va / PAGE_SIZE % 512];
}

static void write_protect(void)
{
    u64 *entry = entry_of(page);
    *entry &= ~BIT(1);
    invlpg((u64)page);
    check_fault(VECTOR_PF, "movb $1, page", : : : "memory");
    check_equal(guest_fault.error, 3, "error code of a write to a read-only page");
    check_equal(guest_fault.cr2, (u64)page, "CR2");
    write_cr0(read_cr0() & ~CR0_WP);
    check(!(read_cr0() & CR0_WP), "CR0.WP does not go off");
    check_fault(NO_FAULT, "movb $2, page", : : : "memory");
    write_cr0(read_cr0() | CR0_WP);
    *entry |= BIT(1);
    invlpg((u64)page);
    check_equal(page[0], 2, "byte written with CR0.WP off");
}

static void not_present_then_present(void)
{
    u64 *entry = entry_of(page);
    u64 was = *entry;
    *entry = 0;
    invlpg((u64)page);
    check_fault(VECTOR_PF, "movb page, %%al", : : : "rax");
    check_equal(guest_fault.error, 0, "error code of a read of an absent page");
    *entry = was | BIT(63);
    invlpg((u64)page);
    check_fault(NO_FAULT, "movb page, %%al", : : : "rax");
    check_fault(VECTOR_PF, "jmp *%0", : : "r"(page) : "memory");
    check_equal(guest_fault.error, 0x11, "error code of a fetch from a no-execute page");
    *entry = was;
    invlpg((u64)page);
}

static void reserved_bits(void)
{
    u64 cr0 = read_cr0(), cr4 = read_cr4();
    check_fault(VECTOR_GP, "mov %0, %%cr0", : : "r"(cr0 & ~CR0_PE)); /* PG without PE */
    check_fault(VECTOR_GP, "mov %0, %%cr0", : : "r"(cr0 | CR0_NW));  /* NW without CD */
    check_fault(VECTOR_GP, "mov %0, %%cr0", : : "r"(cr0 | BIT(32))); /* upper half */
    check_fault(VECTOR_GP, "mov %0, %%cr4", : : "r"(cr4 | BIT(31))); /* reserved */
    check_fault(VECTOR_GP, "mov %0, %%cr4", : : "r"(cr4 | BIT(15))); /* reserved */
    if (!(cpuid(7, 0).ecx & BIT(16)) || read_cr3() & BIT(12))        /* five levels */
        check_fault(VECTOR_GP, "mov %0, %%cr4", : : "r"(cr4 | BIT(12)));
    check_fault(VECTOR_GP, "mov %0, %%cr4", : : "r"(cr4 & ~CR4_PAE)); /* in long mode */
    check_fault(VECTOR_GP, "mov %0, %%cr4", : : "r"(cr4 & ~CR4_PAE)); /* in long mode */
    check_fault(VECTOR_GP, "mov %0, %%cr8", : : "r"(0x10ull));        /* above 15 */
    if (!guest_is_tcg()) { /* with bits that a hypervisor keeps for itself */
        check_fault(VECTOR_GP, "mov %0, %%cr0", : : "r"((cr0 | CR0_CD) & ~CR0_PG));
        check_fault(VECTOR_GP, "mov %0, %%cr0", : : "r"((cr0 ^ CR0_NE) & ~CR0_PE));
    }
    check_equal(read_cr0(), cr0, "CR0 after refused writes");
    check_equal(read_cr4(), cr4, "CR4 after refused writes");
}

static void task_switched(void)
{
    write_cr0(read_cr0() | CR0_TS);
    check(read_cr0() & CR0_TS, "CR0.TS does not go on");
    check_fault(VECTOR_NM, "fninit", :);
    asm volatile("clts");
    check(!(read_cr0() & CR0_TS), "CLTS leaves CR0.TS on");
    check_fault(NO_FAULT, "fninit", :);
    u64 cr0 = read_cr0();
    asm volatile("lmsw %w0" : : "r"((u16)cr0 | 8));
    check_equal(read_cr0(), cr0 | CR0_TS, "CR0 after LMSW");
    u64 stored;
    asm volatile("smsw %0" : "=r"(stored));
    check_equal(stored & 0xffff, (cr0 | CR0_TS) & 0xffff, "SMSW");
    asm volatile("clts");
}

static void toggles(void)
{
    static const struct {
        u64 bits;
        unsigned feature; /* of CPUID 1 EDX */
    } offered[] = {{BIT(0), 1},   {BIT(1), 1},      {CR4_TSD, 4},        {CR4_DE, 2},
                   {CR4_PGE, 13}, {CR4_OSFXSR, 24}, {CR4_OSXMMEXCPT, 25}};
    for (unsigned i = 0; i < ARRAY_LEN(offered); i++) {
        u64 before = read_cr4();
        if (!(cpuid(1, 0).edx & BIT(offered[i].feature)))
            continue;
        check_fault(NO_FAULT, "mov %0, %%cr4", : : "r"(before ^ offered[i].bits));
        check_equal(read_cr4(), before ^ offered[i].bits, "CR4");
        write_cr4(before);
    }
    for (u64 bit = CR0_CD;; bit = CR0_AM) {
        u64 before = read_cr0();
        write_cr0(before ^ bit);
        check_equal(read_cr0(), before ^ bit, "CR0");
        write_cr0(before);
        if (bit == CR0_AM)
            break;
    }
    write_cr2(0x123456789abc);
    check_equal(read_cr2(), 0x123456789abc, "CR2");
    for (u64 priority = 0; priority < 16; priority++) {
        write_cr8(priority);
        check_equal(read_cr8(), priority, "CR8");
    }
    write_cr8(0);
}

static void supervisor_bits(void)
{
    if (cpuid(7, 0).ebx & BIT(20)) { /* SMAP: every page here is a user page */
        u64 *entry = entry_of(page);
        *entry &= ~BIT(2);
        invlpg((u64)page);
        write_cr4(read_cr4() | CR4_SMAP);
        asm volatile("stac"); /* our stack is a user page */
        check_fault(NO_FAULT, "movb page, %%al", : : : "rax");
        write_cr4(read_cr4() & ~CR4_SMAP);
        *entry |= BIT(2);
        invlpg((u64)page);
    }
}

void guest_main(void)
{
    toggles();
    if (!guest_is_tcg())
        reserved_bits();
    task_switched();
    write_protect();
    not_present_then_present();
    supervisor_bits();
}
