/* The program's last words after a fault: the kernel enters on_fault() once, on a stack of its own;
 * whatever the program holds may be broken, so nothing of it is used but the log's system call.  A
 * second fault, of a broken frame pointer say, is reported by the kernel in one line. */
#include "control/rt/fault.h"

#include "control/rt/sys.h"
#include "kernel/abi/layout.h"
#include "kernel/abi/x86_bits.h"
#include "kernel/lib/fmt.h"
#include "kernel/lib/ksym.h"

#define BACKTRACE_DEPTH 24
#define EXIT_CODE 139 /* as a shell tells of a program that was killed so */

static struct {
    u8 stack[8 * KIB];
    struct fault_report report;
} area;

static void say(const char *format, ...) PRINTF_LIKE(1, 2);
static void say(const char *format, ...)
{
    char text[200];
    va_list ap;

    va_start(ap, format);
    u64 n = fmt_vsnprintf(text, sizeof(text), format, ap);
    va_end(ap);
    sys_log_write(LOG_ERROR, text, MIN(n, sizeof(text) - 1));
}

static void say_code(u64 address)
{
    u64 offset;
    const char *name = ksym_name(&image_symbols, address, &offset);

    say("  %016lx %s+0x%lx", address, name, offset);
}

static void on_fault(struct fault_report *r)
{
    static const char names[] = FAULT_NAMES;
    const struct user_frame *f = &r->frame;
    bool page_fault = f->vector == VECTOR_PF;

    say("control partition: #%.2s%s%s at %016lx, error code %lx, address %016lx",
        &names[2 * (f->vector & 31)], page_fault ? " page fault: " : "",
        !page_fault         ? ""
        : f->error & BIT(4) ? "execution"
        : f->error & BIT(1) ? "write"
                            : "read",
        f->rip, f->error, r->address);
    say("  rax %016lx rbx %016lx rcx %016lx rdx %016lx", f->rax, f->rbx, f->rcx, f->rdx);
    say("  rsi %016lx rdi %016lx rbp %016lx rsp %016lx", f->rsi, f->rdi, f->rbp, f->rsp);
    say("  r8  %016lx r9  %016lx r10 %016lx r11 %016lx", f->r8, f->r9, f->r10, f->r11);
    say("  r12 %016lx r13 %016lx r14 %016lx r15 %016lx", f->r12, f->r13, f->r14, f->r15);
    say_code(f->rip);
    u64 rbp = f->rbp;
    for (u32 i = 0; i < BACKTRACE_DEPTH && rbp % 8 == 0 && rbp > PAGE_SIZE && rbp < USER_END; i++) {
        const u64 *frame = (const u64 *)rbp;
        if (!frame[1])
            break;
        say_code(frame[1] - 1); /* inside the call */
        if (frame[0] <= rbp)
            break;
        rbp = frame[0];
    }
    sys_exit(EXIT_CODE);
}

void fault_init(void)
{
    sys_on_fault(on_fault, &area.report);
}
