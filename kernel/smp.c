/* INIT and SIPI to each CPU in turn, with a bounded wait.  Boot CPU; each CPU then prepares
 * itself in smp_cpu_main() and idles until it is given work. */
#include "kernel/smp.h"

#include "kernel/apic.h"
#include "kernel/cpu_tables.h"
#include "kernel/fpu.h"
#include "kernel/health.h"
#include "kernel/host.h"
#include "kernel/hvm.h"
#include "kernel/idt.h"
#include "kernel/log.h"
#include "kernel/mem.h"
#include "kernel/paging.h"
#include "kernel/sched.h"
#include "kernel/string.h"
#include "kernel/timer.h"
#include "kernel/x86.h"

#define INIT_DELAY_US 200  /* processors since the P6 need none, SDM 3A 9.4.4 wants 10 ms */
#define SIPI_RETRY_US 1000 /* then a second SIPI */
#define START_LIMIT_US 200000

extern const u8 trampoline_start[], trampoline_end[], trampoline_root[], trampoline_far[],
    trampoline_gdtr[], trampoline_gdt[], trampoline_long[];

struct cpu *volatile smp_slot; /* taken by the CPU that starts */

static void put32(u8 *page, const u8 *field, u64 value)
{
    u32 v = (u32)value;
    memcpy(page + (field - trampoline_start), &v, sizeof(v));
}

/* False: these CPUs cannot be started on this machine. */
static bool place_trampoline(u64 at)
{
    if (at == 0 || at >= MIB || at % PAGE_SIZE || paging_host.root.raw >= 4 * GIB ||
        pgtab_map(&paging_host, at, at, PAGE_SIZE, PG_R | PG_X) != HV_OK)
        return false;
    u8 *page = phys_to_virt(HPA(at));
    memcpy(page, trampoline_start, (u64)(trampoline_end - trampoline_start));
    put32(page, trampoline_root, paging_host.root.raw);
    put32(page, trampoline_far, at + (u64)(trampoline_long - trampoline_start));
    put32(page, trampoline_gdtr + 2, at + (u64)(trampoline_gdt - trampoline_start));
    return true;
}

static bool wait_online(const struct cpu *c, u64 microseconds)
{
    u64 end = tsc_read() + tsc_hz / 1000000 * microseconds;
    while (!__atomic_load_n(&c->online, __ATOMIC_ACQUIRE)) {
        if (tsc_read() > end)
            return false;
        cpu_relax();
    }
    return true;
}

static bool start(struct cpu *c, u32 apic_id, u64 trampoline)
{
    u32 startup = APIC_STARTUP | (u32)(trampoline / PAGE_SIZE);

    smp_slot = c;
    apic_send(apic_id, APIC_INIT);
    timer_delay(INIT_DELAY_US);
    apic_send(apic_id, startup);
    if (wait_online(c, SIPI_RETRY_US))
        return true;
    if (smp_slot)
        apic_send(apic_id, startup);
    if (wait_online(c, START_LIMIT_US))
        return true;
    /* If it has taken the slot it is on its way and will come. */
    return !__atomic_exchange_n(&smp_slot, NULL, __ATOMIC_SEQ_CST) &&
           wait_online(c, START_LIMIT_US);
}

static struct cpu *new_cpu(u32 id)
{
    if (cpus[id]) /* left over from a CPU that did not come */
        return cpus[id];
    struct cpu *c = mem_page(&quota_kernel);
    if (!c)
        panic("no memory for cpu %u", id);
    c->self = c;
    c->id = id;
    c->deadline = c->armed = ~0ull;
    c->accounting = CPU_KERNEL;
    cpu_tables_create(c);
    cpus[id] = c;
    return c;
}

void smp_init(const struct boot_info *bi)
{
    u32 me = apic_id();
    bool ready = false;

    for (u32 i = 0; i < bi->cpu_count && cpu_count < CPU_MAX; i++) {
        u32 id = bi->cpus[i].apic_id;
        if (!(bi->cpus[i].flags & BOOT_CPU_USABLE) || id == me)
            continue;
        if (!apic_reaches(id)) {
            log_warn("CPU with APIC id %u needs x2APIC: not started", id);
            continue;
        }
        if (!ready && !place_trampoline(bi->trampoline)) {
            log_warn("no page below 1 MiB to start the other CPUs: one CPU in use");
            return;
        }
        ready = true;
        if (!start(new_cpu(cpu_count), id, bi->trampoline)) {
            log_warn("CPU with APIC id %u does not start", id);
            continue;
        }
        cpu_count++;
    }
    if (ready && pgtab_unmap(&paging_host, bi->trampoline, PAGE_SIZE) != HV_OK)
        panic("smp: trampoline");
    if (cpu_count < CPU_MAX)
        cpus[cpu_count] = NULL; /* of one that did not come */
}

void smp_cpu_main(struct cpu *c)
{
    paging_cpu_init();
    cpu_tables_load(c);
    idt_cpu_init();
    apic_cpu_init();
    fpu_cpu_init();
    health_cpu_init();
    c->apic_id = apic_id();
    c->mark = tsc_read();
    host_cpu_online(c);
    __atomic_store_n(&c->online, true, __ATOMIC_RELEASE);
    health_start();
    sched_run();
}
