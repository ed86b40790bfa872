/* The line editor: bytes from a terminal in, edited lines out.
 *
 * Pure: it draws through a callback.  ^A ^E ^B ^F ^D ^H ^K ^U ^W ^Y ^L ^P ^N ^R, arrows, Home, End,
 * Delete, Tab, a history.  A line wider than the terminal scrolls sideways. */
#pragma once

#include "kernel/abi/types.h"

#define LINE_EDIT_MAX 1024 /* a user's RSA key of 4096 bits fits */
#define LINE_EDIT_HISTORY 64
#define LINE_EDIT_ITEMS 48
#define LINE_EDIT_ITEM 48
/* Follows a new prompt, never one that is drawn again: erases what is below it, and tells a program
 * at the other end that a command is done. */
#define LINE_EDIT_FRESH "\x1b[J"

enum line_edit_result {
    LINE_EDIT_MORE,   /* go on */
    LINE_EDIT_DONE,   /* Enter: e->text is the line */
    LINE_EDIT_CANCEL, /* ^C: the line is dropped */
    LINE_EDIT_END,    /* ^D on an empty line */
};

struct completion { /* what Tab may put at the cursor */
    u32 count;
    char item[LINE_EDIT_ITEMS][LINE_EDIT_ITEM]; /* whole words */
    u32 partial;                                /* bytes before the cursor that the items replace */
    bool open;                                  /* no blank after a sole item (key=) */
};

struct line_edit_ops {
    void (*write)(void *owner, const char *text, u32 len);
    /* Candidates for the word at the end of text[0..len). */
    void (*complete)(void *owner, const char *text, u32 len, struct completion *out);
    /* The terminal told where its cursor is (answer to CSI 6n); NULL: ignored. */
    void (*position)(void *owner, u32 row, u32 column);
    void *owner;
};

struct line_edit {
    const struct line_edit_ops *ops;
    const char *prompt;
    u32 width; /* columns of the terminal */
    char text[LINE_EDIT_MAX];
    u32 len, cursor;
    char killed[LINE_EDIT_MAX];
    char history[LINE_EDIT_HISTORY][LINE_EDIT_MAX];
    u32 history_count;         /* entries ever added; the ring holds the last 64 */
    u32 history_at;            /* entry shown; history_count: the line being typed */
    char draft[LINE_EDIT_MAX]; /* that line, while history is shown */
    bool searching;
    char pattern[48];
    u32 found; /* entry that the search shows */
    u8 escape; /* state of an escape sequence */
    u32 params[2], param_count;
    bool tab_before, return_before;
    bool shown;
};

void line_edit_init(struct line_edit *e, const struct line_edit_ops *ops, const char *prompt,
                    u32 width);
void line_edit_begin(struct line_edit *e); /* an empty line, drawn */
enum line_edit_result line_edit_feed(struct line_edit *e, u8 byte);
void line_edit_hide(struct line_edit *e); /* before other text is written ... */
void line_edit_show(struct line_edit *e); /* ... and after it */
/* The i-th line of history, 0 the oldest kept; NULL past the end. */
const char *line_edit_history(const struct line_edit *e, u32 i);
