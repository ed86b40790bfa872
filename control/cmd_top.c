/* Who has the CPUs and the memory; each command runs in the shell's fiber. */
#include "control/cmd_top.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "control/rt/clock.h"
#include "control/rt/dma.h"
#include "control/rt/fiber.h"
#include "control/rt/heap.h"
#include "control/rt/loop.h"
#include "control/rt/sys.h"
#include "control/schema.h"
#include "kernel/abi/exit_class.h"
#include "vmm/inventory.h"
#include "vmm/vm.h"
#include "vmm/vm_sched.h"

typedef unsigned long long ull;

/* ---- host mem -------------------------------------------------------------------------------- */
static void put_heap(struct out *out)
{
    static const char *const columns[] = {"SUBSYSTEM", "KIB", "MOST", "BLOCKS"};
    static const u8 widths[] = {24, 8, 8, 0};
    static const char *const names[HEAP_OWNERS] = {[HEAP_CONTROL] = "shell and runtime",
                                                   [HEAP_VMM] = "virtual machines",
                                                   [HEAP_DRIVERS] = "drivers",
                                                   [HEAP_NET] = "network",
                                                   [HEAP_STORAGE] = "storage",
                                                   [HEAP_SSH] = "SSH",
                                                   [HEAP_OTHER] = "C library"};
    struct fiber_report f;
    u32 stacks = 0;

    while (fiber_report(stacks, &f))
        stacks++;
    out_printf(out, "\n");
    out_table(out, columns, widths, ARRAY_LEN(columns));
    for (u32 i = 0; i < HEAP_OWNERS; i++) {
        struct heap_use u = heap_use(i);

        out_cell(out, "%s", names[i]);
        out_cell(out, "%llu", (ull)(u.bytes / KIB));
        out_cell(out, "%llu", (ull)(u.most / KIB));
        out_cell(out, "%llu", (ull)u.blocks);
    }
    out_cell(out, "memory for devices");
    out_cell(out, "%llu", (ull)(dma_used() / KIB));
    out_cell(out, "%llu", (ull)(dma_granted() / KIB));
    out_cell(out, "-");
    out_cell(out, "fibers' stacks");
    out_cell(out, "%llu", (ull)(stacks * (u64)FIBER_STACK_SIZE / KIB));
    out_cell(out, "%llu", (ull)(stacks * (u64)FIBER_STACK_SIZE / KIB));
    out_cell(out, "%u", stacks);
}

static enum hv_status run_mem(const struct schema_args *args, struct out *out)
{
    struct mem_stat m;

    (void)args;
    if (sys_mem_stat(&m) < 0)
        return out_error(out, HV_EIO, "E_KERNEL", "host log", "the kernel gave no figures");
    out_field(out, "total", "%llu KiB", (ull)(m.total / KIB));
    out_field(out, "free", "%llu KiB", (ull)(m.free / KIB));
    out_field(out, "free 2 MiB chunks", "%llu", (ull)m.free_2m);
    out_field(out, "kernel", "%llu KiB", (ull)(m.kernel / KIB));
    out_field(out, "control partition", "%llu KiB of %llu", (ull)(m.control_used / KIB),
              (ull)(m.control_limit / KIB));
    out_field(out, "guests", "%llu KiB", (ull)(m.guests_used / KIB));
    out_end_object(out);
    put_heap(out);
    return HV_OK;
}

/* ---- host top -------------------------------------------------------------------------------- */
enum kind { KIND_HOST, KIND_VM, KIND_VCPU, KIND_LOOP, KIND_FIBER };
static const char *const kinds[] = {"host", "vm", "vcpu", "loop", "fiber"};
static const char *const loop_parts[] = {
    [LOOP_INTERRUPTS] = "interrupts", [LOOP_TIMERS] = "timers", [LOOP_DOORBELLS] = "doorbells"};

struct row {
    enum kind kind;
    u32 id, sub;
    char name[VM_NAME_LEN + 8];
    u64 ticks, steal, count, longest; /* TSC; since the first look, but for longest */
    u32 stack;
};

struct rows {
    struct row *row;
    u32 count, room;
    u64 now;
};

/* NULL: no memory, or it is full: VMs that came meanwhile are not shown. */
static struct row *add(struct rows *r, enum kind kind, u32 id, u32 sub, u64 ticks)
{
    if (r->count == r->room) {
        u32 room = r->room ? 2 * r->room : 64;
        struct row *more = realloc(r->row, room * sizeof(*more));
        if (!more)
            return NULL;
        r->row = more;
        r->room = room;
    }
    struct row *row = &r->row[r->count++];
    *row = (struct row){.kind = kind, .id = id, .sub = sub, .ticks = ticks};
    return row;
}

static bool look_at_cpus(struct rows *r)
{
    static const char *const names[] = {"idle", "control partition", "guests", "kernel"};
    u64 sums[ARRAY_LEN(names)] = {0};
    struct cpu_stat s;

    for (u32 i = 0; i < sys_host_info()->cpu_count; i++) {
        if (sys_cpu_stat(i, &s) < 0 || !s.online)
            continue;
        for (u32 k = 0; k < ARRAY_LEN(names); k++)
            sums[k] += s.ticks[k];
    }
    for (u32 k = 0; k < ARRAY_LEN(names); k++) {
        struct row *row = add(r, KIND_HOST, k, 0, sums[k]);
        if (!row)
            return false;
        snprintf(row->name, sizeof(row->name), "%s", names[k]);
    }
    return true;
}

static bool look_at_vm(struct rows *r, const struct vm *vm)
{
    struct row *row = add(r, KIND_VM, vm->slot, 0, vm_sched_ran_all(vm));

    if (!row)
        return false;
    snprintf(row->name, sizeof(row->name), "%s", vm->config.name);
    for (u32 i = 0; vm->state && i < vm->config.cpu_count; i++) {
        row = add(r, KIND_VCPU, vm->slot, i, vm_sched_ran(vm, i));
        if (!row)
            return false;
        snprintf(row->name, sizeof(row->name), "%s/%u", vm->config.name, i);
        row->steal = vm_vcpu(vm, i)->stats.steal_ticks;
        for (u32 k = 0; k < CLASS_COUNT; k++)
            row->count += vm_vcpu(vm, i)->stats.exits[k];
    }
    return true;
}

static bool look_at_loop(struct rows *r)
{
    struct fiber_report f;
    struct row *row;

    for (u32 i = 0; i < LOOP_PARTS; i++) {
        struct loop_load l = loop_load(i);
        if (!(row = add(r, KIND_LOOP, i, 0, l.ticks)))
            return false;
        snprintf(row->name, sizeof(row->name), "%s", loop_parts[i]);
        row->count = l.count;
        row->longest = l.longest;
    }
    for (u32 i = 0; fiber_report(i, &f); i++) {
        if (!(row = add(r, KIND_FIBER, i, f.live, f.ticks)))
            return false;
        snprintf(row->name, sizeof(row->name), "%s%s", f.name, f.live ? "" : " (ended)");
        row->count = f.runs;
        row->longest = f.longest;
        row->stack = f.stack_used;
    }
    return true;
}

static bool look(struct rows *r)
{
    r->now = clock_tsc();
    if (!look_at_cpus(r) || !look_at_loop(r))
        return false;
    for (const struct vm *vm = inventory_first(); vm; vm = vm->next)
        if (vm->phase != PHASE_STOPPED && !look_at_vm(r, vm))
            return false;
    return true;
}

/* What grew meanwhile; what began anew counts whole. */
static u64 grown(u64 before, u64 now)
{
    return now >= before ? now - before : now;
}

static void subtract(struct rows *now, const struct rows *before)
{
    for (u32 i = 0; i < now->count; i++) {
        struct row *n = &now->row[i];
        for (u32 k = 0; k < before->count; k++) {
            const struct row *b = &before->row[k];
            if (b->kind != n->kind || b->id != n->id || b->sub != n->sub ||
                strcmp(b->name, n->name))
                continue;
            n->ticks = grown(b->ticks, n->ticks);
            n->steal = grown(b->steal, n->steal);
            n->count = grown(b->count, n->count);
            break;
        }
    }
}

static int busier(const void *a, const void *b)
{
    const struct row *x = a, *y = b;

    if (x->kind != y->kind)
        return (int)x->kind - (int)y->kind;
    if (x->ticks != y->ticks)
        return x->ticks > y->ticks ? -1 : 1;
    return (int)x->id - (int)y->id;
}

static void put_note(struct out *out, const struct row *r, u64 ticks)
{
    ull us = (ull)(clock_ticks_to_ns(r->longest) / CLOCK_US);

    switch (r->kind) {
    case KIND_VCPU:
        out_cell(out, "%llu %% waiting for a CPU, %llu exits a second",
                 (ull)(ticks ? r->steal * 100 / ticks : 0),
                 (ull)(r->count * CLOCK_SECOND / MAX(clock_ticks_to_ns(ticks), 1ull)));
        break;
    case KIND_LOOP:
        out_cell(out, "%llu times, longest ever %llu us", (ull)r->count, us);
        break;
    case KIND_FIBER:
        out_cell(out, "%llu runs, longest ever %llu us, stack %u of %llu KiB", (ull)r->count, us,
                 (u32)ROUND_UP(r->stack, KIB) / (u32)KIB, (ull)(FIBER_STACK_SIZE / KIB));
        break;
    default:
        out_cell(out, "%s", r->kind == KIND_HOST ? "of all CPUs together" : "");
    }
}

static void put_rows(struct out *out, struct rows *r, u64 ticks)
{
    static const char *const columns[] = {"KIND", "NAME", "CPU%", "NOTE"};
    static const u8 widths[] = {5, 20, 6, 0};

    qsort(r->row, r->count, sizeof(*r->row), busier);
    out_table(out, columns, widths, ARRAY_LEN(columns));
    for (u32 i = 0; i < r->count; i++) {
        u64 tenths = ticks ? r->row[i].ticks * 1000 / ticks : 0;

        out_cell(out, "%s", kinds[r->row[i].kind]);
        out_cell(out, "%s", r->row[i].name);
        out_cell(out, "%llu.%llu", (ull)(tenths / 10), (ull)(tenths % 10));
        put_note(out, &r->row[i], ticks);
    }
}

static enum hv_status run_top(const struct schema_args *args, struct out *out)
{
    u64 seconds = MIN(args_number(args, "seconds", 1), 3600ull);
    struct rows before = {0}, now = {0};
    bool whole;

    before.now = sys_host_info()->boot_tsc;
    whole = !seconds || look(&before);
    for (u64 i = 0; whole && i < seconds * 10 && !out_cancelled(out); i++)
        fiber_sleep_until(clock_after(CLOCK_SECOND / 10));
    whole = whole && look(&now);
    if (whole) {
        subtract(&now, &before);
        put_rows(out, &now, now.now - before.now);
    }
    free(before.row);
    free(now.row);
    return whole ? HV_OK
                 : out_error(out, HV_ENOMEM, "E_MEMORY", "host mem", "no memory for the table");
}

static const struct schema_arg top_args[] = {
    {"seconds", PLACE_KEY, ARG_NUMBER, NULL, "1", "measure that long; 0: since the start"},
    {0},
};
static const struct schema_command commands[] = {
    {"host", "mem", "who uses the memory, also by subsystem of the control partition", NULL,
     ROLE_VIEW, NULL, NULL, run_mem},
    {"host", "top", "who uses the CPUs: partitions, vCPUs, handlers and fibers, 100 is one CPU",
     "host top seconds=5 | grep vcpu", ROLE_VIEW, top_args, NULL, run_top},
};
SCHEMA_COMMANDS(commands);
