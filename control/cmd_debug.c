/* Faults on purpose, to see that the kernel contains them, and the cost of a system call.
 * Runs in the shell's fiber. */
#include "control/cmd_debug.h"

#include <string.h>

#include "control/console.h"
#include "control/rt/clock.h"
#include "control/rt/fiber.h"
#include "control/rt/log.h"
#include "control/rt/loop.h"
#include "control/rt/port.h"
#include "control/rt/sys.h"
#include "control/schema.h"
#include "vmm/exits.h"
#include "vmm/inventory.h"
#include "vmm/vm.h"

typedef unsigned long long ull;

/* Through a volatile, so that the compiler cannot know that the access is wrong. */
static volatile u8 *at(u64 address)
{
    volatile u64 hidden = address;

    return (volatile u8 *)hidden;
}

static void crash_null(void)
{
    *at(8) = 1;
}

static u64 exits_left;

/* In place of exits_serve(): after so many exits ends before the next is served, half-way through,
 * or when it is served and nobody knows yet. */
static bool crash_at_exit(u32 slot, u32 vcpu)
{
    struct vm *vm = inventory_by_slot(slot);

    if (exits_left >= 3 || !vm || !vm->state) {
        exits_left -= 3;
        return exits_serve(slot, vcpu);
    }
    if (exits_left == 1)
        vm_vcpu(vm, vcpu)->state = EXIT_PROCESSING;
    else if (exits_left == 2)
        (void)exits_serve(slot, vcpu);
    crash_null();
    return false;
}

static enum hv_status run_crash_exit(const struct schema_args *args, struct out *out)
{
    (void)out;
    exits_left = args_number(args, "after", 0);
    loop_on_exit(crash_at_exit);
    return HV_OK;
}

static void crash_read_kernel(void)
{
    (void)*at(KERNEL_IMAGE_BASE);
}

static void crash_write_kernel(void)
{
    *at(PHYSMAP_BASE) = 1;
}

static void crash_write_code(void)
{
    *at((u64)crash_null) = 0xc3;
}

static void crash_write_host_info(void)
{
    *at((u64)sys_host_info()) = 0;
}

static void crash_run_data(void)
{
    static u8 ret = 0xc3;

    ((void (*)(void))(uintptr_t)&ret)();
}

static void crash_port(void)
{
    (void)port_in8(0x70);
}

static void crash_privileged(void)
{
    __asm__ volatile("cli");
}

static void crash_msr(void)
{
    __asm__ volatile("rdmsr" : : "c"(0xc0000080) : "eax", "edx");
}

static void crash_divide(void)
{
    __asm__ volatile("divl %0" : : "r"(0) : "eax", "edx");
}

static void crash_assert(void)
{
    rt_assert(!"debug crash assert");
}

static u32 dig(const volatile u8 *above, u32 depth)
{
    volatile u8 frame[1024];

    frame[0] = *above;
    return depth ? dig(frame, depth - 1) + frame[0] : 0;
}

static void crash_stack(void)
{
    u8 start = 0;

    dig(&start, 1000); /* a megabyte; a fiber has 64 KiB */
}

static const struct {
    const char *name;
    void (*fn)(void);
} crashes[] = {
    {"null", crash_null},
    {"read-kernel", crash_read_kernel},
    {"write-kernel", crash_write_kernel},
    {"write-code", crash_write_code},
    {"write-host-info", crash_write_host_info},
    {"run-data", crash_run_data},
    {"port", crash_port},
    {"privileged", crash_privileged},
    {"msr", crash_msr},
    {"divide", crash_divide},
    {"assert", crash_assert},
    {"stack", crash_stack},
};

static enum hv_status run_crash(const struct schema_args *args, struct out *out)
{
    const char *how = args_text(args, "how");

    for (u32 i = 0; i < ARRAY_LEN(crashes); i++) {
        if (strcmp(crashes[i].name, how))
            continue;
        console_flush();
        crashes[i].fn();
    }
    return out_error(out, HV_EPERM, "E_CONTAINMENT", "report it",
                     "'%s' did not fault: the control partition is not contained", how);
}

static enum hv_status run_null(const struct schema_args *args, struct out *out)
{
    u64 count = MAX(args_number(args, "count", 1000), 1ull), start = clock_tsc();

    for (u64 i = 0; i < count; i++)
        sys_null();
    u64 ticks = clock_tsc() - start;
    out_printf(out, "%llu calls, %llu ticks, %llu a call\n", (ull)count, (ull)ticks,
               (ull)(ticks / count));
    return HV_OK;
}

static enum hv_status run_mem(const struct schema_args *args, struct out *out)
{
    u64 size = args_number(args, "size", 0);
    i64 mapped = sys_mem_map(ROUND_UP(size, PAGE_SIZE));

    if (mapped < 0)
        return out_error(out, (enum hv_status)mapped, "E_NOMEM", "host mem",
                         "the kernel refused %llu bytes", (ull)size);
    for (u64 i = 0; i < size; i += PAGE_SIZE)
        *at((u64)mapped + i) = 1;
    sys_mem_unmap((void *)mapped, ROUND_UP(size, PAGE_SIZE));
    out_printf(out, "%llu bytes at 0x%llx, written and given back\n", (ull)size, (ull)mapped);
    return HV_OK;
}

static enum hv_status run_call(const struct schema_args *args, struct out *out)
{
    u64 n = args_number(args, "number", 0), a = args_number(args, "a", 0),
        b = args_number(args, "b", 0), c = args_number(args, "c", 0);

    out_printf(out, "%lld\n", (long long)sys_call(n, a, b, c, 0, 0));
    return HV_OK;
}

/* Prints runs of written pages across calls; ends with the number of pages. */
struct runs {
    struct out *out;
    u64 first, next, pages; /* the run at hand is [first, next) */
};

static void put_run(struct runs *r)
{
    if (r->next == r->first)
        return;
    out_cell(r->out, "%llx", (ull)r->first);
    out_cell(r->out, "%llu", (ull)((r->next - r->first) / PAGE_SIZE));
    r->pages += (r->next - r->first) / PAGE_SIZE;
}

static enum hv_status put_written(struct runs *r, u32 slot, u64 gpa, u64 len)
{
    static u64 bits[VM_WRITTEN_MAX / PAGE_SIZE / 64];
    i64 status = sys_vm_written(slot, gpa, len, bits);

    if (status < 0)
        return (enum hv_status)status;
    for (u64 n = 0; n < len / PAGE_SIZE; n++) {
        u64 at = gpa + n * PAGE_SIZE;
        if (!(bits[n / 64] >> n % 64 & 1))
            continue;
        if (at != r->next) {
            put_run(r);
            r->first = at;
        }
        r->next = at + PAGE_SIZE;
    }
    return HV_OK;
}

static enum hv_status run_written(const struct schema_args *args, struct out *out)
{
    static const char *const columns[] = {"ADDRESS", "PAGES"};
    static const u8 widths[] = {16, 0};
    struct vm *vm = inventory_find(args_text(args, "vm"));
    struct runs runs = {.out = out};

    if (!vm || vm->phase == PHASE_STOPPED)
        return out_error(out, HV_ENOENT, "E_STATE", "vm list", "no VM %s has memory",
                         args_text(args, "vm"));
    out_table(out, columns, widths, 2);
    for (u32 i = 0; i < vm->mem.count; i++) {
        const struct guest_range *range = &vm->mem.range[i];
        for (u64 done = 0, len; done < range->len; done += len) {
            len = MIN(range->len - done, (u64)VM_WRITTEN_MAX);
            enum hv_status st = put_written(&runs, vm->slot, range->gpa + done, len);
            if (st != HV_OK)
                return out_error(out, st, "E_NOMEM", "host mem",
                                 "no memory for small pages in place of large ones");
        }
    }
    put_run(&runs);
    out_printf(out, "%llu pages written\n", (ull)runs.pages);
    return HV_OK;
}

#define WARM_UP 50

/* Free bytes of the machine. */
static u64 free_bytes(void)
{
    struct mem_stat m;

    return sys_mem_stat(&m) < 0 ? 0 : m.free;
}

/* Start, a millisecond of running, power cut, until nothing is left of it. */
static bool cycle(struct vm *vm, struct vm_error *e)
{
    if (!vm_start(vm, e))
        return false;
    fiber_sleep_until(clock_tsc() + sys_host_info()->tsc_hz / 1000);
    if (vm->phase != PHASE_STOPPED && !vm_stop(vm, e))
        return false;
    while (vm->phase != PHASE_STOPPED)
        fiber_yield();
    return true;
}

static enum hv_status run_cycle(const struct schema_args *args, struct out *out)
{
    struct vm *vm = inventory_find(args_text(args, "vm"));
    u64 count = MAX(args_number(args, "count", 100), 1ull), before = 0, start = 0;
    struct vm_error e;

    if (!vm)
        return out_error(out, HV_ENOENT, "E_NOENT", "vm list", "there is no VM %s",
                         args_text(args, "vm"));
    for (u64 i = 0; i <= WARM_UP + count;
         i++) { /* the first make the heap as large as it will be */
        if (!cycle(vm, &e))
            return out_error(out, e.status, e.code, e.hint, "%s", e.text);
        if (i == WARM_UP) {
            before = free_bytes();
            start = clock_tsc();
        }
    }
    out_printf(out, "%llu starts and stops in %llu ms, %lld bytes fewer are free\n", (ull)count,
               (ull)(clock_ticks_to_ns(clock_tsc() - start) / CLOCK_MS),
               (long long)(before - free_bytes()));
    return HV_OK;
}

static const struct schema_arg crash_args[] = {
    {"how", PLACE_OPTIONAL, ARG_ENUM,
     "null|read-kernel|write-kernel|write-code|write-host-info|run-data|port|privileged|msr|divide|"
     "assert|stack",
     "null", "what to do that is forbidden"},
    {0},
};
static const struct schema_arg crash_exit_args[] = {
    {"after", PLACE_OBJECT, ARG_NUMBER,
     .help = "a third of it exits later; the rest of that says where in the exit"},
    {0},
};
static const struct schema_arg null_args[] = {
    {"count", PLACE_KEY, ARG_NUMBER, NULL, "1000", "how many"},
    {0},
};
static const struct schema_arg mem_args[] = {
    {"size", PLACE_OBJECT, ARG_SIZE, .help = "bytes to ask for"},
    {0},
};
static const struct schema_arg call_args[] = {
    {"number", PLACE_OBJECT, ARG_NUMBER, .help = "number of the system call"},
    {"a", PLACE_OPTIONAL, ARG_NUMBER, .help = "first argument"},
    {"b", PLACE_OPTIONAL, ARG_NUMBER, .help = "second argument"},
    {"c", PLACE_OPTIONAL, ARG_NUMBER, .help = "third argument"},
    {0},
};

static const struct schema_arg cycle_args[] = {
    {"vm", PLACE_OBJECT, ARG_VM, .help = "its name or number"},
    {"count", PLACE_KEY, ARG_NUMBER, NULL, "100", "how often"},
    {0},
};
static const struct schema_arg written_args[] = {
    {"vm", PLACE_OBJECT, ARG_VM, .help = "its name or number"},
    {0},
};

static const struct schema_command commands[] = {
    {"debug", "crash", "crash the control partition on purpose; the kernel restarts it",
     "debug crash read-kernel", ROLE_ADMIN, crash_args, NULL, run_crash},
    {"debug", "crash-exit", "crash the control partition at one of the next exits it serves",
     "debug crash-exit 100", ROLE_ADMIN, crash_exit_args, NULL, run_crash_exit},
    {"debug", "null", "time the shortest system call", NULL, ROLE_VIEW, null_args, NULL, run_null},
    {"debug", "mem", "ask for memory and give it back", "debug mem 1M", ROLE_ADMIN, mem_args, NULL,
     run_mem},
    {"debug", "call", "make any system call and print what it returns", "debug call 0", ROLE_ADMIN,
     call_args, NULL, run_call},
    {"debug", "cycle", "start a VM and cut its power, again and again; what memory that costs",
     "debug cycle demo count=1000", ROLE_ADMIN, cycle_args, NULL, run_cycle},
    {"debug", "written", "memory that a VM has written since the last such command, or ever",
     "debug written demo", ROLE_ADMIN, written_args, NULL, run_written},
};
SCHEMA_COMMANDS(commands);
