/* The arithmetic of cpu.reserve.  Pure; called by vm_sched.c. */
#include "vmm/vm_reserve.h"

#include <stdlib.h>
#include <string.h>

u32 vm_reserve_on(const struct vm_reserve *list, u32 count, u32 cpu)
{
    u32 sum = 0;
    for (u32 i = 0; i < count; i++)
        sum += list[i].percent && list[i].cpu == cpu ? list[i].percent : 0;
    return sum;
}

/* The CPU with most left that it may use and that has room. */
static u8 find_place(const struct vm_reserve *list, u32 count, u32 cpus, const struct vm_reserve *r)
{
    u32 best = VM_RESERVE_NONE, least = VM_RESERVE_LIMIT + 1;
    for (u32 cpu = 0; cpu < cpus; cpu++) {
        u32 used = vm_reserve_on(list, count, cpu) + r->percent;
        if ((r->mask >> cpu & 1) && used < least) {
            least = used;
            best = cpu;
        }
    }
    return (u8)best;
}

/* The one without a place that is hardest to place: fewest CPUs, then the largest. */
static struct vm_reserve *hardest(struct vm_reserve *list, u32 count)
{
    struct vm_reserve *found = NULL;
    for (u32 i = 0; i < count; i++) {
        struct vm_reserve *r = &list[i];
        if (!r->percent || r->cpu != VM_RESERVE_NONE)
            continue;
        int fewer = found ? __builtin_popcountll(r->mask) - __builtin_popcountll(found->mask) : -1;
        if (fewer < 0 || (fewer == 0 && r->percent > found->percent))
            found = r;
    }
    return found;
}

static bool place_rest(struct vm_reserve *list, u32 count, u32 cpus)
{
    struct vm_reserve *r;
    while ((r = hardest(list, count))) {
        r->cpu = find_place(list, count, cpus, r);
        if (r->cpu == VM_RESERVE_NONE)
            return false;
    }
    return true;
}

bool vm_reserve_place(struct vm_reserve *list, u32 count, u32 cpus)
{
    struct vm_reserve *before = malloc(count * sizeof(*list) + 1);
    bool fits = false;
    if (!before)
        return false;
    memcpy(before, list, count * sizeof(*list));
    for (u32 i = 0; i < count; i++) { /* what cannot stay */
        bool stays = list[i].percent && list[i].cpu < cpus && (list[i].mask >> list[i].cpu & 1) &&
                     vm_reserve_on(list, count, list[i].cpu) <= VM_RESERVE_LIMIT;
        if (!stays)
            list[i].cpu = VM_RESERVE_NONE;
    }
    fits = place_rest(list, count, cpus);
    if (!fits) { /* all anew */
        for (u32 i = 0; i < count; i++)
            list[i].cpu = VM_RESERVE_NONE;
        fits = place_rest(list, count, cpus);
    }
    if (!fits)
        memcpy(list, before, count * sizeof(*list));
    free(before);
    return fits;
}

/* On one CPU: with T the sum of all weights there, a reservation of f holds if its weight is at
 * least f * T.  Those whose configured weight is less are raised to that, which raises T: again
 * until nothing changes.  Without others T may be anything. */
static void weigh_cpu(struct vm_reserve *list, u32 count, u32 cpu)
{
    u64 fixed = 0, total, percent = 0;
    bool again;
    for (u32 i = 0; i < count; i++) {
        if (list[i].percent ? list[i].cpu == cpu : list[i].mask >> cpu & 1)
            fixed += list[i].weight;
    }
    do {
        again = false;
        total = MAX(fixed, 1ull) * 100 / (100 - percent) + 1;
        for (u32 i = 0; i < count; i++) {
            struct vm_reserve *r = &list[i];
            if (!r->percent || r->cpu != cpu || r->given ||
                r->weight * 100ull >= r->percent * total)
                continue;
            r->given = 1; /* to be raised */
            again = true;
            percent += r->percent;
            fixed -= r->weight;
        }
    } while (again);
    for (u32 i = 0; i < count; i++) {
        struct vm_reserve *r = &list[i];
        if (r->percent && r->cpu == cpu)
            r->given = r->given ? (u32)(r->percent * total / 100) + 1 : r->weight;
    }
}

void vm_reserve_weigh(struct vm_reserve *list, u32 count)
{
    u64 cpus = 0;
    u32 largest = 1;
    for (u32 i = 0; i < count; i++) {
        list[i].given = list[i].percent ? 0 : list[i].weight;
        if (list[i].percent)
            cpus |= BIT(list[i].cpu);
    }
    for (; cpus; cpus &= cpus - 1)
        weigh_cpu(list, count, (u32)__builtin_ctzll(cpus));
    for (u32 i = 0; i < count; i++)
        largest = MAX(largest, list[i].given);
    /* Only their proportions count; those without a reservation are rounded down. */
    for (u32 i = 0; largest > VM_RESERVE_WEIGHT_MAX && i < count; i++) {
        u64 scaled = (u64)list[i].given * VM_RESERVE_WEIGHT_MAX;
        list[i].given =
            (u32)MAX(list[i].percent ? (scaled + largest - 1) / largest : scaled / largest, 1ull);
    }
}
