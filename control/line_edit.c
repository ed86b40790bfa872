/* The line editor.  Pure; called by shell.c in its fiber, and by console.c around notices. */
#include "control/line_edit.h"

#include <stdio.h>
#include <string.h>

#define CTRL(c) ((c)-0x40)

enum { ESC_NONE, ESC_START, ESC_CSI, ESC_SS3 };

static void write_text(struct line_edit *e, const char *text)
{
    e->ops->write(e->ops->owner, text, (u32)strlen(text));
}

static void beep(struct line_edit *e)
{
    write_text(e, "\a");
}

void line_edit_init(struct line_edit *e, const struct line_edit_ops *ops, const char *prompt,
                    u32 width)
{
    memset(e, 0, sizeof(*e));
    e->ops = ops;
    e->prompt = prompt;
    e->width = width;
}

/* Draws prompt and line anew, then erases (ECMA-48 EL or ED); the window is moved so that the
 * cursor is in it. */
static void draw_erasing(struct line_edit *e, const char *erase)
{
    char frame[LINE_EDIT_MAX + 128];
    char prompt[96];
    u32 n, start = 0;

    if (e->searching)
        snprintf(prompt, sizeof(prompt), "(search '%s') ", e->pattern);
    else
        snprintf(prompt, sizeof(prompt), "%s", e->prompt);
    u32 room = e->width > strlen(prompt) + 8 ? e->width - (u32)strlen(prompt) - 1 : 8;
    if (e->cursor >= room)
        start = e->cursor - room + 1;
    u32 visible = MIN(e->len - start, room);
    n = (u32)snprintf(frame, sizeof(frame), "\r%s", prompt);
    memcpy(frame + n, e->text + start, visible);
    n += visible;
    n += (u32)snprintf(frame + n, sizeof(frame) - n, "%s", erase);
    u32 back = visible - (e->cursor - start);
    if (back)
        n += (u32)snprintf(frame + n, sizeof(frame) - n, "\x1b[%uD", back);
    e->ops->write(e->ops->owner, frame, n);
    e->shown = true;
}

static void draw(struct line_edit *e)
{
    draw_erasing(e, "\x1b[K");
}

void line_edit_begin(struct line_edit *e)
{
    e->len = e->cursor = 0;
    e->text[0] = 0;
    e->history_at = e->history_count;
    e->searching = e->tab_before = false;
    e->escape = ESC_NONE;
    draw_erasing(e, LINE_EDIT_FRESH);
}

void line_edit_hide(struct line_edit *e)
{
    if (e->shown)
        write_text(e, "\r\x1b[K");
    e->shown = false;
}

void line_edit_show(struct line_edit *e)
{
    draw(e);
}

static const char *entry(const struct line_edit *e, u32 index)
{
    return e->history[index % LINE_EDIT_HISTORY];
}

static u32 oldest(const struct line_edit *e)
{
    return e->history_count > LINE_EDIT_HISTORY ? e->history_count - LINE_EDIT_HISTORY : 0;
}

const char *line_edit_history(const struct line_edit *e, u32 i)
{
    return oldest(e) + i < e->history_count ? entry(e, oldest(e) + i) : NULL;
}

static void add_history(struct line_edit *e)
{
    if (!e->len)
        return;
    if (e->history_count && !strcmp(entry(e, e->history_count - 1), e->text))
        return;
    memcpy(e->history[e->history_count++ % LINE_EDIT_HISTORY], e->text, LINE_EDIT_MAX);
}

static void set_text(struct line_edit *e, const char *text)
{
    e->len = (u32)strlen(text);
    memmove(e->text, text, e->len + 1);
    e->cursor = e->len;
}

static void insert(struct line_edit *e, const char *text, u32 n)
{
    bool at_end = e->cursor == e->len;

    if (e->len + n >= LINE_EDIT_MAX) {
        beep(e);
        return;
    }
    memmove(e->text + e->cursor + n, e->text + e->cursor, e->len - e->cursor + 1);
    memcpy(e->text + e->cursor, text, n);
    e->len += n;
    e->cursor += n;
    if (at_end && strlen(e->prompt) + e->len + 1 < e->width)
        e->ops->write(e->ops->owner, text, n); /* the common case: no redraw */
    else
        draw(e);
}

/* Removes [from, to); kept for ^Y if it was a kill. */
static void cut(struct line_edit *e, u32 from, u32 to, bool kill)
{
    if (from == to)
        return;
    if (kill) {
        memcpy(e->killed, e->text + from, to - from);
        e->killed[to - from] = 0;
    }
    memmove(e->text + from, e->text + to, e->len - to + 1);
    e->len -= to - from;
    e->cursor = from;
    draw(e);
}

static void cut_word_back(struct line_edit *e)
{
    u32 from = e->cursor;

    while (from && e->text[from - 1] == ' ')
        from--;
    while (from && e->text[from - 1] != ' ')
        from--;
    cut(e, from, e->cursor, true);
}

static void move_to(struct line_edit *e, u32 cursor)
{
    if (cursor > e->len)
        return;
    e->cursor = cursor;
    draw(e);
}

static void browse(struct line_edit *e, bool older)
{
    u32 at = e->history_at;

    if (older ? at == oldest(e) : at == e->history_count) {
        beep(e);
        return;
    }
    if (at == e->history_count)
        memcpy(e->draft, e->text, sizeof(e->draft));
    at = older ? at - 1 : at + 1;
    e->history_at = at;
    set_text(e, at == e->history_count ? e->draft : entry(e, at));
    draw(e);
}

/* The newest entry at or before `from` that has the pattern. */
static void search(struct line_edit *e, u32 from)
{
    for (u32 i = from + 1; i-- > oldest(e);) {
        if (i < e->history_count && strstr(entry(e, i), e->pattern)) {
            e->found = i;
            set_text(e, entry(e, i));
            draw(e);
            return;
        }
    }
    beep(e);
    draw(e);
}

static void feed_search(struct line_edit *e, u8 byte)
{
    u32 n = (u32)strlen(e->pattern);

    if (byte == CTRL('R')) {
        search(e, e->found ? e->found - 1 : 0);
    } else if (byte == 0x08 || byte == 0x7f) {
        e->pattern[n ? n - 1 : 0] = 0;
        search(e, e->history_count);
    } else if (byte >= 0x20 && byte < 0x7f && n + 1 < sizeof(e->pattern)) {
        e->pattern[n] = (char)byte;
        e->pattern[n + 1] = 0;
        search(e, e->history_count);
    }
}

static void list_items(struct line_edit *e, const struct completion *c)
{
    u32 longest = 0, column = 0;

    for (u32 i = 0; i < c->count; i++)
        longest = MAX(longest, (u32)strlen(c->item[i]));
    u32 columns = MAX(1u, e->width / (longest + 2));
    write_text(e, "\r\n");
    for (u32 i = 0; i < c->count; i++) {
        char cell[LINE_EDIT_ITEM * 2 + 8];
        bool last = ++column == columns || i + 1 == c->count;

        snprintf(cell, sizeof(cell), "%-*s%s", last ? 0 : (int)longest + 2, c->item[i],
                 last ? "\r\n" : "");
        write_text(e, cell);
        column = last ? 0 : column;
    }
    draw(e);
}

static void complete(struct line_edit *e)
{
    static struct completion c; /* one editor, one thread; too big for a fiber's stack */
    u32 common;

    c.count = c.partial = 0;
    c.open = false;
    if (e->ops->complete)
        e->ops->complete(e->ops->owner, e->text, e->cursor, &c);
    if (!c.count) {
        beep(e);
        return;
    }
    common = (u32)strlen(c.item[0]);
    for (u32 i = 1; i < c.count; i++) {
        for (u32 k = 0; k < common; k++) {
            if (c.item[i][k] != c.item[0][k])
                common = k;
        }
    }
    if (common > c.partial)
        insert(e, c.item[0] + c.partial, common - c.partial);
    if (c.count == 1 && !c.open)
        insert(e, " ", 1);
    else if (c.count > 1 && common <= c.partial && e->tab_before)
        list_items(e, &c);
    else if (c.count > 1 && common <= c.partial)
        beep(e);
}

static void end_sequence(struct line_edit *e, u8 byte)
{
    u32 number = e->params[0];

    e->escape = ESC_NONE;
    if (byte == 'A' || byte == 'B')
        browse(e, byte == 'A');
    else if (byte == 'C')
        move_to(e, e->cursor + 1);
    else if (byte == 'D')
        move_to(e, e->cursor - 1); /* 0 - 1 is past the end: nothing */
    else if (byte == 'H' || (byte == '~' && (number == 1 || number == 7)))
        move_to(e, 0);
    else if (byte == 'F' || (byte == '~' && (number == 4 || number == 8)))
        move_to(e, e->len);
    else if (byte == '~' && number == 3 && e->cursor < e->len)
        cut(e, e->cursor, e->cursor + 1, false);
    else if (byte == 'R' && e->param_count == 2 && e->ops->position)
        e->ops->position(e->ops->owner, e->params[0], e->params[1]);
}

/* ECMA-48, 5.4: parameters, then one final byte 40..7E. */
static void feed_escape(struct line_edit *e, u8 byte)
{
    if (e->escape == ESC_START) {
        e->escape = byte == '[' ? ESC_CSI : byte == 'O' ? ESC_SS3 : ESC_NONE;
        e->params[0] = e->params[1] = 0;
        e->param_count = 1;
    } else if (byte >= '0' && byte <= '9') {
        u32 *p = &e->params[e->param_count - 1];

        *p = MIN(*p * 10 + (byte - '0'), 9999u);
    } else if (byte == ';') {
        e->param_count = MIN(e->param_count + 1, 2u);
    } else if (byte >= 0x40 && byte <= 0x7e) {
        end_sequence(e, byte);
    } else if (byte < 0x20) {
        e->escape = ESC_NONE;
    }
}

static enum line_edit_result finish(struct line_edit *e)
{
    if (e->cursor != e->len)
        move_to(e, e->len);
    write_text(e, "\r\n");
    e->shown = false;
    add_history(e);
    return LINE_EDIT_DONE;
}

static void feed_key(struct line_edit *e, u8 byte)
{
    switch (byte) {
    case CTRL('A'):
        return move_to(e, 0);
    case CTRL('E'):
        return move_to(e, e->len);
    case CTRL('B'):
        return move_to(e, e->cursor - 1);
    case CTRL('F'):
        return move_to(e, e->cursor + 1);
    case CTRL('D'):
        return cut(e, e->cursor, MIN(e->cursor + 1, e->len), false);
    case CTRL('H'):
    case 0x7f:
        return cut(e, e->cursor ? e->cursor - 1 : 0, e->cursor, false);
    case CTRL('K'):
        return cut(e, e->cursor, e->len, true);
    case CTRL('U'):
        return cut(e, 0, e->cursor, true);
    case CTRL('W'):
        return cut_word_back(e);
    case CTRL('Y'):
        return insert(e, e->killed, (u32)strlen(e->killed));
    case CTRL('L'):
        write_text(e, "\x1b[H\x1b[2J");
        return draw(e);
    case CTRL('P'):
        return browse(e, true);
    case CTRL('N'):
        return browse(e, false);
    case CTRL('R'):
        e->searching = true;
        e->pattern[0] = 0;
        e->found = e->history_count;
        return draw(e);
    case '\t':
        return complete(e);
    default:
        if (byte >= 0x20) {
            char c = (char)byte;

            insert(e, &c, 1);
        }
    }
}

enum line_edit_result line_edit_feed(struct line_edit *e, u8 byte)
{
    bool tab = byte == '\t' && !e->escape;
    bool newline_of_pair = byte == '\n' && e->return_before;

    e->return_before = byte == '\r';
    if (newline_of_pair)
        return LINE_EDIT_MORE;
    if (e->escape) {
        feed_escape(e, byte);
        return LINE_EDIT_MORE;
    }
    if (e->searching && (byte == CTRL('R') || byte == 0x08 || byte == 0x7f || byte >= 0x20)) {
        feed_search(e, byte);
        return LINE_EDIT_MORE;
    }
    if (e->searching) { /* any other key ends the search with the line it found */
        e->searching = false;
        if (byte == CTRL('G'))
            set_text(e, "");
        draw(e);
    }
    if (byte == 0x1b)
        e->escape = ESC_START;
    else if (byte == '\r' || byte == '\n')
        return finish(e);
    else if (byte == CTRL('C')) {
        write_text(e, "^C\r\n");
        e->shown = false;
        return LINE_EDIT_CANCEL;
    } else if (byte == CTRL('D') && !e->len)
        return LINE_EDIT_END;
    else
        feed_key(e, byte);
    e->tab_before = tab;
    return LINE_EDIT_MORE;
}
