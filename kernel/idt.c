/* Exceptions and interrupts.  In ring 3 anything may come; in the kernel interrupts come in idle
 * only, and an exception is our bug unless a fix-up names its instruction. */
#include "kernel/idt.h"

#include "kernel/control.h"
#include "kernel/cpu_tables.h"
#include "kernel/fpu.h"
#include "kernel/health.h"
#include "kernel/irq.h"
#include "kernel/panic.h"
#include "kernel/syscall.h"
#include "kernel/timer.h"
#include "kernel/x86.h"

#define VECTOR_EXCEPTIONS 32

struct gate { /* SDM 3A figure 7-8 */
    u16 offset0, selector;
    u8 ist, type;
    u16 offset1;
    u32 offset2, reserved;
};
#define GATE_INTERRUPT 0x8e /* present, DPL 0 */
#define GATE_DPL3 0x60
#define STUB_SIZE 16 /* vectors.S */

static struct gate idt[256] __attribute__((aligned(4096)));

extern const u8 vectors_stubs[];
extern const struct {
    u64 from, to;
} image_fixups_start[], image_fixups_end[];

static void load(void)
{
    struct {
        u16 limit;
        u64 base;
    } __attribute__((packed)) idtr = {sizeof(idt) - 1, (u64)idt};
    asm volatile("lidt %0" : : "m"(idtr));
}

void idt_early(void)
{
    for (unsigned v = 0; v < ARRAY_LEN(idt); v++) {
        bool call = v == SYSCALL_VECTOR;
        u64 stub = call ? (u64)syscall_entry : (u64)vectors_stubs + v * STUB_SIZE;
        idt[v] = (struct gate){
            .offset0 = (u16)stub,
            .offset1 = (u16)(stub >> 16),
            .offset2 = (u32)(stub >> 32),
            .selector = SEL_KERNEL_CODE,
            .type = GATE_INTERRUPT | (call ? GATE_DPL3 : 0),
        };
    }
    load();
}

void idt_cpu_init(void)
{
    idt[VECTOR_NMI].ist = CPU_IST_NMI;
    idt[VECTOR_DF].ist = CPU_IST_DOUBLE_FAULT;
    idt[VECTOR_MC].ist = CPU_IST_MACHINE_CHECK;
    load();
}

static bool fix_up(struct user_frame *f)
{
    for (unsigned i = 0; &image_fixups_start[i] < image_fixups_end; i++)
        if (image_fixups_start[i].from == f->rip) {
            f->rip = image_fixups_start[i].to;
            return true;
        }
    return false;
}

static void user_fault(struct user_frame *f)
{
    struct cpu *c = this_cpu();

    if (f->vector == VECTOR_NM) { /* its first use of the FPU here: see fpu.h */
        fpu_load_user(control.xsave);
        return;
    }
    if (f->vector == VECTOR_GP && c->tss_stale) {
        c->tss_stale = false;
        cpu_tables_reload_tss();
        return; /* try again */
    }
    control_fault();
}

void idt_handle(struct user_frame *f)
{
    bool from_user = f->cs & 3;

    if (f->vector >= VECTOR_EXCEPTIONS) {
        irq_dispatch((u32)f->vector);
        if (from_user)
            timer_arm_hardware();
        return;
    }
    if (f->vector == VECTOR_NMI)
        health_nmi(f);
    else if (f->vector == VECTOR_MC)
        health_machine_check(f);
    else if (from_user && f->vector != VECTOR_DF)
        user_fault(f);
    else if (f->vector == VECTOR_DF || !fix_up(f))
        panic_at(f, "#%.2s in the kernel, error code %lx", &FAULT_NAMES[2 * f->vector], f->error);
}
