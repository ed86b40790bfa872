/* The balloon: takes the pages whose numbers the driver sends, and gives them back; called at
 * doorbells, by guest_ptr() and by the exit handlers, on the event loop. */
#include "vmm/virtio_dev_balloon.h"

#include <string.h>

#include "control/rt/sys.h"
#include "vmm/platform.h"
#include "vmm/vm_devices.h"

enum { QUEUE_INFLATE, QUEUE_DEFLATE, QUEUES };

#define F_DEFLATE_ON_OOM BIT(2)
#define NUMBERS 256u              /* of pages in a request, at most: 5.5.6 */
#define LOWEST MIB                /* what firmware and boot data have below stays */
#define TURN 2u                   /* requests before others run: 512 calls of the kernel */
#define PAUSE (NS_PER_SEC / 1000) /* while disk requests point into memory */

struct balloon_config { /* 5.5.4 */
    u32 wanted, actual; /* pages */
};

struct balloon_state {
    u32 actual; /* as the driver has written it */
    u64 taken;  /* pages that the kernel was given back */
};
_Static_assert(sizeof(struct balloon_state) <= VIRTIO_MODEL_STATE, "it has no more");

static struct virtio_chain chain; /* one thread, and never kept */

static struct virtio_device *balloon_of(struct vm *vm)
{
    return vm->config.balloon ? vm_devices_find(vm, "balloon") : NULL;
}

/* While nothing is missing, guest_ptr() need not ask. */
static void note(struct virtio_device *d)
{
    struct guest_mem *m = &d->pci.vm->mem;
    const struct balloon_state *s = d->model_state;
    m->quick = s->taken ? 0 : m->range[0].len;
}

/* HV_OK: it was missing and is there now. */
static i64 give(struct virtio_device *d, u64 page)
{
    struct balloon_state *s = d->model_state;
    i64 status = s->taken ? sys_vm_mem(d->pci.vm->slot, GPA(page), PAGE_SIZE, 0) : HV_EEXIST;
    if (status == HV_OK) {
        s->taken--;
        note(d);
    }
    return status;
}

static bool fill(void *owner, u64 gpa, u64 len)
{
    for (u64 page = gpa & ~(u64)(PAGE_SIZE - 1); page < gpa + len; page += PAGE_SIZE)
        if (give(owner, page) == HV_ENOMEM)
            return false;
    return true;
}

/* Pages that a device reads or writes by pointers it keeps. */
static bool in_use(const struct vm *vm, u64 page)
{
    for (u32 i = 0; i < vm->state->device_count; i++)
        if (virtio_dev_uses(&vm->devices[i], page))
            return true;
    return false;
}

static void take(struct virtio_device *d, u64 page)
{
    struct vm *vm = d->pci.vm;
    struct balloon_state *s = d->model_state;
    if (page < LOWEST || !guest_mem_has(&vm->mem, page, PAGE_SIZE) || in_use(vm, page))
        return;
    if (sys_vm_mem(vm->slot, GPA(page), PAGE_SIZE, VM_MEM_TAKE) == HV_OK) {
        s->taken++;
        note(d);
    }
}

/* Requests in flight have pointers to memory. */
static bool disks_busy(const struct vm *vm)
{
    for (u32 i = 0; i < vm->state->device_count; i++) {
        const struct virtio_device *d = &vm->devices[i];
        if (d->model && d->model->busy && d->model->busy(d))
            return true;
    }
    return false;
}

static void serve(struct virtio_device *d, u32 queue)
{
    u32 numbers[NUMBERS];
    u32 len = virtio_chain_read(&chain, 0, numbers, sizeof(numbers));
    for (u32 i = 0; i < len / sizeof(numbers[0]); i++) {
        u64 page = (u64)numbers[i] * PAGE_SIZE;
        if (queue == QUEUE_INFLATE)
            take(d, page);
        else if (guest_mem_has(&d->pci.vm->mem, page, PAGE_SIZE))
            (void)give(d, page); /* else it comes when it is touched */
    }
}

static void kick(struct virtio_device *d, u32 queue)
{
    u32 n;
    if (queue == QUEUE_INFLATE && disks_busy(d->pci.vm)) {
        virtio_dev_again(d, queue, platform_now() + PAUSE);
        return;
    }
    for (n = 0; n < TURN && virtio_dev_take(d, queue, &chain); n++) {
        serve(d, queue);
        virtio_dev_put(d, queue, &chain, 0);
    }
    virtio_dev_signal(d, queue);
    if (n == TURN)
        virtio_dev_again(d, queue, platform_now());
}

static u32 queues(const struct virtio_device *d)
{
    (void)d;
    return QUEUES;
}

static void config_read(struct virtio_device *d, u32 offset, void *dst, u32 len)
{
    const struct balloon_state *s = d->model_state;
    struct balloon_config c = {(u32)(d->pci.vm->config.mem_balloon / PAGE_SIZE), s->actual};
    memcpy(dst, (const u8 *)&c + offset, len);
}

static void config_write(struct virtio_device *d, u32 offset, const void *src, u32 len)
{
    struct balloon_state *s = d->model_state;
    if (offset == sizeof(u32) && len == sizeof(u32))
        memcpy(&s->actual, src, len);
}

static void reset(struct virtio_device *d)
{
    struct balloon_state *s = d->model_state;
    s->actual = 0; /* what is missing comes back as it is touched */
}

const struct virtio_model virtio_dev_balloon_model = {
    .name = "virtio-balloon",
    .type = 5,
    .class = 0x00ff00, /* unclassified */
    .queue_size = 64,
    .config_len = sizeof(struct balloon_config),
    .features = F_DEFLATE_ON_OOM,
    .queues = queues,
    .config_read = config_read,
    .config_write = config_write,
    .reset = reset,
    .kick = kick,
};

bool virtio_dev_balloon_open(struct virtio_device *d, struct vm_error *e)
{
    struct guest_mem *m = &d->pci.vm->mem;
    (void)e;
    m->fill = fill;
    m->owner = d;
    note(d);
    return true;
}

void virtio_dev_balloon_close(struct virtio_device *d)
{
    d->pci.vm->mem.fill = NULL;
}

void virtio_dev_balloon_apply(struct vm *vm)
{
    struct virtio_device *d = balloon_of(vm);
    const struct balloon_state *s = d ? d->model_state : NULL;
    if (d && s->actual != vm->config.mem_balloon / PAGE_SIZE)
        virtio_dev_config_changed(d);
}

u64 virtio_dev_balloon_taken(struct vm *vm)
{
    struct virtio_device *d = balloon_of(vm);
    return d ? ((const struct balloon_state *)d->model_state)->taken * PAGE_SIZE : 0;
}

bool virtio_dev_balloon_gave(struct vm *vm, u64 gpa)
{
    if (!vm->mem.fill || !guest_mem_has(&vm->mem, gpa, 1))
        return false;
    i64 status = give(vm->mem.owner, gpa & ~(u64)(PAGE_SIZE - 1));
    if (status == HV_ENOMEM)
        vm_pause_for(vm, "the host has no memory for a page that its balloon gave up");
    return status == HV_OK || status == HV_ENOMEM;
}
