/* What hardware there is, and a test of disks.  Handlers of the schema; in the shell's fiber. */
#include "control/cmd_device.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "control/rt/clock.h"
#include "control/rt/dma.h"
#include "control/rt/fiber.h"
#include "control/rt/log.h"
#include "control/rt/loop.h"
#include "control/schema.h"
#include "control/shell.h"
#include "drivers/block.h"
#include "drivers/nic.h"
#include "drivers/pci.h"

typedef unsigned long long ull;

#define READY_WITHIN (20 * CLOCK_SECOND)

/* Devices are brought up while the shell is there already. */
static void settle(void)
{
    (void)pci_wait_ready(clock_after(READY_WITHIN));
}

static enum hv_status run_pci(const struct schema_args *args, struct out *out)
{
    static const char *const columns[] = {"ADDRESS",   "ID",     "CLASS",      "DRIVER",
                                          "INTERRUPT", "CALLED", "DESCRIPTION"};
    static const u8 widths[] = {7, 9, 16, 12, 9, 6, 0};

    (void)args;
    settle();
    out_table(out, columns, widths, ARRAY_LEN(columns));
    for (const struct pci_device *d = pci_first(); d; d = d->next) {
        u64 calls = 0;
        for (u32 i = 0; i < d->vectors; i++)
            calls += d->handlers[i].count;
        out_cell(out, "%02x:%02x.%u", d->function >> 8, d->function >> 3 & 31, d->function & 7);
        out_cell(out, "%04x:%04x", d->vendor, d->device);
        out_cell(out, "%s", pci_class_name(d->class_code));
        out_cell(out, "%s", d->name[0] ? d->name : "-");
        if (d->irq_mode == PCI_IRQ_MSIX)
            out_cell(out, "%s x%u", pci_irq_name(d->irq_mode), d->vectors);
        else
            out_cell(out, "%s", pci_irq_name(d->irq_mode));
        out_cell(out, "%llu", (ull)calls);
        out_cell(out, "%s", d->why[0] ? d->why : d->id ? d->id->name : "");
    }
    return HV_OK;
}

static const char *health_text(struct block_device *d, char *buf, u32 len)
{
    struct block_health h = {.temperature_c = -1,
                             .used_percent = -1,
                             .spare_percent = -1,
                             .power_on_hours = -1,
                             .media_errors = -1};

    if (d->gone)
        return "gone";
    if (d->no_medium)
        return "no medium";
    if (!d->ops->health || d->ops->health(d, &h) != HV_OK || !h.known)
        return "unknown";
    int n = snprintf(buf, len, "%s", h.failing ? "FAILING" : "good");
    if (h.temperature_c >= 0)
        n += snprintf(buf + n, len - (u32)n, ", %d C", h.temperature_c);
    if (h.used_percent >= 0)
        n += snprintf(buf + n, len - (u32)n, ", %d%% used", h.used_percent);
    if (h.media_errors > 0)
        snprintf(buf + n, len - (u32)n, ", %lld media errors", (long long)h.media_errors);
    return buf;
}

static enum hv_status run_disks(const struct schema_args *args, struct out *out)
{
    static const char *const columns[] = {"NAME",   "KIND",   "SIZE",   "SECTOR", "MODEL",
                                          "SERIAL", "ERRORS", "RESETS", "HEALTH"};
    static const u8 widths[] = {6, 6, 10, 9, 20, 16, 6, 6, 0};
    char text[80];

    (void)args;
    settle();
    out_table(out, columns, widths, ARRAY_LEN(columns));
    for (struct block_device *d = block_first(); d; d = d->next) {
        u64 errors = 0;
        for (u32 i = 0; i < BLOCK_OPS; i++)
            errors += d->stats.errors[i];
        out_cell(out, "%s", d->name);
        out_cell(out, "%s", d->kind);
        out_cell(out, "%llu MiB", (ull)(d->size / MIB));
        out_cell(out, "%u/%u", d->sector_size, d->physical_sector_size);
        out_cell(out, "%s", d->model);
        out_cell(out, "%s", d->serial[0] ? d->serial : "-");
        out_cell(out, "%llu", (ull)errors);
        out_cell(out, "%llu", (ull)d->stats.resets);
        out_cell(out, "%s", health_text(d, text, sizeof(text)));
    }
    return HV_OK;
}

static enum hv_status run_nics(const struct schema_args *args, struct out *out)
{
    static const char *const columns[] = {"NAME", "KIND", "MAC",  "LINK",  "MTU",
                                          "RX",   "TX",   "DROP", "ERRORS"};
    static const u8 widths[] = {5, 14, 17, 10, 5, 8, 8, 5, 0};

    (void)args;
    settle();
    out_table(out, columns, widths, ARRAY_LEN(columns));
    for (const struct nic *n = nic_first(); n; n = n->next) {
        const struct nic_stats *s = &n->stats;
        out_cell(out, "%s", n->name);
        out_cell(out, "%s", n->kind);
        out_cell(out, "%02x:%02x:%02x:%02x:%02x:%02x", n->mac[0], n->mac[1], n->mac[2], n->mac[3],
                 n->mac[4], n->mac[5]);
        if (n->link_up && n->link_mbps)
            out_cell(out, "%u Mbit/s", n->link_mbps);
        else
            out_cell(out, "%s", n->gone ? "gone" : n->link_up ? "up" : "down");
        out_cell(out, "%u", n->mtu);
        out_cell(out, "%llu", (ull)s->rx_frames);
        out_cell(out, "%llu", (ull)s->tx_frames);
        out_cell(out, "%llu", (ull)(s->rx_dropped + s->tx_dropped));
        out_cell(out, "%llu", (ull)(s->rx_errors + s->tx_errors));
    }
    return HV_OK;
}

/* ---- host nic echo ----------------------------------------------------------------------------
 */
struct echo {
    struct nic *nic;
    struct event gone;
    u64 frames;
};

/* Each frame goes back to where it came from. */
static void on_frames(void *owner, struct nic_frame *const *frames, u32 count)
{
    struct echo *e = owner;
    u8 mac[NIC_MAC_LEN];

    for (u32 i = 0; i < count; i++) {
        u8 *data = frames[i]->data;
        memcpy(mac, data, NIC_MAC_LEN);
        memcpy(data, data + NIC_MAC_LEN, NIC_MAC_LEN);
        memcpy(data + NIC_MAC_LEN, mac, NIC_MAC_LEN);
        frames[i]->flags = 0;
    }
    e->frames += count;
    for (u32 sent = nic_send(e->nic, frames, count); sent < count; sent++)
        nic_release(frames[sent]);
}

static void on_link(void *owner)
{
    struct echo *e = owner;

    if (e->nic->gone)
        event_signal(&e->gone);
}

static enum hv_status run_echo(const struct schema_args *args, struct out *out)
{
    const char *name = args_text(args, "nic");
    settle();
    struct nic *n = name ? nic_find(name) : NULL;
    struct echo echo = {.nic = n};
    const struct nic_user user = {.receive = on_frames, .link = on_link, .owner = &echo};
    u64 end = clock_after(args_number(args, "seconds", 10) * CLOCK_SECOND);

    if (!n)
        return out_error(out, HV_ENOENT, "E_NIC", "host nic list", "no card of that name");
    enum hv_status status = nic_open(n, &user);
    if (status != HV_OK)
        return out_error(out, status, "E_BUSY", "a card that nothing uses", "%s is in use",
                         n->name);
    nic_set_filter(n, &(struct nic_filter){.promiscuous = true});
    while (clock_tsc() < end && !out_cancelled(out) &&
           fiber_wait(&echo.gone, clock_after(CLOCK_SECOND / 10)) != HV_OK)
        ;
    nic_set_filter(n, &(struct nic_filter){0});
    nic_close(n);
    out_field(out, "frames", "%llu", (ull)echo.frames);
    out_end_object(out);
    return HV_OK;
}

static enum hv_status run_nic_show(const struct schema_args *args, struct out *out)
{
    static const char *const abilities[] = {"checksums", "tcp4-segments", "tcp6-segments",
                                            "received-checksums", "jumbo"};
    const char *name = args_text(args, "nic");
    char key[24], text[96] = "";

    settle();
    const struct nic *n = name ? nic_find(name) : NULL;
    if (!n)
        return out_error(out, HV_ENOENT, "E_NIC", "host nic list", "no card of that name");
    for (u32 i = 0, len = 0; i < ARRAY_LEN(abilities); i++)
        if (n->capabilities >> i & 1)
            len +=
                (u32)snprintf(text + len, sizeof(text) - len, "%s%s", len ? " " : "", abilities[i]);
    out_field(out, "name", "%s", n->name);
    out_field(out, "kind", "%s", n->kind);
    out_field(out, "link", "%s", n->gone ? "gone" : n->link_up ? "up" : "down");
    out_field(out, "does", "%s", text[0] ? text : "-");
    out_field(out, "interrupts", "%llu", (ull)n->stats.interrupts);
    out_field(out, "resets", "%llu", (ull)n->stats.resets);
    out_field(out, "pairs of queues", "%u", MAX(n->pairs, 1u));
    for (u32 i = 0; i < n->pairs; i++) {
        snprintf(key, sizeof(key), "pair %u", i);
        out_field(out, key, "%llu received, %llu sent, %llu interrupts", (ull)n->pair[i].rx_frames,
                  (ull)n->pair[i].tx_frames, (ull)n->pair[i].interrupts);
    }
    out_end_object(out);
    return HV_OK;
}

static enum hv_status run_nic_reset(const struct schema_args *args, struct out *out)
{
    const char *name = args_text(args, "nic");
    struct nic *n = name ? nic_find(name) : NULL;
    enum hv_status status = n ? nic_reset(n) : HV_ENOENT;

    if (status == HV_OK)
        log_notice("%s: is reset, as %s wants it", n->name, shell_user());
    else if (status == HV_ENOSYS)
        out_error(out, status, "E_NOSYS", "host pci list", "the driver of %s cannot reset it",
                  n->name);
    else
        out_error(out, status, "E_NIC", "host nic list",
                  status == HV_EBUSY ? "that card is being reset" : "no such card, or no memory");
    return status;
}

static enum hv_status run_nic(const struct schema_args *args, struct out *out)
{
    if (!strcmp(args_text(args, "action"), "show"))
        return run_nic_show(args, out);
    if (!strcmp(args_text(args, "action"), "echo"))
        return run_echo(args, out);
    if (!strcmp(args_text(args, "action"), "reset"))
        return run_nic_reset(args, out);
    return run_nics(args, out);
}

static const struct schema_arg nic_args[] = {
    {"action", PLACE_OBJECT, ARG_ENUM, "list|show|echo|reset",
     .help = "list them, show one with its queues, have it send back frames, or reset it"},
    {"nic", PLACE_OPTIONAL, ARG_WORD, .help = "show, echo, reset: its name"},
    {"seconds", PLACE_KEY, ARG_NUMBER, .default_value = "10", .help = "echo: for how long"},
    {0},
};

/* ---- host disk test ---------------------------------------------------------------------------
 */
#define DEPTH_MOST 64

struct job { /* one request of the test */
    struct test *test;
    struct block_request r;
    struct block_iov iov;
    bool busy, filled;
};

static const struct test_mode {
    const char *name;
    enum block_op op;
    bool compares;
} test_modes[] = {{"read", BLOCK_READ, false},
                  {"write", BLOCK_WRITE, false},
                  {"verify", BLOCK_READ, true},
                  {"discard", BLOCK_DISCARD, false},
                  {"zero", BLOCK_ZERO, false}};

struct test {
    struct block_device *disk;
    const struct test_mode *mode;
    u64 from, size, block, seed, next, blocks, finished, wrong, first_wrong;
    bool random, same; /* same: a buffer is filled once */
    enum hv_status error;
    struct event step;
    struct job jobs[DEPTH_MOST];
};

/* What the word at that byte of the disk is: anyone can compute it. */
static u64 pattern(u64 seed, u64 at)
{
    return (at ^ seed) * 0x9e3779b97f4a7c15ull;
}

static void fill(const struct test *t, u64 *words, u64 at)
{
    for (u64 i = 0; i < t->block / 8; i++)
        words[i] = pattern(t->seed, at + 8 * i);
}

static void compare(struct test *t, const u64 *words, u64 at)
{
    for (u64 i = 0; i < t->block / 8; i++)
        if (words[i] != pattern(t->seed, at + 8 * i)) {
            if (!t->wrong++ || at + 8 * i < t->first_wrong)
                t->first_wrong = at + 8 * i;
            return;
        }
}

static void on_job(struct block_request *r)
{
    struct job *j = r->owner;
    struct test *t = j->test;

    j->busy = false;
    t->finished++;
    if (r->status != HV_OK)
        t->error = r->status;
    else if (t->mode->compares)
        compare(t, j->iov.base, r->offset);
    event_signal(&t->step);
}

static void start_job(struct test *t, struct job *j)
{
    u64 n = t->next++;
    bool data = t->mode->op == BLOCK_READ || t->mode->op == BLOCK_WRITE;

    if (t->random) /* every block once: an odd factor permutes a power of two; others repeat */
        n = n * 0x9e3779b1ull % t->blocks;
    j->busy = true;
    j->iov.len = t->block;
    j->r = (struct block_request){.op = t->mode->op,
                                  .offset = t->from + n * t->block,
                                  .length = t->block,
                                  .iov = &j->iov,
                                  .iov_count = data ? 1 : 0,
                                  .done = on_job,
                                  .owner = j};
    if (t->mode->op == BLOCK_WRITE && !(t->same && j->filled))
        fill(t, j->iov.base, j->r.offset);
    j->filled = true;
    block_submit(t->disk, &j->r);
}

static void run_jobs(struct test *t, struct out *out, u32 depth)
{
    u64 started = 0;
    bool stop = false;

    while (!stop || t->finished < started) {
        stop = stop || t->error != HV_OK || out_cancelled(out) || t->next >= t->blocks;
        for (u32 i = 0; i < depth && !stop && t->next < t->blocks; i++)
            if (!t->jobs[i].busy) {
                started++;
                start_job(t, &t->jobs[i]);
            }
        if (t->finished < started)
            fiber_wait(&t->step, LOOP_NEVER);
    }
}

static enum hv_status report(struct test *t, struct out *out, u64 ticks)
{
    u64 us = MAX(clock_ticks_to_ns(ticks) / CLOCK_US, 1ull), bytes = t->finished * t->block;

    if (t->error != HV_OK)
        return out_error(out, t->error, "E_DISK", "host log", "%s failed after %llu requests",
                         t->disk->name, (ull)t->finished);
    if (t->wrong)
        return out_error(out, HV_EIO, "E_DATA", "host disk list",
                         "%llu blocks differ, the first at byte %llu", (ull)t->wrong,
                         (ull)t->first_wrong);
    out_field(out, "bytes", "%llu", (ull)bytes);
    out_field(out, "requests", "%llu", (ull)t->finished);
    out_field(out, "time", "%llu us", (ull)us);
    out_field(out, "rate", "%llu KiB/s", (ull)(bytes * 1000000 / us / KIB));
    out_field(out, "requests a second", "%llu", (ull)(t->finished * 1000000 / us));
    out_field(out, "ticks a request", "%llu", (ull)(ticks / MAX(t->finished, 1ull)));
    out_end_object(out);
    return HV_OK;
}

static enum hv_status run_test(const struct schema_args *args, struct out *out)
{
    settle();
    const char *name = args_text(args, "disk");
    struct block_device *d = name ? block_find(name) : NULL;
    if (!d)
        return out_error(out, HV_ENOENT, "E_DISK", "host disk list", "no disk of that name");
    if (d->no_medium)
        return out_error(out, HV_ENOENT, "E_MEDIUM", "put one in", "%s is empty", d->name);
    u64 from = args_number(args, "from", 0), block = args_number(args, "block", 64 * KIB);
    u32 depth = (u32)MIN(MAX(args_number(args, "depth", 8), 1ull), (u64)DEPTH_MOST);
    u64 size = args_number(args, "size", from < d->size ? d->size - from : 0);
    const struct test_mode *mode = test_modes;

    while (strcmp(mode->name, args_text(args, "mode")) != 0) /* the schema lets no other pass */
        mode++;
    if ((mode->op == BLOCK_DISCARD && !d->can_discard) || (mode->op == BLOCK_ZERO && !d->can_zero))
        return out_error(out, HV_ENOSYS, "E_NOSYS", "mode=write", "%s cannot %s", d->name,
                         mode->name);
    if (!block || block % d->sector_size || block > d->limits.bytes || from % d->sector_size ||
        from > d->size || size > d->size - from || size < block)
        return out_error(out, HV_EINVAL, "E_RANGE",
                         "block= a multiple of the sector size, from= and size= within the disk",
                         "that range does not fit %s", d->name);
    if (mode->op != BLOCK_READ && !args_flag(args, "yes") &&
        !shell_confirm("That overwrites what is on the disk. Go on?"))
        return HV_OK;
    struct test *t = calloc(1, sizeof(*t));
    enum hv_status status = t ? HV_OK : HV_ENOMEM;
    for (u32 i = 0; i < depth && status == HV_OK; i++) {
        t->jobs[i].test = t;
        if (!(t->jobs[i].iov.base = dma_alloc(block)))
            status = HV_ENOMEM;
    }
    if (status == HV_OK) {
        t->disk = d;
        t->mode = mode;
        t->from = from;
        t->size = size;
        t->block = block;
        t->blocks = size / block;
        t->seed = args_number(args, "seed", 1);
        t->random = args_flag(args, "random");
        t->same = args_flag(args, "same");
        u64 start = clock_tsc();
        run_jobs(t, out, depth);
        if (mode->op != BLOCK_READ && t->error == HV_OK)
            t->error = block_do(d, BLOCK_FLUSH, 0, NULL, 0);
        status = report(t, out, clock_tsc() - start);
    } else {
        status = out_error(out, status, "E_MEMORY",
                           "a smaller block= or depth=", "no memory for the buffers");
    }
    for (u32 i = 0; t && i < depth; i++)
        dma_free(t->jobs[i].iov.base, block);
    free(t);
    return status;
}

static enum hv_status run_disk(const struct schema_args *args, struct out *out)
{
    if (!strcmp(args_text(args, "action"), "test"))
        return run_test(args, out);
    return run_disks(args, out);
}

static const struct schema_arg disk_args[] = {
    {"action", PLACE_OBJECT, ARG_ENUM, "list|test", .help = "list them, or test one"},
    {"disk", PLACE_OPTIONAL, ARG_WORD, .help = "test: its name"},
    {"mode", PLACE_KEY, ARG_ENUM, "read|write|verify|discard|zero", "read",
     "verify reads what write wrote and compares; discard: the range's contents are not needed any "
     "more; zero: it reads as zeros, without data being sent"},
    {"from", PLACE_KEY, ARG_SIZE, .default_value = "0", .help = "first byte"},
    {"size", PLACE_KEY, ARG_SIZE, .help = "bytes; without it to the end"},
    {"block", PLACE_KEY, ARG_SIZE, .default_value = "64K", .help = "bytes of one request"},
    {"depth", PLACE_KEY, ARG_NUMBER, .default_value = "8", .help = "requests at once, at most 64"},
    {"seed", PLACE_KEY, ARG_NUMBER, .default_value = "1", .help = "which pattern"},
    {"random", PLACE_FLAG, ARG_WORD, .help = "not in order"},
    {"same", PLACE_FLAG, ARG_WORD,
     .help = "write: fill each buffer once alone, to measure the disk and not the filling; verify "
             "finds other data then"},
    {"yes", PLACE_FLAG, ARG_WORD, .help = "do not ask before overwriting"},
    {0},
};

static const struct schema_arg list_args[] = {
    {"action", PLACE_OBJECT, ARG_ENUM, "list", .help = "list them"},
    {0},
};

static const struct schema_command commands[] = {
    {"host", "pci", "PCI functions, their drivers and interrupts", "host pci list", ROLE_VIEW,
     list_args, NULL, run_pci},
    {"host", "disk", "physical disks: list, measure, write and verify a pattern, discard",
     "host disk test nvme0 mode=write size=64M --yes", ROLE_ADMIN, disk_args, NULL, run_disk},
    {"host", "nic", "network cards: list, show, or send back what comes in",
     "host nic echo nic0 seconds=5", ROLE_ADMIN, nic_args, NULL, run_nic},
};
SCHEMA_COMMANDS(commands);
