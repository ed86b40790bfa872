/* A command's output: lines, fields and tables, as text or JSON, through filters to a sink.
 * Called by handlers in the shell's fiber; pure but for the sink. */
#include "control/out.h"

#include <stdio.h>
#include <string.h>

static bool passes(const struct out *o, const char *line)
{
    for (u32 i = 0; i < o->filter_count; i++) {
        const struct out_filter *f = &o->filters[i];
        bool found = strstr(line, f->word) != NULL;

        if ((f->kind == OUT_GREP && !found) || (f->kind == OUT_EXCLUDE && found))
            return false;
    }
    return true;
}

static void end_line(struct out *o)
{
    o->line[o->line_len] = 0;
    if (passes(o, o->line)) {
        o->count++;
        if (!o->counting && !out_cancelled(o))
            o->sink->line(o->sink->owner, o->line, o->line_len);
    }
    o->line_len = 0;
}

static void add_char(struct out *o, char c)
{
    if (o->line_len == OUT_LINE_MAX - 1)
        end_line(o);
    o->line[o->line_len++] = c;
}

static void add(struct out *o, const char *text)
{
    while (*text)
        add_char(o, *text++);
}

static void add_json(struct out *o, const char *text)
{
    char code[8];

    add_char(o, '"');
    for (; *text; text++) {
        if (*text == '"' || *text == '\\')
            add_char(o, '\\');
        if ((u8)*text < 0x20) {
            snprintf(code, sizeof(code), "\\u%04x", (u8)*text);
            add(o, code);
        } else {
            add_char(o, *text);
        }
    }
    add_char(o, '"');
}

/* Plain decimal numbers need no quotes. */
static void add_json_value(struct out *o, const char *text)
{
    size_t n = strspn(text, "0123456789");

    if (n && n < 19 && !text[n] && (n == 1 || text[0] != '0'))
        add(o, text);
    else
        add_json(o, text);
}

/* Names of members are the headings in lower case, with _ for a blank. */
static void add_member(struct out *o, const char *name, const char *value)
{
    char key[64];
    u32 n = 0;

    for (; name[n] && n + 1 < sizeof(key); n++) {
        char c = name[n] >= 'A' && name[n] <= 'Z' ? (char)(name[n] + 0x20) : name[n];

        key[n] = c == ' ' ? '_' : c;
    }
    key[n] = 0;
    add_char(o, o->in_object ? ',' : '{');
    o->in_object = true;
    add_json(o, key);
    add_char(o, ':');
    add_json_value(o, value);
}

void out_open(struct out *o, struct out_sink *sink, const struct out_filter *f, u32 count)
{
    memset(o, 0, sizeof(*o));
    o->sink = sink;
    o->filter_count = MIN(count, OUT_FILTERS);
    for (u32 i = 0; i < o->filter_count; i++) {
        o->filters[i] = f[i];
        o->json |= f[i].kind == OUT_JSON;
        o->counting |= f[i].kind == OUT_COUNT;
    }
}

void out_close(struct out *o)
{
    char number[16];

    out_end_object(o);
    if (o->line_len)
        end_line(o);
    if (o->counting) {
        o->counting = false;
        o->filter_count = 0;
        snprintf(number, sizeof(number), "%u", o->count);
        add(o, number);
        end_line(o);
    }
}

/* Text in JSON mode: one object a line. */
static void add_text(struct out *o, const char *text)
{
    for (; *text; text++) {
        if (*text != '\n') {
            add_char(o, *text);
            continue;
        }
        if (o->json) {
            char line[OUT_LINE_MAX];

            memcpy(line, o->line, o->line_len);
            line[o->line_len] = 0;
            o->line_len = 0;
            if (!line[0])
                continue;
            add_member(o, "text", line);
            out_end_object(o);
        } else {
            end_line(o);
        }
    }
}

void out_vprintf(struct out *o, const char *fmt, va_list ap)
{
    char text[OUT_LINE_MAX];

    if (o->json)
        out_end_object(o);
    vsnprintf(text, sizeof(text), fmt, ap);
    add_text(o, text);
}

void out_printf(struct out *o, const char *fmt, ...)
{
    va_list ap;

    va_start(ap, fmt);
    out_vprintf(o, fmt, ap);
    va_end(ap);
}

void out_field(struct out *o, const char *name, const char *fmt, ...)
{
    char value[OUT_LINE_MAX / 2];
    va_list ap;

    va_start(ap, fmt);
    vsnprintf(value, sizeof(value), fmt, ap);
    va_end(ap);
    if (o->json)
        add_member(o, name, value);
    else
        out_printf(o, "%-18s %s\n", name, value);
}

void out_end_object(struct out *o)
{
    if (!o->in_object)
        return;
    add_char(o, '}');
    o->in_object = false;
    end_line(o);
}

void out_table(struct out *o, const char *const *columns, const u8 *widths, u32 count)
{
    out_end_object(o);
    o->columns = columns;
    o->widths = widths;
    o->column_count = count;
    o->column = 0;
    if (o->json)
        return;
    for (u32 i = 0; i < count; i++)
        out_cell(o, "%s", columns[i]);
    o->count -= o->counting && o->count; /* the heading is not a row */
}

void out_cell(struct out *o, const char *fmt, ...)
{
    char value[OUT_LINE_MAX / 2];
    va_list ap;
    bool last = o->column + 1 >= o->column_count;

    va_start(ap, fmt);
    vsnprintf(value, sizeof(value), fmt, ap);
    va_end(ap);
    if (o->json) {
        add_member(o, o->columns[o->column], value);
    } else {
        u32 len = (u32)strlen(value);

        add(o, value);
        for (u32 i = len; !last && i < o->widths[o->column]; i++)
            add_char(o, ' ');
        if (!last)
            add(o, "  ");
    }
    o->column = last ? 0 : o->column + 1;
    if (last && o->json)
        out_end_object(o);
    else if (last)
        end_line(o);
}

enum hv_status out_error(struct out *o, enum hv_status status, const char *code, const char *hint,
                         const char *fmt, ...)
{
    char text[OUT_LINE_MAX / 2];
    va_list ap;

    va_start(ap, fmt);
    vsnprintf(text, sizeof(text), fmt, ap);
    va_end(ap);
    /* An error is said whatever the filters are. */
    u32 filters = o->filter_count, count = o->count;
    bool counting = o->counting;
    if (o->line_len && !o->in_object)
        end_line(o);
    o->filter_count = 0;
    o->counting = false;
    if (o->json) {
        out_end_object(o);
        add_member(o, "error", code);
        add_member(o, "text", text);
        add_member(o, "try", hint);
        out_end_object(o);
    } else {
        out_printf(o, "%s: %s. Try: %s\n", code, text, hint);
    }
    o->filter_count = filters;
    o->counting = counting;
    o->count = count;
    return status;
}

bool out_cancelled(const struct out *o)
{
    return o->sink->cancelled && o->sink->cancelled(o->sink->owner);
}
