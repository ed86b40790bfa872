/* Shells: a fiber each that edits a line, runs its commands, and starts over.  Opened by main.c and
 * by remote sessions; Ctrl-C arrives on the loop. */
#include "control/shell.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "control/banner.h"
#include "control/complete.h"
#include "control/help.h"
#include "control/line_edit.h"
#include "control/login.h"
#include "control/rt/clock.h"
#include "control/rt/fiber.h"
#include "control/rt/log.h"
#include "control/rt/loop.h"
#include "control/saved.h"
#include "control/shell_parse.h"
#include "control/users.h"

#define PROMPT "bulkhead> "
#define ROWS_DEFAULT 24
#define COLUMNS_DEFAULT 80

/* Moves far down and right, asks where that is, and comes back (ECMA-48 CPR). */
#define ASK_SIZE                                                                                   \
    "\x1b"                                                                                         \
    "7\x1b[999;999H\x1b[6n\x1b"                                                                    \
    "8"

struct shell {
    struct terminal *terminal; /* NULL: nobody is there */
    struct fiber *fiber;
    char user[SHELL_USER], from[48];
    u64 id;                 /* the user's; 0: root, or the kept configuration */
    enum schema_role role;  /* as of the last command */
    enum schema_role needs; /* of the command that runs */
    struct line_edit_ops ops;
    struct line_edit editor;
    struct terminal_editor hook;
    u32 rows, columns; /* rows 0: unknown, nothing is paged by itself */
    bool broken;       /* Ctrl-C */
    bool leaving;
    bool dismissed; /* the user was removed or barred */
    int last_status;
    struct shell_words words; /* too big for a fiber's stack */
    const char *line;         /* the only one, without editing; NULL: lines are read */
    void (*ended)(void *owner, int status); /* NULL: a console's, which does not end */
    void *owner;
    struct shell *next; /* of `shells` */
};

static struct shell *shells; /* that somebody types at */

struct pager {
    struct shell *shell;
    u32 rows, used; /* rows 0: no paging */
    bool quit;
};

static struct shell *current(void)
{
    return fiber_data();
}

/* ---- the editor -------------------------------------------------------------------------------
 */
static void editor_write(void *owner, const char *text, u32 len)
{
    terminal_write(((struct shell *)owner)->terminal, text, len);
}

static void editor_complete(void *owner, const char *text, u32 len, struct completion *out)
{
    (void)owner;
    complete_line(text, len, out);
}

void shell_resize(struct shell *s, u32 rows, u32 columns)
{
    if (rows < 3 || columns < 20)
        return;
    s->rows = MIN(rows, 500u);
    s->columns = MIN(columns, 500u);
    s->editor.width = s->columns;
}

static void editor_position(void *owner, u32 row, u32 column)
{
    shell_resize(owner, row, column);
}

static void hide_line(void *owner)
{
    line_edit_hide(&((struct shell *)owner)->editor);
}

static void show_line(void *owner)
{
    line_edit_show(&((struct shell *)owner)->editor);
}

static void set_up(struct shell *s, struct terminal *t)
{
    s->terminal = t;
    s->columns = COLUMNS_DEFAULT;
    s->ops = (struct line_edit_ops){.write = editor_write,
                                    .complete = editor_complete,
                                    .position = editor_position,
                                    .owner = s};
    s->hook = (struct terminal_editor){hide_line, show_line, s};
    line_edit_init(&s->editor, &s->ops, PROMPT, s->columns);
    s->next = shells;
    shells = s;
}

static void tear_down(struct shell *s)
{
    struct shell **at = &shells;

    while (*at != s)
        at = &(*at)->next;
    *at = s->next;
    free(s);
}

/* ---- users that change ------------------------------------------------------------------------
 */
/* What the user may do now.  False: nothing any more. */
static bool look_up(struct shell *s)
{
    const struct user *u = s->id ? users_by_id(s->id) : NULL;

    if (u)
        s->role = u->role;
    if (!s->id || (u && !u->barred))
        return true;
    s->leaving = s->dismissed = true;
    return false;
}

void shell_users_changed(void)
{
    for (struct shell *s = shells; s; s = s->next) {
        bool stays = look_up(s);

        if (s == current() || (stays && s->needs <= s->role))
            continue;
        s->broken = true;
        if (s->fiber)
            fiber_cancel(s->fiber);
        if (stays)
            terminal_leave(s->terminal);
        else
            terminal_dismiss(s->terminal);
    }
}

u32 shell_sessions(u64 id)
{
    u32 n = 0;

    for (const struct shell *s = shells; s; s = s->next)
        n += s->id == id;
    return n;
}

static void tell_end(struct shell *s)
{
    if (s->dismissed) {
        terminal_print(s->terminal, "\nE_SESSION: the user was removed or locked, so the session "
                                    "ends. Try: ask an administrator\n");
        log_notice("session of %s from %s ends: the user was removed or locked", s->user, s->from);
    }
    log_notice("user %s (%s) has left", s->user, s->from);
}

/* ---- for commands -----------------------------------------------------------------------------
 */
static void on_break(void *owner)
{
    struct shell *s = owner;

    s->broken = true;
    fiber_cancel(s->fiber);
    terminal_write(s->terminal, "^C\r\n", 4);
}

struct terminal *shell_terminal(void)
{
    return current() ? current()->terminal : NULL;
}

const char *shell_user(void)
{
    return current() ? current()->user : "nobody";
}

bool shell_break(void)
{
    return current() && current()->broken;
}

const char *shell_history(u32 i)
{
    return shell_terminal() ? line_edit_history(&current()->editor, i) : NULL;
}

bool shell_confirm(const char *question)
{
    struct terminal *t = shell_terminal();
    char line[200];

    if (!t)
        return true;
    snprintf(line, sizeof(line), "%s [y/N] ", question);
    terminal_print(t, line);
    int key = terminal_key(t, LOOP_NEVER);
    bool yes = key == 'y' || key == 'Y';
    terminal_print(t, yes ? "yes\n" : "no\n");
    return yes;
}

bool shell_ask(const char *question, bool shown, char *buf, u32 len)
{
    struct terminal *t = shell_terminal();

    return t && login_read(t, question, shown, LOOP_NEVER, buf, len);
}

bool shell_leave(void)
{
    struct shell *s = current();

    if (!s || (!s->ended && !login_wanted()))
        return false;
    s->leaving = true;
    return true;
}

/* ---- output -----------------------------------------------------------------------------------
 */
/* "--more--": blank is a page, Enter a line, q or Ctrl-C the end. */
static void ask_more(struct pager *p)
{
    struct terminal *t = p->shell->terminal;

    terminal_print(t, "--more--");
    terminal_on_break(t, NULL, NULL);
    int key = terminal_key(t, LOOP_NEVER);
    terminal_on_break(t, on_break, p->shell);
    terminal_print(t, "\r\x1b[K");
    if (key == 'q' || key == 'Q' || key == 0x03 || key < 0)
        p->quit = true;
    p->used = key == '\r' || key == '\n' ? p->used - 1 : 0;
}

static void sink_line(void *owner, const char *text, u32 len)
{
    struct pager *p = owner;
    u32 columns = p->shell->columns;

    if (p->rows && p->used + 1 >= p->rows) {
        ask_more(p);
        if (p->quit)
            return;
    }
    terminal_write(p->shell->terminal, text, len);
    if (p->shell->line)
        terminal_write(p->shell->terminal, "\n", 1);
    else
        terminal_write(p->shell->terminal, "\r\n", 2);
    p->used += len ? (len + columns - 1) / columns : 1;
}

static bool sink_cancelled(void *owner)
{
    const struct pager *p = owner;

    return p->shell->broken || p->quit;
}

/* ---- commands ---------------------------------------------------------------------------------
 */
static void report(struct shell *s, struct out *out, const struct shell_error *err)
{
    s->last_status = -HV_EINVAL;
    out_error(out, HV_EINVAL, err->code, err->hint, "%s", err->text);
}

static void run_bound(struct shell *s, const struct schema_args *args, struct out *out)
{
    const struct schema_command *c = args->command;
    enum schema_role needed = schema_role_needed(args);

    if (!look_up(s)) {
        s->last_status = -HV_EPERM;
        return;
    }
    if (s->role < needed) {
        log_notice("user %s (%s) was refused: %s%s%s needs role %s", s->user, s->from, c->noun,
                   c->verb[0] ? " " : "", c->verb, schema_role_name(needed));
        s->last_status = -HV_EPERM;
        out_error(out, HV_EPERM, "E_ROLE", "ask an administrator, or log in as one",
                  "%s%s%s needs the role %s", c->noun, c->verb[0] ? " " : "", c->verb,
                  schema_role_name(needed));
        return;
    }
    s->needs = needed;
    s->last_status = -(int)c->run(args, out);
    s->needs = ROLE_VIEW;
    if (needed > ROLE_VIEW && !s->last_status)
        saved_touch();
}

static void run_found(struct shell *s, const struct shell_found *f, struct out *out)
{
    struct shell_error err;
    struct schema_args args;

    if (f->alias)
        out_printf(out, "(%s)\n", f->alias);
    if (s->words.ask && f->command)
        help_command(out, f->command);
    else if (s->words.ask)
        help_noun(out, f->noun);
    else if (!shell_bind(&s->words, f, &args, &err))
        report(s, out, &err);
    else
        run_bound(s, &args, out);
}

static void run_command(struct shell *s, struct out_sink *sink)
{
    struct shell_words *w = &s->words;
    struct shell_found f;
    struct shell_error err;
    struct out out;

    out_open(&out, sink, w->filters, w->filter_count);
    s->last_status = 0;
    if (!w->count && w->ask)
        help_all(&out);
    else if (!shell_resolve(w, &f, &err))
        report(s, &out, &err);
    else
        run_found(s, &f, &out);
    out_close(&out);
}

static u32 rows_to_page(const struct shell *s)
{
    bool more = false;

    for (u32 i = 0; i < s->words.filter_count; i++)
        more |= s->words.filters[i].kind == OUT_MORE;
    if (!more && s->words.no_more)
        return 0;
    return s->rows || !more ? s->rows : ROWS_DEFAULT;
}

/* given: NULL for the terminal. */
static void run_line(struct shell *s, const char *line, struct out_sink *given)
{
    struct shell_error err;
    const char *at = line;

    s->broken = false;
    while (*at && !s->broken && !s->leaving) {
        struct pager pager = {.shell = s};
        struct out_sink own = {.line = sink_line, .cancelled = sink_cancelled, .owner = &pager};
        struct out_sink *sink = given ? given : &own;

        if (shell_parse(&at, s->last_status, &s->words, &err)) {
            pager.rows = given ? 0 : rows_to_page(s);
            if (s->words.count || s->words.ask)
                run_command(s, sink);
            continue;
        }
        struct out out;
        out_open(&out, sink, NULL, 0);
        report(s, &out, &err);
        out_close(&out);
        break; /* where the next command would begin is anyone's guess */
    }
}

enum hv_status shell_execute(const char *line, struct out_sink *sink)
{
    struct shell *s = calloc(1, sizeof(*s)), *before = current();
    enum hv_status status = HV_ENOMEM;

    if (!s)
        return HV_ENOMEM;
    s->role = ROLE_ADMIN;
    strcpy(s->user, "config");
    strcpy(s->from, "saved configuration");
    fiber_set_data(s);
    run_line(s, line, sink);
    fiber_set_data(before);
    status = (enum hv_status) - s->last_status;
    free(s);
    return status;
}

/* One line; false: the session is over. */
static bool read_and_run(struct shell *s)
{
    enum line_edit_result r = LINE_EDIT_MORE;

    line_edit_begin(&s->editor);
    terminal_set_editor(s->terminal, &s->hook);
    while (r == LINE_EDIT_MORE) {
        int key = terminal_key(s->terminal, LOOP_NEVER);

        if (key < 0) {
            terminal_set_editor(s->terminal, NULL);
            return false;
        }
        if (key == 0x0c) /* ^L: the terminal may be another one now */
            terminal_print(s->terminal, ASK_SIZE);
        r = line_edit_feed(&s->editor, (u8)key);
    }
    terminal_set_editor(s->terminal, NULL);
    if (r == LINE_EDIT_END && !shell_leave())
        terminal_print(s->terminal,
                       "\nThe shell does not end; `host poweroff` turns the machine off.\n");
    if (r == LINE_EDIT_DONE) {
        terminal_on_break(s->terminal, on_break, s);
        run_line(s, s->editor.text, NULL);
        terminal_on_break(s->terminal, NULL, NULL);
    }
    return !s->leaving && !s->terminal->ended;
}

static void console_fiber(void *arg)
{
    struct shell *s = arg;

    s->fiber = fiber_self();
    fiber_set_data(s);
    saved_wait();
    while (!s->terminal->ended) {
        s->id = 0;
        s->role = ROLE_ADMIN;
        strcpy(s->user, "root");
        s->leaving = s->dismissed = false;
        terminal_readmit(s->terminal);
        if (login_wanted() && !(s->id = login_console(s->terminal, s->user, sizeof(s->user))))
            continue;
        banner_session(s->terminal);
        terminal_print(s->terminal, ASK_SIZE);
        while (look_up(s) && read_and_run(s))
            ;
        tell_end(s);
    }
    tear_down(s);
}

static void session_fiber(void *arg)
{
    struct shell *s = arg;

    s->fiber = fiber_self();
    fiber_set_data(s);
    if (s->line && look_up(s)) {
        run_line(s, s->line, NULL);
    } else if (look_up(s)) {
        banner_session(s->terminal);
        while (look_up(s) && read_and_run(s))
            ;
    }
    tell_end(s);
    s->ended(s->owner, s->last_status);
    tear_down(s);
}

struct shell *shell_open(struct terminal *t, const char *user, u64 id, const char *from,
                         const char *line, void (*ended)(void *owner, int status), void *owner)
{
    struct shell *s = calloc(1, sizeof(*s));

    if (!s)
        return NULL;
    set_up(s, t);
    snprintf(s->user, sizeof(s->user), "%s", user);
    snprintf(s->from, sizeof(s->from), "%s", from);
    s->id = id;
    s->line = line;
    s->ended = ended;
    s->owner = owner;
    if (fiber_spawn("remote shell", session_fiber, s))
        return s;
    tear_down(s);
    return NULL;
}

void shell_start(struct terminal *t, const char *from)
{
    struct shell *s = calloc(1, sizeof(*s));

    rt_assert(s);
    set_up(s, t);
    snprintf(s->from, sizeof(s->from), "%s", from);
    rt_assert(fiber_spawn("shell", console_fiber, s));
}
