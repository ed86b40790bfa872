/* The sparse disk of the fuzzers: a table of pages, each its own, the beginning's or blank. */
#include "tests/fuzz/page_disk.h"

#include <stdlib.h>
#include <string.h>

#include "storage/iov.h"

#define PAGE PAGE_DISK_PAGE

struct page_disk {
    struct disk disk;
    u64 max, begin_size;
    u32 top, begin_top; /* no page from here on has anything */
    u8 **page;          /* NULL: as at the beginning; blank: zeros */
    u8 **begin;         /* NULL: zeros */
    u32 *changed, changes;
    u8 **pool; /* pages of earlier inputs */
    u32 pooled;
};

static u8 blank[PAGE]; /* never written */

static void *must(void *p)
{
    if (!p)
        abort();
    return p;
}

static const u8 *look(const struct page_disk *p, u64 n)
{
    if (n >= p->top)
        return blank;
    if (p->page[n])
        return p->page[n];
    return p->begin[n] ? p->begin[n] : blank;
}

static void note(struct page_disk *p, u32 n)
{
    if (!p->page[n])
        p->changed[p->changes++] = n;
    p->top = MAX(p->top, n + 1);
}

/* The page to write to; `whole`: all of it is about to be written. */
static u8 *own(struct page_disk *p, u32 n, bool whole)
{
    const u8 *old = look(p, n);

    if (p->page[n] && p->page[n] != blank)
        return p->page[n];
    note(p, n);
    p->page[n] = p->pooled ? p->pool[--p->pooled] : must(malloc(PAGE));
    if (!whole)
        memcpy(p->page[n], old, PAGE);
    return p->page[n];
}

static void let_go(struct page_disk *p, u32 n)
{
    if (p->page[n] && p->page[n] != blank)
        p->pool[p->pooled++] = p->page[n];
}

static void zero(struct page_disk *p, u64 at, u64 length)
{
    u64 end = MIN(at + length, (u64)p->top * PAGE);

    for (u64 n; at < end; at += n) {
        u32 number = (u32)(at / PAGE);

        n = MIN(end - at, PAGE - at % PAGE);
        if (look(p, number) == blank)
            continue;
        if (n < PAGE) {
            memset(own(p, number, false) + at % PAGE, 0, n);
            continue;
        }
        note(p, number);
        let_go(p, number);
        p->page[number] = blank;
    }
}

static bool is_blank(const struct page_disk *p, u64 n)
{
    return n >= p->top || (p->page[n] ? p->page[n] == blank : !p->begin[n]);
}

static void read_range(struct page_disk *p, const struct disk_io *io)
{
    for (u64 done = 0, n; done < io->length; done += n) {
        u64 at = io->offset + done, within = at % PAGE;

        n = MIN(io->length - done, PAGE - within);
        if (!is_blank(p, at / PAGE)) {
            iov_write(io->iov, io->iov_count, done, look(p, at / PAGE) + within, n);
            continue;
        }
        while (n < io->length - done && is_blank(p, (at + n) / PAGE))
            n = MIN(io->length - done, n + PAGE);
        iov_zero(io->iov, io->iov_count, done, n);
    }
}

static void write_range(struct page_disk *p, const struct disk_io *io)
{
    for (u64 done = 0, n; done < io->length; done += n) {
        u64 at = io->offset + done, within = at % PAGE;

        n = MIN(io->length - done, PAGE - within);
        iov_read(io->iov, io->iov_count, done, own(p, (u32)(at / PAGE), n == PAGE) + within, n);
    }
    p->disk.size = MAX(p->disk.size, io->offset + io->length);
}

static void submit(struct disk *d, struct disk_io *io)
{
    struct page_disk *p = (struct page_disk *)d;
    enum hv_status status = HV_OK;

    if (io->op == DISK_READ) {
        read_range(p, io);
    } else if (io->op == DISK_WRITE && io->offset + io->length <= p->max) {
        write_range(p, io);
    } else if (io->op == DISK_WRITE) {
        status = HV_ENOSPC;
    } else if (io->op == DISK_ZERO || io->op == DISK_DISCARD) {
        zero(p, io->offset, io->length);
    } else if (io->op == DISK_RESIZE) {
        if (io->offset < d->size)
            zero(p, io->offset, d->size - io->offset);
        d->size = io->offset;
    }
    disk_complete(io, status);
}

static const struct disk_ops ops = {.name = "pages", .submit = submit};

struct disk *page_disk_open(const char *name, u64 size, u32 block_size, u64 max)
{
    struct page_disk *p = must(calloc(1, sizeof(*p)));
    u64 pages = max / PAGE + 1;

    p->page = must(calloc(pages, sizeof(*p->page)));
    p->begin = must(calloc(pages, sizeof(*p->begin)));
    p->pool = must(calloc(pages, sizeof(*p->pool)));
    p->changed = must(calloc(pages, sizeof(*p->changed)));
    p->max = max;
    p->begin_size = size;
    disk_init(&p->disk, &ops, name, size, block_size);
    p->disk.growable = block_size == 1;
    return &p->disk;
}

void page_disk_keep(struct disk *d)
{
    struct page_disk *p = (struct page_disk *)d;

    while (p->changes) {
        u32 n = p->changed[--p->changes];

        p->begin[n] = p->page[n] == blank ? NULL : p->page[n];
        p->page[n] = NULL;
    }
    p->begin_size = d->size;
    p->begin_top = p->top;
}

void page_disk_undo(struct disk *d)
{
    struct page_disk *p = (struct page_disk *)d;

    if (d->users || d->in_flight)
        abort();
    while (p->changes) {
        u32 n = p->changed[--p->changes];

        let_go(p, n);
        p->page[n] = NULL;
    }
    d->size = p->begin_size;
    p->top = p->begin_top;
}

void page_disk_put(struct disk *d, u64 at, const void *bytes, u64 length)
{
    struct page_disk *p = (struct page_disk *)d;

    for (u64 done = 0, n; done < length && at + done < p->max; done += n) {
        u64 place = at + done;

        n = MIN(length - done, PAGE - place % PAGE);
        memcpy(own(p, (u32)(place / PAGE), n == PAGE) + place % PAGE, (const u8 *)bytes + done, n);
    }
    d->size = MAX(d->size, MIN(at + length, p->max));
}
