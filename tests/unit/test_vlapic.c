/* links: kernel/vlapic.c kernel/vlapic_route.c kernel/vlapic_timer.c tests/unit/fakes.c */
/* The virtual local APIC: priorities, EOI, routing, timer modes, MSR and MMIO access rules. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "kernel/vlapic_route.h"
#include "kernel/vlapic_timer.h"
#include "kernel/x86.h"
#include "tests/unit/fakes.h"

#define CPUS 4

u64 tsc_hz = 1000000000;
static struct vm vm;
static struct vcpu vcpus[CPUS];
static struct vcpu_page pages[CPUS];
static struct timer *armed;

/* What the model asks of the rest of the kernel. */
void vcpu_request(struct vcpu *v, u32 request)
{
    v->requests |= request;
}

void timer_set(struct timer *t, u64 deadline)
{
    t->deadline = deadline;
    t->armed = true;
    armed = t;
}

void timer_cancel(struct timer *t)
{
    t->armed = false;
    armed = NULL;
}

static struct vlapic *apic(u32 i)
{
    return vcpus[i].lapic;
}

static void enable(u32 i, bool x2apic)
{
    u64 base = apic(i)->base;

    if (x2apic)
        assert_false(vlapic_msr_write(&vcpus[i], MSR_APIC_BASE, base | APIC_BASE_EXTD) & VLAPIC_GP);
    vlapic_write(&vcpus[i], APIC_SVR, 0x1ff);
}

static int setup(void **state)
{
    static struct quota quota;

    (void)state;
    fakes_mem_reset();
    memset(&vm, 0, sizeof(vm));
    memset(vcpus, 0, sizeof(vcpus));
    quota = (struct quota){.limit = ~0ull};
    vm.quota = quota;
    armed = NULL;
    for (u32 i = 0; i < CPUS; i++) {
        vcpus[i].vm = &vm;
        vcpus[i].index = i;
        vcpus[i].page = &pages[i];
        vm.vcpus[i] = &vcpus[i];
        vm.vcpu_count++;
        assert_int_equal(vlapic_init(&vcpus[i], false), HV_OK);
        vlapic_reset(&vcpus[i], false);
        enable(i, false);
        vlapic_merge(&vcpus[i]);
    }
    return 0;
}

static int teardown(void **state)
{
    (void)state;
    for (u32 i = 0; i < CPUS; i++)
        vlapic_fini(&vcpus[i]);
    assert_int_equal(fakes_mem_live(), 0);
    return 0;
}

static void priorities(void **state)
{
    struct vcpu *v = &vcpus[0];

    (void)state;
    assert_int_equal(vlapic_pending(v), -1);
    vlapic_post(v, 0x41, false);
    vlapic_post(v, 0x52, false);
    assert_true(v->requests & REQUEST_EVENT);
    assert_int_equal(vlapic_pending(v), -1); /* not merged yet */
    vlapic_merge(v);
    assert_int_equal(vlapic_pending(v), 0x52);
    vlapic_ack(v, 0x52);
    assert_int_equal(vlapic_pending(v), -1); /* 0x41 waits below the one in service */
    assert_int_equal(vlapic_read(v, APIC_PPR), 0x50);
    vlapic_post(v, 0x61, false);
    vlapic_merge(v);
    assert_int_equal(vlapic_pending(v), 0x61);
    assert_int_equal(vlapic_eoi(v), VLAPIC_EVENTS);
    vlapic_ack(v, 0x61);
    vlapic_eoi(v);
    vlapic_set_tpr(v, 4);
    assert_int_equal(vlapic_pending(v), -1); /* class 4 is masked by TPR 40H */
    vlapic_set_tpr(v, 3);
    assert_int_equal(vlapic_pending(v), 0x41);
    assert_int_equal(vlapic_tpr(v), 3);
}

static void level_triggered_eoi_is_told(void **state)
{
    struct vcpu *v = &vcpus[0];

    (void)state;
    vlapic_post(v, 0x33, true);
    vlapic_merge(v);
    assert_true(apic(0)->tmr_changed);
    assert_int_equal(vlapic_reg(apic(0), APIC_TMR + 0x10), 1u << 0x13);
    vlapic_ack(v, 0x33);
    assert_int_equal(vlapic_eoi(v), VLAPIC_EVENTS | VLAPIC_EOI);
    assert_int_equal(apic(0)->eoi_vector, 0x33);
    /* The same vector by an edge: no message. */
    vlapic_post(v, 0x33, false);
    vlapic_merge(v);
    vlapic_ack(v, 0x33);
    assert_int_equal(vlapic_eoi(v), VLAPIC_EVENTS);
    assert_int_equal(vlapic_eoi(v), 0); /* nothing in service */
}

static u32 who_got(u32 vector)
{
    u32 mask = 0;

    for (u32 i = 0; i < CPUS; i++) {
        vlapic_merge(&vcpus[i]);
        if (vlapic_highest_irr(apic(i)) == (int)vector) {
            mask |= 1u << i;
            vlapic_ack(&vcpus[i], vector);
            vlapic_eoi(&vcpus[i]);
        }
    }
    return mask;
}

static u32 send_x2(u32 from, u64 icr)
{
    assert_false(vlapic_msr_write(&vcpus[from], 0x830, icr) & VLAPIC_GP);
    return who_got(icr & 0xff);
}

static u32 send_x(u32 from, u32 high, u32 low)
{
    vlapic_write(&vcpus[from], APIC_ICR_HIGH, high);
    vlapic_write(&vcpus[from], APIC_ICR, low);
    return who_got(low & 0xff);
}

static void xapic_destinations(void **state)
{
    (void)state;
    assert_int_equal(send_x(0, 2u << 24, 0x40), 4);       /* physical */
    assert_int_equal(send_x(1, 0xffu << 24, 0x40), 0xf);  /* physical broadcast */
    assert_int_equal(send_x(1, 0, 0x40 | 1u << 18), 2);   /* self */
    assert_int_equal(send_x(1, 0, 0x40 | 2u << 18), 0xf); /* all */
    assert_int_equal(send_x(1, 0, 0x40 | 3u << 18), 0xd); /* others */
    for (u32 i = 0; i < CPUS; i++)
        vlapic_write(&vcpus[i], APIC_LDR, 1u << (24 + i)); /* flat */
    assert_int_equal(send_x(0, 0x0au << 24, 0x40 | 1u << 11), 0xa);
    /* Lowest priority: one of them, the least busy. */
    vlapic_set_tpr(&vcpus[1], 3);
    vlapic_read(&vcpus[1], APIC_PPR);
    assert_int_equal(send_x(0, 0x0au << 24, 0x40 | 1u << 11 | 1u << 8), 8);
    for (u32 i = 0; i < CPUS; i++) {
        vlapic_write(&vcpus[i], APIC_DFR, 0); /* cluster */
        vlapic_write(&vcpus[i], APIC_LDR, (i / 2) << 28 | 1u << (24 + i % 2));
    }
    assert_int_equal(send_x(0, 0x12u << 24, 0x40 | 1u << 11), 8);
}

static void x2apic_destinations(void **state)
{
    (void)state;
    for (u32 i = 0; i < CPUS; i++)
        enable(i, true);
    assert_int_equal(vlapic_reg(apic(3), APIC_LDR), 8);
    assert_int_equal(send_x2(0, 3ull << 32 | 0x70), 8);
    assert_int_equal(send_x2(0, 0xffffffffull << 32 | 0x70), 0xf);
    assert_int_equal(send_x2(0, 5ull << 32 | 0x70 | 1u << 11), 5);       /* logical 0 and 2 */
    assert_int_equal(send_x2(0, 0x10001ull << 32 | 0x70 | 1u << 11), 0); /* another cluster */
    assert_int_equal(vlapic_msr_write(&vcpus[2], 0x83f, 0x71), VLAPIC_EVENTS);
    assert_int_equal(who_got(0x71), 4);
}

static void other_delivery_modes(void **state)
{
    (void)state;
    for (u32 i = 0; i < CPUS; i++)
        vcpus[i].requests = 0;
    send_x(0, 1u << 24, 4u << 8 | 0x99); /* NMI: the vector says nothing */
    assert_int_equal(vcpus[1].requests, REQUEST_NMI);
    send_x(0, 2u << 24, 5u << 8 | 1u << 14);
    assert_int_equal(vcpus[2].requests, REQUEST_INIT);
    send_x(0, 2u << 24, 6u << 8 | 0x9a);
    assert_int_equal(vcpus[2].requests, REQUEST_INIT | REQUEST_SIPI);
    assert_int_equal(vcpus[2].sipi_vector, 0x9a);
    send_x(0, 3u << 24, 5u << 8 | 1u << 15); /* INIT level de-assert */
    assert_int_equal(vcpus[3].requests, 0);
    send_x(0, 3u << 24, 0x0f); /* an illegal vector is an error of the sender */
    vlapic_write(&vcpus[0], APIC_ESR, 0);
    assert_int_equal(vlapic_read(&vcpus[0], APIC_ESR), 0x20);
}

static void messages(void **state)
{
    (void)state;
    assert_int_equal(vlapic_msi(&vm, 0xfee02000, 0x45), HV_OK);
    assert_int_equal(who_got(0x45), 4);
    assert_int_equal(vlapic_msi(&vm, 0xfeeff000, 0x45), HV_OK);
    assert_int_equal(who_got(0x45), 0xf);
    assert_int_equal(vlapic_msi(&vm, 0xfee01000, 0xc045), HV_OK); /* level */
    vlapic_merge(&vcpus[1]);
    vlapic_ack(&vcpus[1], 0x45);
    assert_true(vlapic_eoi(&vcpus[1]) & VLAPIC_EOI);
    assert_int_equal(vlapic_msi(&vm, 0xfed00000, 0x45), HV_EINVAL);
    assert_int_equal(vlapic_msi(&vm, 0x1fee00000, 0x45), HV_EINVAL);
}

static void a_disabled_apic_takes_nothing(void **state)
{
    struct vcpu *v = &vcpus[0];

    (void)state;
    vlapic_write(v, APIC_LVT_TIMER, 0x50);
    vlapic_write(v, APIC_SVR, 0xff);
    assert_true(vlapic_read(v, APIC_LVT_TIMER) & APIC_LVT_MASKED);
    vlapic_write(v, APIC_LVT_TIMER, 0x50); /* cannot be unmasked */
    assert_true(vlapic_read(v, APIC_LVT_TIMER) & APIC_LVT_MASKED);
    vlapic_post(v, 0x60, false);
    vlapic_merge(v);
    assert_int_equal(vlapic_pending(v), -1);
}

static void fire(void)
{
    assert_non_null(armed);
    struct timer *t = armed;
    t->armed = false;
    armed = NULL;
    t->fire(t);
}

static void one_shot_and_periodic(void **state)
{
    struct vcpu *v = &vcpus[0];

    (void)state;
    vlapic_write(v, APIC_LVT_TIMER, 0x50);
    vlapic_write(v, APIC_TIMER_DIVIDE, 3); /* by 16 */
    u64 before = tsc_read();
    vlapic_write(v, APIC_TIMER_INITIAL, 1u << 30);
    assert_null(armed); /* only on the home core */
    vlapic_merge(v);
    assert_non_null(armed);
    assert_in_range(armed->deadline, before + (1ull << 34), before + (1ull << 34) + (1ull << 32));
    assert_in_range(vlapic_read(v, APIC_TIMER_CURRENT), (1u << 30) - (1u << 28), 1u << 30);
    fire();
    assert_null(armed);
    assert_int_equal(vlapic_read(v, APIC_TIMER_CURRENT), 0);
    assert_int_equal(who_got(0x50), 1);

    vlapic_write(v, APIC_LVT_TIMER, 0x51 | 1u << 17);
    vlapic_write(v, APIC_TIMER_INITIAL, 1); /* far too fast: held to the limit */
    vlapic_merge(v);
    assert_int_equal(apic(0)->timer_period, tsc_hz / VLAPIC_TIMER_MAX_HZ);
    fire();
    assert_non_null(armed);
    assert_int_equal(who_got(0x51), 1);
    vlapic_write(v, APIC_TIMER_INITIAL, 0);
    vlapic_merge(v);
    assert_null(armed);
}

static void tsc_deadline(void **state)
{
    struct vcpu *v = &vcpus[0];
    u64 value = 0;

    (void)state;
    enable(0, true);
    v->msrs.tsc_offset = -1000ull;
    vlapic_msr_write(v, MSR_TSC_DEADLINE, 5000); /* not in that mode: ignored */
    vlapic_merge(v);
    assert_null(armed);
    vlapic_msr_write(v, 0x832, 0x60 | 2u << 17);
    vlapic_msr_write(v, MSR_TSC_DEADLINE, 5000);
    vlapic_merge(v);
    assert_non_null(armed);
    assert_int_equal(armed->deadline, 6000);
    v->msrs.tsc_offset = -2000ull;
    vlapic_deadline_moved(v);
    vlapic_merge(v);
    assert_int_equal(armed->deadline, 7000);
    assert_int_equal(vlapic_msr_read(v, MSR_TSC_DEADLINE, &value), 0);
    assert_int_equal(value, 5000);
    fire();
    assert_int_equal(vlapic_msr_read(v, MSR_TSC_DEADLINE, &value), 0);
    assert_int_equal(value, 0);
    assert_int_equal(who_got(0x60), 1);
    vlapic_msr_write(v, MSR_TSC_DEADLINE, 5000);
    vlapic_msr_write(v, 0x832, 0x60); /* leaving the mode disarms */
    vlapic_merge(v);
    assert_null(armed);
}

static void base_transitions(void **state)
{
    struct vcpu *v = &vcpus[0];
    u64 base = VLAPIC_BASE_DEFAULT | APIC_BASE_BSP;

    (void)state;
    assert_int_equal(vlapic_mode(v->lapic), VLAPIC_XAPIC);
    assert_true(vlapic_msr_write(v, MSR_APIC_BASE, base | APIC_BASE_EXTD) & VLAPIC_GP);
    assert_true(vlapic_msr_write(v, MSR_APIC_BASE, base + 0x1000) & VLAPIC_GP);
    assert_true(vlapic_msr_write(v, MSR_APIC_BASE, base | 1) & VLAPIC_GP);
    u64 x2 = base | APIC_BASE_ENABLE | APIC_BASE_EXTD;
    assert_true(vlapic_msr_write(v, MSR_APIC_BASE, x2) & VLAPIC_MODE);
    assert_true(vlapic_msr_write(v, MSR_APIC_BASE, base | APIC_BASE_ENABLE) & VLAPIC_GP);
    assert_true(vlapic_msr_write(v, MSR_APIC_BASE, base) & VLAPIC_MODE);
    assert_int_equal(vlapic_mode(v->lapic), VLAPIC_DISABLED);
    assert_true(vlapic_msr_write(v, MSR_APIC_BASE, x2) & VLAPIC_GP);
    assert_true(vlapic_msr_write(v, MSR_APIC_BASE, base | APIC_BASE_ENABLE) & VLAPIC_MODE);
}

static void msr_rules(void **state)
{
    struct vcpu *v = &vcpus[0];
    u64 value = 0;

    (void)state;
    assert_true(vlapic_msr_read(v, 0x802, &value) & VLAPIC_GP); /* xAPIC mode */
    enable(0, true);
    assert_int_equal(vlapic_msr_read(v, 0x802, &value), 0);
    assert_true(vlapic_msr_read(v, 0x80b, &value) & VLAPIC_GP); /* EOI is write-only */
    assert_true(vlapic_msr_write(v, 0x80b, 1) & VLAPIC_GP);     /* and takes only 0 */
    assert_true(vlapic_msr_write(v, 0x802, 1) & VLAPIC_GP);     /* ID is read-only */
    assert_true(vlapic_msr_write(v, 0x808, 0x100) & VLAPIC_GP);
    assert_true(vlapic_msr_write(v, 0x808, 1ull << 32) & VLAPIC_GP);
    assert_true(vlapic_msr_read(v, 0x80e, &value) & VLAPIC_GP); /* no DFR here */
    assert_true(vlapic_msr_read(v, 0x831, &value) & VLAPIC_GP);
    vlapic_msr_write(v, 0x830, 3ull << 32 | 0x4070);
    assert_int_equal(vlapic_msr_read(v, 0x830, &value), 0);
    assert_int_equal(value, 3ull << 32 | 0x4070);
    for (u32 msr = 0x800; msr < 0x900; msr++) { /* nothing else answers */
        vlapic_msr_read(v, msr, &value);
        if (msr >= 0x840)
            assert_true(vlapic_msr_read(v, msr, &value) & VLAPIC_GP);
    }
}

static void the_pic_line(void **state)
{
    struct vcpu *v = &vcpus[0];

    (void)state;
    assert_false(vlapic_extint(v));
    vlapic_write(v, APIC_LVT_LINT0, 0x700);
    v->requests = 0;
    vlapic_lint0(v, true);
    assert_true(v->requests & REQUEST_EVENT);
    assert_true(vlapic_extint(v));
    vlapic_write(v, APIC_LVT_LINT0, 0x10700);
    assert_false(vlapic_extint(v));
    vlapic_lint0(v, false);
    vlapic_write(v, APIC_LVT_LINT0, 0x44); /* fixed: an edge is one interrupt */
    vlapic_lint0(v, true);
    vlapic_lint0(v, true);
    assert_int_equal(who_got(0x44), 1);
    assert_int_equal(who_got(0x44), 0);
}

static void decoded_mmio(void **state)
{
    struct vcpu *v = &vcpus[1];
    u32 value = 0;

    (void)state;
    assert_int_equal(vlapic_access(v, APIC_ID, false, &value), HV_OK);
    assert_int_equal(value, 1u << 24);
    assert_int_equal(vlapic_access(v, 0x400, false, &value), HV_EINVAL);
    assert_int_equal(vlapic_access(v, 0x21, false, &value), HV_EINVAL);
    vlapic_post(v, 0x38, true);
    vlapic_merge(v);
    vlapic_ack(v, 0x38);
    value = 0;
    assert_int_equal(vlapic_access(v, APIC_EOI, true, &value), HV_OK);
    assert_int_equal(value, VCPU_APIC_EOI_LEVEL | 0x38);
}

/* Anything a guest may write, in any order. */
static void random_writes(void **state)
{
    u64 value;

    (void)state;
    srand(7);
    for (int i = 0; i < 100000; i++) {
        struct vcpu *v = &vcpus[rand() % CPUS];
        u32 word = (u32)rand() << 16 ^ (u32)rand();
        switch (rand() % 4) {
        case 0:
            vlapic_write(v, (u32)(rand() % 64) * 16, word);
            break;
        case 1:
            vlapic_msr_write(v, 0x800 + (u32)rand() % 0x100, word);
            break;
        case 2:
            vlapic_msr_read(v, 0x800 + (u32)rand() % 0x100, &value);
            break;
        default:
            vlapic_merge(v);
            int vector = vlapic_pending(v);
            if (vector >= 0)
                vlapic_ack(v, (u32)vector);
        }
        assert_true(vlapic_highest_irr(v->lapic) < 256);
    }
}

#define CASE(fn) cmocka_unit_test_setup_teardown(fn, setup, teardown)
int main(void)
{
    const struct CMUnitTest tests[] = {
        CASE(priorities),
        CASE(level_triggered_eoi_is_told),
        CASE(xapic_destinations),
        CASE(x2apic_destinations),
        CASE(other_delivery_modes),
        CASE(messages),
        CASE(a_disabled_apic_takes_nothing),
        CASE(one_shot_and_periodic),
        CASE(tsc_deadline),
        CASE(base_transitions),
        CASE(msr_rules),
        CASE(the_pic_line),
        CASE(decoded_mmio),
        CASE(random_writes),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
