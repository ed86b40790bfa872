/* Virtio 1.2: section 4.1 (PCI), 2.7 (split rings). */
#include "tests/guests/lib/virtio.h"

#include "tests/guests/lib/apic.h"
#include "tests/guests/lib/cpu.h"
#include "tests/guests/lib/guest.h"

#define FLAG_NEXT 1
#define FLAG_WRITE 2
enum { CAP_COMMON = 1, CAP_NOTIFY, CAP_ISR, CAP_DEVICE };

u32 pci_config_read(u32 slot, u32 offset)
{
    outl(0xcf8, 0x80000000u | slot << 11 | offset);
    return inl(0xcfc);
}

void pci_config_write(u32 slot, u32 offset, u32 value)
{
    outl(0xcf8, 0x80000000u | slot << 11 | offset);
    outl(0xcfc, value);
}

static u32 byte(u32 slot, u32 offset)
{
    return pci_config_read(slot, offset & ~3u) >> (8 * (offset & 3)) & 0xff;
}

static void put8(u64 at, u8 v)
{
    asm volatile("movb %0, (%1)" : : "r"(v), "r"(at) : "memory");
}
static void put16(u64 at, u16 v)
{
    asm volatile("movw %0, (%1)" : : "r"(v), "r"(at) : "memory");
}
static void put32(u64 at, u32 v)
{
    asm volatile("movl %0, (%1)" : : "r"(v), "r"(at) : "memory");
}
static u16 get16(u64 at)
{
    u16 v;
    asm volatile("movw (%1), %0" : "=r"(v) : "r"(at) : "memory");
    return v;
}
static u32 get32(u64 at)
{
    u32 v;
    asm volatile("movl (%1), %0" : "=r"(v) : "r"(at) : "memory");
    return v;
}

static void put64(u64 at, u64 v)
{
    put32(at, (u32)v);
    put32(at + 4, (u32)(v >> 32));
}

static bool find(struct virtio *d, u32 type)
{
    for (d->slot = 1; d->slot < 32; d->slot++)
        if (pci_config_read(d->slot, 0) == (0x1af4u | (0x1040 + type) << 16))
            return true;
    return false;
}

static void read_capabilities(struct virtio *d, u8 vector)
{
    for (u32 at = byte(d->slot, 0x34); at; at = byte(d->slot, at + 1)) {
        u32 type = byte(d->slot, at + 3);
        u32 bar = pci_config_read(d->slot, 0x10 + 4 * byte(d->slot, at + 4));
        u32 address = (bar & (bar & 1 ? ~3u : ~15u)) + pci_config_read(d->slot, at + 8);
        if (byte(d->slot, at) == 0x11 && vector) /* MSI-X: table at 0 of BAR 1 */
            pci_config_write(d->slot, at, (pci_config_read(d->slot, at) & 0xffff) | 1u << 31);
        if (byte(d->slot, at) != 0x09)
            continue;
        if (type == CAP_COMMON)
            d->common = address;
        else if (type == CAP_DEVICE)
            d->device = address;
        else if (type == CAP_NOTIFY && (bar & 1))
            d->ports = (u16)address;
        else if (type == CAP_NOTIFY)
            d->memory = address;
    }
}

static void open_queue(struct virtio *d, u32 queue, u8 vector)
{
    struct virtq *q = &d->queue[queue];
    u64 table = pci_config_read(d->slot, 0x14) & ~15u;

    *q = (struct virtq){.avail.flags = vector ? 0 : 1};
    put16(d->common + 22, (u16)queue);
    q->size = MIN(get16(d->common + 24), (u16)VIRTIO_ENTRIES);
    put16(d->common + 24, q->size);
    if (vector) {
        put64(table + 16 * queue, 0xfee00000ull | (u64)apic_id() << 12);
        put32(table + 16 * queue + 8, vector + queue);
        put32(table + 16 * queue + 12, 0);
        put16(d->common + 26, (u16)queue);
    }
    put64(d->common + 32, (u64)q->desc);
    put64(d->common + 40, (u64)&q->avail);
    put64(d->common + 48, (u64)&q->used);
    put16(d->common + 28, 1);
}

bool virtio_open(struct virtio *d, u32 type, u32 queues, u64 features, u8 vector)
{
    if (!find(d, type))
        return false;
    pci_config_write(d->slot, 4, 7);
    read_capabilities(d, vector);
    put8(d->common + 20, 0);
    put8(d->common + 20, 1);
    put8(d->common + 20, 3);
    d->features = 0;
    for (u32 half = 0; half < 2; half++) {
        put32(d->common, half);
        d->features |= (u64)get32(d->common + 4) << (32 * half);
    }
    d->features &= features | VIRTIO_F_VERSION_1;
    for (u32 half = 0; half < 2; half++) {
        put32(d->common + 8, half);
        put32(d->common + 12, (u32)(d->features >> (32 * half)));
    }
    put8(d->common + 20, 11);
    for (u32 queue = 0; queue < queues; queue++)
        open_queue(d, queue, vector);
    put8(d->common + 20, 15);
    return true;
}

static void offer(struct virtio *d, u32 queue, u16 entry)
{
    struct virtq *q = &d->queue[queue];

    q->avail.ring[q->avail.index % q->size] = entry;
    barrier();
    q->avail.index++;
    asm volatile("mfence" : : : "memory"); /* before the look at what the device wants */
}

void virtio_put(struct virtio *d, u32 queue, u16 entry, void *buffer, u32 len, bool device_writes)
{
    d->queue[queue].desc[entry] =
        (struct virtq_desc){(u64)buffer, len, device_writes ? FLAG_WRITE : 0, 0};
    offer(d, queue, entry);
}

void virtio_request_at(struct virtio *d, u32 queue, u16 first, void *head, u32 head_len, void *data,
                       u32 len, bool device_writes, u8 *status)
{
    struct virtq_desc *desc = &d->queue[queue].desc[first];
    u16 data_flags = (u16)(FLAG_NEXT | (device_writes ? FLAG_WRITE : 0));

    desc[0] = (struct virtq_desc){(u64)head, head_len, FLAG_NEXT, (u16)(first + 1)};
    desc[1] = (struct virtq_desc){(u64)data, len, data_flags, (u16)(first + 2)};
    desc[2] = (struct virtq_desc){(u64)status, 1, FLAG_WRITE, 0};
    offer(d, queue, first);
}

void virtio_request(struct virtio *d, u32 queue, void *head, u32 head_len, void *data, u32 len,
                    bool device_writes, u8 *status)
{
    virtio_request_at(d, queue, 0, head, head_len, data, len, device_writes, status);
}

void virtio_kick(const struct virtio *d, u32 queue)
{
    outw((u16)(d->ports + 2 * queue), (u16)queue);
}

void virtio_kick_memory(const struct virtio *d, u32 queue)
{
    put16(d->memory + 2 * queue, (u16)queue);
}

bool virtio_wants_kick(const struct virtio *d, u32 queue, u16 before)
{
    const struct virtq *q = &d->queue[queue];

    if (!(d->features & VIRTIO_F_EVENT_IDX))
        return !(q->used.flags & 1);
    u16 event = *(volatile u16 *)&q->used.ring[q->size];
    return (u16)(q->avail.index - event - 1) < (u16)(q->avail.index - before);
}

u32 virtio_take(struct virtio *d, u32 queue, u32 *len)
{
    struct virtq *q = &d->queue[queue];

    if (q->seen == q->used.index)
        return ~0u;
    barrier();
    u32 at = q->seen++ % q->size;
    *len = q->used.ring[at].len;
    q->avail.ring[q->size] = q->seen; /* tell us of the next one */
    return q->used.ring[at].id;
}
