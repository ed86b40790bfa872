/* links: kernel/svm_event.c kernel/svm_fetch.c kernel/vlapic.c kernel/vlapic_route.c kernel/vlapic_timer.c kernel/pgtab.c tests/unit/fakes.c */
/* AMD-V: interrupts that the guest takes without an exit; EOI without one: when the guest is
 * offered one, what its answer does, and words that are not there, may not be written, or change
 * under the kernel. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>

#include <cmocka.h>

#include "kernel/abi/x86_bits.h"
#include "kernel/irq.h"
#include "kernel/svm_event.h"
#include "kernel/vlapic.h"
#include "tests/unit/fakes.h"

#define WORD_AT 0x3ffcull /* the last of its page */
#define ROM_AT 0x4000ull
#define HOLE_AT 0x5000ull
#define LOW 0x41
#define HIGH 0x62

u64 tsc_hz = 1000000000;
struct svm_caps svm_caps;
static struct vm vm;
static struct vcpu vcpu;
static struct vcpu_page page;
static struct svm_vcpu vendor;
static struct vmcb vmcb;
static struct quota quota;
static u32 *ram;

/* What the model asks of the rest of the kernel. */
void vcpu_request(struct vcpu *v, u32 request)
{
    v->requests |= request;
}

void timer_set(struct timer *t, u64 deadline)
{
    t->deadline = deadline;
}

void timer_cancel(struct timer *t)
{
    t->armed = false;
}

void irq_kick(u32 cpu)
{
    fail_msg("CPU %u is kicked", cpu);
}

static u32 *word_at(u64 gpa)
{
    return (u32 *)((u8 *)ram + gpa);
}

static int setup(void **state)
{
    (void)state;
    fakes_mem_reset();
    memset(&vm, 0, sizeof(vm));
    memset(&vcpu, 0, sizeof(vcpu));
    quota = (struct quota){.limit = ~0ull};
    vm.quota.limit = ~0ull;
    vm.vcpus[0] = &vcpu;
    vm.vcpu_count = 1;
    vcpu.vm = &vm;
    vcpu.page = &page;
    vcpu.vendor = &vendor;
    assert_int_equal(pgtab_init(&vm.npt, &pgtab_npt, &quota, true, true), HV_OK);
    hpa_t at = mem_alloc(&quota, PAGE_2M);
    ram = phys_to_virt(at);
    memset(ram, 0, 6 * PAGE_SIZE);
    assert_int_equal(pgtab_map(&vm.npt, 0, at.raw, ROM_AT, PG_R | PG_W | PG_X), HV_OK);
    assert_int_equal(pgtab_map(&vm.npt, ROM_AT, at.raw + ROM_AT, PAGE_SIZE, PG_R | PG_X), HV_OK);
    assert_int_equal(vlapic_init(&vcpu, false), HV_OK);
    vlapic_reset(&vcpu, false);
    vlapic_write(&vcpu, APIC_SVR, 0x1ff);
    vlapic_merge(&vcpu);
    vcpu.msrs.pv_eoi = WORD_AT | 1;
    vmcb = (struct vmcb){.rflags = BIT(9)};
    vendor = (struct svm_vcpu){.vmcb = &vmcb, .posted = -1};
    page.stats.injected = 0;
    return 0;
}

static int teardown(void **state)
{
    (void)state;
    vlapic_fini(&vcpu);
    mem_free(&quota, virt_to_phys(ram), PAGE_2M);
    pgtab_fini(&vm.npt);
    assert_int_equal(fakes_mem_live(), 0);
    return 0;
}

static void arrive(u32 vector, bool level)
{
    vlapic_post(&vcpu, vector, level);
    vlapic_merge(&vcpu);
}

static void serve(u32 vector)
{
    arrive(vector, false);
    vlapic_ack(&vcpu, vector);
}

static void the_guest_answers(void **state)
{
    (void)state;
    assert_null(svm_offer_eoi(&vcpu)); /* nothing is in service */
    *word_at(WORD_AT) = 0xabcdef00;
    serve(LOW);
    u32 *word = svm_offer_eoi(&vcpu);
    assert_ptr_equal(word, word_at(WORD_AT));
    assert_int_equal(*word, 0xabcdef01); /* the guest's other bits are its own */
    *word &= ~1u;
    svm_take_eoi(&vcpu, word);
    assert_int_equal(vlapic_highest_isr(vcpu.lapic), -1);
    assert_int_equal(vlapic_read(&vcpu, APIC_PPR), 0);
    assert_int_equal(*word, 0xabcdef00);
}

/* An exit in the middle of its handler: the real EOI works as ever, and the offer comes again. */
static void the_guest_does_not_answer(void **state)
{
    (void)state;
    serve(LOW);
    for (int i = 0; i < 3; i++) {
        u32 *word = svm_offer_eoi(&vcpu);
        assert_int_equal(*word, 1);
        svm_take_eoi(&vcpu, word);
        assert_int_equal(*word, 0);
        assert_int_equal(vlapic_highest_isr(vcpu.lapic), LOW);
    }
    assert_int_equal(vlapic_write(&vcpu, APIC_EOI, 0), VLAPIC_EVENTS);
    assert_null(svm_offer_eoi(&vcpu));
}

static void not_while_one_waits(void **state)
{
    (void)state;
    serve(HIGH);
    arrive(LOW, false);
    assert_null(svm_offer_eoi(&vcpu));
    assert_int_equal(vlapic_eoi(&vcpu), VLAPIC_EVENTS);
    assert_int_equal(vlapic_pending(&vcpu), LOW);
}

static void not_of_a_level(void **state)
{
    (void)state;
    arrive(LOW, true);
    vlapic_ack(&vcpu, LOW);
    assert_null(svm_offer_eoi(&vcpu));
    assert_int_equal(vlapic_eoi(&vcpu), VLAPIC_EVENTS | VLAPIC_EOI);
}

/* One answer ends one of two, and that is the one whose handler runs. */
static void nested(void **state)
{
    (void)state;
    serve(LOW);
    serve(HIGH);
    u32 *word = svm_offer_eoi(&vcpu);
    *word = 0;
    svm_take_eoi(&vcpu, word);
    assert_int_equal(vlapic_highest_isr(vcpu.lapic), LOW);
    assert_int_equal(vlapic_read(&vcpu, APIC_PPR), LOW & 0xf0);
    word = svm_offer_eoi(&vcpu);
    *word = 0;
    svm_take_eoi(&vcpu, word);
    assert_int_equal(vlapic_highest_isr(vcpu.lapic), -1);
}

static void words_that_cannot_be(void **state)
{
    static const u64 bad[] = {ROM_AT, HOLE_AT, ROM_AT + PAGE_SIZE - 4, 0xfffffffcull,
                              0xfffffffffffcull};

    (void)state;
    serve(LOW);
    for (u32 i = 0; i < ARRAY_LEN(bad); i++) {
        vcpu.msrs.pv_eoi = bad[i] | 1;
        assert_null(svm_offer_eoi(&vcpu));
    }
    for (u64 gpa = ROM_AT; gpa < 6 * PAGE_SIZE; gpa += 4)
        assert_int_equal(*word_at(gpa), 0);
    assert_int_equal(vlapic_highest_isr(vcpu.lapic), LOW);
}

/* The balloon takes the page, which is another one when it comes back. */
static void a_page_that_goes(void **state)
{
    u64 gpa = WORD_AT & ~(PAGE_SIZE - 1);

    (void)state;
    serve(LOW);
    svm_take_eoi(&vcpu, svm_offer_eoi(&vcpu));
    assert_int_equal(pgtab_unmap(&vm.npt, gpa, PAGE_SIZE), HV_OK);
    assert_null(svm_offer_eoi(&vcpu));
    assert_int_equal(
        pgtab_map(&vm.npt, gpa, virt_to_phys(ram).raw + HOLE_AT, PAGE_SIZE, PG_R | PG_W | PG_X),
        HV_OK);
    assert_ptr_equal(svm_offer_eoi(&vcpu), word_at(HOLE_AT + WORD_AT % PAGE_SIZE));
}

static void the_dirty_log_has_it(void **state)
{
    u64 written = 0;

    (void)state;
    assert_int_equal(pgtab_take_written(&vm.npt, 0, ROM_AT, &written), HV_OK);
    written = 0;
    assert_int_equal(pgtab_take_written(&vm.npt, 0, ROM_AT, &written), HV_OK);
    assert_int_equal(written, 0);
    serve(LOW);
    svm_take_eoi(&vcpu, svm_offer_eoi(&vcpu));
    assert_int_equal(pgtab_take_written(&vm.npt, 0, ROM_AT, &written), HV_OK);
    assert_int_equal(written, 1u << WORD_AT / PAGE_SIZE);
}

/* What VMRUN does: takes what waits in int_ctl. */
static void guest_takes(void)
{
    assert_true(vmcb.int_ctl & INT_CTL_IRQ);
    vmcb.int_ctl &= ~INT_CTL_IRQ;
}

static void cut_short(u64 event)
{
    vmcb.event_inj = 0;
    vmcb.exit_int_info = event;
    svm_settle(&vcpu);
    vmcb.exit_int_info = 0;
}

static void post(u32 vector)
{
    arrive(vector, false);
    assert_int_equal(svm_take_events(&vcpu), EVENTS_DELIVER);
    assert_int_equal(FIELD_GET(INT_CTL_VECTOR, vmcb.int_ctl), vector);
    assert_int_equal(FIELD_GET(INT_CTL_PRIORITY, vmcb.int_ctl), vector >> 4);
}

static void taken_without_an_exit(void **state)
{
    (void)state;
    post(LOW);
    assert_false(vmcb.intercept[VMCB_X3] & X3_VINTR);
    assert_int_equal(vlapic_highest_irr(vcpu.lapic), LOW); /* until it is taken */
    svm_settle(&vcpu);
    assert_int_equal(vlapic_highest_irr(vcpu.lapic), LOW);
    guest_takes();
    svm_settle(&vcpu);
    assert_int_equal(vlapic_highest_irr(vcpu.lapic), -1);
    assert_int_equal(vlapic_highest_isr(vcpu.lapic), LOW);
    assert_int_equal(page.stats.injected, 1);
    svm_settle(&vcpu);
    assert_int_equal(page.stats.injected, 1);
    assert_int_equal(svm_take_events(&vcpu), EVENTS_NONE);
    assert_false(vmcb.int_ctl & INT_CTL_IRQ);
}

/* With interrupts off it waits in the VMCB, and a halted vCPU goes on sleeping. */
static void waits_for_the_flag(void **state)
{
    (void)state;
    vmcb.rflags = 0;
    arrive(LOW, false);
    assert_int_equal(svm_take_events(&vcpu), EVENTS_NONE);
    assert_true(vmcb.int_ctl & INT_CTL_IRQ);
    arrive(HIGH, false);
    assert_int_equal(svm_take_events(&vcpu), EVENTS_NONE);
    assert_int_equal(FIELD_GET(INT_CTL_VECTOR, vmcb.int_ctl), HIGH);
    assert_true(vmcb.intercept[VMCB_CR] & VMCB_CR_WRITE(8));
    vlapic_set_tpr(&vcpu, HIGH >> 4);
    svm_take_events(&vcpu);
    assert_false(vmcb.int_ctl & INT_CTL_IRQ);
    vlapic_set_tpr(&vcpu, 0);
    vmcb.rflags = BIT(9);
    post(HIGH);
    guest_takes();
    svm_settle(&vcpu);
    assert_int_equal(svm_take_events(&vcpu), EVENTS_NONE); /* LOW is behind HIGH */
    vlapic_eoi(&vcpu);
    assert_int_equal(svm_take_events(&vcpu), EVENTS_DELIVER);
    assert_int_equal(FIELD_GET(INT_CTL_VECTOR, vmcb.int_ctl), LOW);
}

/* Not before the instruction after STI, which may be HLT: one step first. */
static void not_in_a_shadow(void **state)
{
    (void)state;
    vmcb.int_state = INT_STATE_SHADOW;
    arrive(LOW, false);
    assert_int_equal(svm_take_events(&vcpu), EVENTS_NONE);
    assert_false(vmcb.int_ctl & INT_CTL_IRQ);
    assert_true(vendor.stepping && (vmcb.rflags & BIT(8)));
    vmcb.int_state = 0;
    assert_true(svm_step_done(&vcpu));
    assert_int_equal(svm_take_events(&vcpu), EVENTS_DELIVER);
}

/* Nested page faults on the way: in service, and brought once more.  QEMU 7.2 says "exception", and
 * that it still waits. */
static void delivery_cut_short(void **state)
{
    static const u64 types[] = {EVENT_INTR, EVENT_EXCEPTION};

    (void)state;
    for (u32 i = 0; i < ARRAY_LEN(types); i++) {
        post(LOW);
        if (types[i] == EVENT_INTR)
            guest_takes();
        cut_short(VMCB_EVENT(types[i], LOW));
        assert_int_equal(vlapic_highest_isr(vcpu.lapic), LOW);
        assert_int_equal(vmcb.event_inj, VMCB_EVENT(types[i], LOW));
        assert_true(vcpu.look);
        svm_take_events(&vcpu);
        assert_false(vmcb.int_ctl & INT_CTL_IRQ);
        vmcb.event_inj = 0;
        vlapic_eoi(&vcpu);
    }
    /* An INT n of that number is not it, nor is an exception. */
    post(LOW);
    cut_short(VMCB_EVENT(EVENT_SOFT, LOW));
    assert_int_equal(vmcb.event_inj, 0);
    assert_int_equal(vlapic_highest_irr(vcpu.lapic), LOW);
    cut_short(VMCB_EVENT(EVENT_EXCEPTION, VECTOR_PF));
    assert_int_equal(vlapic_highest_irr(vcpu.lapic), LOW);
    assert_int_equal(vmcb.event_inj, VMCB_EVENT(EVENT_EXCEPTION, VECTOR_PF));
}

/* One that waits is ended in the same run that takes it. */
static void taken_and_ended(void **state)
{
    (void)state;
    post(LOW);
    u32 *word = svm_offer_eoi(&vcpu);
    assert_int_equal(vlapic_highest_irr(vcpu.lapic), LOW);
    guest_takes();
    *word &= ~1u;
    svm_settle(&vcpu);
    svm_take_eoi(&vcpu, word);
    assert_int_equal(vlapic_highest_isr(vcpu.lapic), -1);
    assert_int_equal(vlapic_highest_irr(vcpu.lapic), -1);
}

/* Whose end it is must be clear: not with one in service and one that waits, nor with two. */
static void not_for_either_of_two(void **state)
{
    (void)state;
    serve(LOW);
    post(HIGH);
    assert_null(svm_offer_eoi(&vcpu));
    guest_takes();
    svm_settle(&vcpu);
    vlapic_eoi(&vcpu);
    vlapic_eoi(&vcpu);
    arrive(LOW, false);
    post(HIGH);
    assert_null(svm_offer_eoi(&vcpu));
    assert_int_equal(vlapic_highest_irr(vcpu.lapic), HIGH);
}

#define CASE(fn) cmocka_unit_test_setup_teardown(fn, setup, teardown)
int main(void)
{
    const struct CMUnitTest tests[] = {
        CASE(the_guest_answers),
        CASE(the_guest_does_not_answer),
        CASE(not_while_one_waits),
        CASE(not_of_a_level),
        CASE(nested),
        CASE(words_that_cannot_be),
        CASE(a_page_that_goes),
        CASE(the_dirty_log_has_it),
        CASE(taken_without_an_exit),
        CASE(waits_for_the_flag),
        CASE(not_in_a_shadow),
        CASE(delivery_cut_short),
        CASE(taken_and_ended),
        CASE(not_for_either_of_two),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
