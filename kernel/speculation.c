/* Speculation controls before an entry, and the patching that makes CPUs without them pay nothing.
 * The exit side is in speculation_exit.S.  SDM 4 table 2-2; SDM 3C 24.10 on what needs them. */
#include "kernel/speculation.h"

#include "kernel/cpu_tables.h"
#include "kernel/host.h"
#include "kernel/irq.h"
#include "kernel/paging.h"
#include "kernel/string.h"
#include "kernel/vmx.h"
#include "kernel/x86.h"

#define MSR_FLUSH_CMD 0x10bu
#define IBRS BIT(0)
#define STIBP BIT(1)
#define SSBD BIT(2)
/* CPUID 7.0 EDX. */
#define CPUID_STIBP BIT(27)
#define CPUID_SSBD BIT(31)

u32 speculation_used = SPECULATION_RETPOLINE;
u64 speculation_guest_ctrl;
u32 speculation_host_ctrl; /* IA32_SPEC_CTRL of the host; for speculation_exit.S */

void speculation_exit_guarded(void);
extern u8 vmx_guard_fast[], vmx_guard_slow[]; /* five bytes of NOP each */
extern u8 branches_indirect[];                /* 16 thunks of 32 bytes */

/* CALL speculation_enter, or a NOP of the same length. */
static void patch(u8 *site, bool call)
{
    static const u8 nop[5] = {0x0f, 0x1f, 0x44, 0x00, 0x00};
    u32 distance = (u32)((u64)speculation_enter - (u64)(site + sizeof(nop)));
    u8 code[5] = {0xe8};

    memcpy(code + 1, &distance, sizeof(distance));
    paging_patch(site, call ? code : nop, sizeof(code));
}

/* Puts speculation_used into the code. */
static void patch_all(void)
{
    bool guarded = speculation_used & ~(u32)(SPECULATION_RSB | SPECULATION_RETPOLINE);
    const u8 retpoline[3] = {0xe8, 7, 0}; /* as built: the head of a CALL */

    patch(vmx_guard_fast, guarded);
    patch(vmx_guard_slow, guarded);
    for (u8 r = 0; r < 16; r++) {
        const u8 plain[3] = {0x40 | r >> 3, 0xff, 0xe0 | (r & 7)}; /* JMP *register */
        paging_patch(branches_indirect + 32 * r,
                     speculation_used & SPECULATION_RETPOLINE ? retpoline : plain, sizeof(plain));
    }
}

/* On every CPU but the caller's, which waits for them: the last to come patches while the others
 * stand here, so none is near those places.  Each serialises by IRET before it goes on. */
static void gather(void *arg)
{
    volatile u32 *missing = arg;

    if (__atomic_sub_fetch(missing, 1, __ATOMIC_SEQ_CST) == 1) {
        patch_all();
        *missing = 0;
    }
    while (*missing)
        cpu_relax();
}

i64 speculation_set(const u64 args[6])
{
    u64 wanted = args[0];
    u32 edx = cpuid(0, 0).eax >= 7 ? cpuid(7, 0).edx : 0;

    if (wanted == speculation_used)
        return HV_OK;
    if (wanted & ~host_info->speculation)
        return HV_EINVAL;
    for (u32 i = 0; i < VM_SLOTS; i++)
        if (vms[i])
            return HV_EBUSY;
    speculation_used = (u32)wanted;
    speculation_host_ctrl = wanted & SPECULATION_IBRS ? (u32)IBRS : 0;
    speculation_guest_ctrl =
        !(wanted & SPECULATION_GUEST_CTRL)
            ? 0
            : IBRS | (edx & CPUID_STIBP ? STIBP : 0) | (edx & CPUID_SSBD ? SSBD : 0);
    u32 missing = cpu_count;
    if (cpu_count == 1)
        patch_all();
    else
        cpu_call_others(gather, &missing);
    return HV_OK;
}

u64 speculation_exit_entry(void)
{
    u32 guarded = SPECULATION_GUEST_CTRL | SPECULATION_IBRS | SPECULATION_RSB;
    return (u64)(speculation_used & guarded ? speculation_exit_guarded : vmx_exit_entry);
}

void speculation_enter(void)
{
    static const u16 selector = SEL_KERNEL_DATA;
    struct cpu *c = this_cpu();
    const struct vcpu *v = c->running;

    if ((speculation_used & SPECULATION_IBPB) && c->entered_vm != v->vm->slot + 1) {
        c->entered_vm = v->vm->slot + 1;
        wrmsr(MSR_PRED_CMD, 1);
    }
    if (speculation_used & (SPECULATION_GUEST_CTRL | SPECULATION_IBRS))
        wrmsr(MSR_SPEC_CTRL, v->msrs.spec_ctrl);
    if (speculation_used & SPECULATION_L1D)
        wrmsr(MSR_FLUSH_CMD, 1);
    if (speculation_used & SPECULATION_VERW) /* the memory form clears: SDM 3C 24.10 */
        asm volatile("verw %0" : : "m"(selector) : "cc");
}
