/* Registers per virtio 1.2 section 4.1, split rings per section 2.7.  Called by the virtio drivers.
 */
#include "drivers/virtio.h"

#include <string.h>

#include "control/rt/clock.h"
#include "control/rt/dma.h"
#include "control/rt/fiber.h"
#include "control/rt/log.h"
#include "control/rt/mmio.h"

enum common { /* 4.1.4.3 */
              DEVICE_SELECT = 0x00,
              DEVICE_FEATURES = 0x04,
              DRIVER_SELECT = 0x08,
              DRIVER_FEATURES = 0x0c,
              MSIX_CONFIG = 0x10,
              NUM_QUEUES = 0x12,
              STATUS = 0x14,
              QUEUE_SELECT = 0x16,
              QUEUE_SIZE = 0x18,
              QUEUE_VECTOR = 0x1a,
              QUEUE_ENABLE = 0x1c,
              QUEUE_NOTIFY = 0x1e,
              QUEUE_DESC = 0x20,
              QUEUE_AVAIL = 0x28,
              QUEUE_USED = 0x30,
              COMMON_LEN = 0x38,
};
#define STATUS_ACKNOWLEDGE 1u
#define STATUS_DRIVER 2u
#define STATUS_DRIVER_OK 4u
#define STATUS_FEATURES_OK 8u
#define STATUS_NEEDS_RESET 0x40u
#define STATUS_FAILED 0x80u
#define NO_VECTOR 0xffffu
#define CAP_COMMON 1 /* 4.1.4 */
#define CAP_NOTIFY 2
#define CAP_ISR 3
#define CAP_DEVICE 4
#define SIZE_MOST 256

static u8 status_of(const struct virtio *v)
{
    return mmio_read8(v->common + STATUS);
}

static void set_status(struct virtio *v, u8 bits)
{
    mmio_write8(v->common + STATUS, bits ? (u8)(status_of(v) | bits) : 0);
}

/* One capability's region, if it lies inside its base address. */
static volatile u8 *region(struct pci_device *pci, u32 cap, u32 least, u32 *len)
{
    u32 bar = pci_read8(pci, cap + 4), offset = pci_read32(pci, cap + 8);

    *len = pci_read32(pci, cap + 12);
    if (*len < least || pci_map(pci, bar, (u64)offset + *len) != HV_OK || !pci->bars[bar].registers)
        return NULL;
    return pci->bars[bar].registers + offset;
}

static enum hv_status find_registers(struct virtio *v, struct pci_device *pci)
{
    u32 len;

    *v = (struct virtio){.pci = pci};
    for (u32 cap = pci_capability(pci, PCI_CAP_VENDOR, 0); cap;
         cap = pci_capability(pci, PCI_CAP_VENDOR, cap)) {
        u8 type = pci_read8(pci, cap + 3);
        if (type == CAP_COMMON && !v->common)
            v->common = region(pci, cap, COMMON_LEN, &len);
        else if (type == CAP_ISR && !v->isr)
            v->isr = region(pci, cap, 1, &len);
        else if (type == CAP_DEVICE && !v->device)
            v->device = region(pci, cap, 1, &v->device_len);
        else if (type == CAP_NOTIFY && !v->notify) {
            v->notify = region(pci, cap, 2, &v->notify_len);
            v->notify_multiplier = pci_read32(pci, cap + 16);
        }
    }
    return v->common && v->isr && v->device && v->notify ? HV_OK : HV_ENOENT;
}

enum hv_status virtio_reset(struct virtio *v)
{
    u64 end = clock_after(CLOCK_SECOND);

    set_status(v, 0);
    while (status_of(v)) {
        if (clock_tsc() > end)
            return HV_EIO;
        fiber_sleep_until(clock_after(CLOCK_MS));
    }
    return HV_OK;
}

enum hv_status virtio_start(struct virtio *v, struct pci_device *pci, u64 wanted)
{
    enum hv_status status = find_registers(v, pci);
    u64 offered = 0;

    if (status == HV_OK)
        status = virtio_reset(v);
    if (status != HV_OK)
        return status;
    pci_enable(pci);
    set_status(v, STATUS_ACKNOWLEDGE);
    set_status(v, STATUS_DRIVER);
    for (u32 i = 0; i < 2; i++) {
        mmio_write32(v->common + DEVICE_SELECT, i);
        offered |= (u64)mmio_read32(v->common + DEVICE_FEATURES) << (32 * i);
    }
    if (!(offered & VIRTIO_F_VERSION_1))
        return HV_ENOENT;
    v->features = offered & (wanted | VIRTIO_F_VERSION_1 | VIRTIO_F_ACCESS_PLATFORM);
    for (u32 i = 0; i < 2; i++) {
        mmio_write32(v->common + DRIVER_SELECT, i);
        mmio_write32(v->common + DRIVER_FEATURES, (u32)(v->features >> (32 * i)));
    }
    set_status(v, STATUS_FEATURES_OK);
    if (!(status_of(v) & STATUS_FEATURES_OK))
        return HV_EIO;
    mmio_write16(v->common + MSIX_CONFIG, NO_VECTOR);
    return HV_OK;
}

void virtio_ready(struct virtio *v)
{
    set_status(v, STATUS_DRIVER_OK);
}

bool virtio_forgot(const struct virtio *v)
{
    return !(status_of(v) & STATUS_DRIVER_OK);
}

bool virtio_broken(const struct virtio *v)
{
    return status_of(v) & (STATUS_NEEDS_RESET | STATUS_FAILED);
}

u32 virtio_queues(const struct virtio *v)
{
    return mmio_read16(v->common + NUM_QUEUES);
}

u32 virtio_ack(const struct virtio *v)
{
    return mmio_read8(v->isr);
}

void virtio_config_vector(const struct virtio *v, u32 vector)
{
    if (v->pci->irq_mode == PCI_IRQ_MSIX)
        mmio_write16(v->common + MSIX_CONFIG, (u16)(vector % v->pci->vectors));
}

static u64 ring_bytes(u16 size, u32 entry)
{
    return 6 + (u64)size * entry;
}

static u64 tables_bytes(const struct virtq *q)
{
    return (u64)q->slots * q->stride * sizeof(struct virtq_desc);
}

static bool allocate(struct virtq *q)
{
    q->desc = dma_alloc(q->size * sizeof(struct virtq_desc));
    q->avail = dma_alloc(ring_bytes(q->size, 2));
    q->used_ring = dma_alloc(ring_bytes(q->size, 8));
    q->tables = q->indirect ? dma_alloc(tables_bytes(q)) : q->desc;
    if (q->desc && q->avail && q->used_ring && q->tables)
        return true;
    virtq_free(q);
    return false;
}

void virtq_free(struct virtq *q)
{
    if (q->indirect)
        dma_free(q->tables, tables_bytes(q));
    dma_free(q->desc, q->size * sizeof(struct virtq_desc));
    dma_free((void *)q->avail, ring_bytes(q->size, 2));
    dma_free((void *)q->used_ring, ring_bytes(q->size, 8));
    q->desc = q->tables = NULL;
    q->avail = q->used_ring = NULL;
}

enum hv_status virtq_start(struct virtq *q, struct virtio *v, u16 index, u16 slots, u16 stride,
                           u32 vector)
{
    mmio_write16(v->common + QUEUE_SELECT, index);
    u16 size = mmio_read16(v->common + QUEUE_SIZE);
    while (size > SIZE_MOST) /* a power of two */
        size /= 2;
    if (!size || (size & (size - 1)))
        return HV_ENOENT;
    *q = (struct virtq){.v = v, .index = index, .size = size, .stride = stride};
    q->indirect = stride > 1 && (v->features & VIRTIO_F_INDIRECT);
    q->slots = MIN(slots, (u16)(q->indirect ? size : size / stride));
    while (q->indirect && tables_bytes(q) > DMA_ALLOC_MAX)
        q->slots /= 2;
    u64 bell = (u64)mmio_read16(v->common + QUEUE_NOTIFY) * v->notify_multiplier;
    if (!q->slots || bell + 2 > v->notify_len)
        return HV_EIO;
    q->bell = v->notify + bell;
    if (!allocate(q))
        return HV_ENOMEM;
    mmio_write16(v->common + QUEUE_SIZE, size);
    if (v->pci->irq_mode == PCI_IRQ_MSIX)
        mmio_write16(v->common + QUEUE_VECTOR, (u16)(vector % v->pci->vectors));
    else
        mmio_write16(v->common + QUEUE_VECTOR, NO_VECTOR);
    mmio_write64(v->common + QUEUE_DESC, dma_address(q->desc));
    mmio_write64(v->common + QUEUE_AVAIL, dma_address((void *)q->avail));
    mmio_write64(v->common + QUEUE_USED, dma_address((void *)q->used_ring));
    mmio_write16(v->common + QUEUE_ENABLE, 1);
    return HV_OK;
}

struct virtq_desc *virtq_chain(struct virtq *q, u32 slot)
{
    return &q->tables[slot * q->stride];
}

void virtq_add(struct virtq *q, u32 slot, u32 count)
{
    struct virtq_desc *chain = virtq_chain(q, slot);
    u32 first = q->indirect ? 0 : slot * q->stride, head = q->indirect ? slot : first;

    for (u32 i = 0; i < count; i++) {
        bool last = i + 1 == count;
        chain[i].flags = (u16)((chain[i].flags & VIRTQ_WRITE) | (last ? 0 : VIRTQ_NEXT));
        chain[i].next = last ? 0 : (u16)(first + i + 1);
    }
    if (q->indirect)
        q->desc[slot] = (struct virtq_desc){.address = dma_address(chain),
                                            .len = (u32)(count * sizeof(*chain)),
                                            .flags = VIRTQ_INDIRECT};
    q->avail[2 + q->avail_index % q->size] = (u16)head;
    q->avail_index++;
    __atomic_thread_fence(__ATOMIC_RELEASE); /* the entry before the index */
    q->avail[1] = q->avail_index;
}

void virtq_kick(struct virtq *q)
{
    mmio_barrier();
    u16 from = q->told, now = q->avail_index;
    q->told = now;
    if (q->v->features & VIRTIO_F_EVENT_IDX) { /* 2.7.10: did it pass what it waits for? */
        u16 event = q->used_ring[2 + 4 * q->size];
        if ((u16)(now - event - 1) >= (u16)(now - from))
            return;
    } else if (q->used_ring[0] & 1) {
        return;
    }
    mmio_write16(q->bell, q->index);
}

bool virtq_pop(struct virtq *q, u32 *slot, u32 *len)
{
    u16 ready = (u16)(q->used_ring[1] - q->used_index);
    if (!ready)
        return false;
    __atomic_thread_fence(__ATOMIC_ACQUIRE);
    const volatile u32 *entry =
        (const volatile u32 *)(q->used_ring + 2) + 2 * (q->used_index % q->size);
    u32 head = entry[0];
    *len = entry[1];
    u32 stride = q->indirect ? 1 : q->stride;
    bool sound = ready <= q->slots && head % stride == 0 && head / stride < q->slots;
    *slot = sound ? head / stride : q->slots;
    q->used_index++;
    return true;
}

bool virtq_rearm(struct virtq *q)
{
    if (q->v->features & VIRTIO_F_EVENT_IDX)
        q->avail[2 + q->size] = q->used_index;
    mmio_barrier();
    return q->used_ring[1] != q->used_index;
}
