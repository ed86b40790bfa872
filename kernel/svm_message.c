/* Messages to the control partition: what is asked, and taking the answer.  Own core. */
#include "kernel/svm_message.h"

#include <stdarg.h>

#include "kernel/lib/fmt.h"
#include "kernel/log.h"
#include "kernel/string.h"
#include "kernel/svm_event.h"
#include "kernel/svm_fetch.h"
#include "kernel/svm_insn.h"
#include "kernel/x86.h"

#define PREFIX_ADDRESS_SIZE 0x67
#define WITH_ERROR_CODE 0x00227d00u /* exceptions 8, 10..14, 17, 21: APM 2, table 8-1 */

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

enum exit_action svm_message_stop(struct vcpu *v, enum exit_kind kind, const char *format, ...)
{
    char text[VCPU_FAIL_TEXT];
    va_list ap;

    va_start(ap, format);
    fmt_vsnprintf(text, sizeof(text), format, ap);
    va_end(ap);
    memcpy(v->page->fail_text, text, sizeof(text));
    svm_message_fill(v);
    svm_of(v)->asked = kind;
    svm_of(v)->activity = VCPU_SHUTDOWN;
    log_notice("VM %s vCPU %u: %s", v->vm->name, v->index, text);
    vcpu_block(v, BLOCK_STOPPED);
    vcpu_forward(v, kind);
    return EXIT_RESCHED;
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
    struct svm_vcpu *s = svm_of(v);
    const struct vmcb *m = s->vmcb;
    struct vcpu_page *p = v->page;
    u64 info = m->exit_info1;

    if (info & IO_INFO_STRING) {
        svm_message_fill(v);
        p->io.gla = string_address(v, info);
    }
    s->asked = EXIT_IO;
    s->io_size = info & IO_INFO_STRING ? 0 : (u8)FIELD_GET(IO_INFO_SIZE, info);
    s->io_in = info & IO_INFO_IN;
    p->rip = m->rip;
    p->insn_len = (u32)(m->exit_info2 - m->rip);
    p->io.port = (u16)FIELD_GET(IO_INFO_PORT, info);
    p->io.size = (u8)FIELD_GET(IO_INFO_SIZE, info);
    p->io.in = s->io_in;
    p->io.string = (info & IO_INFO_STRING) != 0;
    p->io.rep = (info & IO_INFO_REP) != 0;
    p->io.data = s->io_in ? 0 : (u32)p->regs[REG_RAX] & (u32)BITS(p->io.size * 8 - 1, 0);
    vcpu_forward(v, EXIT_IO);
    return EXIT_RESCHED;
}

enum exit_action svm_message_npf(struct vcpu *v)
{
    struct svm_vcpu *s = svm_of(v);
    const struct vmcb *m = s->vmcb;
    u64 gpa = m->exit_info2, info = m->exit_info1, pa, size;
    u32 attr;

    if (pgtab_lookup(&v->vm->npt, gpa, &pa, &attr, &size) && (!(info & NPF_WRITE) || (attr & PG_W)))
        return EXIT_RESUME; /* mapped meanwhile */
    if (info & NPF_WALK)
        return svm_message_stop(v, EXIT_UNHANDLED, "page tables at %lx lie in no memory", gpa);
    if (m->exit_int_info & EVENT_VALID)
        return svm_message_stop(v, EXIT_UNHANDLED,
                                "delivery of event %lx touches %lx, where no memory is",
                                (u64)FIELD_GET(EVENT_VECTOR, m->exit_int_info), gpa);
    svm_message_fill(v);
    s->asked = EXIT_MMIO;
    v->page->mmio.gpa = gpa;
    v->page->mmio.gla = 0;
    v->page->mmio.gla_valid = 0;
    v->page->mmio.write = (info & NPF_WRITE) != 0;
    v->page->mmio.fetch = (info & NPF_FETCH) != 0;
    vcpu_forward(v, EXIT_MMIO);
    return EXIT_RESCHED;
}

/* The first check of APM 2, 15.5.1 that the VMCB fails. */
static const char *failed_check(const struct vmcb *m)
{
    bool long_paging = (m->efer & EFER_LME) && (m->cr0 & CR0_PG);
    const struct {
        bool bad;
        const char *text;
    } checks[] = {
        {(m->cr0 & CR0_NW) && !(m->cr0 & CR0_CD), "CR0.NW without CR0.CD"},
        {m->cr0 >> 32, "CR0 bits 63:32"},
        {m->dr6 >> 32, "DR6 bits 63:32"},
        {m->dr7 >> 32, "DR7 bits 63:32"},
        {m->cr3 & ~BITS(51, 0), "CR3 reserved bits"},
        {long_paging && !(m->cr4 & CR4_PAE), "EFER.LME and CR0.PG without CR4.PAE"},
        {long_paging && !(m->cr0 & BIT(0)), "EFER.LME and CR0.PG without CR0.PE"},
        {long_paging && (m->cs.attrib & VMCB_CS_LONG) && (m->cs.attrib & VMCB_CS_BIG),
         "CS.L and CS.D in long mode"},
        {m->asid == 0, "ASID 0"},
    };

    for (u32 i = 0; i < ARRAY_LEN(checks); i++)
        if (checks[i].bad)
            return checks[i].text;
    return "CR4 or EFER reserved bits, or the event to inject";
}

enum exit_action svm_message_entry_failed(struct vcpu *v)
{
    const struct vmcb *m = svm_of(v)->vmcb;

    return svm_message_stop(v, EXIT_ENTRY_FAILED,
                            "VM entry refused: %s (CR0 %lx CR4 %lx EFER %lx event %lx)",
                            failed_check(m), m->cr0, m->cr4, m->efer, m->event_inj);
}

/* As the CPU does: 8- and 16-bit INs keep the rest of RAX, a 32-bit one clears the upper half. */
static void take_in(struct vcpu *v)
{
    u64 *rax = &v->page->regs[REG_RAX], data = v->page->io.data;
    u8 size = svm_of(v)->io_size;

    if (size == 4)
        *rax = (u32)data;
    else if (size)
        *rax = (*rax & ~BITS(size * 8 - 1, 0)) | (data & BITS(size * 8 - 1, 0));
}

void svm_complete_exit(struct vcpu *v)
{
    struct svm_vcpu *s = svm_of(v);
    struct vcpu_page *p = v->page;
    u32 action = p->action, vector = p->reply_vector, error = p->reply_error;
    u32 asked = s->asked;

    s->asked = EXIT_NONE;
    if (asked == EXIT_IO && s->io_in)
        take_in(v);
    if (action & REPLY_STATE) {
        struct vcpu_state state = p->full;
        if (svm_vcpu_set_state(v, &state) != HV_OK)
            svm_message_stop(v, EXIT_UNHANDLED,
                             "the control partition's reply holds an invalid state");
    }
    if (action & REPLY_ADVANCE)
        svm_skip(v, s->vmcb->rip + MIN(p->insn_len, SVM_INSN_MAX));
    if ((action & REPLY_EXCEPTION) && vector < 32)
        svm_exception(v, vector, WITH_ERROR_CODE >> vector & 1, error);
    else if ((action & REPLY_EXTINT) && asked == EXIT_EXTINT && vector < 256 &&
             svm_interrupts_open(v))
        svm_interrupt(v, vector);
}
