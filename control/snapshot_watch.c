/* The alarm of old snapshots; its timer runs on the event loop, its work in a fiber. */
#include "control/snapshot_watch.h"

#include <string.h>

#include "control/rt/clock.h"
#include "control/rt/fiber.h"
#include "control/rt/log.h"
#include "storage/snapshot.h"
#include "vmm/inventory.h"
#include "vmm/vm_home.h"

#define EVERY (600 * CLOCK_SECOND)

static struct loop_timer timer;

/* Each snapshot is told once: those that were taken after the last one that was. */
static void look_at(struct vm *vm)
{
    struct vm_dir *v;
    struct vm_error e;
    i64 now = clock_unix(), told = vm->old_told;
    char name[VM_CONFIG_NAME];

    memcpy(name, vm->config.name, sizeof(name));
    if (!vm->config.home[0] || !vm_home_open(vm, &v, &e))
        return;
    vm = inventory_find(name); /* it may be gone after that wait */
    for (u32 i = 0; vm && i < v->snapshot_count; i++) {
        const struct vm_dir_state *s = v->snapshot[i];

        if (s->time <= told || !snapshot_is_old(s, now, SNAPSHOT_OLD_HOURS))
            continue;
        log_warn("snapshot.old: %s of VM %s is %lld hours old. Try: vm snapshot delete %s %s, and "
                 "vm export as a backup",
                 s->name, name, (long long)((now - s->time) / 3600), name, s->name);
        vm->old_told = MAX(vm->old_told, s->time);
    }
    vm_dir_free(v);
}

static void look(void *arg)
{
    u32 number = 0;

    (void)arg;
    for (struct vm *vm = inventory_first(); vm;) {
        number = vm->config.number;
        look_at(vm);
        vm = inventory_first(); /* the list may have changed meanwhile */
        while (vm && vm->config.number <= number)
            vm = vm->next;
    }
}

static void on_timer(void *owner)
{
    (void)owner;
    if (!fiber_spawn("snapshot watch", look, NULL))
        log_debug("snapshot watch: no memory now");
    loop_timer_set(&timer, clock_after(EVERY));
}

void snapshot_watch_start(void)
{
    timer.fn = on_timer;
    loop_timer_set(&timer, clock_after(EVERY));
}
