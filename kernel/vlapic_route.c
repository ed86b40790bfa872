/* Delivers IPIs and MSIs to the local APICs of a VM; from any core. */
#include "kernel/vlapic_route.h"

#define ICR_LOGICAL BIT(11)
#define ICR_ASSERT BIT(14)
#define ICR_LEVEL BIT(15)
#define ICR_SHORTHAND BITS(19, 18)
enum shorthand { TO_DESTINATION, TO_SELF, TO_ALL, TO_OTHERS };

#define ESR_SEND_ILLEGAL 0x20u
#define ESR_RECEIVE_ILLEGAL 0x40u

/* SDM 3A figures 11-26, 11-27. */
#define MSI_ADDRESS_FIXED 0xfeeull
#define MSI_ADDRESS_DEST BITS(19, 12)
#define MSI_ADDRESS_HINT BIT(3)
#define MSI_ADDRESS_LOGICAL BIT(2)
#define MSI_DATA_VECTOR BITS(7, 0)
#define MSI_DATA_LEVEL BIT(15)

static bool match_logical(const struct vlapic *l, const struct apic_message *m)
{
    u32 ldr = vlapic_reg(l, APIC_LDR);

    if (vlapic_mode(l) == VLAPIC_X2APIC)
        return m->dest == ~0u || (m->dest >> 16 == ldr >> 16 && (m->dest & ldr & 0xffff));
    u32 dest = m->dest & 0xff, mine = ldr >> 24;
    if (dest == 0xff)
        return true;
    if (vlapic_reg(l, APIC_DFR) >> 28 == 0xf) /* flat model */
        return dest & mine;
    return dest >> 4 == mine >> 4 && (dest & mine & 0xf);
}

bool vlapic_match(const struct vcpu *v, const struct apic_message *m)
{
    if (vlapic_mode(v->lapic) == VLAPIC_DISABLED)
        return false;
    if (m->logical)
        return match_logical(v->lapic, m);
    return m->dest == v->index || m->dest == (m->wide ? ~0u : 0xffu);
}

void vlapic_post(struct vcpu *v, u32 vector, bool level)
{
    struct vlapic *l = v->lapic;
    volatile u64 *map = level ? l->level : l->posted.edge;

    if (vector < 16 || vector > 255)
        return;
    __atomic_or_fetch(&map[vector >> 6], BIT(vector & 63), __ATOMIC_SEQ_CST);
    __atomic_or_fetch(&l->posted.control, POSTED_ON, __ATOMIC_SEQ_CST);
    vcpu_request(v, REQUEST_EVENT);
}

void vlapic_error(struct vcpu *v, u32 error)
{
    u32 lvt = vlapic_reg(v->lapic, APIC_LVT_ERROR);

    __atomic_or_fetch(&v->lapic->errors, error, __ATOMIC_RELAXED);
    if (!(lvt & APIC_LVT_MASKED))
        vlapic_post(v, lvt & (u32)APIC_LVT_VECTOR, false);
}

static void deliver(struct vcpu *v, const struct apic_message *m)
{
    switch (m->mode) {
    case DELIVER_FIXED:
    case DELIVER_LOWEST:
        if (m->vector < 16)
            vlapic_error(v, ESR_RECEIVE_ILLEGAL);
        else
            vlapic_post(v, m->vector, m->level);
        break;
    case DELIVER_NMI:
        vcpu_request(v, REQUEST_NMI);
        break;
    case DELIVER_INIT:
        vcpu_request(v, REQUEST_INIT);
        break;
    case DELIVER_STARTUP:
        /* The first one counts. */
        if ((v->blocked & BLOCK_SIPI) ||
            (v->requests & (REQUEST_INIT | REQUEST_SIPI)) == REQUEST_INIT)
            v->sipi_vector = m->vector;
        vcpu_request(v, REQUEST_SIPI);
        break;
    default: /* SMI: guests have none.  ExtINT comes by vlapic_lint0() only. */
        break;
    }
}

/* To every CPU that matches; lowest priority: to the one of them that is least busy. */
static void route(struct vm *vm, const struct apic_message *m, const struct vcpu *except)
{
    struct vcpu *best = NULL;

    for (u32 i = 0, left = vm->vcpu_count; left && i < VM_VCPUS; i++) {
        struct vcpu *v = vm->vcpus[i];
        if (!v)
            continue;
        left--;
        if (v == except || !vlapic_match(v, m))
            continue;
        if (m->mode != DELIVER_LOWEST)
            deliver(v, m);
        else if (!best || vlapic_reg(v->lapic, APIC_PPR) < vlapic_reg(best->lapic, APIC_PPR))
            best = v;
    }
    if (best)
        deliver(best, m);
}

u32 vlapic_send(struct vcpu *v, u32 icr, u32 dest)
{
    bool wide = vlapic_mode(v->lapic) == VLAPIC_X2APIC;
    struct apic_message m = {
        .dest = dest,
        .wide = wide,
        .logical = icr & ICR_LOGICAL,
        .mode = (u8)FIELD_GET(APIC_DELIVERY, icr),
        .vector = (u8)icr,
    };
    bool fixed = m.mode == DELIVER_FIXED || m.mode == DELIVER_LOWEST;
    u32 shorthand = (u32)FIELD_GET(ICR_SHORTHAND, icr);

    if (fixed && m.vector < 16) {
        vlapic_error(v, ESR_SEND_ILLEGAL);
        return VLAPIC_EVENTS;
    }
    /* INIT level de-assert only synchronised arbitration of old CPUs. */
    if (m.mode == DELIVER_INIT && (icr & ICR_LEVEL) && !(icr & ICR_ASSERT))
        return 0;
    if (shorthand) {
        m.dest = shorthand == TO_SELF ? v->index : wide ? ~0u : 0xff;
        m.logical = false;
    }
    /* The short way to its own IRR. */
    bool others = shorthand == TO_OTHERS;
    if (!others && m.mode == DELIVER_FIXED && vlapic_match(v, &m)) {
        vlapic_accept(v, m.vector, false);
        others = true;
    }
    route(v->vm, &m, others ? v : NULL);
    return VLAPIC_EVENTS;
}

enum hv_status vlapic_msi(struct vm *vm, u64 address, u64 data)
{
    struct apic_message m = {
        .dest = (u32)FIELD_GET(MSI_ADDRESS_DEST, address),
        .logical = address & MSI_ADDRESS_LOGICAL,
        .level = data & MSI_DATA_LEVEL,
        .mode = (u8)FIELD_GET(APIC_DELIVERY, data),
        .vector = (u8)data,
    };

    if (address >> 20 != MSI_ADDRESS_FIXED)
        return HV_EINVAL;
    if (m.mode == DELIVER_FIXED && (address & MSI_ADDRESS_HINT))
        m.mode = DELIVER_LOWEST;
    route(vm, &m, NULL);
    return HV_OK;
}

void vlapic_take_messages(struct vcpu *v)
{
    struct vcpu_page *p = v->page;
    u32 count = p->msi_count;

    p->msi_count = 0;
    for (u32 i = 0; i < count && i < REPLY_MSIS; i++)
        if (vlapic_msi(v->vm, p->msi[i].address, p->msi[i].data) != HV_OK)
            return;
}

void vlapic_take_messages_here(struct vcpu *v)
{
    struct vcpu_page *p = v->page;
    u32 data = p->msi[0].data, vector = data & MSI_DATA_VECTOR;

    /* The usual one: fixed, edge-triggered, to the very CPU whose exit was served. */
    if (p->msi_count != 1 || p->msi[0].address != (MSI_ADDRESS_FIXED << 20) + (v->index << 12) ||
        (data & (APIC_DELIVERY | MSI_DATA_LEVEL)) || vector < 16) {
        vlapic_take_messages(v);
        return;
    }
    p->msi_count = 0;
    if (vlapic_accept(v, vector, false))
        v->raised = vector;
}

void vlapic_lint0(struct vcpu *v, bool level)
{
    u32 lvt = vlapic_reg(v->lapic, APIC_LVT_LINT0);
    bool rising = level && !v->extint_line;

    v->extint_line = level;
    if (!level)
        return;
    if (rising && !(lvt & APIC_LVT_MASKED) && FIELD_GET(APIC_DELIVERY, lvt) == DELIVER_FIXED)
        vlapic_post(v, (u32)FIELD_GET(APIC_LVT_VECTOR, lvt), false);
    else if (rising && !(lvt & APIC_LVT_MASKED) && FIELD_GET(APIC_DELIVERY, lvt) == DELIVER_NMI)
        vcpu_request(v, REQUEST_NMI);
    else
        vcpu_request(v, REQUEST_EVENT);
}

bool vlapic_extint(struct vcpu *v)
{
    u32 lvt = vlapic_reg(v->lapic, APIC_LVT_LINT0);

    if (!v->extint_line)
        return false;
    return vlapic_mode(v->lapic) == VLAPIC_DISABLED ||
           (!(lvt & APIC_LVT_MASKED) && FIELD_GET(APIC_DELIVERY, lvt) == DELIVER_EXTINT);
}
