/* Frame ownership: every 2 MiB chunk of RAM has one descriptor.  Any core; one lock, held for
 * bookkeeping only (zeroing happens outside). */
#include "kernel/mem.h"

#include "kernel/health.h"
#include "kernel/log.h"
#include "kernel/spinlock.h"
#include "kernel/string.h"

#define CHUNK_FRAMES 512
#define NONE (~0u)

enum chunk_state { CHUNK_ABSENT, CHUNK_FREE, CHUNK_WHOLE, CHUNK_SPLIT };

struct chunk {
    u64 used[CHUNK_FRAMES / 64]; /* CHUNK_SPLIT: bit set = allocated, or no RAM */
    u16 free;                    /* CHUNK_SPLIT: frames free */
    u8 state;                    /* enum chunk_state */
};

static struct {
    struct spinlock lock;
    struct chunk *chunks; /* by physical address / 2 MiB */
    u32 chunk_count;
    u32 lowest_free;    /* no chunk below it is CHUNK_FREE */
    u32 lowest_partial; /* no split chunk below it has a free frame */
    u32 free_chunks;
    u64 free_frames; /* in split chunks */
    u64 total;       /* bytes */
} mem;

struct quota quota_kernel = {.limit = ~0ull};

/* First free chunk at or after `from`; NONE: all taken. */
static u32 find_free(u32 from)
{
    while (from < mem.chunk_count && mem.chunks[from].state != CHUNK_FREE)
        from++;
    return from < mem.chunk_count ? from : NONE;
}

static void chunk_take(u32 i, enum chunk_state state)
{
    mem.chunks[i].state = (u8)state;
    mem.free_chunks--;
    if (i == mem.lowest_free)
        mem.lowest_free++;
}

static void chunk_release(u32 i)
{
    mem.chunks[i].state = CHUNK_FREE;
    mem.free_chunks++;
    mem.lowest_free = MIN(mem.lowest_free, i);
}

static u64 take_chunk(void)
{
    u32 i = find_free(mem.lowest_free);
    if (i == NONE) {
        mem.lowest_free = mem.chunk_count;
        return ~0ull;
    }
    mem.lowest_free = i;
    chunk_take(i, CHUNK_WHOLE);
    return i * PAGE_2M;
}

/* A split chunk with a free frame, if need be split for that; NONE: memory is used up. */
static u32 find_partial(void)
{
    u32 i = mem.lowest_partial;

    while (mem.free_frames && (mem.chunks[i].state != CHUNK_SPLIT || !mem.chunks[i].free))
        i++;
    if (!mem.free_frames) {
        i = find_free(mem.lowest_free);
        if (i == NONE)
            return NONE;
        mem.lowest_free = i;
        chunk_take(i, CHUNK_SPLIT);
        memset(mem.chunks[i].used, 0, sizeof(mem.chunks[i].used));
        mem.chunks[i].free = CHUNK_FRAMES;
        mem.free_frames = CHUNK_FRAMES;
    }
    mem.lowest_partial = i;
    return i;
}

static u64 take_frame(void)
{
    u32 i = find_partial(), word = 0;

    if (i == NONE)
        return ~0ull;
    struct chunk *c = &mem.chunks[i];
    while (c->used[word] == ~0ull)
        word++;
    u32 bit = (u32)__builtin_ctzll(~c->used[word]);
    c->used[word] |= BIT(bit);
    c->free--;
    mem.free_frames--;
    return i * PAGE_2M + (word * 64 + bit) * PAGE_SIZE;
}

#define GIB_CHUNKS ((u32)(PAGE_1G / PAGE_2M))

static u64 take_gib(void)
{
    for (u32 i = 0, n; i + GIB_CHUNKS <= mem.chunk_count; i += GIB_CHUNKS) {
        for (n = 0; n < GIB_CHUNKS && mem.chunks[i + n].state == CHUNK_FREE; n++)
            ;
        if (n < GIB_CHUNKS)
            continue;
        for (n = 0; n < GIB_CHUNKS; n++)
            chunk_take(i + n, CHUNK_WHOLE);
        return i * PAGE_2M;
    }
    return ~0ull;
}

hpa_t mem_alloc(struct quota *q, u64 len)
{
    u64 at = ~0ull;

    spin_lock(&mem.lock);
    if (q->used + len <= q->limit) {
        at = len == PAGE_SIZE ? take_frame()
             : len == PAGE_2M ? take_chunk()
             : len == PAGE_1G ? take_gib()
                              : ~0ull;
        if (at != ~0ull)
            q->used += len;
    }
    spin_unlock(&mem.lock);
    for (u64 done = 0; at != ~0ull && done < len; done += PAGE_2M) {
        memset(phys_to_virt(HPA(at + done)), 0, MIN(len, PAGE_2M));
        health_alive();
    }
    return HPA(at);
}

static void give_frame(u32 i, u64 at)
{
    struct chunk *c = &mem.chunks[i];
    u32 frame = (u32)(at % PAGE_2M / PAGE_SIZE);

    assert(c->state == CHUNK_SPLIT && (c->used[frame / 64] & BIT(frame % 64)));
    c->used[frame / 64] &= ~BIT(frame % 64);
    mem.free_frames++;
    mem.lowest_partial = MIN(mem.lowest_partial, i);
    if (++c->free == CHUNK_FRAMES) {
        mem.free_frames -= CHUNK_FRAMES;
        chunk_release(i);
    }
}

void mem_free(struct quota *q, hpa_t at, u64 len)
{
    u32 i = (u32)(at.raw / PAGE_2M);

    assert(at.raw / PAGE_2M < mem.chunk_count && at.raw % len == 0 && q->used >= len);
    spin_lock(&mem.lock);
    q->used -= len;
    if (len == PAGE_SIZE) {
        give_frame(i, at.raw);
    } else {
        for (u32 n = 0; n < len / PAGE_2M; n++) {
            assert(mem.chunks[i + n].state == CHUNK_WHOLE);
            chunk_release(i + n);
        }
    }
    spin_unlock(&mem.lock);
}

void mem_break(hpa_t at)
{
    struct chunk *c = &mem.chunks[at.raw / PAGE_2M];

    assert(at.raw % PAGE_2M == 0 && c->state == CHUNK_WHOLE);
    spin_lock(&mem.lock);
    c->state = CHUNK_SPLIT;
    c->free = 0;
    memset(c->used, 0xff, sizeof(c->used));
    spin_unlock(&mem.lock);
}

/* The usable part of a region: the first MiB is left to the firmware's and our start-up code. */
static bool usable(const struct boot_region *r, u64 *start, u64 *end)
{
    *start = MAX(r->base, MIB);
    *end = r->base + r->len;
    return *start < *end && *end <= PHYSMAP_SIZE;
}

static bool is_ram(u32 type)
{
    return type == BOOT_MEM_FREE || type == BOOT_MEM_LOADER;
}

/* Give [start, end) to its chunks. */
static void add_range(u64 start, u64 end)
{
    mem.total += end - start;
    while (start < end) {
        u32 i = (u32)(start / PAGE_2M);
        struct chunk *c = &mem.chunks[i];

        if (start % PAGE_2M == 0 && end - start >= PAGE_2M) {
            chunk_release(i);
            start += PAGE_2M;
            continue;
        }
        if (c->state == CHUNK_ABSENT) {
            c->state = CHUNK_SPLIT;
            memset(c->used, 0xff, sizeof(c->used));
        }
        give_frame(i, start);
        start += PAGE_SIZE;
    }
}

/* The first free region that holds the descriptors keeps them at its start. */
static u64 place_descriptors(const struct boot_info *bi, u64 bytes)
{
    u64 start, end;
    for (u32 i = 0; i < bi->region_count; i++) {
        const struct boot_region *r = &bi->regions[i];
        if (r->type != BOOT_MEM_FREE || !usable(r, &start, &end) || end - start < bytes)
            continue;
        mem.chunks = phys_to_virt(HPA(start));
        memset(mem.chunks, 0, bytes);
        return start;
    }
    panic("no %lu bytes of free memory in one piece", bytes);
}

void mem_init(const struct boot_info *bi)
{
    u64 start, end;

    memset(&mem, 0, sizeof(mem));
    for (u32 i = 0; i < bi->region_count; i++)
        if (is_ram(bi->regions[i].type) && usable(&bi->regions[i], &start, &end))
            mem.chunk_count = (u32)((end - 1) / PAGE_2M + 1);
    u64 bytes = ROUND_UP(mem.chunk_count * sizeof(struct chunk), PAGE_SIZE);
    u64 taken = place_descriptors(bi, bytes);
    mem.lowest_free = mem.lowest_partial = mem.chunk_count;
    for (u32 i = 0; i < bi->region_count; i++) {
        const struct boot_region *r = &bi->regions[i];
        if (r->type == BOOT_MEM_FREE && usable(r, &start, &end))
            add_range(start == taken ? start + bytes : start, end);
    }
    mem.total += bytes;
    quota_kernel.used = bytes;
}

void mem_reclaim(const struct boot_info *bi)
{
    u64 start, end;

    spin_lock(&mem.lock);
    for (u32 i = 0; i < bi->region_count; i++)
        if (bi->regions[i].type == BOOT_MEM_LOADER && usable(&bi->regions[i], &start, &end))
            add_range(start, end);
    spin_unlock(&mem.lock);
}

u64 mem_total(void)
{
    return mem.total;
}

u64 mem_free_bytes(void)
{
    return mem.free_chunks * PAGE_2M + mem.free_frames * PAGE_SIZE;
}

u64 mem_free_chunks(void)
{
    return mem.free_chunks;
}
