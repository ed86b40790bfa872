/* The exit tables of the control partition; called by the event loop. */
#include "vmm/exits.h"

#include "control/rt/sys.h"
#include "kernel/abi/x86_bits.h"
#include "vmm/debug_port.h"
#include "vmm/failure.h"
#include "vmm/guest_walk.h"
#include "vmm/insn.h"
#include "vmm/inventory.h"
#include "vmm/mmio_emulate.h"
#include "vmm/pci_hotplug.h"
#include "vmm/pv_clock.h"
#include "vmm/virtio_dev_balloon.h"

#define LAPIC_BASE 0xfee00000ull
#define STRING_BATCH 64 /* elements of INS/OUTS done at one exit */

struct port_range {
    u16 first, last;
    u32 (*in)(struct vm *vm, u16 port, u8 size);
    void (*out)(struct vm *vm, u16 port, u8 size, u32 value);
};

static u32 unclaimed_in(struct vm *vm, u16 port, u8 size);
static void unclaimed_out(struct vm *vm, u16 port, u8 size, u32 value);

/* Row 0 is what nobody claims. */
static const struct port_range ports[] = {
    {1, 0, unclaimed_in, unclaimed_out},
    {0x3f8, 0x3ff, uart_in, uart_out},
    {0x20, 0x21, pic_in, pic_out},
    {0xa0, 0xa1, pic_in, pic_out},
    {0x4d0, 0x4d1, pic_elcr_in, pic_elcr_out},
    {0x40, 0x43, pit_in, pit_out},
    {0x61, 0x61, pit_speaker_in, pit_speaker_out},
    {0x70, 0x71, rtc_in, rtc_out},
    {0x60, 0x60, acpi_pm_keyboard_in, acpi_pm_keyboard_out},
    {0x64, 0x64, acpi_pm_keyboard_in, acpi_pm_keyboard_out},
    {0x92, 0x92, acpi_pm_port92_in, acpi_pm_port92_out},
    {0x600, 0x60b, acpi_pm_in, acpi_pm_out},
    {0x620, 0x623, acpi_pm_in, acpi_pm_out},
    {PCI_HOTPLUG_PORT, PCI_HOTPLUG_PORT + 11, pci_hotplug_in, pci_hotplug_out},
    {0xcf8, 0xcf8, pci_config_in, pci_config_out},
    {0xcf9, 0xcf9, acpi_pm_reset_in, acpi_pm_reset_out},
    {0xcfa, 0xcff, pci_config_in, pci_config_out},
    {FW_CFG_PORT, FW_CFG_PORT + 1, fw_cfg_in, fw_cfg_out},
    {FW_CFG_DMA_PORT, FW_CFG_DMA_PORT + 7, fw_cfg_in, fw_cfg_out},
    {PCI_IO_BASE, PCI_IO_END, pci_port_in, pci_port_out},
    /* DMA controllers and their page registers (80h is the POST code), coprocessor reset, the
     * other serial and parallel ports that kernels probe. */
    {0x00, 0x0f, debug_port_in, debug_port_out},
    {0x80, 0x8f, debug_port_in, debug_port_out},
    {0xc0, 0xdf, debug_port_in, debug_port_out},
    {0xed, 0xf1, debug_port_in, debug_port_out},
    {0x2e8, 0x2ef, debug_port_in, debug_port_out},
    {0x2f8, 0x2ff, debug_port_in, debug_port_out},
    {0x3e8, 0x3ef, debug_port_in, debug_port_out},
};

struct mmio_range {
    u64 first, last;
    u64 (*read)(struct vm *vm, u64 gpa, u8 size);
    void (*write)(struct vm *vm, u64 gpa, u8 size, u64 value);
};

static u64 lapic_read(struct vm *vm, u64 gpa, u8 size);
static void lapic_write(struct vm *vm, u64 gpa, u8 size, u64 value);

static const struct mmio_range pages[] = {
    {LAPIC_BASE, LAPIC_BASE + 0xfff, lapic_read, lapic_write},
    {IOAPIC_BASE, IOAPIC_BASE + 0xfff, ioapic_read, ioapic_write},
    {PCI_MEM_FIRST, PCI_MEM_END, pci_mem_read, pci_mem_write},
    {PCI_ECAM_BASE, PCI_ECAM_END, pci_ecam_read, pci_ecam_write},
    {FIRMWARE_END - FIRMWARE_LEN_MAX, FIRMWARE_END - 1, firmware_flash_read, firmware_flash_write},
};

struct vcpu_page exits_nobody = {.msi_count = REPLY_MSIS};

static u8 port_index[65536]; /* row of ports[]; 0: unclaimed */

void exits_init(void)
{
    for (u32 i = 1; i < ARRAY_LEN(ports); i++) {
        for (u32 port = ports[i].first; port <= ports[i].last; port++)
            port_index[port] = (u8)i;
    }
}

void exits_unclaimed_port(struct vm *vm, u16 port, u8 size, const char *what)
{
    struct vm_state *s = vm->state;
    for (u32 i = 0; i < s->unclaimed_ports; i++) {
        if (s->unclaimed_port[i] == port)
            return;
    }
    if (s->unclaimed_ports >= VM_UNCLAIMED_PORTS)
        return;
    s->unclaimed_port[s->unclaimed_ports++] = port;
    platform_log(vm, "unclaimed port %xh: %s of %u bytes at %llx; nothing there", port, what, size,
                 (unsigned long long)vm_vcpu(vm, vm->serving)->rip);
    if (s->unclaimed_ports == VM_UNCLAIMED_PORTS)
        platform_log(vm, "more unclaimed ports will not be told");
}

void exits_unclaimed_page(struct vm *vm, u64 gpa, const char *what)
{
    struct vm_state *s = vm->state;
    u64 page = gpa & ~(PAGE_SIZE - 1);
    for (u32 i = 0; i < s->unclaimed_pages; i++) {
        if (s->unclaimed_page[i] == page)
            return;
    }
    if (s->unclaimed_pages >= VM_UNCLAIMED_PAGES)
        return;
    s->unclaimed_page[s->unclaimed_pages++] = page;
    platform_log(vm, "unclaimed page %llx: %s at %llx; nothing there", (unsigned long long)page,
                 what, (unsigned long long)vm_vcpu(vm, vm->serving)->rip);
    if (s->unclaimed_pages == VM_UNCLAIMED_PAGES)
        platform_log(vm, "more unclaimed pages will not be told");
}

static u32 unclaimed_in(struct vm *vm, u16 port, u8 size)
{
    exits_unclaimed_port(vm, port, size, "read");
    return ~0u;
}

static void unclaimed_out(struct vm *vm, u16 port, u8 size, u32 value)
{
    (void)value;
    exits_unclaimed_port(vm, port, size, "write");
}

static const struct mmio_range *find_page(u64 gpa)
{
    for (u32 i = 0; i < ARRAY_LEN(pages); i++) {
        if (gpa >= pages[i].first && gpa <= pages[i].last)
            return &pages[i];
    }
    return NULL;
}

static u64 bus_read(void *ctx, u64 gpa, u8 size)
{
    struct vm *vm = ctx;
    const struct mmio_range *r = find_page(gpa);
    if (r)
        return r->read(vm, gpa, size);
    exits_unclaimed_page(vm, gpa, "read");
    return ~0ull;
}

static void bus_write(void *ctx, u64 gpa, u8 size, u64 value)
{
    struct vm *vm = ctx;
    const struct mmio_range *r = find_page(gpa);
    if (r)
        r->write(vm, gpa, size, value);
    else if (!guest_ptr(&vm->mem, GPA(gpa), size)) /* else: read-only RAM, the write is dropped */
        exits_unclaimed_page(vm, gpa, "write");
}

/* xAPIC registers are 32 bits wide at multiples of 16 (SDM 3A 11.4.1). */
static u64 lapic_read(struct vm *vm, u64 gpa, u8 size)
{
    u32 offset = (u32)(gpa - LAPIC_BASE);
    (void)size;
    i64 value = sys_vcpu_apic(vm->slot, vm->serving, offset & ~0xfu, false, 0);
    return value < 0 ? 0 : (u64)value >> (8 * (offset & 3));
}

static void lapic_write(struct vm *vm, u64 gpa, u8 size, u64 value)
{
    u32 offset = (u32)(gpa - LAPIC_BASE);
    (void)size;
    /* A register that does not exist is ignored, as the chip does but for its error bit. */
    i64 ended = sys_vcpu_apic(vm->slot, vm->serving, offset & ~0xfu, true, (u32)value);
    if (ended > 0 && (ended & VCPU_APIC_EOI_LEVEL))
        ioapic_eoi(vm, (u32)ended & 0xff);
}

static struct guest_paging paging_of(const struct vcpu_page *p)
{
    return (struct guest_paging){p->cr0, p->cr3, p->cr4, p->efer, p->rflags};
}

static enum insn_mode mode_of(const struct vcpu_page *p)
{
    if ((p->efer & EFER_LMA) && (p->cs_access & BIT(13)))
        return INSN_64;
    return p->cs_access & BIT(14) ? INSN_32 : INSN_16;
}

static u64 code_address(const struct vcpu_page *p, enum insn_mode mode)
{
    return mode == INSN_64 ? p->rip : (u32)(p->cs_base + p->rip);
}

/* The instruction of this exit; on failure the VM is stopped with the reason. */
static bool decode(struct vm *vm, const struct vcpu_page *p, struct insn *in)
{
    u8 bytes[INSN_MAX];
    enum insn_mode mode = mode_of(p);
    struct guest_paging paging = paging_of(p);
    u32 want = p->insn_len && p->insn_len <= INSN_MAX ? p->insn_len : INSN_MAX;
    u32 len = guest_fetch(&vm->mem, &paging, code_address(p, mode), bytes, want);
    enum insn_result r = insn_decode(in, bytes, len, mode);
    if (r == INSN_DECODED)
        return true;
    vm_fail(vm,
            r == INSN_TRUNCATED ? "the instruction at %llx cannot be read"
                                : "the instruction at %llx is not supported on a device",
            (unsigned long long)p->rip);
    return false;
}

/* #PF for the instruction being emulated (SDM 3A 6.15): CR2 goes with the state. */
static void page_fault(struct vm *vm, struct vcpu_page *p, u64 address, u32 error)
{
    if (sys_vcpu_get(vm->slot, vm->serving) != HV_OK) {
        vm_fail(vm, "cannot read the state of vCPU %u", vm->serving);
        return;
    }
    p->full.cr2 = address;
    p->reply_vector = 14;
    p->reply_error = error;
    p->action = REPLY_STATE | REPLY_EXCEPTION;
}

static bool in_user_mode(const struct vcpu_page *p)
{
    return (p->cr0 & CR0_PE) && (p->ss_access >> 5 & 3) == 3;
}

/* One element of INS or OUTS. */
static enum walk_result string_element(struct vm *vm, struct vcpu_page *p, u64 gla, u64 *fault,
                                       u32 *error)
{
    const struct port_range *port = &ports[port_index[p->io.port]];
    struct guest_paging paging = paging_of(p);
    u32 data = 0, user = in_user_mode(p) ? WALK_USER : 0;
    enum walk_result r;
    if (!p->io.in) {
        r = guest_linear_copy(&vm->mem, &paging, gla, &data, p->io.size, user, fault, error);
        if (r == WALK_OK)
            port->out(vm, p->io.port, p->io.size, data);
        return r;
    }
    /* Faults come before the device is read, since that cannot be taken back. */
    gpa_t gpa;
    *fault = gla;
    r = guest_walk(&vm->mem, &paging, gla, user | WALK_WRITE, &gpa, error);
    if (r != WALK_OK)
        return r;
    data = port->in(vm, p->io.port, p->io.size);
    return guest_linear_copy(&vm->mem, &paging, gla, &data, p->io.size, user | WALK_WRITE, fault,
                             error);
}

static __attribute__((noinline)) void serve_string(struct vm *vm, struct vcpu_page *p)
{
    struct insn in;
    if (!decode(vm, p, &in))
        return;
    u64 mask = in.addr_size == 8 ? ~0ull : (1ull << (8 * in.addr_size)) - 1;
    u64 left = p->io.rep ? p->regs[REG_RCX] & mask : 1;
    i64 step = p->rflags & RFLAGS_DF ? -(i64)p->io.size : p->io.size;
    u64 *pointer = &p->regs[p->io.in ? REG_RDI : REG_RSI];
    u64 gla = p->io.gla, fault = 0;
    u32 error = 0;
    for (u32 n = 0; left && n < STRING_BATCH && !vm->hold && !vm->power; n++) {
        enum walk_result r = string_element(vm, p, gla, &fault, &error);
        if (r == WALK_FAULT) {
            page_fault(vm, p, fault, error);
            return;
        }
        if (r == WALK_BAD) {
            vm_fail(vm, "string I/O on an address that is not memory: %llx",
                    (unsigned long long)gla);
            return;
        }
        gla += (u64)step;
        left--;
        mmio_emulate_step(pointer, step, in.addr_size);
        if (p->io.rep)
            mmio_emulate_step(&p->regs[REG_RCX], -1, in.addr_size);
    }
    p->insn_len = in.len;
    p->action = left ? 0 : REPLY_ADVANCE;
}

static void serve_io(struct vm *vm, struct vcpu_page *p)
{
    if (p->io.string) {
        serve_string(vm, p);
        return;
    }
    const struct port_range *r = &ports[port_index[p->io.port]];
    if (p->io.in)
        p->io.data = r->in(vm, p->io.port, p->io.size);
    else
        r->out(vm, p->io.port, p->io.size, p->io.data);
    p->action = REPLY_ADVANCE;
}

/* Flags or segments are beyond the page's fast part: they come and go with the whole state. */
static bool needs_segments(const struct insn *in, enum insn_mode mode)
{
    return in->op == INSN_MOVS &&
           (mode != INSN_64 || in->segment == SEG_FS || in->segment == SEG_GS);
}

static void finish_mmio(struct vm *vm, struct vcpu_page *p, const struct mmio_emulate *e, u32 len)
{
    p->insn_len = len;
    p->action = REPLY_ADVANCE;
    if (e->rflags == p->rflags)
        return;
    if (sys_vcpu_get(vm->slot, vm->serving) != HV_OK) {
        vm_fail(vm, "cannot read the state of vCPU %u", vm->serving);
        return;
    }
    p->full.rflags = e->rflags;
    p->full.rip += len;
    if (mode_of(p) != INSN_64)
        p->full.rip = (u32)p->full.rip;
    p->full.interruptibility &= ~3u; /* STI and MOV SS blocking end with the instruction */
    p->action = REPLY_STATE;
}

static void serve_mmio(struct vm *vm, struct vcpu_page *p)
{
    struct insn in;
    struct mmio_emulate e = {.mem = &vm->mem,
                             .paging = paging_of(p),
                             .bus = {vm, bus_read, bus_write},
                             .gpa = p->mmio.gpa,
                             .write = p->mmio.write,
                             .user = in_user_mode(p),
                             .regs = p->regs,
                             .rflags = p->rflags};
    if (virtio_dev_balloon_gave(vm, p->mmio.gpa)) {
        p->action = 0; /* once more */
        return;
    }
    if (p->mmio.fetch) {
        vm_fail(vm, "executes at %llx, where there is no memory", (unsigned long long)p->mmio.gpa);
        return;
    }
    if (!decode(vm, p, &in))
        return;
    if (needs_segments(&in, mode_of(p)) && sys_vcpu_get(vm->slot, vm->serving) == HV_OK) {
        for (u32 i = 0; i < SEG_COUNT; i++)
            e.seg_base[i] = p->full.seg[i].base;
    }
    switch (mmio_emulate(&e, &in)) {
    case EMULATE_DONE:
        finish_mmio(vm, p, &e, in.len);
        break;
    case EMULATE_AGAIN:
        p->action = 0;
        break;
    case EMULATE_FAULT:
        page_fault(vm, p, e.fault_address, e.fault_error);
        break;
    default:
        vm_fail(vm, "%s at %llx on address %llx cannot be done", insn_name(in.op),
                (unsigned long long)p->rip, (unsigned long long)p->mmio.gpa);
        break;
    }
}

static void serve_eoi(struct vm *vm, struct vcpu_page *p)
{
    ioapic_eoi(vm, p->eoi.vector);
}

static void serve_extint(struct vm *vm, struct vcpu_page *p)
{
    p->reply_vector = pic_acknowledge(vm);
    p->action = REPLY_EXTINT;
}

static void serve_failure(struct vm *vm, struct vcpu_page *p)
{
    char text[160];
    if (sys_vcpu_get(vm->slot, vm->serving) != HV_OK)
        p->full = (struct vcpu_state){0};
    failure_text(p, sys_host_info()->hvm, text, sizeof(text));
    vm_fail(vm, "vCPU %u at %llx: %s (exit reason %x, qualification %llx)", vm->serving,
            (unsigned long long)p->rip, text, p->hw_reason,
            (unsigned long long)p->hw_qualification);
}

static void (*const kinds[EXIT_KIND_COUNT])(struct vm *vm, struct vcpu_page *p) = {
    [EXIT_IO] = serve_io,
    [EXIT_MMIO] = serve_mmio,
    [EXIT_EOI] = serve_eoi,
    [EXIT_EXTINT] = serve_extint,
    [EXIT_MSR] = pv_clock_wrote,
    [EXIT_TRIPLE_FAULT] = serve_failure,
    [EXIT_ENTRY_FAILED] = serve_failure,
    [EXIT_UNHANDLED] = serve_failure,
};

void exits_release(struct vm *vm)
{
    u64 held = vm->state->held, until = platform_held_until(vm);
    if (until) {
        platform_timer(vm, VM_TIMER_HOLD, until);
        return;
    }
    vm->state->held = 0;
    for (; held; held &= held - 1) {
        u32 i = (u32)__builtin_ctzll(held);
        __atomic_store_n(&vm_vcpu(vm, i)->state, EXIT_COMPLETE, __ATOMIC_RELEASE);
        loop_complete(vm->slot, i);
    }
}

/* What an exit may leave behind besides its completion. */
static __attribute__((noinline)) bool serve_aftermath(struct vm *vm, u32 vcpu)
{
    struct vcpu_page *p = vm_vcpu(vm, vcpu);
    for (u32 i = 0; i < p->msi_count && i < REPLY_MSIS; i++) /* they need not wait */
        (void)sys_vm_msi(vm->slot, p->msi[i].address, p->msi[i].data);
    p->msi_count = 0;
    vm->hold = false;
    if (vm->power != POWER_NONE) { /* the exit stays as it is: this machine ends here */
        vm_power(vm);
        return false;
    }
    vm->state->held |= BIT(vcpu);
    exits_release(vm);
    return false;
}

bool exits_serve(u32 slot, u32 vcpu)
{
    struct vm *vm = inventory_by_slot(slot);
    /* A VM that is being made may find an exit announced that the slot's last one never had served;
     * its own pages are not there yet. */
    if (!vm || vcpu >= vm->served)
        return false;
    struct vcpu_page *p = vm_vcpu(vm, vcpu);
    u32 kind = p->kind;
    if (p->state != EXIT_PENDING || kind >= EXIT_KIND_COUNT || !kinds[kind])
        return false;
    p->state = EXIT_PROCESSING;
    vm->serving = vcpu;
    vm->answer = p;
    kinds[kind](vm, p);
    vm->answer = &exits_nobody;
    if (vm->hold || vm->power != POWER_NONE)
        return serve_aftermath(vm, vcpu);
    __atomic_store_n(&p->state, EXIT_COMPLETE, __ATOMIC_RELEASE);
    return true;
}

static void dump_bytes(struct vm *vm, const struct vcpu_page *p)
{
    static const char hex[] = "0123456789abcdef";
    u8 bytes[16];
    char text[3 * sizeof(bytes) + 1] = "";
    struct vcpu_page q = *p;
    q.rip = p->full.rip;
    q.cs_base = p->full.seg[SEG_CS].base;
    q.cs_access = p->full.seg[SEG_CS].access;
    struct guest_paging paging = {p->full.cr0, p->full.cr3, p->full.cr4, p->full.efer,
                                  p->full.rflags};
    q.efer = p->full.efer;
    u32 n = guest_fetch(&vm->mem, &paging, code_address(&q, mode_of(&q)), bytes, sizeof(bytes));
    for (u32 i = 0; i < n; i++) {
        text[3 * i] = hex[bytes[i] >> 4];
        text[3 * i + 1] = hex[bytes[i] & 15];
        text[3 * i + 2] = i + 1 < n ? ' ' : 0;
    }
    platform_log(vm, "  code %s", n ? text : "cannot be read");
}

void exits_dump(struct vm *vm, u32 vcpu)
{
    typedef unsigned long long ull;
    static const char *const seg_names[SEG_COUNT] = {"es", "cs", "ss",   "ds",
                                                     "fs", "gs", "ldtr", "tr"};
    struct vcpu_page *p = vm_vcpu(vm, vcpu);
    const u64 *r = p->regs;
    const struct vcpu_state *s = &p->full;
    if (sys_vcpu_get(vm->slot, vcpu) != HV_OK)
        return;
    platform_log(vm, "vCPU %u: rip %llx rflags %llx activity %u", vcpu, (ull)s->rip, (ull)s->rflags,
                 s->activity);
    platform_log(vm, "  rax %016llx rbx %016llx rcx %016llx rdx %016llx", (ull)r[REG_RAX],
                 (ull)r[REG_RBX], (ull)r[REG_RCX], (ull)r[REG_RDX]);
    platform_log(vm, "  rsi %016llx rdi %016llx rbp %016llx rsp %016llx", (ull)r[REG_RSI],
                 (ull)r[REG_RDI], (ull)r[REG_RBP], (ull)r[REG_RSP]);
    platform_log(vm, "  r8  %016llx r9  %016llx r10 %016llx r11 %016llx", (ull)r[8], (ull)r[9],
                 (ull)r[10], (ull)r[11]);
    platform_log(vm, "  r12 %016llx r13 %016llx r14 %016llx r15 %016llx", (ull)r[12], (ull)r[13],
                 (ull)r[14], (ull)r[15]);
    platform_log(vm, "  cr0 %llx cr2 %llx cr3 %llx cr4 %llx efer %llx", (ull)s->cr0, (ull)s->cr2,
                 (ull)s->cr3, (ull)s->cr4, (ull)s->efer);
    for (u32 i = 0; i < SEG_COUNT; i++)
        platform_log(vm, "  %-4s %04x base %llx limit %x access %x", seg_names[i],
                     s->seg[i].selector, (ull)s->seg[i].base, s->seg[i].limit, s->seg[i].access);
    platform_log(vm, "  gdtr %llx/%x idtr %llx/%x", (ull)s->gdtr_base, s->gdtr_limit,
                 (ull)s->idtr_base, s->idtr_limit);
    dump_bytes(vm, p);
    for (u64 n = 0; n < p->stats.exceptions && n < VCPU_EXCEPTIONS; n++) {
        const struct vcpu_exception *x =
            &p->stats.exception[(p->stats.exceptions - 1 - n) % VCPU_EXCEPTIONS];
        platform_log(vm, "  %s exception %u error %x rip %llx address %llx",
                     n ? "before:" : "last:  ", x->vector, x->error, (ull)x->rip, (ull)x->address);
    }
}
