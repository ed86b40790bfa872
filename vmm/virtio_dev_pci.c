/* Registers of a virtio PCI device; called by pci.c, calls virtio_dev.c. */
#include "vmm/virtio_dev_pci.h"

#include <stddef.h>
#include <string.h>

#include "control/rt/sys.h"
#include "vmm/inventory.h"
#include "vmm/vm.h"

#define VENDOR 0x1af4
#define DEVICE_MODERN 0x1040 /* plus the virtio device id */
#define REVISION_MODERN 1

enum { BAR_PORTS = 0, BAR_MSIX = 1, BAR_MEMORY = 4 };

#define MSIX_SIZE 0x1000u
#define MEMORY_AT 0x4000u /* of the slot's window */
#define MEMORY_SIZE 0x4000u
#define NOTIFY_MULTIPLIER 2

enum cap_type { CAP_COMMON = 1, CAP_NOTIFY, CAP_ISR, CAP_DEVICE, CAP_ACCESS };

struct capability { /* 4.1.4 */
    u8 id, next, len, type, bar, id2, pad[2];
    u32 offset, length;
    u32 extra; /* NOTIFY: multiplier; ACCESS: data */
};

/* The regions of BAR_MEMORY, each a page: a row is a capability. */
struct region {
    enum cap_type type;
    u8 bar;
    u32 offset, length;
};

enum { REGION_COMMON, REGION_ISR, REGION_DEVICE, REGION_NOTIFY, REGION_COUNT };
#define REGION_SIZE 0x1000u

static const struct region regions[] = {
    {CAP_NOTIFY, BAR_PORTS, 0, PCI_IO_SLOT}, /* first: drivers take the first they can use */
    {CAP_COMMON, BAR_MEMORY, REGION_COMMON *REGION_SIZE, 64},
    {CAP_ISR, BAR_MEMORY, REGION_ISR *REGION_SIZE, 4},
    {CAP_DEVICE, BAR_MEMORY, REGION_DEVICE *REGION_SIZE, REGION_SIZE},
    {CAP_NOTIFY, BAR_MEMORY, REGION_NOTIFY *REGION_SIZE, NOTIFY_MULTIPLIER *VIRTIO_QUEUES},
};

struct common { /* 4.1.4.3 */
    u32 device_feature_select, device_feature, driver_feature_select, driver_feature;
    u16 config_vector, num_queues;
    u8 status, generation;
    u16 queue_select, queue_size, queue_vector, queue_enable, queue_notify_off;
    u64 queue_desc, queue_driver, queue_device;
    u16 queue_notify_data, queue_reset;
    u8 pad[4];
};
_Static_assert(sizeof(struct common) == 64, "4.1.4.3");

static struct virtio_device *device(struct pci_device *pci)
{
    return (struct virtio_device *)pci; /* pci is its first member */
}

void virtio_dev_pci_interrupt(struct virtio_device *d, u16 vector, u8 isr)
{
    if (pci_msix(&d->pci, vector))
        return;
    d->state->isr |= isr;
    pci_intx(&d->pci, true);
}

static u32 half(u64 features, u32 select)
{
    return select < 2 ? (u32)(features >> (32 * select)) : 0;
}

/* The queue that is looked at; NULL: there is no such. */
static struct virtio_queue *selected(struct virtio_device *d)
{
    u32 queue = d->state->queue_select;
    return queue < virtio_dev_queue_count(d) ? &d->state->queue[queue] : NULL;
}

static u64 read_common(struct virtio_device *d, u32 offset, u8 size)
{
    const struct virtio_state *s = d->state;
    const struct virtio_queue *q = selected(d);
    u64 value = 0;
    struct common c = {.device_feature_select = s->device_select,
                       .device_feature = half(virtio_dev_features(d), s->device_select),
                       .driver_feature_select = s->driver_select,
                       .driver_feature = half(s->driver_features, s->driver_select),
                       .config_vector = s->config_vector,
                       .num_queues = (u16)virtio_dev_queue_count(d),
                       .status = s->status,
                       .generation = s->generation,
                       .queue_select = s->queue_select};
    if (q) {
        c.queue_size = q->size;
        c.queue_vector = q->vector;
        c.queue_enable = q->enabled;
        c.queue_notify_off = s->queue_select;
        c.queue_desc = q->desc;
        c.queue_driver = q->driver;
        c.queue_device = q->device;
    }
    if (offset + size <= sizeof(c))
        memcpy(&value, (const u8 *)&c + offset, size);
    return value;
}

static u16 vector(const struct virtio_device *d, u64 value)
{
    u32 count = virtio_dev_queue_count(d) + 1;
    return value < MIN(count, (u32)PCI_MSIX_MAX) ? (u16)value : PCI_MSIX_NONE;
}

static void write_feature(struct virtio_state *s, u32 value)
{
    u32 shift = 32 * s->driver_select;
    if (s->driver_select > 1 || (s->status & VIRTIO_STATUS_FEATURES_OK))
        return; /* 2.2: not after they were agreed on */
    s->driver_features = (s->driver_features & ~(BITS(31, 0) << shift)) | (u64)value << shift;
}

#define FIELD(name) offsetof(struct common, name)

static void write_queue(struct virtio_device *d, u32 offset, u64 value)
{
    struct virtio_queue *q = selected(d);
    u64 *area;
    if (!q)
        return;
    if (offset == FIELD(queue_vector)) {
        q->vector = vector(d, value);
        return;
    }
    if (q->enabled)
        return; /* 4.1.4.3.2: nothing else changes then */
    switch (offset) {
    case FIELD(queue_size):
        q->size = value <= d->model->queue_size ? (u16)value : q->size;
        return;
    case FIELD(queue_enable):
        if (value == 1)
            virtio_dev_enable_queue(d, d->state->queue_select);
        return;
    default: /* one half of an address: `offset` is a multiple of 4 */
        area = &q->desc + (offset - FIELD(queue_desc)) / 8;
        *area =
            offset & 4 ? (*area & BITS(31, 0)) | value << 32 : (*area & ~BITS(31, 0)) | (u32)value;
    }
}

static void write_common(struct virtio_device *d, u32 offset, u8 size, u64 value)
{
    struct virtio_state *s = d->state;
    bool in_areas = offset >= FIELD(queue_desc) && offset < FIELD(queue_notify_data);
    if (in_areas && size == 8 && offset % 8 == 0) {
        write_queue(d, offset, (u32)value);
        write_queue(d, offset + 4, value >> 32);
    } else if (in_areas && size == 4 && offset % 4 == 0) {
        write_queue(d, offset, value);
    } else if (offset == FIELD(device_feature_select) && size == 4) {
        s->device_select = (u32)value;
    } else if (offset == FIELD(driver_feature_select) && size == 4) {
        s->driver_select = (u32)value;
    } else if (offset == FIELD(driver_feature) && size == 4) {
        write_feature(s, (u32)value);
    } else if (offset == FIELD(config_vector) && size == 2) {
        s->config_vector = vector(d, value);
    } else if (offset == FIELD(status) && size == 1) {
        virtio_dev_set_status(d, (u8)value);
    } else if (offset == FIELD(queue_select) && size == 2) {
        s->queue_select = (u16)value;
    } else if (offset >= FIELD(queue_size) && offset <= FIELD(queue_enable) && size == 2 &&
               offset % 2 == 0) {
        write_queue(d, offset, value);
    }
}

/* Reading it ends the interrupt (4.1.4.5). */
static u64 read_isr(struct virtio_device *d)
{
    u8 isr = d->state->isr;
    d->state->isr = 0;
    pci_intx(&d->pci, false);
    return isr;
}

static u64 read_config(struct virtio_device *d, u32 offset, u8 size)
{
    u64 value = 0;
    if (d->model->config_read && offset + size <= d->model->config_len)
        d->model->config_read(d, offset, &value, size);
    return value;
}

static u64 bar_read(struct pci_device *pci, u32 bar, u32 offset, u8 size)
{
    struct virtio_device *d = device(pci);
    u32 at = offset % REGION_SIZE;
    if (bar == BAR_MSIX)
        return pci_msix_read(pci, offset, size);
    if (bar != BAR_MEMORY)
        return 0;
    switch (offset / REGION_SIZE) {
    case REGION_COMMON:
        return read_common(d, at, size);
    case REGION_ISR:
        return at == 0 ? read_isr(d) : 0;
    case REGION_DEVICE:
        return read_config(d, at, size);
    default:
        return 0;
    }
}

static void bar_write(struct pci_device *pci, u32 bar, u32 offset, u8 size, u64 value)
{
    struct virtio_device *d = device(pci);
    u32 at = offset % REGION_SIZE, region = offset / REGION_SIZE;
    if (bar == BAR_MSIX)
        pci_msix_write(pci, offset, size, value);
    else if (bar == BAR_PORTS || region == REGION_NOTIFY)
        virtio_dev_kick(d, at / NOTIFY_MULTIPLIER);
    else if (region == REGION_COMMON)
        write_common(d, at, size, value);
    else if (region == REGION_DEVICE && d->model->config_write && at + size <= d->model->config_len)
        d->model->config_write(d, at, &value, size);
}

/* The window in configuration space for firmware that cannot map memory (4.1.4.9): bar, offset and
 * length are the driver's, an access to the last word is one to the BAR. */
static bool window(struct pci_device *pci, u32 at, u8 size, struct capability *c)
{
    memcpy(c, pci->state->config + pci->state->open_at - offsetof(struct capability, bar),
           sizeof(*c));
    u32 data =
        pci->state->open_at + offsetof(struct capability, extra) - offsetof(struct capability, bar);
    return at == data && c->length == size && c->bar < PCI_BARS && c->offset % size == 0 &&
           c->offset <= pci->state->bar_size[c->bar] &&
           size <= pci->state->bar_size[c->bar] - c->offset;
}

static void window_read(struct pci_device *pci, u32 at, u8 size)
{
    struct capability c;
    if (!window(pci, at, size, &c))
        return;
    u64 value = bar_read(pci, c.bar, c.offset, size);
    memcpy(pci->state->config + at, &value, size);
}

static void window_wrote(struct pci_device *pci, u32 at, u8 size)
{
    struct capability c;
    if (window(pci, at, size, &c))
        bar_write(pci, c.bar, c.offset, size, c.extra);
}

static void put_capability(struct pci_device *pci, const struct region *r)
{
    u8 len = r->type == CAP_NOTIFY ? 20 : 16;
    u8 at = pci_config_cap(pci, PCI_CAP_VENDOR, len);
    u8 *config = pci->state->config + at;
    struct capability c = {.id = config[0],
                           .next = config[1],
                           .len = len,
                           .type = (u8)r->type,
                           .bar = r->bar,
                           .offset = r->offset,
                           .length = r->length,
                           .extra = NOTIFY_MULTIPLIER};
    memcpy(config, &c, len);
}

static void name_doorbells(struct virtio_device *d, u32 group, u32 mask)
{
    struct pci_bus *bus = &d->pci.vm->pci;
    u32 slot = d->pci.vm->slot;
    if (group == d->group && mask == d->doorbells)
        return;
    if (group != d->group && bus->doorbells[d->group] == &d->pci) {
        if (sys_vm_doorbells(slot, d->group, 0) != HV_OK)
            return;
        bus->doorbells[d->group] = NULL;
    }
    if (sys_vm_doorbells(slot, group, mask) != HV_OK)
        return;
    bus->doorbells[group] = mask ? &d->pci : NULL;
    d->group = group;
    d->doorbells = mask;
}

/* The kernel answers the doorbells where BAR 0 is, which is as large as a group of them, if that is
 * where groups are. */
static void moved(struct pci_device *pci)
{
    struct virtio_device *d = device(pci);
    u32 bar = pci_get32(pci->state, PCI_BAR0 + 4 * BAR_PORTS) & ~3u, mask = 0;
    u32 group = (bar - PCI_IO_BASE) / PCI_IO_SLOT;
    if (group < DOORBELL_GROUPS && (pci_get16(pci->state, PCI_COMMAND) & PCI_COMMAND_IO))
        mask = (u32)BIT(virtio_dev_queue_count(d)) - 1;
    name_doorbells(d, group < DOORBELL_GROUPS ? group : pci->slot, mask);
}

static void reset(struct pci_device *pci)
{
    struct virtio_device *d = device(pci);
    struct pci_identity id = {.vendor = VENDOR,
                              .device = (u16)(DEVICE_MODERN + d->model->type),
                              .subsystem = (u16)(DEVICE_MODERN + d->model->type),
                              .class = d->model->class,
                              .revision = REVISION_MODERN};
    pci_config_init(pci, &id);
    pci_config_bar(pci, BAR_PORTS, PCI_IO_SLOT, true, 0);
    pci_config_bar(pci, BAR_MSIX, MSIX_SIZE, false, 0);
    pci_config_bar(pci, BAR_MEMORY, MEMORY_SIZE, false, MEMORY_AT);
    pci_config_msix(pci, MIN(virtio_dev_queue_count(d) + 1, (u32)PCI_MSIX_MAX), BAR_MSIX);
    for (u32 i = 0; i < ARRAY_LEN(regions); i++)
        put_capability(pci, &regions[i]);
    u8 at = pci_config_cap(pci, PCI_CAP_VENDOR, sizeof(struct capability));
    pci->state->config[at + offsetof(struct capability, type)] = CAP_ACCESS;
    pci->state->open_at = (u8)(at + offsetof(struct capability, bar));
    pci->state->open_len = sizeof(struct capability) - offsetof(struct capability, bar);
    virtio_dev_reset(d);
    moved(pci);
}

static const struct pci_ops ops = {
    .read = bar_read,
    .write = bar_write,
    .config_read = window_read,
    .config_wrote = window_wrote,
    .moved = moved,
    .reset = reset,
};

void virtio_dev_pci_attach(struct virtio_device *d, struct vm *vm, u32 slot,
                           struct virtio_area *area)
{
    d->pci = (struct pci_device){&ops, &area->pci, vm, (u8)slot};
    d->state = &area->virtio;
    d->model_state = area->model;
    d->doorbells = ~0u; /* unknown */
    d->group = slot;
    pci_attach(&vm->pci, &d->pci);
    moved(&d->pci);
}

void virtio_dev_pci_detach(struct virtio_device *d)
{
    name_doorbells(d, d->group, 0);
    pci_detach(&d->pci.vm->pci, &d->pci);
    pci_intx(&d->pci, false);
}

void virtio_dev_pci_doorbell(u32 slot, u32 doorbell)
{
    struct vm *vm = inventory_by_slot(slot);
    struct pci_device *pci = vm ? vm->pci.doorbells[doorbell / DOORBELL_GROUP] : NULL;
    if (pci && pci->ops == &ops)
        virtio_dev_kick(device(pci), doorbell % DOORBELL_GROUP);
}
