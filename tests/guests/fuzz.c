/* A million things that no sane guest does: random instructions, MSRs, ports, MMIO, hypercalls,
 * control registers, segments, interrupts and NMIs.  The command line's seed=S,first=F,actions=N
 * makes actions F to F + N - 1 of seed S; "fuzz S F" every report=R actions says how far it came.
 * mask=M leaves out what an emulator does not survive (lib/fuzz_tables.h).
 *
 * An action is code in the arena with registers for it; whatever ends it is fine.  It is the
 * hypervisor that is tested: it must go on, and so must the other guests. */
#include "tests/guests/lib/apic.h"
#include "tests/guests/lib/arena.h"
#include "tests/guests/lib/cpu.h"
#include "tests/guests/lib/fuzz_tables.h"
#include "tests/guests/lib/guest.h"
#include "tests/guests/lib/random.h"

#define REPORT_EVERY 1024
#define WATCHDOG_EVERY 32
#define WATCHDOG_PIN 2 /* the PIT's */
#define VECTOR_TIMER 0x51
#define APIC_BASE_GOOD (BIT(11) | BIT(10) | BIT(8) | 0xfee00000)
#define COM1 0x3f8
#define RFLAGS_IF BIT(9)

static struct frame f;
static u8 *code;        /* where the next byte goes */
static unsigned window; /* page of it that is in use */
static bool touched;    /* the action may have changed devices: the watchdog is armed anew */
static bool apic_touched;
static u64 mask; /* FUZZ_MASK_* */
typedef u32 anywhere __attribute__((aligned(1), may_alias));

static void byte(u32 v)
{
    *code++ = (u8)v;
}

static void bytes(u64 v, unsigned count)
{
    while (count--) {
        byte((u32)v);
        v >>= 8;
    }
}

static void random_bytes(unsigned count)
{
    while (count--)
        byte(random_below(256));
}

/* ---- registers and mode in which the code starts
 * ------------------------------------------------- */
static u64 register_value(void)
{
    switch (random_below(8)) {
    case 0:
    case 1:
        return random_value();
    case 2:
        return random_below(64);
    case 3:
        return ARENA_WINDOW + random_below(0x200000);
    default:
        return ARENA_BASE + random_below((u32)ARENA_SIZE);
    }
}

static const struct {
    u16 cs, ss;
} modes[] = {
    {GUEST_CODE64, GUEST_DATA},
    {GUEST_CODE64, GUEST_DATA},
    {GUEST_CODE64, GUEST_DATA},
    {GUEST_CODE64, GUEST_DATA},
    {GUEST_CODE64, 0},
    {GUEST_USER_CODE, GUEST_USER_DATA},
    {GUEST_USER_CODE, GUEST_USER_DATA},
    {GUEST_CODE32, GUEST_DATA},
    {ARENA_USER32, GUEST_USER_DATA},
    {ARENA_CODE16, ARENA_DATA16},
};

static void start_mode(bool kernel64)
{
    unsigned mode = kernel64 ? 0 : random_below(ARRAY_LEN(modes));

    f.cs = modes[mode].cs;
    f.ss = modes[mode].ss;
    f.rflags = 2 | (random_next() & (BITS(7, 0) | RFLAGS_IF | BITS(13, 10)));
    if (random_chance(32)) /* TF, NT, RF, VM, AC, VIF, VIP, ID */
        f.rflags |= random_next() & (BIT(8) | BIT(14) | BITS(21, 16));
    f.rsp = ARENA_STACK + random_below(0x1000);
    if (random_chance(32))
        f.rsp = random_value();
    if (random_chance(64))
        f.cs = random_next() & 0xffff;
    if (random_chance(64))
        f.ss = random_next() & 0xffff;
}

static void start(void)
{
    u64 *reg = &f.r15;

    for (unsigned i = 0; i < 15; i++)
        reg[i] = register_value();
    /* Anywhere, also across a page's end. */
    f.rip = ARENA_CODE + random_below((u32)(ARENA_CODE_END - ARENA_CODE) - 64);
    code = (u8 *)f.rip;
    start_mode(false);
    touched = apic_touched = false;
}

/* What an action's code ends in when nothing else does. */
static void finish(void)
{
    for (unsigned i = 0; i < 8; i++)
        bytes(0x0b0f, 2);
    if (f.cs == ARENA_CODE16) {
        f.rip -= ARENA_BASE;
        f.rsp &= 0xffff;
    }
}

/* ---- kinds of action
 * ------------------------------------------------------------------------------ */
static void any_bytes(void)
{
    random_bytes(1 + random_below(15));
}

/* An opcode that means something to a hypervisor, with random prefixes and operands. */
static void privileged(void)
{
    for (unsigned n = 1 + random_below(3); n; n--) {
        const struct fuzz_opcode *o = &fuzz_opcodes[random_below(fuzz_opcode_count)];
        if (random_chance(4))
            byte(fuzz_prefixes[random_below(sizeof(fuzz_prefixes))]);
        if (random_chance(4))
            byte(0x40 | random_below(16));
        bytes(o->bytes, o->len);
        u32 modrm = random_below(256);
        /* New page tables, GDT or IDT leave nothing to go on with, and from compatibility mode
         * CR0 can leave long mode: seldom. */
        if (o->fatal && (modrm >> 3 & 7) >= 2 && (modrm >> 3 & 7) <= 3 && !random_chance(1024))
            modrm |= 0x20;
        if (o->fatal && !(modrm & 0x38) && f.cs != GUEST_CODE64 && !random_chance(1024))
            modrm |= 0x20;
        byte(modrm);
        random_bytes(random_below(6));
    }
}

/* A TSC-deadline or a LINT pin with INIT would be the end; so would an INIT to itself. */
static u64 tame_msr(u32 msr, u64 value)
{
    if (msr == 0x800 + APIC_ICR / 16 && (value >> 8 & 7) == 5)
        return value & ~0x700ull;
    /* The kernel would write bit 0 of any of our pages, the page tables among them. */
    if (msr == MSR_PV_EOI)
        return value & ~1ull;
    return value;
}

static void msr(void)
{
    const struct fuzz_range *r = &fuzz_msrs[random_below(fuzz_msr_count)];
    u32 number = r->first + random_below(r->last - r->first + 1);
    u64 value = tame_msr(number, random_value());

    if (random_chance(16))
        number = (u32)random_value();
    start_mode(!random_chance(16));
    f.rcx = number | (random_chance(8) ? random_next() << 32 : 0);
    if (mask & FUZZ_MASK_RCX)
        f.rcx = number;
    f.rax = (u32)value;
    f.rdx = value >> 32;
    if (random_chance(3)) {
        bytes(0x320f, 2); /* RDMSR; then XOR EDX or EAX with one bit, unless INIT could come out */
        if (number != 0x800 + APIC_ICR / 16) {
            bytes(random_chance(2) ? 0xf281 : 0xf081, 2);
            bytes(BIT(random_below(32)), 4);
        }
    }
    bytes(random_chance(2) ? 0x300f : 0x320f, 2);
    apic_touched = true;
}

/* Values with which the machine would only be reset or switched off. */
static u32 tame_port(u16 number, u32 value)
{
    switch (number) {
    case 0x64:
        return value & ~0xc0u;
    case 0x92:
        return value & ~1u;
    case 0xcf8:
    case 0xcf9:
        return value & ~0x04040404u;
    default:
        return number >= 0x600 && number <= 0x607 ? value & ~0x20202020u : value;
    }
}

static void port(void)
{
    const struct fuzz_range *r = &fuzz_ports[random_below(fuzz_port_count)];
    u16 number = (u16)(r->first + random_below(r->last - r->first + 1));
    static const u8 forms[] = {0xec, 0xed, 0xee, 0xef, 0x6c, 0x6d, 0x6e, 0x6f};
    u8 form = forms[random_below(random_chance(8) ? 8 : 4)];

    start_mode(!random_chance(16));
    f.rdx = number;
    f.rax = tame_port(number, (u32)random_value());
    f.rcx = random_below(8);
    if (number + 3 >= COM1 && number <= COM1) /* the console is read by the test */
        form = 0xec;
    if (form >= 0x6e && form <= 0x6f && tame_port(number, ~0u) != ~0u)
        form = 0xed;
    if (random_chance(3))
        byte(0x66);
    if (form < 0xec && random_chance(2))
        byte(0xf3);
    byte(form);
    touched = true;
}

static void mmio(void)
{
    static const u64 places[] = {0xfee00000, 0xfee00000, 0xfec00000, 0xc0000000, 0xfffff000};
    u64 gpa =
        random_chance(4) ? random_value() & BITS(51, 12) : places[random_below(ARRAY_LEN(places))];

    window = random_below(512);
    if (gpa < ARENA_BASE * 2) /* this guest's RAM: the arena will do */
        gpa = ARENA_BASE;
    arena_window(window, gpa | BITS(2, 0) | (random_next() & (BITS(11, 3) | BIT(63))));
    start_mode(!random_chance(16));
    f.rdi = ARENA_WINDOW + window * PAGE_SIZE +
            (random_chance(2) ? random_below(64) * 16 : random_below(4096));
    f.rax = random_value();
    if (gpa == 0xfee00000 && (f.rdi & 0xff0) == APIC_ICR)
        f.rax = 0x40000 | random_below(256);
    f.rcx = random_below(4);
    f.rsi = ARENA_BASE + random_below(0x1000);
    if (random_chance(2048)) {
        any_bytes();
    } else {
        const struct fuzz_opcode *o = &fuzz_accesses[random_below(fuzz_access_count)];
        bytes(o->bytes, o->len);
    }
    touched = true;
}

static void hypercall(void)
{
    start_mode(!random_chance(8));
    f.rax = random_value();
    bytes(random_chance(2) ? 0xc1010f : 0xd9010f, 3); /* VMCALL, VMMCALL */
}

/* MOV to a control register, then something that exits in that state. */
static void control_register(void)
{
    static const u8 registers[] = {0, 4, 8, 2};
    u64 now[] = {read_cr0(), read_cr4(), 0, 0};
    unsigned i = random_below(ARRAY_LEN(registers));

    start_mode(!random_chance(16384));
    f.rax = now[i] ^ (random_chance(8) ? random_value() : BIT(random_below(32)));
    if (random_chance(2))
        f.rax ^= BIT(random_below(32));
    if (registers[i] == 8)
        byte(0x44);
    bytes(0x220f, 2);
    byte(0xc0 | (registers[i] & 7) << 3);
    if (random_chance(2))
        privileged();
    else
        bytes(0xa20f, 2);
}

static void efer_xcr_debug(void)
{
    start_mode(!random_chance(16));
    switch (random_below(4)) {
    case 0: /* EFER, and a SYSCALL with it */
        f.rcx = MSR_EFER;
        f.rax = rdmsr(MSR_EFER) ^ BIT(random_below(16));
        f.rdx = random_chance(8) ? random_value() : 0;
        bytes(0x300f, 2);
        bytes(0x050f, 2);
        break;
    case 1: /* CR4.OSXSAVE, XSETBV, XGETBV */
        f.rax = 0x40000 | read_cr4();
        f.rcx = random_chance(8) ? random_value() : 0;
        f.rdx = random_chance(8) ? random_value() : 0;
        bytes(0xe0220f, 3);
        byte(0xb8); /* MOV EAX, imm32 */
        bytes(random_chance(2) ? random_below(8) : random_value(), 4);
        bytes(0xd1010f, 3);
        bytes(0xd0010f, 3);
        bytes(0xa20f, 2);
        break;
    default: /* MOV to DR, then code over it */
        f.rax = random_chance(2) ? f.rip + random_below(16) : random_value();
        bytes(0x230f, 2);
        byte(0xc0 | random_below(8) << 3);
        f.rbx = random_value() & 0xffff27ff;
        bytes(0x230f, 2);
        byte(0xfb); /* MOV DR7, RBX */
        privileged();
    }
}

/* A descriptor with random access rights, loaded into a segment register; then an exit. */
static void segment(void)
{
    u64 *ldt = (u64 *)ARENA_LDT;
    unsigned slot = random_below(64);
    u64 selector = slot * 8 + 4 + (random_chance(3) ? random_below(4) : 0);

    ldt[slot] = random_next();
    if (!random_chance(4)) /* present, code or data */
        ldt[slot] |= BIT(47) | BIT(44);
    if (mask & FUZZ_MASK_LONG_BIG)
        ldt[slot] &= ~BIT(54);
    start_mode(!random_chance(4));
    f.rax = random_chance(16) ? random_value() : selector;
    if (random_chance(3)) {
        bytes(0x5090 | (u64)(random_chance(2) ? 0xcb48 : 0xcb) << 16, 4);
    } else {
        byte(0x8e); /* MOV Sreg, AX */
        byte(0xc0 | random_below(6) << 3);
    }
    if (random_chance(2))
        f.cs = selector;
    if (random_chance(2))
        f.ss = selector;
    privileged();
}

static void interrupt(void)
{
    static const u32 how[] = {0, 0, 0x100, 0x200, 0x400, 0x600, 0x700};
    u32 icr = how[random_below(ARRAY_LEN(how))] | random_below(256) | (random_next() & 0xf800);
    static const u32 where[] = {0, 0x40000, 0x80000, 0xc0000};

    start_mode(true);
    f.rcx = 0x800 + APIC_ICR / 16;
    f.rax = icr | where[random_below(4)];
    f.rdx = random_chance(2) ? 0 : random_value();
    bytes(0x300f, 2);
    if (random_chance(2))
        byte(random_chance(2) ? 0xfb : 0xfa); /* STI, CLI */
    if (random_chance(4))
        bytes(0xd08e, 2); /* MOV SS, EAX: blocks; or #GP */
    switch (random_below(4)) {
    case 0:
        byte(0xf4); /* HLT */
        break;
    case 1:
        byte(0xcd); /* INT n */
        random_bytes(1);
        break;
    default:
        privileged();
    }
    apic_touched = true;
}

static const struct {
    void (*make)(void);
    u32 weight;
} kinds[] = {
    {any_bytes, 30},     {privileged, 24}, {msr, 14},
    {port, 6},           {mmio, 5},        {hypercall, 5},
    {interrupt, 5},      {segment, 5},     {control_register, 4},
    {efer_xcr_debug, 2},
};

/* Whatever byte execution begins at; what is left of older actions goes on at both ends. */
static void take_away_deadly(u8 *at)
{
    for (at -= 3; mask && at < code; at++)
        for (u32 i = 0; i < fuzz_deadly_count; i++) {
            const struct fuzz_deadly *d = &fuzz_deadly[i];
            anywhere *four = (anywhere *)at;
            if ((mask & d->option) && (*four & d->mask) == d->bytes)
                *four ^= d->flip;
        }
}

static void make_action(void)
{
    u32 pick = random_below(100), i = 0;

    start();
    u8 *first = code;
    while (pick >= kinds[i].weight)
        pick -= kinds[i++].weight;
    kinds[i].make();
    finish();
    take_away_deadly(first);
}

/* ---- between actions
 * ------------------------------------------------------------------------------ */
/* The PIT as an NMI, through the I/O APIC: it ends what loops with interrupts off. */
static void arm_watchdog(void)
{
    u32 ticks = 500 + random_below(2000);

    outb(0x43, 0x34);
    outb(0x40, (u8)ticks);
    outb(0x40, (u8)(ticks >> 8));
    *(volatile u32 *)0xfec00000 = 0x10 + 2 * WATCHDOG_PIN + 1;
    *(volatile u32 *)0xfec00010 = 0;
    *(volatile u32 *)0xfec00000 = 0x10 + 2 * WATCHDOG_PIN;
    *(volatile u32 *)0xfec00010 = APIC_ICR_NMI;
}

static void x2apic_write(u32 reg, u32 value)
{
    wrmsr(0x800 + reg / 16, value);
}

static void arm_apic(bool again)
{
    if (rdmsr(MSR_APIC_BASE) != APIC_BASE_GOOD) {
        apic_enable_x2();
        x2apic_write(APIC_EOI, 0);
        again = true;
    }
    if (again) {
        x2apic_write(APIC_SVR, 0x1ff);
        x2apic_write(APIC_TPR, 0);
        x2apic_write(APIC_LVT_LINT0, APIC_LVT_MASKED);
        x2apic_write(APIC_LVT_TIMER, VECTOR_TIMER);
        x2apic_write(APIC_TIMER_DIVIDE, 0xb);
    }
    if ((f.rflags & RFLAGS_IF) || again)
        x2apic_write(APIC_TIMER_INITIAL, random_chance(4) ? random_below(2000) + 1 : 20000);
}

/* Who gets into real mode by MOV to CR0 does not come back: every vector leads to power-off, so
 * that the watchdog ends it. */
static void end_real_mode(void)
{
    u64 stub = 0x600;
    u16 port, value;

    asm("" : "+r"(stub)); /* GCC trusts no object below 4 KiB */
    if (!acpi_s5(&port, &value))
        return;
    /* MOV DX, port; MOV AX, value; OUT DX, AX; JMP to itself */
    const u8 instructions[] = {
        0xba, (u8)port, (u8)(port >> 8), 0xb8, (u8)value, (u8)(value >> 8), 0xef, 0xeb, 0xfe};
    for (unsigned i = 0; i < sizeof(instructions); i++)
        ((u8 *)stub)[i] = instructions[i];
    for (u64 vector = 0; vector < 256; vector++)
        *(volatile u32 *)(stub - 0x600 + 4 * vector) = 0x600;
}

static void report(u64 seed, u64 action)
{
    outb(COM1 + 3, 3); /* 8N1, and the divisor latch closed */
    outb(COM1 + 1, 0);
    outb(COM1 + 2, 0);
    outb(COM1 + 4, 3);
    print("\nfuzz %lu %lu\n", seed, action);
}

static void show_action(void)
{
    const u8 *at = (const u8 *)(f.rip + (f.cs == ARENA_CODE16 ? ARENA_BASE : 0));

    print("rip %lx cs %lx ss %lx rflags %lx rax %lx rcx %lx rdx %lx rbx %lx rdi %lx code", f.rip,
          f.cs, f.ss, f.rflags, f.rax, f.rcx, f.rdx, f.rbx, f.rdi);
    for (unsigned i = 0; i < 24; i++)
        print(" %02x", at[i]);
    print("\n");
}

void guest_main(void)
{
    u64 seed = random_option("seed", 1), first = random_option("first", 0);
    u64 end = first + random_option("actions", 20000), by_vector[5] = {0};
    u64 every = random_option("report", REPORT_EVERY);
    bool armed = false, apic_armed = false;

    mask = random_option("mask", 0);
    end_real_mode();
    arena_init();
    apic_enable_x2();
    for (u64 i = first; i < end; i++) {
        if (i % every == 0)
            report(seed, i);
        random_start(seed, i);
        make_action();
        if (!armed || i % WATCHDOG_EVERY == 0)
            arm_watchdog();
        if (every == 1)
            show_action();
        arm_apic(!apic_armed);
        armed = !touched;
        apic_armed = !touched && !apic_touched;
        u32 v = arena_run(&f);
        arena_window(window, 0);
        by_vector[v == VECTOR_NMI  ? 0
                  : v == VECTOR_UD ? 1
                  : v == VECTOR_GP ? 2
                  : v >= 32        ? 3
                                   : 4]++;
    }
    report(seed, end);
    print("fuzz ended by: NMI %lu, #UD %lu, #GP %lu, interrupts %lu, others %lu\n", by_vector[0],
          by_vector[1], by_vector[2], by_vector[3], by_vector[4]);
    print("fuzz %lu interrupts came into IF=0, the first %lu at %lx, rflags %lx\n",
          arena_stray_interrupts, arena_stray.vector & 0xff, arena_stray.rip, arena_stray.rflags);
}
