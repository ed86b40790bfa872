/* links: vmm/virtio_dev_net.c vmm/virtio_dev.c vmm/virtio_ring.c vmm/guest_mem.c net/offload.c net/frame.c net/checksum.c net/vlan.c */
/* The virtio network device between a switch that only notes and a driver's receive queue. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "control/rt/log.h"
#include "net/net.h"
#include "net/switches.h"
#include "vmm/platform.h"
#include "vmm/virtio_dev_net.h"
#include "vmm/virtio_dev_pci.h"
#include "vmm/vm.h"

#define RAM (1 * MIB)
#define DESC 0x1000
#define DRIVER 0x3000
#define DEVICE 0x4000
#define BUFFERS 0x10000
#define SIZE 256u
#define MRG_RXBUF BIT(15)
#define HEADER 12u
#define LONG 9000u

static u8 ram[RAM] __attribute__((aligned(4096)));
static struct vm *vm;
static struct virtio_device device;
static struct virtio_state state;
static u8 model_state[VIRTIO_MODEL_STATE];
static struct net_switch *sw;
static struct switch_port port;
static struct switch_port_config connected;
static u32 interrupts, refused[DROP_REASONS];
static u16 used; /* of the driver: what it has seen */

struct net_switch *switches_named(const char *name)
{
    (void)name;
    return sw;
}
u64 switches_new_mac(void)
{
    return 0x020000000001ull;
}
int switch_port_add(struct net_switch *s, const struct switch_port_config *c)
{
    connected = *c;
    s->ports[0] = &port;
    return 0;
}
void switch_port_remove(struct net_switch *s, u32 index)
{
    (void)s;
    (void)index;
}
void switch_port_set_vlan(struct net_switch *s, u32 index, const struct vlan_port *v)
{
    (void)s;
    (void)index;
    (void)v;
}
void switch_port_guest_mac(struct net_switch *s, u32 index, u64 mac)
{
    (void)s;
    (void)index;
    (void)mac;
}
void switch_input(struct net_switch *s, u32 index, struct net_frame *frames, u32 count, u64 now)
{
    (void)s;
    (void)index;
    (void)frames;
    (void)count;
    (void)now;
}
void switch_refuse(struct net_switch *s, u32 index, enum switch_drop why)
{
    (void)s;
    (void)index;
    refused[why]++;
}
void switch_announce(struct net_switch *s)
{
    (void)s;
}
void net_wake(void)
{
}
bool vm_error(struct vm_error *e, enum hv_status status, const char *code, const char *attempt,
              const char *fmt, ...)
{
    (void)e;
    (void)status;
    (void)code;
    (void)attempt;
    (void)fmt;
    return false;
}
u64 platform_now(void)
{
    return 0;
}
void platform_log(struct vm *v, const char *fmt, ...)
{
    (void)v;
    fail_msg("%s", fmt);
}
void log_write(enum log_level level, const char *fmt, ...)
{
    (void)level;
    fail_msg("%s", fmt);
}
void platform_device_timer(struct virtio_device *d, u64 at)
{
    (void)d;
    (void)at;
}
void virtio_dev_pci_interrupt(struct virtio_device *d, u16 vector, u8 isr)
{
    (void)d;
    (void)vector;
    (void)isr;
    interrupts++;
}
void pci_intx(struct pci_device *d, bool level)
{
    (void)d;
    (void)level;
}

static void offer(u16 id, u32 len)
{
    u16 *index = (u16 *)(ram + DRIVER + 2);
    u64 *desc = (u64 *)(ram + DESC) + 2u * id;
    desc[0] = BUFFERS + 2048u * id;
    desc[1] = len | 2ull << 32; /* WRITE */
    ((u16 *)(ram + DRIVER + 4))[*index % SIZE] = id;
    ++*index;
}

static int set_up(void **unused)
{
    struct vm_error e;
    (void)unused;
    memset(ram, 0, sizeof(ram));
    memset(&state, 0, sizeof(state));
    memset(refused, 0, sizeof(refused));
    interrupts = used = 0;
    vm->mem = (struct guest_mem){.base = ram, .count = 1, .range = {{0, RAM}}};
    device = (struct virtio_device){.model = &virtio_dev_net_model,
                                    .label = "nic0",
                                    .state = &state,
                                    .model_state = model_state};
    device.pci.vm = vm;
    state.status = 15;
    state.driver_features = VIRTIO_F_VERSION_1 | MRG_RXBUF;
    state.queue[0] = (struct virtio_queue){
        .desc = DESC, .driver = DRIVER, .device = DEVICE, .size = SIZE, .enabled = 1};
    virtio_ring_start(&state.queue[0]);
    assert_true(virtio_dev_net_open(&device, &e));
    virtio_dev_resume(&device);
    return 0;
}

static int tear_down(void **unused)
{
    (void)unused;
    virtio_dev_net_close(&device);
    return 0;
}

static void deliver(u32 len, u8 seed)
{
    static u8 bytes[LONG];
    for (u32 i = 0; i < len; i++)
        bytes[i] = (u8)(seed + i * 7 + (i >> 8));
    struct net_frame f = {.data = bytes, .len = len};
    struct switch_item item = {&f, FRAME_UNTAGGED};
    assert_true(frame_parse(&f));
    connected.ops->deliver(connected.owner, &item, 1);
}

/* As Linux's driver: a frame's buffers are there when its first is.  Offers them again. */
static void take(u32 len, u8 seed, u32 buffer)
{
    u16 index = *(u16 *)(ram + DEVICE + 2), count = 0;
    for (u32 done = 0, i = 0; done < len + HEADER; i++) {
        assert_int_not_equal(used, index);
        const u32 *entry = (const u32 *)(ram + DEVICE + 4) + 2u * (used++ % SIZE);
        const u8 *at = ram + BUFFERS + 2048u * entry[0];
        u32 from = i ? 0 : HEADER;
        if (!i)
            memcpy(&count, at + 10, sizeof(count));
        for (u32 k = from; k < entry[1]; k++) {
            u32 n = done + k - HEADER;
            assert_int_equal(at[k], (u8)(seed + n * 7 + (n >> 8)));
        }
        done += entry[1];
        offer((u16)entry[0], buffer);
        assert_true(i < count);
        if (done >= len + HEADER) {
            assert_int_equal(done, len + HEADER);
            assert_int_equal(i + 1, count);
        }
    }
}

static void long_frames_are_spread_over_buffers(void **unused)
{
    (void)unused;
    for (u16 i = 0; i < SIZE; i++)
        offer(i, 1500);
    for (u32 n = 0; n < 1000; n++) {
        u32 len = n % 3 ? 60 + n * 8 : 1500;
        deliver(len, (u8)n);
        take(len, (u8)n, 1500);
        assert_int_equal(used, *(u16 *)(ram + DEVICE + 2)); /* and nothing besides */
    }
    assert_int_equal(interrupts, 1000);
}

static void a_frame_without_room_takes_no_buffer(void **unused)
{
    (void)unused;
    for (u16 i = 0; i < 3; i++)
        offer(i, 1000);
    deliver(3000, 1);
    assert_int_equal(*(u16 *)(ram + DEVICE + 2), 0);
    assert_int_equal(state.queue[0].next_avail, 0);
    assert_int_equal(refused[DROP_NO_BUFFER], 1);
    deliver(2900, 2);
    take(2900, 2, 1000);
    deliver(3000, 3);
    offer(3, 1000);
    deliver(3000, 4);
    take(3000, 4, 1000);
    assert_int_equal(refused[DROP_NO_BUFFER], 2);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup_teardown(long_frames_are_spread_over_buffers, set_up, tear_down),
        cmocka_unit_test_setup_teardown(a_frame_without_room_takes_no_buffer, set_up, tear_down),
    };
    vm = calloc(1, sizeof(*vm));
    vm->state = calloc(1, sizeof(*vm->state));
    sw = calloc(1, sizeof(*sw));
    int failed = cmocka_run_group_tests(tests, NULL, NULL);
    free(vm->state);
    free(vm);
    free(sw);
    return failed;
}
