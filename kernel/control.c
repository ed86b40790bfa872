/* The control partition's one thread: start, wait, wake, crash and restart.  Its state is
 * changed atomically; the rest belongs to the core that runs it. */
#include "kernel/control.h"

#include "kernel/cpu_tables.h"
#include "kernel/device.h"
#include "kernel/fpu.h"
#include "kernel/host.h"
#include "kernel/hvm.h"
#include "kernel/irq.h"
#include "kernel/log.h"
#include "kernel/mem.h"
#include "kernel/paging.h"
#include "kernel/sched.h"
#include "kernel/space.h"
#include "kernel/string.h"
#include "kernel/syscall.h"
#include "kernel/timer.h"
#include "kernel/vcpu.h"
#include "kernel/vlapic.h"
#include "kernel/x86.h"

#define QUICK_SECONDS 10
#define QUICK_CRASHES 5
#define LIMIT_LEAST (24 * MIB)
#define LIMIT_MOST (1 * GIB)

struct control control;

static const struct boot_info *boot;
static struct timer wait_timers[CPU_MAX];

void control_space_changed(void)
{
    this_cpu()->space_generation = ++control.space_generation;
    write_cr3(read_cr3()); /* the lower half is never global */
}

void control_wake(void)
{
    struct cpu *c = this_cpu();

    if (control_take(CONTROL_READY + c->id))
        __atomic_or_fetch(&c->attention, ATTENTION_RESCHED, __ATOMIC_RELAXED);
}

void control_post(u64 events)
{
    __atomic_or_fetch(&control.page->events, events, __ATOMIC_SEQ_CST);
    control_wake();
}

/* Timers of earlier waits may fire on other cores: only a deadline that has passed counts. */
static void wait_over(struct timer *t)
{
    (void)t;
    if (tsc_read() >= control.wait_deadline)
        control_wake();
}

/* Ring 3 sleeps from here on, unless there is news: whoever sets a bit from now on finds BLOCKED;
 * for what came before, look again.  False: it runs on. */
static inline __attribute__((always_inline)) bool fall_asleep(struct cpu *c, u64 deadline)
{
    struct timer *t = &wait_timers[c->id];

    if (deadline != ~0ull && !(t->armed && t->deadline == deadline)) {
        t->fire = wait_over;
        timer_set(t, deadline);
    }
    if (c->fpu_owner == control.xsave)
        fpu_release(control.xsave);
    control.wait_deadline = deadline;
    __atomic_store_n(&control.state, CONTROL_BLOCKED, __ATOMIC_SEQ_CST);
    return !control.page->events || !control_take(CONTROL_RUNNING);
}

i64 control_wait(u64 deadline, u64 answered)
{
    struct cpu *c = this_cpu();
    struct vcpu *v = c->handoff;
    u64 now = tsc_read();

    /* The guest goes on if nothing else wants this core, ring 3 or the vCPU. */
    if (v && answered == v->handle && v->page->state == EXIT_COMPLETE && !v->blocked &&
        now < c->deadline && now < deadline && !(c->attention & ATTENTION_RESCHED) &&
        !control.page->vm_complete) {
        if (v->page->msi_count)
            vlapic_take_messages_here(v);
        if (fall_asleep(c, deadline))
            sched_resume_handoff(v, now);
    }
    if (!control.waited) {
        control.waited = true;
        log_console_release();
    }
    sched_end_handoff();
    if (answered && vcpu_find(VCPU_HANDLE_VM(answered), VCPU_HANDLE_VCPU(answered), &v) == HV_OK)
        vcpu_complete(v);
    vcpu_take_completions(control.page);
    if (!control.page->events && deadline > tsc_read() && fall_asleep(c, deadline))
        sched_run();
    timer_arm_hardware();
    return HV_OK;
}

i64 control_move(const u64 args[6])
{
    if (args[0] >= cpu_count || !cpus[args[0]]->online)
        return HV_ENOENT;
    if (args[0] == this_cpu()->id)
        return HV_OK;
    struct cpu *to = cpus[args[0]];
    sched_end_handoff();
    fpu_release(control.xsave);
    __atomic_store_n(&control.state, CONTROL_READY + to->id, __ATOMIC_SEQ_CST);
    __atomic_or_fetch(&to->attention, ATTENTION_RESCHED, __ATOMIC_SEQ_CST);
    irq_kick(to->id);
    sched_run();
}

void control_enter(u64 result)
{
    struct cpu *c = this_cpu();

    c->tss_stale = true;
    if (c->space_generation != control.space_generation) {
        c->space_generation = control.space_generation;
        write_cr3(read_cr3());
    }
    if (hvm)
        hvm_to_user();
    wrmsr(MSR_FS_BASE, control.fs_base); /* a VM exit loads the host's */
    syscall_resume((i64)result);
}

/* A new instance; all that it needs to begin is mapped already. */
static void start_instance(void)
{
    space_fill(boot);
    memset((void *)control.page, 0, PAGE_SIZE);
    control.frame = (struct user_frame){
        .rip = boot->control.entry,
        .cs = SEL_USER_CODE,
        .rflags = RFLAGS_FIXED | RFLAGS_IF,
        .rsp = USER_STACK_TOP - 16, /* two words of zero: argc, argv[0] */
        .ss = SEL_USER_DATA,
    };
    control.fs_base = 0;
    control.on_fault = 0;
    control.heap_from = USER_HEAP_BASE;
    control.waited = false;
    control.started = tsc_read();
    fpu_area_init(control.xsave);
    __atomic_store_n(&control.state, CONTROL_READY + this_cpu()->id, __ATOMIC_RELEASE);
}

void control_init(const struct boot_info *bi)
{
    hpa_t page = mem_alloc(&quota_kernel, PAGE_SIZE);
    hpa_t xsave = mem_alloc(&quota_kernel, FPU_AREA_SIZE);

    if (!hpa_valid(page) || !hpa_valid(xsave))
        panic("no memory for the control partition's state");
    boot = bi;
    control.page = phys_to_virt(page);
    control.xsave = phys_to_virt(xsave);
    control.quota.limit = MIN(MAX(mem_total() / 4, LIMIT_LEAST), LIMIT_MOST);
    control.space = paging_host;
    control.space.quota = &control.quota;
    control.space.table_bytes = 0;
    if (!bi->control.segment_count)
        panic("the loader found no control image. Try: put control.elf into \\bulkhead");
    space_create(bi);
    start_instance();
}

static NORETURN void restart(void)
{
    bool quick = !control.waited && tsc_read() - control.started < QUICK_SECONDS * tsc_hz;

    control.quick_crashes = quick ? control.quick_crashes + 1 : 0;
    if (control.quick_crashes >= QUICK_CRASHES)
        panic("the control partition fails each time it starts (%u times). "
              "Try: boot an earlier image; the reports above say where it fails",
              QUICK_CRASHES);
    sched_end_handoff();
    fpu_release(control.xsave); /* the registers are nobody's now */
    device_release_all();       /* before frames that devices write change owner */
    space_clear();
    control_space_changed();
    host_info->restart_count = ++control.restarts;
    start_instance();
    log_error("control partition: restarted (%u)", control.restarts);
    vcpu_replay_exits(control.page);
    sched_run();
}

void control_fault(void)
{
    struct user_frame *f = &control.frame;
    struct fault_report report = {*f, read_cr2()};
    u64 handler = control.on_fault, at = control.fault_report;

    log_console_take();
    control.on_fault = 0;
    if (!handler || user_write(at, &report, sizeof(report)) != HV_OK) {
        log_error("control partition: #%.2s (error code %lx, address %lx) at %016lx on cpu %u",
                  &FAULT_NAMES[2 * f->vector], f->error, report.address, f->rip, this_cpu()->id);
        restart();
    }
    f->rip = handler;
    f->rsp = at - 8; /* as after a CALL */
    f->rdi = at;
    f->rflags = RFLAGS_FIXED | RFLAGS_IF;
}

i64 control_exit(const u64 args[6])
{
    log_console_take();
    log_error("control partition: exited with code %u", (u32)args[0]);
    restart();
}

i64 control_heap_map(const u64 args[6])
{
    u64 len = args[0];

    if (len == 0 || len > USER_HEAP_END - USER_HEAP_BASE)
        return HV_EINVAL;
    len = ROUND_UP(len, PAGE_SIZE);
    /* One page more than is mapped: an overrun, and a fiber's stack that is too deep, faults. */
    u64 va = space_find_hole(control.heap_from, USER_HEAP_END, len + PAGE_SIZE,
                             len >= PAGE_2M ? PAGE_2M : PAGE_SIZE);
    if (!va)
        return HV_ENOMEM;
    enum hv_status status = space_map_private(va, len, PG_W);
    if (status != HV_OK)
        return status;
    if (va == control.heap_from)
        control.heap_from = va + len + PAGE_SIZE;
    return (i64)va;
}

i64 control_heap_unmap(const u64 args[6])
{
    u64 at = args[0], len = ROUND_UP(args[1], PAGE_SIZE);

    if (at % PAGE_SIZE || len == 0 || at < USER_HEAP_BASE || at >= USER_HEAP_END ||
        len > USER_HEAP_END - at)
        return HV_EINVAL;
    enum hv_status status = pgtab_free(&control.space, at, len);
    control.heap_from = MIN(control.heap_from, at);
    control_space_changed();
    return status;
}
