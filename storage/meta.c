/* The metadata cache of one image file; called under the image's lock. */
#include "storage/meta.h"

#include <stdlib.h>
#include <string.h>

#define BUCKETS 256u

static struct meta_block **bucket(struct meta *m, u64 index)
{
    return &m->hash[index % BUCKETS];
}

static bool is_dirty(const struct meta_block *b)
{
    return b->dirty[META_TABLE] | b->dirty[META_ROOT];
}

static void unlink_used(struct meta *m, struct meta_block *b)
{
    *(b->newer ? &b->newer->older : &m->newest) = b->older;
    *(b->older ? &b->older->newer : &m->oldest) = b->newer;
}

static void link_used(struct meta *m, struct meta_block *b)
{
    b->newer = NULL;
    b->older = m->newest;
    *(m->newest ? &m->newest->newer : &m->oldest) = b;
    m->newest = b;
}

static void mark(struct meta *m, struct meta_block *b, enum meta_class class, u8 sectors)
{
    if (m->file->block_size > 512)
        sectors = 0xff;
    m->dirty[class] += !b->dirty[class] && sectors;
    b->dirty[class] |= sectors;
}

static void unmark(struct meta *m, struct meta_block *b, enum meta_class class, u8 sectors)
{
    m->dirty[class] -= b->dirty[class] && !(b->dirty[class] & ~sectors);
    b->dirty[class] &= (u8)~sectors;
}

static void drop(struct meta *m, struct meta_block *b)
{
    struct meta_block **at = bucket(m, b->index);

    while (*at != b)
        at = &(*at)->next;
    *at = b->next;
    unlink_used(m, b);
    unmark(m, b, META_TABLE, 0xff);
    unmark(m, b, META_ROOT, 0xff);
    m->count--;
    free(b);
}

enum hv_status meta_init(struct meta *m, struct disk *file, u32 limit)
{
    memset(m, 0, sizeof(*m));
    m->file = file;
    m->limit = limit;
    m->hash = calloc(BUCKETS, sizeof(struct meta_block *));
    return m->hash ? HV_OK : HV_ENOMEM;
}

void meta_fini(struct meta *m)
{
    while (m->newest)
        drop(m, m->newest);
    free(m->hash);
    m->hash = NULL;
}

u32 meta_dirty(const struct meta *m)
{
    return m->dirty[META_TABLE] + m->dirty[META_ROOT];
}

static void make_room(struct meta *m)
{
    struct meta_block *b = m->oldest;

    while (b && m->count >= m->limit + meta_dirty(m)) {
        struct meta_block *newer = b->newer;

        if (!is_dirty(b))
            drop(m, b);
        b = newer;
    }
}

/* The cached block; if it has to be made, `fresh` says that the caller overwrites all of it. */
static enum hv_status get(struct meta *m, u64 index, bool fresh, struct meta_block **out)
{
    u64 offset = index * META_BLOCK;

    for (struct meta_block *b = *bucket(m, index); b; b = b->next) {
        if (b->index != index)
            continue;
        if (m->newest != b) {
            unlink_used(m, b);
            link_used(m, b);
        }
        *out = b;
        return HV_OK;
    }
    make_room(m);
    struct meta_block *b = calloc(1, sizeof(*b));
    if (!b)
        return HV_ENOMEM;
    if (!fresh && offset < m->file->size) {
        enum hv_status status =
            disk_read(m->file, offset, b->data, MIN(META_BLOCK, m->file->size - offset));
        if (status != HV_OK) {
            free(b);
            return status;
        }
    }
    b->index = index;
    b->next = *bucket(m, index);
    *bucket(m, index) = b;
    link_used(m, b);
    m->count++;
    *out = b;
    return HV_OK;
}

enum hv_status meta_read(struct meta *m, u64 offset, void *buf, u64 len)
{
    for (u64 n; len; len -= n, offset += n, buf = (u8 *)buf + n) {
        struct meta_block *b;
        u32 within = offset % META_BLOCK;
        enum hv_status status = get(m, offset / META_BLOCK, false, &b);

        if (status != HV_OK)
            return status;
        n = MIN(len, META_BLOCK - within);
        memcpy(buf, b->data + within, n);
    }
    return HV_OK;
}

/* buf NULL: fill with `byte` */
static enum hv_status change(struct meta *m, enum meta_class class, u64 offset, const void *buf,
                             u8 byte, u64 len)
{
    for (u64 n, done = 0; done < len; done += n) {
        struct meta_block *b;
        u32 within = (offset + done) % META_BLOCK;

        n = MIN(len - done, META_BLOCK - within);
        enum hv_status status = get(m, (offset + done) / META_BLOCK, n == META_BLOCK, &b);
        if (status != HV_OK)
            return status;
        if (buf)
            memcpy(b->data + within, (const u8 *)buf + done, n);
        else
            memset(b->data + within, byte, n);
        mark(m, b, class, (u8)BITS((within + n - 1) / 512, within / 512));
    }
    return HV_OK;
}

enum hv_status meta_write(struct meta *m, enum meta_class class, u64 offset, const void *buf,
                          u64 len)
{
    return change(m, class, offset, buf, 0, len);
}

enum hv_status meta_fill(struct meta *m, enum meta_class class, u64 offset, u8 byte, u64 len)
{
    return change(m, class, offset, NULL, byte, len);
}

static int by_index(const void *a, const void *b)
{
    const struct meta_block *const *x = a, *const *y = b;

    return ((*x)->index > (*y)->index) - ((*x)->index < (*y)->index);
}

static enum hv_status write_block(struct meta *m, struct meta_block *b, enum meta_class class)
{
    u8 dirty = b->dirty[class];

    while (dirty) {
        u32 first = (u32)__builtin_ctz(dirty), count = 1;

        while (first + count < 8 && dirty >> (first + count) & 1)
            count++;
        enum hv_status status = disk_write(m->file, b->index * META_BLOCK + first * 512,
                                           b->data + first * 512, count * 512);
        if (status != HV_OK)
            return status;
        dirty &= (u8) ~(BITS(first + count - 1, first));
    }
    unmark(m, b, class, b->dirty[class]);
    return HV_OK;
}

/* The dirty blocks of a class (META_CLASSES: of any), sorted.  NULL and *count 0: none. */
static enum hv_status collect(struct meta *m, enum meta_class class, struct meta_block ***list,
                              u32 *count)
{
    *count = 0;
    *list = calloc(MAX(meta_dirty(m), 1u), sizeof(**list));
    if (!*list)
        return HV_ENOMEM;
    for (struct meta_block *b = m->newest; b; b = b->older)
        if (class == META_CLASSES ? is_dirty(b) : b->dirty[class] != 0)
            (*list)[(*count)++] = b;
    qsort(*list, *count, sizeof(**list), by_index);
    return HV_OK;
}

enum hv_status meta_write_back(struct meta *m, enum meta_class class)
{
    struct meta_block **list;
    u32 count;

    if (!m->dirty[class])
        return HV_OK;
    enum hv_status status = collect(m, class, &list, &count);
    for (u32 i = 0; i < count && status == HV_OK; i++)
        status = write_block(m, list[i], class);
    free(list);
    return status;
}

enum hv_status meta_each_dirty(struct meta *m,
                               enum hv_status (*fn)(void *arg, u64 offset, const u8 *block),
                               void *arg)
{
    struct meta_block **list;
    u32 count;
    enum hv_status status = collect(m, META_CLASSES, &list, &count);

    for (u32 i = 0; i < count && status == HV_OK; i++)
        status = fn(arg, list[i]->index * META_BLOCK, list[i]->data);
    free(list);
    return status;
}

void meta_forget(struct meta *m, u64 offset, u64 len)
{
    for (struct meta_block *b = m->newest, *older; b; b = older) {
        older = b->older;
        if (b->index >= offset / META_BLOCK && b->index * META_BLOCK < offset + len)
            drop(m, b);
    }
}
