/* `net capture`; runs in the shell's fiber, frames come from the switch's tap. */
#include "control/cmd_net_capture.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "control/cmd_net.h"
#include "control/rt/clock.h"
#include "control/rt/fiber.h"
#include "net/pcapng.h"
#include "storage/store.h"

typedef unsigned long long ull;

/* What both kinds of capture go by. */
struct limits {
    const char *port;
    bool in, out;
    u64 count, bytes, end; /* frames, bytes of each, TSC */
};

/* The switch whose tap is ours now; NULL: told. */
static struct net_switch *begin(const struct limits *l, struct out *out, void *owner,
                                void (*frame)(void *owner, const struct switch_port *p, bool out,
                                              const struct net_frame *f, u16 tag, u64 now))
{
    const struct switch_port *p = switches_port(l->port);

    if (!p)
        out_error(out, HV_ENOENT, "E_NO_PORT", "net port list", "no port is named '%s'", l->port);
    else if (p->sw->tap.frame)
        out_error(out, HV_EBUSY, "E_BUSY", "wait for it to end", "another capture runs on %s",
                  p->sw->name);
    if (!p || p->sw->tap.frame)
        return NULL;
    p->sw->tap = (struct switch_tap){.in = l->in, .out = l->out, .frame = frame, .owner = owner};
    portset_add(&p->sw->tap.ports, p->index);
    return p->sw;
}

/* A switch may be deleted meanwhile. */
static bool is_there(const struct net_switch *sw)
{
    const struct net_switch *at = NULL;

    for (u32 i = 0; at != sw && (at = switches_at(i)); i++)
        ;
    return at == sw;
}

static void end(struct net_switch *sw)
{
    if (is_there(sw))
        sw->tap = (struct switch_tap){0};
}

static bool is_over(const struct net_switch *sw, const struct limits *l, u64 seen,
                    const struct out *out)
{
    return seen >= l->count || out_cancelled(out) || clock_tsc() >= l->end || !is_there(sw);
}

/* ---- as text ---------------------------------------------------------------------------------
 */
#define CAPTURE_RECORDS 64u
#define CAPTURE_BYTES 256u

struct record {
    u64 at;
    u32 len, stored;
    bool out;
    char port[SWITCH_PORT_NAME];
    u8 bytes[CAPTURE_BYTES];
};

struct text_capture {
    struct record records[CAPTURE_RECORDS];
    u32 head, tail, lost;
    struct event more;
};

static void note_frame(void *owner, const struct switch_port *p, bool out,
                       const struct net_frame *f, u16 tag, u64 now)
{
    struct text_capture *c = owner;
    struct record *r = &c->records[c->head % CAPTURE_RECORDS];
    struct frame_part part[FRAME_PARTS];
    u8 tag_bytes[FRAME_TAG];

    if (c->head - c->tail == CAPTURE_RECORDS) {
        c->lost++;
        return;
    }
    c->head++;
    *r = (struct record){.at = now, .len = frame_out_len(f, tag), .out = out};
    memcpy(r->port, p->name, sizeof(r->port));
    u32 parts = frame_parts(f, tag, tag_bytes, part);
    for (u32 i = 0; i < parts; i++) {
        u32 n = MIN(part[i].len, CAPTURE_BYTES - r->stored);

        memcpy(r->bytes + r->stored, part[i].at, n);
        r->stored += n;
    }
    event_signal(&c->more);
}

static void print_record(struct out *out, const struct record *r, u32 bytes)
{
    char line[3 * 16 + 1];
    u32 n = MIN(r->stored, bytes);

    out_printf(out, "%llu.%06llu %s %s %u bytes\n", (ull)(r->at / CLOCK_SECOND),
               (ull)(r->at / CLOCK_US % 1000000), r->port, r->out ? "out" : "in", r->len);
    for (u32 i = 0; i < n; i += 16) {
        for (u32 k = i; k < MIN(i + 16, n); k++)
            snprintf(line + (k - i) * 3, 4, " %02x", r->bytes[k]);
        out_printf(out, "  %04x %s\n", i, line);
    }
}

static enum hv_status capture_text(const struct limits *l, struct out *out)
{
    struct text_capture *c = calloc(1, sizeof(*c));
    struct net_switch *sw = c ? begin(l, out, c, note_frame) : NULL;
    u64 seen = 0;

    if (!c)
        return out_error(out, HV_ENOMEM, "E_MEMORY", "host mem", "no memory");
    while (sw && !is_over(sw, l, seen, out)) {
        if (c->tail == c->head)
            fiber_wait(&c->more, MIN(l->end, clock_after(CLOCK_SECOND / 4)));
        for (; c->tail != c->head && seen < l->count; c->tail++, seen++)
            print_record(out, &c->records[c->tail % CAPTURE_RECORDS],
                         (u32)MIN(l->bytes, CAPTURE_BYTES));
    }
    if (sw) {
        end(sw);
        out_printf(out, "%llu frames%s\n", (ull)seen,
                   c->lost ? ", and others that came too fast" : "");
    }
    free(c);
    return sw ? HV_OK : HV_EBUSY;
}

/* ---- into a file -----------------------------------------------------------------------------
 */
#define FILE_BUFFER (512 * KIB)
#define FILE_STEP (1 * MIB)
#define FILE_MOST (1 * GIB)

struct file_capture {
    u8 bytes[FILE_BUFFER]; /* encoded, and not yet written */
    u32 used, snap;
    u64 count, most, lost;
    u64 unix_base; /* ns since 1970 when clock_ns() was 0 */
    struct event more;
    struct disk *file;
    u64 at, size; /* written; the file's size */
};

static void encode_frame(void *owner, const struct switch_port *p, bool out,
                         const struct net_frame *f, u16 tag, u64 now)
{
    struct file_capture *c = owner;

    (void)p;
    if (c->count == c->most)
        return;
    u32 len = pcapng_packet(c->bytes + c->used, FILE_BUFFER - c->used, 0, f, tag, out,
                            c->unix_base + now, c->snap);
    c->used += len;
    if (len)
        c->count++;
    else
        c->lost++;
    event_signal(&c->more);
}

/* Whole blocks of what has been encoded; frames may come while it waits for the disk. */
static enum hv_status write_out(struct file_capture *c)
{
    u32 block = MAX(c->file->block_size, 1u), len = ROUND_DOWN(c->used, block);
    enum hv_status status = HV_OK;

    if (!len)
        return HV_OK;
    if (c->at + len > c->size) {
        c->size = c->at + ROUND_UP(len, FILE_STEP);
        status = disk_resize(c->file, c->size);
    }
    if (status == HV_OK)
        status = disk_write(c->file, c->at, c->bytes, len);
    c->at += len;
    c->used -= len;
    memmove(c->bytes, c->bytes + len, c->used);
    return status;
}

/* The statistics block is as long as the file has to be to end with a block of its disk. */
static enum hv_status finish(struct file_capture *c)
{
    u32 block = MAX(c->file->block_size, 4u),
        len = ROUND_UP(c->used + PCAPNG_STATISTICS_LEAST, block) - c->used;
    enum hv_status status = HV_OK;

    if (FILE_BUFFER - c->used < len)
        status = write_out(c);
    len = ROUND_UP(c->used + PCAPNG_STATISTICS_LEAST, block) - c->used;
    pcapng_statistics(c->bytes + c->used, len, 0, c->unix_base + clock_ns(), c->count, c->lost);
    c->used += len;
    if (status == HV_OK)
        status = write_out(c);
    if (status == HV_OK && c->at < c->size)
        status = disk_resize(c->file, c->at);
    return status == HV_OK ? disk_flush(c->file) : status;
}

static enum hv_status run_file(struct file_capture *c, const struct limits *l, struct out *out)
{
    struct net_switch *sw = begin(l, out, c, encode_frame);
    enum hv_status status = HV_OK;

    if (!sw)
        return HV_EBUSY;
    while (status == HV_OK && !is_over(sw, l, c->count, out) && c->at < FILE_MOST) {
        if (c->used < FILE_BUFFER / 2)
            fiber_wait(&c->more, MIN(l->end, clock_after(CLOCK_SECOND / 4)));
        status = write_out(c);
    }
    end(sw);
    if (status == HV_OK)
        status = finish(c);
    if (status != HV_OK)
        out_error(out, status, "E_STORAGE", "store list", "the file cannot be written");
    return status;
}

static enum hv_status make_file(struct out *out, const char *text, struct disk **file)
{
    const char *colon = strchr(text, ':');
    char name[STORE_NAME_MAX];
    struct store *s;
    enum hv_status status;

    snprintf(name, sizeof(name), "%.*s", (int)(colon ? colon - text : 0), text);
    s = store_find(name);
    if (!colon || !s)
        return out_error(out, HV_ENOENT, "E_NO_STORE", "store list; file=ds1:capture.pcapng",
                         "there is no store for '%s'", text);
    status = store_make(s, colon + 1, false);
    if (status == HV_OK)
        status = store_open(s, colon + 1, false, file);
    if (status == HV_EEXIST)
        return out_error(out, status, "E_EXISTS", "another name, or store rm",
                         "%s is there already", text);
    return status == HV_OK
               ? status
               : out_error(out, status, "E_STORAGE", "store list", "%s: %s", text, store_error(s));
}

static enum hv_status capture_file(const char *name, const struct limits *l, struct out *out)
{
    struct file_capture *c = calloc(1, sizeof(*c));
    enum hv_status status = c ? make_file(out, name, &c->file) : HV_ENOMEM;

    if (!c)
        return out_error(out, HV_ENOMEM, "E_MEMORY", "host mem", "no memory");
    if (status == HV_OK) {
        c->snap = (u32)l->bytes;
        c->most = l->count;
        c->unix_base = (u64)clock_unix() * CLOCK_SECOND - clock_ns();
        c->used = pcapng_header(c->bytes, FILE_BUFFER);
        c->used += pcapng_interface(c->bytes + c->used, FILE_BUFFER - c->used, l->port, c->snap);
        status = run_file(c, l, out);
        if (disk_close(c->file) != HV_OK && status == HV_OK)
            status = out_error(out, HV_EIO, "E_STORAGE", "store list", "%s: not written", name);
    }
    if (status == HV_OK)
        out_printf(out, "%llu frames in %s, %llu lost\n", (ull)c->count, name, (ull)c->lost);
    free(c);
    return status;
}

static enum hv_status run_capture(const struct schema_args *args, struct out *out)
{
    const struct switch_port *p = cmd_net_port(args, "port", out);
    const char *dir = args_text(args, "dir"), *file = args_text(args, "file");
    struct limits l = {.port = args_text(args, "port"),
                       .in = strcmp(dir, "out") != 0,
                       .out = strcmp(dir, "in") != 0,
                       .count = args_number(args, "count", file ? ~0ull : 20),
                       .bytes = args_number(args, "bytes", file ? FRAME_MAX : 64),
                       .end = clock_after(args_number(args, "seconds", 60) * CLOCK_SECOND)};

    if (!p)
        return HV_ENOENT;
    l.bytes = MIN(MAX(l.bytes, 16ull), (u64)FRAME_MAX);
    return file ? capture_file(file, &l, out) : capture_text(&l, out);
}

static const struct schema_arg capture_args[] = {
    {"port", PLACE_OBJECT, ARG_WORD, .help = "name of the port"},
    {"file", PLACE_KEY, ARG_WORD, .help = "a new pcapng file on a datastore, as ds1:web.pcapng"},
    {"count", PLACE_KEY, ARG_NUMBER, .help = "frames; 20 as text, no limit in a file"},
    {"bytes", PLACE_KEY, ARG_NUMBER, .help = "of each frame; 64 as text, where 256 are the most"},
    {"seconds", PLACE_KEY, ARG_NUMBER, NULL, "60", "end after that time"},
    {"dir", PLACE_KEY, ARG_ENUM, "in|out|both", "both", "in: what the port sends"},
    {0},
};

static const struct schema_command commands[] = {
    {"net", "capture", "show frames of a port as they pass, or write them to a file",
     "net capture web:0 file=ds1:web.pcapng seconds=10", ROLE_OPERATE, capture_args, NULL,
     run_capture},
};
SCHEMA_COMMANDS(commands);
