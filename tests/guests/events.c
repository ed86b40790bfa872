/* Delivery of exceptions: error codes, nesting, IST stacks, double faults, software interrupts,
 * ring 3 and back. */
#include "tests/guests/lib/cpu.h"
#include "tests/guests/lib/guest.h"

static volatile u64 hits, seen_error, seen_rip, seen_cs, seen_rsp;
static u8 stack[4096] __attribute__((aligned(16)));
static u8 user_stack[4096] __attribute__((aligned(16)));

static void note(struct frame *f)
{
    hits++;
    seen_error = f->error;
    seen_rip = f->rip;
    seen_cs = f->cs;
    seen_rsp = (u64)f;
}

static void faults(void)
{
    check_fault(VECTOR_UD, "ud2", :);
    check_fault(VECTOR_GP, "movw %w0, %%ds", : : "r"(0x1008));
    check_equal(guest_fault.error, 0x1008, "error code of #GP for a selector");
    check_fault(VECTOR_GP, "movq (%0), %%rax", : : "r"(0x8000000000000000) : "rax");
    check_equal(guest_fault.error, 0, "error code of #GP for an address");
    check_fault(VECTOR_PF, "movq (%0), %%rax", : : "r"(0x100000000ull) : "rax");
    check_equal(guest_fault.cr2, 0x100000000, "CR2");
    check_fault(VECTOR_DE, "div %0", : : "r"(0ull), "a"(1), "d"(0));
    if (!guest_is_tcg())
        check_fault(VECTOR_SS, "mov %%rbp, %%rbx; mov %0, %%rbp; movq (%%rbp), %%rax",
                    "\n mov %%rbx, %%rbp"
                    :
                    : "r"(0x8000000000000000)
                    : "rax", "rbx", "memory");
}

static void traps(void)
{
    hits = 0;
    guest_handlers[VECTOR_BP] = note;
    guest_handlers[0x81] = note;
    u64 after;
    asm volatile("int3\n1: lea 1b(%%rip), %0" : "=r"(after) : : "memory");
    check_equal(hits, 1, "#BP deliveries");
    check_equal(seen_rip, after, "RIP pushed by INT3");
    asm volatile("int $0x81\n1: lea 1b(%%rip), %0" : "=r"(after) : : "memory");
    check_equal(hits, 2, "INT n deliveries");
    check_equal(seen_rip, after, "RIP pushed by INT n");
    if (guest_is_tcg())
        return;
    asm volatile(".byte 0xf1\n1: lea 1b(%%rip), %0" : "=r"(after) : : "memory"); /* INT1 */
    check_equal(hits, 3, "INT1 deliveries");
    check_equal(seen_rip, after, "RIP pushed by INT1");
}

static void debug_trap(struct frame *f)
{
    hits++;
    seen_rip = f->rip;
}

/* A fault whose handler faults: the second is delivered while the first is being handled. */
static void nested_handler(struct frame *f)
{
    hits++;
    check_fault(VECTOR_PF, "movq (%0), %%rax", : : "r"(0x180000000ull) : "rax");
    f->rip += 2; /* past UD2 */
}

/* #UD through a gate that is not present becomes #NP; if that is absent as well, #DF. */
static void double_fault(void)
{
    struct table_pointer idt;
    asm volatile("sidt %0" : "=m"(idt));
    u16 *gate = (u16 *)(idt.base + 16 * VECTOR_NP);
    u16 was_np = gate[2];
    gate[2] &= 0x7fff; /* not present */
    u16 *ud = (u16 *)(idt.base + 16 * VECTOR_UD);
    u16 was_ud = ud[2];
    ud[2] &= 0x7fff;
    check_fault(VECTOR_DF, "ud2", :);
    check_equal(guest_fault.error, 0, "error code of #DF");
    ud[2] = was_ud;
    gate[2] = was_np;
}

/* #PF while #PF is being delivered: the handler's stack (IST) is not mapped. */
static void double_fault_by_stack(void)
{
    guest_set_ist(0, 1, 0x1c0000000);
    guest_set_ist(0, 2, (u64)(stack + sizeof(stack)));
    struct table_pointer idt;
    asm volatile("sidt %0" : "=m"(idt));
    ((u8 *)(idt.base + 16 * VECTOR_PF))[4] = 1;
    ((u8 *)(idt.base + 16 * VECTOR_DF))[4] = 2;
    u64 vector = fault_of("movq (%0), %%rax", : : "r"(0x1a0000000ull) : "rax");
    check_equal(vector, VECTOR_DF, "exception when the stack of #PF is not there");
    ((u8 *)(idt.base + 16 * VECTOR_PF))[4] = 0;
    ((u8 *)(idt.base + 16 * VECTOR_DF))[4] = 0;
}

u64 kernel_rsp; /* named in assembly */
extern u64 kernel_rsp;

/* Ring 3 and back by INT 80H, whose handler does not return to ring 3. */
static void back_to_ring0(struct frame *f)
{
    note(f);
    f->cs = GUEST_CODE64;
    f->ss = GUEST_DATA;
    f->rsp = kernel_rsp;
    f->rip = guest_resume;
}

static void ring3(void)
{
    struct table_pointer idt;
    asm volatile("sidt %0" : "=m"(idt));
    ((u8 *)(idt.base + 16 * 0x80))[5] |= 0x60;
    guest_handlers[0x80] = back_to_ring0;
    guest_handlers[VECTOR_GP] = back_to_ring0;
    static const char *const names[] = {"INT 80H", "HLT in ring 3"};
    for (u64 which = 0; which < 2; which++) {
        hits = 0;
        asm volatile("movq $2f, guest_resume\n\t"
                     "mov %%rsp, kernel_rsp\n\t"
                     "pushq %0; pushq %1; pushfq; pushq %2; pushq $1f; iretq\n"
                     "1: test %3, %3; jnz 3f; int $0x80\n"
                     "3: hlt\n"
                     "2: movq $0, guest_resume"
                     :
                     : "i"(GUEST_USER_DATA), "r"((u64)(user_stack + sizeof(user_stack))),
                       "i"(GUEST_USER_CODE), "r"(which)
                     : "memory", "cc");
        check_equal(hits, 1, names[which]);
        check_equal(seen_cs, GUEST_USER_CODE, "CS pushed from ring 3");
    }
    guest_handlers[VECTOR_GP] = NULL;
}

void guest_main(void)
{
    faults();
    guest_handlers[VECTOR_DB] = debug_trap;
    traps();
    guest_handlers[VECTOR_BP] = NULL;

    hits = 0;
    guest_handlers[VECTOR_UD] = nested_handler;
    asm volatile("ud2" : : : "memory");
    check_equal(hits, 1, "outer fault");
    guest_handlers[VECTOR_UD] = NULL;

    double_fault();
    double_fault_by_stack();
    ring3();
}
