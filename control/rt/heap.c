/* malloc() and its like, counted by who called: a header before each block names the owner and the
 * length.  Called by everyone in the control partition through ld's --wrap; one thread, no locks.
 * The address that such a call returns to tells the part of the image (linker.ld). */
#include "control/rt/heap.h"

#include <errno.h>
#include <string.h>

#include "control/rt/heap_wrap.h"
#include "control/rt/log.h"

struct header { /* keeps malloc's alignment of 16 */
    u64 bytes;
    u32 owner, check;
};
#define CHECK 0x70616568u

extern const char image_part_vmm[], image_part_drivers[], image_part_net[], image_part_storage[],
    image_part_ssh[], image_part_other[];
/* Where the parts after the first begin, by enum heap_owner less one. */
static const char *const starts[] = {image_part_vmm,     image_part_drivers, image_part_net,
                                     image_part_storage, image_part_ssh,     image_part_other};
static struct heap_use uses[HEAP_OWNERS];

static u32 owner_of(const void *caller)
{
    u32 owner = 0;

    while (owner < ARRAY_LEN(starts) && (const char *)caller >= starts[owner])
        owner++;
    return owner;
}

struct heap_use heap_use(enum heap_owner owner)
{
    return uses[owner];
}

static void *count(struct header *h, u64 bytes, u32 owner)
{
    struct heap_use *u = &uses[owner];

    *h = (struct header){.bytes = bytes, .owner = owner, .check = CHECK};
    u->blocks++;
    u->bytes += bytes;
    u->most = MAX(u->most, u->bytes);
    return h + 1;
}

static struct header *uncount(void *p)
{
    struct header *h = (struct header *)p - 1;

    rt_assert(h->check == CHECK && h->owner < HEAP_OWNERS);
    uses[h->owner].blocks--;
    uses[h->owner].bytes -= h->bytes;
    h->check = 0;
    return h;
}

static void *allocate(u64 bytes, const void *caller)
{
    struct header *h = bytes > ~0ull / 2 ? NULL : __real_malloc(sizeof(*h) + bytes);

    if (!h) {
        errno = ENOMEM;
        return NULL;
    }
    return count(h, bytes, owner_of(caller));
}

void *__wrap_malloc(size_t bytes)
{
    return allocate(bytes, __builtin_return_address(0));
}

void *__wrap_calloc(size_t n, size_t each)
{
    u64 bytes;
    void *p = __builtin_mul_overflow(n, each, &bytes)
                  ? NULL
                  : allocate(bytes, __builtin_return_address(0));

    return p ? memset(p, 0, bytes) : NULL;
}

void __wrap_free(void *p)
{
    if (p)
        __real_free(uncount(p));
}

void *__wrap_realloc(void *p, size_t bytes)
{
    if (!p)
        return allocate(bytes, __builtin_return_address(0));
    struct header *h = uncount(p), old = *h;
    struct header *bigger = bytes > ~0ull / 2 ? NULL : __real_realloc(h, sizeof(*h) + bytes);

    if (bigger)
        return count(bigger, bytes, old.owner);
    count(h, old.bytes, old.owner);
    errno = ENOMEM;
    return NULL;
}
