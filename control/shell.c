/* The shell: one fiber that edits a line, runs its commands, and starts over.  Entered from main.c
 * through shell_start(); Ctrl-C arrives on the loop. */
#include "control/shell.h"

#include <stdio.h>
#include <string.h>

#include "control/complete.h"
#include "control/console.h"
#include "control/help.h"
#include "control/line_edit.h"
#include "control/rt/fiber.h"
#include "control/rt/log.h"
#include "control/rt/loop.h"
#include "control/shell_parse.h"

#define PROMPT "bulkhead> "
#define ROWS_DEFAULT 24
#define COLUMNS_DEFAULT 80

/* Moves far down and right, asks where that is, and comes back (ECMA-48 CPR). */
#define ASK_SIZE                                                                                   \
    "\x1b"                                                                                         \
    "7\x1b[999;999H\x1b[6n\x1b"                                                                    \
    "8"

static struct line_edit editor;
static u32 rows, columns = COLUMNS_DEFAULT; /* rows 0: unknown */
static bool broken;                         /* Ctrl-C */
static int last_status;

struct pager {
    u32 rows, used; /* rows 0: no paging */
    bool quit;
};

static void editor_write(void *owner, const char *text, u32 len)
{
    (void)owner;
    console_write(text, len);
}

static void editor_complete(void *owner, const char *text, u32 len, struct completion *out)
{
    (void)owner;
    complete_line(text, len, out);
}

static void editor_position(void *owner, u32 row, u32 column)
{
    (void)owner;
    if (row < 3 || column < 20)
        return;
    rows = MIN(row, 500u);
    columns = MIN(column, 500u);
    editor.width = columns;
}

static const struct line_edit_ops editor_ops = {
    .write = editor_write,
    .complete = editor_complete,
    .position = editor_position,
};

static void hide_line(void)
{
    line_edit_hide(&editor);
}

static void show_line(void)
{
    line_edit_show(&editor);
}

static void on_break(void)
{
    broken = true;
    console_write("^C\r\n", 4);
}

bool shell_break(void)
{
    return broken;
}

void shell_terminal(u32 *r, u32 *c)
{
    *r = rows;
    *c = columns;
}

const char *shell_history(u32 i)
{
    return line_edit_history(&editor, i);
}

bool shell_confirm(const char *question)
{
    char line[200];

    snprintf(line, sizeof(line), "%s [y/N] ", question);
    console_print(line);
    int key = console_key(LOOP_NEVER);
    bool yes = key == 'y' || key == 'Y';
    console_print(yes ? "yes\n" : "no\n");
    return yes;
}

/* "--more--": blank is a page, Enter a line, q or Ctrl-C the end. */
static void ask_more(struct pager *p)
{
    console_print("--more--");
    console_on_break(NULL);
    int key = console_key(LOOP_NEVER);
    console_on_break(on_break);
    console_print("\r\x1b[K");
    if (key == 'q' || key == 'Q' || key == 0x03)
        p->quit = true;
    p->used = key == '\r' || key == '\n' ? p->used - 1 : 0;
}

static void sink_line(void *owner, const char *text, u32 len)
{
    struct pager *p = owner;

    if (p->rows && p->used + 1 >= p->rows) {
        ask_more(p);
        if (p->quit)
            return;
    }
    console_write(text, len);
    console_write("\r\n", 2);
    p->used += len ? (len + columns - 1) / columns : 1;
}

static bool sink_cancelled(void *owner)
{
    const struct pager *p = owner;

    return broken || p->quit;
}

static void report(struct out *out, const struct shell_error *err)
{
    last_status = -HV_EINVAL;
    out_error(out, HV_EINVAL, err->code, err->hint, "%s", err->text);
}

static void run_found(struct shell_words *w, const struct shell_found *f, struct out *out)
{
    struct shell_error err;
    struct schema_args args;

    if (f->alias)
        out_printf(out, "(%s)\n", f->alias);
    if (w->ask && f->command) {
        help_command(out, f->command);
    } else if (w->ask) {
        help_noun(out, f->noun);
    } else if (!shell_bind(w, f, &args, &err)) {
        report(out, &err);
    } else {
        last_status = -(int)f->command->run(&args, out);
    }
}

static void run_command(struct shell_words *w)
{
    struct pager pager = {0};
    struct out_sink sink = {.line = sink_line, .cancelled = sink_cancelled, .owner = &pager};
    struct shell_found f;
    struct shell_error err;
    struct out out;
    bool more = false;

    for (u32 i = 0; i < w->filter_count; i++)
        more |= w->filters[i].kind == OUT_MORE;
    if (more || !w->no_more)
        pager.rows = rows || !more ? rows : ROWS_DEFAULT;
    out_open(&out, &sink, w->filters, w->filter_count);
    last_status = 0;
    if (!w->count && w->ask)
        help_all(&out);
    else if (!shell_resolve(w, &f, &err))
        report(&out, &err);
    else
        run_found(w, &f, &out);
    out_close(&out);
}

static void run_line(const char *line)
{
    static struct shell_words w; /* one shell; too big for a fiber's stack */
    struct out_sink sink = {.line = sink_line, .owner = &(struct pager){0}};
    struct shell_error err;
    const char *at = line;

    broken = false;
    console_on_break(on_break);
    while (*at && !broken) {
        if (shell_parse(&at, last_status, &w, &err)) {
            if (w.count || w.ask)
                run_command(&w);
            continue;
        }
        struct out out;
        out_open(&out, &sink, NULL, 0);
        report(&out, &err);
        out_close(&out);
        break; /* where the next command would begin is anyone's guess */
    }
    console_on_break(NULL);
}

static void shell_fiber(void *arg)
{
    (void)arg;
    console_print(ASK_SIZE);
    for (;;) {
        enum line_edit_result r = LINE_EDIT_MORE;

        line_edit_begin(&editor);
        console_set_editor(hide_line, show_line);
        while (r == LINE_EDIT_MORE) {
            int key = console_key(LOOP_NEVER);

            if (key == 0x0c) /* ^L: the terminal may be another one now */
                console_print(ASK_SIZE);
            r = line_edit_feed(&editor, (u8)key);
        }
        console_set_editor(NULL, NULL);
        if (r == LINE_EDIT_END)
            console_print("\nThe shell does not end; `host poweroff` turns the machine off.\n");
        else if (r == LINE_EDIT_DONE)
            run_line(editor.text);
    }
}

void shell_start(void)
{
    line_edit_init(&editor, &editor_ops, PROMPT, columns);
    rt_assert(fiber_spawn("shell", shell_fiber, NULL));
}
