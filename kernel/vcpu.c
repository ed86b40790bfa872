/* Run state of virtual CPUs: blocking and waking, exit messages to the control partition and back,
 * creation and destruction. */
#include "kernel/vcpu.h"

#include "kernel/control.h"
#include "kernel/exit.h"
#include "kernel/irq.h"
#include "kernel/log.h"
#include "kernel/sched.h"
#include "kernel/vlapic.h"

#define WEIGHT_DEFAULT 100

enum hv_status vcpu_find(u64 slot, u64 index, struct vcpu **out)
{
    struct vm *vm;
    enum hv_status st = vm_get(slot, &vm);

    *out = st == HV_OK && index < VM_VCPUS ? vm->vcpus[index] : NULL;
    return *out ? HV_OK : HV_ENOENT;
}

/* v->lock held. */
static void enqueue_if_ready(struct vcpu *v)
{
    /* In this order: sched.c sets on_cpu before it clears in_runq. */
    if (!v->blocked && !__atomic_load_n(&v->in_runq, __ATOMIC_ACQUIRE) &&
        !__atomic_load_n(&v->on_cpu, __ATOMIC_ACQUIRE))
        sched_enqueue(v);
}

void vcpu_block(struct vcpu *v, u32 reason)
{
    spin_lock(&v->lock);
    v->blocked |= reason;
    /* What arrived between the handler's test and this lock must not be slept through. */
    if (v->requests)
        v->blocked &= ~(u32)BLOCK_HLT;
    if (v->requests & REQUEST_SIPI)
        v->blocked &= ~(u32)BLOCK_SIPI;
    spin_unlock(&v->lock);
}

void vcpu_unblock(struct vcpu *v, u32 reason)
{
    spin_lock(&v->lock);
    v->blocked &= ~reason;
    enqueue_if_ready(v);
    spin_unlock(&v->lock);
}

static void kick(struct vcpu *v)
{
    struct cpu *c = cpus[v->cpu];

    /* One whose exit ring 3 serves on this core looks at its requests before it is entered. */
    if (!__atomic_load_n(&v->on_cpu, __ATOMIC_SEQ_CST) || this_cpu()->handoff == v)
        return;
    /* Who finds the bit set finds its IPI on the way: no second one is needed. */
    u32 before = __atomic_fetch_or(&c->attention, ATTENTION_KICK, __ATOMIC_SEQ_CST);
    if (c != this_cpu() && !(before & ATTENTION_KICK))
        irq_kick(c->id);
}

void vcpu_request(struct vcpu *v, u32 request)
{
    spin_lock(&v->lock);
    /* SDM 3A 9.4.4: a SIPI means nothing to a processor that does not wait for one. */
    if ((request & REQUEST_SIPI) && !(v->blocked & BLOCK_SIPI) && !(v->requests & REQUEST_INIT))
        request &= ~(u32)REQUEST_SIPI;
    if (request) {
        __atomic_or_fetch(&v->requests, request, __ATOMIC_SEQ_CST);
        v->blocked &= ~(u32)BLOCK_HLT;
        if (request & REQUEST_SIPI)
            v->blocked &= ~(u32)BLOCK_SIPI;
        enqueue_if_ready(v);
    }
    spin_unlock(&v->lock);
    kick(v);
}

/* The inner words first: who sees a summary bit finds what it stands for. */
static void announce(struct control_page *page, const struct vcpu *v)
{
    __atomic_or_fetch(&page->vcpu_pending[v->vm->slot], BIT(v->index), __ATOMIC_SEQ_CST);
    __atomic_or_fetch(&page->vm_pending, BIT(v->vm->slot), __ATOMIC_SEQ_CST);
    __atomic_or_fetch(&page->events, EVENT_VCPU, __ATOMIC_SEQ_CST);
}

void vcpu_announce(struct vcpu *v)
{
    vcpu_block(v, BLOCK_EXIT);
    announce(control.page, v);
    control_wake();
}

void vcpu_complete(struct vcpu *v)
{
    /* The page is the control partition's to write: only a reply to a question counts. */
    if (!(v->blocked & BLOCK_EXIT) || v->page->state != EXIT_COMPLETE)
        return;
    vlapic_take_messages(v);
    __atomic_or_fetch(&v->requests, REQUEST_REPLY, __ATOMIC_ACQ_REL);
    vcpu_unblock(v, BLOCK_EXIT);
}

void vcpu_take_completions(struct control_page *page)
{
    u64 slots = __atomic_exchange_n(&page->vm_complete, 0, __ATOMIC_SEQ_CST);

    while (slots) {
        u32 slot = (u32)__builtin_ctzll(slots);
        slots &= slots - 1;
        if (slot >= VM_SLOTS || !vms[slot])
            continue;
        u64 done = __atomic_exchange_n(&page->vcpu_complete[slot], 0, __ATOMIC_SEQ_CST);
        while (done) {
            struct vcpu *v = vms[slot]->vcpus[__builtin_ctzll(done)];
            done &= done - 1;
            if (v)
                vcpu_complete(v);
        }
    }
}

void vcpu_replay_exits(struct control_page *page)
{
    for (u32 slot = 0; slot < VM_SLOTS; slot++) {
        for (u32 i = 0; vms[slot] && i < VM_VCPUS; i++) {
            struct vcpu *v = vms[slot]->vcpus[i];
            if (!v || !(v->blocked & BLOCK_EXIT))
                continue;
            v->page->state = EXIT_PENDING;
            announce(page, v);
        }
    }
}

void vcpu_let_go(void *vcpu)
{
    struct vcpu *v = vcpu;
    struct cpu *c = this_cpu();

    if (v->cpu != c->id)
        return;
    hvm->unload(v);
    if (c->last == v)
        c->last = NULL;
    if (v->apic_timer.armed) {
        timer_cancel(&v->apic_timer);
        v->timer_moving = true;
    }
}

enum hv_status vcpu_pull(struct vcpu *v)
{
    if (this_cpu()->handoff == v)
        return HV_OK;
    /* Only the control partition's core, this one, ends these three. */
    if (!(v->blocked & (BLOCK_PAUSED | BLOCK_EXIT | BLOCK_STOPPED)))
        return HV_EBUSY;
    sched_end_handoff();
    while (__atomic_load_n(&v->on_cpu, __ATOMIC_ACQUIRE))
        __builtin_ia32_pause();
    /* Its home core clears on_cpu with the lock held; wait until it is out of there. */
    spin_lock(&v->lock);
    spin_unlock(&v->lock);
    if (v->cpu == this_cpu()->id)
        return HV_OK;
    cpu_call_others(vcpu_let_go, v);
    runq_transfer(&cpus[v->cpu]->runq, &this_cpu()->runq, v);
    v->cpu = this_cpu()->id;
    if (v->timer_moving) {
        v->timer_moving = false;
        timer_set(&v->apic_timer, v->apic_timer.deadline);
    }
    return HV_OK;
}

static u64 page_va(const struct vm *vm, u32 index)
{
    return VM_WINDOW(vm->slot) + VM_WINDOW_VCPUS + index * PAGE_SIZE;
}

static struct vcpu_page *map_page(struct vm *vm, u32 index)
{
    u64 va = page_va(vm, index), pa, size;
    u32 attr = PG_R | PG_W | PG_USER;

    return pgtab_alloc(&vm->window, va, PAGE_SIZE, attr, PAGE_SIZE) == HV_OK &&
                   pgtab_lookup(&vm->window, va, &pa, &attr, &size)
               ? phys_to_virt(HPA(pa))
               : NULL;
}

/* All but the frame of v itself; the backend has unloaded it. */
static void free_state(struct vcpu *v)
{
    struct vm *vm = v->vm;

    vlapic_fini(v);
    mem_page_free(&vm->quota, v->block);
    mem_page_free(&vm->quota, v->xsave);
    pgtab_free(&vm->window, page_va(vm, v->index), PAGE_SIZE);
}

enum hv_status vcpu_create(struct vm *vm, u32 index)
{
    hpa_t h;
    struct vcpu *v;
    enum hv_status st = HV_ENOMEM;

    if (index >= VM_VCPUS)
        return HV_EINVAL;
    if (vm->vcpus[index])
        return HV_EEXIST;
    h = mem_alloc(&vm->quota, PAGE_SIZE);
    if (!hpa_valid(h))
        return HV_ENOMEM;
    v = phys_to_virt(h);
    v->vm = vm;
    v->vendor = (u8 *)v + VENDOR_OFFSET;
    v->index = index;
    v->handle = VCPU_HANDLE(vm->slot, index);
    v->weight = WEIGHT_DEFAULT;
    v->cpu_mask = ~0ull;
    v->blocked = BLOCK_PAUSED | (index ? BLOCK_SIPI : 0);
    v->page = map_page(vm, index);
    if (!v->page)
        goto free_vcpu;
    v->cpu = this_cpu()->id;
    v->block = mem_page(&vm->quota);
    v->xsave = mem_page(&vm->quota);
    if (v->block && v->xsave)
        st = hvm->vcpu_init(v);
    if (st != HV_OK)
        goto free_page;
    exit_reset(v, false);
    hvm->unload(v);
    v->cpu = sched_place(v)->id;

    __atomic_store_n(&vm->vcpus[index], v, __ATOMIC_RELEASE);
    vm->vcpu_count++;
    if (vm->run_state == VM_RUNNING)
        vcpu_unblock(v, BLOCK_PAUSED);
    return HV_OK;

free_page:
    free_state(v);
free_vcpu:
    mem_free(&vm->quota, h, PAGE_SIZE);
    return st;
}

void vcpu_destroy(struct vcpu *v)
{
    struct vm *vm = v->vm;

    if (vcpu_pull(v) != HV_OK)
        panic("vcpu_destroy: %s/%u may still run", vm->name, v->index);
    vcpu_let_go(v);
    vm->vcpus[v->index] = NULL;
    vm->vcpu_count--;
    free_state(v);
    mem_free(&vm->quota, virt_to_phys(v), PAGE_SIZE);
}
