/* Every permission of a page: present, writable, user and no-execute in both levels, against
 * CR0.WP, CR4.SMEP, CR4.SMAP and EFLAGS.AC, for each access of either ring: what is refused, with
 * which error code, and what the accessed and dirty bits say (SDM 3A 4.6, 4.7, 4.8). */
#include "tests/guests/lib/cpu.h"
#include "tests/guests/lib/guest.h"

#define PAGE_AT 0x3fc00000ull /* far from all else, below 1 GiB: a 2 MiB entry of its own */
#define ALIAS 0x3fa00000ull   /* where ring 3 sees the lowest 2 MiB */
#define P BIT(0)
#define W BIT(1)
#define U BIT(2)
#define ACCESSED BIT(5)
#define DIRTY BIT(6)
#define NX BIT(63)
#define ERROR_P 1u
#define ERROR_W 2u
#define ERROR_U 4u
#define ERROR_FETCH 16u

enum access { READ, WRITE, FETCH };

extern u64 directories[];
static u64 table[512] __attribute__((aligned(4096)));
static u8 page[4096] __attribute__((aligned(4096)));
static u8 user_stack[4096] __attribute__((aligned(16)));
u64 permissions_rsp; /* named in assembly */
extern u64 permissions_rsp;
static u64 accesses, faults;
static bool smap_now, ac_now, smep_now, wp_now;

/* What `bits` (both levels together) allow. */
static bool allowed(u64 bits, enum access access, bool user)
{
    bool user_page = bits & U;
    if (!(bits & P))
        return false;
    if (access == FETCH)
        return !(bits & NX) && (user ? user_page : !(smep_now && user_page));
    if (user)
        return user_page && (access == READ || bits & W);
    if (smap_now && user_page && !ac_now)
        return false;
    return access == READ || bits & W || !wp_now;
}

static u32 error_code(u64 bits, enum access access, bool user)
{
    return (bits & P ? ERROR_P : 0) | (access == WRITE ? ERROR_W : 0) | (user ? ERROR_U : 0) |
           (access == FETCH ? ERROR_FETCH : 0);
}

/* The same three accesses for both rings: the page holds RET (ring 0) or INT 80H (ring 3). */
static u64 by_ring0(enum access access, bool ac)
{
    u64 flags = ac ? RFLAGS_AC : 0;
    if (access == READ)
        return fault_of("pushfq; orq %1, (%%rsp); popfq; movb (%0), %%al",
                        "\n pushfq; andq $~0x40000, (%%rsp); popfq"
                        :
                        : "r"(PAGE_AT), "r"(flags)
                        : "rax", "memory", "cc");
    if (access == WRITE)
        return fault_of("pushfq; orq %1, (%%rsp); popfq; movb $0xc3, (%0)",
                        "\n pushfq; andq $~0x40000, (%%rsp); popfq"
                        :
                        : "r"(PAGE_AT), "r"(flags)
                        : "memory", "cc");
    /* A fault in the fetch leaves the return address on the stack: drop it by the saved RSP. */
    return fault_of("mov %%rsp, permissions_rsp; pushfq; orq %1, (%%rsp); popfq; call *%0",
                    "\n mov permissions_rsp, %%rsp; pushfq; andq $~0x40000, (%%rsp); popfq"
                    :
                    : "r"(PAGE_AT), "r"(flags)
                    : "memory", "cc");
}

/* INT 80H from ring 3, or the page fault: back to ring 0 where fault_of() goes on. */
static void back_to_ring0(struct frame *f)
{
    u64 vector = f->vector & 0xff;
    if (vector == VECTOR_PF && (f->cs & 3) == 0) {
        check(guest_resume, "page fault at %lx, cr2 %lx", f->rip, read_cr2());
    } else {
        f->cs = GUEST_CODE64;
        f->ss = GUEST_DATA;
        f->rsp = permissions_rsp;
    }
    guest_fault.vector = vector == 0x80 ? NO_FAULT : vector;
    guest_fault.error = f->error;
    guest_fault.cr2 = read_cr2();
    guest_fault.rip = f->rip;
    f->rip = guest_resume;
    f->rflags &= ~RFLAGS_AC; /* the frame's own bits are those of the interrupted code */
    guest_resume = 0;
}

static u64 by_ring3(enum access access, bool ac)
{
    return fault_of(
        "mov %%rsp, permissions_rsp\n\t"
        "pushq %1; pushq %2; pushq %3; pushq %4; pushq $2f + %c6; iretq\n"
        "2: cmp $1, %5; ja 4f; je 3f\n\t"
        "movb (%0), %%al; int $0x80\n"
        "3: movb $0xcd, (%0); int $0x80\n"
        "4: jmp *%0",
        :
        : "r"(PAGE_AT), "i"(GUEST_USER_DATA), "r"(ALIAS + (u64)(user_stack + sizeof(user_stack))),
          "r"(ac ? 2 | RFLAGS_AC : 2ull), "i"(GUEST_USER_CODE), "r"((u64)access), "i"(ALIAS)
        : "rax", "memory", "cc");
}

static void one(u64 directory, u64 leaf, enum access access, bool user)
{
    u64 both = (directory & leaf & (P | W | U)) | ((directory | leaf) & NX);
    bool may = allowed(both, access, user);
    u64 *entry = &table[PAGE_AT / PAGE_SIZE % 512], *above = &directories[PAGE_AT / PAGE_2M];
    page[0] = user ? 0xcd : 0xc3; /* INT 80H, RET */
    page[1] = 0x80;
    *above = (u64)table | directory;
    *entry = (u64)page | leaf;
    invlpg(PAGE_AT);
    u64 vector = user ? by_ring3(access, ac_now) : by_ring0(access, ac_now);
    accesses++;
    if (vector == NO_FAULT) {
        check(may, "%s %u is let through: directory %lx, page %lx, WP %u SMEP %u SMAP %u AC %u",
              user ? "user" : "supervisor", access, directory, leaf, wp_now, smep_now, smap_now,
              ac_now);
        check(*entry & ACCESSED && *above & ACCESSED, "accessed bits %lx, %lx", *above, *entry);
        check_equal(*entry >> 6 & 1, access == WRITE, "dirty bit");
        return;
    }
    faults++;
    check(vector == VECTOR_PF && !may,
          "%s %u gets exception %lu: directory %lx, page %lx, WP %u SMEP %u SMAP %u AC %u",
          user ? "user" : "supervisor", access, vector, directory, leaf, wp_now, smep_now, smap_now,
          ac_now);
    check_equal(guest_fault.cr2, PAGE_AT, "CR2");
    u32 want = error_code(both, access, user);
    check(guest_fault.error == want, "error code %lx, not %x: %s %u, directory %lx, page %lx",
          guest_fault.error, want, user ? "user" : "supervisor", access, directory, leaf);
    check(!(*entry & DIRTY), "a refused access sets the dirty bit");
}

static void every_entry(void)
{
    for (unsigned bits = 0; bits < 128; bits++) {
        u64 leaf = (bits & 7) | (bits & 8 ? NX : 0);
        u64 directory = P | (bits & 16 ? W : 0) | (bits & 32 ? U : 0) | (bits & 64 ? NX : 0);
        for (enum access access = READ; access <= FETCH; access++) {
            one(directory, leaf, access, false);
            one(directory, leaf, access, true);
        }
    }
}

void guest_main(void)
{
    u32 features = cpuid(7, 0).ebx;
    u64 cr4 = read_cr4();
    struct table_pointer idt;
    asm volatile("sidt %0" : "=m"(idt));
    ((u8 *)(idt.base + 16 * 0x80))[5] |= 0x60;
    guest_handlers[0x80] = guest_handlers[VECTOR_PF] = back_to_ring0;
    /* Ring 0 lives in supervisor pages, ring 3 in another map of the same memory. */
    directories[ALIAS / PAGE_2M] = directories[0] & (PAGE_2M - 1);
    directories[0] &= ~U;
    write_cr3(read_cr3());
    for (unsigned mode = 0; mode < 16; mode++) {
        wp_now = mode & 1;
        smep_now = mode & 2;
        smap_now = mode & 4;
        ac_now = mode & 8;
        if ((smep_now && !(features & BIT(7))) || (smap_now && !(features & BIT(20))))
            continue;
        write_cr0((read_cr0() & ~CR0_WP) | (wp_now ? CR0_WP : 0));
        write_cr4(cr4 | (smep_now ? CR4_SMEP : 0) | (smap_now ? CR4_SMAP : 0));
        every_entry();
    }
    write_cr4(cr4);
    write_cr0(read_cr0() | CR0_WP);
    print("%lu accesses, %lu refused\n", accesses, faults);
}
