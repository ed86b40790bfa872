/* A control partition that attacks at random: system calls with any number and any argument,
 * biased towards ones that nearly make sense, on VMs whose state and memory are random too.
 *
 * Each instance makes CALLS calls from a seed of its own, checks after some of them that it can
 * reach nothing that it was not given, and dies; the restart counter picks the next.  The number
 * after "seed=" in bulkhead.conf is the first seed.  "VERDICT ..." goes to the console UART. */
#include "kernel/abi/control_page.h"
#include "kernel/abi/layout.h"
#include "kernel/abi/status.h"
#include "kernel/abi/vcpu_page.h"
#include "kernel/abi/vm_policy.h"
#include "tests/control/ring3.h"

#define INSTANCES 40u
#define CALLS 2500u
#define CHECK_EVERY 64u
#define SLOTS 6u /* of VM_SLOTS, that mostly */
#define POINTERS 16u

void _start(void);

static const u64 constant = 1;
static u64 seed, state, turn, calls_done;
static u64 last[7]; /* call and arguments, for the report */
static u8 buffer[3 * PAGE_SIZE] __attribute__((aligned(4096)));
static struct vm_policy policy;
static struct vm_create create;

/* ---- output ---- */
static void print_hex(u64 v)
{
    for (int shift = 60; shift >= 0; shift -= 4)
        if (v >> shift || !shift)
            ring3_put("0123456789abcdef"[v >> shift & 15]);
}

static void print_decimal(u64 v)
{
    if (v >= 10)
        print_decimal(v / 10);
    ring3_put((char)('0' + v % 10));
}

static void sleep_for_good(void)
{
    for (;;)
        ring3_call(SYS_WAIT, ~0ull, 0, 0, 0, 0);
}

static void failed(const char *what, u64 a, u64 b)
{
    ring3_print("\nVERDICT failed: ");
    ring3_print(what);
    ring3_print(" ");
    print_hex(a);
    ring3_print(" ");
    print_hex(b);
    ring3_print(" in instance ");
    print_decimal(turn);
    ring3_print(" after call ");
    for (unsigned i = 0; i < 7; i++) {
        ring3_print(" ");
        print_hex(last[i]);
    }
    ring3_print("\n");
    sleep_for_good();
}

/* ---- random numbers: SplitMix64 ---- */
static u64 next(void)
{
    u64 z = state += 0x9e3779b97f4a7c15ull;
    z = (z ^ z >> 30) * 0xbf58476d1ce4e5b9ull;
    z = (z ^ z >> 27) * 0x94d049bb133111ebull;
    return z ^ z >> 31;
}

static u64 below(u64 n)
{
    return (next() >> 16) % n;
}

static u64 value(void)
{
    u64 v = next();
    u64 shifts[] = {0, 16, 32, 48, 58, 63};
    switch (below(8)) {
    case 0:
        return ~0ull - (v >> 60);
    case 1:
        return BIT(v >> 58);
    default:
        return v >> shifts[below(6)];
    }
}

static u64 pointer(void)
{
    u64 vm = VM_WINDOW(below(SLOTS));
    const u64 bases[] = {(u64)buffer,
                         (u64)buffer,
                         (u64)buffer,
                         (u64)buffer + 2 * PAGE_SIZE - 16,
                         (u64)_start,
                         (u64)&constant & ~7ull,
                         USER_HEAP_BASE,
                         USER_MODULE_BASE,
                         USER_HOST_INFO,
                         USER_CONTROL_PAGE,
                         USER_END - 8,
                         KERNEL_IMAGE_BASE,
                         PHYSMAP_BASE + 0x200000,
                         vm + below(4) * PAGE_SIZE,
                         vm + VM_WINDOW_VCPUS + below(4) * PAGE_SIZE,
                         vm + VM_WINDOW_STATE};
    _Static_assert(ARRAY_LEN(bases) == POINTERS, "each is named");
    return bases[below(POINTERS)] + (below(4) ? 0 : below(2 * PAGE_SIZE));
}

static u64 argument(void)
{
    return below(3) ? below(below(2) ? 4 : 64) : below(2) ? value() : pointer();
}

/* ---- structures that nearly make sense ---- */
static void scribble(void *at, u64 len, unsigned times)
{
    while (times--)
        ((u8 *)at)[below(len)] = (u8)next();
}

static void make_policy(void)
{
    policy = (struct vm_policy){.cpuid_count = (u32)below(4), .msr_count = (u32)below(4)};
    for (u32 i = 0; i < 4; i++) {
        policy.cpuid[i] = (struct cpuid_row){.leaf = i, .eax = (u32)next(), .flags = i};
        policy.msr[i] = (struct msr_row){.first = 0x100 + i, .last = 0x100 + i, .kind = i};
    }
    policy.xcr0_allowed = value();
    policy.cr4_allowed = value();
    if (below(3) == 0)
        scribble(&policy, 1200, 1 + (unsigned)below(4));
}

static void make_create(void)
{
    make_policy();
    create = (struct vm_create){.name = "fuzz",
                                .ram_limit = below(4) ? below(1024) * PAGE_SIZE : value(),
                                .state_size = below(4) ? below(8) * PAGE_SIZE : value(),
                                .policy = below(8) ? &policy : (const void *)pointer()};
    if (below(8) == 0)
        scribble(&create, sizeof(create), 4);
}

/* Writes where the window of a VM is mapped, and only there: a miss would be the end. */
static bool writable(u64 at)
{
    u8 text[2] = {0};
    struct log_cursor c = {.seq = ~0ull};
    (void)c;
    (void)text;
    /* The kernel refuses, or overwrites what is overwritten anyway. */
    return ring3_call(SYS_MEM_STAT, at, 0, 0, 0, 0) == HV_OK;
}

static void scribble_on_vm(void)
{
    u64 slot = below(SLOTS);
    u64 page_at = VM_WINDOW(slot) + VM_WINDOW_VCPUS + below(3) * PAGE_SIZE;
    struct vcpu_page *page = (struct vcpu_page *)page_at;

    if (writable(VM_WINDOW(slot)))
        for (u64 i = 0; i < PAGE_SIZE / 8; i++)
            ((u64 *)VM_WINDOW(slot))[i] = next();
    if (!writable(page_at + 3800)) /* behind all that means something */
        return;
    if (below(2)) {
        page->state = (u32)below(5);
        page->action = (u32)next();
        page->reply_vector = (u32)below(below(2) ? 32 : 512);
        page->insn_len = (u32)value();
    } else {
        scribble(page, sizeof(*page), 16);
    }
    if (below(2)) { /* a state that may even be taken */
        ring3_call(SYS_VCPU_GET, slot, below(3), 0, 0, 0);
        scribble(&page->full, sizeof(page->full), 1 + (unsigned)below(3));
    }
    struct control_page *control = (struct control_page *)USER_CONTROL_PAGE;
    control->vm_complete = BIT(slot) | (below(8) ? 0 : next());
    control->vcpu_complete[below(VM_SLOTS)] = next();
    control->vcpu_complete[slot] = 7;
}

/* ---- one call ---- */
static u64 now(void)
{
    u32 lo, hi;
    asm volatile("rdtsc" : "=a"(lo), "=d"(hi));
    return (u64)hi << 32 | lo;
}

/* What would only end the run: resetting the machine, sleeping for good, taking a device. */
static void tame(u64 *a)
{
    switch (a[0]) {
    case SYS_WAIT:
        a[1] = below(4) ? 0 : now() + below(host->tsc_hz / 5000);
        a[2] = below(2) ? value() : VCPU_HANDLE(below(SLOTS), below(3));
        return;
    case SYS_EXIT:
        a[0] = SYS_NULL;
        return;
    case SYS_HOST_RESET:
        a[1] |= 2;
        return;
    case SYS_MEM_MAP:
        a[1] = below(8) ? below(16) * PAGE_SIZE / 2 : value();
        return;
    case SYS_MEM_UNMAP:
        a[1] = below(2) ? USER_HEAP_BASE + below(64) * PAGE_SIZE : a[1];
        a[2] = below(8) ? below(8) * PAGE_SIZE : a[2];
        return;
    case SYS_PCI_CONFIG:
        a[4] = 0;
        return;
    case SYS_DEV_CLAIM:
        a[1] |= 0x10000;
        return;
    }
}

static void choose(u64 *a)
{
    static const u8 frequent[] = {SYS_VM_CREATE, SYS_VM_DESTROY,  SYS_VM_MEM,    SYS_VM_MEM,
                                  SYS_VM_RUN,    SYS_VM_RUN,      SYS_VM_PAUSE,  SYS_VCPU_CREATE,
                                  SYS_VCPU_SET,  SYS_VCPU_CREATE, SYS_VM_MSI,    SYS_WAIT,
                                  SYS_WAIT,      SYS_VCPU_RESET,  SYS_VCPU_APIC, SYS_VCPU_NMI};
    a[0] = below(3)    ? frequent[below(sizeof(frequent))]
           : below(64) ? below(SYS_COUNT + 4)
                       : value();
    for (unsigned i = 1; i < 6; i++)
        a[i] = argument();
    if (a[0] >= SYS_VM_DESTROY && below(8))
        a[1] = below(SLOTS);
    if (a[0] >= SYS_VCPU_CREATE && below(8))
        a[2] = below(3);
    if (a[0] == SYS_VM_CREATE) {
        make_create();
        a[1] = below(8) ? (u64)&create : pointer();
    } else if (a[0] == SYS_VM_MEM && below(4)) {
        a[2] = below(64) * PAGE_SIZE + (below(8) ? 0 : PAGE_2M);
        a[3] = (1 + below(16)) * PAGE_SIZE;
        a[4] = below(3);
        if (a[4] == VM_MEM_TAKE && below(4))
            a[3] = PAGE_SIZE;
    } else if (a[0] == SYS_VM_MSI && below(4)) {
        a[2] = 0xfee00000 | (next() & 0xff00c);
        a[3] = next() & 0xffff;
    } else if (a[0] == SYS_VCPU_APIC && below(4)) {
        a[3] = below(64) * 16;
        a[4] = below(2);
        a[5] = value();
    } else if (a[0] != SYS_VM_CREATE && a[0] < SYS_VM_CREATE && below(2)) {
        a[1 + below(3)] = pointer();
    }
    tame(a);
}

/* ---- what must hold, whatever was asked ---- */
static bool readable(u64 at)
{
    return ring3_call(SYS_LOG_WRITE, LOG_DEBUG, at, 1, 0, 0) != HV_EFAULT;
}

static void must_refuse_write(u64 at, const char *what)
{
    if (ring3_call(SYS_MEM_STAT, at, 0, 0, 0, 0) != HV_EFAULT)
        failed(what, at, 0);
}

static void check_reach(void)
{
    struct vm_info info;

    must_refuse_write((u64)_start & ~7ull, "own code became writable");
    must_refuse_write((u64)&constant & ~7ull, "a constant became writable");
    must_refuse_write(USER_HOST_INFO, "host info became writable");
    must_refuse_write(host->modules[0].vaddr, "a module became writable");
    const u64 nobodys[] = {0,
                           PAGE_SIZE,
                           USER_HEAP_END - PAGE_SIZE,
                           USER_STACK_TOP - USER_STACK_SIZE - PAGE_SIZE,
                           USER_STACK_TOP,
                           USER_CONTROL_PAGE + PAGE_SIZE,
                           USER_END - PAGE_SIZE,
                           KERNEL_IMAGE_BASE,
                           PHYSMAP_BASE + below(1024) * MIB,
                           KERNEL_HOST_INFO,
                           KERNEL_CPU_BASE + below(64) * PAGE_SIZE,
                           VM_WINDOW(VM_SLOTS) + below(1024) * PAGE_SIZE,
                           USER_MMIO_BASE + below(1024) * PAGE_SIZE};
    for (unsigned i = 0; i < ARRAY_LEN(nobodys); i++)
        if (readable(nobodys[i]))
            failed("memory of nobody is readable", nobodys[i], i);
    for (u64 slot = 0; slot < VM_SLOTS; slot++) {
        bool there = ring3_call(SYS_VM_INFO, slot, (u64)&info, 0, 0, 0) == HV_OK;
        const u64 at[] = {0,
                          VM_WINDOW_VCPUS,
                          VM_WINDOW_STATE,
                          VM_WINDOW_STATE + VM_STATE_MAX,
                          VM_WINDOW_VCPUS - PAGE_SIZE,
                          below(1024) * PAGE_SIZE};
        for (unsigned i = 0; i < ARRAY_LEN(at); i++)
            if (!there && readable(VM_WINDOW(slot) + at[i]))
                failed("the window of no VM is readable", VM_WINDOW(slot) + at[i], i);
        if (there && info.state_size <= VM_STATE_MAX - PAGE_SIZE &&
            readable(VM_WINDOW(slot) + VM_WINDOW_STATE + info.state_size))
            failed("memory behind a VM's state is readable", slot, info.state_size);
    }
}

/* Frames that nobody owns and frames of quotas are all there are. */
static u64 unowned(void)
{
    struct mem_stat s;

    ring3_call(SYS_MEM_STAT, (u64)&s, 0, 0, 0, 0);
    if (s.free > s.total || s.guests_used > s.total || s.control_used > s.control_limit)
        failed("counts of memory make no sense", s.free, s.guests_used);
    return s.total - s.free - s.guests_used - s.control_used;
}

static void one_call(void)
{
    u64 a[6];

    if (below(6) == 0)
        scribble_on_vm();
    choose(a);
    for (unsigned i = 0; i < 6; i++)
        last[i] = a[i];
    i64 result = ring3_call(a[0], a[1], a[2], a[3], a[4], a[5]);
    last[6] = (u64)result;
    if (a[0] >= SYS_COUNT && result != HV_ENOSYS)
        failed("a call that is none was answered", a[0], (u64)result);
    if (a[0] == SYS_MEM_MAP && result > 0 && *(volatile u64 *)result)
        failed("new memory is not zero", (u64)result, *(volatile u64 *)result);
    calls_done++;
}

/* ---- life and death ---- */
static void destroy_all(void)
{
    for (u64 slot = 0; slot < VM_SLOTS; slot++) {
        i64 paused = ring3_call(SYS_VM_PAUSE, slot, 0, 0, 0, 0);
        if (paused == HV_OK && ring3_call(SYS_VM_DESTROY, slot, 0, 0, 0, 0) != HV_OK)
            failed("a paused VM cannot be destroyed", slot, 0);
    }
}

static void die(void)
{
    switch (below(7)) {
    case 0:
        *(volatile u64 *)KERNEL_IMAGE_BASE = 0;
        break;
    case 1:
        asm volatile("mov %0, %%rsp; push %0" : : "r"(value() | BIT(50)));
        break;
    case 2:
        ring3_call(SYS_EXIT, value(), 0, 0, 0, 0);
        break;
    case 3:
        asm volatile("mov %0, %%rbp; ud2" : : "r"(pointer()));
        break;
    case 4:
        ((void (*)(void))value())();
        break;
    case 5: /* a wrong address to return to from a system call */
        asm volatile("mov %0, %%rsp; syscall; int3" : : "r"(value()), "a"(SYS_NULL));
        break;
    default:
        asm volatile("cli");
    }
    asm volatile("ud2");
}

/* Where a small mapping was, its table stays: a large one there takes small leaves. */
static void reuse_table(void)
{
    i64 small = ring3_call(SYS_MEM_MAP, PAGE_SIZE, 0, 0, 0, 0);
    i64 gone = ring3_call(SYS_MEM_UNMAP, (u64)small, PAGE_SIZE, 0, 0, 0);
    i64 large = ring3_call(SYS_MEM_MAP, 2 * PAGE_2M, 0, 0, 0, 0);

    if (gone != HV_OK || large != small)
        failed("memory is not where it was", (u64)small, (u64)large);
    if (ring3_call(SYS_MEM_UNMAP, (u64)large, 2 * PAGE_2M, 0, 0, 0) != HV_OK)
        failed("memory cannot be given back", (u64)large, 0);
}

static u64 first_seed(void)
{
    const char *at = (const char *)host->modules[0].vaddr;
    u64 v = 0;

    for (u64 i = 0; i + 5 < host->modules[0].len; i++)
        if (at[i] == 's' && at[i + 3] == 'd' && at[i + 4] == '=')
            for (i += 5; at[i] >= '0' && at[i] <= '9'; i++)
                v = v * 10 + (u64)(at[i] - '0');
    return v;
}

/* The kernel keeps nothing for us from one instance to the next: the first one's count is the
 * name of a VM that is never touched otherwise. */
static void compare_frames(void)
{
    static const char digits[] = "0123456789abcdef";
    u64 count = unowned();

    ring3_print(" frames ");
    for (int shift = 60; shift >= 0; shift -= 4)
        ring3_put(digits[count >> shift & 15]);
    ring3_print("\n");
}

void _start(void)
{
    asm volatile("and $-16, %rsp");
    turn = host->restart_count;
    seed = first_seed() + turn;
    state = seed * 0xd1342543de82ef95ull;
    ring3_call(SYS_WAIT, 0, 0, 0, 0, 0); /* a crash after the first wait is no failure to start */
    if (turn % 4 == 0 || turn >= INSTANCES)
        destroy_all(); /* else the last one's VMs are inherited as they are */
    ring3_print("\ninstance ");
    print_decimal(turn);
    ring3_print(" seed ");
    print_decimal(seed);
    compare_frames();
    if (turn >= INSTANCES) {
        ring3_print("VERDICT passed\n");
        sleep_for_good();
    }
    reuse_table();
    for (u64 i = 0; i < CALLS; i++) {
        one_call();
        if (i % CHECK_EVERY == 0)
            check_reach();
    }
    die();
}
