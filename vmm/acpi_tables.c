/* Builds a guest's ACPI tables; called by the loaders' set-up in boot_guest.c.  Pure. */
#include "vmm/acpi_tables.h"

#include <string.h>

#include "vmm/acpi_pm.h"
#include "vmm/ioapic.h"
#include "vmm/pci.h"

struct table_header { /* ACPI 6.4 table 5.4 */
    char signature[4];
    u32 length;
    u8 revision, checksum;
    char oem_id[6], oem_table_id[8];
    u32 oem_revision;
    char creator_id[4];
    u32 creator_revision;
} __attribute__((packed));

struct rsdp { /* table 5.3 */
    char signature[8];
    u8 checksum;
    char oem_id[6];
    u8 revision;
    u32 rsdt;
    u32 length;
    u64 xsdt;
    u8 extended_checksum, reserved[3];
} __attribute__((packed));

struct address { /* generic address structure, table 5.1 */
    u8 space, width, offset, access;
    u64 address;
} __attribute__((packed));
#define SPACE_IO 1

struct fadt { /* table 5.9, as of ACPI 4.0 (revision 4, 244 bytes) */
    struct table_header h;
    u32 facs, dsdt;
    u8 reserved, profile;
    u16 sci_int;
    u32 smi_cmd;
    u8 acpi_enable, acpi_disable, s4bios_req, pstate_cnt;
    u32 pm1a_evt, pm1b_evt, pm1a_cnt, pm1b_cnt, pm2_cnt, pm_tmr, gpe0, gpe1;
    u8 pm1_evt_len, pm1_cnt_len, pm2_cnt_len, pm_tmr_len, gpe0_len, gpe1_len, gpe1_base, cst_cnt;
    u16 p_lvl2_lat, p_lvl3_lat, flush_size, flush_stride;
    u8 duty_offset, duty_width, day_alarm, month_alarm, century;
    u16 boot_arch;
    u8 reserved2;
    u32 flags;
    struct address reset;
    u8 reset_value, reserved3[3];
    u64 x_facs, x_dsdt;
    struct address x_pm1a_evt, x_pm1b_evt, x_pm1a_cnt, x_pm1b_cnt, x_pm2_cnt, x_pm_tmr, x_gpe0,
        x_gpe1;
} __attribute__((packed));
_Static_assert(sizeof(struct fadt) == 244, "ACPI 4.0");

#define FADT_WBINVD BIT(0)
#define FADT_PROC_C1 BIT(2)
#define FADT_SLP_BUTTON BIT(5) /* no fixed sleep button */
#define FADT_RESET BIT(10)
#define BOOT_LEGACY_DEVICES BIT(0)
#define BOOT_NO_VGA BIT(2)

struct facs {
    char signature[4];
    u32 length, hardware_signature, waking_vector, global_lock, flags;
    u64 x_waking_vector;
    u8 version, reserved[31];
} __attribute__((packed));

struct mcfg { /* PCI Firmware Specification 3.2, table 4-2: one segment, bus 0 */
    struct table_header h;
    u64 reserved, base;
    u16 segment;
    u8 first_bus, last_bus;
    u32 reserved2;
} __attribute__((packed));

struct madt {
    struct table_header h;
    u32 lapic, flags;
} __attribute__((packed));
#define MADT_PCAT BIT(0) /* there is an 8259 pair */

struct madt_lapic {
    u8 type, length, processor, id;
    u32 flags;
} __attribute__((packed));
struct madt_ioapic {
    u8 type, length, id, reserved;
    u32 address, gsi_base;
} __attribute__((packed));
struct madt_override {
    u8 type, length, bus, source;
    u32 gsi;
    u16 flags;
} __attribute__((packed));
struct madt_lapic_nmi {
    u8 type, length, processor;
    u16 flags;
    u8 lint;
} __attribute__((packed));
#define LAPIC_ENABLED 1
#define INTI_ACTIVE_HIGH_LEVEL 0x0d

struct builder {
    u8 *out;
    u32 used, size;
    u64 gpa;
    bool full;
};

static u8 sum(const void *p, u32 len)
{
    const u8 *b = p;
    u8 s = 0;
    for (u32 i = 0; i < len; i++)
        s += b[i];
    return (u8)-s;
}

/* Room for `len` bytes at the given alignment; NULL when full.  *gpa: where the guest sees it. */
static void *take(struct builder *b, u32 len, u32 align, u64 *gpa)
{
    u32 at = (b->used + align - 1) & ~(align - 1);
    if (b->full || at > b->size || len > b->size - at) {
        b->full = true;
        return NULL;
    }
    b->used = at + len;
    *gpa = b->gpa + at;
    return memset(b->out + at, 0, len);
}

static void put(struct builder *b, const void *item, u32 len)
{
    u64 gpa;
    void *p = take(b, len, 1, &gpa);
    if (p)
        memcpy(p, item, len);
}

static struct table_header header(const char *signature, u32 length, u8 revision)
{
    struct table_header h = {.length = length,
                             .revision = revision,
                             .oem_id = {'B', 'U', 'L', 'K', 'H', 'D'},
                             .oem_table_id = {'G', 'U', 'E', 'S', 'T', ' ', ' ', ' '},
                             .oem_revision = 1,
                             .creator_id = {'B', 'K', 'H', 'D'},
                             .creator_revision = 1};
    memcpy(h.signature, signature, 4);
    return h;
}

static u64 build_facs(struct builder *b)
{
    u64 gpa = 0;
    struct facs *f = take(b, sizeof(*f), 64, &gpa);
    if (f)
        *f = (struct facs){.signature = {'F', 'A', 'C', 'S'}, .length = sizeof(*f), .version = 2};
    return gpa;
}

/* The one resource of PCI's memory (ACPI 6.4, 6.4.3.5.2): first, last, translation, length. */
static void move_window(u8 *dsdt, u32 len, u32 first)
{
    static const u32 window[] = {PCI_MEM_BASE, PCI_MEM_END, 0, PCI_MEM_END - PCI_MEM_BASE + 1};
    const u32 moved[] = {first, PCI_MEM_END, 0, PCI_MEM_END - first + 1};
    struct table_header *h = (struct table_header *)dsdt;
    for (u32 at = 0; at + sizeof(window) <= len; at++)
        if (memcmp(dsdt + at, window, sizeof(window)) == 0)
            memcpy(dsdt + at, moved, sizeof(moved));
    h->checksum = 0;
    h->checksum = sum(dsdt, len);
}

static u64 build_dsdt(struct builder *b, const struct acpi_tables_config *c)
{
    u64 gpa = 0;
    void *p = take(b, c->dsdt_len, 16, &gpa);
    if (p)
        memcpy(p, c->dsdt, c->dsdt_len);
    if (p && c->pci_mem)
        move_window(p, c->dsdt_len, c->pci_mem);
    return gpa;
}

static struct address io(u16 port, u8 bytes)
{
    return (struct address){SPACE_IO, (u8)(bytes * 8), 0,
                            bytes == 1   ? 1
                            : bytes == 2 ? 2
                                         : 3,
                            port};
}

static u64 build_fadt(struct builder *b, u64 facs, u64 dsdt)
{
    u64 gpa = 0;
    struct fadt *f = take(b, sizeof(*f), 16, &gpa);
    if (!f)
        return 0;
    *f = (struct fadt){
        .h = header("FACP", sizeof(*f), 4),
        .facs = (u32)facs,
        .dsdt = (u32)dsdt,
        .profile = 4, /* enterprise server */
        .sci_int = ACPI_SCI,
        .pm1a_evt = ACPI_PM1_EVENT,
        .pm1a_cnt = ACPI_PM1_CONTROL,
        .pm_tmr = ACPI_PM_TIMER,
        .gpe0 = ACPI_GPE0,
        .pm1_evt_len = 4,
        .pm1_cnt_len = 2,
        .pm_tmr_len = 4,
        .gpe0_len = ACPI_GPE0_LEN,
        .p_lvl2_lat = 0xfff, /* no C2, no C3 */
        .p_lvl3_lat = 0xfff,
        .century = 0x32,
        .boot_arch = BOOT_LEGACY_DEVICES | BOOT_NO_VGA,
        .flags = FADT_WBINVD | FADT_PROC_C1 | FADT_SLP_BUTTON | FADT_RESET,
        .reset = io(ACPI_RESET_PORT, 1),
        .reset_value = ACPI_RESET_VALUE,
        .x_dsdt = dsdt,
        .x_pm1a_evt = io(ACPI_PM1_EVENT, 4),
        .x_pm1a_cnt = io(ACPI_PM1_CONTROL, 2),
        .x_pm_tmr = io(ACPI_PM_TIMER, 4),
        .x_gpe0 = io(ACPI_GPE0, ACPI_GPE0_LEN),
    };
    f->h.checksum = sum(f, sizeof(*f));
    return gpa;
}

static u64 build_madt(struct builder *b, u32 cpu_count)
{
    u64 gpa = 0;
    struct madt *m = take(b, sizeof(*m), 16, &gpa);
    u32 start = b->used - (u32)sizeof(*m);
    if (!m)
        return 0;
    for (u32 i = 0; i < cpu_count; i++)
        put(b, &(struct madt_lapic){0, sizeof(struct madt_lapic), (u8)i, (u8)i, LAPIC_ENABLED},
            sizeof(struct madt_lapic));
    put(b,
        &(struct madt_ioapic){
            .type = 1, .length = sizeof(struct madt_ioapic), .address = (u32)IOAPIC_BASE},
        sizeof(struct madt_ioapic));
    /* The PIT sits at pin 2, since pin 0 is where a PIC would be cascaded in. */
    put(b, &(struct madt_override){2, sizeof(struct madt_override), 0, 0, 2, 0},
        sizeof(struct madt_override));
    put(b,
        &(struct madt_override){2, sizeof(struct madt_override), 0, ACPI_SCI, ACPI_SCI,
                                INTI_ACTIVE_HIGH_LEVEL},
        sizeof(struct madt_override));
    put(b, &(struct madt_lapic_nmi){4, sizeof(struct madt_lapic_nmi), 0xff, 0, 1},
        sizeof(struct madt_lapic_nmi));
    u32 length = b->used - start;
    *m = (struct madt){.h = header("APIC", length, 3), .lapic = 0xfee00000u, .flags = MADT_PCAT};
    m->h.checksum = sum(m, length);
    return gpa;
}

static u64 build_mcfg(struct builder *b)
{
    u64 gpa = 0;
    struct mcfg *m = take(b, sizeof(*m), 16, &gpa);
    if (!m)
        return 0;
    *m = (struct mcfg){.h = header("MCFG", sizeof(*m), 1), .base = PCI_ECAM_BASE};
    m->h.checksum = sum(m, sizeof(*m));
    return gpa;
}

static u64 build_xsdt(struct builder *b, const u64 *tables, u32 count)
{
    u64 gpa = 0;
    u32 length = (u32)sizeof(struct table_header) + count * 8;
    struct table_header *x = take(b, length, 16, &gpa);
    if (!x)
        return 0;
    *x = header("XSDT", length, 1);
    memcpy(x + 1, tables, count * 8);
    x->checksum = sum(x, length);
    return gpa;
}

u32 acpi_tables_build(u8 *out, u32 size, u64 gpa, const struct acpi_tables_config *c)
{
    struct builder b = {.out = out, .size = size, .gpa = gpa};
    u64 at;
    struct rsdp *r = take(&b, sizeof(*r), 16, &at);
    u64 facs = build_facs(&b), dsdt = build_dsdt(&b, c);
    u64 tables[] = {build_fadt(&b, facs, dsdt), build_madt(&b, c->cpu_count), build_mcfg(&b)};
    u64 xsdt = build_xsdt(&b, tables, ARRAY_LEN(tables));
    if (b.full)
        return 0;
    *r = (struct rsdp){.signature = {'R', 'S', 'D', ' ', 'P', 'T', 'R', ' '},
                       .oem_id = {'B', 'U', 'L', 'K', 'H', 'D'},
                       .revision = 2,
                       .length = sizeof(*r),
                       .xsdt = xsdt};
    r->checksum = sum(r, 20);
    r->extended_checksum = sum(r, sizeof(*r));
    return b.used;
}
