/* The disk that keeps the configuration; called by control/saved.c, in its fiber. */
#include "control/saved_home.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "control/rt/log.h"
#include "drivers/block.h"

#define PATH "bulkhead/config"
#define NAMES_MAX 200

typedef unsigned long long ull;

static struct {
    struct slots slots;
    bool have;
    bool had;     /* since the start */
    bool look;    /* a disk or a medium came since it was last looked for */
    bool changed; /* the home's medium is another one */
    char *text;   /* what it keeps; NULL: nothing */
    char *tried;  /* what was being written when it failed: it may be on the disk nevertheless */
    enum slots_state found;
    struct event *wake;
} home;

struct candidate {
    struct slots slots;
    enum slots_state found;
    char *text; /* NULL: it keeps nothing */
};

static const struct disk *disk_of(const struct slots *s)
{
    return s->file[0].disk;
}

static void on_disk(struct block_device *b)
{
    if (home.have && !strcmp(b->name, disk_of(&home.slots)->name))
        home.changed = true;
    home.look = true;
    event_signal(home.wake);
}

void saved_home_watch(struct event *wake)
{
    home.wake = wake;
    block_watch(on_disk);
}

/* Disks whose contents are a guest's or another machine's do not count: physical ones alone. */
static bool counts(const struct disk *d)
{
    const struct block_device *b =
        strcmp(d->ops->name, "physical") == 0 ? block_find(d->name) : NULL;

    return b && !b->gone && !b->no_medium;
}

/* ---- looking ----------------------------------------------------------------------------------
 */
static bool read_candidate(struct disk *d, struct candidate *c)
{
    u32 len;
    enum hv_status status = slots_open(&c->slots, d, PATH);

    if (status == HV_ENOENT)
        return false;
    if (status == HV_OK)
        status = slots_read(&c->slots, &c->found, &c->text, &len);
    if (status == HV_EIO)
        log_error("E_CONFIG: the configuration on disk %s cannot be read; it is neither used nor "
                  "written to. Try: host disk list, or other files config.a and .b",
                  d->name);
    else if (status != HV_OK)
        log_warn("E_CONFIG: disk %s cannot keep the configuration: status %d. Try: host config",
                 d->name, (int)status);
    return status == HV_OK;
}

/* The text of a disk that came is the one that was lost, or the write that failed when it went. */
static bool is_ours(const char *text)
{
    return text && home.had &&
           ((home.text && !strcmp(text, home.text)) || (home.tried && !strcmp(text, home.tried)));
}

/* The higher number is the newer one: an old boot medium that was put in as a data disk does not
 * win.  Of equal ones the first that can be written. */
static bool better(const struct candidate *c, const struct candidate *than)
{
    if (is_ours(c->text) != is_ours(than->text))
        return is_ours(c->text);
    if (c->slots.sequence != than->slots.sequence)
        return c->slots.sequence > than->slots.sequence;
    return disk_of(&than->slots)->read_only && !disk_of(&c->slots)->read_only;
}

/* Out of all disks, as they are now.  False: none has the files. */
static bool choose(struct candidate *best)
{
    char names[NAMES_MAX] = "";
    u32 count = 0, n = 0;

    memset(best, 0, sizeof(*best));
    for (struct disk *d = disk_first(); d; d = d->next) {
        struct candidate c = {.found = SLOTS_EMPTY};

        if (!counts(d) || !read_candidate(d, &c))
            continue;
        if (n < sizeof(names))
            n += (u32)snprintf(names + n, sizeof(names) - n, "%s%s (number %llu)", n ? ", " : "",
                               d->name, (ull)c.slots.sequence);
        if (count++ && !better(&c, best)) {
            free(c.text);
            continue;
        }
        free(best->text);
        *best = c;
    }
    if (count > 1)
        log_warn("E_CONFIG: more than one disk has files config.a and .b: %s; the highest number "
                 "counts, that of %s. Try: delete them from the other disk",
                 names, disk_of(&best->slots)->name);
    return count;
}

static void tell_how_it_was_read(const struct candidate *c)
{
    const char *disk = disk_of(&c->slots)->name;

    if (c->found == SLOTS_REPAIRED && c->slots.unreadable)
        log_warn("E_CONFIG: one copy of the configuration on %s cannot be read; the other one, "
                 "number %llu, is used. Try: host disk list",
                 disk, (ull)c->slots.sequence);
    else if (c->found == SLOTS_REPAIRED)
        log_warn("E_CONFIG: a write of the configuration was cut short; the last good one, number "
                 "%llu, is used. Try: host config show",
                 (ull)c->slots.sequence);
    if (c->found == SLOTS_LOST)
        log_warn("E_CONFIG: both copies of the configuration are damaged; none is used. "
                 "Try: set it again, it is kept then");
    if (disk_of(&c->slots)->read_only)
        log_warn("E_READ_ONLY: disk %s, which keeps the configuration, cannot be written: what is "
                 "set from now on is lost at a reboot. Try: another boot medium",
                 disk);
}

static void check_that_it_is_there(void)
{
    const struct disk *d = home.have ? disk_of(&home.slots) : NULL;

    if (!d || (!home.changed && counts(d)))
        return;
    home.have = false;
    home.look = true;
    log_warn("E_NO_HOME: disk %s, which keeps the configuration, is gone: what is set meanwhile is "
             "lost at a reboot. Try: put it back",
             d->name);
}

enum saved_home_news saved_home_look(bool take)
{
    struct candidate c;

    check_that_it_is_there();
    if (home.have || !(home.look || take))
        return HOME_AS_BEFORE;
    home.look = false;
    if (!choose(&c))
        return HOME_AS_BEFORE;
    if (home.had && !take && c.text && !is_ours(c.text)) {
        log_error("E_CONFIG: disk %s keeps another configuration, number %llu; it is neither run "
                  "nor written to. Try: host config save to write over it, host reboot to use it",
                  disk_of(&c.slots)->name, (ull)c.slots.sequence);
        free(c.text);
        return HOME_FOREIGN;
    }
    tell_how_it_was_read(&c);
    enum saved_home_news news = home.had ? HOME_BACK : HOME_FOUND;
    if (news == HOME_BACK)
        log_notice("the configuration is kept on disk %s now", disk_of(&c.slots)->name);
    free(home.text);
    home.slots = c.slots;
    home.text = c.text;
    home.found = c.found;
    home.have = home.had = true;
    home.changed = false;
    return news;
}

/* ---- what there is ----------------------------------------------------------------------------
 */
const struct disk *saved_home_disk(void)
{
    return home.have ? disk_of(&home.slots) : NULL;
}

bool saved_home_lost(void)
{
    return home.had && !home.have;
}

const char *saved_home_text(void)
{
    return home.text ? home.text : "";
}

u64 saved_home_number(void)
{
    return home.slots.sequence;
}

const char *saved_home_state(void)
{
    static const char *const states[] = {"none was kept", "read whole",
                                         "the last write was cut short, the one before was read",
                                         "both copies were damaged"};

    return home.found == SLOTS_REPAIRED && home.slots.unreadable
               ? "one copy could not be read, the other one was"
               : states[home.found];
}

enum hv_status saved_home_write(const char *text)
{
    char *mine = home.have ? strdup(text) : NULL;

    if (!home.have)
        return HV_ENOENT;
    if (disk_of(&home.slots)->read_only) {
        free(mine);
        return HV_EPERM;
    }
    if (!mine)
        return HV_ENOMEM;
    enum hv_status status = slots_write(&home.slots, text, (u32)strlen(text));
    char **slot = status == HV_OK ? &home.text : &home.tried;
    free(*slot);
    *slot = mine;
    return status;
}
