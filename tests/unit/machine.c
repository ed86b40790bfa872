/* A machine by emulation of what faults; linked into tests that ask for it. */
#define _GNU_SOURCE
#include "tests/unit/machine.h"

#include <signal.h>
#include <string.h>
#include <sys/mman.h>
#include <ucontext.h>

#include "kernel/log.h"
#include "kernel/mem.h"

static u8 config[256];
static u32 config_address;
static u32 unit[PAGE_SIZE / 4]; /* registers, VT-d chapter 11.4 */
static u32 unit_head;           /* of the queue, in bytes */
static u8 *unit_page;

enum { REG_CAP = 0x08, REG_ECAP = 0x10, REG_GCMD = 0x18, REG_GSTS = 0x1c, REG_IQT = 0x88 };
enum { REG_IQA = 0x90 };

static u64 *machine_register(greg_t *r, u32 n)
{
    static const int order[16] = {REG_RAX, REG_RCX, REG_RDX, REG_RBX, REG_RSP, REG_RBP,
                                  REG_RSI, REG_RDI, REG_R8,  REG_R9,  REG_R10, REG_R11,
                                  REG_R12, REG_R13, REG_R14, REG_R15};
    return (u64 *)&r[order[n]];
}

/* ---- configuration mechanism 1 ----------------------------------------------------------------
 */

static bool is_ours(void)
{
    return (config_address >> 8 & 0xffff) == MACHINE_FUNCTION;
}

static u32 port_in(u16 port, u32 size)
{
    u32 value = ~0u;

    if (port >= 0xcfc && port <= 0xcff && is_ours())
        memcpy(&value, config + (config_address & 0xfc) + port - 0xcfc, size);
    return value;
}

static void port_out(u16 port, u32 size, u32 value)
{
    u32 at = (config_address & 0xfc) + port - 0xcfc;

    if (port == 0xcf8)
        config_address = value;
    if (port < 0xcfc || port > 0xcff || !is_ours())
        return;
    if (at == 0x10)
        value &= ~(MACHINE_BAR_BYTES - 1u);
    if (at == 0x10 || at == 0x04)
        memcpy(config + at, &value, size);
}

/* ---- IOMMU ------------------------------------------------------------------------------------
 */

/* Waits are what software sees; there are no caches to be forgotten. */
static void serve_queue(u32 tail)
{
    const u64 *queue = phys_to_virt(HPA((u64)unit[REG_IQA / 4 + 1] << 32 | unit[REG_IQA / 4]));

    do { /* a tail that did not move: all of it, since a program may begin anew where it was */
        const u64 *d = queue + unit_head / 8;
        if ((d[0] & 0xf) == 5)
            *(u32 *)phys_to_virt(HPA(d[1])) = (u32)(d[0] >> 32);
        unit_head = (unit_head + 16) % PAGE_SIZE;
    } while (unit_head != tail);
}

static void unit_write(u32 at, u32 value)
{
    if (at == REG_GCMD)
        unit[REG_GSTS / 4] |= value;
    else
        unit[at / 4] = value;
    if (at == REG_IQA)
        unit_head = 0;
    if (at == REG_IQT)
        serve_queue(value);
}

/* ---- instructions -----------------------------------------------------------------------------
 */

static u32 io_size(u8 opcode, bool word)
{
    return !(opcode & 1) ? 1 : word ? 2 : 4;
}

/* MOV between a register and memory of 32 bits, with base register and displacement at most. */
static const u8 *move(const u8 *at, greg_t *r, u8 rex, u64 address)
{
    u8 modrm = at[1];
    u32 offset = (u32)(address - (u64)unit_page);
    u64 *value = machine_register(r, (modrm >> 3 & 7) | (rex & 4 ? 8 : 0));

    if (*at == 0x89)
        unit_write(offset, (u32)*value);
    else
        *value = unit[offset / 4];
    return at + 2 + ((modrm & 7) == 4) + (modrm >> 6 == 1 ? 1 : modrm >> 6 == 2 ? 4 : 0);
}

/* The instruction after; NULL: it is none of the machine's. */
static const u8 *emulate(const u8 *at, greg_t *r, u64 address)
{
    bool word = *at == 0x66;
    u64 *rax = machine_register(r, 0), mask;
    u16 port = (u16)*machine_register(r, 2);
    u8 rex = 0;

    at += word;
    if ((*at & 0xf0) == 0x40)
        rex = *at++;
    switch (*at) {
    case 0xec:
    case 0xed:
        mask = BITS(8 * io_size(*at, word) - 1, 0);
        *rax = (*rax & ~mask) | (port_in(port, io_size(*at, word)) & mask);
        return at + 1;
    case 0xee:
    case 0xef:
        port_out(port, io_size(*at, word), (u32)*rax);
        return at + 1;
    case 0x0f: /* WRMSR, MOV from and to a control register */
        return at[1] == 0x30 ? at + 2 : at[1] == 0x20 || at[1] == 0x22 ? at + 3 : NULL;
    case 0x89:
    case 0x8b:
        return address - (u64)unit_page < PAGE_SIZE ? move(at, r, rex, address) : NULL;
    default:
        return NULL;
    }
}

static void on_fault(int signal_number, siginfo_t *info, void *context)
{
    greg_t *r = ((ucontext_t *)context)->uc_mcontext.gregs;
    const u8 *next = emulate((const u8 *)r[REG_RIP], r, (u64)info->si_addr);

    if (next)
        r[REG_RIP] = (greg_t)next;
    else
        signal(signal_number, SIG_DFL); /* and again */
}

volatile void *machine_iommu(void)
{
    return unit_page;
}

void machine_start(void)
{
    static const u8 header[16] = {0x34, 0x12, 0x78, 0x56, [0x0b] = 0x02}; /* a network card */
    struct sigaction act = {.sa_sigaction = on_fault, .sa_flags = SA_SIGINFO};
    u32 bar = MACHINE_BAR_BASE;

    if (!unit_page)
        unit_page = mmap(NULL, PAGE_SIZE, PROT_NONE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
    if (unit_page == MAP_FAILED || sigaction(SIGSEGV, &act, NULL))
        panic("machine: no memory");
    memset(config, 0, sizeof(config));
    memcpy(config, header, sizeof(header));
    memcpy(config + 0x10, &bar, sizeof(bar));
    memset(unit, 0, sizeof(unit));
    unit[REG_CAP / 4] = 0x20u << 24 | BIT(10);   /* FRO, 48 bits */
    unit[REG_CAP / 4 + 1] = 1u << 2;             /* leaves of 2 MiB */
    unit[REG_ECAP / 4] = (u32)(BIT(0) | BIT(1)); /* coherent, queue */
}
