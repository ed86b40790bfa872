/* Saves and loads x87, SSE and AVX registers; see fpu.h for when.  Own core. */
#include "kernel/fpu.h"

#include "kernel/string.h"
#include "kernel/x86.h"

#define XCR0_X87 BIT(0)
#define XCR0_SSE BIT(1)
#define XCR0_AVX BIT(2)
#define XCR0_AVX512 BITS(7, 5)
#define XCR0_PKRU BIT(9)
#define FXSAVE_BYTES 512u
#define XSAVE_HEADER_BYTES 64u
#define MXCSR_DEFAULT 0x1f80u
#define FCW_DEFAULT 0x37fu /* as FNINIT leaves it; reset leaves 0x40, which no software expects */

u64 fpu_xcr0_host;

/* Largest of the components with which an area still fits. */
static u64 components(void)
{
    struct cpuid_regs d = cpuid(0xd, 0);
    u64 offered = (u64)d.edx << 32 | d.eax;
    u64 use = offered & (XCR0_X87 | XCR0_SSE | XCR0_AVX);

    if ((offered & XCR0_AVX512) == XCR0_AVX512 && (use & XCR0_AVX))
        use |= XCR0_AVX512;
    use |= offered & XCR0_PKRU;
    return fpu_area_bytes(use) <= FPU_AREA_SIZE ? use : use & (XCR0_X87 | XCR0_SSE | XCR0_AVX);
}

u32 fpu_area_bytes(u64 xcr0)
{
    u32 end = FXSAVE_BYTES + XSAVE_HEADER_BYTES;

    for (u32 i = 2; i < 64; i++) {
        struct cpuid_regs c = xcr0 & BIT(i) ? cpuid(0xd, i) : (struct cpuid_regs){0};
        end = MAX(end, c.eax + c.ebx); /* size, offset */
    }
    return end;
}

void fpu_cpu_init(void)
{
    bool xsave = cpuid(1, 0).ecx & BIT(26);

    write_cr0((read_cr0() | CR0_MP | CR0_NE | CR0_TS) & ~CR0_EM);
    write_cr4(read_cr4() | CR4_OSFXSR | CR4_OSXMMEXCPT | (xsave ? CR4_OSXSAVE : 0));
    if (!xsave)
        return;
    if (!fpu_xcr0_host)
        fpu_xcr0_host = components();
    xsetbv(0, XCR0_X87);
    this_cpu()->xcr0 = XCR0_X87;
}

void fpu_area_init(void *area)
{
    u16 fcw = FCW_DEFAULT;
    u32 mxcsr = MXCSR_DEFAULT;
    u64 xstate_bv = XCR0_X87 | XCR0_SSE;

    memset(area, 0, FXSAVE_BYTES + XSAVE_HEADER_BYTES);
    memcpy(area, &fcw, sizeof(fcw));
    memcpy((u8 *)area + 24, &mxcsr, sizeof(mxcsr));
    memcpy((u8 *)area + FXSAVE_BYTES, &xstate_bv, sizeof(xstate_bv));
}

/* XCR0 costs an exit where Bulkhead runs nested: only written when it differs. */
static void need_xcr0(u64 value)
{
    struct cpu *c = this_cpu();

    if (c->xcr0 == value)
        return;
    c->xcr0 = value;
    xsetbv(0, value);
}

static void save(const struct cpu *c)
{
    if (!c->fpu_vcpu || !fpu_xcr0_host) {
        asm volatile("fxsave64 (%0)" : : "r"(c->fpu_owner) : "memory");
        return;
    }
    /* A component the guest switched off in XCR0 still holds its registers. */
    need_xcr0(c->fpu_vcpu->xcr0_ever);
    asm volatile("xsave64 (%0)" : : "r"(c->fpu_owner), "a"(~0u), "d"(~0u) : "memory");
}

/* Leaves CR0.TS clear. */
static void evict(void)
{
    struct cpu *c = this_cpu();

    asm volatile("clts" : : : "memory");
    if (c->fpu_owner)
        save(c);
    c->fpu_owner = NULL;
    c->fpu_vcpu = NULL;
}

void fpu_load_vcpu(struct vcpu *v)
{
    struct cpu *c = this_cpu();

    if (c->fpu_owner == v->xsave)
        return;
    evict();
    c->fpu_owner = v->xsave;
    c->fpu_vcpu = v;
    if (!fpu_xcr0_host) {
        asm volatile("fxrstor64 (%0)" : : "r"(v->xsave));
    } else {
        need_xcr0(v->xcr0_ever);
        asm volatile("xrstor64 (%0)" : : "r"(v->xsave), "a"(~0u), "d"(~0u));
        need_xcr0(v->xcr0);
    }
    write_cr0(read_cr0() | CR0_TS);
}

void fpu_load_user(void *area)
{
    evict();
    this_cpu()->fpu_owner = area;
    asm volatile("fxrstor64 (%0)" : : "r"(area));
}

void fpu_release(void *area)
{
    if (this_cpu()->fpu_owner != area)
        return;
    evict();
    write_cr0(read_cr0() | CR0_TS);
}

void fpu_set_xcr0(struct vcpu *v, u64 value)
{
    v->xcr0 = value;
    v->xcr0_ever |= value;
    need_xcr0(value);
}
