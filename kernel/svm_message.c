/* Messages to the control partition: what only AMD-V has about them.  Own core. */
#include "kernel/svm_message.h"

#include "kernel/message.h"
#include "kernel/svm_fetch.h"
#include "kernel/svm_insn.h"
#include "kernel/x86.h"

#define PREFIX_ADDRESS_SIZE 0x67

void svm_message_fill(struct vcpu *v)
{
    const struct vmcb *m = svm_of(v)->vmcb;
    struct vcpu_page *p = v->page;

    p->rip = m->rip;
    p->rflags = m->rflags;
    p->cr0 = m->cr0;
    p->cr3 = m->cr3;
    p->cr4 = m->cr4;
    p->efer = svm_vcpu_get(v, HVM_EFER);
    p->cs_access = svm_vcpu_access(&m->cs);
    p->ss_access = (svm_vcpu_access(&m->ss) & ~0x60u) | (u32)m->cpl << 5;
    p->cs_base = m->cs.base;
    p->insn_len = 0;
    p->hw_reason = (u32)m->exit_code;
    p->hw_qualification = m->exit_info1;
    p->hw_intr_info = m->exit_int_info;
}

/* Linear address of an INS or OUTS operand.  The prefixes are read from memory where the CPU does
 * not tell segment and address size. */
static u64 string_address(struct vcpu *v, u64 info)
{
    static const u8 overrides[6] = {0x26, 0x2e, 0x36, 0x3e, 0x64, 0x65}; /* ES to GS */
    struct vmcb *m = svm_of(v)->vmcb;
    u8 bytes[SVM_INSN_MAX];
    bool mode64 = (m->efer & EFER_LMA) && (m->cs.attrib & VMCB_CS_LONG);
    bool in = info & IO_INFO_IN, other_size = false;
    u32 seg = in ? SEG_ES : SEG_DS;
    u64 mask = ~0ull;
    u32 count = svm_fetch(v, bytes, (u32)MIN(m->exit_info2 - m->rip, (u64)SVM_INSN_MAX));

    for (u32 i = 0; i < count; i++) {
        other_size |= bytes[i] == PREFIX_ADDRESS_SIZE;
        for (u32 o = 0; o < ARRAY_LEN(overrides) && !in; o++)
            if (bytes[i] == overrides[o])
                seg = o;
    }
    if (mode64)
        mask = other_size ? ~0u : ~0ull;
    else
        mask = !(m->cs.attrib & VMCB_CS_BIG) == other_size ? ~0u : 0xffffu;
    u64 at = v->page->regs[in ? REG_RDI : REG_RSI] & mask;
    if (!mode64 || seg >= SEG_FS)
        at += svm_vcpu_segment(m, seg)->base;
    return mode64 ? at : (u32)at;
}

enum exit_action svm_message_io(struct vcpu *v)
{
    const struct vmcb *m = svm_of(v)->vmcb;
    u64 info = m->exit_info1;
    struct exit_io io = {
        .port = (u16)FIELD_GET(IO_INFO_PORT, info),
        .size = (u8)FIELD_GET(IO_INFO_SIZE, info),
        .in = info & IO_INFO_IN,
        .string = info & IO_INFO_STRING,
        .rep = info & IO_INFO_REP,
    };

    v->page->rip = m->rip;
    if (io.string) {
        svm_message_fill(v);
        v->page->io.gla = string_address(v, info);
    }
    return message_io(v, io, (u32)(m->exit_info2 - m->rip));
}

enum exit_action svm_message_npf(struct vcpu *v)
{
    const struct vmcb *m = svm_of(v)->vmcb;
    u64 gpa = m->exit_info2, info = m->exit_info1, pa, size;
    u32 attr;

    if (pgtab_lookup(&v->vm->npt, gpa, &pa, &attr, &size) && (!(info & NPF_WRITE) || (attr & PG_W)))
        return EXIT_RESUME; /* mapped meanwhile */
    if (info & NPF_WALK)
        return message_stop(v, EXIT_UNHANDLED, FAILURE_TABLE, gpa);
    if (m->exit_int_info & EVENT_VALID)
        return message_stop(v, EXIT_UNHANDLED, FAILURE_EVENT, gpa);
    v->page->mmio.gla = 0;
    v->page->mmio.gla_valid = 0;
    return message_mmio(v, gpa, info & NPF_WRITE, info & NPF_FETCH);
}
