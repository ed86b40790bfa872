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
#include "control/saved_home.h"
#include "control/shell.h"
#include "control/shell_parse.h"
#include "drivers/pci.h"
#include "net/first_boot.h"

#define PATH "bulkhead/config"
#define DEVICES_NS (60 * CLOCK_SECOND) /* one after the other, a drive takes up to 31 s */
#define SHELL_NS (10 * CLOCK_SECOND)   /* a driver that hangs does not keep the shell away */
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
    bool in_force; /* what was kept has been run */
    bool early;    /* something was set before that */
    bool autosave;
    bool reset;    /* until the next start nothing is kept */
    bool told;     /* that there is no disk to keep it on */
    bool slow;     /* told that it is not in force yet */
    char *kept;    /* lines that failed */
    char *network; /* text of the network that a first boot sets up; NULL: none */
    u32 lines, failed;
    const struct fiber *running; /* runs kept lines, which ask for no write */
    enum hv_status error;        /* of the last write */
    u64 asked, done;             /* requests to write */
    bool always;                 /* the next one writes even if nothing has changed */
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

    if (!now)
        t->overflow = true;
    if (now && !is_default(now)) {
        schema_put(t, "net auto off");
        append(t, now, (u32)strlen(now));
    }
    free(now);
}

/* n: with its end. */
static bool has_line(const char *text, const char *line, u32 n)
{
    for (const char *at = text; at && *at; at += strcspn(at, "\n") + 1) {
        if (!strncmp(at, line, n))
            return true;
    }
    return false;
}

/* Lines that failed and that nobody has done since. */
static void collect_kept(struct schema_text *t)
{
    bool marked = false;

    for (const char *at = saved.kept; at && *at;) {
        u32 n = (u32)strcspn(at, "\n") + 1;

        if (!has_line(t->text, at, n)) {
            if (!marked)
                append(t, KEPT_MARK, sizeof(KEPT_MARK) - 1);
            marked = true;
            append(t, at, n);
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

static void tell_failed(const char *line, const char *error)
{
    saved.failed++;
    /* The third word may be a secret's. */
    log_warn("kept configuration: `%.40s`: %s", strncmp(line, "host user", 9) ? line : "host user",
             error);
}

static void run_line(const char *line)
{
    char error[200] = "";
    struct out_sink sink = {.line = sink_error, .owner = error};
    enum hv_status status = shell_execute(line, &sink);

    if (status == HV_OK || status == HV_EEXIST) /* a VM that outlived a restart */
        return;
    keep(line);
    tell_failed(line, error);
}

/* Into what was set by hand already: whether a line that fails matters shows at the end. */
static void run_line_late(const char *line)
{
    char error[200] = "";
    struct out_sink sink = {.line = sink_error, .owner = error};

    if (shell_execute(line, &sink) != HV_OK)
        keep(line);
}

static u32 each_line(const char *text, void (*fn)(const char *line))
{
    char line[SHELL_LINE_MAX + 2];
    u32 count = 0;

    for (const char *at = text; *at;) {
        u32 n = (u32)strcspn(at, "\n");

        snprintf(line, sizeof(line), "%.*s", (int)n, at);
        if (n < sizeof(line) && line[0] && line[0] != '#') {
            fn(line);
            count++;
        }
        at += n + (at[n] == '\n');
    }
    return count;
}

/* Why it is not in force, by trying once more. */
static void tell_left(const char *line)
{
    char error[200] = "";
    struct out_sink sink = {.line = sink_error, .owner = error};

    tell_failed(line, shell_execute(line, &sink) == HV_OK ? "it came to something else" : error);
}

/* The kept text comes into a machine where commands were given already.  First it is run, then what
 * they had made once more, so that they win; what of both is not in force then is told and kept. */
static void run_late(const char *text)
{
    char *meanwhile = saved_text(), *all;

    if (strstr(text, "net auto off\n") && saved_network_untouched())
        first_boot_undo();
    saved.lines = each_line(text, run_line_late);
    if (meanwhile)
        each_line(meanwhile, run_line_late);
    free(meanwhile);
    struct schema_text left = {0};
    all = saved.kept;
    saved.kept = NULL;
    char *now = saved_text();
    for (const char *at = all; at && now && *at; at += strcspn(at, "\n") + 1) {
        u32 n = (u32)strcspn(at, "\n") + 1;

        if (!has_line(now, at, n) && !has_line(left.text, at, n))
            append(&left, at, n);
    }
    free(now);
    free(all);
    saved.kept = left.text;
    if (saved.kept)
        each_line(saved.kept, tell_left);
}

static void run_kept(bool late)
{
    char *text = strdup(saved_home_text());

    if (!text || !text[0]) {
        free(text);
        return;
    }
    saved.running = fiber_self();
    if (late)
        run_late(text);
    else
        saved.lines = each_line(text, run_line);
    saved.running = NULL;
    free(text);
    log_info("kept configuration %llu from %s: %u lines, %u failed",
             (unsigned long long)saved_home_number(),
             saved_home_disk() ? saved_home_disk()->name : "a disk that is gone", saved.lines,
             saved.failed);
    if (late)
        log_notice("the disk with the kept configuration came late: its %u lines have been run "
                   "now, %u failed; what was set meanwhile goes on to count",
                   saved.lines, saved.failed);
}

/* ---- the disk ---------------------------------------------------------------------------------
 */
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
    if (!saved.always && !strcmp(text, saved_home_text())) {
        free(text);
        return HV_OK;
    }
    status = saved_home_write(text);
    free(text);
    if (status == HV_ENOENT && !saved.told && !saved_home_lost()) {
        log_warn("E_NO_HOME: no disk has \\bulkhead\\config.a and .b: what is set is lost at a "
                 "reboot. Try: host config");
        saved.told = true;
    }
    if (status != HV_OK && status != HV_ENOENT && status != HV_EPERM)
        log_error("E_CONFIG: the configuration could not be written: status %d. "
                  "Try: host disk list",
                  (int)status);
    return status;
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

/* Every driver has had its turn, USB's with what was plugged in; then a stick that is slow.  A home
 * that comes later than that is not lost: look_again(). */
static void look_for_home(void)
{
    if (pci_wait_ready(clock_after(DEVICES_NS)) != HV_OK)
        log_warn("E_TIMEOUT: devices are not all there after %u s; the host goes on without them. "
                 "Try: host pci",
                 (u32)(DEVICES_NS / CLOCK_SECOND));
    u64 end = clock_after(LATE_DISK_NS);
    while (saved_home_look(false) != HOME_FOUND && more_may_come()) {
        if (fiber_wait(&saved.work, end) == HV_ETIMEDOUT)
            break;
    }
}

static void look_again(void)
{
    enum saved_home_news news = saved_home_look(saved.always);

    if (news != HOME_FOUND && news != HOME_BACK)
        return;
    if (news == HOME_FOUND && !saved.reset) {
        run_kept(true);
        cmd_vm_autostart();
    }
    if (saved.autosave && !saved.reset && !saved.always)
        saved.error = write_kept();
}

static void saved_fiber(void *arg)
{
    (void)arg;
    saved_home_watch(&saved.work);
    look_for_home();
    run_kept(saved.early);
    saved.in_force = true;
    event_signal(&saved.force_event);
    first_boot_init(saved_network_is_default);
    cmd_vm_autostart();
    for (;;) {
        if (saved.done == saved.asked)
            fiber_wait(&saved.work, LOOP_NEVER);
        look_again();
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
    u64 end = clock_after(SHELL_NS);

    while (!saved.in_force) {
        if (fiber_wait(&saved.force_event, end) == HV_OK)
            continue;
        if (!saved.slow)
            log_warn("E_TIMEOUT: devices take long, and the kept configuration is not in force "
                     "yet; what is set meanwhile goes on to count. Try: host pci");
        saved.slow = true;
        return;
    }
}

void saved_touch(void)
{
    if (saved.running && saved.running == fiber_self())
        return;
    saved.early |= !saved.in_force;
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
    const struct disk *d = saved_home_disk();

    if (d)
        out_field(out, "kept on", "%s, \\bulkhead\\config.a and .b%s", d->name,
                  d->read_only ? ", which cannot be written: what is set is lost at a reboot" : "");
    else
        out_field(out, "kept on", "nothing: %s; what is set is lost at a reboot",
                  saved_home_lost() ? "the disk that keeps it is gone"
                                    : "no disk with our driver has \\bulkhead\\config.a");
    out_field(out, "number", "%llu", (unsigned long long)saved_home_number());
    out_field(out, "size", "%u of %u bytes", (u32)strlen(saved_home_text()), (u32)SLOTS_TEXT_MAX);
    out_field(out, "at start", "%s, %u lines, %u failed", saved_home_state(), saved.lines,
              saved.failed);
    out_field(out, "autosave", "%s", saved.autosave ? "on" : "off");
    if (saved.reset)
        out_field(out, "reset", "at the next start; nothing is kept until then");
    out_end_object(out);
}
