/* The engine's map from units to file offsets, and reads that follow the chain. */
#include <stdlib.h>
#include <string.h>

#include "control/rt/log.h"
#include "storage/engine.h"

typedef unsigned long long ull;

static u64 *page_of(const struct engine *g, u64 offset)
{
    return g->pages[(offset >> g->unit_bits) / ENGINE_PAGE_UNITS];
}

u64 engine_entry(struct engine *g, u64 offset)
{
    const u64 *page = page_of(g, offset);

    return page ? page[(offset >> g->unit_bits) % ENGINE_PAGE_UNITS] : ENTRY_NONE;
}

/* The page for a number that has none; the one that was loaded first makes room for it. */
static void enter(struct engine *g, u64 number, u64 *page)
{
    u32 slot = g->pages_used;

    if (slot == ENGINE_PAGES_MAX) {
        slot = g->hand;
        g->hand = (g->hand + 1) % ENGINE_PAGES_MAX;
        free(g->pages[g->loaded[slot]]);
        g->pages[g->loaded[slot]] = NULL;
    } else {
        g->pages_used++;
    }
    g->loaded[slot] = (u32)number;
    g->pages[number] = page;
}

void engine_set(struct engine *g, u64 offset, u64 length, enum image_kind kind, u64 at)
{
    for (u64 done = 0; done < length; done += g->unit) {
        u64 *page = page_of(g, offset + done);

        if (offset + done >= g->disk.size)
            break;
        if (page)
            page[((offset + done) >> g->unit_bits) % ENGINE_PAGE_UNITS] =
                kind == IMAGE_DATA ? (at + done) | kind : kind;
    }
}

void engine_forget(struct engine *g, u64 offset, u64 length)
{
    engine_set(g, offset, length, IMAGE_UNKNOWN, 0);
}

void engine_forget_all(struct engine *g)
{
    for (u32 i = 0; i < g->pages_used; i++) { /* the map of a large disk is long and nearly empty */
        free(g->pages[g->loaded[i]]);
        g->pages[g->loaded[i]] = NULL;
    }
    g->pages_used = g->hand = 0;
}

/* One layer's extent, its file offset checked. */
static enum hv_status layer_map(struct engine *g, u32 layer, u64 offset, u64 length,
                                struct image_extent *e)
{
    struct image *img = &g->layer[layer];
    enum hv_status status = img->format->map(img, offset, length, e);

    if (status != HV_OK)
        return status;
    rt_assert(e->length && e->length <= length);
    if (e->kind != IMAGE_DATA)
        return HV_OK;
    if (e->at % DISK_SECTOR || e->at >= img->file->size || e->at > ENTRY_AT)
        return image_fail(img, HV_ECORRUPT,
                          "byte %llu of the disk is said to be at %llu of a file of %llu bytes",
                          (ull)offset, (ull)e->at, (ull)img->file->size);
    e->length = MIN(e->length, ROUND_DOWN(img->file->size - e->at, (u64)DISK_SECTOR));
    if (!e->length)
        *e = (struct image_extent){IMAGE_CUT, e->at, DISK_SECTOR};
    return HV_OK;
}

enum hv_status engine_resolve(struct engine *g, u32 from, u64 offset, u64 length,
                              struct image_extent *e, u32 *layer)
{
    e->length = length;
    for (u32 i = from; i < g->layers; i++) {
        struct image *img = &g->layer[i];

        *layer = i;
        if (offset >= img->size)
            break;
        enum hv_status status = layer_map(g, i, offset, MIN(e->length, img->size - offset), e);
        if (status != HV_OK) {
            g->failed |= status == HV_ECORRUPT;
            return status;
        }
        if (e->kind != IMAGE_HOLE)
            return HV_OK;
    }
    e->kind = IMAGE_HOLE;
    return HV_OK;
}

static u64 entry_of(const struct image_extent *e, u32 layer, u64 within, u64 wanted)
{
    u64 kind = e->kind;

    if (e->length - within < wanted || kind == IMAGE_CUT) /* the unit is in several pieces */
        return IMAGE_SPECIAL;
    if (kind != IMAGE_DATA)
        return kind | (u64)layer << 56;
    return (e->at + within) | kind | (u64)layer << 56;
}

enum hv_status engine_load(struct engine *g, u64 offset)
{
    u64 number = (offset >> g->unit_bits) / ENGINE_PAGE_UNITS;
    u64 begin = (number * ENGINE_PAGE_UNITS) << g->unit_bits;
    u64 end = MIN(begin + ((u64)ENGINE_PAGE_UNITS << g->unit_bits), g->disk.size);
    u64 *page = calloc(ENGINE_PAGE_UNITS, sizeof(*page));

    if (!page)
        return HV_ENOMEM;
    for (u64 at = begin; at < end;) {
        struct image_extent e;
        u32 layer;
        enum hv_status status = engine_resolve(g, 0, at, end - at, &e, &layer);
        u64 within = 0;

        if (status != HV_OK && (offset < at || offset >= at + g->unit)) {
            at += g->unit; /* of no interest to this request: stays unknown */
            continue;
        }
        if (status != HV_OK) {
            free(page);
            return status;
        }
        do { /* at least one unit, and all the extent covers */
            u64 unit = MIN(g->unit, end - at);

            page[(at >> g->unit_bits) % ENGINE_PAGE_UNITS] = entry_of(&e, layer, within, unit);
            at += unit;
            within += unit;
        } while (at < end && within + MIN(g->unit, end - at) <= e.length);
    }
    if (g->pages[number]) {
        free(g->pages[number]);
        g->pages[number] = page;
    } else {
        enter(g, number, page);
    }
    return HV_OK;
}

struct engine_piece engine_piece(struct engine *g, u64 offset, u64 length)
{
    u64 entry = engine_entry(g, offset), within = offset & (g->unit - 1);
    struct engine_piece p = {.kind = (enum image_kind)(entry & ENTRY_KIND),
                             .layer = ENTRY_LAYER(entry),
                             .at = (entry & ENTRY_AT) + within,
                             .length = MIN(length, g->unit - within)};

    if (p.kind == IMAGE_UNKNOWN || p.kind == IMAGE_SPECIAL)
        return p;
    while (p.length < length) {
        u64 next = engine_entry(g, offset + p.length);
        bool same = p.kind == IMAGE_DATA ? next == ((p.at + p.length) | p.kind | (u64)p.layer << 56)
                                         : (next & ENTRY_KIND) == (u64)p.kind;

        if (!same)
            break;
        p.length += MIN(g->unit, length - p.length);
    }
    return p;
}

static enum hv_status read_special(struct image *img, u64 offset, u8 *buf, u64 length)
{
    u8 *unit = malloc(img->unit);
    u64 begin = ROUND_DOWN(offset, (u64)img->unit);
    enum hv_status status = unit ? img->format->read_special(img, begin, unit) : HV_ENOMEM;

    if (status == HV_OK)
        memcpy(buf, unit + (offset - begin), length);
    free(unit);
    return status;
}

enum hv_status engine_read_below(struct engine *g, u32 from, u64 offset, u8 *buf, u64 length)
{
    while (length) {
        struct image_extent e;
        u32 layer;
        enum hv_status status = engine_resolve(g, from, offset, length, &e, &layer);

        if (status != HV_OK)
            return status;
        struct image *img = &g->layer[layer];
        if (e.kind == IMAGE_CUT) {
            memset(buf, 0, e.length);
            status = disk_read(img->file, e.at, buf, img->file->size - e.at);
        } else if (e.kind == IMAGE_SPECIAL) {
            e.length = MIN(e.length, img->unit - offset % img->unit);
            status = read_special(img, offset, buf, e.length);
        } else if (e.kind == IMAGE_DATA) {
            status = disk_read(img->file, e.at, buf, e.length);
        } else {
            memset(buf, 0, e.length);
        }
        if (status != HV_OK)
            return status;
        offset += e.length;
        buf += e.length;
        length -= e.length;
    }
    return HV_OK;
}
