/* Exit messages and their answers, requests from other cores, blocking before an entry; called by
 * the backends' exit paths and by sched.c on the vCPU's own core. */
#include "kernel/message.h"

#include "kernel/control.h"
#include "kernel/doorbell.h"
#include "kernel/vlapic.h"

#define INSN_LEN_MAX 15u

static __attribute__((noinline)) enum exit_action announce(struct vcpu *v)
{
    vcpu_announce(v);
    return EXIT_RESCHED;
}

/* The page is filled. */
static inline enum exit_action ask(struct vcpu *v, enum exit_kind kind)
{
    struct vcpu_page *p = v->page;

    v->asked = kind;
    p->kind = kind;
    p->action = 0;
    p->stats.forwarded++;
    __atomic_store_n(&p->state, EXIT_PENDING, __ATOMIC_RELEASE);
    if (!control_take(CONTROL_RUNNING))
        return announce(v);
    this_cpu()->handoff = v; /* it keeps its place: sched_leave_guest() */
    return EXIT_RESCHED;
}

enum exit_action message_stop(struct vcpu *v, enum exit_kind kind, enum exit_failure why, u64 value)
{
    hvm_fill_page(v);
    v->page->failure = why;
    v->page->failure_value = value;
    v->activity = VCPU_SHUTDOWN;
    v->look = true; /* the next entry does not take place */
    vcpu_block(v, BLOCK_STOPPED);
    return ask(v, kind);
}

/* What an IN or OUT of so many bytes moves. */
static const u32 data_mask[5] = {[1] = 0xff, [2] = 0xffff, [4] = ~0u};

static inline enum exit_action ask_io(struct vcpu *v, struct exit_io io, u32 insn_len)
{
    struct vcpu_page *p = v->page;

    v->io_size = io.size;
    v->io_in = io.in && !io.string;
    p->insn_len = insn_len;
    _Static_assert(sizeof(io) == 8, "the head of vcpu_page.io");
    __builtin_memcpy(&p->io, &io, sizeof(io));
    p->io.data = (u32)p->regs[REG_RAX] & data_mask[io.size];
    return ask(v, EXIT_IO);
}

static __attribute__((noinline)) enum exit_action high_port(struct vcpu *v, struct exit_io io,
                                                            u32 insn_len)
{
    return doorbell_ring(v, io) ? EXIT_ADVANCE : ask_io(v, io, insn_len);
}

/* The usual way calls nothing, so that it saves no registers either. */
enum exit_action message_io(struct vcpu *v, struct exit_io io, u32 insn_len)
{
    return io.port >= DOORBELL_PORT ? high_port(v, io, insn_len) : ask_io(v, io, insn_len);
}

enum exit_action message_mmio(struct vcpu *v, u64 gpa, bool write, bool fetch)
{
    hvm_fill_page(v);
    v->page->mmio.gpa = gpa;
    v->page->mmio.write = write;
    v->page->mmio.fetch = fetch;
    return ask(v, EXIT_MMIO);
}

enum exit_action message_eoi(struct vcpu *v, u32 vector)
{
    v->page->eoi.vector = vector;
    return ask(v, EXIT_EOI);
}

enum exit_action message_msr(struct vcpu *v)
{
    (void)ask(v, EXIT_MSR);
    return EXIT_ADVANCE_RESCHED;
}

/* As the CPU does: 8- and 16-bit INs keep the rest of RAX, a 32-bit one clears the upper half. */
static void take_in(struct vcpu *v)
{
    u64 *rax = &v->page->regs[REG_RAX];
    u32 data = v->page->io.data, mask = data_mask[v->io_size];

    *rax = v->io_size == 4 ? data : (*rax & ~(u64)mask) | (data & mask);
}

/* The guest goes on as it stands, or after its instruction. */
static inline void take_page(struct vcpu *v, u32 action)
{
    hvm_take_page(v, action & REPLY_ADVANCE ? MIN(v->page->insn_len, INSN_LEN_MAX) : 0);
}

/* An answer that is more than a skipped instruction. */
static __attribute__((noinline)) void complete(struct vcpu *v, u32 asked, u32 action)
{
    struct vcpu_page *p = v->page;
    u32 vector = p->reply_vector, error = p->reply_error;

    take_page(v, action);
    if (asked == EXIT_EXTINT)
        v->look = true; /* the PIC may have more */
    if (action & REPLY_STATE) {
        struct vcpu_state state = p->full;
        if (exit_set_state(v, &state) != HV_OK) {
            message_stop(v, EXIT_UNHANDLED, FAILURE_REPLY, 0);
            return;
        }
    }
    if ((action & REPLY_EXCEPTION) && vector < 32) {
        hvm->exception(v, vector, EXIT_WITH_ERROR >> vector & 1, error);
    } else if ((action & REPLY_EXTINT) && asked == EXIT_EXTINT && vector < 256 &&
               hvm->interrupts_open(v)) {
        hvm->interrupt(v, vector);
    }
}

void message_complete(struct vcpu *v)
{
    u32 action = v->page->action, asked = v->asked;

    v->asked = EXIT_NONE;
    v->page->state = EXIT_FREE;
    if (v->io_in && asked == EXIT_IO)
        take_in(v);
    if (action & ~REPLY_ADVANCE || asked == EXIT_EXTINT)
        complete(v, asked, action);
    else
        take_page(v, action);
}

static void take_requests(struct vcpu *v)
{
    spin_lock(&v->lock);
    u32 r = __atomic_fetch_and(&v->requests, REQUEST_REPLY, __ATOMIC_SEQ_CST);
    if ((r & (REQUEST_INIT | REQUEST_SIPI)) == REQUEST_INIT && v->index)
        v->blocked |= BLOCK_SIPI; /* a SIPI counts from here on */
    spin_unlock(&v->lock);

    if (r & REQUEST_FLUSH)
        hvm->flush(v->vm);
    if (r & REQUEST_INIT)
        exit_reset(v, true);
    if ((r & REQUEST_SIPI) && v->activity == VCPU_WAIT_SIPI)
        exit_startup(v, v->sipi_vector & 0xff);
    if (r & REQUEST_NMI)
        v->nmi_pending = true;
}

/* Why a vCPU in that state does not run. */
static const u32 blocks[] = {
    [VCPU_HALTED] = BLOCK_HLT,
    [VCPU_WAIT_SIPI] = BLOCK_SIPI,
    [VCPU_SHUTDOWN] = BLOCK_STOPPED,
};

bool message_prepare(struct vcpu *v)
{
    v->look = true; /* unless all goes well */
    if (v->requests)
        take_requests(v);
    if (v->blocked)
        return false;
    if (v->activity == VCPU_ACTIVE || v->activity == VCPU_HALTED) {
        vlapic_merge(v);
        switch (hvm_take_events(v)) {
        case EVENTS_PIC:
            hvm_fill_page(v);
            ask(v, EXIT_EXTINT);
            return false;
        case EVENTS_DELIVER:
            v->activity = VCPU_ACTIVE;
            break;
        case EVENTS_NONE:
            break;
        }
    }
    v->look = v->activity != VCPU_ACTIVE;
    if (v->look)
        vcpu_block(v, blocks[v->activity]);
    return !v->look;
}
