/* The kept configuration; started by main.c, told of commands by control/shell.c.  Reads and writes
 * in a fiber of its own; one thread, no locks. */
#include "control/saved.h"

#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "control/cmd_vm.h"
#include "control/rt/clock.h"
#include "control/rt/fiber.h"
#include "control/rt/log.h"
#include "control/rt/loop.h"
#include "control/shell.h"
#include "control/shell_parse.h"
#include "drivers/pci.h"
#include "net/first_boot.h"
#include "storage/slots.h"

#define PATH "bulkhead/config"
#define DEVICES_NS (10 * CLOCK_SECOND) /* a driver that hangs does not keep the shell away */
#define LATE_DISK_NS (3 * CLOCK_SECOND)
#define WRITE_NS (5 * CLOCK_SECOND)
#define KEPT_MARK "# these lines failed at the last start; `host config forget` drops them\n"
#define PCI_CLASS_USB 0x0c03

struct schema_text {
    char *text;
    u32 len, size;
    bool overflow;
};

static struct {
    struct slots slots;
    bool have_home;
    u32 disks_seen; /* when it was last looked for */
    bool in_force;  /* what was kept has been run */
    bool autosave;
    bool reset;    /* until the next start nothing is kept */
    char *last;    /* what the newest copy holds */
    char *kept;    /* lines that failed */
    char *network; /* text of the network that a first boot sets up; NULL: none */
    u32 lines, failed;
    enum slots_state found;
    enum hv_status error; /* of the last write */
    u64 asked, done;      /* requests to write */
    bool always;          /* the next one writes even if nothing has changed */
    struct event force_event, work, done_event;
} saved = {.autosave = true};

/* ---- collecting -------------------------------------------------------------------------------
 */
static bool append(struct schema_text *t, const char *text, u32 len)
{
    while (!t->overflow && t->len + len + 1 > t->size) {
        u32 size = t->size ? 2 * t->size : 4096;
        char *p = size <= 2 * SLOTS_TEXT_MAX ? realloc(t->text, size) : NULL;

        t->overflow = !p;
        if (p) {
            t->text = p;
            t->size = size;
        }
    }
    if (t->overflow)
        return false;
    memcpy(t->text + t->len, text, len);
    t->len += len;
    t->text[t->len] = 0;
    return true;
}

void schema_put(struct schema_text *t, const char *fmt, ...)
{
    char line[SHELL_LINE_MAX + 2];
    va_list ap;

    va_start(ap, fmt);
    int n = vsnprintf(line, sizeof(line) - 1, fmt, ap);
    va_end(ap);
    if (n < 0 || n >= (int)sizeof(line) - 1) {
        log_warn("a setting is too long to be kept: %.40s", line);
        return;
    }
    line[n] = '\n';
    append(t, line, (u32)n + 1);
}

static void collect(struct schema_text *t, enum schema_saves_order from, enum schema_saves_order to)
{
    const struct schema_saves *s;

    for (u32 order = from; order <= to; order++) {
        for (u32 i = 0; (s = schema_saves_at(i)); i++) {
            if (s->order == order)
                s->put(t);
        }
    }
}

static char *finish(struct schema_text *t)
{
    if (append(t, "", 0))
        return t->text;
    free(t->text);
    return NULL;
}

static char *network_text(void)
{
    struct schema_text t = {0};

    collect(&t, SAVES_SWITCH, SAVES_ROUTE);
    return finish(&t);
}

void saved_network_is_default(void)
{
    free(saved.network);
    saved.network = network_text();
}

static bool is_default(const char *network)
{
    return first_boot_enabled() && (saved.network ? !strcmp(network, saved.network) : !network[0]);
}

bool saved_network_untouched(void)
{
    char *now = network_text();
    bool untouched = now && is_default(now);

    free(now);
    return untouched;
}

/* A network that nobody has changed is made anew at each start, for the cards that are there. */
static void collect_network(struct schema_text *t)
{
    char *now = network_text();
    bool untouched = now && is_default(now);

    if (!now)
        t->overflow = true;
    if (now && !untouched) {
        schema_put(t, "net auto off");
        append(t, now, (u32)strlen(now));
    }
    free(now);
}

/* Lines that failed and that nobody has done since. */
static void collect_kept(struct schema_text *t)
{
    bool marked = false;

    for (const char *at = saved.kept; at && *at;) {
        u32 n = (u32)strcspn(at, "\n") + 1;
        char line[SHELL_LINE_MAX + 2];

        snprintf(line, sizeof(line), "%.*s", (int)n, at);
        if (!t->text || !strstr(t->text, line)) {
            if (!marked)
                append(t, KEPT_MARK, sizeof(KEPT_MARK) - 1);
            marked = true;
            append(t, line, (u32)strlen(line));
        }
        at += n;
    }
}

char *saved_text(void)
{
    struct schema_text t = {0};

    if (!saved.autosave)
        schema_put(&t, "host config autosave=off");
    collect(&t, SAVES_HOST, SAVES_HOST);
    collect_network(&t);
    collect(&t, SAVES_STORE, SAVES_SERVICE);
    collect_kept(&t);
    char *text = finish(&t);
    if (text && t.len > SLOTS_TEXT_MAX) {
        free(text);
        text = NULL;
    }
    return text;
}

/* ---- running ----------------------------------------------------------------------------------
 */
static void sink_error(void *owner, const char *text, u32 len)
{
    char *first = owner;

    if (!first[0] && !strncmp(text, "E_", 2))
        snprintf(first, 200, "%.*s", (int)len, text);
}

static void keep(const char *line)
{
    u32 have = saved.kept ? (u32)strlen(saved.kept) : 0, n = (u32)strlen(line);
    char *p = realloc(saved.kept, have + n + 2);

    if (!p)
        return;
    memcpy(p + have, line, n);
    strcpy(p + have + n, "\n");
    saved.kept = p;
}

static void run_saved_line(const char *line)
{
    char error[200] = "";
    struct out_sink sink = {.line = sink_error, .owner = error};
    enum hv_status status = shell_execute(line, &sink);

    saved.lines++;
    if (status == HV_OK || status == HV_EEXIST) /* a VM that outlived a restart */
        return;
    saved.failed++;
    keep(line);
    /* The third word may be a secret's. */
    log_warn("kept configuration: `%.40s`: %s", strncmp(line, "host user", 9) ? line : "host user",
             error);
}

static void run_all(const char *text)
{
    char line[SHELL_LINE_MAX + 2];

    for (const char *at = text; *at;) {
        u32 n = (u32)strcspn(at, "\n");

        snprintf(line, sizeof(line), "%.*s", (int)n, at);
        if (n < sizeof(line) && line[0] && line[0] != '#')
            run_saved_line(line);
        at += n + (at[n] == '\n');
    }
}

/* ---- the disk ---------------------------------------------------------------------------------
 */
/* Disks whose contents are a guest's or another machine's do not count: physical ones alone. */
static bool find_home(void)
{
    u32 disks = 0;

    for (struct disk *d = disk_first(); d; d = d->next)
        disks += !strcmp(d->ops->name, "physical");
    if (saved.have_home || disks == saved.disks_seen)
        return saved.have_home;
    saved.disks_seen = disks;
    for (struct disk *d = disk_first(); d && !saved.have_home; d = d->next) {
        if (strcmp(d->ops->name, "physical") || d->read_only)
            continue;
        enum hv_status status = slots_open(&saved.slots, d, PATH);
        saved.have_home = status == HV_OK;
        if (status != HV_OK && status != HV_ENOENT)
            log_warn("disk %s cannot keep the configuration: status %d", d->name, (int)status);
    }
    return saved.have_home;
}

/* Disks behind USB come after their controller. */
static bool more_may_come(void)
{
    for (const struct pci_device *d = pci_first(); d; d = d->next) {
        if (d->class_code >> 8 == PCI_CLASS_USB && d->name[0])
            return true;
    }
    return false;
}

static void look_for_home(void)
{
    u64 end = clock_after(LATE_DISK_NS);

    if (pci_wait_ready(clock_after(DEVICES_NS)) != HV_OK)
        log_warn("devices take too long to come up; the kept configuration is not used");
    while (!find_home() && more_may_come() && clock_tsc() < end)
        fiber_sleep_until(clock_after(20 * CLOCK_MS));
}

static void read_kept(void)
{
    char *text;
    u32 len;
    struct slots *s = &saved.slots;
    enum hv_status status = slots_read(s, &saved.found, &text, &len);

    if (status != HV_OK) {
        log_error("E_CONFIG: the kept configuration cannot be read: status %d. Try: host disk list",
                  (int)status);
        return;
    }
    if (saved.found == SLOTS_REPAIRED)
        log_warn("E_CONFIG: a write of the configuration was cut short; the last good one, number "
                 "%llu, is used. Try: host config show",
                 (unsigned long long)s->sequence);
    if (saved.found == SLOTS_LOST)
        log_warn("E_CONFIG: both copies of the configuration are damaged; none is used. "
                 "Try: set it again, it is kept then");
    if (!text)
        return;
    run_all(text);
    free(saved.last);
    saved.last = text;
    log_info("kept configuration %llu from %s: %u lines, %u failed",
             (unsigned long long)s->sequence, s->file[0].disk->name, saved.lines, saved.failed);
}

static enum hv_status write_kept(void)
{
    char *text = saved.reset ? calloc(1, 1) : saved_text();
    enum hv_status status;

    if (!text) {
        log_error("E_CONFIG: the configuration is longer than %u bytes, or there is no memory. "
                  "Try: host mem",
                  (u32)SLOTS_TEXT_MAX);
        return HV_ENOSPC;
    }
    if (!saved.always && !strcmp(text, saved.last ? saved.last : "")) {
        free(text);
        return HV_OK;
    }
    if (!find_home()) {
        free(text);
        return HV_ENOENT;
    }
    status = slots_write(&saved.slots, text, (u32)strlen(text));
    if (status != HV_OK) {
        log_error("E_CONFIG: the configuration could not be written: status %d. "
                  "Try: host disk list",
                  (int)status);
        free(text);
        return status;
    }
    free(saved.last);
    saved.last = text;
    return HV_OK;
}

static void saved_fiber(void *arg)
{
    (void)arg;
    look_for_home();
    if (saved.have_home)
        read_kept();
    saved.in_force = true;
    event_signal(&saved.force_event);
    first_boot_init(saved_network_is_default);
    cmd_vm_autostart();
    for (;;) {
        if (saved.done == saved.asked)
            fiber_wait(&saved.work, LOOP_NEVER);
        u64 now = saved.asked;
        if (now == saved.done)
            continue;
        saved.error = write_kept();
        saved.always = false;
        saved.done = now;
        event_signal(&saved.done_event);
    }
}

static enum hv_status ask_and_wait(void)
{
    u64 mine = ++saved.asked, end = clock_after(WRITE_NS);

    event_signal(&saved.work);
    while (saved.done < mine) {
        if (fiber_wait(&saved.done_event, end) == HV_ETIMEDOUT)
            return HV_ETIMEDOUT;
    }
    return saved.error;
}

void saved_start(void)
{
    rt_assert(fiber_spawn("configuration", saved_fiber, NULL));
}

void saved_wait(void)
{
    u64 end = clock_after(2 * DEVICES_NS);

    while (!saved.in_force && fiber_wait(&saved.force_event, end) == HV_OK)
        ;
}

void saved_touch(void)
{
    if (!saved.in_force || !saved.autosave || saved.reset)
        return;
    if (ask_and_wait() == HV_ETIMEDOUT)
        log_warn("the disk takes long to keep the configuration");
}

enum hv_status saved_save(void)
{
    saved.always = true;
    saved.reset = false;
    return ask_and_wait();
}

enum hv_status saved_reset(void)
{
    saved.always = saved.reset = true;
    return ask_and_wait();
}

void saved_set_autosave(bool on)
{
    saved.autosave = on;
}

void saved_forget(void)
{
    free(saved.kept);
    saved.kept = NULL;
    saved.failed = 0;
}

void saved_status(struct out *out)
{
    static const char *const states[] = {"none was kept", "read whole",
                                         "the last write was cut short, the one before was read",
                                         "both copies were damaged"};

    if (saved.have_home)
        out_field(out, "kept on", "%s, \\bulkhead\\config.a and .b",
                  saved.slots.file[0].disk->name);
    else
        out_field(out, "kept on", "nothing: no disk with our driver has \\bulkhead\\config.a");
    out_field(out, "number", "%llu", (unsigned long long)saved.slots.sequence);
    out_field(out, "size", "%u of %u bytes", saved.last ? (u32)strlen(saved.last) : 0,
              (u32)SLOTS_TEXT_MAX);
    out_field(out, "at start", "%s, %u lines, %u failed", states[saved.found], saved.lines,
              saved.failed);
    out_field(out, "autosave", "%s", saved.autosave ? "on" : "off");
    if (saved.reset)
        out_field(out, "reset", "at the next start; nothing is kept until then");
    out_end_object(out);
}
