/* What a shell command says: text, fields and tables, through filters and the pager.
 *
 * A handler writes here and nowhere else.  Calls may wait (pager, slow line) when the command
 * runs in the shell's fiber.  After Ctrl-C or `q` in the pager out_cancelled() is true and further
 * output is dropped: a handler with a long list may stop early. */
#pragma once

#include <stdarg.h>

#include "kernel/abi/status.h"
#include "kernel/abi/types.h"

#define OUT_LINE_MAX 2048
#define OUT_COLUMNS 12
#define OUT_FILTERS 4

enum out_filter_kind { OUT_GREP, OUT_EXCLUDE, OUT_COUNT, OUT_MORE, OUT_JSON };

struct out_filter {
    enum out_filter_kind kind;
    char word[48];
};

struct out_sink { /* where finished lines go; the host tests pass their own */
    void (*line)(void *owner, const char *text, u32 len); /* without newline */
    bool (*cancelled)(void *owner);
    void *owner;
};

struct out {
    struct out_sink *sink;
    struct out_filter filters[OUT_FILTERS];
    u32 filter_count;
    bool json, counting;
    u32 count;               /* lines that reached | count */
    char line[OUT_LINE_MAX]; /* being assembled */
    u32 line_len;
    const char *const *columns; /* of the table being written */
    const u8 *widths;
    u32 column_count, column;
    bool in_object; /* json: fields are being collected */
};

void out_open(struct out *o, struct out_sink *sink, const struct out_filter *f, u32 count);
void out_close(struct out *o); /* flushes; prints the count of | count */

void out_printf(struct out *o, const char *fmt, ...) PRINTF_LIKE(2, 3);
void out_vprintf(struct out *o, const char *fmt, va_list ap);

/* "name            value": one line, or one member of the JSON object that out_end_object ends. */
void out_field(struct out *o, const char *name, const char *fmt, ...) PRINTF_LIKE(3, 4);
void out_end_object(struct out *o);

/* A table: begin once, then out_cell for each column of each row (the last cell ends the row).
 * widths: minimal column widths, the last column is not padded. */
void out_table(struct out *o, const char *const *columns, const u8 *widths, u32 count);
void out_cell(struct out *o, const char *fmt, ...) PRINTF_LIKE(2, 3);

/* "E_CODE: what. Try: hint."; returns `status` so that a handler can end with it. */
enum hv_status out_error(struct out *o, enum hv_status status, const char *code, const char *hint,
                         const char *fmt, ...) PRINTF_LIKE(5, 6);

bool out_cancelled(const struct out *o);
