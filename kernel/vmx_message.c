/* Exit messages to the control partition and their answers.  Own core, VMCS loaded. */
#include "kernel/vmx_message.h"

#include <stdarg.h>

#include "kernel/exit_decode.h"
#include "kernel/lib/fmt.h"
#include "kernel/log.h"
#include "kernel/string.h"
#include "kernel/vmx_event.h"
#include "kernel/vmx_state.h"
#include "kernel/vmx_vcpu.h"

#define INSN_LEN_MAX 15u
#define INTERRUPT_BLOCKED BITS(1, 0)
#define RFLAGS_IF_BIT BIT(9)

void vmx_fill_page(struct vcpu *v)
{
    struct vcpu_page *p = v->page;

    p->rip = vmcs_read(VMCS_GUEST_RIP);
    p->rflags = vmcs_read(VMCS_GUEST_RFLAGS);
    p->cr0 = vmx_guest_cr0();
    p->cr3 = vmcs_read(VMCS_GUEST_CR3);
    p->cr4 = vmx_guest_cr4();
    p->efer = vmcs_read64(VMCS_GUEST_EFER);
    p->cs_access = vmcs_read32(VMCS_GUEST_CS_ACCESS);
    p->ss_access = vmcs_read32(VMCS_GUEST_SS_ACCESS);
    p->cs_base = vmcs_read(VMCS_GUEST_CS_BASE);
    p->insn_len = 0;
    p->hw_reason = vmcs_read32(VMCS_EXIT_REASON);
    p->hw_qualification = vmcs_read(VMCS_EXIT_QUALIFICATION);
    p->hw_intr_info = vmcs_read32(VMCS_EXIT_INTR_INFO) | (u64)vmcs_read32(VMCS_EXIT_INTR_ERROR)
                                                             << 32;
    p->regs[REG_RSP] = vmcs_read(VMCS_GUEST_RSP);
    vmx_of(v)->rsp_in_page = true;
}

void vmx_stop(struct vcpu *v, enum exit_kind kind, const char *format, ...)
{
    char text[VCPU_FAIL_TEXT];
    va_list ap;

    va_start(ap, format);
    fmt_vsnprintf(text, sizeof(text), format, ap);
    va_end(ap);
    memcpy(v->page->fail_text, text, sizeof(text));
    vmx_fill_page(v);
    vmx_of(v)->asked = kind;
    log_notice("VM %s vCPU %u: %s", v->vm->name, v->index, text);
    vcpu_block(v, BLOCK_STOPPED);
    vcpu_forward(v, kind);
}

/* As the CPU does: 8- and 16-bit INs keep the rest of RAX, a 32-bit one clears the upper half. */
static void take_in(struct vcpu *v)
{
    u64 *rax = &v->page->regs[REG_RAX], data = v->page->io.data;

    switch (vmx_of(v)->io_size) {
    case 1:
        *rax = (*rax & ~0xffull) | (data & 0xff);
        break;
    case 2:
        *rax = (*rax & ~0xffffull) | (data & 0xffff);
        break;
    default:
        *rax = (u32)data;
    }
}

static void take_extint(struct vcpu *v, u32 vector)
{
    bool open = (vmcs_read(VMCS_GUEST_RFLAGS) & RFLAGS_IF_BIT) &&
                !(vmcs_read32(VMCS_GUEST_INTERRUPTIBILITY) & INTERRUPT_BLOCKED);

    if (!open || vector > 255)
        return;
    vmx_inject(v, INTR_INFO(INTR_EXTERNAL, vector), 0);
    v->page->stats.injected++;
}

void vmx_complete_exit(struct vcpu *v)
{
    struct vmx_vcpu *x = vmx_of(v);
    struct vcpu_page *p = v->page;
    u32 action = p->action, vector = p->reply_vector, error = p->reply_error;
    u32 asked = x->asked;

    vmx_load(v);
    x->asked = EXIT_NONE;
    if (asked == EXIT_EXTINT)
        x->look = true; /* the PIC may have more */
    if (asked == EXIT_IO && x->io_in)
        take_in(v);
    if (action & REPLY_STATE) {
        struct vcpu_state state = p->full;
        if (vmx_set_state(v, &state) != HV_OK) {
            log_error("VM %s vCPU %u: stopped, its new state is invalid", v->vm->name, v->index);
            vcpu_block(v, BLOCK_STOPPED);
        }
    } else if (x->rsp_in_page) {
        vmcs_write(VMCS_GUEST_RSP, p->regs[REG_RSP]);
    }
    x->rsp_in_page = false;
    if (action & REPLY_ADVANCE)
        vmx_skip(MIN(p->insn_len, INSN_LEN_MAX));
    /* Vectors 8, 10..14, 17 and 21 carry an error code: SDM 3A table 6-1. */
    if ((action & REPLY_EXCEPTION) && vector < 32)
        vmx_exception(v, vector, 0x00227d00u >> vector & 1, error);
    else if ((action & REPLY_EXTINT) && asked == EXIT_EXTINT)
        take_extint(v, vector);
}
